"""External teachers: each clip is made once. After an error or kill, only rejected or missing clips are made again."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.teacher.command import Command
from learn2talk_core.video.talking_video import VideoClip, open_talking_video, write_talking_video
from learn2talk_core.video.video_file import encode_video, write_video
from stages.teacher_video import Params, main
from tests import fake_teacher
from tests.fake_teacher import FACE_BOX, MOUTH_BOX, speak, still
from tests.toy import toy_corpus

ROOT = Path(__file__).parents[2]
SCRIPT = str(Path(fake_teacher.__file__).resolve())


def words(mode: str = "good") -> tuple[str, ...]:
    return sys.executable, SCRIPT, "{audio}", "{image}", "{output}", mode


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project with two training clips and one validation clip, and a command that makes valid videos."""
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    given = load_params(Params, "teacher_video", ROOT / "params.yaml")
    command = Command(words(), "checkout", "output.mp4", 200.0)
    return replace(given, kind="command", test_clips=0, command=command, workers=1)


def project(folder: Path, clips: int = 2) -> None:
    toy_corpus(folder / "data" / "corpus", clips=clips)
    shown = VideoClip("still", "V39", "", "validation", 1, 640, (), FACE_BOX, MOUTH_BOX)
    write_talking_video(folder / "weights" / "stills", [(shown, encode_video([still()], 25, qp=5), np.zeros(640))])
    (folder / "checkout").mkdir()


def calls() -> int:
    path = Path("checkout/calls.txt")
    return len(path.read_text().splitlines()) if path.is_file() else 0


def kept() -> list[Path]:
    return sorted(Path(".scratch/teacher_videos").glob("[!.]*.mp4"))


def clip_ids() -> list[str]:
    return [clip.id for clip in open_talking_video("data/teacher_video").clips]


def test_a_command_makes_every_clip_once(params: Params) -> None:
    assert main(params) == "3 one-shot videos of 1 still image by command"
    assert clip_ids() == ["A0", "B1", "C101"]
    assert calls() == len(kept()) == 3
    video, corpus = open_talking_video("data/teacher_video"), open_corpus("data/corpus")
    for clip in video.clips:
        mouths = video.mouths(clip)[:, 20:76, 20:76].mean((1, 2))
        loudness = np.abs(video.audio(clip)[: clip.frames * 640]).reshape(clip.frames, 640).mean(1)
        assert np.corrcoef(loudness, -mouths)[0, 1] > 0.8, clip.id
        assert clip.samples == next(c for c in corpus.clips if c.id == clip.id).samples
    first = Path("data/teacher_video/films-000.parquet").read_bytes()
    main(replace(params, workers=2))
    assert calls() == 3
    assert Path("data/teacher_video/films-000.parquet").read_bytes() == first
    main(replace(params, command=replace(params.command, seconds=100.0), test_clips=1))  # and the new one
    assert calls() == 4


def test_two_at_a_time_make_the_same(params: Params) -> None:
    main(replace(params, workers=2))
    assert calls() == 3
    together = Path("data/teacher_video/films-000.parquet").read_bytes()
    shutil.rmtree(".scratch")
    main(params)
    assert Path("data/teacher_video/films-000.parquet").read_bytes() == together


