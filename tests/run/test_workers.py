import os
import pty
import signal
import subprocess
import sys
import termios
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from joblib import delayed

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import log, progress
from learn2talk_core.run.workers import at_once, worker_processes
from tests.run.test_clip_map import slow_square

JOBS = """
import time
from joblib import delayed
from learn2talk_core.run.workers import worker_processes

def work(name):  # for a minute
    for _ in range(1200):
        with open(name, "a") as file:
            file.write(".")
        time.sleep(0.05)

worker_processes(2)(delayed(work)(f"job-{number}") for number in range(6))
"""


def test_settings_are_those_of_joblib() -> None:
    assert worker_processes(1)(delayed(os.getpid)() for _ in range(2)) == [os.getpid()] * 2
    jobs = [delayed(slow_square)(None, number) for number in range(4)]
    work = worker_processes(2, threads=1, idle_seconds=10, return_as="generator_unordered")(jobs)
    assert sorted(work) == [0, 1, 4, 9]


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    def written() -> int:
        return sum(file.stat().st_size for file in tmp_path.iterdir())

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", JOBS], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    before = -1
    while before != (before := written()):
        assert time.monotonic() < deadline, "the workers go on"
        time.sleep(1)
    assert len(list(tmp_path.iterdir())) == 2  # no job was begun after that


def met(folder: Path, name: str, megabytes: int = 0) -> int:
    """The number of this process, when the other one is there too."""
    (folder / name).touch()
    filled = np.ones(megabytes << 17)
    while len(list(folder.glob("job-*"))) < 2:
        time.sleep(0.01)
    return os.getpid() if filled.all() else 0


def test_jobs_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, memory = at_once([partial(met, Path(), "job-a", 300), partial(met, Path(), "job-b", 400)])
    assert len({*found, os.getpid()}) == 3
    assert 700 < memory < 700 + 2 * 1000


def fails(folder: Path, how: str) -> None:
    met(folder, "job-a")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise BadInput("the corpus", expected="clips", found="none", fix="Add some.")


def goes_on(folder: Path) -> None:
    (folder / "alive").write_text("at first")
    met(folder, "job-b")
    while True:
        (folder / "alive").write_text(str(time.monotonic()))
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("refused", r"^the corpus: expected clips, found none\. Add some\.$"),
        ("killed", "^workers: expected processes that finish their work, found one that was killed"),
    ],
)
def test_the_first_error_ends_all(how: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=text):
        at_once([partial(goes_on, tmp_path), partial(fails, tmp_path, how)])
    time.sleep(0.2)
    last = (tmp_path / "alive").read_text()
    time.sleep(0.5)
    assert (tmp_path / "alive").read_text() == last


def shown(name: str) -> None:
    log.info("%s\x1b begins", name)
    for _ in progress(range(3), f"bar of {name}"):
        pass


def test_only_the_first_shows_bars_and_all_log() -> None:
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    code = (
        "from functools import partial; from tests.run.test_workers import at_once, shown;"
        "at_once([partial(shown, 'one'), partial(shown, 'two')])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], stderr=end, env=environment, check=True)
    os.close(end)
    text = os.read(terminal, 10000).decode()
    os.close(terminal)
    assert "one\\x1b begins\r\n" in text
    assert "two\\x1b begins\r\n" in text
    assert "bar of one: 100%" in text
    assert "bar of two" not in text
