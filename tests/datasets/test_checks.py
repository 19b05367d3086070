import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from learn2talk_core.corpus.format import sha256, write_corpus
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.datasets.checks import as_text, check_corpus, check_dataset
from learn2talk_core.datasets.fixtures_folder import write_folder
from learn2talk_core.datasets.problem import Problem
from learn2talk_core.datasets.settings import Settings
from learn2talk_core.run.errors import BadInput
from tests.toy import clip as toy_clip
from tests.toy import sheet, topology, toy_corpus


def write(folder: Path, **changes: object) -> Path:
    """Three clips, the second with some fields changed."""
    clips, templates = [], {}
    for number, (speaker, split) in enumerate((("S0", "train"), ("S1", "test_unseen"), ("S2", "validation"))):
        made, size = toy_clip(number, "A", split), 1 + 0.05 * number
        said = {"id": f"c{number}", "speaker": speaker, "sentence": f"{number}", "text": f"Sentence {number}."}
        clips.append(dataclasses.replace(made, motion=size * made.motion, **said))
        templates[speaker] = sheet(size)
    clips[1] = dataclasses.replace(clips[1], **changes)  # type: ignore[arg-type]
    write_corpus(
        folder, clips, topology=topology(), templates=templates, train_speakers=["S0"], fps=30, mm_per_unit=1000,
        recipe="test",
    )  # fmt: skip
    return folder


def lines(problems: list[Problem]) -> list[str]:
    return [f"{problem.severity}: {problem.where}: {problem.what}" for problem in problems]


def rewrite_hash(folder: Path, name: str) -> None:
    header = json.loads((folder / "corpus.json").read_text())
    header["sha256"][name] = sha256(folder / name)
    (folder / "corpus.json").write_text(json.dumps(header))


