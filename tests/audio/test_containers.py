import struct
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.audio.sound import read_sound
from learn2talk_core.run.errors import BadInput
from tests.audio.sounds import LIBSNDFILE, encoded, tone, written

# Where each container states the length of its samples: the text before it, bytes between, and the number's format.
LENGTHS = {
    "wav": (b"data", 4, "<I"),
    "rf64": (b"ds64", 16, "<Q"),
    "w64": (b"data", 16, "<Q"),
    "aiff": (b"SSND", 4, ">I"),
    "au": (b".snd", 8, ">I"),
    "caf": (b"data", 4, ">q"),
}


def restated(kind: str, change: int | None = None, to: int | None = None) -> bytes:
    """A file whose header states `change` bytes of samples more than there are, or `to` bytes."""
    content = encoded(kind)
    name, between, form = LENGTHS[kind]
    place = content.index(name) + between
    (true,) = struct.unpack_from(form, content, place)
    told = struct.pack(form, true + change if change is not None else to)
    return content[:place] + told + content[place + len(told) :]


@pytest.mark.parametrize("kept", [0.6, 0.9])
@pytest.mark.parametrize("kind", [*LIBSNDFILE, "m4a", "fast.m4a"])
def test_files_whose_end_is_missing_are_refused(tmp_path: Path, kind: str, kept: float) -> None:
    content = encoded(kind)
    path = written(tmp_path, kind, content[: int(kept * len(content))])
    with pytest.raises(BadInput, match=rf"speech\.{kind}: expected .*(is cut short|or an incomplete file)"):
        read_sound(path)


@pytest.mark.parametrize("change", [16, 44, -44])
@pytest.mark.parametrize("kind", LENGTHS)
def test_a_length_that_is_off_by_a_header_is_no_error(
    tmp_path: Path, kind: str, change: int, caplog: pytest.LogCaptureFixture
) -> None:
    wave = read_sound(written(tmp_path, kind, restated(kind, change=change)))
    missed = 22 if change < 0 else 2  # a CAF's length includes four bytes that are not samples
    assert 16000 - max(missed, 22) <= len(wave) <= 16000
    assert np.abs(wave - tone()[: len(wave)]).max() < 1e-3
    assert ("bytes of samples and the file has" in caplog.text) == (change > 0)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        *[("wav", told) for told in (0, 0x7FFFF000, 0x7FFFFFFF, 2_000_000_000, 0x80000000, 0xFFFFFFFF)],
        *[("au", told) for told in (0x7FFFFFFF, 0xFFFFFFFF)],
        *[("caf", told) for told in (0, -1)],
        *[("w64", told) for told in (0, 2**63 - 1)],
        ("aiff", 0x7FFFFFFF),
    ],
)
def test_a_length_that_was_not_known_is_read_to_the_end(
    tmp_path: Path, kind: str, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    wave = read_sound(written(tmp_path, kind, restated(kind, to=told)))
    assert len(wave) == 16000
    assert np.abs(wave - tone()).max() < 1e-3
    assert ("states 0 bytes" in caplog.text) == (told == 0)


def test_what_follows_no_samples_may_be_other_chunks(tmp_path: Path) -> None:
    content = encoded("wav", np.zeros(0, np.float32)) + b"LIST" + struct.pack("<I", 4000) + bytes(4000)
    with pytest.raises(BadInput, match=r"expected at least 0\.1 s of sound, found 0\.000 s"):
        read_sound(written(tmp_path, "wav", content))


@pytest.mark.parametrize("kind", ["wav", "w64", "caf"])
def test_a_file_that_ends_before_its_samples_is_refused(tmp_path: Path, kind: str) -> None:
    content = encoded(kind)
    path = written(tmp_path, kind, content[: content.rindex(b"data")])
    with pytest.raises(BadInput, match="expected a sound file with samples, found no chunk of samples"):
        read_sound(path)


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_ogg_streams_end_to_end_are_all_read(tmp_path: Path, kind: str) -> None:
    wave = read_sound(written(tmp_path, kind, encoded(kind) + encoded(kind, tone(0.5, seed=1))))
    assert abs(len(wave) - 24000) < 1000
    assert np.abs(wave[12000:15000]).max() > 0.3 < np.abs(wave[20000:23000]).max()


def test_an_ogg_without_its_last_page_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = encoded("ogg", tone(3.0))
    path = written(tmp_path, "ogg", content[: content.rindex(b"OggS")])
    assert 8000 < len(read_sound(path)) < 48000
    assert "its last Ogg page is not marked as the last; the end may be missing" in caplog.text


def test_a_flac_from_a_pipe_does_not_tell_its_length(tmp_path: Path) -> None:
    content = bytearray(encoded("flac"))
    content[21] &= 0xF0  # the number of samples: 36 bits of the first block
    content[22:26] = bytes(4)
    assert len(read_sound(written(tmp_path, "flac", bytes(content)))) == 16000
