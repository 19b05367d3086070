"""sound of talking_video → data/models/speech_encoder: a small wav2vec 2.0 trained on phonemes, or a checkpoint"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from learn2talk_core.checkpoints.speech_encoder import import_speech_encoder
from learn2talk_core.models.speech_encoders.loading import save_speech_encoder
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.run import processes
from learn2talk_core.run.config import shared
from learn2talk_core.run.device import run_device, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.paths import CURVES, METRICS, SPEECH_ENCODER, TALKING_VIDEO, is_nothing
from learn2talk_core.run.seed import generator, mix, seed_torch
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import parameter_count
from learn2talk_core.training.loop import beside_the_step, train, update, warmup_cosine, write_curve
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.speech_encoder import (
    PhonemeRecogniser,
    SpeechBatch,
    SpokenText,
    blind_scores,
    random_speech_batch,
    recognition_loss,
    recognition_scores,
)
from learn2talk_core.video.talking_video import TalkingVideo, open_talking_video

VIDEO, OUT = TALKING_VIDEO, SPEECH_ENCODER
CURVE, NUMBERS = f"{CURVES}/speech_encoder.csv", f"{METRICS}/speech_encoder.json"


@dataclass(frozen=True)
class Params:
    """Group `speech_encoder` of params.yaml."""

    checkpoint: str
    fps: float
    tcn_width: int
    width: int
    layers: int
    heads: int
    dropout: float
    steps: int
    batch: int
    window: float
    noise: float
    learning_rate: float
    weight_decay: float
    alignment_weight: float
    seed: int = shared()


def main(params: Params) -> str:
    if not is_nothing(params.checkpoint):
        encoder = import_speech_encoder(params.checkpoint)
        with whole_folder(OUT) as folder:
            save_speech_encoder(folder, encoder)
        write_curve([{"step": 0.0}], CURVE)
        write_json(NUMBERS, {"checkpoint": params.checkpoint, "parameters": parameter_count(encoder)})
        return f"imported {params.checkpoint}, {parameter_count(encoder) / 1e6:.1f} million parameters"

    seed = mix(params.seed, "speech_encoder")
    video = open_talking_video(VIDEO)
    clips = spoken_texts(video, "loss", "metric")
    held_out = spoken_texts(video, "validation")
    seed_torch(seed, "weights")
    model = PhonemeRecogniser(small_encoder(params)).to(device := run_device())
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=params.weight_decay, betas=(0.9, 0.98))

    def batch_of(index: int) -> SpeechBatch:
        rng = generator(seed, "batch", index, *processes.mark())
        batch = random_speech_batch(clips, rng, params.batch, params.window, params.fps, params.noise)
        return replace(batch, waves=sent(batch.waves, device))

    batches = beside_the_step(batch_of)

    def step(index: int) -> dict[str, Tensor]:
        batch = batches(index)
        loss, row = recognition_loss(model, batch, params.fps, params.alignment_weight)
        update(loss, optimizer, learning_rate=warmup_cosine(index, params.steps, params.learning_rate))
        return row

    with open_scratch("speech_encoder", params, [VIDEO]) as scratch:
        model.train()
        history = train(
            step, {"model": model, "optimizer": optimizer},
            steps=params.steps, seed=seed, scratch=scratch, description="speech encoder",
        )  # fmt: skip
        model.cpu().eval()
        scores = recognition_scores(model, held_out, params.fps)
        blind = blind_scores(clips, held_out, params.fps)
        with whole_folder(OUT) as folder:
            save_speech_encoder(folder, model.encoder)
        write_curve(history, CURVE)
        about = {
            "parameters": parameter_count(model.encoder),
            "train_clips": len(clips),
            "validation_clips": len(held_out),
        }
        write_json(NUMBERS, {**scores, **{f"{key}_no_audio": value for key, value in blind.items()}, **about})
        scratch.remove()
    return (
        f"phoneme error {scores['phoneme_error']:.3f} on unseen speakers ({blind['phoneme_error']:.3f} without audio)"
    )


def small_encoder(params: Params) -> Wav2Vec2SpeechEncoder:
    """A small wav2vec 2.0 with layer normalisation before each block, as in the large models, to learn faster."""
    return Wav2Vec2SpeechEncoder.from_numbers(
        conv_dim=(params.tcn_width,) * 7,
        hidden_size=params.width,
        intermediate_size=4 * params.width,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        num_conv_pos_embeddings=32,  # frames: about 1 s; the published 128 at 50 Hz cover 2.5 s
        do_stable_layer_norm=True,
        hidden_dropout=params.dropout,
        attention_dropout=params.dropout,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
    )


def spoken_texts(video: TalkingVideo, *splits: str) -> list[SpokenText]:
    """Sound and phonemes of the clips of these splits; clips without phonemes are left out."""
    texts = [SpokenText(video.audio(clip), clip.phonemes) for clip in video.split(*splits) if clip.phonemes]
    if not texts:
        raise BadInput(
            "speech_encoder.checkpoint",
            expected="a trained speech encoder, since the films have no phonemes to train one on",
            found="none",
            fix="Name one, such as ../weights/speech_encoder.",
        )
    return texts


if __name__ == "__main__":
    run(main, Params)
