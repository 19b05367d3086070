"""`learn2talk animate`: for each sound file, a folder with the requested formats and a record of how they were made.

A folder appears only when everything in it is complete.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from learn2talk_core.animation.animator import AUTO, STILL, Style
from learn2talk_core.animation.head_motion import head_model_about
from learn2talk_core.animation.life import Life
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import sha256
from learn2talk_core.export.formats import Writer, check_names, write_formats
from learn2talk_core.export.formats import formats as all_formats
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import plain_name
from learn2talk_core.run.own_folder import ANIMATE, check_own, own_folder

STDIN = "-"


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
    writers: Mapping[str, Writer] | None = None,
    life: Life = STILL,
    **model: Any,
) -> Iterator[Path]:
    """Animate sound files, one after the other.

    Args:
        sources: sound files; "-" is standard input.
        out: output folder; each file gets the folder `out/NAME`, which is replaced if an earlier run made it.
        formats: names of `formats.FORMATS`.
        style, fps, chunk, life: as for `Animator.animate`.
        shapes: file with the blend shapes of the mesh, for the format `arkit` and for blinks and gaze.
        flame: FLAME's model file, for the format `flame`.
        writers: formats that are written by other functions than those of `formats`.
        model: as for `load_animator`.

    Yields:
        Each folder when it is complete.

    Raises:
        BadInput: an argument or a sound file is wrong; the files before that one are already animated.
    """
    out = Path(out)
    check_names(formats, "--format")
    names = ["stdin" if source == STDIN else Path(source).stem for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"{out}/{twice}", expected="one sound file", found="several of this name", fix="Rename one.")
    for name in names:
        _check_place(out, name)
    if "flame" in formats and flame is None:
        raise BadInput("--flame", expected="FLAME's model file", found="none", fix="Download generic_model.pkl.")
    writers = all_formats(shapes, flame) | dict(writers or {})
    animator = load_animator(shapes=shapes, **model)
    for source, name in zip(sources, names, strict=True):
        with _as_file(source) as path:
            wave = read_sound(path, allow_silence=True, name="standard input" if source == STDIN else None)
            content = sha256(path)
        weights = animator.style_weights(style, wave)
        animation = animator.animate(wave, style=weights, fps=fps, chunk=chunk, life=life)
        about = {
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
            with own_folder(out / name, ANIMATE, about) as folder:
                write_formats(folder / name, animation, formats, writers)
                stack.enter_context(_alone(out))  # two runs with the same `out` move their folders there in turn
        yield out / name


def _check_place(out: Path, name: str) -> None:
    """Check before any work that `out` can be written, and that `out/NAME` is missing or may be replaced."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        fix = "Choose another one with -o."
        raise BadInput(out, expected="a folder that can be written", found=str(error.strerror), fix=fix) from error
    check_own(out / plain_name(name, out), ANIMATE)


@contextmanager
def _as_file(source: str) -> Iterator[Path]:
    """The sound as a file; standard input is copied to a temporary file, since reading audio formats needs seeking."""
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
    """Hold a lock on `folder`, after waiting for other runs; the lock is released however the process ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _commit() -> str | None:
    """The commit of this code; None if it does not run from a Git checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, check=False, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
