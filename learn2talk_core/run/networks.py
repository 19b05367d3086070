"""The source files of a student network, found by its name: `training/students/NAME.py` and `checkpoints/NAME.py`.

They are imported by name, so that the stage of one network does not depend on the code of the others (dvc.yaml).
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.paths import MOTION_PRIOR, NOTHING, is_nothing
from learn2talk_core.run.progress import log
from learn2talk_core.run.students import PlainStudent, TaughtStudent

PACKAGE = Path(__file__).parents[1]
# Networks that need a path in `networks` to be trained, and the usual one.
NEEDS_PATH = {"selftalk": "weights/phoneme_head"}


def network_names() -> tuple[str, ...]:
    """The networks that can be trained."""
    return tuple(sorted(file.stem for file in (PACKAGE / "training" / "students").glob("[!_]*.py")))


def training_of(network: str, key: str) -> Any:
    """The module with `NetworkRecipe` and `train_network` of a network; an unknown name is refused.

    Args:
        network: such as "faceformer".
        key: the parameter that names it, for the message.
    """
    refuse_unknown(network, key)
    return import_module(f"learn2talk_core.training.students.{network}")


def refuse_unknown(network: str, key: str) -> None:
    """Refuse a name that is no network; `key` is the parameter that has it."""
    if network not in network_names():
        known = ", ".join(network_names())
        raise BadInput(f"params.yaml: {key}", expected=f"one of {known}", found=network, fix="Choose one of them.")


def check_networks(
    networks: Mapping[str, str], students: Mapping[str, PlainStudent], taught: Mapping[str, TaughtStudent]
) -> None:
    """Refuse unknown networks, and students whose network is not among `networks`. The arguments are the groups of
    params.yaml; a network that no student has is logged."""
    for name in networks:
        refuse_unknown(name, "networks")
    named: dict[str, PlainStudent | TaughtStudent] = {f"students.{name}": one for name, one in students.items()}
    named |= {f"taught_students.{name}": one for name, one in taught.items()}
    for key, student in named.items():
        refuse_unknown(student.network, f"{key}.network")
        if student.network not in networks:
            expected = "a network that is among networks"
            fix = f"Add `{student.network}: {NEEDS_PATH.get(student.network, NOTHING)}` to networks."
            raise BadInput(f"params.yaml: {key}.network", expected=expected, found=student.network, fix=fix)
        trained = isinstance(student, TaughtStudent) or is_nothing(student.checkpoint)
        if trained and student.network in NEEDS_PATH and is_nothing(networks[student.network]):
            expected, fix = f"what {key} is trained with", f"Name {NEEDS_PATH[student.network]} there."
            raise BadInput(f"params.yaml: networks.{student.network}", expected=expected, found=NOTHING, fix=fix)
    for name in networks:
        if name not in {student.network for student in named.values()}:
            log.warning("params.yaml: networks.%s: no student has this network; remove it to save its training", name)


def motion_prior_of(network: str, training: Any, corpus: Any, folder: str | None = None) -> dict[str, Any]:
    """The argument `prior` of a network's `train_network`; none if it needs none. `folder` is where it is (default:
    where the stage motion_prior writes it)."""
    if not hasattr(training, "load_motion_prior"):
        return {}
    return {"prior": training.load_motion_prior(folder or f"{MOTION_PRIOR}/{network}", corpus)}


def checkpoints_of(network: str) -> Any:
    """The module with `import_student`, which imports published weights."""
    return import_module(f"learn2talk_core.checkpoints.{network}")
