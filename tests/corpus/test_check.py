import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from learn2talk_core.corpus.check import check_corpus
from learn2talk_core.corpus.format import Recording, sha256, write_corpus
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.errors import BadInput
from learn2talk_core.mesh.topology import Topology

TOPOLOGY = Topology(
    np.array([[0, 1, 2]], np.int32), {"lips": np.array([0, 2])}, np.zeros((0, 2), np.int64), np.ones((3, 3), np.float32)
)


def write(folder: Path, **changes: object) -> Path:
    """Two clips, the second with some fields changed."""
    rng = np.random.default_rng(0)
    clips = []
    for number, (speaker, split) in enumerate((("S0", "train"), ("S1", "test_unseen"))):
        audio, motion = rng.uniform(-0.5, 0.5, 16_000), rng.normal(size=(30, 3, 3))
        said = (Phoneme(0.1, 0.3, "M"), Phoneme(0.3, 0.6, "AA"))
        clips.append(Recording(f"c{number}", speaker, f"{number}", f"Sentence {number}.", split, audio, motion, said))
    clips[1] = dataclasses.replace(clips[1], **changes)  # type: ignore[arg-type]
    templates = {"S0": np.zeros((3, 3)), "S1": np.zeros((3, 3))}
    write_corpus(
        folder, clips, topology=TOPOLOGY, templates=templates, train_speakers=["S0"], fps=30, mm_per_unit=1000,
        recipe="test",
    )  # fmt: skip
    return folder


def rewrite_hash(folder: Path, name: str) -> None:
    header = json.loads((folder / "corpus.json").read_text())
    header["sha256"][name] = sha256(folder / name)
    (folder / "corpus.json").write_text(json.dumps(header))


def test_a_good_corpus(tmp_path: Path) -> None:
    contents, problems = check_corpus(write(tmp_path / "corpus"))
    assert problems == []
    assert contents[0] == "test: 30 frames a second, 3 vertices, unit 1000 mm"
    assert "train: 1 clips of 1 speakers, 0.0 minutes" in contents


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"text": " "}, "clip c1: no text"),
        ({"text": "Sentence 0."}, "sentence 'Sentence 0.': in train and in a test"),
        ({"speaker": "S0"}, "speaker S0: in train and in test_unseen"),
        ({"audio": np.zeros(16_000)}, "clip c1: silent audio"),
        ({"phonemes": (Phoneme(0.9, 1.2, "M"),)}, "clip c1: phonemes out of order or outside the clip"),
        ({"phonemes": (Phoneme(0.5, 0.6, "M"), Phoneme(0.1, 0.2, "M"))}, "clip c1: phonemes out of order or"),
    ],
)
def test_what_is_wrong_with_a_clip(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    _, problems = check_corpus(write(tmp_path / "corpus", **changes))
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_files_that_were_changed(tmp_path: Path) -> None:
    folder = write(tmp_path / "corpus")
    motion = np.load(folder / "vertices-000.npy")
    motion[37, 1, 2] = np.nan
    np.save(folder / "vertices-000.npy", motion)
    _, problems = check_corpus(folder)
    assert problems == [
        "vertices-000.npy: not the file that was written",
        "clip c1: frame 7: NaN or infinity in the motion",
    ]


def test_audio_and_motion_that_disagree(tmp_path: Path) -> None:
    folder = write(tmp_path / "corpus")
    table = pd.read_parquet(folder / "clips.parquet")
    table.loc[1, ["frames", "samples"]] = [20, 17_000]
    table.to_parquet(folder / "clips.parquet")
    rewrite_hash(folder, "clips.parquet")
    _, problems = check_corpus(folder)
    assert problems == [
        "clip c1: 20 of 20 frames and 16000 of 17000 samples are there",
        "clip c1: motion lasts -396 ms longer than audio",
    ]


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Make it first: dvc repro corpus"):
        check_corpus(tmp_path)
