import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.teacher.command import (
    Command,
    check_command,
    clear_unfinished,
    make_video,
    video_path,
)
from learn2talk_core.video.video_file import read_video
from tests import fake_teacher

AUDIO = (0.3 * np.sin(np.arange(16000) / 500) * np.random.default_rng(0).normal(size=16000)).clip(-1, 1)
STILL = fake_teacher.still()
SCRIPT = str(Path(fake_teacher.__file__).resolve())


def command(folder: Path, mode: str = "good", **changes: object) -> Command:
    words = (sys.executable, SCRIPT, "{audio}", "{image}", "{output}", mode)
    return replace(Command(words, str(folder), "output.mp4", 200.0), **changes)  # type: ignore[arg-type]


def python(code: str, *words: str, **changes: object) -> Command:
    return replace(Command((sys.executable, "-c", code, *words), None, "output.mp4", 200.0), **changes)  # type: ignore[arg-type]


def test_runs_in_its_own_folder_and_leaves_one_video(tmp_path: Path) -> None:
    checkout, target = tmp_path / "check out", tmp_path / "scratch" / "a-1.mp4"
    checkout.mkdir()
    make_video(command(checkout), AUDIO, STILL, target)
    frames, fps, _ = read_video(target)
    assert (frames.shape, fps) == ((25, 128, 128, 3), 25)
    assert np.abs(frames[0, :60].astype(int) - STILL[:60]).mean() < 10  # the image reached it, colours in order
    assert (checkout / "calls.txt").is_file()
    assert list(target.parent.iterdir()) == [target]


def test_words_reach_it_as_they_are(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'w').write('|'.join(sys.argv[2:]))"
    words = ("{output}", "a b; rm -rf $HOME", '{"json": 1}', "--x={folder}/y", "{audio}")
    make_video(python(code, *words), AUDIO, STILL, tmp_path / "a.mp4")
    _, plain, json, joined, audio = ["", *(tmp_path / "a.mp4").read_text().split("|")]
    assert (plain, json) == ("a b; rm -rf $HOME", '{"json": 1}')
    assert joined.startswith("--x=/")
    assert joined.endswith("made/y")
    assert audio.endswith("audio.wav")


