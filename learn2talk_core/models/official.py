"""Weights that others published, read without running any code of theirs."""

import pickle
import zipfile
from pathlib import Path

import torch

from learn2talk_core.errors import BadInput


def wav2lip_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The state dict of an official Wav2Lip checkpoint (`wav2lip.pth`, `wav2lip_gan.pth`).

    They hold {state_dict, optimizer, global_step, global_epoch}; the `module.` before every key, which
    DataParallel left there, is taken off.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(path, expected="a checkpoint file", found="nothing", fix="Mend `teacher.checkpoint`.")
    if _is_torchscript(path):
        raise BadInput(
            path,
            expected="a checkpoint with a state dict",
            found="a TorchScript archive, which is a program",
            fix="Use wav2lip.pth or wav2lip_gan.pth, or save the `state_dict()` of the archive yourself.",
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise BadInput(
            path,
            expected="a torch checkpoint with nothing but tensors and plain containers",
            found=f"something else, or a part of one ({str(error).splitlines()[0]})",
            fix="Download it again; it should be 416 MB.",
        ) from error
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BadInput(path, expected="a state dict", found=type(checkpoint).__name__, fix="Use wav2lip.pth.")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_official(path: str | Path, network: torch.nn.Module) -> None:
    """Fill Wav2Lip's generator or expert of width 1 from an official checkpoint, strictly."""
    state = wav2lip_weights(path)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise BadInput(
            path,
            expected=f"the weights of {type(network).__name__} at full size",
            found=" ".join(str(error).split())[:300],
            fix="Name the checkpoint of this network.",
        ) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())
