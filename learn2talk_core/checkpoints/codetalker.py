"""Checkpoints of CodeTalker: the two files of each dataset (`biwi_stage1.pth.tar`, `biwi_stage2.pth.tar`, …).

The file of stage 2 has all but the codec, which is in the file of stage 1.
"""

from pathlib import Path

import torch
from torch import Tensor
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
from learn2talk_core.models.students.codetalker.codec import CodecShape, MotionCodec, load_codec
from learn2talk_core.models.students.codetalker.network import CodeTalker
from learn2talk_core.models.students.student import AudioAlignment
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.own_folder import EXPORT, own_folder
from learn2talk_core.untrusted.published import State, export_state, fill, read_state

FIX = "Name CodeTalker's two files: vocaset_stage1.pth.tar and vocaset_stage2.pth.tar, or those of biwi."
CODEC = "autoencoder."
STAGE1, STAGE2 = "quantize.embedding.weight", "feat_map.weight"  # keys that only one of the files has
CODEC_HEADS, HEADS = 8, 4  # which the shapes of the weights do not tell


def import_codec(path: str | Path, state: State | None = None) -> MotionCodec:
    """The codec of a stage-1 file; `state` are its weights, if they have been read.

    Raises:
        BadInput: see `published.read_state`; another network, a stage-2 file among them.
    """
    path = Path(path)
    state = read_state(path) if state is None else state
    if STAGE1 not in state:
        found = "one of stage 2" if STAGE2 in state else f"no {STAGE1}"
        raise BadInput(path, expected="a file of CodeTalker's stage 1", found=found, fix=FIX)
    try:
        width, inputs = state["encoder.vertice_mapping.0.weight"].shape
        projected = "encoder.encoder_linear_embedding_post.net.weight" in state
        post = state["encoder.encoder_linear_embedding_post.net.bias"] if projected else torch.zeros(width)
        entries, code_width = state[STAGE1].shape
        blocks = {key.split(".")[3] for key in state if key.startswith("encoder.encoder_transformer.net.")}
        hidden = len(state["encoder.encoder_transformer.net.1.fn.fn.l1.bias"])
        shape = CodecShape(
            inputs // 3, width, len(blocks) // 2, CODEC_HEADS, hidden,
            codes=len(post) // code_width, code_width=code_width, entries=entries, projected=projected,
        )  # fmt: skip
        codec = MotionCodec(shape)
    except (KeyError, ValueError, ZeroDivisionError, RuntimeError) as error:
        found = f"others ({type(error).__name__}: {error})"
        raise BadInput(path, expected="the weights of CodeTalker's codec", found=found[:200], fix=FIX) from error
    tables = {key: value for key, value in codec.state_dict().items() if key.endswith("pos_embedding.pe")}
    fill(codec, {**tables, **state}, path, what="CodeTalker's codec", fix=FIX)
    return codec.eval()


def import_codetalker(
    stage1: str | Path, stage2: str | Path, fit: Fit = ANY, *, config: str | Path | None = None
) -> tuple[CodeTalker, tuple[str, ...]]:
    """The network of the two files.

    Args:
        stage1, stage2: the files, in any order.
        fit, config: see `import_faceformer`.

    Returns:
        The network, in evaluation mode, and its speakers in the order of the style embedding.

    Raises:
        BadInput: see `import_faceformer`; two files of the same stage, or for faces of different numbers of vertices.
    """
    files = {Path(stage1): read_state(stage1), Path(stage2): read_state(stage2)}
    first = next((path for path, state in files.items() if STAGE1 in state), None)
    second = next((path for path, state in files.items() if STAGE2 in state), None)
    if first is None or second is None:
        missing = "stage 1" if first is None else "stage 2"
        raise BadInput(stage1, expected="one file of each stage of CodeTalker", found=f"none of {missing}", fix=FIX)
    codec, state = import_codec(first, files[first]), files[second]
    state = {key: value for key, value in state.items() if not key.startswith(CODEC)}
    for key in ("vertice_map.weight", "learnable_style_emb.weight"):
        if key not in state or state[key].ndim != 2:
            raise BadInput(second, expected="the weights of CodeTalker", found=f"no {key}", fix=FIX)
    styles, width = state["learnable_style_emb.weight"].shape
    vertices = state["vertice_map.weight"].shape[1] // 3
    if codec.shape.vertex_count != vertices:
        expected = f"a codec of {vertices} vertices, as in {second.name}"
        raise BadInput(first, expected=expected, found=f"one of {codec.shape.vertex_count}", fix=FIX)
    alignment = alignment_of(state, vertices, second, FIX)
    rate = PUBLISHED[alignment][0]
    refuse_misfit(second, fit, styles=styles, vertices=vertices, rate=rate)
    names = in_published_order(second, alignment, styles, fit.speakers)
    layers = {key.split(".")[2] for key in state if key.startswith("transformer_decoder.layers.")}
    model = CodeTalker(
        codec, styles, audio_encoder=encoder_in(state, second, config), width=width, layers=max(1, len(layers)),
        heads=HEADS, period=rate, alignment=alignment,
    )  # fmt: skip
    whole: dict[str, Tensor] = {CODEC + key: value for key, value in codec.state_dict().items()}
    fill(model, {"PPE.pe": model.PPE.pe, **whole, **state}, second, what="CodeTalker", fix=FIX)
    return model.eval(), names


