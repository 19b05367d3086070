"""FaceFormer as published (`biwi.pth`, `vocaset.pth`), and as anybody trained it with its code."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from learn2talk_core.checkpoints.read import State, export_state, fill, read_state
from learn2talk_core.checkpoints.wav2vec2 import config_dict, encoder_from, read_config
from learn2talk_core.errors import BadInput
from learn2talk_core.files import whole_file, write_json
from learn2talk_core.models.faceformer import Alignment, FaceFormer
from learn2talk_core.models.speech_encoder import SpeechEncoder
from learn2talk_core.models.student import audio_encoder, new_student

FIX = "Name FaceFormer's biwi.pth or vocaset.pth, or a file that its code saved."
# What the two published files were trained on: frame rate, vertices, and the speakers in the order of the style one-hot.
PUBLISHED: dict[Alignment, tuple[int, int, tuple[str, ...]]] = {
    "vocaset": (
        30,
        5023,
        (
            "FaceTalk_170728_03272_TA", "FaceTalk_170904_00128_TA", "FaceTalk_170725_00137_TA",
            "FaceTalk_170915_00223_TA", "FaceTalk_170811_03274_TA", "FaceTalk_170913_03279_TA",
            "FaceTalk_170904_03276_TA", "FaceTalk_170912_03278_TA",
        ),
    ),
    "biwi": (25, 23370, ("F2", "F3", "F4", "M3", "M4", "M5")),
}  # fmt: skip


def import_faceformer(
    path: str | Path,
    *,
    speakers: Sequence[str] | None = None,
    vertex_count: int | None = None,
    fps: float | None = None,
    config: str | Path | None = None,
) -> tuple[FaceFormer, tuple[str, ...]]:
    """The network of a state dict with FaceFormer's keys, sized by its shapes, in the alignment that it was made with.

    Args:
        path: the file. `PPE.pe`, a table, may be missing.
        speakers: training speakers of the corpus that it is to be used on, which must be as many as it has styles.
            Where they are those of the published file in another order, the order of the file is kept.
        vertex_count: of that corpus.
        fps: of that corpus.
        config: `config.json` of the speech encoder, where its shapes do not tell all (see `wav2vec2.encoder_config`);
            `export_faceformer` leaves one beside its file, `FILE.config.json`, which is found by itself.

    Returns:
        The network, in evaluation mode, and its speakers in the order of the style one-hot.

    Raises:
        BadInput: see `read.read_state`; another network; another number of speakers or vertices, another frame rate.
    """
    path = Path(path)
    state = read_state(path)
    for key in ("vertice_map_r.weight", "obj_vector.weight", "audio_feature_map.weight"):
        if key not in state or state[key].ndim != 2:
            raise BadInput(path, expected="the weights of FaceFormer", found=f"no {key}", fix=FIX)
    vertices, styles = len(state["vertice_map_r.weight"]) // 3, state["obj_vector.weight"].shape[1]
    alignment = _alignment(state, vertices, path)
    rate, _, published = PUBLISHED[alignment]
    _check_corpus(path, styles, vertices, rate, speakers, vertex_count, fps)
    if speakers is None and styles != len(published):
        fix = "Say which corpus: --corpus FOLDER."
        raise BadInput(path, expected=f"{len(published)} styles, as published", found=f"{styles}", fix=fix)
    if speakers is None or set(speakers) == set(published):
        speakers = published
    model = new_student(
        _encoder(state, path, config), vertices, styles, rate,
        width=state["obj_vector.weight"].shape[0], dropout=0.1, alignment=alignment,
    )  # fmt: skip
    fill(model, {"PPE.pe": model.PPE.pe, **state}, path, what="FaceFormer", fix=FIX)
    return model.eval(), tuple(speakers)


def export_faceformer(model: FaceFormer, out: str | Path) -> list[str]:
    """Write the state dict that FaceFormer's code loads, and `OUT.config.json` for its speech encoder.

    Returns:
        What its code must be told or cannot do, one sentence each.
    """
    out = Path(out)
    with whole_file(out) as partial:
        torch.save(export_state(model), partial)
    encoder = audio_encoder(model)
    write_json(_config_beside(out), config_dict(encoder))
    notes = []
    if _differs_from_base(encoder):
        notes.append(
            f"Its speech encoder is not wav2vec2-base: build Wav2Vec2Model from {_config_beside(out).name} instead."
        )
    if model.alignment == "time":
        notes.append(
            "It was trained with features at the motion frames' times; FaceFormer's own code stretches or pairs them, "
            "which moves the sound by up to a frame."
        )
    return notes


def _alignment(state: State, vertices: int, path: Path) -> Alignment:
    """How audio met frames in its training: FaceFormer's code ties it to the dataset, as it does the period."""
    if "PPE.pe" in state:
        period = _period(state["PPE.pe"])
    else:
        period = PUBLISHED["biwi"][0] if vertices == PUBLISHED["biwi"][1] else PUBLISHED["vocaset"][0]
    for name, (rate, _, _) in PUBLISHED.items():
        if rate == period:
            return name
    raise BadInput(path, expected="a period of 25 (BIWI) or 30 frames (VOCASET)", found=str(period), fix=FIX)


def _period(table: Tensor) -> int:
    """After how many frames the table of positions (1, n, d) repeats itself."""
    rows = table.reshape(-1, table.shape[-1])
    same = (rows[1:] - rows[0]).abs().amax(1) < 1e-4
    return int(same.float().argmax()) + 1 if bool(same.any()) else len(rows)


def _check_corpus(
    path: Path,
    styles: int,
    vertices: int,
    rate: int,
    speakers: Sequence[str] | None,
    vertex_count: int | None,
    fps: float | None,
) -> None:
    fix = "Use it on the corpus that it was trained on."
    if vertex_count is not None and vertex_count != vertices:
        raise BadInput(path, expected=f"a face of {vertex_count} vertices", found=f"one of {vertices}", fix=fix)
    if speakers is not None and len(speakers) != styles:
        expected = f"{len(speakers)} styles, one a training speaker of the corpus"
        raise BadInput(path, expected=expected, found=str(styles), fix=fix)
    if fps is not None and fps != rate:
        raise BadInput(path, expected=f"weights for {fps:g} frames per second", found=f"for {rate}", fix=fix)


def _encoder(state: State, path: Path, config: str | Path | None) -> SpeechEncoder:
    inner = {key.removeprefix("audio_encoder."): v for key, v in state.items() if key.startswith("audio_encoder.")}
    if config is None and _config_beside(path).is_file():
        config = _config_beside(path)
    return encoder_from(inner, path, None if config is None else read_config(config))


def _config_beside(path: Path) -> Path:
    return path.with_name(path.name + ".config.json")


def _differs_from_base(encoder: SpeechEncoder) -> bool:
    base = SpeechEncoder.config_class().to_dict()
    shape = [key for key in base if key.startswith(("conv_", "num_", "hidden_s", "interm", "feat_extract", "do_stable"))]
    own = json.loads(json.dumps(encoder.config.to_dict()))
    return any(own[key] != json.loads(json.dumps(base[key])) for key in shape if "negatives" not in key)
