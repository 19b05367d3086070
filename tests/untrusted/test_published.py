"""Reading files of weights: the right numbers or a clear reason, and never running code in the file."""

import collections
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.published import export_state, fill, load_published, read_state


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1), torch.nn.BatchNorm1d(3))
        self.head = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(3, 1, 4))
        self.sizes = [1, 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


STATE = export_state(Net())
UNCHECKED = {"legacy", "safetensors"}  # files without checksums
WAYS = ["flat", "wrapped", "legacy", "safetensors"]


def write(folder: Path, way: str) -> Path:
    path = folder / ("w.safetensors" if way == "safetensors" else "w.pth")
    if way == "safetensors":
        save_file(STATE, path)
    elif way == "flat":
        torch.save(STATE, path)
    else:
        prefixed = {f"module.{key}": value for key, value in STATE.items()}
        optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.99)}]}
        torch.save(
            {"state_dict": prefixed, "optimizer": optimizer, "global_step": 5, "global_epoch": 1}, path,
            _use_new_zipfile_serialization=way != "legacy",
        )  # fmt: skip
    return path


def same(state: dict[str, torch.Tensor]) -> bool:
    return set(state) == set(STATE) and all(torch.equal(value, STATE[key]) for key, value in state.items())


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_of_saving(tmp_path: Path, way: str) -> None:
    assert same(read_state(write(tmp_path, way)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_parameters_of_torchscript(tmp_path: Path, how: str) -> None:
    net = Net().body
    program = torch.jit.script(net) if how == "script" else torch.jit.trace(net.eval(), torch.zeros(1, 2, 4))
    program.save(str(tmp_path / "w.pt"))
    state = read_state(tmp_path / "w.pt")
    assert {key: value.tolist() for key, value in state.items()} == {
        key: value.tolist() for key, value in net.state_dict().items()
    }


def refusal(path: Path) -> str:
    """The message for a file that is refused."""
    with pytest.raises(BadInput) as refused:
        read_state(path)
    return str(refused.value)


def test_a_web_page_a_pointer_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("\n<!DOCTYPE html><html>Quota exceeded</html>")
    assert re.search(
        "expected a file of weights, found a web page or other text. Download it again", refusal(tmp_path / "w.pth")
    )
    (tmp_path / "w.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert re.search("found a Git LFS pointer. Fetch it: git lfs pull", refusal(tmp_path / "w.pth"))
    assert re.search("expected a file of weights, found nothing", refusal(tmp_path / "none.pth"))


def test_a_header_whose_length_looks_like_a_web_page(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"weight": torch.arange(3.0)}, path, {"note": (0x3C20 - 90) * "x"})
    assert path.read_bytes().startswith(b" <")
    assert read_state(path)["weight"].tolist() == [0, 1, 2]


def test_no_state_dict(tmp_path: Path) -> None:
    for value, pattern in (
        ([torch.zeros(1)], "expected a state dict: tensors by name, found list"),
        ({"epoch": 3, "net": 1}, "found keys epoch, net"),
        ({}, "found keys"),
        ({"a": torch.tensor([1.0, float("nan")])}, "a: expected finite weights, found NaN"),
    ):
        torch.save(value, tmp_path / "w.pth")
        assert re.search(pattern, refusal(tmp_path / "w.pth"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_half_a_download(tmp_path: Path, way: str, share: float) -> None:
    path = write(tmp_path, way)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert re.search("expected a complete .*Download it again", refusal(path))


def test_a_wrong_byte_in_an_archive(tmp_path: Path) -> None:
    path = write(tmp_path, "flat")
    data = bytearray(path.read_bytes())
    place = data.find(STATE["body.0.weight"].numpy().tobytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    assert re.search("found a wrong checksum of w/data/", refusal(path))


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), "w")


class Stranger:
    """A class that only its author has installed."""


@pytest.mark.parametrize("legacy", [False, True])
def test_code_and_unknown_classes_in_a_pickle(tmp_path: Path, legacy: bool) -> None:
    for value, name in ((Evil(tmp_path / "touched"), "open"), (Stranger(), "Stranger")):
        for content in (value, {"state_dict": value}, {"state_dict": STATE, "args": [value]}):
            torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
            assert re.search(
                rf"found an object of \S*{name}, which could run code. Ask the publisher for its state_dict",
                refusal(tmp_path / "w.pth"),
            )
            with (tmp_path / "plain.pkl").open("wb") as file:
                pickle.dump(content, file)
            assert re.search("expected", refusal(tmp_path / "plain.pkl"))
    assert not (tmp_path / "touched").exists()


def test_code_in_a_torchscript_pickle(tmp_path: Path) -> None:
    for value in (Evil(tmp_path / "touched"), Stranger()):
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr("w/data.pkl", pickle.dumps({"a": value}, protocol=2))
            archive.writestr("w/constants.pkl", pickle.dumps(()))
        assert re.search("found an object of .*, which could run code", refusal(tmp_path / "w.pt"))
    assert not (tmp_path / "touched").exists()


def write_torchscript(path: Path, program: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("w/data.pkl", program)
        archive.writestr("w/data/0", bytes(8))
        archive.writestr("w/constants.pkl", b"")
    return path


@pytest.mark.parametrize(
    ("size", "stride", "offset", "reason"),
    [
        (b"M\xe8\x03", b"K\x01", b"K\x00", "a tensor of 1000 numbers in a storage of 2"),
        (b"J\xff\xff\xff\x7f", b"K\x00", b"K\x00", "a tensor of 2147483647 numbers in a storage of 2"),
        (b"K\x02", b"K\x01", b"K\x01", "out of bounds for storage"),
    ],
    ids=["too long", "one number many times", "shifted"],
)
def test_a_tensor_that_is_not_its_storage(
    tmp_path: Path, size: bytes, stride: bytes, offset: bytes, reason: str
) -> None:
    """Hand-written opcodes: a module whose tensor claims elements beyond the 2 of its storage."""
    program = (
        b"\x80\x02c__torch__\nM\n)\x81}(X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n"
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ" + offset
        + b"(" + size + b"t(" + stride + b"t\x89NtRub."
    )  # fmt: skip
    assert re.search(f"expected a complete file.*{reason}", refusal(write_torchscript(tmp_path / "w.pt", program)))


def test_modules_that_share_each_other(tmp_path: Path) -> None:
    """Forty modules, each of which refers to the next one twice: 2⁴⁰ paths."""
    modules = b"\x80\x02c__torch__\nM\nq\x00)\x81q\x01"
    for _ in range(40):
        modules += b"0h\x00)\x81q\x02}(X\x01\x00\x00\x00ah\x01X\x01\x00\x00\x00bh\x01ubq\x01"
    path = write_torchscript(tmp_path / "w.pt", modules + b".")
    assert re.search("found one that expands far beyond its size", refusal(path))


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_that_are_larger_than_the_file_or_of_another_kind(tmp_path: Path, legacy: bool) -> None:
    path, one = tmp_path / "w.pth", torch.zeros(1)
    for value, said in (
        (one.expand(10**10), "a tensor of 10000000000 numbers in a storage of 1"),
        (
            torch.zeros(3, device="meta"),
            "found torch._utils._rebuild_meta_tensor_no_storage. Ask the publisher for its state_dict",
        ),
        (torch.eye(3).to_sparse(), "found torch._utils._rebuild_sparse_tensor. Ask"),
        (torch.zeros(3, dtype=torch.complex64), "found torch.ComplexFloatStorage"),
        (
            torch.zeros(3, dtype=torch.float8_e4m3fn),
            "expected complete tensors on the CPU, of a supported data type, found",
        ),
    ):
        torch.save({"x": value}, path, _use_new_zipfile_serialization=not legacy)
        assert said in refusal(path)
    save_file({"x": torch.zeros(3, dtype=torch.float8_e4m3fn)}, tmp_path / "w.safetensors")
    assert "x: expected ordinary numbers, found torch.float8_e4m3fn" in refusal(tmp_path / "w.safetensors")


GUARDED = """
import resource, sys
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.published import read_state
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_state(path)
        print("read")
    except BadInput as error:
        print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.filterwarnings("ignore")  # of torch: quantised tensors are deprecated
def test_no_file_makes_itself_larger(tmp_path: Path) -> None:
    large = torch.zeros(250_000)
    contents = {
        "clones": {f"p{number}": large for number in range(20_000)},
        "clones in parts": {f"p{number}": large[number:] for number in range(2_000)},
        "expanded": {"x": torch.zeros(1).expand(2**40)},
        "quantised": {"x": torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.quint8)},
        "long": {"x": torch.zeros(0).expand(0)},
    }
    paths = []
    for legacy in (False, True):
        for name, content in contents.items():
            paths.append(tmp_path / f"{name} {legacy}.pth")
            torch.save(content, paths[-1], _use_new_zipfile_serialization=not legacy)
    ladder = b"\x80\x02})" + b"2\x86" * 60 + b"Ns."
    paths += [write_torchscript(tmp_path / "ladder.pt", ladder), tmp_path / "ladder.pth", tmp_path / "numel.pth"]
    paths[-2].write_bytes(ladder)
    torch.save(STATE, paths[-1], _use_new_zipfile_serialization=False)
    program = paths[-1].read_bytes()
    assert program.count(b"K\x06N") == 1
    paths[-1].write_bytes(program.replace(b"K\x06N", b"\x8a\x06" + (2**40).to_bytes(6, "little") + b"N"))
    run = subprocess.run([sys.executable, "-c", GUARDED, *paths], capture_output=True, text=True, timeout=60)
    *said, kilobytes = run.stdout.split()
    assert run.returncode == 0, run.stderr
    assert dict(zip((p.stem for p in paths), said, strict=True)) == {
        path.stem: "read" if path.stem.startswith("long") else "refused" for path in paths
    }
    assert int(kilobytes) < 150_000


@pytest.mark.parametrize("legacy", [False, True])
def test_a_state_dict_with_its_metadata(tmp_path: Path, legacy: bool) -> None:
    net = Net()
    torch.save(net.state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    assert b"_metadata" in (tmp_path / "w.pth").read_bytes()
    state = read_state(tmp_path / "w.pth")
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


def test_one_tensor_of_several_names(tmp_path: Path) -> None:
    weight = torch.arange(6.0)
    for legacy in (False, True):
        torch.save({"a": weight, "b": weight, "c": weight[3:]}, tmp_path / "w.pth",
                   _use_new_zipfile_serialization=not legacy)  # fmt: skip
        state = read_state(tmp_path / "w.pth")
        assert {key: value.tolist() for key, value in state.items()} == {
            "a": [0, 1, 2, 3, 4, 5], "b": [0, 1, 2, 3, 4, 5], "c": [3, 4, 5]
        }  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
def test_types_layouts_and_what_lies_beside(tmp_path: Path, legacy: bool) -> None:
    """The result is that of torch's own reader."""
    value = {
        "model": collections.OrderedDict(
            half=torch.arange(3).half(), bf=torch.arange(3).bfloat16(), long=torch.arange(3), none=torch.zeros(0, 2),
            t=torch.arange(6.0).reshape(2, 3).T, one=torch.tensor(2.0), yes=torch.tensor([True]),
            parameter=torch.nn.Parameter(torch.ones(2)), byte=torch.arange(3, dtype=torch.uint8),
        ),
        "epoch": 3, "dtype": torch.float32, "device": torch.device("cpu"), "lr": [1e-3, None], "best": np.float64(2),
    }  # fmt: skip
    torch.save(value, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    state = read_state(tmp_path / "w.pth")
    assert list(state) == list(value["model"])
    for key, expected in value["model"].items():
        assert (state[key].dtype, state[key].shape) == (expected.dtype, expected.shape)
        assert torch.equal(state[key], expected)


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    path = write_torchscript(tmp_path / "w.pt", bytes(1 << 20), zipfile.ZIP_DEFLATED)
    assert re.search("its members are more than 20 times as large as the file", refusal(path))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(way=st.sampled_from(WAYS), data=st.data())
def test_damaged_files_never_crash(tmp_path: Path, way: str, data: st.DataObject) -> None:
    path = write(tmp_path, way)
    whole = bytearray(path.read_bytes())
    # relative positions, because a file's length varies by a few bytes each time it is written
    for place in data.draw(st.lists(st.integers(0, 10**9 - 1), max_size=4)):
        bit = place * len(whole) * 8 // 10**9
        whole[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(whole[: max(1, data.draw(st.integers(0, 10**9)) * len(whole) // 10**9)]))
    state, reason = {}, ""
    try:
        state = read_state(path)
    except BadInput as error:
        reason = str(error)
    if reason:
        assert reason.startswith(str(path))
        return
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
    assert way in UNCHECKED or same(state)  # with checksums, what is read is what was written


@pytest.mark.parametrize("old", [True, False])
def test_fill_takes_both_names_of_weight_normalisation(old: bool) -> None:
    torch.manual_seed(1)
    net = Net()
    torch.nn.init.zeros_(net.body[0].weight)
    fill(net, STATE if old else Net().state_dict(), "w.pth", what="Net", fix="None.")
    assert same(export_state(net))
    assert list(STATE)[-2:] == ["head.weight_g", "head.weight_v"]


def test_only_counters_may_be_absent() -> None:
    net = Net()
    net.body[1].num_batches_tracked.fill_(7)
    fill(net, {k: v for k, v in STATE.items() if not k.endswith("num_batches_tracked")}, "w", what="Net", fix="None.")
    assert same(export_state(net))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"body.0.bias": None}, "found no body.0.bias. Fix"),
        ({"body.0.bias": None, "head.bias": None}, "found no body.0.bias and 1 more. Fix"),
        ({"extra": torch.zeros(1)}, "found extra, which it does not have. Fix"),
        ({"body.0.bias": torch.zeros(4)}, r"found body.0.bias of shape \(4,\) instead of \(3,\). Fix"),
    ],
)
def test_fill_is_strict(change: dict, found: str) -> None:
    state = {key: value for key, value in {**STATE, **change}.items() if value is not None}
    with pytest.raises(BadInput, match=rf"w.pth: expected the weights of Net, {found}"):
        fill(Net(), state, "w.pth", what="Net", fix="Fix.")


@pytest.mark.parametrize("others", [{}, {"generator.audio2exp.head.bias": torch.zeros(1)}])
def test_one_network_of_several_in_a_file(tmp_path: Path, others: dict) -> None:
    save_file({f"audio2exp.{key}": value for key, value in STATE.items()} | others, tmp_path / "all.safetensors")
    net = load_published(blank(), tmp_path / "all.safetensors", what="Net", fix="Fix.", prefix="audio2exp.")
    assert same(export_state(net))
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    with pytest.raises(BadInput, match=r"found no body.0.weight and \d+ more; audio2exp\."):
        load_published(blank(), tmp_path / "all.safetensors", what="Net", fix="Fix.", prefix="audio2pose.")


def test_a_network_alone_has_no_prefix(tmp_path: Path) -> None:
    for path in (
        write(tmp_path, "wrapped"),
        write(tmp_path, "safetensors").rename(tmp_path / "model.safetensors").parent,
    ):
        assert same(export_state(load_published(blank(), path, what="Net", fix="Fix.", prefix="audio2exp.")))


def blank() -> Net:
    net = Net()
    for value in net.state_dict().values():
        value.zero_()
    return net
