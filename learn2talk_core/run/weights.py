"""A model on disk: `model.safetensors` for the weights, `model.json` for what is needed to rebuild the network."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from learn2talk_core.run.errors import BadInput, some_of
from learn2talk_core.run.files import inner_file, read_json, whole_file, write_json


def save_weights(folder: str | Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Write the weights and the configuration of `model` into `folder`."""
    folder = Path(folder)
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with whole_file(folder / "model.safetensors") as partial:
        partial.write_bytes(save(tensors))  # bytes first: a full disk is then an ordinary OSError
    write_json(folder / "model.json", config)


def load_config(folder: str | Path, *, made_by: str) -> dict[str, Any]:
    """Read the configuration that `save_weights` wrote; `made_by` says how to make the folder when it is missing."""
    return read_json(inner_file(Path(folder) / "model.json", made_by=made_by), made_by=made_by)


def load_weights(folder: str | Path, model: nn.Module, *, made_by: str) -> None:
    """Fill `model` from `folder`, strictly: every key present, none left over, every shape the same."""
    path = inner_file(Path(folder) / "model.safetensors", made_by=made_by)
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise BadInput(
            path, expected="a whole safetensors file", found=str(error), fix=f"Delete it and run {made_by}."
        ) from error
    own = model.state_dict()
    wrong = {
        "no": [key for key in own if key not in state],
        "what it does not have,": [key for key in state if key not in own],
        "another shape of": [key for key in own if key in state and state[key].shape != own[key].shape],
    }
    if any(wrong.values()):
        found = "; ".join(f"{what} {some_of(keys)}" for what, keys in wrong.items() if keys)
        raise BadInput(path, expected="the weights of this network", found=found, fix=f"Make it again: {made_by}.")
    model.load_state_dict(state, strict=True)


def frozen(model: nn.Module) -> nn.Module:
    """Put `model` into evaluation mode and switch its gradients off, for good."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def parameter_count(model: nn.Module) -> int:
    """Number of learnable numbers in `model`."""
    return sum(p.numel() for p in model.parameters())
