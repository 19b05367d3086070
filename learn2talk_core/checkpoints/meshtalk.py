"""Checkpoints of MeshTalk: its three published parts, `encoder.pkl`, `context_model.pkl` and `vertex_unet.pkl`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.checkpoints.students import fit_of, refuse_misfit, student_of_folder
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.students.meshtalk.network import MeshTalk, MeshTalkShape
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.own_folder import EXPORT, own_folder
from learn2talk_core.untrusted.published import State, export_state, fill, read_state

PARTS = ("encoder", "context_model", "vertex_unet")
MASKS = ("forehead_mask.txt", "neck_mask.txt")  # of the reference's `assets`, in the order in which it smooths
HIDDEN = 64  # channels of a head in the context model
FPS = 30.0
FIX = "Name the folder with MeshTalk's encoder.pkl, context_model.pkl and vertex_unet.pkl (pretrained_models.zip)."
LARGEST_MASK = 1 << 22  # bytes of a mask's text


def import_meshtalk(folder: str | Path, speakers: Sequence[str] = ("any",)) -> tuple[MeshTalk, tuple[str, ...]]:
    """The network of MeshTalk's three parts. Its size comes from the shapes of the weights.

    Args:
        folder: with the three files, and the two masks of the reference's `assets` if its motion is to be smoothed.
        speakers: training speakers of the corpus that it is to be used with; they do not change the motion.

    Returns:
        The network, in evaluation mode, and `speakers`.

    Raises:
        BadInput: see `published.read_state`; a missing part, another network, parts of different models, a mask of
            another length or with numbers outside 0 … 1.
    """
    folder = Path(folder)
    if folder.is_file():
        raise BadInput(folder, expected="a folder", found="a file", fix=FIX)
    states = {part: read_state(folder / f"{part}.pkl") for part in PARTS}
    shape = _shape(states, folder)
    masks = [mask for name in MASKS if (mask := _mask(folder / name, shape.vertices)) is not None]
    model = MeshTalk(shape, len(speakers), alignment="pieces", smoothed=len(masks))
    fixed = {f"{part}.{key}": value for part in PARTS for key, value in getattr(model, part).named_buffers()}
    fixed = {key: value.clone() for key, value in fixed.items() if key.endswith("mask")}
    for part in PARTS:
        fill(getattr(model, part), states[part], folder / f"{part}.pkl", what=f"MeshTalk's {part}", fix=FIX)
    for key, value in fixed.items():
        if not torch.equal(model.get_buffer(key), value):
            raise BadInput(folder / "context_model.pkl", expected=f"the published {key}", found="another one", fix=FIX)
    if not torch.equal(model.vertex_unet.mean, model.encoder.expression_encoder.mean):
        found = "encoder and vertex_unet with different mean faces"
        raise BadInput(folder, expected="three parts of one model", found=found, fix=FIX)
    if masks:
        model.masks.copy_(torch.stack(masks))
    return model.eval(), tuple(speakers)


def import_student(
    source: str | Path, corpus: Corpus, *, config: str | Path | None = None
) -> tuple[MeshTalk, tuple[str, ...]]:
    """A MeshTalk for the mesh and unit of `corpus`, from the published parts or a model folder of this project."""
    source = Path(source)
    if (source / "model.json").is_file():
        model, speakers = student_of_folder(MeshTalk, source, corpus)
    else:
        model, speakers = import_meshtalk(source, corpus.train_speakers)
        refuse_misfit(source, fit_of(corpus), styles=len(speakers), vertices=model.vertex_count, rate=FPS)
    if model.alignment == "pieces" and corpus.mm_per_unit != 1:
        raise BadInput(
            source,
            expected="a corpus in millimetres, as in the training of these weights",
            found=f"{corpus.mm_per_unit:g} mm per unit ({corpus.recipe})",
            fix="Prepare the corpus with mm_per_unit 1.",
        )
    return model, speakers


def import_motion_prior(source: str | Path, corpus: Corpus) -> MeshTalk:
    """The latent space of published parts or of a model folder, for the mesh and unit of `corpus`."""
    return import_student(source, corpus)[0]


def export_meshtalk(model: MeshTalk, out: str | Path) -> list[str]:
    """Write the three files that MeshTalk's code loads into the folder `out`.

    Returns:
        Notes on what MeshTalk's code needs to know or does differently, one sentence each.

    Raises:
        BadInput: it hears through a speech encoder, which MeshTalk's code does not know.
    """
    if model.speech_encoder is not None:
        raise BadInput(
            "this student",
            expected="a MeshTalk that hears the mel spectrogram, as MeshTalk's code computes it",
            found="one that hears through a speech encoder",
            fix="Train one with meshtalk.prior.hears: mel.",
        )
    with own_folder(out, EXPORT) as partial:
        for part in PARTS:
            torch.save(export_state(getattr(model, part)), partial / f"{part}.pkl")
    shape, notes = model.shape, []
    if shape != MeshTalkShape(6172):
        notes.append(
            f"Build its networks with n_vertices={shape.vertices}, heads={shape.heads} and classes={shape.classes}."
        )
    if model.alignment == "time":
        notes.append(
            "It was trained with codes at the times of the motion frames; MeshTalk's own code gives each frame 533 "
            "samples, which runs ahead of 30 frames per second by 0.6 ms per second."
        )
    return notes


def _shape(states: dict[str, State], folder: Path) -> MeshTalkShape:
    """The sizes of the network, from the shapes of the weights that `fill` compares afterwards."""
    try:
        coordinates = len(states["vertex_unet"]["vertex_bias"])
        channels, inputs, _ = states["context_model"]["embedding.masked_linear.weight"].shape
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(folder, expected="the weights of MeshTalk", found=f"no {error}", fix=FIX) from None
    heads = channels // HIDDEN
    if coordinates % 3 or channels % HIDDEN or heads == 0 or inputs % heads:
        found = f"{coordinates} coordinates, {channels} channels and {inputs} classes in all"
        raise BadInput(folder, expected="the weights of MeshTalk", found=found, fix=FIX)
    return MeshTalkShape(coordinates // 3, heads, inputs // heads)


def _mask(path: Path, vertices: int) -> Tensor | None:
    """The mask in a file, one number per line; None if there is no file."""
    if not path.is_file():
        return None
    fix = f"Take {path.name} from the assets of MeshTalk's code, or delete it to leave the motion as it is."
    try:
        if path.stat().st_size > LARGEST_MASK:
            raise ValueError("a large file")
        values = np.array(path.read_text().split(), dtype=np.float32)
    except ValueError as error:
        raise BadInput(path, expected="a number for each vertex", found=str(error)[:100], fix=fix) from None
    if len(values) != vertices or not ((values >= 0) & (values <= 1)).all():
        found = f"{len(values)} numbers" if len(values) != vertices else "numbers outside 0 … 1"
        raise BadInput(path, expected=f"{vertices} numbers from 0 to 1", found=found, fix=fix)
    return torch.from_numpy(values)
