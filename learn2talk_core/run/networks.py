"""The source files of a student network, found by its name: `training/students/NAME.py` and `checkpoints/NAME.py`.

They are imported by name, so that the stage of one network does not depend on the code of the others (dvc.yaml).
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.paths import MOTION_PRIOR

PACKAGE = Path(__file__).parents[1]


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


def check_networks(params: Mapping[str, Any]) -> None:
    """Refuse unknown networks in params.yaml, and students whose network is not among `networks`. What is malformed is
    left to the stages, which refuse it by name."""
    networks, *students = (
        found if isinstance(found := params.get(group), dict) else {}
        for group in ("networks", "students", "taught_students")
    )
    for name in networks:
        refuse_unknown(name, "networks")
    for group, entries in zip(("students", "taught_students"), students, strict=True):
        for student, entry in entries.items():
            if not isinstance(entry, dict) or "network" not in entry:
                continue
            network, key = entry["network"], f"{group}.{student}.network"
            refuse_unknown(network, key)
            if network not in networks:
                expected, fix = "a network that is among networks", f"Add `{network}: weights/none` to networks."
                raise BadInput(f"params.yaml: {key}", expected=expected, found=network, fix=fix)


def motion_prior_of(network: str, training: Any, corpus: Any, folder: str | None = None) -> dict[str, Any]:
    """The argument `prior` of a network's `train_network`; none if it needs none. `folder` is where it is (default:
    where the stage motion_prior writes it)."""
    if not hasattr(training, "load_motion_prior"):
        return {}
    return {"prior": training.load_motion_prior(folder or f"{MOTION_PRIOR}/{network}", corpus)}


def checkpoints_of(network: str) -> Any:
    """The module with `import_student`, which imports published weights."""
    return import_module(f"learn2talk_core.checkpoints.{network}")
