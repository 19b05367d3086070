import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
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
from tests import fake_daemons, fake_teacher

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
    with pytest.raises(BadInput, match=r"a.mp4: expected one video \*.mp4 from the teacher, found x.mp4, y.mp4"):
        make_video(python(code, "{folder}", made="*.mp4"), AUDIO, STILL, tmp_path / "a.mp4")


def test_refusal_shows_what_it_printed(tmp_path: Path) -> None:
    target = tmp_path / "a-1.mp4"
    with pytest.raises(BadInput, match=r"found exit status 1:\n    half way there\n    no CUDA device\n\. .*a-1\.log"):
        make_video(command(tmp_path, "refuses"), AUDIO, STILL, target)
    assert not target.exists()
    assert target.with_suffix(".log").read_text() == "half way there\nno CUDA device\n"
    make_video(command(tmp_path), AUDIO, STILL, target)
    assert not target.with_suffix(".log").exists()
    with pytest.raises(BadInput, match="found termination by signal 9; it printed nothing"):
        make_video(python("import os; os.kill(os.getpid(), 9)", "{audio}"), AUDIO, STILL, target)


def test_only_the_tail_is_shown(tmp_path: Path) -> None:
    code = "import sys; [print('line', n) for n in range(1000)]; sys.exit(2)"
    with pytest.raises(BadInput) as caught:
        make_video(python(code), AUDIO, STILL, tmp_path / "a.mp4")
    assert "line 999" in str(caught.value)
    assert str(caught.value).count("\n    line") == 12
    assert (tmp_path / "a.log").read_text().startswith("line 0\n")


def test_no_video(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"one video output.mp4 from the teacher, found none, but no file at all\. Make it write"
    ):
        make_video(command(tmp_path, "nothing"), AUDIO, STILL, tmp_path / "a.mp4")
    code = "import sys; open(sys.argv[1] + '/other.avi', 'w')"
    with pytest.raises(BadInput, match=r"found none, but other\.avi"):
        make_video(python(code, "{folder}"), AUDIO, STILL, tmp_path / "a.mp4")


@pytest.mark.parametrize("hangs", [False, True])
def test_all_that_it_started_ends_with_it(tmp_path: Path, hangs: bool) -> None:
    words = (sys.executable, fake_daemons.__file__, "{output}", *(["hangs"] if hangs else []))
    made = Command(words, str(tmp_path), "output.mp4", 10.0 if hangs else 200.0)
    target = tmp_path / "scratch" / "a.mp4"
    if hangs:
        with pytest.raises(
            BadInput, match=r"finish within 10 s, found it still running.*:\n    loading weights\n\. Raise"
        ):
            make_video(made, AUDIO, STILL, target)
    else:
        make_video(made, AUDIO, STILL, target)
    left = [int(line) for line in (tmp_path / "left.txt").read_text().split()]
    assert len(left) == fake_daemons.COUNT
    assert not any(map(_alive, left))
    assert [path.name for path in target.parent.iterdir()] == ["a.log" if hangs else "a.mp4"]


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second if it ends while the file is being read
        return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGINT, 1), (signal.SIGHUP, 1), (signal.SIGTERM, 1), (signal.SIGKILL, 1), (signal.SIGTERM, 2)],
)
def test_all_that_it_started_ends_with_us(tmp_path: Path, number: int, workers: int) -> None:
    """Ctrl-C, a closed terminal, kill, kill -9; also when a worker process of ours runs the program."""
    code = f"""
import signal
import sys
from functools import partial
from pathlib import Path
import numpy as np
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup inherit that it is ignored
from learn2talk_core.run.clip_map import map_clips
from learn2talk_core.teacher.command import Command, make_video

words = (sys.executable, {fake_daemons.__file__!r}, "{{output}}", "hangs")
command = Command(words, ".", "output.mp4", 600.0)

def make(prepared, name):
    if name == "a":
        make_video(command, np.zeros(1600), np.zeros((8, 8, 3), np.uint8), Path("scratch/a.mp4"))

list(map_clips(make, ["a", "b"], str, backend="processes", workers={workers}))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ours = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        _until((tmp_path / "scratch").is_dir)
        _until(lambda: len(list((tmp_path / "scratch").rglob("output.mp4"))) == 1)
        left = [int(line) for line in (tmp_path / "left.txt").read_text().split()]
        assert all(map(_alive, left))
        ours.send_signal(number)
        assert ours.wait(200) != 0
    finally:
        ours.kill()
    _until(lambda: not any(map(_alive, left)))
    if (number, workers) == (signal.SIGINT, 1):
        assert list((tmp_path / "scratch").iterdir()) == []


def test_what_it_prints_is_not_held_in_memory(tmp_path: Path) -> None:
    code = "import sys; [sys.stdout.write('x' * 2**20) for _ in range(300)]; print('\\n\\x1b[31mred'); sys.exit(2)"
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=r"exit status 2:\n    x+\n    \\x1b\[31mred\n"):
            make_video(python(code), AUDIO, STILL, tmp_path / "a.mp4")
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert (tmp_path / "a.log").stat().st_size > 300 * 2**20


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a regular file output.mp4 from the teacher, found a symbolic link"):
        make_video(command(tmp_path, "link"), AUDIO, STILL, tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()
    code = "import os, sys; os.rmdir(sys.argv[1]); os.symlink(sys.argv[2], sys.argv[1])"
    with pytest.raises(BadInput, match="found a symbolic link"):
        make_video(python(code, "{folder}", str(tmp_path), made="private.mp4"), AUDIO, STILL, tmp_path / "a.mp4")
    code = "import os, sys; os.mkfifo(sys.argv[1])"
    with pytest.raises(BadInput, match="found a special file"):
        make_video(python(code, "{output}"), AUDIO, STILL, tmp_path / "a.mp4")


def test_a_program_that_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\x00")
    (tmp_path / "data").chmod(0o755)
    with pytest.raises(BadInput, match=r"found exit status 127:\n    .*Exec format error"):
        make_video(Command((str(tmp_path / "data"),), None, "x", 200.0), AUDIO, STILL, tmp_path / "a.mp4")


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
        (
            {"arguments": ("x", "{audoi}", "{output}")},
            r"c\.arguments: expected no placeholders except .*found \{audoi\}",
        ),
        ({"arguments": ("x", "{audio}")}, r"c\.arguments: expected a list of arguments, among them \{audio\}"),
        ({"arguments": ()}, r"c\.arguments: expected a list of arguments.*found \[\]"),
        (
            {"arguments": ("no-such", "{audio}", "{output}")},
            r"expected a program as the first argument, found 'no-such'",
        ),
        ({"arguments": ("./x", "{audio}", "{output}")}, r"found './x', which cannot be run"),
        ({"cwd": "/no/such"}, r"c\.cwd: expected a folder, found /no/such: no such folder"),
        ({"made": "/etc/passwd"}, r"c\.made: expected a file name or a glob pattern.*found '/etc/passwd'"),
        ({"made": "../still.png"}, r"c\.made: expected a file name or a glob pattern"),
        ({"seconds": 0.0}, r"c\.seconds: expected more than 0"),
    ],
)
def test_a_command_that_cannot_work(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    check_command(command(tmp_path), "c")
    with pytest.raises(BadInput, match=message):
        check_command(command(tmp_path, **changes), "c")  # type: ignore[arg-type]
