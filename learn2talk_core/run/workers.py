"""Worker processes on this machine that end with the process that started them, however it ends.

joblib's own first finish the jobs that wait in their queue. After a stage was killed they would go on for minutes, and
write into folders that nobody locks any more.
"""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.program import messages
from learn2talk_core.run.progress import without_bars

POLL_SECONDS = 0.5  # how often a worker checks that the process that started it is alive

R = TypeVar("R")


def worker_processes(count: int, *, threads: int | None = None, idle_seconds: float = 300, **settings: Any) -> Parallel:
    """joblib's `Parallel` on processes of this machine.

    Args:
        count: number of processes; 1 is this one.
        threads: of the numerical libraries in each process; None divides the cores among the processes.
        idle_seconds: a process without work ends after this time.
        settings: other arguments of `Parallel`, such as `return_as`.
    """
    with parallel_config(
        "loky", inner_max_num_threads=threads, idle_worker_timeout=idle_seconds,
        initializer=_end_with, initargs=(os.getpid(),),
    ):  # fmt: skip
        return Parallel(n_jobs=count, **settings)


def at_once(jobs: Sequence[Callable[[], R]]) -> tuple[list[R], float]:
    """Call each of `jobs` in a process of its own, all at the same time; the cores are divided among them.

    Their log lines appear like those of this process. Only the first one shows progress bars, since those of several
    processes would overwrite each other. The first error ends all of them, as do Ctrl-C and the end of the process that
    started this one, which then ends too.

    Returns:
        Their results, and the sum of their peak resident memories in megabytes.

    Raises:
        BadInput: from a job, or one of the processes was killed.
    """
    over = threading.Event()
    threading.Thread(target=_watch, args=(os.getppid(), over), daemon=True).start()
    work = [delayed(_in_worker)(job, os.getcwd(), number == 0) for number, job in enumerate(jobs)]
    try:
        with none_killed("Stop other programs and run it again to go on."):
            found = worker_processes(len(jobs), batch_size=1)(work)
    finally:
        over.set()
    return [result for result, _ in found], sum(memory for _, memory in found)


@contextmanager
def none_killed(fix: str) -> Iterator[None]:
    """Inside the block, raise `BadInput` with this `fix` if a worker is killed."""
    try:
        yield
    except TerminatedWorkerError as error:
        found = "one that was killed, perhaps for lack of memory"
        raise BadInput("workers", expected="processes that finish their work", found=found, fix=fix) from error


def _in_worker(job: Callable[[], R], folder: str, bars: bool) -> tuple[R, float]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one gets it too, and ends this one
    os.chdir(folder)  # joblib may use a process again
    with messages(), nullcontext() if bars else without_bars():
        result = job()
    return result, _peak_memory_mb()


def _peak_memory_mb() -> float:
    """The largest resident memory so far of this process."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux, getrusage counts the memory of the process that forked this one too
        (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kilobytes) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _end_with(parent: int) -> None:
    """Called once in each worker."""
    threading.Thread(target=_watch, args=(parent, threading.Event()), daemon=True).start()


def _watch(parent: int, over: threading.Event) -> None:
    """End this process soon after `parent`, the process that started it, unless `over` is set."""
    while not over.wait(POLL_SECONDS):
        if os.getppid() != parent:
            time.sleep(POLL_SECONDS)  # a training notices it too, and saves a checkpoint
            os._exit(1)
