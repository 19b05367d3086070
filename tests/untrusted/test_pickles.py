import collections
import contextlib
import copyreg
import io
import os
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.pickles import load_array, load_pickle
from tests.pickles import Reduces, Victim, chumpy, malicious, object_array, python2_array


def test_plain_data_of_every_protocol(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    value = {
        "text": "Zürich",
        "bytes": b"\x00\xff",
        "empty": b"",
        "bytearray": bytearray(b"ab\xfe"),
        "numbers": [1, -(2**70), 0.5, True, None, 2 + 3j],
        "tuple": ((), (1,), (1, "b", (2,))),
        "sets": {"a", 3},
        "frozen": frozenset({4}),
        ("a", 1): "tuple key",
        "arrays": [
            rng.normal(size=(3, 4)).astype(np.float32),
            np.asfortranarray(rng.normal(size=(3, 4))),
            rng.integers(0, 9, (2, 1, 2)),
            np.zeros((0, 3), np.int16),
            np.array(5),
            np.array([True, False]),
            np.array(["a", "bcd"]),
            np.array([b"xy"]),
            np.arange(3, dtype=">i4"),
            np.array([1 + 2j], np.complex64),
        ],
        "scalars": [np.float32(1.5), np.int64(7), np.bool_(True)],
    }
    value["twice"] = value["arrays"][0]
    path = tmp_path / "x.pkl"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(value, protocol))
        found = load_pickle(path)
        assert found["twice"] is found["arrays"][0]
        for a, b in zip(found.pop("arrays"), value["arrays"], strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")  # NumPy itself makes them native
            assert a.flags.f_contiguous == b.flags.f_contiguous
        assert [type(s) for s in found["scalars"]] == [np.float32, np.int64, np.bool_]
        del found["twice"]
        assert found == {key: item for key, item in value.items() if key not in ("arrays", "twice")}


def test_ordered_and_default_dictionaries_come_back_plain(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    default: dict[str, list[int]] = collections.defaultdict(list)
    default["a"].append(1)
    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps([collections.OrderedDict([("b", 1), ("a", 2)]), default], protocol))
        ordered, plain = load_pickle(path)
        assert list(ordered.items()) == [("b", 1), ("a", 2)]
        assert type(plain) is dict
        assert plain == {"a": [1]}


@pytest.mark.parametrize("kind", [scipy.sparse.csc_matrix, scipy.sparse.csr_matrix])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_sparse_matrices(tmp_path: Path, kind: Any, protocol: int) -> None:
    dense = np.diag([1.0, 0, 3])[:, :2]
    path = tmp_path / "x.pkl"
    content = pickle.dumps(kind(dense), protocol)
    older = content.replace(b"cscipy.sparse._", b"cscipy.sparse.")  # before SciPy 1.8; not with protocol 4
    for program in (content, older):
        path.write_bytes(program)
        found = load_pickle(path)
        assert type(found) is kind
        np.testing.assert_array_equal(found.toarray(), dense)
        np.testing.assert_array_equal((found @ np.ones((2, 1))).ravel(), dense.sum(1))


def test_a_sparse_matrix_that_points_outside_is_refused(tmp_path: Path) -> None:
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.indices[1] = 10**6
    path = _write(tmp_path, pickle.dumps(matrix))
    with pytest.raises(BadInput, match="expected a pickle, found a damaged or different one"):
        load_pickle(path)


def test_python_2_pickles_and_chumpy(tmp_path: Path) -> None:
    template = np.random.default_rng(0).normal(size=(5, 3))
    ids = np.arange(6)[::-1].astype(np.int64)
    dirty = b"U\x0b_dirty_varsc__builtin__\nset\n]U\x01xa\x85R"
    program = b"\x80\x02}(U\x0av_template" + chumpy("Ch", x=python2_array(template))[:-2] + dirty + b"ub"
    program += b"U\x03sel" + chumpy("Select", a=chumpy("Ch", x=python2_array(template)), idxs=python2_array(ids))
    program += b"U\x06shaped" + chumpy("Reshape", a=chumpy("Ch", x=python2_array(template)), newshape=b"K\x03K\x05\x86")
    program += b"U\x01t" + chumpy("transpose", a=chumpy("Ch", x=python2_array(template)), axes=b"N")
    program += b"U\x04nameU\x06Z\xfcrichu."
    found = load_pickle(_write(tmp_path, program))
    for array in (found["v_template"], found["sel"], found["shaped"], found["t"]):
        assert type(array) is np.ndarray
    np.testing.assert_array_equal(found["v_template"], template)
    np.testing.assert_array_equal(found["sel"], template.ravel()[ids])
    np.testing.assert_array_equal(found["shaped"], template.reshape(3, 5))
    np.testing.assert_array_equal(found["t"], template.T)
    assert found["name"] == "Zürich"
    assert "chumpy" not in sys.modules


def test_python_2_protocol_0(tmp_path: Path) -> None:
    class_of_old = b"ccopy_reg\n_reconstructor\np0\n(cchumpy.ch\nCh\np1\nc__builtin__\nobject\np2\nNtRp3\n"
    program = class_of_old + b"(dp4\nS'x'\np5\n" + python2_array(np.arange(4.0)) + b"sb."
    np.testing.assert_array_equal(load_pickle(_write(tmp_path, program)), np.arange(4.0))


# --- what must be refused


def test_nothing_malicious_is_obeyed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    copyreg.add_extension("os", "system", 0xF0)
    try:
        for name, content in malicious(marker).items():
            path = _write(tmp_path, content)
            with pytest.raises(BadInput) as caught:
                load_pickle(path)
            message = str(caught.value)
            assert message.startswith(f"{path}: expected "), name
            assert "Nothing in the file was run, but it may be malicious" in message, name
            assert not marker.exists(), name
    finally:
        copyreg.remove_extension("os", "system", 0xF0)
    assert not Victim.touched
    pickle.loads(malicious(marker)["os.system"])  # the test can fail: an ordinary unpickler runs the code
    assert marker.exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("os.system", "found the name posix.system"),
        ("os.system by INST", "found the name os.system"),
        ("numpy.load", "found the name numpy.load"),
        ("array of objects", "expected arrays of numbers, not of objects, found an array of dtype 'O8'"),
        ("BUILD of a class", "found a state for numpy.ndarray"),
        ("_reconstruct of a subclass", "found the name numpy.matrix"),
        ("a bare class", "found a bare"),
        ("an object without content", "found an object without its content"),
    ],
)
def test_the_error_names_what_was_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_pickle(_write(tmp_path, malicious(tmp_path / "m")[name]))
    assert said in str(caught.value)


