"""Run a function on every clip in parallel: with joblib on this machine or on a Dask cluster, or with Ray.

The results and their order do not depend on the backend. All machines of a cluster must see the project under the same
path and have the same packages installed. If a machine is lost, its unfinished jobs are given to another one.
"""

import importlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeVar

import joblib

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.workers import none_killed, worker_processes

Backend = Literal["processes", "threads", "dask", "ray"]
_JOBLIB = {"threads": "threading", "dask": "dask"}

P = TypeVar("P")
T = TypeVar("T")
R = TypeVar("R")


def map_clips(
    function: Callable[[P, T], R],
    clips: Sequence[T],
    prepare: Callable[[], P],
    *,
    backend: Backend,
    workers: int,
    chunk: int = 1,
    name: Callable[[T], str] = str,
) -> Iterator[R]:
    """Yield function(prepared, clip) for every clip, in order, as soon as it is available.

    Args:
        function: the work. It and its arguments are sent to the worker, so they should be small.
        clips: the second arguments of `function`.
        prepare: opens files and loads networks; the worker calls it once per job.
        backend: `processes` or `threads` on this machine, or a cluster: `dask` takes its address from
            DASK_SCHEDULER_ADDRESS (or uses a client that is already open), `ray` from RAY_ADDRESS.
        workers: number of jobs at a time; 1 starts no other process or thread. Ignored on a cluster.
        chunk: clips per job; use more if `prepare` is slow.
        name: the name of a clip, for error messages.

    Raises:
        BadInput: from `function`, with the clip's name; or the cluster or its package is missing, or a process on
            this machine died. Any other exception carries the clip's name as a note.
    """
    jobs = [list(clips[i : i + chunk]) for i in range(0, len(clips), chunk)]
    calls = [(function, prepare, job, name, os.getcwd()) for job in jobs]
    with none_killed("Set fewer workers and run it again."), ExitStack() as stack:
        if backend == "ray":  # without joblib: its pool for Ray does not survive the loss of a worker
            results = _on_ray(calls)
        else:
            if backend == "dask":
                stack.enter_context(_dask())
                workers = -1
            if backend == "processes":
                parallel = worker_processes(workers, return_as="generator", batch_size=1)
            else:
                with joblib.parallel_config(_JOBLIB[backend], n_jobs=workers):
                    parallel = joblib.Parallel(return_as="generator", batch_size=1)
            results = parallel(joblib.delayed(_job)(*call) for call in calls)
        stack.callback(_leave, results)
        for part in results:
            yield from part


@contextmanager
def naming(clip: str) -> Iterator[None]:
    """Add the name of the clip to any error that is raised inside."""
    try:
        yield
    except BadInput as error:
        if clip in str(error.where):
            raise
        where = f"clip {clip}: {error.where}"
        raise BadInput(where, expected=error.expected, found=error.found, fix=error.fix) from error
    except Exception as error:
        error.add_note(f"This was clip {clip}.")
        raise


def _leave(results: Any) -> None:
    """Cancel the remaining jobs, without joblib's warning: the caller stopped reading on purpose."""
    if hasattr(results, "close"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def _job(
    function: Callable[[P, T], R], prepare: Callable[[], P], clips: list[T], name: Callable[[T], str], folder: str
) -> list[R]:
    if not os.path.isdir(folder):  # a machine of a cluster: paths are relative to the project
        fix = "Share it with all machines."
        raise BadInput(folder, expected="the project folder on every machine", found="nothing", fix=fix)
    os.chdir(folder)  # a worker that served another folder before may stand in one that is gone
    prepared, results = prepare(), []
    for clip in clips:
        with naming(name(clip)):
            results.append(function(prepared, clip))
    return results


@contextmanager
def _dask() -> Iterator[None]:
    distributed = _package("distributed", "dask")
    try:
        distributed.get_client()
    except ValueError:
        with distributed.Client(_address("DASK_SCHEDULER_ADDRESS", "dask")):
            yield
    else:
        yield


def _on_ray(calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """The results of `_job` for `calls`, in order. If a worker dies, Ray itself restarts its task."""
    ray = _package("ray", "ray")
    if not ray.is_initialized():
        ray.init(_address("RAY_ADDRESS", "ray"))
    task = ray.remote(_job)
    waiting = deque(task.remote(*call) for call in calls)
    try:
        while waiting:
            yield ray.get(waiting.popleft())
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    finally:
        for result in waiting:
            ray.cancel(result)


def _package(name: str, backend: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BadInput(
            f"parallel: {backend}",
            expected=f"the package {name}",
            found=str(error),
            fix=f"pip install {name}, or set parallel: processes.",
        ) from error


def _address(variable: str, backend: str) -> str:
    if variable not in os.environ:
        raise BadInput(
            f"parallel: {backend}",
            expected=f"the address of a cluster in {variable}",
            found="no such variable",
            fix="Set it, or set parallel: processes.",
        )
    return os.environ[variable]