def test_what_is_refused_is_listed_and_made_again_alone(params: Params) -> None:
    params = replace(params, command=replace(params.command, arguments=words("once")))
    with pytest.raises(BadInput) as caught:
        main(params)
    text = str(caught.value)
    assert text.startswith("1 of 3 teacher videos: expected a valid video of every clip, found \n  B1: ")
    assert "found exit status 1:\n    the second clip is hard" in text
    assert "Run it again: only these are made again. .scratch/teacher_videos/refused.txt lists them all." in text
    listed = Path(".scratch/teacher_videos/refused.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == ["B1"]
    assert not Path("data/teacher_video").exists()
    assert calls() == 3
    main(params)
    assert calls() == 4
    assert clip_ids() == ["A0", "B1", "C101"]


@pytest.mark.parametrize(("mode", "reason"), [("static", "a mouth that moves"), ("half", "that ffmpeg can read")])
def test_a_video_that_fails_the_checks_is_kept_to_look_at(params: Params, mode: str, reason: str) -> None:
    bad = replace(params, command=replace(params.command, arguments=words(mode)))
    for _ in range(2):  # it is made again and rejected again
        with pytest.raises(BadInput, match=rf"3 of 3 teacher videos: (.|\n)*C101: .*{reason}"):
            main(bad)
    assert calls() == 6
    assert len(kept()) == 3
    assert all(path.name.endswith(".refused.mp4") for path in kept())
    main(params)


def test_damaged_and_deleted_ones_are_made_again_alone(params: Params) -> None:
    main(params)
    first, second, third = kept()
    first.write_bytes(first.read_bytes()[:1000])
    second.unlink()
    shutil.rmtree("data/teacher_video")
    main(params)
    assert calls() == 5
    assert kept() == [first, second, third]


def test_another_rate_is_said(params: Params, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        main(replace(params, command=replace(params.command, arguments=words("faster"))))
    assert "62.5 frames per second, resampled to 25 by taking the nearest one: 3 of 3 videos" in caplog.text


def test_a_hopeless_command_is_stopped(params: Params) -> None:
    shutil.rmtree("data/corpus")
    toy_corpus(Path("data/corpus"), clips=9)
    code = "import sys; open('calls.txt', 'a').write('x\\n'); sys.exit('no such module')"
    command = replace(params.command, arguments=(sys.executable, "-c", code, "{audio}", "{output}"))
    with pytest.raises(BadInput, match=r"^5 of 5 teacher videos"):
        main(replace(params, command=command))
    assert calls() <= 6


def test_killed_in_the_middle(params: Params, tmp_path: Path) -> None:
    """SIGKILL while a clip is being made; the next run makes that clip and the following ones."""
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    values["teacher_video"] |= {"kind": "command", "test_clips": 0}
    slow = "import runpy, sys, time; time.sleep(1); del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = [sys.executable, "-c", slow, SCRIPT, "{audio}", "{image}", "{output}"]
    values["teacher_video"]["command"] = {"arguments": arguments, "cwd": "checkout", "made": "*.mp4", "seconds": 200}
    YAML(typ="safe").dump(values, tmp_path / "params.yaml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen[str]:
        stage = [sys.executable, "-m", "stages.teacher_video"]
        return subprocess.Popen(stage, env=environment, stderr=subprocess.PIPE, text=True)

    process = start()
    deadline = time.monotonic() + 200
    while not kept() or len(list(Path(".scratch/teacher_videos").glob("work-*"))) == 0:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    done = len(kept())
    assert done in (1, 2)
    assert not Path("data/teacher_video").exists()
    times = {path: path.stat().st_mtime_ns for path in kept()}
    process = start()
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "teacher_video: 3 one-shot videos of 1 still image by command" in errors
    assert clip_ids() == ["A0", "B1", "C101"]
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(kept()) == 3
    assert not list(Path(".scratch/teacher_videos").glob("work-*"))


def test_a_folder_of_videos(params: Params) -> None:
    videos = Path("made elsewhere")
    videos.mkdir()
    corpus = open_corpus("data/corpus")
    image = still()
    params = replace(params, kind="videos", videos=str(videos))
    for clip in corpus.clips:
        opening = 0.0 if clip.id == "B1" else 1.0
        if clip.id != "C101":
            pictures = speak(corpus.audio(clip), image, 25, opening=opening)
            write_video(videos / f"{clip.id}.mp4", pictures, 25, corpus.audio(clip))
    with pytest.raises(BadInput) as caught:
        main(params)
    text = str(caught.value)
    assert text.startswith("2 of 3 teacher videos: ")
    assert "\n  B1: made elsewhere/B1.mp4: expected a mouth that moves by 3 grey levels" in text
    assert "\n  C101: made elsewhere/C101.mp4: expected one video of the clip, found nothing." in text
    assert "Replace them and run it again: only these" in text
    for clip in corpus.clips:
        if clip.id in ("B1", "C101"):
            write_video(videos / f"{clip.id}.mp4", speak(corpus.audio(clip), image, 25), 25)
    assert main(params) == "3 one-shot videos of 1 still image by videos"
    assert clip_ids() == ["A0", "B1", "C101"]


def test_parameters_that_are_missing(params: Params) -> None:
    for given in ("weights/none", "no/such"):
        with pytest.raises(BadInput, match=rf"^teacher_video.videos: expected a folder .*, found {given}\."):
            main(replace(params, kind="videos", videos=given))
    with pytest.raises(BadInput, match=r"^teacher_video.command.arguments: expected a list of arguments"):
        main(replace(params, command=replace(params.command, arguments=())))
    assert calls() == 0


@pytest.mark.filterwarnings("ignore")  # warnings of the cluster's packages
def test_on_a_cluster_that_loses_a_worker(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("needs the package distributed (pip install 'learn2talk[cluster]')")
    import distributed

    shutil.rmtree("data/corpus")
    toy_corpus(Path("data/corpus"), clips=7)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        victim = next(iter(cluster.workers.values())).pid
        killed = threading.Event()

        def kill() -> None:
            while len(kept()) < 3:
                time.sleep(0.02)
            os.kill(victim, signal.SIGKILL)
            killed.set()

        threading.Thread(target=kill, daemon=True).start()
        main(replace(params, parallel="dask"))
    assert killed.is_set()
    assert clip_ids() == [f"{'AB'[n % 2]}{n}" for n in range(7)] + ["C101"]
    assert len(kept()) == 8
    assert 8 <= calls() <= 9  # only the clips of the killed worker were started again