def test_shared_dtypes_of_numpy_stay_as_they_are(tmp_path: Path) -> None:
    program = b"cnumpy\ndtype\n(S'f8'\nI00\nI00\ntR(I3\nS'>'\nNNNI-1\nI-1\nI0\ntb."
    with pytest.raises(BadInput, match="an object without its content"):
        load_pickle(_write(tmp_path, program))
    assert np.dtype("f8").byteorder == "="


BOMBS = {
    "bytes": b"\x8e" + struct.pack("<Q", 10**11) + b"abc.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 10**11) + b"abc.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 10**11) + b"N.",
    "memo": b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b".",
    "long": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
    "one text encoded many times": b"\x80\x02X" + struct.pack("<I", 10**6) + b"a" * 10**6 + b"q\x00](" + 40 * (
        b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R") + b"e.",
    "sets": b"\x80\x04](" + b"\x8f" * 300_000 + b"e.",
    "sparse matrices": b"\x80\x02](cscipy.sparse.csc\ncsc_matrix\nq\x00" + b"h\x00)\x81" * 100_000 + b"e.",
    "entries in the memo": b"\x80\x04N" + b"\x94" * 300_000 + b".",
    "hashed by SETITEM": b"\x80\x02})" + b"2\x86" * 100 + b"Ns.",
    "hashed by SETITEMS": b"\x80\x02}()" + b"2\x86" * 100 + b"Nu.",
    "hashed by DICT": b"\x80\x02()" + b"2\x86" * 100 + b"Nd.",
    "hashed by ADDITEMS": b"\x80\x04\x8f()" + b"2\x86" * 100 + b"\x90.",
    "hashed by FROZENSET": b"\x80\x04()" + b"2\x86" * 100 + b"\x91.",
    "hashed by set": b"\x80\x02c__builtin__\nset\n])" + b"2\x86" * 100 + b"a\x85R.",
}  # fmt: skip
LADDER = b"2\x86" * 60  # tuples, each containing the previous one twice
LISTS = b"](NN" + b"eq\x00(h\x00h\x00l" * 60  # the same with lists
BOMBS |= {
    "printed as a dtype": b"cnumpy\ndtype\n(" + LISTS + b"tR.",
    "printed as a class": b"\x80\x02" + LISTS + b"N\x81.",
    "printed as a base": b"ccopy_reg\n_reconstructor\n(" + LISTS + b"NNtR.",
    "hashed as a class": b"cnumpy.core.multiarray\n_reconstruct\n()" + LADDER + b"I0\ntI0\ntR.",
    "hashed as a base": b"ccopy_reg\n_reconstructor\n(N)" + LADDER + b"NtR.",
    "compared as a byte order": b"cnumpy\ndtype\n(S'f8'\ntR(I3\n)" + LADDER + b"NNNtb.",
    "made an array": b"\x80\x02)" + LADDER + b".",
    "filled from above": b"\x80\x02" + b"".join(b"]q%c0" % n for n in range(60))
    + b"".join(b"h%ch%cah%ca0" % (n, n + 1, n + 1) for n in range(59)) + b"h\x00.",
    "in a dictionary": b"\x80\x02}(U\x01a" + LISTS + b"u.",
    "holds itself": b"\x80\x02]q\x00h\x00a.",
    "deep": b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    "one array many times": pickle.dumps([np.zeros(50_000)] * 100_000),
    "one text many times": pickle.dumps(["a" * 500_000] * 100_000),
    "keys that are long": b"\x80\x02(" + b"N" * 100_000 + b"tq\x000}" + b"h\x00Ns" * 100_000 + b".",
    "keys that hash alike": b"\x80\x02}(" + b"".join(
        b"\x8a\x0c" + ((2**61 - 1) * n).to_bytes(12, "little") + b"N" for n in range(1, 50_000)) + b"u.",
    "keys that are pairs": pickle.dumps({(n, n): None for n in range(20_000)}),
    "a wide sparse matrix": pickle.dumps(scipy.sparse.csr_matrix((1, 10**9))),
    "one entry of an array many times": chumpy(
        "Select", a=chumpy("Ch", x=python2_array(np.array(["a" * 100_000]))), idxs=python2_array(np.zeros(100_000, int))
    ) + b".",
}  # fmt: skip

