"""Checkpoints of FaceFormer: the published ones (`biwi.pth`, `vocaset.pth`) and others trained with its code."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import Wav2Vec2Config

from learn2talk_core.checkpoints.wav2vec2 import config_dict, encoder_from, read_config
from learn2talk_core.corpus import published_speakers
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.students.faceformer.network import AudioAlignment, FaceFormer, new_faceformer, state_sizes
from learn2talk_core.models.students.student import load_as
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file, write_json
from learn2talk_core.run.own_folder import EXPORT
from learn2talk_core.run.weights import frozen, load_config
from learn2talk_core.untrusted.published import State, export_state, fill, read_state

FIX = "Name FaceFormer's biwi.pth or vocaset.pth, or a file that its code saved."
OTHER_CORPUS = "Use it on the corpus that it was trained on."
# What the two published files were trained on: frame rate, vertices, and the speakers in the style one-hot's order.
PUBLISHED: dict[AudioAlignment, tuple[int, int, tuple[str, ...]]] = {
    "vocaset": (30, 5023, published_speakers.VOCASET),
    "biwi": (25, 23370, published_speakers.BIWI),
}
# Range of the two datasets' units in millimetres: metres, and the unit in which a face has area 1 (174 to 201 mm).
UNIT_MM: dict[AudioAlignment, tuple[float, float]] = {"vocaset": (1000, 1000), "biwi": (150, 250)}


def import_faceformer(
    path: str | Path,
    *,
    speakers: Sequence[str] | None = None,
    vertex_count: int | None = None,
    fps: float | None = None,
    config: str | Path | None = None,
) -> tuple[FaceFormer, tuple[str, ...]]:
    """The network of a state dict with FaceFormer's keys. Its size comes from the shapes of the weights, its alignment
    of audio and frames is the one that it was trained with.

    Args:
        path: the file. `PPE.pe`, a constant table, may be missing.
        speakers: training speakers of the corpus that it is to be used with; their number must be that of the styles.
            If they are those of the published file in a different order, the file's order is kept.
        vertex_count: number of vertices of that corpus.
        fps: frame rate of that corpus.
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
    alignment = _alignment(state, vertices, path)
    rate, _, published = PUBLISHED[alignment]
    _check_corpus(path, styles, vertices, rate, speakers, vertex_count, fps)
    if speakers is None and styles != len(published):
        fix = "Name its corpus: --corpus FOLDER."
        raise BadInput(path, expected=f"{len(published)} styles, as published", found=f"{styles}", fix=fix)
    if speakers is None or set(speakers) == set(published):
        speakers = published
    model = new_faceformer(
        _encoder(state, path, config), vertices, styles, rate,
        width=width, dropout=0.1, alignment=alignment,
    )  # fmt: skip
    fill(model, {"PPE.pe": model.PPE.pe, **state}, path, what="FaceFormer", fix=FIX)
    return model.eval(), tuple(speakers)


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
    vertices = len(corpus.topology.colours)
    if source.is_dir():
        about = load_config(source, made_by="make repro")
        if (network := about.get("network", FaceFormer.network)) != FaceFormer.network:
            raise BadInput(source, expected="a FaceFormer", found=f"a {network}", fix=FIX)
        model, speakers = load_as(FaceFormer, source, made_by="make repro")
        _check_corpus(
            source, len(speakers), model.vertex_count, about["fps"], corpus.train_speakers, vertices, corpus.fps
        )
        if set(speakers) != set(corpus.train_speakers):
            expected = f"the training speakers of the corpus, {', '.join(corpus.train_speakers)}"
            raise BadInput(source, expected=expected, found=", ".join(speakers), fix=OTHER_CORPUS)
        recipe = about["notes"].get("recipe", corpus.recipe)
        if recipe != corpus.recipe:
            raise BadInput(source, expected=f"a model for {corpus.recipe}", found=f"for {recipe}", fix=OTHER_CORPUS)
    else:
        model, speakers = import_faceformer(
            source, speakers=corpus.train_speakers, vertex_count=vertices, fps=corpus.fps, config=config
        )
    if model.alignment != "time" and vertices == PUBLISHED[model.alignment][1]:
        low, high = UNIT_MM[model.alignment]
        if not low <= corpus.mm_per_unit <= high:
            raise BadInput(
                source,
                expected=f"a corpus of {low:g} to {high:g} mm per unit, as in the training of these weights",
                found=f"{corpus.mm_per_unit:g} mm ({corpus.recipe})",
                fix="Prepare the corpus as for the weights: VOCASET in metres, BIWI with faces of unit area.",
            )
    return model, speakers


