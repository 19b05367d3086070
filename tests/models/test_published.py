"""Strangers' files with weights: the right ones exactly, anything else refused, nothing run."""

import contextlib
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from learn2talk_core.errors import BadInput
from learn2talk_core.models.published import published_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def assert_state(found):
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_plain_wrapped_and_parallel_state_dicts(tmp_path):
    torch.save(STATE, tmp_path / "plain.pth")
    torch.save({"model": STATE, "optimizer": {"step": 1}, "epoch": 300}, tmp_path / "wrapped.pth")
    torch.save({f"module.{key}": value for key, value in STATE.items()}, tmp_path / "parallel.pth")
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_state(published_weights(tmp_path / "plain.pth"))
    assert_state(published_weights(tmp_path / "plain.pth", wrapper="model"))
    assert_state(published_weights(tmp_path / "wrapped.pth", wrapper="model"))
    assert_state(published_weights(tmp_path / "parallel.pth"))
    assert_state(published_weights(tmp_path / "old.pth"))


def test_prefix_is_matched_at_the_beginning_only(tmp_path):
    both = {f"audio2exp.{key}": value for key, value in STATE.items()}
    save_file({**both, "generator.audio2exp.a.bias": torch.zeros(1)}, tmp_path / "all.safetensors")
    assert_state(published_weights(tmp_path / "all.safetensors", prefix="audio2exp."))
    with pytest.raises(BadInput, match=r"expected keys that begin with audio2pose\., found others, such as audio2exp"):
        published_weights(tmp_path / "all.safetensors", prefix="audio2pose.")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_is_not_run(tmp_path):
    for number, value in enumerate([Evil(tmp_path / "run"), {"model": Evil(tmp_path / "run")}]):
        for zipped in (True, False):
            torch.save(value, tmp_path / f"{number}{zipped}.pth", _use_new_zipfile_serialization=zipped)
            with pytest.raises(BadInput, match="nothing but tensors and plain containers"):
                published_weights(tmp_path / f"{number}{zipped}.pth", wrapper="model")
    assert not (tmp_path / "run").exists()


def test_a_page_saved_as_weights_and_half_a_download(tmp_path):
    torch.save(STATE, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    save_file(STATE, tmp_path / "whole.safetensors")
    tensors = (tmp_path / "whole.safetensors").read_bytes()
    for name, content in {
        "page.pth": b"<!DOCTYPE html><html>Quota exceeded</html>",
        "half.pth": whole[: len(whole) // 2],
        "empty.pth": b"",
        "page.safetensors": b"<!DOCTYPE html><html>Quota exceeded</html>",
        "half.safetensors": tensors[: len(tensors) - 5],
        "empty.safetensors": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match="found something else, or a part of one"):
            published_weights(tmp_path / name)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["zip.pth", "old.pth", "w.safetensors"]))
def test_flipped_and_missing_bytes_give_an_error_or_tensors(tmp_path, data, kind):
    path = tmp_path / kind
    if kind == "w.safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip.pth")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
        content[place] ^= 1 << bit
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(BadInput):
        assert all(isinstance(value, torch.Tensor) for value in published_weights(path).values())


class Program(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.script(Program()).save(str(tmp_path / "w.pt"))
    with pytest.raises(BadInput, match="a TorchScript archive, which is a program"):
        published_weights(tmp_path / "w.pt")


def test_what_is_no_state_dict(tmp_path):
    torch.save({"net": 3, "epoch": 1}, tmp_path / "w.pth")
    with pytest.raises(BadInput, match="expected a state dict, found a dictionary with epoch, net"):
        published_weights(tmp_path / "w.pth")
    torch.save([torch.zeros(1)], tmp_path / "w.pth")
    with pytest.raises(BadInput, match="expected a state dict, found list"):
        published_weights(tmp_path / "w.pth")
    with pytest.raises(BadInput, match="found no such file"):
        published_weights(tmp_path / "none.pth")
