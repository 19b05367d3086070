import os
import subprocess
import sys
import time
from pathlib import Path

from joblib import delayed

from learn2talk_core.run.workers import worker_processes
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