def test_its_environment_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    code = "import os, sys; open(sys.argv[1], 'w').write(str([os.environ.get(n) for n in sys.argv[3:]]))"
    made = python(code, "{output}", "{audio}", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
    make_video(made, AUDIO, STILL, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_text() == "[None, '1']"


def test_a_video_by_pattern(tmp_path: Path) -> None:
    words = (sys.executable, SCRIPT, "{audio}", "{image}", "{folder}", "folder")
    make_video(Command(words, str(tmp_path), "*.mp4", 200.0), AUDIO, STILL, tmp_path / "a.mp4")
    assert len(read_video(tmp_path / "a.mp4")[0]) == 25
    code = "import sys; [open(f'{sys.argv[1]}/{n}.mp4', 'w') for n in 'xy']"
    with pytest.raises(BadInput, match=r"a.mp4: expected the teacher to leave one video \*.mp4, found x.mp4, y.mp4"):
        make_video(python(code, "{folder}", made="*.mp4"), AUDIO, STILL, tmp_path / "a.mp4")


def test_refusal_shows_what_it_printed(tmp_path: Path) -> None:
    target = tmp_path / "a-1.mp4"
    with pytest.raises(BadInput, match=r"found exit status 1:\n    half way there\n    no CUDA device\n\. .*a-1\.log"):
        make_video(command(tmp_path, "refuses"), AUDIO, STILL, target)
    assert not target.exists()
    assert target.with_suffix(".log").read_text() == "half way there\nno CUDA device\n"
    make_video(command(tmp_path), AUDIO, STILL, target)
    assert not target.with_suffix(".log").exists()
    with pytest.raises(BadInput, match="found the end by signal 9, without a word"):
        make_video(python("import os; os.kill(os.getpid(), 9)", "{audio}"), AUDIO, STILL, target)


def test_only_the_tail_is_shown(tmp_path: Path) -> None:
    code = "import sys; [print('line', n) for n in range(1000)]; sys.exit(2)"
    with pytest.raises(BadInput) as caught:
        make_video(python(code), AUDIO, STILL, tmp_path / "a.mp4")
    assert "line 999" in str(caught.value)
    assert str(caught.value).count("\n    line") == 12
    assert (tmp_path / "a.log").read_text().startswith("line 0\n")


def test_no_video(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"leave one video output.mp4, found none, but nothing at all\. Have it write"):
        make_video(command(tmp_path, "nothing"), AUDIO, STILL, tmp_path / "a.mp4")
    code = "import sys; open(sys.argv[1] + '/other.avi', 'w')"
    with pytest.raises(BadInput, match=r"found none, but other\.avi"):
        make_video(python(code, "{folder}"), AUDIO, STILL, tmp_path / "a.mp4")


def test_time_limit_ends_it_and_its_children(tmp_path: Path) -> None:
    shell = Command(("sh", "-c", "sleep 600 & echo child $!; sleep 600"), None, "output.mp4", 3.0)
    start = time.monotonic()
    with pytest.raises(
        BadInput, match=r"done within 3 s, found it at work still.*:\n    child \d+\n\. Raise"
    ) as caught:
        make_video(shell, AUDIO, STILL, tmp_path / "a.mp4")
    assert time.monotonic() - start < 200
    child = int(str(caught.value).split("child ")[1].split()[0])
    deadline = time.monotonic() + 100
    while _alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np;"
        "from learn2talk_core.teacher.command import Command, make_video;"
        "make_video(Command((sys.executable, '-c', 'import os, time; "
        "open(\\'pid\\', \\'w\\').write(str(os.getpid())); time.sleep(600)'), None, 'x', 600.0),"
        "np.zeros(1600), np.zeros((8, 8, 3), np.uint8), Path('a.mp4'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ours = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ours.send_signal(signal.SIGINT)
    try:
        assert ours.wait(100) != 0
    finally:
        ours.kill()
    assert not _alive(int((tmp_path / "pid").read_text()))
    assert [path.name for path in tmp_path.iterdir()] == ["pid"]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "work-x.partial" / "made").mkdir(parents=True)
    (tmp_path / "a-1.mp4").touch()
    clear_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a-1.mp4"]


def test_another_command_sound_or_image_is_another_video(tmp_path: Path) -> None:
    first = command(tmp_path)
    paths = {
        video_path(tmp_path, "F/2 e01", first, AUDIO, STILL),
        video_path(tmp_path, "F/2 e01", command(tmp_path, "static"), AUDIO, STILL),
        video_path(tmp_path, "F/2 e01", first, AUDIO[:-1], STILL),
        video_path(tmp_path, "F/2 e01", first, AUDIO, STILL[:, ::-1]),
    }
    assert len(paths) == 4
    assert all(path.parent == tmp_path and path.name.startswith("F_2_e01-") for path in paths)
    assert video_path(tmp_path, "F/2 e01", replace(first, seconds=5.0), AUDIO, STILL) in paths


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arguments": ("x", "{audoi}", "{output}")}, r"c\.arguments: expected no other places than .*found \{audoi\}"),
        ({"arguments": ("x", "{audio}")}, r"c\.arguments: expected a list of words, among them \{audio\}"),
        ({"arguments": ()}, r"c\.arguments: expected a list of words.*found \[\]"),
        ({"arguments": ("no-such", "{audio}", "{output}")}, r"expected a program as the first word, found 'no-such'"),
        ({"arguments": ("./x", "{audio}", "{output}")}, r"found './x', which cannot be run"),
        ({"cwd": "/no/such"}, r"c\.cwd: expected a folder, found /no/such: none"),
        ({"seconds": 0.0}, r"c\.seconds: expected more than 0"),
    ],
)
def test_a_command_that_cannot_work(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    check_command(command(tmp_path), "c")
    with pytest.raises(BadInput, match=message):
        check_command(command(tmp_path, **changes), "c")  # type: ignore[arg-type]
