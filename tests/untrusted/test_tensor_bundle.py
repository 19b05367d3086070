from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.tensor_bundle import bundle_stem, masked_checksum, read_tensor_bundle
from tests.untrusted.bundles import crc32c, write_bundle

TENSORS = {
    "net/fc1/weights": np.arange(12, dtype=np.float32).reshape(3, 4),
    "net/fc1/weights/Adam": np.ones((3, 4), np.float32),
    "net/fc1/biases": np.array([0.5, -1.5], np.float32),
    "net/empty": np.zeros((0, 2), np.float32),
    "net/long": np.arange(300, dtype=np.float64),
    "global_step": np.array(52280, np.int64),
}


def test_reads_what_is_in_the_files(tmp_path: Path) -> None:
    index = write_bundle(tmp_path / "gstep_5.model", TENSORS)
    for path in (index, bundle_stem(index), index.with_name("gstep_5.model.data-00000-of-00001")):
        found = read_tensor_bundle(path)
        assert set(found) == set(TENSORS)
        for name, values in TENSORS.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values)
    assert set(read_tensor_bundle(index, skipped=("/Adam", "global_step"))) == {
        "net/fc1/weights", "net/fc1/biases", "net/empty", "net/long",
    }  # fmt: skip


def test_checksum_is_crc32c() -> None:
    """The published check value of CRC-32C is 0xE3069283 for "123456789"; LevelDB masks it."""
    plain = 0xE3069283
    masked = (((plain >> 15) | (plain << 17 & 0xFFFFFFFF)) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_checksum(b"123456789") == crc32c(b"123456789") == masked


@pytest.mark.parametrize("place", range(0, 40, 3))
def test_a_changed_byte_is_refused(place: int, tmp_path: Path) -> None:
    index = write_bundle(tmp_path / "m", TENSORS)
    for file in (index, tmp_path / "m.data-00000-of-00001"):
        raw = bytearray(file.read_bytes())
        at = place * len(raw) // 40
        if file == index and len(raw) - 48 <= at < len(raw) - 8:
            continue  # the padding of the footer is not covered by a checksum
        whole = bytes(raw)
        raw[at] ^= 0x10
        file.write_bytes(raw)
        with pytest.raises(BadInput, match=r"checksum|table|header|block|entry|tensor|file|TensorFlow"):
            read_tensor_bundle(index)
        file.write_bytes(whole)
    read_tensor_bundle(index)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95, 0.999])
def test_files_that_are_cut_short(share: float, tmp_path: Path) -> None:
    index = write_bundle(tmp_path / "m", TENSORS)
    data = tmp_path / "m.data-00000-of-00001"
    whole = index.read_bytes()
    index.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadInput, match=r"m\.index.*expected the index of a TensorFlow checkpoint"):
        read_tensor_bundle(index)
    index.write_bytes(whole)
    numbers = data.read_bytes()
    data.write_bytes(numbers[: int(share * len(numbers))])
    with pytest.raises(BadInput, match=r"which end before|the checksum of"):
        read_tensor_bundle(index)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.index.*expected a file of a TensorFlow checkpoint, found nothing"):
        read_tensor_bundle(tmp_path / "none")
    for words, reason in (({"kind": 7}, "type 7"), ({"shards": 2}, "one little-endian data file")):
        index = write_bundle(tmp_path / "odd", TENSORS, **words)  # type: ignore[arg-type]
        with pytest.raises(BadInput, match=reason):
            read_tensor_bundle(index)
    claimed = {"a": np.array([np.nan], np.float32)}
    with pytest.raises(BadInput, match="expected finite weights"):
        read_tensor_bundle(write_bundle(tmp_path / "nan", claimed))
    index = write_bundle(tmp_path / "size", {"a": np.zeros(3, np.float32)}, kind=2)  # float64 in the index
    with pytest.raises(BadInput, match=r"a tensor of shape \(3,\) in 12 bytes"):
        read_tensor_bundle(index)
