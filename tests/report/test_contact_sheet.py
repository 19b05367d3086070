from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learn2talk_core.corpus.format import Corpus, Recording, open_corpus, write_corpus
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.report.contact_sheet import close_up, phoneme_frames, show_corpus
from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.video_file import read_video

SAID = (Phoneme(0.12, 0.2, "M"), Phoneme(0.2, 0.4, "AA"), Phoneme(0.4, 0.54, "P"))
TRIANGLE = np.array([[-0.08, 0, 0], [0.08, 0, 0], [0, 0.1, 0]], np.float32)


def write(folder: Path, phonemes: tuple[Phoneme, ...] = SAID) -> Corpus:
    topology = Topology(
        np.array([[0, 1, 2]], np.int32), {"lips": np.array([0, 1])}, np.zeros((0, 2), np.int64), np.full((3, 3), 0.5)
    )
    audio = 0.3 * np.sin(np.arange(9600) / 5)
    clip = Recording("c0", "S0", "0", "Hello.", "train", audio, np.stack([TRIANGLE] * 18), phonemes)
    write_corpus(
        folder, [clip], topology=topology, templates={"S0": TRIANGLE}, train_speakers=["S0"], fps=30, mm_per_unit=1000,
        recipe="test",
    )  # fmt: skip
    return open_corpus(folder)


def test_sheet_and_video_with_sound(tmp_path: Path) -> None:
    write(tmp_path / "corpus")
    sheet, video = show_corpus(tmp_path / "corpus", tmp_path / "out", "c0")
    picture = np.asarray(Image.open(sheet).convert("L"))
    assert picture.shape[0] > 500
    assert picture.std() > 10
    frames, fps, sound = read_video(video)
    assert (len(frames), fps) == (18, 30)
    assert sound is not None
    assert np.abs(sound).max() > 0.2


def test_moments_are_middles_of_phonemes(tmp_path: Path) -> None:
    clip = write(tmp_path / "corpus").clips[0]
    assert phoneme_frames(clip, 30, 3) == ([5, 9, 14], ["M", "AA", "P"])


def test_moments_without_phonemes_are_spread(tmp_path: Path) -> None:
    clip = write(tmp_path / "corpus", ()).clips[0]
    assert phoneme_frames(clip, 30, 3) == ([0, 8, 17], ["", "", ""])


def test_close_up_looks_at_the_lips(tmp_path: Path) -> None:
    camera = close_up(write(tmp_path / "corpus"), "S0")
    assert camera.target == (0, 0, 0)
    assert camera.extent == pytest.approx(0.09)


def test_a_clip_that_does_not_exist(tmp_path: Path) -> None:
    write(tmp_path / "corpus")
    with pytest.raises(BadInput, match=r"expected a clip that exists, found 'c7'\. There are c0"):
        show_corpus(tmp_path / "corpus", tmp_path / "out", "c7")
