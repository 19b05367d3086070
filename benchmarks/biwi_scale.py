"""Time and memory of preparing a corpus of BIWI's size and of training on it.

python -m benchmarks.biwi_scale                                # 1/40 of it, 14 sequences: 0.5 GB of disk
python -m benchmarks.biwi_scale --share 1 --wav2vec-base --folder /big/disk    # 560 sequences: 22 GB of disk

The full size is 14 speakers × 40 sentences × 117 frames × 23370 vertices, 18.4 GB: the emotional half of BIWI. The
official splits use 272 of these sequences and train on 192; here every speaker is a training speaker, so that all 560
are prepared and 448 are trained on. The faces are a sheet with BIWI's number of vertices and triangles, the sound is
noise.

Raw files are deleted after they are prepared, so that they are not on the disk twice. If they fit into memory, they are
in the page cache when they are read; copying and preparing are then measured with writing to the disk, but without
reading from it. Training runs real steps in its own process: SyncNet3D as in params.yaml, FaceFormer with the paper's
settings for BIWI (docs/datasets-biwi.md) on a random speech encoder, small as in params.yaml or wav2vec 2.0 base.

Two values of peak memory are given. Mapped pages of the corpus count as resident, but the system can reclaim them; the
anonymous part (RssAnon, read every 50 ms) is the memory that the process really needs.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import soundfile
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.decode import SMALL, peak_kilobytes
from learn2talk_core.corpus.format import Recording, open_corpus, write_corpus
from learn2talk_core.datasets import biwi
from learn2talk_core.datasets.biwi import FPS, SPEAKERS, BiwiRecipe, read_biwi
from learn2talk_core.datasets.fixtures_biwi import write_frames, write_template
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.syncnet3d import window_frames
from learn2talk_core.run.config import load_params
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import spoken_clips
from learn2talk_core.training.students import faceformer
from learn2talk_core.training.syncnet3d import read_windows, train_syncnet3d
from stages.syncnet3d import Params

SENTENCES, FRAMES = 40, 117  # sentences per speaker; average frames per sequence
ROWS, COLUMNS = 190, 123  # 23370 vertices
SLIT = 24  # quads left out at the mouth: 46068 triangles
SOUND_RATE = 44_100
WINDOWS = 500
COPIED = 1e9  # bytes to copy at most
STUDENT = faceformer.FaceFormerRecipe(
    width=128, dropout=0.1, start="zeros", vertex_loss="sum", vertex_stride=1, steps=0, batch=1, learning_rate=1e-4,
    encoder_learning_rate=1e-4,
)  # fmt: skip
TRAININGS = {
    "syncnet3d": "SyncNet3D",
    "small": "student, small speech encoder",
    "base": "student, wav2vec 2.0 base",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.025, help="share of the 560 sequences (default: %(default)s)")
    parser.add_argument("--layout", choices=("folders", "archives"), default="folders")
    parser.add_argument("--recipe", choices=("codetalker", "metric"), default="codetalker")
    parser.add_argument("--folder", help="working folder (default: the system's temporary folder)")
    parser.add_argument("--steps", type=int, default=10, help="steps per training, at least 2 (default: %(default)s)")
    parser.add_argument("--wav2vec-base", action="store_true", help="also train a student with wav2vec 2.0 base")
    parser.add_argument("--prepare", nargs=2, metavar=("FROM", "TO"), help=argparse.SUPPRESS)
    parser.add_argument("--train", nargs=2, metavar=("WHAT", "CORPUS"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.prepare:
        source, target = map(Path, words.prepare)
        print(json.dumps(prepare(source, target, words.recipe)))
        return
    if words.train:
        print(json.dumps(train(words.train[0], Path(words.train[1]), words.steps)))
        return
    with tempfile.TemporaryDirectory(dir=words.folder) as folder:
        raw, out = Path(folder) / "raw", Path(folder) / "corpus"
        clips = write_raw(raw, words.share, packed=words.layout == "archives")
        size = sum(path.stat().st_size for path in raw.rglob("*") if path.is_file()) / 1e6
        print(f"{clips} sequences of {FRAMES} frames, {size:.0f} MB, {words.layout}, recipe {words.recipe}")
        print(f"copying the files:  {copy(raw, Path(folder) / 'copy'):5.0f} MB/s")
        found = fresh("--recipe", words.recipe, "--prepare", raw, out)
        seconds = found["seconds"]
        print(f"templates, regions: {found['opening']:6.2f} s")
        print(f"preparing the clips:{seconds:6.2f} s, {size / seconds:5.0f} MB/s, {clips / seconds:.1f} clips/s")
        print(f"  CPU time:         {found['processor']:6.2f} s, {size / found['processor']:5.0f} MB/s")
        print(f"  {peak(found)}")
        for region in ("mouth", None):
            print(f"a window of 0.2 s, {region or 'all vertices'}: {1e6 * window_seconds(out, region):.0f} µs")
        for what in list(TRAININGS)[: 3 if words.wav2vec_base else 2]:
            found = fresh("--steps", words.steps, "--train", what, out)
            step = found["step"]
            print(f"{TRAININGS[what]}: {found['ready']:.1f} s until the first step, {found['clips']} clips")
            print(f"  {step:.3f} s per step of {found['chosen']} clips, {found['chosen'] / step:.1f} clips/s", end="")
            print(f", {found['windows'] / step:.0f} windows/s" if "windows" in found else "")
            print(f"  {peak(found)}", flush=True)


def fresh(*words: object) -> dict[str, Any]:
    """Run this program in a new process; returns the JSON that it prints, with its peak anonymous memory."""
    command = [sys.executable, "-m", "benchmarks.biwi_scale", *map(str, words)]
    anonymous = 0
    with tempfile.TemporaryFile("w+") as answer, subprocess.Popen(command, stdout=answer) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            anonymous = max(anonymous, *map(int, re.findall(r"RssAnon:\s+(\d+)", status)), 0)
            time.sleep(0.05)
        if process.returncode != 0:
            raise SystemExit(process.returncode)
        answer.seek(0)
        return {**json.loads(answer.read().splitlines()[-1]), "anonymous_mb": anonymous / 1024}


def peak(found: dict[str, Any]) -> str:
    return f"peak memory {found['peak_mb']:.0f} MB, anonymous {found['anonymous_mb']:.0f} MB"


def write_raw(folder: Path, share: float, *, packed: bool) -> int:
    """Write a part of BIWI, spread over its sequences, in the original layout; returns the number of sequences."""
    every = [(s, f"e{n:02d}") for s in SPEAKERS for n in range(1, SENTENCES + 1)]
    count = max(3, round(share * len(every)))
    keys = [every[i] for i in np.linspace(0, len(every) - 1, count).astype(int)]
    vertices, faces, lists = sheet()
    rng = np.random.default_rng(0)
    for speaker in dict.fromkeys(speaker for speaker, _ in keys):
        write_template(folder / "rigid_scans" / f"{speaker}.obj", vertices, faces)
    for speaker, sentence in keys:
        opening = rng.uniform(0, 12, FRAMES).astype(np.float32)
        motion = np.repeat(vertices[None], FRAMES, 0)
        motion[:, ROWS // 2 * COLUMNS :, 1] += opening[:, None]
        write_frames(folder / "faces" / speaker, sentence, motion, packed)
        sound = folder / "audio" / f"{speaker}_{sentence}_cut.wav"
        sound.parent.mkdir(exist_ok=True)
        soundfile.write(sound, rng.uniform(-0.5, 0.5, round(FRAMES / FPS * SOUND_RATE)), SOUND_RATE)
    (folder / "regions").mkdir()
    for name, ids in lists.items():
        (folder / "regions" / f"{name}.txt").write_text(", ".join(map(str, ids.tolist())))
    os.sync()
    return len(keys)


def sheet() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A curved sheet (23370, 3) in millimetres, y down, its triangles (46068, 3), and the vertices of two regions."""
    x, y = np.meshgrid(np.linspace(-75, 75, COLUMNS), np.linspace(-110, 110, ROWS))
    vertices = np.stack([x, y, (x / 13) ** 2 + (y / 18) ** 2], -1).reshape(-1, 3).astype(np.float32)
    grid = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    keep = np.ones((ROWS - 1, COLUMNS - 1), bool)
    keep[ROWS // 2 + 20, (COLUMNS - SLIT) // 2 : (COLUMNS + SLIT) // 2] = False
    a, b, c, d = (part[keep] for part in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)])
    lists = {"lve": grid[ROWS // 2 + 5 : ROWS // 2 + 70, 25:-25].ravel(), "fdd": grid[: ROWS // 3].ravel()}
    return vertices, faces.astype(np.int32), lists


def copy(source: Path, target: Path) -> float:
    """Copy files and sync them to the disk; returns the speed in MB/s. The copies are deleted afterwards."""
    copied, start = 0, time.perf_counter()
    for path in source.rglob("*"):
        if path.is_file() and copied < COPIED:
            to = target / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            copied += to.write_bytes(path.read_bytes())
    os.sync()
    seconds = time.perf_counter() - start
    shutil.rmtree(target)
    return copied / 1e6 / seconds


def prepare(source: Path, target: Path, recipe: BiwiRecipe) -> dict[str, float]:
    """Write the corpus; returns seconds for templates and regions, seconds and CPU time for clips, and peak memory."""
    start = time.perf_counter()
    with patch.multiple(biwi, TRAIN_SPEAKERS=SPEAKERS, UNSEEN_SPEAKERS=()):
        read = read_biwi(source, recipe=recipe)
        opened, worked = time.perf_counter(), time.process_time()
        given = {field.name: getattr(read, field.name) for field in fields(read)}
        write_corpus(target, **{**given, "recordings": consumed(source, read.recordings)})
    os.sync()
    return {
        "opening": opened - start,
        "seconds": time.perf_counter() - opened,
        "processor": time.process_time() - worked,
        "peak_mb": peak_kilobytes() / 1024,
    }


def consumed(raw: Path, recordings: Iterable[Recording]) -> Iterator[Recording]:
    """Yield the recordings; delete the raw frames of each one when the next one is requested."""
    for recording in recordings:
        yield recording
        frames = raw / "faces" / recording.speaker / recording.sentence
        if frames.is_dir():
            shutil.rmtree(frames)
        else:
            frames.with_suffix(".tar").unlink()


def window_seconds(folder: Path, region: str | None) -> float:
    """Mean seconds to read the vertices of a random SyncNet3D window."""
    corpus = open_corpus(folder)
    rng = np.random.default_rng(1)
    window = window_frames(FPS)
    places = [
        (corpus.clips[i], int(t)) for i, t in rng.integers((len(corpus.clips), FRAMES - window), size=(WINDOWS, 2))
    ]
    start = time.perf_counter()
    for clip, t in places:
        corpus.vertices(clip, region, slice(t, t + window))
    return (time.perf_counter() - start) / WINDOWS


def train(what: str, folder: Path, steps: int) -> dict[str, float]:
    """Run training steps; returns the seconds until the first step, the median seconds per step, and peak memory."""
    corpus, ends = open_corpus(folder), list[float]()
    clips = corpus.split("train")
    found: dict[str, float] = {"clips": len(clips), "chosen": STUDENT.batch}
    hook = register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder.parent) as place, Scratch(Path(place) / "scratch") as scratch:
        if what == "syncnet3d":
            params = load_params(Params, "syncnet3d")
            recipe = replace(params.training, steps=steps)
            train_syncnet3d(
                corpus, read_windows(corpus, "train"), params.network, recipe, "metric", seed=0, scratch=scratch
            )
            found["chosen"] = min(recipe.clips, len(clips))
            found["windows"] = found["chosen"] * recipe.windows
        else:
            encoder = Wav2Vec2SpeechEncoder.from_numbers(**({} if what == "base" else SMALL))
            spoken = spoken_clips(corpus, encoder, clips, "speech features")
            paper = replace(STUDENT, steps=steps)
            faceformer.train_network(corpus, encoder, spoken, paper, seed=0, scratch=scratch, description="faceformer")
    hook.remove()
    step = float(np.median(np.diff(ends)))
    return {**found, "ready": ends[0] - start - step, "step": step, "peak_mb": peak_kilobytes() / 1024}


if __name__ == "__main__":
    main()
