"""Training, roll-out and rendering on a GPU at VOCASET's official size, from imitation data, within ten minutes.

    python -m benchmarks.gpu [--minutes 9] [--only NAME …]

Every network is trained for some steps at the size of its paper (FLAME's 5,023 vertices, wav2vec 2.0 base, the LRS3 lip
reader, Wav2Lip's official width): its speed, its peak memory, the share of time in which the GPU waits, and the largest
relative difference of the first ten losses from those on the CPU, which should be below 1e-3. These ten steps have a
smaller batch, and no dropout and augmentation, whose random numbers differ between devices. Then rendering, the
roll-out of 10 s of speech, and the time and number of kernels of a roll-out in training. Goals are
printed beside the numbers. After `--minutes`, what is left is skipped.

The share of waiting is that of the time between the first and the last kernel of some steps in which none runs. Speeds
are with torch's defaults, which use TF32 in convolutions; losses are compared without. LEARN2TALK_PRECISION=bf16
measures mixed precision, and compares no losses.

Without a GPU, everything runs on the CPU at tiny size, to show that it works, and the GPU's numbers are missing.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.decode import model as new_decoder
from benchmarks.decode import peak_kilobytes
from learn2talk_core.audio.mel import mel_spectrogram
from learn2talk_core.corpus.format import Corpus, Recording, open_corpus, write_corpus
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.models.lipreader import FPS as VIDEO_FPS
from learn2talk_core.models.lipreader import LipReader
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.students.selftalk.recogniser import TextRecogniser
from learn2talk_core.models.sync_expert2d import SyncExpert2D
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.run.config import load_params, read_yaml
from learn2talk_core.run.device import device_name, run_device, using
from learn2talk_core.run.networks import training_of
from learn2talk_core.run.precision import run_precision
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.run.weights import frozen
from learn2talk_core.training.lipreader import VOCABULARY, LipReaderTraining, MouthClip, train_lipreader
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.speaking_face import SpeakingFace
from learn2talk_core.training.student import ExtraTerm
from learn2talk_core.training.student_terms import embed_speech, lipread_term, sync_term
from learn2talk_core.training.syncnet3d import (
    SyncNet3DNetwork,
    SyncNet3DTraining,
    new_model,
    read_windows,
    train_syncnet3d,
)
from learn2talk_core.training.wav2lip import (
    ExpertTraining,
    GeneratorTraining,
    train_audio_encoder,
    train_expert,
    train_generator,
)

ROOT = Path(__file__).parents[1]
VERTICES, FPS, SPEAKERS, CLIPS = 5023, 30.0, 8, 314  # VOCASET: FLAME's mesh, frame rate, training speakers and clips
COMPARED, TOLERANCE = 10, 1e-3  # first losses, and their largest relative difference from the CPU's
Curve = list[dict[str, float]]


@dataclass(frozen=True)
class Size:
    """Sizes of data and networks.

    Attributes:
        vertices: of the face.
        clips, frames: number of clips, and frames of each, at 30 fps.
        warm, timed, profiled: steps of a training before the clock starts, while it runs, and under the profiler.
        drawn, rolled: frames that are rendered at once, and frames of the roll-out.
        encoder, large: fields of wav2vec 2.0's configuration: the base size, and that of SelfTalk's recogniser.
        reader: of the lip reader.
        syncnet: of SyncNet3D.
        recipes: what is changed in the recipe of each network of params.yaml; `prior` is a part of it.
        teacher: factor on Wav2Lip's official numbers of channels.
    """

    vertices: int
    clips: int
    frames: int
    warm: int
    timed: int
    profiled: int
    drawn: int
    rolled: int
    encoder: dict[str, Any]
    large: dict[str, Any]
    reader: dict[str, Any]
    syncnet: SyncNet3DNetwork
    recipes: dict[str, dict[str, Any]]
    teacher: float


CALM = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0,
        "layerdrop": 0.0, "apply_spec_augment": False}  # fmt: skip
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
         "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}  # fmt: skip
SMALL = {"conv_dim": (8,) * 7, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
         "num_attention_heads": 2, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
         "do_stable_layer_norm": True}  # fmt: skip
OFFICIAL = Size(
    vertices=VERTICES, clips=16, frames=120, warm=20, timed=40, profiled=20, drawn=512, rolled=300,
    encoder=CALM, large=CALM | LARGE,
    reader={"dim": 768, "heads": 12, "hidden": 3072, "dropout": 0.0},
    # The paper gives no widths: embeddings and first channels are SyncNet's.
    syncnet=SyncNet3DNetwork(modes=32, width=256, layers=1, heads=4, channels=64, embedding=1024),
    recipes={
        "faceformer": {"width": 64},
        "selftalk": {"width": 512, "lip_heads": 8, "lip_layers": 6, "lip_hidden": 2048},
        "codetalker": {"width": 1024, "layers": 6, "heads": 4, "prior": {
            "width": 1024, "layers": 6, "heads": 8, "hidden": 1536, "codes": 16, "code_width": 64, "entries": 256}},
        "voca": {},
        "meshtalk": {"prior": {"heads": 16, "classes": 128, "frames": 32}},
    },
    teacher=1.0,
)  # fmt: skip
TINY = Size(
    vertices=100, clips=SPEAKERS, frames=40, warm=1, timed=2, profiled=0, drawn=4, rolled=10,
    encoder=CALM | SMALL, large=CALM | SMALL,
    reader={"width": 2, "dim": 8, "heads": 2, "hidden": 16, "encoder_layers": 1, "decoder_layers": 1, "kernel": 3,
            "size": 44, "dropout": 0.0},
    syncnet=SyncNet3DNetwork(modes=4, width=8, layers=1, heads=2, channels=2, embedding=8),
    recipes={
        "faceformer": {"width": 8},
        "selftalk": {"width": 8, "lip_heads": 2, "lip_layers": 1, "lip_hidden": 16},
        "codetalker": {"width": 16, "layers": 1, "heads": 4, "prior": {
            "width": 16, "layers": 1, "heads": 2, "hidden": 32, "codes": 2, "code_width": 8, "entries": 16}},
        "voca": {},
        "meshtalk": {"prior": {"heads": 2, "classes": 4, "frames": 8}},
    },
    teacher=0.05,
)  # fmt: skip


class Training(NamedTuple):
    """One training to measure.

    Attributes:
        name: its row.
        batch, compared: what a step draws, when it is timed and when its losses are compared; 0: not compared.
        unit, each: what is counted, and how many of them one element of the batch is.
        goal: so many per second.
        fit: trains for a number of steps with a batch on the run's device, and returns the curve.
    """

    name: str
    batch: int
    compared: int
    unit: str
    each: float
    goal: float | None
    fit: Callable[[int, int], Curve]


class Measured(NamedTuple):
    """Seconds per step, peak memory in MB, and the share of time in which the GPU waits (None: not known)."""

    seconds: float
    megabytes: float
    waits: float | None


def imitation_face(vertices: int) -> tuple[np.ndarray, Topology]:
    """A curved sheet (V, 3) in metres, 15 × 22 cm, with a slit for a mouth; row 0 is on top."""
    side = math.ceil(math.sqrt(vertices))
    x, y = (a.ravel()[:vertices] for a in np.meshgrid(np.linspace(-0.075, 0.075, side), np.linspace(0.11, -0.11, side)))
    template = np.stack([x, y, -3 * x**2 - 2 * y**2], -1).astype(np.float32)
    grid = np.arange(side * side).reshape(side, side)
    upper = side // 2 - 1  # the row above the slit
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    columns = np.abs(np.linspace(-0.075, 0.075, side)) < 0.025
    slit = np.isin(faces, grid[upper][columns]).any(1) & np.isin(faces, grid[upper + 1][columns]).any(1)
    faces = faces[~slit & (faces < vertices).all(1)]
    regions = {
        "lips": (abs(x) < 0.03) & (abs(y) < 0.015),
        "mouth": (abs(x) < 0.035) & (abs(y) < 0.03),
        "mouth_view": (abs(x) < 0.05) & (abs(y) < 0.05),
        "upper_face": y > 0.04,
    }
    pairs = np.stack([grid[upper][columns], grid[upper + 1][columns]], 1)
    colours = np.random.default_rng(0).uniform(0.3, 0.8, (vertices, 3)).astype(np.float32)
    ids = {name: np.flatnonzero(inside) for name, inside in regions.items()}
    return template, Topology(faces.astype(np.int32), ids, pairs, colours)


def imitation_corpus(folder: Path, size: Size) -> Corpus:
    """Clips of `SPEAKERS` training speakers, whose lower face drops with the loudness of noise."""
    template, topology = imitation_face(size.vertices)
    names = [f"S{number}" for number in range(SPEAKERS)]
    lower = (template[:, 1] < 0) * np.exp(-((template[:, 1] / 0.06) ** 2))

    def recordings() -> Iterator[Recording]:
        for number in range(size.clips):
            rng = np.random.default_rng(number)
            samples = round(size.frames * 16000 / FPS)
            loudness = np.interp(np.arange(samples), np.linspace(0, samples, 2 + size.frames // 6),
                                 rng.uniform(0, 1, 2 + size.frames // 6))  # fmt: skip
            audio = (0.4 * loudness * rng.normal(size=samples)).clip(-1, 1).astype(np.float32)
            opening = loudness[(np.arange(size.frames) * 16000 / FPS).astype(int)]
            motion = np.repeat(template[None], size.frames, 0)
            motion[:, :, 1] -= (0.01 * opening[:, None] * lower).astype(np.float32)
            motion[:, :, 0] += (0.001 * np.sin(np.arange(size.frames) / 5)[:, None] * lower).astype(np.float32)
            speaker, said = names[number % SPEAKERS], (Phoneme(0.1, 0.5, "P"), Phoneme(0.5, 1.0, "AA"))
            yield Recording(f"c{number}", speaker, f"t{number}", "p a", "train", audio, motion, said)

    write_corpus(
        folder, recordings(), topology=topology, templates=dict.fromkeys(names, template), train_speakers=names,
        fps=FPS, mm_per_unit=1000, recipe="imitation",
    )  # fmt: skip
    return open_corpus(folder)


def trainings(size: Size, corpus: Corpus, folder: Path) -> list[Training]:
    """What is measured, the most important first."""
    clips, scratches = corpus.split("train"), iter(range(10**6))
    video = [imitation_mouth(number, size) for number in range(SPEAKERS)]
    faces = [imitation_speaker(number, size) for number in range(SPEAKERS)]
    pretraining = read_yaml(ROOT / "pretraining/params.yaml")

    def scratch() -> Scratch:
        return Scratch(folder / f"scratch-{next(scratches)}")

    def encoder(numbers: dict[str, Any]) -> Wav2Vec2SpeechEncoder:
        seed_torch(0, "benchmark", "encoder")
        return Wav2Vec2SpeechEncoder.from_numbers(**numbers)

    def terms(batch: int) -> list[tuple[str, float, ExtraTerm]]:
        """Learn2Talk's two losses; the lip reader's features are those of the front-end, of whole clips."""
        device = run_device()
        seed_torch(0, "benchmark", "terms")
        syncnet = new_model(corpus, read_windows(corpus, "train"), size.syncnet, "loss", 0)
        reader = LipReader(VOCABULARY, **size.reader)
        frames = round(size.frames * VIDEO_FPS / FPS)
        width = 8 * size.reader.get("width", 64)
        taught = {clip.id: torch.randn(frames, width) for clip in clips}
        for network in (syncnet, reader):
            frozen(network)
            network.to(device)
        read = lipread_term(corpus, reader, "frontend", taught, frames=frames, clips_per_step=batch, seed=0)
        return [
            ("sync", 0.3, sync_term(corpus, syncnet, embed_speech(corpus, clips, syncnet))),
            ("lipread", 0.03, read),
        ]

    def recipe_of(network: str, steps: int, batch: int) -> Any:
        recipe = load_params(training_of(network, "network").NetworkRecipe, network, ROOT / "params.yaml")
        changed = {"vertex_stride": 1, "steps": steps, "batch": batch, **size.recipes[network]}
        if "dropout" in recipe.__dataclass_fields__:
            changed["dropout"] = 0.0
        if "prior" in changed:
            changed["prior"] = replace(recipe.prior, steps=steps, batch=batch, **changed["prior"])
        return replace(recipe, **changed)

    def student(network: str, *, taught: bool = False) -> Callable[[int, int], Curve]:
        def fit(steps: int, batch: int) -> Curve:
            training, recipe = training_of(network, "network"), recipe_of(network, steps, batch)
            given: dict[str, Any] = {}
            if network in ("codetalker", "meshtalk"):
                given["prior"] = prior(network, 1, min(batch, 2))[0]
            if network == "selftalk":
                seed_torch(0, "benchmark", "recogniser")
                given["prior"] = TextRecogniser(encoder(size.large), tuple("|abcdefghijklmnopqrstuvwxyz'"))
                frozen(given["prior"])
            extra = terms(batch) if taught else []
            with scratch() as own:
                return training.train_network(
                    corpus, encoder(size.encoder), clips, recipe, seed=0, scratch=own, description=network, extra=extra,
                    **given,
                )[1]  # fmt: skip

        return fit

    def prior(network: str, steps: int, batch: int) -> tuple[Any, Curve]:
        recipe = recipe_of(network, steps, max(2, batch)).prior
        with scratch() as own:
            return training_of(network, "network").train_motion_prior(
                corpus, encoder(size.encoder), clips, recipe, seed=0, scratch=own, description=f"{network}, prior"
            )

    def syncnet3d(steps: int, batch: int) -> Curve:
        given = read_yaml(ROOT / "params.yaml")["syncnet3d"]["training"]
        calm: dict[str, Any] = {"style": 0.0, "noise": 0.0, "pitch": 0.0, "masked_bands": 0, "tempo": 0.0}
        recipe = replace(SyncNet3DTraining(**given), steps=steps, clips=batch, windows=windows, **calm)
        with scratch() as own:
            read = read_windows(corpus, "train")
            return train_syncnet3d(corpus, read, size.syncnet, recipe, "loss", seed=0, scratch=own)[1]

    def lip_reader(steps: int, batch: int) -> Curve:
        recipe = replace(LipReaderTraining(**pretraining["lipreader"]["training"]), steps=steps, batch=batch)
        seed_torch(0, "benchmark", "reader")
        reader = LipReader(VOCABULARY, **size.reader)
        with scratch() as own:
            return train_lipreader(reader, video, recipe, seed=0, scratch=own, description="lip reader")[1]

    def sync_expert(steps: int, batch: int) -> Curve:
        given = {**pretraining["teacher"]["expert"], "width": size.teacher, "steps": steps, "clips": batch}
        with scratch() as own:
            return train_expert(faces, ExpertTraining(**given), seed=0, scratch=own)[1]

    def teacher_recipe(steps: int, batch: int) -> GeneratorTraining:
        width = {"width": size.teacher, "audio_width": size.teacher}
        given = {**pretraining["teacher"]["generator"], **width, "batch": batch}
        return GeneratorTraining(**{**given, "steps": steps, "audio_steps": steps})

    def ears(steps: int, batch: int) -> Curve:
        with scratch() as own:
            return train_audio_encoder(faces, teacher_recipe(steps, batch), seed=0, scratch=own)[1]

    def teacher(steps: int, batch: int) -> Curve:
        seed_torch(0, "benchmark", "expert")
        expert = SyncExpert2D(size.teacher)
        with scratch() as own:
            return train_generator(faces, expert, None, teacher_recipe(steps, batch), seed=0, scratch=own)[1]

    windows, window = min(96, size.frames - 8), round(pretraining["lipreader"]["training"]["window"] * VIDEO_FPS)
    expert_windows = pretraining["teacher"]["expert"]["windows"]
    return [
        Training("student, both losses, batch 1", 1, 1, "clips", 1, 5, student("faceformer", taught=True)),
        Training("student, both losses, batch 8", 8, 0, "clips", 1, 20, student("faceformer", taught=True)),
        Training("SyncNet3D", min(16, size.clips), 4, "windows", windows, 20_000, syncnet3d),
        Training("lip reader", 8, 1, "frames", window, None, lip_reader),
        Training("teacher", 8, 1, "frames", 5, None, teacher),
        Training("teacher's sync expert", 8, 2, "windows", expert_windows, None, sync_expert),
        Training("teacher's audio encoder", 1, 1, "steps", 1, None, ears),
        Training("SelfTalk", 1, 1, "clips", 1, None, student("selftalk")),
        Training("CodeTalker's codec", 8, 2, "clips", 1, None, lambda *given: prior("codetalker", *given)[1]),
        Training("CodeTalker", 1, 1, "clips", 1, None, student("codetalker")),
        Training("VOCA", 8, 2, "clips", 1, None, student("voca")),
        Training("MeshTalk's latent space", 8, 2, "windows", 1, None, lambda *given: prior("meshtalk", *given)[1]),
        Training("MeshTalk", 8, 2, "clips", 1, None, student("meshtalk")),
    ]


def imitation_mouth(seed: int, size: Size) -> MouthClip:
    """Mouth crops with a bright patch that moves."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(80, 120, (max(30, size.frames), 96, 96), dtype=np.uint8)
    for t, frame in enumerate(frames):
        frame[40 : 46 + t % 20, 30:66] = 200
    return MouthClip(frames, tuple(Phoneme(0.2 * i, 0.2 * i + 0.2, "P" if i % 2 else "AA") for i in range(5)))