def import_student(
    source: str | Path, corpus: Corpus, *, config: str | Path | None = None
) -> tuple[CodeTalker, tuple[str, ...]]:
    """A CodeTalker for the speakers, mesh and unit of `corpus`, from a model folder, or a folder with the two
    published files; see `faceformer.import_student`."""
    source = Path(source)
    if (source / "model.json").is_file():
        model, speakers = student_of_folder(CodeTalker, source, corpus)
    else:
        model, speakers = import_codetalker(*_both_stages(source), fit_of(corpus), config=config)
    refuse_other_unit(source, model.alignment, corpus)
    return model, speakers


def import_motion_prior(source: str | Path, corpus: Corpus) -> MotionCodec:
    """A codec for the mesh of `corpus`: a published file, a folder with it, or a codec's folder of this project."""
    source = Path(source)
    if (source / "model.json").is_file():
        return load_codec(source, corpus.recipe, len(corpus.topology.colours))
    stage1 = _both_stages(source)[0] if source.is_dir() else source
    codec, vertices = import_codec(stage1), len(corpus.topology.colours)
    if codec.shape.vertex_count != vertices:
        found, fix = f"one of {codec.shape.vertex_count}", "Use it on the corpus that it was trained on."
        raise BadInput(source, expected=f"a face of {vertices} vertices", found=found, fix=fix)
    dataset = next((name for name, (_, count, _) in PUBLISHED.items() if count == vertices), None)
    alignment: AudioAlignment = "time" if dataset is None else dataset
    refuse_other_unit(source, alignment, corpus)
    return codec


def export_codetalker(model: CodeTalker, out: str | Path) -> list[str]:
    """Write a folder with the two files that CodeTalker's code loads, `stage1.pth.tar` and `stage2.pth.tar`, and
    `stage2.pth.tar.config.json` for the speech encoder.

    Returns:
        Notes on what CodeTalker's code needs to know or cannot do, one sentence each.
    """
    encoder = exportable(model.audio_encoder, "CodeTalker")
    state = export_state(model)
    inner = {key.removeprefix(CODEC): value for key, value in state.items() if key.startswith(CODEC)}
    outer = {key: value for key, value in state.items() if not key.startswith(CODEC)}
    with own_folder(out, EXPORT) as folder:
        torch.save({"state_dict": inner}, folder / "stage1.pth.tar")
        with exported(folder / "stage2.pth.tar", encoder) as partial:
            torch.save({"state_dict": outer}, partial)
    notes = export_notes("stage2.pth.tar", encoder, model.alignment, "CodeTalker", Wav2Vec2Config())
    shape = model.autoencoder.shape
    if (shape.heads, model.heads) != (CODEC_HEADS, HEADS):
        notes.append(f"Set its heads: num_attention_heads {shape.heads}, n_head {model.heads}.")
    if model.alignment == "time":
        notes.append("Its first token includes the bias of vertice_map, which CodeTalker's code adds in training only.")
    return notes


def _both_stages(folder: Path) -> tuple[Path, Path]:
    """The files of stage 1 and stage 2 in a folder."""
    found = sorted(file for file in folder.glob("*stage*") if file.is_file() and file.suffix != ".json")
    if len(found) != 2:
        raise BadInput(folder, expected="a folder with CodeTalker's two files", found=f"{len(found)} of them", fix=FIX)
    return found[0], found[1]
