"""A whole student: speech encoder and FaceFormer in one. A wave in, decoder states out; vertices follow affinely."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.models.speech_encoder import SpeechEncoder, align_as_faceformer, normalise_wave
from learn2talk_core.models.students.faceformer import AudioAlignment, FaceFormer
from learn2talk_core.run.recipe import refuse_other_recipe
from learn2talk_core.run.weights import load_network, save_weights

OFFICIAL_EPS = 1e-5  # of the wave's normalisation in transformers 4.6, which FaceFormer's weights were made with


def new_student(
    encoder: SpeechEncoder,
    vertex_count: int,
    style_count: int,
    fps: float,
    *,
    width: int,
    dropout: float,
    alignment: AudioAlignment = "time",
) -> FaceFormer:
    """A FaceFormer with `encoder` inside, so that one state dict holds the whole student.

    Args:
        encoder: the speech encoder.
        vertex_count: V.
        style_count: training speakers.
        fps: of the motion; the period of the positional encoding, as in FaceFormer (rounded).
        width: d of the decoder.
        dropout: in the decoder.
        alignment: of speech features with motion frames; see `FaceFormer`.
    """
    return FaceFormer(
        vertex_count,
        style_count,
        audio_width=encoder.config.hidden_size,
        width=width,
        period=round(fps),
        audio_rate=2 if alignment == "biwi" else 1,
        dropout=dropout,
        audio_encoder=encoder,
        alignment=alignment,
    )


def audio_encoder(student: FaceFormer) -> SpeechEncoder:
    """The speech encoder inside."""
    encoder = student.audio_encoder
    assert isinstance(encoder, SpeechEncoder)
    return encoder


@torch.no_grad()
def tcn_features(encoder: SpeechEncoder, wave: np.ndarray, frames: int, fps: float) -> Tensor:
    """Features (T, C) of the speech encoder's TCN for a clip (samples,), one for each of `frames` motion frames."""
    normal = normalise_wave(torch.from_numpy(np.ascontiguousarray(wave)))[None]
    return encoder.resample(encoder.conv_features(normal), frames, fps)[0]


@torch.no_grad()
def predict_states(student: FaceFormer, wave: np.ndarray, fps: float, styles: Tensor, frames: int) -> Tensor:
    """Speak a clip in one or more styles.

    Args:
        student: in evaluation mode.
        wave: (samples,) 16 kHz mono.
        fps: frames per second of the motion.
        styles: (B, S) one-hot, or any mixture, over the training speakers.
        frames: T, how many frames to make.

    Returns:
        Decoder states (B, T, d); `student.displacement` turns them into vertices. With an official alignment a frame
        or two fewer, as in FaceFormer's own code, whose count comes from the features: 119 for 4 s at 30 fps.
    """
    encoder = audio_encoder(student)
    if student.alignment == "time":
        features = tcn_features(encoder, wave, frames, fps)[None]
    else:
        normal = normalise_wave(torch.from_numpy(np.ascontiguousarray(wave)), OFFICIAL_EPS)[None]
        features = align_as_faceformer(encoder.conv_features(normal), student.alignment)
    hidden = encoder.encode_long(features, fps * student.audio_rate)
    return student.states(hidden.expand(len(styles), -1, -1), styles)[:, :frames]


def save_student(
    folder: str | Path, student: FaceFormer, *, fps: float, speakers: tuple[str, ...], **notes: Any
) -> None:
    """Write a student: weights, and what is needed to rebuild it.

    `notes` say where it comes from; `recipe` among them is that of its corpus, and `load_student` heeds it.
    """
    config = {
        "vertex_count": student.vertice_map_r.out_features // 3,
        "width": student.vertice_map_r.in_features,
        "dropout": student.dropout,
        "alignment": student.alignment,
        "fps": fps,
        "speakers": list(speakers),
        "speech_encoder": audio_encoder(student).config.to_diff_dict(),
        "notes": notes,
    }
    save_weights(folder, student, config)


def load_student(folder: str | Path, *, made_by: str, recipe: str | None = None) -> tuple[FaceFormer, tuple[str, ...]]:
    """The frozen student in `folder` and its training speakers, in the order of the style one-hot.

    Refused when it was trained on a corpus of another recipe than `recipe`, that of the clips that it is to speak.
    """

    def build(config: dict[str, Any]) -> FaceFormer:
        if recipe is not None:
            refuse_other_recipe(folder, config["notes"].get("recipe"), recipe)
        encoder = SpeechEncoder.from_numbers(**config["speech_encoder"])
        return new_student(
            encoder, config["vertex_count"], len(config["speakers"]), config["fps"],
            width=config["width"], dropout=config["dropout"], alignment=config["alignment"],
        )  # fmt: skip

    student, config = load_network(folder, build, made_by=made_by)
    return student, tuple(config["speakers"])