def imitation_speaker(seed: int, size: Size) -> SpeakingFace:
    """A face whose mouth is a dark patch that moves, and noise."""
    rng = np.random.default_rng(seed)
    faces = rng.integers(120, 140, (max(30, size.frames), 96, 96, 3), dtype=np.uint8)
    for t, face in enumerate(faces):
        face[64 : 67 + t % 12, 34:62] = 30
    sound = rng.normal(0, 0.1, len(faces) * 640).astype(np.float32)
    mean_face = faces.mean(axis=0, dtype=np.float32)
    return SpeakingFace(faces, mel_spectrogram(sound), (30, 58, 66, 84), (18.0, 41.0, 78.0, 101.0), mean_face)


def measured(training: Training, size: Size, device: torch.device) -> Measured:
    """Time the steps of a training on `device`. On a GPU the clock is its own, so that nothing waits for it."""
    marks: list[Any] = []
    gpu = device.type == "cuda"
    profiler = profile(activities=[ProfilerActivity.CUDA]) if gpu and size.profiled else None
    last = size.warm + size.timed

    def after_step(*_: object) -> None:
        if gpu:
            marks.append(torch.cuda.Event(enable_timing=True))
            marks[-1].record()
        else:
            marks.append(time.perf_counter())
        if profiler is not None and len(marks) == last:
            profiler.start()
        if profiler is not None and len(marks) == last + size.profiled:
            profiler.stop()

    if gpu:
        torch.cuda.reset_peak_memory_stats()
    hook = register_optimizer_step_post_hook(after_step)
    try:
        with using(device):
            training.fit(last + size.profiled, training.batch)
    finally:
        hook.remove()
    if not gpu:
        return Measured((marks[last - 1] - marks[size.warm - 1]) / size.timed, peak_kilobytes() / 1024, None)
    torch.cuda.synchronize()
    seconds = marks[size.warm - 1].elapsed_time(marks[last - 1]) / 1000 / size.timed
    waits = None if profiler is None else waiting_share(kernel_times(profiler))
    return Measured(seconds, torch.cuda.max_memory_allocated() / 2**20, waits)


