from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.corpus.format import Recording, open_corpus, write_corpus
from learn2talk_core.corpus.offset import AudioOffset, measure_offset
from learn2talk_core.datasets.embedded.generate import CorpusSize, cast_packaged, make_corpus
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput
from tests.toy import sheet, topology, toy_corpus


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = CorpusSize(
        train_speakers=2,
        validation_speakers=0,
        unseen_speakers=0,
        train_sentences=5,
        seen_test_sentences=1,
        other_sentences=0,
    )
    roles = cast_packaged(size, 3)
    folder = tmp_path_factory.mktemp("embedded") / "corpus"
    make_corpus(folder, roles, 3, 1.0, jobs=1)
    return folder


def moved(folder: Path, out: Path, seconds: float, *, pairs: bool = True) -> Path:
    """The corpus with its sound delayed by `seconds`; the overlapping part of each clip."""
    corpus = open_corpus(folder)
    samples, frames = round(16_000 * abs(seconds)), round(30 * abs(seconds))

    def recordings() -> list[Recording]:
        made = []
        for clip in corpus.clips:
            motion, audio = corpus.vertices(clip), corpus.audio(clip)
            motion, audio = (motion[frames:], audio) if seconds > 0 else (motion, audio[samples:])
            made.append(Recording(clip.id, clip.speaker, clip.sentence, "", clip.split, audio, motion))
        return made

    shape = corpus.topology
    write_corpus(
        out,
        recordings(),
        topology=shape if pairs else Topology(shape.faces, shape.regions, np.zeros((0, 2), int), shape.colours),
        templates=corpus.templates,
        train_speakers=corpus.train_speakers,
        fps=corpus.fps,
        mm_per_unit=corpus.mm_per_unit,
        recipe="moved",
    )
    return out


@pytest.mark.parametrize("seconds", [0.1, -0.1])
def test_a_shift_that_was_put_in_is_found(embedded: Path, tmp_path: Path, seconds: float) -> None:
    truth = measure_offset(open_corpus(embedded))
    found = measure_offset(open_corpus(moved(embedded, tmp_path / "c", seconds)))
    assert abs(truth.lag_ms) < 25
    assert truth.correlation > 0.3
    assert truth.low_ms <= truth.lag_ms + 15
    assert truth.high_ms >= truth.lag_ms - 15
    assert found.lag_ms - truth.lag_ms == pytest.approx(-1000 * seconds, abs=15)  # twelve clips


def test_without_lip_pairs(embedded: Path, tmp_path: Path) -> None:
    truth = measure_offset(open_corpus(embedded))
    found = measure_offset(open_corpus(moved(embedded, tmp_path / "c", -0.1, pairs=False)))
    assert found.lag_ms - truth.lag_ms == pytest.approx(100, abs=25)


def test_toy_whose_mouth_is_its_loudness(tmp_path: Path) -> None:
    found = measure_offset(toy_corpus(tmp_path / "c"))
    assert found.lag_ms == pytest.approx(0, abs=20)
    assert found.correlation > 0.8
    assert found.clips == 7


def test_nothing_to_measure(tmp_path: Path) -> None:
    still = np.repeat(sheet()[None], 60, axis=0)
    recording = Recording("a", "A", "1", "", "train", np.zeros(32_000, np.float32), still)
    write_corpus(
        tmp_path / "c",
        [recording],
        topology=topology(),
        templates={"A": sheet()},
        train_speakers=["A"],
        fps=30,
        mm_per_unit=1000,
        recipe="toy",
    )
    with pytest.raises(BadInput, match=r"expected clips longer than 0.6 s with sound and moving lips, found none"):
        measure_offset(open_corpus(tmp_path / "c"))


def test_its_line() -> None:
    assert str(AudioOffset(-12.4, -20.2, 3.0, 0.456, 9)) == (
        "lips open 12 ms before the sound (middle half of 9 clips -20 … 3 ms, correlation 0.46)"
    )
