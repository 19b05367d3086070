"""Published checkpoints of Wav2Lip: the generator (`wav2lip.pth`, `wav2lip_gan.pth`, the TorchScript
`Wav2Lip-SD-*.pt`) and the lip-sync expert (`lipsync_expert.pth`)."""

from pathlib import Path

import torch
from torch import nn

from learn2talk_core.models.sync_expert2d import SyncExpert2D, load_expert
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, load_generator
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.run.weights import load_config
from learn2talk_core.untrusted.published import export_state, fill, read_state

OFFICIAL_SHAPE = {"width": 1.0, "audio_width": 1.0}
OFFICIAL_INPUTS = Inputs(bgr=True)


def import_generator(source: str | Path) -> tuple[Wav2Lip, dict[str, float], Inputs]:
    """A generator, its `width` and `audio_width`, and its input format, from a published file or a model folder."""
    if Path(source).is_dir():
        generator, inputs = load_generator(source)
        shape = load_config(source, made_by="dvc repro teacher")["shape"]
        return generator, {key: shape[key] for key in ("width", "audio_width")}, inputs
    return import_wav2lip(source), OFFICIAL_SHAPE, OFFICIAL_INPUTS


def import_expert(source: str | Path) -> tuple[SyncExpert2D, float]:
    """A lip-sync expert and its width, from a published file or a model folder."""
    if Path(source).is_dir():
        return load_expert(source), load_config(source, made_by="dvc repro teacher")["width"]
    return import_sync_expert(source), 1.0


def import_wav2lip(path: str | Path) -> Wav2Lip:
    """The generator, in evaluation mode; it takes faces in BGR."""
    fix = "Name wav2lip.pth or wav2lip_gan.pth (416 MB), or Wav2Lip-SD-GAN.pt."
    generator = Wav2Lip()
    fill(generator, read_state(path), path, what="Wav2Lip's generator", fix=fix)
    return generator.eval()


def import_sync_expert(path: str | Path) -> SyncExpert2D:
    """The lip-sync expert, in evaluation mode."""
    expert = SyncExpert2D(official=True)
    fill(expert, read_state(path), path, what="Wav2Lip's lip-sync expert", fix="Name lipsync_expert.pth.")
    return expert.eval()


def export_wav2lip(generator: Wav2Lip, out: str | Path, inputs: Inputs) -> None:
    """Write the generator so that Wav2Lip's own code can load it.

    If the weights are for RGB, the channels of the first and last layer are swapped: the same function of BGR faces.
    """
    settings = "width: 1, audio_width: 1, residual: false, lead: 0, amplitude: 0"
    fix = f"Train one for it: teacher.hears: mel, teacher.generator: {{{settings}}}."
    if generator.residual:
        raise BadInput("the generator", expected="one that draws whole faces", found="a residual one", fix=fix)
    if inputs.lead:
        expected, found = "an audio window that begins at its frame", f"one that begins {inputs.lead} frames before"
        raise BadInput("the generator", expected=expected, found=found, fix=fix)
    if inputs.states:
        found = f"one that hears the {inputs.states} hidden states of a speech encoder"
        raise BadInput("the generator", expected="one that hears the mel spectrogram", found=found, fix=fix)
    if inputs.gain != 1:
        found = f"a gain of {inputs.gain}"
        raise BadInput("the generator", expected="motion without a gain", found=found, fix=fix)
    _refuse_other_width(generator, Wav2Lip, fix)
    state = export_state(generator)
    if not inputs.bgr:
        for key, dim in (("face_encoder_blocks.0.0.conv_block.0.weight", 1), ("output_block.1.weight", 0)):
            order = [2, 1, 0, 5, 4, 3][: state[key].shape[dim]]
            state[key] = state[key].index_select(dim, torch.tensor(order))
        state["output_block.1.bias"] = state["output_block.1.bias"].flip(0)
    _save(state, out)


def export_sync_expert(expert: SyncExpert2D, out: str | Path) -> None:
    """Write the expert so that Wav2Lip's own code can load it."""
    if not expert.official:
        raise BadInput(
            "the sync expert",
            expected="one whose input is faces, as in Wav2Lip",
            found="one whose input is the difference from the clip's mean face",
            fix="Only an imported expert can be exported.",
        )
    _refuse_other_width(expert, SyncExpert2D, "Only an imported expert can be exported.")
    _save(export_state(expert), out)


def _refuse_other_width(network: nn.Module, official: type[nn.Module], fix: str) -> None:
    with torch.device("meta"):
        full = official().state_dict()
    for key, value in network.state_dict().items():
        if value.shape != full[key].shape:
            found = f"{key} of shape {tuple(value.shape)} instead of {tuple(full[key].shape)}"
            raise BadInput("the network", expected="the official number of channels", found=found, fix=fix)


def _save(state: dict[str, torch.Tensor], out: str | Path) -> None:
    with whole_file(out) as partial:
        prefixed = {f"module.{key}": value for key, value in state.items()}
        torch.save({"state_dict": prefixed, "optimizer": None, "global_step": 0, "global_epoch": 0}, partial)
