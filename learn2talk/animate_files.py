"""`learn2talk animate`: sound files in; for each a folder of the formats that are wanted, and what was made from what.

A folder appears when everything in it is whole, or not at all.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.animator import AUTO, STILL, Style, load_animator
from learn2talk_core.animation.head_motion import head_model_about
from learn2talk_core.animation.life import Life
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import sha256
from learn2talk_core.export.formats import formats as exporters
from learn2talk_core.export.text import decimals, triples
from learn2talk_core.render.camera import Camera
from learn2talk_core.report.face import portrait_camera, portraits
from learn2talk_core.report.side_by_side import sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, whole_folder, write_json
from learn2talk_core.run.progress import progress
from learn2talk_core.video.video_file import write_video

Writer = Callable[[Path, str, Animation], object]  # folder, name without suffix

MANIFEST = "manifest.json"
MADE_BY = "learn2talk animate"
STDIN = "-"
SIDE = 384  # pixels of the video
CHUNK = 256  # frames of vertices in memory at a time
DRAWN = 64  # frames of the video that are drawn at a time


def animate_files(
    sources: Sequence[str],
    out: str | Path,
    *,
    formats: Sequence[str] = ("mp4",),
    style: Style = AUTO,
    fps: float | None = None,
    chunk: float | None = None,
    shapes: str | None = None,
    flame: str | None = None,
    life: Life = STILL,
    **model: Any,
) -> Iterator[Path]:
    """Animate sound files, one after the other.

    Args:
        sources: sound files; "-" is standard input.
        out: where to; each file gets the folder `out/NAME`, which is replaced if an earlier run made it.
        formats: of `FORMATS`.
        style, fps, chunk, life: as `Animator.animate`.
        shapes: blend shapes of the mesh, for arkit and for blinks and gaze.
        flame: FLAME's model file, for flame.
        model: as `load_animator`.

    Yields:
        Each folder when it is whole.

    Raises:
        BadInput: whatever is wrong with what was given; files before the one that is wrong are done.
    """
    out = Path(out)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        found = unknown[0] if unknown else "none"
        raise BadInput("--format", expected=f"some of {', '.join(FORMATS)}", found=found, fix="Choose among them.")
    names = ["stdin" if source == STDIN else Path(source).stem for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"{out}/{twice}", expected="one sound", found="several of this name", fix="Rename one.")
    for name in names:
        _check_place(out, name)
    if "flame" in formats and flame is None:
        raise BadInput("--flame", expected="FLAME's model file", found="none", fix="Download generic_model.pkl.")
    writers = FORMATS if shapes is None and flame is None else FORMATS | _exported(shapes, flame)
    animator = load_animator(shapes=shapes, **model)
    for source, name in zip(sources, names, strict=True):
        with _as_file(source) as path:
            wave = read_sound(path, allow_silence=True, name="standard input" if source == STDIN else None)
            content = sha256(path)
        weights = animator.style_weights(style, wave)
        animation = animator.animate(wave, style=weights, fps=fps, chunk=chunk, life=life)
        about = {
            "made_by": MADE_BY,
            "commit": _commit(),
            "audio": {"name": Path(source).name, "sha256": content, "seconds": len(wave) / SAMPLE_RATE},
            "model": dict(animator.about),
            "style": weights,
            "style_chosen": "by the voice" if style == AUTO else "by name",
            "template": str(model.get("template") or max(weights, key=weights.__getitem__)),
            "fps": animation.fps,
            "model_fps": animator.fps,
            "chunk": chunk,
            "life": {**asdict(life), **({"head_model": head_model_about(animator.head_model)} if life.head else {})},
            "frames": len(animation.states),
            "vertices": len(animation.template),
            "mm_per_unit": animation.mm_per_unit,
        }
        with ExitStack() as stack:
            with whole_folder(out / name) as folder:
                write_formats(folder, name, animation, formats, writers)
                files = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
                sequences = {file.name: len(list(file.iterdir())) for file in folder.iterdir() if file.is_dir()}
                write_json(folder / MANIFEST, {**about, "files": files, "sequences": sequences})
                stack.enter_context(_alone(out))  # two runs at one folder: one after the other puts its own there
        yield out / name


def write_formats(
    folder: str | Path,
    name: str,
    animation: Animation,
    formats: Sequence[str],
    writers: Mapping[str, Writer] | None = None,
) -> None:
    """Write an animation in several formats, as `folder/name.SUFFIX`; see `FORMATS`, which `writers` replaces."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for kind in dict.fromkeys(formats):
        (FORMATS if writers is None else writers)[kind](Path(folder), name, animation)


def write_npy(folder: Path, name: str, animation: Animation) -> None:
    """`NAME.npy`: vertices (T, V, 3) float32, in the template's unit."""
    with (folder / f"{name}.npy").open("wb") as file:
        _write_vertices(file, animation)


