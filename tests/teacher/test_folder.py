import errno
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from learn2talk.cli import main
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.video.talking_video import VideoClip, write_talking_video
from learn2talk_core.video.video_file import encode_video, write_video
from tests.fake_teacher import FACE_BOX, MOUTH_BOX, speak, still
from tests.toy import toy_corpus

ROOT = Path(__file__).parents[2]
CLIPS = ["A0", "B1", "C101", "A100", "D102"]  # training, validation, and the first clips of both tests


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    toy_corpus(Path("data/corpus"), clips=2)
    shown = VideoClip("still", "V39", "", "validation", 1, 640, (), FACE_BOX, MOUTH_BOX)
    write_talking_video("weights/stills", [(shown, encode_video([still()], 25, qp=5), np.zeros(640))])
    return open_corpus("data/corpus")


@pytest.fixture
def good(corpus: Corpus) -> Path:
    """A folder with a good video of every clip."""
    for clip in corpus.clips:
        write_video(Path("made") / f"{clip.id}.mp4", speak(corpus.audio(clip), still(), 25), 25)
    return Path("made")


def test_good_videos_pass(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-teacher", "made"]) == 0
    assert capsys.readouterr().out == "5 of 5 videos pass\n"
    assert main(["check-teacher", "made", "--json", "--redo", "redo.txt"]) == 0
    expected = {"folder": "made", "checked": 5, "passed": 5, "refused": 0, "problems": [], "notes": []}
    assert json.loads(capsys.readouterr().out) == expected
    assert Path("redo.txt").read_text() == ""


def test_each_refused_one_is_told(good: Path, corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    clip = corpus.clips[0]
    write_video(good / "A0.mp4", speak(corpus.audio(clip), still(), 25, opening=0), 25)
    (good / "B1.mp4").unlink()
    (good / "C101.mp4").write_bytes((good / "C101.mp4").read_bytes()[:900])
    write_video(good / "D102.mp4", speak(corpus.audio(corpus.clips[-1]), still(), 50), 50)
    (good / "D103.mp4").touch()
    assert main(["check-teacher", "made", "--json", "--redo", "redo.txt"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["checked"], found["passed"], found["refused"]) == (5, 2, 3)
    assert [problem["clip"] for problem in found["problems"]] == ["A0", "B1", "C101"]
    assert [problem["expected"].split()[0] for problem in found["problems"]] == ["a", "one", "a"]
    assert {problem["severity"] for problem in found["problems"]} == {"refused"}
    assert all(
        set(problem) == {"clip", "severity", "where", "expected", "found", "fix"} for problem in found["problems"]
    )
    assert found["notes"] == [
        "50 frames per second, resampled to 25 by taking the nearest one: 1 of 5 videos",
        "videos that belong to no clip of data/corpus: 1, D103.mp4",
    ]
    assert Path("redo.txt").read_text() == "A0\nB1\nC101\n"
    assert main(["check-teacher", "made"]) == 1
    told = capsys.readouterr()
    assert "2 of 5 videos pass" in told.out
    assert "A0: made/A0.mp4: expected a mouth that moves by 3 grey levels, found 0.0: a still image." in told.err
    assert "B1: made/B1.mp4: expected one video of the clip, found nothing." in told.err
    assert told.err.endswith("\n")


def test_what_the_stage_made(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    films = []
    for clip in (clip for clip in corpus.clips if clip.id in CLIPS[:-1]):
        pictures, frames = speak(corpus.audio(clip), still(), 25), clip.samples // 640
        pictures = [pictures[0]] * frames if clip.id == "B1" else pictures
        shown = VideoClip(clip.id, "A", "", "loss", frames, clip.samples, (), FACE_BOX, MOUTH_BOX)
        films.append((shown, encode_video(pictures, 25), corpus.audio(clip)))
    write_talking_video("data/teacher_video", films)
    assert main(["check-teacher", "data/teacher_video", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [problem["clip"] for problem in found["problems"]] == ["B1", "D102"]
    assert found["problems"][0]["where"] == "data/teacher_video, clip B1"
    assert found["problems"][1]["expected"] == "a video of D102"


def test_inputs_are_what_the_teacher_takes(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teacher-inputs", "in"]) == 0
    assert capsys.readouterr().out == "5 sounds and 1 images; pairs are listed in in/clips.csv\n"
    rows = Path("in/clips.csv").read_text().splitlines()
    assert rows[0] == "clip,speaker,audio,image,frames,seconds"
    assert [row.split(",")[0] for row in rows[1:]] == CLIPS
    assert rows[1] == "A0,A,audio/A0.wav,images/still.png,25,1.0"
    for clip in (clip for clip in corpus.clips if clip.id in CLIPS):
        np.testing.assert_array_equal(read_sound(f"in/audio/{clip.id}.wav"), corpus.audio(clip))
    image = cv2.cvtColor(cv2.imread("in/images/still.png"), cv2.COLOR_BGR2RGB)
    assert np.abs(image.astype(int) - still()).mean() < 6  # the film is compressed with some loss


def test_inputs_replace_no_folder_of_the_user(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own").mkdir()
    Path("own/clips.csv").write_text("mine")
    assert main(["teacher-inputs", "own"]) == 1
    assert "own: expected a folder that learn2talk teacher-inputs made, or none" in capsys.readouterr().err
    assert Path("own/clips.csv").read_text() == "mine"


def test_a_full_disk_leaves_no_inputs(corpus: Corpus, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["teacher-inputs", "in"]) == 1
    assert "in: expected to be able to write it, found No space left on device" in capsys.readouterr().err
    assert not Path("in").exists()


def test_only_some_inputs(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    Path("redo.txt").write_text("B1\treason, as the stage writes it\n\nC101\n")
    assert main(["teacher-inputs", "in", "--only", "redo.txt"]) == 0
    assert sorted(path.name for path in Path("in/audio").iterdir()) == ["B1.wav", "C101.wav"]
    Path("redo.txt").write_text("B1\nS99\n")
    assert main(["teacher-inputs", "in", "--only", "redo.txt"]) == 1
    assert "redo.txt: expected names of clips, found 'S99', which is not one." in capsys.readouterr().err
    assert main(["teacher-inputs", "in", "--only", "no.txt"]) == 1
    assert "no.txt: expected a list of clips" in capsys.readouterr().err


def test_no_such_folder(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-teacher", "nowhere"]) == 1
    assert "nowhere: expected a folder of videos, found no such folder." in capsys.readouterr().err
