"""Time and memory from sound to vertices, compared with FaceFormer's own code.

    python -m benchmarks.animate [--faceformer PATH] [--seconds 2 5 10 20 60]
    python -m benchmarks.animate --lines 20 [--jobs 2] [--model FOLDER --corpus FOLDER]    many sounds by one command
    python -m benchmarks.animate --curves                                                  the fit of ARKit's shapes

PATH is a checkout of github.com/EvelynFan/FaceFormer. Both programs get the same weights (random ones of VOCASET's
size: wav2vec 2.0 base, 5023 vertices, width 64) and the same sound, noise. Targets: for 10 s of sound, at least 10
times as fast without the speech encoder, which both share; in total at most 1.3 times the time of the speech encoder
alone; time linear in length. Every measurement runs in its own process, and its peak memory during the prediction is
given. Best of three runs for up to 10 s of sound, otherwise one run.

FaceFormer's code runs with the current transformers library, with three changes made here: its speech encoder is not
fetched from the hub, since its weights are in the file; it uses the eager attention implementation, which can return
attention weights, as the code requires; and the code gets only the first element of the feature projection's output,
which is now a pair.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Wav2Vec2Config

from benchmarks.decode import peak_kilobytes
from learn2talk_core.audio.waveform import SAMPLE_RATE, write_wave
from learn2talk_core.checkpoints.faceformer import export_faceformer, import_faceformer
from learn2talk_core.models.speech_encoders.wav2vec2 import (
    OFFICIAL_EPS,
    Wav2Vec2SpeechEncoder,
    align_as_faceformer,
    normalise_wave,
)
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.run.paths import CORPUS

FPS, VERTICES, STYLES, WIDTH = 30, 5023, 8, 64
CHUNK = 256  # frames of vertices at a time, as in our writers
STYLE = torch.eye(STYLES)[:1]
SIZES = (2, 5, 10, 20, 60)
LONG = 20 * SAMPLE_RATE  # most samples for which all vertices are kept and compared: the limit of FaceFormer's tables


def sound(seconds: int) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.1, size=seconds * SAMPLE_RATE).astype(np.float32)


Run = Callable[[np.ndarray], Tensor]  # takes a wave


def ours(weights: Path) -> tuple[Run, Run]:
    """The speech encoder alone, and all from sound to vertices (T, V, 3); for long sound, each chunk's last frame."""
    student, _ = import_faceformer(weights)
    encoder = student.speech_encoder
    assert isinstance(encoder, Wav2Vec2SpeechEncoder)

    def listen(wave: np.ndarray) -> Tensor:
        normal = normalise_wave(torch.from_numpy(wave), OFFICIAL_EPS)[None]
        return encoder.encode_long(align_as_faceformer(encoder.conv_features(normal), "vocaset"), FPS)

    def speak(wave: np.ndarray) -> Tensor:
        states = student.predict_states(wave, FPS, STYLE, len(wave) * FPS // SAMPLE_RATE)
        parts = (student.displacement(part)[0] for part in states.split(CHUNK, dim=1))
        return torch.cat([part if len(wave) <= LONG else part[-1:].clone() for part in parts])

    return listen, speak


def theirs(checkout: Path, weights: Path) -> tuple[Run, Run]:
    """The same with FaceFormer's own classes."""
    sys.path.insert(0, str(checkout))
    wav2vec = __import__("wav2vec")

    def from_pretrained(cls: Any, _: str) -> Any:
        return cls(Wav2Vec2Config(attn_implementation="eager"))  # type: ignore[call-arg]

    wav2vec.Wav2Vec2Model.from_pretrained = classmethod(from_pretrained)
    numbers = {"dataset": "vocaset", "feature_dim": WIDTH, "vertice_dim": 3 * VERTICES, "period": FPS, "device": "cpu"}
    subjects = " ".join(map(str, range(STYLES)))
    model = __import__("faceformer").Faceformer(SimpleNamespace(**numbers, train_subjects=subjects)).eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.audio_encoder.feature_projection.register_forward_hook(lambda _module, _inputs, outputs: outputs[0])
    frames = 0

    def count(*_: object) -> None:
        nonlocal frames
        frames += 1

    model.vertice_map_r.register_forward_hook(count)

    def listen(wave: np.ndarray) -> Tensor:
        return model.audio_encoder(normalise_wave(torch.from_numpy(wave), OFFICIAL_EPS)[None], "vocaset")[0]

    def speak(wave: np.ndarray) -> Tensor:
        nonlocal frames
        frames = 0
        audio = normalise_wave(torch.from_numpy(wave), OFFICIAL_EPS)[None]
        try:
            return model.predict(audio, torch.zeros(1, 3 * VERTICES), STYLE)[0].unflatten(-1, (-1, 3))
        except (RuntimeError, IndexError) as error:
            raise RuntimeError(f"at frame {frames + 1}: {error}" if frames else str(error)) from error

    return listen, speak


@torch.inference_mode()
def alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """The measurements of one process: seconds of the encoder and in total, and megabytes; or the error."""
    torch.set_num_threads(arguments.threads)
    wave = sound(arguments.seconds[0])
    if arguments.alone == "theirs":
        free = 1024 * int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])
        resource.setrlimit(resource.RLIMIT_DATA, (3 * free // 4,) * 2)  # an error instead of exhausted memory
        listen, speak = theirs(arguments.faceformer, arguments.weights)
    else:
        listen, speak = ours(arguments.weights)
    speak(wave[:SAMPLE_RATE])  # warm-up
    Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the peak memory
    repeats = 3 if arguments.seconds[0] <= 10 else 1
    try:
        whole = min(clock(speak, wave) for _ in range(repeats))
        memory = peak_kilobytes() / 1024
        encoder = min(clock(listen, wave) for _ in range(repeats))
    except (RuntimeError, MemoryError) as error:
        return {"error": str(error).splitlines()[0]}
    if arguments.out is not None and len(wave) <= LONG:
        np.save(arguments.out, speak(wave).numpy())
    return {"whole": whole, "encoder": encoder, "memory": memory}


def clock(run: Run, wave: np.ndarray) -> float:
    start = time.perf_counter()
    run(wave)
    return time.perf_counter() - start


def many_lines(count: int, jobs: int, model: str | None, corpus: str) -> None:
    """Lines a second of curves, and seconds to the first output, for a folder of sounds of 3 s; imports not counted.

    Targets: 5 lines a second, 2 s to the first. Beside them the time of the processors, which other programs on the
    machine change little: 0.35 s a line with two jobs.
    """
    from learn2talk_core.datasets.embedded.packaged import packaged_speech
    from learn2talk_core.export.animate_files import animate_files

    said = [one for voice in packaged_speech().values() for one in voice]
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            wave = np.resize(said[number * len(said) // count].wave(), 3 * SAMPLE_RATE)
            write_wave(Path(place) / "lines" / f"{number:03d}.wav", wave)
        for state in ("all new", "all current"):
            began, worked, done = time.perf_counter(), time.process_time(), []
            for one in animate_files(
                [f"{place}/lines"], f"{place}/out", formats=["arkit"], jobs=jobs, model=model, corpus=corpus
            ):
                assert one.state != "failed", one.error
                done.append((time.perf_counter() - began, time.process_time() - worked))
            (first, first_work), (last, last_work) = done[0], done[-1]
            rate, work = (count - 1) / (last - first), (last_work - first_work) / (count - 1)
            print(f"{state}: first after {first:.2f} s (processors {first_work:.2f} s), ", end="")
            print(f"then {rate:.1f} lines a second (processors {work:.3f} s a line)")


def curves_before_and_after() -> None:
    """Error at the mouth, and how often the curves change direction, of the fit by frame and of the one over all."""
    from learn2talk_core.animation.animation import Animation
    from learn2talk_core.animation.blend_shapes import ARKIT, embedded_shapes
    from learn2talk_core.animation.curves import arkit_weights
    from learn2talk_core.datasets.embedded.face import load_face
    from learn2talk_core.datasets.embedded.face_motion import move_face
    from learn2talk_core.datasets.embedded.sentences import make_sentences
    from learn2talk_core.datasets.embedded.speakers import make_speakers
    from learn2talk_core.datasets.embedded.speech import synthesise
    from learn2talk_core.datasets.embedded.voices import espeak_voices

    face, speaker = load_face(), make_speakers(4, 0)[1]
    said = synthesise(espeak_voices(4, 0)[1], make_sentences(6, 0))
    motion = np.concatenate(
        [move_face(speaker, *one, FPS, 1.0, np.random.default_rng(number)) for number, one in enumerate(said)]
    )
    animation = Animation(
        states=motion,
        basis=face.basis,
        offset=np.zeros_like(face.neutral),
        template=face.neutral,
        fps=FPS,
        mm_per_unit=1000,
        topology=face.topology,
        wave=np.zeros(0, np.float32),
    )
    truth = np.zeros((len(motion), len(ARKIT)))
    names = [name for name in face.unit if name in ARKIT]
    truth[:, [ARKIT.index(name) for name in names]] = motion[:, [list(face.unit).index(name) for name in names]]
    upper = np.array([name.startswith(("eye", "brow", "nose")) for name in ARKIT])
    shapes = embedded_shapes().deltas[: len(ARKIT)][~upper][:, face.regions["mouth"]]
    shown = {
        "the true weights": truth.clip(0, 1),
        "frame by frame, all shapes": arkit_weights(animation, cut_off=None, sparsity=0, whole_face=True),
        "all frames together": arkit_weights(animation),
    }
    for name, weights in shown.items():
        apart = np.einsum("tk,kvx->tvx", (weights - truth)[:, ~upper], shapes)
        millimetres = 1000 * np.sqrt(np.square(apart).sum(axis=2).mean())
        counts = [turns_a_second(weights[:, part]) for part in (~upper, upper)]
        print(f"  {name:27s} {millimetres:.3f} mm at the mouth, {counts[0]:.0f} and {counts[1]:.0f} turns a second")


def turns_a_second(weights: np.ndarray) -> float:
    """How often the curves (T, K) change direction, with steps of less than 0.001 left out."""
    count = 0
    for steps in np.diff(weights, axis=0).T:
        signs = np.sign(steps[np.abs(steps) > 1e-3])
        count += int((signs[1:] != signs[:-1]).sum())
    return count * FPS / len(weights)


def measured(who: str, seconds: int, out: Path, arguments: argparse.Namespace, weights: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.animate", "--alone", who, "--seconds", str(seconds)]
    command += ["--threads", str(arguments.threads), "--weights", str(weights), "--out", str(out)]
    if arguments.faceformer is not None:
        command += ["--faceformer", str(arguments.faceformer)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def report(name: str, answer: dict[str, Any]) -> None:
    if "error" in answer:
        print(f"  {name:11s} {answer['error']}", flush=True)
        return
    whole, encoder = answer["whole"], answer["encoder"]
    print(
        f"  {name:11s} {whole:8.2f} s, of which encoder {encoder:7.2f} s, ratio {whole / encoder:5.2f}, "
        f"{answer['memory']:7.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--faceformer", type=Path, help="a checkout of FaceFormer")
    parser.add_argument("--seconds", type=int, nargs="+", default=SIZES, help="lengths of sound (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: %(default)s)")
    parser.add_argument("--lines", type=int, help="measure a folder of so many lines instead")
    parser.add_argument("--jobs", type=int, default=2, help="for --lines: at the same time (default: %(default)s)")
    parser.add_argument("--model", help="for --lines: folder or name of a student (default: as in learn2talk animate)")
    parser.add_argument("--corpus", default=CORPUS, help="for --lines (default: %(default)s)")
    parser.add_argument("--curves", action="store_true", help="measure the fit of ARKit's shapes instead")
    parser.add_argument("--alone", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # FaceFormer was written for an older torch
    if arguments.alone:
        print(json.dumps(alone(arguments)))
        return
    if arguments.lines is not None:
        if arguments.lines < 2:
            parser.error("--lines needs at least 2")
        torch.set_num_threads(arguments.threads)
        many_lines(arguments.lines, arguments.jobs, arguments.model, arguments.corpus)
        return
    if arguments.curves:
        curves_before_and_after()
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        torch.manual_seed(0)
        encoder = Wav2Vec2SpeechEncoder.from_numbers()
        student = new_faceformer(encoder, VERTICES, STYLES, FPS, width=WIDTH, dropout=0.1, alignment="vocaset")
        torch.nn.init.normal_(student.vertice_map_r.weight, std=0.02)
        export_faceformer(student, folder / "weights.pth")
        for seconds in arguments.seconds:
            print(f"{seconds} s of sound, {seconds * FPS} frames")
            own = measured("ours", seconds, folder / "ours.npy", arguments, folder / "weights.pth")
            report("Learn2Talk", own)
            if arguments.faceformer is None:
                continue
            other = measured("theirs", seconds, folder / "theirs.npy", arguments, folder / "weights.pth")
            report("FaceFormer", other)
            if "error" in own or "error" in other or seconds * SAMPLE_RATE > LONG:
                continue
            rest, others_rest = (answer["whole"] - answer["encoder"] for answer in (own, other))
            vertices, expected = np.load(folder / "ours.npy"), np.load(folder / "theirs.npy")
            assert vertices.shape == expected.shape, (vertices.shape, expected.shape)
            apart, moved = np.abs(vertices - expected).max(), np.abs(expected).max()
            print(f"  without the encoder: {rest:.2f} s, FaceFormer {others_rest:.2f} s")
            print(f"  largest difference of vertices {apart:.1e}, largest displacement {moved:.1e}")


if __name__ == "__main__":
    main()
