"""How every stage starts and ends: parameters in; errors, time and memory out."""

import argparse
import logging
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import util
from typing import TypeVar

from learn2talk_core.run import processes
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import write_json
from learn2talk_core.run.paths import COST
from learn2talk_core.run.program import INTERRUPTED, run_program
from learn2talk_core.run.progress import log

P = TypeVar("P")


def run(main: Callable[..., str | tuple[str, float]], params: type[P], *, roles: tuple[str, ...] | str = ()) -> None:
    """Run one stage as a program: `python -m stages.NAME [ROLE]`.

    `main(params)`, or `main(params, role)` where the stage is run once for each of `roles`, does the work and returns
    one sentence that says what it made; with workers that ran at once (`workers.at_once`), also their memory. If the
    roles are the students or avatars of a run, `roles` is the name of the parameter that lists them. Time, peak memory,
    device and precision of networks go to `metrics/cost/NAME[-ROLE].json`, those of a student or avatar to
    `metrics/cost/students/ROLE.json` or `metrics/cost/avatars/ROLE.json`. Errors are handled by `run_program`. Under
    `accelerate launch` or `torchrun` it joins the other processes.
    """
    name = sys.modules["__main__"].__spec__.name.rpartition(".")[2]  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(prog=f"python -m stages.{name}", description=sys.modules["__main__"].__doc__)
    if isinstance(roles, str):
        parser.add_argument("role", metavar="NAME", help=f"one of `{roles}` in params.yaml")
    elif roles:
        parser.add_argument("role", choices=roles, help="which training to run")
    role = getattr(parser.parse_args(), "role", None)
    label = f"{name}-{role}" if role else name
    logging.getLogger("httpx").setLevel(logging.WARNING)
    start = time.perf_counter()

    def work() -> int:
        with processes.joined():
            if processes.rank() > 0:
                logging.getLogger().setLevel(logging.WARNING)
            place_of_networks = _place_of_networks()
            values = load_params(params, name)
            if isinstance(roles, str) and role not in (known := getattr(values, roles)):
                expected = f"one of {', '.join(known) or 'none'}"
                raise BadInput(f"params.yaml: {roles}", expected=expected, found=repr(role), fix="Add it there.")
            with _enough_memory(label):
                made = main(values, *([role] if role else []))
            seconds = time.perf_counter() - start
            sentence, workers = made if isinstance(made, tuple) else (made, 0.0)
            memory = peak_memory_mb(workers)
            place = f"{roles.removeprefix('taught_')}/{role}" if isinstance(roles, str) else label
            cost = {"seconds": round(seconds, 1), "peak_memory_mb": round(memory)} | place_of_networks
            write_json(f"{COST}/{place}.json", {label: cost})
            log.info("%s: %s (%.1f s, %.0f MB at most)", label, sentence, seconds, memory)
        return 0

    status = run_program(label, work, go_on="; run it again to go on")
    if status == INTERRUPTED:
        util._run_finalizers(0)  # type: ignore[attr-defined] # else joblib may warn that its semaphores are left
        os._exit(status)  # immediately, without waiting for other threads
    if status:
        sys.exit(status)


def _place_of_networks() -> dict[str, str]:
    """The name of the run's device; nothing for a stage that does not import torch, which takes seconds. For a stage
    that trains, also the precision."""
    if "torch" not in sys.modules:
        return {}
    from learn2talk_core.run.device import device_name, run_device
    from learn2talk_core.run.precision import run_precision

    found = {"device": device_name(run_device())}
    return found | {"precision": run_precision()} if "learn2talk_core.training.loop" in sys.modules else found


def _enough_memory(label: str) -> AbstractContextManager[None]:
    """One message if the device's memory is not enough, wherever in the stage; nothing for a stage without torch."""
    if "torch" not in sys.modules:
        return nullcontext()
    from learn2talk_core.run.device import enough_memory

    return enough_memory(label, "its batch sizes or workers in params.yaml")


def peak_memory_mb(workers: float = 0.0) -> float:
    """The largest resident memory so far of this process in megabytes, plus that of its largest finished child, or of
    its `workers` that ran at once if that is more. Each has a peak of its own time, so this is an upper bound."""
    own, child = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own + max(child, workers)