GUARDED = """
import resource, sys
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.pickles import load_array, load_pickle
from tests.pickles import Reduces, Victim, chumpy, malicious, object_array, python2_array
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        (load_array if path.endswith(".npy") else load_pickle)(path)
        print("read")
    except BadInput as error:
        print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_file_makes_itself_larger(tmp_path: Path) -> None:
    paths = []
    for number, content in enumerate(BOMBS.values()):
        paths.append(tmp_path / f"{number}.pkl")
        paths[-1].write_bytes(content)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**11,)})
    paths.append(tmp_path / "long.npy")
    paths[-1].write_bytes(header.getvalue() + b"12345678")
    run = subprocess.run([sys.executable, "-c", GUARDED, *paths], capture_output=True, text=True, timeout=60)
    *said, kilobytes = run.stdout.split()
    assert run.returncode == 0, run.stderr
    expected = {"memo": "read"}
    assert said == [*(expected.get(name, "refused") for name in BOMBS), "refused"]
    assert int(kilobytes) < 50_000


@pytest.mark.parametrize("name", ["bytes", "bytearray", "frame", "long"])
def test_a_length_beyond_the_file_is_seen_before_memory_is_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"a damaged or different one \(EOFError: the file is cut short\)"):
        load_pickle(_write(tmp_path, BOMBS[name]))


def test_npy(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for array in (np.arange(6.0).reshape(2, 3), np.zeros((0, 3)), np.asfortranarray(np.eye(3, 2)), np.array(3)):
        np.save(path, array)
        for mmap in (False, True):
            found = load_array(path, mmap=mmap)
            np.testing.assert_array_equal(found, array)
            assert isinstance(found, np.memmap) == mmap
            assert found.flags.writeable != mmap


def test_npy_with_objects_is_refused(tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "x.npy"
    np.save(path, object_array(Reduces(os.system, (f"touch {marker}",))), allow_pickle=True)
    with pytest.raises(
        BadInput, match=r"expected one complete array of numbers \(\.npy\), found ValueError: .*[Oo]bject"
    ):
        load_array(path)
    np.save(path, np.zeros(2, [("a", "f4")]))
    with pytest.raises(BadInput, match="expected an array of numbers, found an array of"):
        load_array(path)
    assert not marker.exists()


def test_npy_of_another_length_or_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(100.0))
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:50], b"", whole + b"x", pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="Get the file again from its publisher"):
            load_array(path)
    np.savez(tmp_path / "x.npz", a=np.arange(3))
    with pytest.raises(BadInput):
        load_array(tmp_path / "x.npz")


def test_missing_files(tmp_path: Path) -> None:
    for read in (load_pickle, load_array):
        with pytest.raises(BadInput, match="expected a file, found nothing"):
            read(tmp_path / "x")
        with pytest.raises(BadInput, match="expected a file, found a folder"):
            read(tmp_path)


# --- fuzz

SAMPLES = {
    "voca.pkl": pickle.dumps({"F": {"s01": {"audio": np.arange(50, dtype=np.int16), "sample_rate": 22000}}}, 2),
    "python2.pkl": b"\x80\x02" + chumpy("Ch", x=python2_array(np.arange(12.0).reshape(4, 3))) + b".",
    "protocol0.pkl": pickle.dumps({"a": [1, 2.5, np.arange(4)], "b": (None, "x")}, 0),
    "protocol5.pkl": pickle.dumps({"a": np.arange(40.0).reshape(8, 5), "b": scipy.sparse.csc_matrix(np.eye(4))}, 5),
}
PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, np.generic, np.ndarray, scipy.sparse.csc_matrix)


def _damaged(content: bytes, choose: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(choose.randint(1, 4)):
        if not data:
            break
        if choose.random() < 0.15:
            del data[choose.randrange(len(data)) :]
        else:
            data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
    return bytes(data)


def _assert_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _assert_plain(key)
            _assert_plain(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _assert_plain(item)
    else:
        assert isinstance(value, PLAIN), type(value)
        if isinstance(value, np.ndarray):
            assert not value.dtype.hasobject


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(SAMPLES)), seed=st.integers(0, 2**32))
def test_damaged_pickles_give_an_error_or_plain_data(tmp_path: Path, name: str, seed: int) -> None:
    path = _write(tmp_path, _damaged(SAMPLES[name], random.Random(seed)))
    try:
        value = load_pickle(path)
    except BadInput as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        _assert_plain(value)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=st.binary(max_size=60))
def test_random_programs_give_an_error_or_plain_data(tmp_path: Path, program: bytes) -> None:
    with contextlib.suppress(BadInput):
        _assert_plain(load_pickle(_write(tmp_path, program)))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_damaged_npy_gives_an_error_or_as_many_bytes(tmp_path: Path, seed: int) -> None:
    file = io.BytesIO()
    np.save(file, np.arange(60, dtype=np.float32).reshape(5, 4, 3))
    path = tmp_path / "x.npy"
    path.write_bytes(_damaged(file.getvalue(), random.Random(seed)))
    try:
        found = load_array(path)
    except BadInput as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert not found.dtype.hasobject
        assert found.nbytes == 240


def _write(folder: Path, content: bytes) -> Path:
    path = folder / "x.pkl"
    path.write_bytes(content)
    return path
