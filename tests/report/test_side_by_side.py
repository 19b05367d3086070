import numpy as np
import pytest

from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.report.side_by_side import FOOTER, HEADER, at_rate, fitted, side_by_side, sound

GREY = 128


def panel(frames: int) -> np.ndarray:
    """Pictures whose grey level is the frame's number."""
    return np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 40, 31, 3))


def test_panels_stand_beside_each_other() -> None:
    frames = list(side_by_side({"Truth": panel(6), "Student": panel(4), "Teacher": None}, "Mama", (), 30.0))
    assert len(frames) == 6
    assert {frame.shape for frame in frames} == {(HEADER + 40 + FOOTER, 94, 3)}  # even sizes for H.264
    for t, frame in enumerate(frames):
        assert (frame[HEADER : HEADER + 40, :31] == t).all()
        assert (frame[HEADER : HEADER + 40, 31:62] == min(t, 3)).all()  # the shorter one repeats its last picture
        assert (frame[HEADER : HEADER + 40, 62:93] > 3).all()
    assert (frames[0][HEADER + 40 :] < GREY).any(), "the sentence is written below"
    assert frames[0].dtype == np.uint8


def test_current_phoneme_is_written() -> None:
    phonemes = (Phoneme(0.1, 0.2, "M"), Phoneme(0.2, 0.3, "AA"))
    frames = list(side_by_side({"Truth": panel(12)}, "", phonemes, 30.0))
    strips = [frame[HEADER + 40 + 32 :] for frame in frames]
    silent = [t for t, strip in enumerate(strips) if (strip == 255).all()]
    assert silent == [t for t in range(12) if not 0.1 <= (t + 0.5) / 30 < 0.3]
    assert not np.array_equal(strips[4], strips[7])  # m, then aa


def test_at_rate() -> None:
    pictures = np.arange(5)
    np.testing.assert_array_equal(at_rate(pictures, 25, 25, 5), pictures)
    np.testing.assert_array_equal(at_rate(pictures, 25, 50, 10), np.repeat(pictures, 2))
    # at 30 fps the middle of frame t is (t + 0.5) / 30 s; the video shows picture floor(25 times that)
    np.testing.assert_array_equal(at_rate(pictures, 25, 30, 8), [0, 1, 2, 2, 3, 4, 4, 4])


@pytest.mark.parametrize("size", [(20, 40), (40, 20), (30, 30)])
def test_fitted_covers_and_keeps_the_middle(size: tuple[int, int]) -> None:
    height, width = size
    pictures = np.zeros((2, height, width, 3), np.uint8)
    pictures[:, height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3] = 255
    found = fitted(pictures, 60, 48)
    assert found.shape == (2, 60, 48, 3)
    rows, columns = np.nonzero(found[0, :, :, 0] > GREY)
    assert (rows.mean(), columns.mean()) == pytest.approx((29.5, 23.5), abs=1)


def test_sound_lasts_as_long_as_the_frames() -> None:
    audio = np.ones(16000, np.float32)
    assert len(sound(audio, 15, 30.0)) == 8000
    longer = sound(audio, 60, 30.0)
    assert (len(longer), longer.sum()) == (32000, 16000)