def export_faceformer(model: FaceFormer, out: str | Path) -> list[str]:
    """Write the state dict that FaceFormer's code loads, and `OUT.config.json` for its speech encoder.

    Returns:
        Notes on what FaceFormer's code needs to know or cannot do, one sentence each.
    """
    out, encoder = Path(out), model.speech_encoder
    if not isinstance(encoder, Wav2Vec2SpeechEncoder):
        fix = "Train a student on a wav2vec 2.0: FaceFormer's code has no other."
        raise BadInput(
            "export", expected="a student whose speech encoder is wav2vec 2.0", found=encoder.model_type, fix=fix
        )
    beside = _config_beside(out)
    if beside.exists() and not out.exists():
        found, fix = "another file, which would be lost", "Name another output file, or move this one away."
        raise BadInput(beside, expected=f"the file that {EXPORT} wrote with {out.name}, or none", found=found, fix=fix)
    with whole_file(out) as partial:
        torch.save(export_state(model), partial)
    write_json(beside, config_dict(encoder))
    notes = []
    if _differs_from_base(encoder):
        notes.append(
            f"Its speech encoder is not wav2vec2-base: build Wav2Vec2Model from {_config_beside(out).name} instead."
        )
    if model.alignment == "time":
        notes.append(
            "It was trained with features at the times of the motion frames; FaceFormer's own code stretches or pairs "
            "the features, which shifts the sound by up to one frame."
        )
    return notes


def _alignment(state: State, vertices: int, path: Path) -> AudioAlignment:
    """How audio was aligned with frames in training: FaceFormer's code ties this, like the period, to the dataset."""
    if "PPE.pe" in state:
        period = _period(state["PPE.pe"])
    else:
        period = PUBLISHED["biwi"][0] if vertices == PUBLISHED["biwi"][1] else PUBLISHED["vocaset"][0]
    for name, (rate, _, _) in PUBLISHED.items():
        if rate == period:
            return name
    raise BadInput(path, expected="a period of 25 (BIWI) or 30 frames (VOCASET)", found=str(period), fix=FIX)


def _period(table: Tensor) -> int:
    """The number of frames after which the position table (1, n, d) repeats itself."""
    rows = table.reshape(-1, table.shape[-1])
    same = (rows[1:] - rows[0]).abs().amax(1) < 1e-4
    return int(same.float().argmax()) + 1 if bool(same.any()) else len(rows)


def _check_corpus(
    path: Path,
    styles: int,
    vertices: int,
    rate: float,
    speakers: Sequence[str] | None,
    vertex_count: int | None,
    fps: float | None,
) -> None:
    if vertex_count is not None and vertex_count != vertices:
        raise BadInput(
            path, expected=f"a face of {vertex_count} vertices", found=f"one of {vertices}", fix=OTHER_CORPUS
        )
    if speakers is not None and len(speakers) != styles:
        expected = f"{len(speakers)} styles, one per training speaker of the corpus"
        raise BadInput(path, expected=expected, found=str(styles), fix=OTHER_CORPUS)
    if fps is not None and fps != rate:
        expected = f"weights for {fps:g} frames per second"
        raise BadInput(path, expected=expected, found=f"for {rate:g}", fix=OTHER_CORPUS)


def _encoder(state: State, path: Path, config: str | Path | None) -> Wav2Vec2SpeechEncoder:
    inner = {key.removeprefix("audio_encoder."): v for key, v in state.items() if key.startswith("audio_encoder.")}
    if config is None and _config_beside(path).is_file():
        config = _config_beside(path)
    return encoder_from(inner, path, None if config is None else read_config(config))


def _config_beside(path: Path) -> Path:
    return path.with_name(path.name + ".config.json")


def _differs_from_base(encoder: Wav2Vec2SpeechEncoder) -> bool:
    """Whether FaceFormer's code, which always builds wav2vec 2.0 base, would build another network."""
    sizes = (
        "conv_",
        "num_hidden_l",
        "num_att",
        "num_conv",
        "hidden_size",
        "intermediate",
        "feat_extract_norm",
        "do_st",
    )
    own, base = encoder.config.to_dict(), Wav2Vec2Config().to_dict()
    return any(_listed(own[key]) != _listed(base[key]) for key in base if key.startswith(sizes))


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
