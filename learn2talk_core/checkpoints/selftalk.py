"""Checkpoints of SelfTalk: the published ones (`vocaset.pth`, `BIWI.pth`) and others trained with its code.

A file holds the student and the recogniser that taught it. The recogniser is as large as the student and speaks no
part, so it is kept apart.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import Wav2Vec2Config

from learn2talk_core.checkpoints.students import (
    ANY,
    PUBLISHED,
    Fit,
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
from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.models.students.selftalk.network import SelfTalk
from learn2talk_core.models.students.selftalk.recogniser import CHARACTERS, TextRecogniser
from learn2talk_core.models.students.student import AudioAlignment
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.pickles import load_pickle
from learn2talk_core.untrusted.published import State, export_state, fill, read_state

FIX = "Name SelfTalk's vocaset.pth or BIWI.pth, or a file that its code saved."
RECOGNISER = "text_encoder."
LIP_HEADS = 8  # of the interpreter, which the shapes of the weights do not tell
LARGE = Wav2Vec2Config(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
    feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True,
)  # fmt: skip


class ImportedSelfTalk(NamedTuple):
    """A published file: the student, its speakers, and the recogniser if the file has it."""

    student: SelfTalk
    speakers: tuple[str, ...]
    recogniser: TextRecogniser | None


def import_selftalk(
    path: str | Path,
    fit: Fit = ANY,
    *,
    config: str | Path | None = None,
    lips: str | Path | None = None,
    recogniser: bool = True,
) -> ImportedSelfTalk:
    """The networks of a state dict with SelfTalk's keys. Its sizes come from the shapes of the weights.

    Args:
        path: the file.
        fit: the corpus that it is to be used with.
        config: `config.json` of the speech encoder, if the shapes do not determine it.
        lips: `FLAME_masks.pkl` or `BIWI_lip.pkl`, the list of the lip vertices, which the file does not contain. Only
            reading lips needs it.
        recogniser: also build the recogniser.

    Raises:
        BadInput: see `published.read_state`; another network; another number of speakers or vertices; another frame
            rate; another number of lip vertices.
    """
    path = Path(path)
    state = read_state(path)
    taught = {key: value for key, value in state.items() if key.startswith(RECOGNISER)}
    state = {key: value for key, value in state.items() if key not in taught}
    for key in ("vertice_map_r.weight", "lip_map.weight", "audio_feature_map.weight", "lm_head.weight"):
        if key not in state or state[key].ndim != 2:
            raise BadInput(path, expected="the weights of SelfTalk", found=f"no {key}", fix=FIX)
    encoder = encoder_in(state, path, config)
    width, heard = state["audio_feature_map.weight"].shape
    alignment: AudioAlignment = "biwi" if heard == 2 * encoder.width else "vocaset"
    rate = PUBLISHED[alignment][0]
    vertices, lip_count = len(state["vertice_map_r.weight"]) // 3, state["lip_map.weight"].shape[1] // 3
    speakers = PUBLISHED[alignment][2] if fit.speakers is None else fit.speakers
    styles = len(speakers)  # SelfTalk has no style, so any speakers are its own
    refuse_misfit(path, fit, styles=styles, vertices=vertices, rate=rate)
    layers = {key.split(".")[3] for key in state if key.startswith("transformer.encoder.layers.")}
    hidden = state.get("transformer.encoder.layers.0.linear1.weight", torch.zeros(0, 0))
    model = SelfTalk(
        vertices, styles, lip_count=lip_count, units=_units(len(state["lm_head.weight"]), path), audio_encoder=encoder,
        width=width, lip_width=len(state["lip_map.weight"]), lip_heads=LIP_HEADS, lip_layers=max(1, len(layers)),
        lip_hidden=max(1, len(hidden)), alignment=alignment,
    )  # fmt: skip
    known = model.lips if lips is None else _lip_list(lips, lip_count, vertices)
    fill(model, {**state, "lips": known}, path, what="SelfTalk", fix=FIX)
    names = in_published_order(path, alignment, styles, fit.speakers)
    teacher = _recogniser(taught, path) if taught and recogniser else None
    return ImportedSelfTalk(model.eval(), names, teacher)


def import_student(
    source: str | Path, corpus: Corpus, *, config: str | Path | None = None
) -> tuple[SelfTalk, tuple[str, ...]]:
    """A SelfTalk for the mesh and unit of `corpus`, from a published file or a model folder; see
    `faceformer.import_student`. That of a file cannot read lips: only `import_selftalk` is told which vertices they
    are, and in which order."""
    source = Path(source)
    if source.is_dir():
        model, speakers = student_of_folder(SelfTalk, source, corpus)
    else:
        model, speakers, _ = import_selftalk(source, fit_of(corpus), config=config, recogniser=False)
    refuse_other_unit(source, model.alignment, corpus)
    return model, speakers


def export_selftalk(model: SelfTalk, recogniser: TextRecogniser | None, out: str | Path) -> list[str]:
    """Write the state dict that SelfTalk's code loads, and `OUT.config.json` for its speech encoder.

    Returns:
        Notes on what SelfTalk's code needs to know or cannot do, one sentence each.
    """
    encoder = exportable(model.audio_encoder, "SelfTalk")
    state = {key: value for key, value in export_state(model).items() if key != "lips"}
    if recogniser is not None:
        state |= {RECOGNISER + key: value for key, value in export_state(recogniser).items()}
    with exported(out, encoder) as partial:
        torch.save(state, partial)
    notes = export_notes(out, encoder, model.alignment, "SelfTalk", LARGE)
    if recogniser is None:
        notes.append("It has no recogniser: load it with strict=False. Only SelfTalk's training needs one.")
    if model.settings()["lip_heads"] != LIP_HEADS:
        notes.append(f"Its interpreter has {model.settings()['lip_heads']} heads; SelfTalk's code has {LIP_HEADS}.")
    return notes


def _units(count: int, path: Path) -> tuple[str, ...]:
    """The units of text: the characters of the published files, or the phonemes of our own."""
    for units in (CHARACTERS, ("<pad>", *PHONEMES)):
        if len(units) == count:
            return units
    expected = f"{len(CHARACTERS)} characters or {len(PHONEMES) + 1} phonemes"
    raise BadInput(f"{path}: lm_head.weight", expected=expected, found=f"{count} units", fix=FIX)


def _lip_list(path: str | Path, count: int, vertices: int) -> Tensor:
    """The lip vertices in `FLAME_masks.pkl` (its list `lips`, with its repetitions) or `BIWI_lip.pkl`."""
    found = load_pickle(path)
    found = found.get("lips") if isinstance(found, dict) else found
    try:
        ids = np.asarray(found).astype(np.int64).ravel()
    except (TypeError, ValueError):
        ids = np.zeros(0, np.int64)
    if len(ids) != count or not bool(((ids >= 0) & (ids < vertices)).all()):
        fix = "Give the list that belongs to the weights: FLAME_masks.pkl (VOCASET) or BIWI_lip.pkl (BIWI)."
        raise BadInput(path, expected=f"{count} lip vertices of {vertices}", found=f"a list of {len(ids)}", fix=fix)
    return torch.from_numpy(ids)


def _recogniser(state: State, path: Path) -> TextRecogniser:
    """The recogniser in a published file."""
    own = {key.removeprefix(RECOGNISER): value for key, value in state.items()}
    encoder = encoder_in(own, path, prefix="wav2vec2.")
    if "lm_head.bias" not in own:
        raise BadInput(path, expected="SelfTalk's recogniser", found=f"no {RECOGNISER}lm_head.bias", fix=FIX)
    recogniser = TextRecogniser(encoder, _units(len(own["lm_head.bias"]), path))
    fill(recogniser, own, path, what="SelfTalk's recogniser", fix=FIX)
    return recogniser
