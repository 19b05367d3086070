"""A model on disk: `model.safetensors` for the weights, `model.json` for what is needed to rebuild the network."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import missing, read_json, whole_file, write_json


def save_weights(folder: str | Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Write the weights and the configuration of `model` into `folder`."""
    folder = Path(folder)
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with whole_file(folder / "model.safetensors") as partial:
        partial.write_bytes(save(tensors))  # bytes first: a full disk is then an ordinary OSError
    write_json(folder / "model.json", config)


def load_config(folder: str | Path, *, made_by: str) -> dict[str, Any]:
    """Read the configuration that `save_weights` wrote; `made_by` says how to make the folder when it is missing."""
    return read_json(Path(folder) / "model.json", made_by=made_by)


def load_weights(folder: str | Path, model: nn.Module, *, made_by: str) -> None:
    """Fill `model` from `folder`, strictly: every key present, none left over, every shape the same."""
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise missing(path, made_by)
    try:
        model.load_state_dict(load_file(path), strict=True)
    except SafetensorError as error:
        raise BadInput(
            path, expected="a whole safetensors file", found=str(error), fix=f"Delete it and run {made_by}."
        ) from error
    except RuntimeError as error:
        raise BadInput(
            path, expected="the weights of this network", found=str(error), fix=f"Make it again: {made_by}."
        ) from error


def frozen(model: nn.Module) -> nn.Module:
    """Put `model` into evaluation mode and switch its gradients off, for good."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def parameter_count(model: nn.Module) -> int:
    """Number of learnable numbers in `model`."""
    return sum(p.numel() for p in model.parameters())
