"""The same work on every clip, side by side: by joblib on this machine or on a Dask cluster, or as tasks of Ray.

What is computed, and in which order it comes back, does not depend on where. Machines of a cluster must see the project
under the same path, with the same packages. A job that a lost machine had begun is given to another one.
"""

import importlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from learn2talk_core.run.errors import BadInput

Backend = Literal["processes", "threads", "dask", "ray"]
_JOBLIB = {"processes": "loky", "threads": "threading", "dask": "dask"}

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
    """Yield function(prepared, clip) for every clip, in order, as soon as it is there.

    Args:
        function: the work. It and its arguments are sent to the worker, so they should be small.
        clips: what it is done to.
        prepare: opens files and loads networks: run once a job, by the worker.
        backend: `processes` or `threads` of this machine; or the cluster whose address `dask` finds in
            DASK_SCHEDULER_ADDRESS (or in a client that is already open), `ray` in RAY_ADDRESS.
        workers: how many jobs at a time, 1 without any other process or thread. A cluster decides by itself.
        chunk: clips a job: more where `prepare` is slow.
        name: of a clip, which errors then tell.

    Raises:
        BadInput: from `function`, naming the clip; or the cluster or its package is missing, or a process of this
            machine died. Any other exception carries the clip's name as a note.
    """
    jobs = [list(clips[i : i + chunk]) for i in range(0, len(clips), chunk)]
    calls = [(function, prepare, job, name, os.getcwd()) for job in jobs]
    with ExitStack() as stack:
        try:
            if backend == "ray":  # not joblib's: its pool does not survive the loss of a worker
                results = _on_ray(calls)
            else:
                if backend == "dask":
                    stack.enter_context(_dask())
                    workers = -1
                with joblib.parallel_config(_JOBLIB[backend], n_jobs=workers):
                    parallel = joblib.Parallel(return_as="generator", batch_size=1)
                results = parallel(joblib.delayed(_job)(*call) for call in calls)
            stack.callback(_leave, results)
            for part in results:
                yield from part
        except TerminatedWorkerError as error:
            raise BadInput(
                "workers",
                expected="processes that live until their work is done",
                found="one that was killed, perhaps for want of memory",
                fix="Set fewer of them, and run it again.",
            ) from error


@contextmanager
def naming(clip: str) -> Iterator[None]:
    """Let whatever goes wrong inside say which clip it was."""
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
    """Cancel what is still to come. joblib warns of it, but who stops reading knows."""
    if hasattr(results, "close"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def _job(
    function: Callable[[P, T], R], prepare: Callable[[], P], clips: list[T], name: Callable[[T], str], folder: str
) -> list[R]:
    if os.getcwd() != folder:  # the machine of a cluster: paths are relative to the project
        if not os.path.isdir(folder):
            raise BadInput(
                folder, expected="the project, on every machine", found="nothing", fix="Share its folder with them."
            )
        os.chdir(folder)
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
    """What `_job` makes of each of `calls`, in order. Ray itself begins a task again whose worker died."""
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