def kernel_times(profiler: profile) -> list[tuple[float, float]]:
    """Start and end of everything that the GPU did, in µs."""
    events = [e for e in profiler.events() or [] if e.device_type == torch.autograd.DeviceType.CUDA]
    return [(e.time_range.start, e.time_range.end) for e in events if not e.is_user_annotation]


def waiting_share(times: Sequence[tuple[float, float]]) -> float | None:
    """The share of the time between the first start and the last end that no interval covers; None without any."""
    if not times:
        return None
    busy, until = 0.0, min(start for start, _ in times)
    begin = until
    for start, end in sorted(times):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return 1 - busy / (until - begin) if until > begin else None


def loss_difference(training: Training, device: torch.device) -> float:
    """The largest relative difference of the first losses on `device` and on the CPU."""
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    curves = []
    try:
        for place in (torch.device("cpu"), device):
            with using(place):
                curves.append([row["loss"] for row in training.fit(COMPARED, training.compared)])
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    return max(abs(found - known) / max(abs(known), 1e-12) for known, found in zip(*curves, strict=True))


def frames_per_second(size: Size, device: torch.device) -> float:
    """Mouths of the embedded face, 88 × 88, forward and backward."""
    face = load_face()
    view = mouth_view(face.topology, face.neutral, mm_per_unit=1000)
    jaw = torch.rand(size.drawn, 1, 1, generator=torch.Generator().manual_seed(0)) * 0.35
    moving = torch.from_numpy(face.neutral[view.vertex_ids]) + jaw * torch.from_numpy(
        face.unit["jawOpen"][view.vertex_ids]
    )
    vertices = moving.to(device).requires_grad_()

    def draw() -> Tensor:
        (gradient,) = torch.autograd.grad(render_mouth(view, vertices).square().mean(), vertices)
        return gradient

    return size.drawn / fastest(draw, device)


