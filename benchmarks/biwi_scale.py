"""How fast a corpus of BIWI's size is prepared and read, and in how much memory.

python -m benchmarks.biwi_scale --share 0.05     # a twentieth of the 272 sequences that BIWI's splits use: 0.5 GB
python -m benchmarks.biwi_scale --share 1 --folder /big/disk --layout archives

The faces are a sheet with BIWI's number of vertices and triangles. Files lie in the page cache when they are read, so
the copy and the preparation are both measured without the disk's reading, and with its writing.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import soundfile

from learn2talk_core.corpus.biwi import FPS, SPEAKERS, Recipe, read_biwi, split_of
from learn2talk_core.corpus.fixtures_biwi import write_frames, write_template
from learn2talk_core.corpus.format import open_corpus, write_corpus
from learn2talk_core.models.syncnet3d import window_frames

FRAMES = 117  # of a sequence, on average
ROWS, COLUMNS = 190, 123  # 23370 vertices
SLIT = 24  # quads left out at the mouth: 46068 triangles
SOUND_RATE = 44_100
WINDOWS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=0.05, help="of BIWI's sequences (default: %(default)s)")
    parser.add_argument("--layout", choices=("folders", "archives"), default="folders")
    parser.add_argument("--recipe", choices=("codetalker", "metric"), default="codetalker")
    parser.add_argument("--folder", help="where to work (default: the system's temporary folder)")
    parser.add_argument("--prepare", nargs=2, metavar=("FROM", "TO"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.prepare:
        print(json.dumps(prepare(*map(Path, words.prepare), words.recipe)))
        return
    with tempfile.TemporaryDirectory(dir=words.folder) as folder:
        raw, out = Path(folder) / "raw", Path(folder) / "corpus"
        clips = write_raw(raw, words.share, packed=words.layout == "archives")
        size = sum(path.stat().st_size for path in raw.rglob("*") if path.is_file()) / 1e6
        print(f"{clips} sequences of {FRAMES} frames, {size:.0f} MB, {words.layout}, recipe {words.recipe}")
        seconds = copy(raw, Path(folder) / "copy")
        print(f"copying the files:  {seconds:6.2f} s, {size / seconds:5.0f} MB/s")
        program = [sys.executable, "-m", "benchmarks.biwi_scale", "--recipe", words.recipe]
        answer = subprocess.run([*program, "--prepare", raw, out], check=True, capture_output=True, text=True)
        found = json.loads(answer.stdout.splitlines()[-1])
        seconds = found["seconds"]
        print(f"templates, regions: {found['opening']:6.2f} s")
        print(f"preparing the clips:{seconds:6.2f} s, {size / seconds:5.0f} MB/s, {clips / seconds:.1f} clips/s")
        print(f"  of the processor: {found['processor']:6.2f} s, {size / found['processor']:5.0f} MB/s")
        print(f"peak memory:        {found['peak_mb']:6.0f} MB")
        for region in ("mouth", None):
            print(f"a window of 0.2 s, {region or 'all vertices'}: {1e6 * read_windows(out, region):.0f} µs")


def write_raw(folder: Path, share: float, *, packed: bool) -> int:
    """A part of BIWI, spread over its sequences, as distributed; returns how many sequences it has."""
    wanted = [(s, f"e{n:02d}") for s in SPEAKERS for n in range(1, 41) if split_of(s, f"e{n:02d}")]
    count = max(3, round(share * len(wanted)))
    keys = [wanted[i] for i in np.linspace(0, len(wanted) - 1, count).astype(int)]
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
    """A bent sheet (23370, 3) in millimetres, y down, its triangles (46068, 3), and the two regions' vertices."""
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
    """Seconds that it takes to read all files and write them again, down to the disk."""
    start = time.perf_counter()
    for path in source.rglob("*"):
        if path.is_file():
            to = target / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())
    os.sync()
    return time.perf_counter() - start


def prepare(source: Path, target: Path, recipe: Recipe) -> dict[str, float]:
    """Write the corpus: seconds for templates and regions, for the clips, of it the processor's, and peak memory."""
    start = time.perf_counter()
    read = read_biwi(source, recipe=recipe)
    opened, worked = time.perf_counter(), time.process_time()
    write_corpus(target, **{field.name: getattr(read, field.name) for field in fields(read)})
    os.sync()
    return {
        "opening": opened - start,
        "seconds": time.perf_counter() - opened,
        "processor": time.process_time() - worked,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def read_windows(folder: Path, region: str | None) -> float:
    """Mean seconds to read the vertices of a SyncNet3D window from anywhere in the corpus."""
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


if __name__ == "__main__":
    main()
