"""State dicts out of files that others published, without running any code of theirs."""

import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from learn2talk_core.errors import BadInput


def published_weights(
    path: str | Path, *, wrapper: str | None = None, prefix: str = "", fix: str = "Download it again."
) -> dict[str, torch.Tensor]:
    """The tensors of a published file by key.

    Args:
        path: safetensors (by its suffix), what `torch.save` wrote, or a folder that `import-checkpoint` wrote.
        wrapper: the entry of a torch file that holds the state dict beside optimiser and epoch; a file that is a plain
            state dict is taken as it is.
        prefix: of the keys in a safetensors file with several networks in it; other keys are left out, and it is taken
            off. Torch files hold one network, without it.
        fix: what an error recommends.
    """
    path = Path(path)
    if path.is_dir():  # one network, under its own keys
        path, prefix = path / "model.safetensors", ""
    if not path.is_file():
        raise BadInput(path, expected="a file with weights", found="no such file", fix="Mend the path.")
    if path.suffix == ".safetensors":
        return _safetensors(path, prefix, fix)
    if _is_torchscript(path):
        raise BadInput(
            path,
            expected="weights",
            found="a TorchScript archive, which is a program",
            fix="Save the `state_dict()` of the archive yourself, or use the original file.",
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # flipped bits make the restricted unpickler fail in any way there is
        raise BadInput(
            path,
            expected="a torch file with nothing but tensors and plain containers",
            found=f"something else, or a part of one ({(str(error) or type(error).__name__).splitlines()[0]})",
            fix=fix,
        ) from error
    state = loaded.get(wrapper, loaded) if isinstance(loaded, dict) and wrapper is not None else loaded
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BadInput(path, expected="a state dict", found=_described(loaded), fix=fix)
    return {key.removeprefix("module."): value for key, value in state.items()}


def fill_strictly(network: nn.Module, state: dict[str, torch.Tensor], *, where: object, what: str, fix: str) -> None:
    """Load `state` into `network`: every key and shape as it must be, every number finite; `what` names it in errors.

    Only the counters of batch normalisation may be absent: torch before 0.4.1 had none, and nothing reads them here.
    """
    own = network.state_dict()
    state = {key: own[key] for key in own if key.endswith("num_batches_tracked")} | state
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    other = [key for key in own if key in state and own[key].shape != state[key].shape]
    for keys, said in ((missing, "without {}"), (unknown, "also {}")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise BadInput(where, expected=f"the weights of {what}", found=said.format(keys[0]) + more, fix=fix)
    if other:
        key = other[0]
        raise BadInput(
            where,
            expected=f"the weights of {what}, {key} with shape {list(own[key].shape)}",
            found=str(list(state[key].shape)),
            fix=fix,
        )
    for key, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise BadInput(f"{where}: {key}", expected="finite weights", found="NaN or infinity", fix=fix)
    network.load_state_dict(state, strict=True)


def _safetensors(path: Path, prefix: str, fix: str) -> dict[str, torch.Tensor]:
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        found = f"something else, or a part of one ({error})"
        raise BadInput(path, expected="a whole safetensors file", found=found, fix=fix) from error
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if not state:
        found = f"others, such as {min(tensors)}" if tensors else "none"
        raise BadInput(path, expected=f"keys that begin with {prefix}", found=found, fix=fix)
    return state


def _described(value: object) -> str:
    if isinstance(value, dict):
        return f"a dictionary with {', '.join(sorted(map(str, value))[:5])}"
    return type(value).__name__


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())
    except Exception:  # no archive, or a torn one: torch says what is wrong with it
        return False