def roll_out_seconds(size: Size, device: torch.device) -> tuple[float, float]:
    """Seconds of the decoder for `rolled` frames, and the largest difference of its states from the CPU's."""
    decoder = new_decoder(size.vertices, 64, Wav2Vec2SpeechEncoder.from_numbers(**CALM, **SMALL))
    audio, style = torch.randn(1, size.rolled, decoder.speech_encoder.width), torch.eye(SPEAKERS)[:1]
    with torch.no_grad():
        known = decoder.states(audio, style)
        decoder.to(device)
        audio, style = audio.to(device), style.to(device)
        seconds = fastest(lambda: decoder.states(audio, style), device)
        return seconds, float((decoder.states(audio, style).cpu() - known).abs().max())


def training_seconds(size: Size, device: torch.device) -> tuple[float, float]:
    """Seconds of a training's roll-out of `frames` frames and its way back, and the largest difference of a gradient
    from the CPU's, relative to the largest gradient of its parameter."""
    decoder = new_decoder(size.vertices, 64, Wav2Vec2SpeechEncoder.from_numbers(**CALM, **SMALL)).train()
    decoder.dropout = 0.0
    audio, style = torch.randn(1, size.frames, decoder.speech_encoder.width), torch.eye(SPEAKERS)[:1]
    own = [p for name, p in decoder.named_parameters() if not name.startswith(("audio_encoder", "vertice_map_r.bias"))]

    def step() -> Tensor:
        states = decoder.states(audio, style)
        gradients = torch.autograd.grad(states.square().sum(), own, allow_unused=True)
        return torch.cat([(g / g.abs().max().clamp(min=1e-12)).flatten() for g in gradients if g is not None])

    known = step()
    decoder.to(device)
    audio, style = audio.to(device), style.to(device)
    seconds = fastest(step, device)
    return seconds, float((step().cpu() - known).abs().max())


