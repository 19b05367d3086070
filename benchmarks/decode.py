"""Time and memory of prediction: decoding without the speech encoder, whole prediction, long speech.

    python -m benchmarks.decode [--quick]

Targets: 10 s of speech decoded in under 0.3 s; a whole prediction in at most 1.3 times the speech encoder's own time;
memory linear in length. The baseline is the direct loop, which computes all vertices and the whole prefix again at each
frame. Best of several runs, on one thread.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.students.faceformer.network import FaceFormer, causal_bias

SMALL = {"conv_dim": (64,) * 7, "hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4,
         "num_attention_heads": 4, "num_conv_pos_embeddings": 32, "do_stable_layer_norm": True}  # fmt: skip
FPS = 30
STYLE = torch.eye(8)[:1]


def model(vertices: int, width: int, encoder: SpeechEncoder, period: int = FPS, audio_rate: int = 1) -> FaceFormer:
    torch.manual_seed(0)
    face = FaceFormer(
        vertices, 8, audio_width=encoder.width, width=width, period=period, audio_rate=audio_rate,
        audio_encoder=encoder,
    ).eval()  # fmt: skip
    torch.nn.init.normal_(face.vertice_map_r.weight, std=0.02)
    return face


def vertex_loop(face: FaceFormer, audio: Tensor, style: Tensor) -> Tensor:
    """The recursion through vertex space, with one audio state per frame; returns the displacements (1, T, 3V)."""
    memory, style = face.audio_feature_map(audio), face.obj_vector(style)[:, None]
    frames = memory.shape[1]
    bias, diagonal = causal_bias(frames, face.period, face.heads), ~torch.eye(frames, dtype=torch.bool)
    position = face.PPE.pe[0, torch.arange(frames) % face.period]
    tokens = style
    for i in range(1, frames + 1):
        states = face.transformer_decoder(
            tokens + position[:i], memory, tgt_mask=bias[:, :i, :i], memory_mask=diagonal[:i]
        )
        vertices = face.vertice_map_r(states)
        tokens = torch.cat((tokens, face.vertice_map(vertices[:, -1:]) + style), dim=1)
    return vertices


def best(run: Callable[[], Tensor], repeats: int) -> tuple[Tensor, float]:
    """The result of `run`, and the seconds of the fastest of `repeats` runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return result, min(times)


@torch.inference_mode()
def decoding(repeats: int) -> None:
    print("Decoding without the speech encoder, states and vertices, seconds")
    for name, vertices, width in (("4792 vertices", 4792, 64), ("VOCASET", 5023, 64), ("BIWI's size", 23370, 128)):
        face = model(vertices, width, Wav2Vec2SpeechEncoder.from_numbers(**SMALL))
        for seconds in (2, 10):
            audio = torch.randn(1, seconds * FPS, face.audio_feature_map.in_features)
            fast, latent = best(partial(face.roll_out, audio, STYLE), repeats)
            slow, plain = best(partial(vertex_loop, face, audio, STYLE), 1)
            distance = (fast.flatten(2) - slow).abs().max()
            print(
                f"  {name:14s} {seconds:3d} s of speech: latent {latent:6.3f}  through vertices {plain:7.3f}"
                f"  ({plain / latent:5.0f} times)  largest difference {float(distance):.0e}"
            )


def whole_prediction(repeats: int) -> None:
    print("Whole prediction of 10 s of speech, seconds")
    wave = np.random.default_rng(0).standard_normal(10 * SAMPLE_RATE, dtype=np.float32)
    encoders: dict[str, SpeechEncoder] = {
        "packaged": load_speech_encoder("weights/speech_encoder"),
        "small wav2vec 2.0": Wav2Vec2SpeechEncoder.from_numbers(**SMALL).eval(),
        "wav2vec 2.0 base": Wav2Vec2SpeechEncoder.from_numbers().eval(),
    }
    for name, encoder in encoders.items():
        face = model(4792, 64, encoder)
        with torch.inference_mode():
            _, alone = best(partial(listen, encoder, wave), repeats)
            _, whole = best(partial(predict, face, encoder, wave), repeats)
        print(f"  {name:17s} encoder {alone:6.3f}  whole {whole:6.3f}  ratio {whole / alone:.2f}")


def listen(encoder: SpeechEncoder, wave: np.ndarray) -> Tensor:
    return encoder.listen(wave, len(wave) * FPS // SAMPLE_RATE, FPS)[None]


def predict(face: FaceFormer, encoder: SpeechEncoder, wave: np.ndarray) -> Tensor:
    return face.roll_out(listen(encoder, wave), STYLE)


def long_speech(quick: bool) -> None:
    print("Long speech, from encoder states to decoder states (each in its own process)")
    for seconds in (10, 60, 600, *(() if quick else (3600,))):
        answer = subprocess.run(
            [sys.executable, "-m", "benchmarks.decode", "--alone", str(seconds)],
            capture_output=True,
            text=True,
            check=True,
        )
        print(" ", answer.stdout.strip())


@torch.inference_mode()
def alone(seconds: int) -> None:
    face = model(4792, 64, Wav2Vec2SpeechEncoder.from_numbers(**SMALL))
    audio = torch.randn(1, seconds * FPS, face.audio_feature_map.in_features)
    face.states(audio[:, :FPS], STYLE)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the peak memory
    before = peak_kilobytes()
    start = time.perf_counter()
    face.states(audio, STYLE)
    took = time.perf_counter() - start
    grown = (peak_kilobytes() - before) / 1024
    print(f"{seconds:5d} s of speech: {took:7.2f} s, {grown:6.1f} MB more, {1000 * grown / seconds:.0f} kB per second")


def peak_kilobytes() -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, and no hour of speech")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.alone:
        alone(arguments.alone)
        return
    repeats = 5 if arguments.quick else 15
    decoding(repeats)
    whole_prediction(repeats)
    long_speech(arguments.quick)


if __name__ == "__main__":
    main()