def test_a_good_corpus(tmp_path: Path) -> None:
    contents, problems = check_corpus(write(tmp_path / "corpus"))
    assert problems == []
    assert contents[0] == "test: 30 frames per second, 64 vertices, unit 1000 mm"
    assert "train: 1 clips of 1 speakers, 0.0 minutes" in contents


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"text": " "}, "note: clip c1: no text"),
        ({"text": "Sentence 0."}, "warning: sentence 'Sentence 0.': in train and in a test"),
        ({"speaker": "S0"}, "error: speaker S0: in train and in test_unseen"),
        ({"speaker": "S0", "split": "validation"}, "note: speaker S0: in train and in validation"),
        ({"audio": np.zeros(16_000)}, "error: clip c1: silent audio"),
        ({"phonemes": (Phoneme(1.1, 1.4, "M"),)}, "error: clip c1: phonemes out of order or outside the clip"),
        ({"phonemes": (Phoneme(0.5, 0.6, "M"), Phoneme(0.1, 0.2, "M"))}, "error: clip c1: phonemes out of order or"),
    ],
)
def test_what_is_wrong_with_a_clip(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    _, problems = check_corpus(write(tmp_path / "corpus", **changes))
    found = [line for line in lines(problems) if "no test clips" not in line and "fits the template" not in line]
    assert len(found) == 1
    assert found[0].startswith(problem)
    assert all(problem.fix for problem in problems)


def test_files_that_were_changed(tmp_path: Path) -> None:
    folder = write(tmp_path / "corpus")
    motion = np.load(folder / "vertices-000.npy")
    motion[43, 1, 2] = np.nan
    np.save(folder / "vertices-000.npy", motion)
    _, problems = check_corpus(folder)
    assert lines(problems) == [
        "error: vertices-000.npy: changed since it was written",
        "error: clip c1: frame 7: NaN or infinity in the motion",
    ]


def test_audio_and_motion_that_disagree(tmp_path: Path) -> None:
    folder = write(tmp_path / "corpus")
    table = pd.read_parquet(folder / "clips.parquet")
    table.loc[1, ["frames", "samples"]] = [20, 17_000]
    table.to_parquet(folder / "clips.parquet")
    rewrite_hash(folder, "clips.parquet")
    _, problems = check_corpus(folder)
    assert lines(problems) == [
        "error: clip c1: duration of motion minus audio: -396 ms",
    ]


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Make it first: dvc repro corpus"):
        check_corpus(tmp_path)


def test_a_corpus_that_lacks_something(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "corpus")
    bare = dataclasses.replace(
        corpus.topology,
        lip_pairs=np.zeros((0, 2), np.int64),
        regions={**corpus.topology.regions, "mouth": np.array([])},
    )
    mute = [dataclasses.replace(toy_clip(i, "A", "train"), phonemes=()) for i in range(2)]
    write_corpus(
        tmp_path / "bare", mute, topology=bare, templates={"A": sheet()}, train_speakers=["A"], fps=30,
        mm_per_unit=1000, recipe="toy",
    )  # fmt: skip
    _, problems = check_corpus(tmp_path / "bare")
    found = {(problem.severity, problem.what) for problem in problems}
    assert found >= {
        ("error", "no vertices"),
        ("error", "no test clips"),
        ("warning", "no validation clips: nothing to choose the lambdas on"),
        ("warning", "no pairs of facing lip vertices: no gap variance and closure error"),
        ("note", "no phonemes: no closure error, reading error and viseme accuracy"),
    }


def test_sound_that_is_out_of_step(tmp_path: Path) -> None:
    def corpus(name: str, late: int) -> Path:
        made = []
        for i, split in enumerate(("train", "train", "train", "test_seen", "validation")):
            clip = toy_clip(i, "AAAAB"[i], split, 3.0)
            audio = np.concatenate([np.zeros(late, np.float32), clip.audio])[: len(clip.audio)]
            made.append(dataclasses.replace(clip, audio=audio, text=f"{i}"))
        write_corpus(
            tmp_path / name, made, topology=topology(), templates={"A": sheet(), "B": sheet()}, train_speakers=["A"],
            fps=30, mm_per_unit=1000, recipe="toy",
        )  # fmt: skip
        return tmp_path / name

    assert not [p for p in check_corpus(corpus("good", 0))[1] if "the sound" in p.what]
    late = [p for p in check_corpus(corpus("late", 2400))[1] if "before the sound" in p.what]
    assert [problem.severity for problem in late] == ["warning"]
    advised = float(re.search(r"Add ([-+]\d+) to corpus.source.audio_offset_ms", late[0].fix)[1])  # type: ignore[index]
    assert -185 < advised < -125


def test_a_dataset_is_read_to_its_end(tmp_path: Path) -> None:
    data = tmp_path / "own"
    write_folder(data, speakers=4, sentences=2)
    settings = Settings(
        path=str(data), recipe=None, fps=25.0, mm_per_unit=1.0, axes=None, lips="lips.txt", upper_face=None, mouth=None,
        audio_offset_ms=0.0,
    )  # fmt: skip
    contents, problems = check_dataset("folder", settings)
    assert problems == []
    assert contents[0] == "folder: 25 frames per second, 3337 vertices, unit 1 mm"
    assert contents[1].startswith("train: 2 clips of 2 speakers, ")

    arrays = sorted((data / "vertices_npy").iterdir())
    motion = [np.load(path) for path in arrays]
    np.save(arrays[0], motion[0] / 1000)
    arrays[1].write_bytes(arrays[1].read_bytes()[:-1000])
    np.save(arrays[2], motion[2][:-30])
    motion[3][5, 7] = np.nan
    np.save(arrays[3], motion[3])
    np.save(arrays[4], np.repeat(motion[4][:1], len(motion[4]), 0))
    np.save(arrays[5], motion[5] + 10 * np.sin(np.arange(len(motion[5])) / 9)[:, None])
    arrays[6].unlink()
    _, problems = check_dataset("folder", settings)
    found = {path.stem: [p for p in problems if path.stem in p.where or path.stem in p.what] for path in arrays}
    says = {name: [(p.severity, p.what) for p in own] for name, own in found.items()}
    names = [path.stem for path in arrays]
    assert says[names[0]] == [("error", "the face is 0.001 times as large as the speaker's template")]
    assert len(says[names[1]]) == 1
    assert found[names[1]][0].what.startswith("expected")
    severity, what = says[names[2]][0]
    assert (severity, what[:35]) == ("error", "duration of motion minus audio: -12")
    assert says[names[3]] == [("error", "frame 5: NaN or infinity in the motion")]
    assert says[names[4]][0][1].startswith("the lips move by only 0 mm")
    assert says[names[5]][0][1].startswith("the upper face moves 1")
    assert says[names[6]][0][0] == "warning"
    assert "no motion in vertices_npy, left out" in says[names[6]][0][1]
    assert says[names[7]] == []
    assert all(problem.fix for problem in problems)


def test_problems_for_people() -> None:
    problems = [Problem(f"clip c{i}", "no text", "note", "Nothing.") for i in range(8)]
    problems.append(Problem("lips.txt", "expected numbers, found words", "error", "Write numbers."))
    assert as_text(problems).splitlines() == [
        "error   lips.txt: expected numbers, found words. Write numbers.",
        "note    clip c0, clip c1, clip c2, clip c3, clip c4 and 3 more: no text. Nothing.",
    ]
    assert as_text([]) == ""