class Launches(TorchDispatchMode):
    """Counts the operations inside the block that launch a kernel: all that are no views, and do not only allocate."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = any(result.alias_info and not result.alias_info.is_write for result in func._schema.returns)
        self.count += not (views or func.__name__.startswith(("empty", "new_empty", "_unsafe_view", "detach")))
        return func(*args, **(kwargs or {}))


def training_launches(size: Size, batch: int, frames: int) -> tuple[int, int]:
    """Kernels that Python and autograd launch for the roll-out of a training step, forward and backward. They are
    counted on the CPU in double precision: the same operations are called, where float32 has a compiled form."""
    decoder = new_decoder(size.vertices, 64, Wav2Vec2SpeechEncoder.from_numbers(**CALM, **SMALL)).train().double()
    decoder.dropout = 0.0
    audio = torch.randn(batch, frames, decoder.speech_encoder.width).double()
    style = torch.eye(SPEAKERS)[:batch].double()
    with Launches() as forward:
        states = decoder.states(audio, style)
    with Launches() as backward:
        states.sum().backward()
    return forward.count, backward.count


def fastest(run: Callable[[], Tensor], device: torch.device, times: int = 5) -> float:
    """Seconds of the fastest of some runs, after a first one."""
    found = []
    for _ in range(times + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found[1:])


def row(name: str, *said: str) -> None:
    print(f"{name + ':' if name else '':32} {'; '.join(said)}", flush=True)


def against(value: float, goal: float | None, unit: str) -> str:
    """A speed beside its goal."""
    if goal is None:
        return f"{value:,.1f} {unit}/s"
    return f"{value:,.1f} {unit}/s, goal {goal:,}: {'reached' if value >= goal else 'missed'}"


def report(training: Training, size: Size, device: torch.device) -> None:
    """Measure a training and print its row."""
    found = measured(training, size, device)
    speed = training.batch * training.each / found.seconds
    gpu = device.type == "cuda"
    said = [against(speed, training.goal if gpu else None, training.unit), f"{1 / found.seconds:.1f} steps/s"]
    said += [f"{found.megabytes / 1024:.2f} GB at most"]
    if gpu:
        said += ["waits: not known" if found.waits is None else f"the GPU waits {found.waits:.0%}"]
    if gpu and training.goal and training.unit == "clips":
        minutes = 100 * CLIPS / speed / 60
        said += [f"100 epochs of VOCASET in {minutes:.0f} min, goal 30: {'reached' if minutes <= 30 else 'missed'}"]
    row(training.name, *said)
    if gpu and training.compared and run_precision() == "float32":
        apart = loss_difference(training, device)
        verdict = "equal" if apart <= TOLERANCE else "NOT EQUAL"
        row("", f"{COMPARED} losses differ from the CPU's by {apart:.1e} at most, goal {TOLERANCE:g}: {verdict}")


def main(minutes: float, only: Sequence[str]) -> int:
    began, device = time.monotonic(), run_device()
    gpu = device.type == "cuda"
    size = OFFICIAL if gpu else TINY
    said = device_name(device), run_precision(), f"torch {torch.__version__}", f"{torch.get_num_threads()} threads"
    print(", ".join(said), flush=True)
    failed = 0
    with TemporaryDirectory() as place:
        corpus = imitation_corpus(Path(place) / "corpus", size)

        def render() -> None:
            speed = frames_per_second(size, device)
            row("rendering 88 × 88", against(speed, 20_000 if gpu else None, "frames"), "forward and backward")

        def roll_out() -> None:
            seconds, apart = roll_out_seconds(size, device)
            row(
                f"roll-out of {size.rolled} frames",
                f"{1000 * seconds:.1f} ms",
                f"states differ by {apart:.1e} at most",
            )
            seconds, apart = training_seconds(size, device)
            launches = sum(training_launches(size, 1, size.frames))
            row(
                f"roll-out of {size.frames} frames in training",
                f"{1000 * seconds:.1f} ms forward and backward",
                f"{launches:,} kernels if launched one by one",
                f"gradients differ by {apart:.1e} at most",
            )

        jobs: list[tuple[str, Callable[[], None]]] = [
            (training.name, lambda training=training: report(training, size, device))  # type: ignore[misc]
            for training in trainings(size, corpus, Path(place))
        ]
        jobs[3:3] = [("rendering", render), ("roll-out", roll_out)]
        for name, work in jobs:
            if only and not any(name.startswith(word) for word in only):
                continue
            if time.monotonic() - began > 60 * minutes:
                row(name, f"skipped: {minutes:g} minutes are over")
                continue
            try:
                work()
            except Exception as error:  # the others can still be measured, and a GPU is rare
                failed += 1
                row(name, f"failed: {type(error).__name__}: {error}")
            if gpu:
                torch.cuda.empty_cache()
    if not gpu:
        print("There is no GPU: these are tiny sizes on the CPU, and the GPU's numbers are missing.")
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="after this, what is left is skipped")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows that begin with one of these")
    arguments = parser.parse_args()
    sys.exit(main(arguments.minutes, arguments.only))
