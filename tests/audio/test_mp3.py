import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from learn2talk_core.audio.mp3 import mp3_parts
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.run.errors import BadInput
from tests.audio.sounds import encoded, tone, written

XING, BARE = "mp3", "bare.mp3"


def frames(samples: int) -> int:
    return -(-samples // 576)  # MPEG 2 at 16 kHz


@pytest.mark.parametrize("kind", [XING, BARE])
def test_frames_are_counted(tmp_path: Path, kind: str) -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x00" + b"\xff\xf3\x40\xc4" * 32 + b"TAG" + bytes(125)
    for before in (b"", tag[:138]):
        (part,) = mp3_parts(written(tmp_path, kind, before + encoded(kind) + tag[138:]))
        assert frames(16000) <= part.found <= frames(16000) + 3
        assert part.told == (part.found if kind == XING else None)
        assert (part.frame.rate, part.frame.samples, part.frame.mono) == (16000, 576, True)
        assert part.start == len(before)


@pytest.mark.parametrize(("first", "second"), [(XING, XING), (XING, BARE), (BARE, XING), (BARE, BARE)])
def test_files_end_to_end_are_all_read(tmp_path: Path, first: str, second: str) -> None:
    one, two = tone(), 0.5 * tone(0.7, seed=1)
    path = written(tmp_path, "mp3", encoded(first, one) + encoded(second, two))
    wave = read_sound(path)
    assert abs(len(wave) - 27200) < 6 * 576
    assert wave[2000:14000].std() == pytest.approx(one.std(), rel=0.1)
    assert wave[-8000:-2000].std() == pytest.approx(two.std(), rel=0.1)


def test_rates_may_differ(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.repeat(tone(), 3)[:, None].repeat(2, axis=1), 48000, format="MP3")
    wave = read_sound(written(tmp_path, "mp3", encoded(BARE) + buffer.getvalue()))
    assert abs(len(wave) - 32000) < 3 * 576


def test_a_cut_one_is_refused_by_its_count(tmp_path: Path) -> None:
    content = encoded(XING)
    with pytest.raises(BadInput, match=r"expected 30 frames of MP3, as its header says, found 1\d: .* cut short"):
        read_sound(written(tmp_path, "mp3", content[: int(0.6 * len(content))]))
    with pytest.raises(BadInput, match=r"found 1\d: .* cut short"):  # the second of two
        read_sound(written(tmp_path, "mp3", content + content[: int(0.6 * len(content))]))


def test_without_a_count_it_is_read_to_the_end(tmp_path: Path) -> None:
    """libsndfile guesses the length from the first frames; loud frames are larger than the others."""
    wave = np.concatenate([tone(2.0) + np.random.default_rng(1).normal(size=32000) / 4, np.zeros(10 * 16000), tone()])
    found = read_sound(written(tmp_path, "mp3", encoded(BARE, wave.astype(np.float32), quality=0)))
    assert abs(len(found) - len(wave)) < 4 * 576
    assert found[-8000:-2000].std() == pytest.approx(tone().std(), rel=0.1)


def test_damage_in_the_middle_ends_nothing(tmp_path: Path) -> None:
    content = bytearray(encoded(BARE, tone(3.0)))
    whole = mp3_parts(written(tmp_path, "mp3", bytes(content)))[0].found
    content[4060:4160] = b"\xff" * 100
    (part,) = mp3_parts(written(tmp_path, "mp3", bytes(content)))
    assert whole - 3 <= part.found < whole


@pytest.mark.parametrize("kind", ["wav", "aac", "ogg", "m4a"])
def test_other_files_are_none(tmp_path: Path, kind: str) -> None:
    assert mp3_parts(written(tmp_path, kind, encoded(kind))) == []
