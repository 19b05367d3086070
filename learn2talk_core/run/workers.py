"""Worker processes on this machine that end with the process that started them, however it ends.

joblib's own first finish the jobs that wait in their queue. After a stage was killed they would go on for minutes, and
write into folders that nobody locks any more.
"""

import os
import threading
import time
from typing import Any

from joblib import Parallel, parallel_config

POLL_SECONDS = 0.5  # how often a worker checks that the process that started it is alive


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


def _end_with(parent: int) -> None:
    """Called once in each worker."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)