def write_npz(folder: Path, name: str, animation: Animation) -> None:
    """`NAME.npz`: `vertices` (T, V, 3) float32, `template` (V, 3), `faces` (F, 3) int32, `fps`, `mm_per_unit`.

    Where the head moves also `head` (T, 3, 4) float64: [R | t], which took the still head's vertices u to R u + t.
    """
    with zipfile.ZipFile(folder / f"{name}.npz", "w") as archive:
        with archive.open("vertices.npy", "w", force_zip64=True) as file:
            _write_vertices(file, animation)
        others = {
            "template": animation.template,
            "faces": np.asarray(animation.topology.faces, np.int32),
            "fps": np.float64(animation.fps),
            "mm_per_unit": np.float64(animation.mm_per_unit),
            **({} if animation.pose is None else {"head": animation.rigid()}),
        }
        for key, value in others.items():
            with archive.open(f"{key}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)


def write_obj(folder: Path, name: str, animation: Animation) -> None:
    """`NAME_obj/000000.obj` …, a frame each, in the template's unit, to a ten-thousandth of a millimetre."""
    end = "".join(f"f {a} {b} {c}\n" for a, b, c in (animation.topology.faces + 1).tolist()).encode()
    places = decimals(animation.mm_per_unit)
    for path, frame in _frames(folder / f"{name}_obj", ".obj", animation):
        path.write_bytes(triples(frame, places, start=b"v ", between=b" ", end=b"\n") + end)


def write_ply(folder: Path, name: str, animation: Animation) -> None:
    """`NAME_ply/000000.ply` …, a frame each, binary, with the colours of the vertices."""
    faces = animation.topology.faces
    rows = np.zeros(len(animation.template), [("position", "<f4", 3), ("colour", "u1", 3)])
    rows["colour"] = np.round(255 * np.clip(animation.topology.colours, 0, 1))
    corners = np.zeros(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    corners["count"], corners["corners"] = 3, faces
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}", *properties]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    start, end = "\n".join(header).encode(), corners.tobytes()
    for path, frame in _frames(folder / f"{name}_ply", ".ply", animation):
        rows["position"] = frame
        path.write_bytes(start + rows.tobytes() + end)


def write_mp4(folder: Path, name: str, animation: Animation) -> None:
    """`NAME.mp4`: the face from the front, rendered on the CPU, with the sound."""
    topology = animation.topology
    camera = portrait_camera(topology, animation.template) if "lips" in topology.regions else _front(animation.template)
    bar = progress(range(len(animation.states)), f"{name}.mp4", unit="frame")

    def drawn(start: int) -> np.ndarray:
        return portraits(animation.vertices(slice(start, start + DRAWN)), topology, camera, SIDE, SIDE, supersample=1)

    def pictures() -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(1) as ahead:  # draws while what was drawn before is encoded
            coming = ahead.submit(drawn, 0)
            for start in range(0, len(animation.states), DRAWN):
                block, coming = coming.result(), ahead.submit(drawn, start + DRAWN)
                if start == 0 and (block[0] == block[0, 0, 0]).all():
                    fix = "Check the template: its unit, and that it looks along +z."
                    raise BadInput(f"{name}.mp4", expected="a picture of the face", found="an empty one", fix=fix)
                for picture in block:
                    bar.update()
                    yield picture

    with bar:
        audio = sound(animation.wave, len(animation.states), animation.fps)
        try:
            write_video(folder / f"{name}.mp4", pictures(), animation.fps, audio)
        except av.FFmpegError as error:  # PyAV fails again when it closes the file, and hides why it could not write
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _exported(shapes: str | None = None, flame: str | None = None) -> dict[str, Writer]:
    """The formats of `export/`."""

    def placed(write: Callable[[Path, Animation], list[Path]]) -> Writer:
        return lambda folder, name, animation: write(folder / name, animation)

    return {kind: placed(write) for kind, write in exporters(shapes, flame).items()}


FORMATS: dict[str, Writer] = {
    "mp4": write_mp4,
    "npy": write_npy,
    "npz": write_npz,
    "obj": write_obj,
    "ply": write_ply,
    **_exported(),
}


def _write_vertices(file: Any, animation: Animation) -> None:
    shape = (len(animation.states), *animation.template.shape)
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for start in range(0, len(animation.states), CHUNK):
        file.write(animation.vertices(slice(start, start + CHUNK)).astype("<f4", copy=False).tobytes())


def _frames(folder: Path, suffix: str, animation: Animation) -> Iterator[tuple[Path, np.ndarray]]:
    folder.mkdir()
    for start in range(0, len(animation.states), CHUNK):
        for number, frame in enumerate(animation.vertices(slice(start, start + CHUNK)), start):
            yield folder / f"{number:06d}{suffix}", frame


def _front(template: np.ndarray) -> Camera:
    """A camera for a mesh of which nothing is known but that it looks along +z."""
    low, high = template.min(axis=0), template.max(axis=0)
    x, y, z = ((low + high) / 2).tolist()
    extent = 1.1 * float((high - low)[:2].max())
    return Camera(target=(x, y, z), extent=extent, distance=6 * extent)


def _check_place(out: Path, name: str) -> None:
    """Before any work: can `out` be written, and is what is there ours to replace?"""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        fix = "Choose another one with -o."
        raise BadInput(out, expected="a folder that can be written", found=str(error.strerror), fix=fix) from error
    place = out / name
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    told = read_json(place / MANIFEST, made_by=MADE_BY) if (place / MANIFEST).is_file() else None
    if not isinstance(told, dict) or told.get("made_by") != MADE_BY:
        found = "something else, which would be lost"
        raise BadInput(place, expected=f"a folder that {MADE_BY} made, or none", found=found, fix="Choose another -o.")


@contextmanager
def _as_file(source: str) -> Iterator[Path]:
    """The sound as a file; standard input is written to a temporary one, since the formats want to seek."""
    if source != STDIN:
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard input"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other run of ours holds `folder`; the lock goes with the process, however it ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _commit() -> str | None:
    """Of this code, where it runs from a checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, check=False, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
