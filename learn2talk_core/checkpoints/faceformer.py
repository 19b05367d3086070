"""Checkpoints of FaceFormer: the published ones (`biwi.pth`, `vocaset.pth`) and others trained with its code."""

from pathlib import Path

import torch
from transformers import Wav2Vec2Config

from learn2talk_core.checkpoints.students import (
    ANY,
    PUBLISHED,
    Fit,
    alignment_of,
    encoder_in,
    export_notes,
    exportable,
    exported,
    fit_of,
    in_published_order,
    refuse_misfit,
    refuse_other_unit,
    student_of_folder,
)
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.students.faceformer.network import FaceFormer, new_faceformer, state_sizes
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import frozen
from learn2talk_core.untrusted.published import export_state, fill, read_state

FIX = (
    "Name FaceFormer's biwi.pth or vocaset.pth, or a file that its code saved. Import another network's first: "
    "learn2talk import-checkpoint."
)


def import_faceformer(
    path: str | Path, fit: Fit = ANY, *, config: str | Path | None = None
) -> tuple[FaceFormer, tuple[str, ...]]:
    """The network of a state dict with FaceFormer's keys. Its size comes from the shapes of the weights, its alignment
    of audio and frames is the one that it was trained with.

    Args:
        path: the file. `PPE.pe`, a constant table, may be missing.
        fit: the corpus that it is to be used with.
        config: `config.json` of the speech encoder, needed if the shapes do not determine it (see
            `wav2vec2.encoder_config`). `FILE.config.json`, which `export_faceformer` writes, is found automatically.

    Returns:
        The network, in evaluation mode, and its speakers in the order of the style one-hot.

    Raises:
        BadInput: see `published.read_state`; another network; another number of speakers or vertices; another frame
            rate.
    """
    path = Path(path)
    state = read_state(path)
    try:
        vertices, styles, width = state_sizes(state)
    except KeyError as error:
        raise BadInput(path, expected="the weights of FaceFormer", found=f"no {error.args[0]}", fix=FIX) from None
    alignment = alignment_of(state, vertices, path, FIX)
    rate = PUBLISHED[alignment][0]
    refuse_misfit(path, fit, styles=styles, vertices=vertices, rate=rate)
    speakers = in_published_order(path, alignment, styles, fit.speakers)
    model = new_faceformer(
        encoder_in(state, path, config), vertices, styles, rate,
        width=width, dropout=0.1, alignment=alignment,
    )  # fmt: skip
    fill(model, {"PPE.pe": model.PPE.pe, **state}, path, what="FaceFormer", fix=FIX)
    return model.eval(), speakers


def published_student(path: str | Path) -> tuple[FaceFormer, tuple[str, ...], float]:
    """A published file as a frozen student, with its training speakers and its frame rate."""
    student, speakers = import_faceformer(path)
    frozen(student)
    return student, speakers, float(student.period)


def import_student(
    source: str | Path, corpus: Corpus, *, config: str | Path | None = None
) -> tuple[FaceFormer, tuple[str, ...]]:
    """A FaceFormer for the speakers, mesh and unit of `corpus`, from a published file (with the `config` of its speech
    encoder, see `import_faceformer`) or a model folder.

    Returns:
        The network and its speakers in the order of the style one-hot.
    """
    source = Path(source)
    if source.is_dir():
        model, speakers = student_of_folder(FaceFormer, source, corpus)
    else:
        model, speakers = import_faceformer(source, fit_of(corpus), config=config)
    refuse_other_unit(source, model.alignment, corpus)
    return model, speakers


def export_faceformer(model: FaceFormer, out: str | Path) -> list[str]:
    """Write the state dict that FaceFormer's code loads, and `OUT.config.json` for its speech encoder.

    Returns:
        Notes on what FaceFormer's code needs to know or cannot do, one sentence each.
    """
    encoder = exportable(model.speech_encoder, "FaceFormer")
    with exported(out, encoder) as partial:
        torch.save(export_state(model), partial)
    return export_notes(out, encoder, model.alignment, "FaceFormer", Wav2Vec2Config())
