"""`learn2talk animate`: for each sound file, a folder with the requested formats and a record of how they were made.

A folder appears only when everything in it is complete.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.animator import AUTO, STILL, Animator, Style
from learn2talk_core.animation.characters import DEFAULT
from learn2talk_core.animation.control import controlled, with_phonemes
from learn2talk_core.animation.head_motion import head_model_about, load_head_model
from learn2talk_core.animation.life import Life
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.animation.settings import NO_CONTROL, Control
from learn2talk_core.animation.transcript import Aligner, align_by_voice, text_beside
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import sha256
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.export.formats import ONTO, SHOWN, Writer, write_formats
from learn2talk_core.export.formats import formats as all_formats
from learn2talk_core.export.livelink import Sender, play
from learn2talk_core.export.names import check_names
from learn2talk_core.export.picture import PICTURE, Picture
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import plain_name
from learn2talk_core.run.own_folder import ANIMATE, MANIFEST, check_own, own_folder
from learn2talk_core.run.progress import log, progress

STDIN = "-"
SOUNDS = frozenset(  # suffixes of the files that are looked for in a folder
    f".{name}"
    for name in [
        "wav",
        "mp3",
        "flac",
        "ogg",
        "oga",
        "opus",
        "m4a",
        "aac",
        "aif",
        "aiff",
        "wma",
        "mp4",
        "m4v",
        "mov",
        "mkv",
        "webm",
        "avi",
    ]
)
PICTURED = ("mp4", "glb", "fbx")  # formats with the default character as their face
VIDEO_LIFE = Life(head=0.5, blinks=1.0, gaze=0.6)
MOST_JOBS = 64


@dataclass(frozen=True)
class Line:
    """A sound to animate.

    Attributes:
        source: as the user gave it, or found in a folder; "-" is standard input.
        name: of its output folder, with the folders between the one that was given and the file.
        found: whether it was found in a folder.
        path: the file that holds it.
    """

    source: str
    name: str
    found: bool = False
    path: Path = Path()


@dataclass(frozen=True)
class AnimatedLine:
    """What became of a line.

    Attributes:
        line: the line.
        folder: its output folder.
        state: made, current (an earlier run made the same), or failed.
        seconds: of sound.
        frames: of the animation.
        took: seconds of work.
        error: why it failed.
    """

    line: Line
    folder: Path
    state: str
    seconds: float = 0.0
    frames: int = 0
    took: float = 0.0
    error: str = ""


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
    onto: str | None = None,
    visemes: bool = False,
    picture: Picture = PICTURE,
    writers: Mapping[str, Writer] | None = None,
    writers_about: Mapping[str, Any] | None = None,
    life: Life = STILL,
    shown_life: Life | None = None,
    control: Control = NO_CONTROL,
    text: str | None = None,
    aligner: Aligner | None = align_by_voice,
    aligned_by: str = "a synthetic voice",
    senders: Sequence[Sender] = (),
    jobs: int = 1,
    template: str | None = None,
    **model: Any,
) -> Iterator[AnimatedLine]:
    """Animate sound files with one model, one style and one face.

    Args:
        sources: sound files; folders, of which all sounds are animated, at any depth; "-" is standard input.
        out: output folder; each file gets the folder `out/NAME`, which is replaced if an earlier run made it.
        formats: names of `formats.FORMATS`.
        style: as for `Animator.animate`; "auto" is chosen by the first sound and kept.
        fps, chunk: as for `Animator.animate`.
        shapes: file with the blend shapes of the mesh, for the curves and for blinks and gaze.
        flame: FLAME's model file, for the format `flame`.
        onto: the user's avatar, for the format `onto`.
        visemes: add viseme targets to `glb`.
        picture: how videos show the face.
        writers: formats that are written by other functions, such as those of a splat avatar; the face is then the same
            in all formats.
        writers_about: what the manifest says of them.
        life: head motion, blinks and gaze.
        shown_life: the same in videos, as far as the mesh has shapes for it; None is `life`.
        control: gains, smoothing, edits.
        text: what is said, for a single sound; None takes the `.txt` beside each.
        aligner: finds the phonemes' times; None ignores texts.
        aligned_by: what the aligner uses, for the record of a line with a text.
        senders: receivers to which each animation is played in real time.
        jobs: sounds that are animated at the same time.
        template: the face: a packaged character, a speaker, or a mesh file. None is the first training speaker, and in
            `mp4`, `glb` and `fbx` the default character if the model moves the embedded head.
        model: further arguments of `load_animator`.

    Yields:
        What became of each line, in order. A sound that was found in a folder is skipped if its output is that of the
        same sound, model and settings.

    Raises:
        BadInput: an argument is wrong, or the only sound. Of several sounds, one that fails is a result with its error.
    """
    out = Path(out)
    check_names(formats, "--format")
    if not 1 <= jobs <= MOST_JOBS:
        raise BadInput("--jobs", expected=f"1 … {MOST_JOBS}", found=f"{jobs}", fix="The number of cores is a good one.")
    lines = find_lines(sources)
    names = [line.name for line in lines]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"{out}/{twice}", expected="one sound file", found="several of this name", fix="Rename one.")
    if text is not None and len(lines) > 1:
        fix = "Put a .txt of the same name beside each sound."
        raise BadInput("--text", expected="one sound", found=f"{len(lines)}", fix=fix)
    _check_place(out, names)
    if "flame" in formats and flame is None:
        raise BadInput("--flame", expected="FLAME's model file", found="none", fix="Download generic_model.pkl.")
    if ONTO in formats and onto is None:
        raise BadInput("--onto", expected="an avatar", found="none", fix="Give it with --onto avatar.glb.")
    own = dict(writers or {})
    writers = all_formats(shapes, flame, onto=onto, visemes=visemes, picture=picture) | own
    animator = load_animator(shapes=shapes, template=template, **model)
    cast = Faces.of(animator, template)
    if own:
        cast = replace(cast, pictured=cast.plain)
    shown_life = life if shown_life is None else _possible(shown_life, cast.pictured, life)
    with ExitStack() as stack:
        lines = [replace(line, path=stack.enter_context(_as_file(line.source))) for line in lines]
        weights = _chosen_style(animator, style, lines)
        settings = {
            "commit": _commit(),
            "model": dict(animator.about),
            "style": weights,
            "style_chosen": "by the voice" if style == AUTO else "by name",
            "template": cast.name or max(weights, key=weights.__getitem__),
            "chunk": chunk,
            "life": _life_about(life, animator),
            **({} if shown_life == life else {"life_in_videos": _life_about(shown_life, animator)}),
            **({} if cast.pictured is cast.plain else {"face_in_pictures": DEFAULT}),
            **({} if control == NO_CONTROL else {"control": _control_about(control)}),
            **dict(writers_about or {}),
        }
        files = {"shapes": shapes, "flame": flame, "onto": onto}
        key = {
            **settings,
            "formats": sorted(set(formats)),
            "fps": fps,
            "visemes": visemes,
            "picture": asdict(picture),
            "files": {name: sha256(Path(path)) for name, path in files.items() if path is not None},
        }
        run = Run(
            out, tuple(formats), fps, chunk, writers, cast, weights, life, shown_life, control, text, aligner,
            aligned_by, tuple(senders), settings, key,
        )  # fmt: skip
        yield from _all(run, lines, jobs)


@dataclass(frozen=True)
class Faces:
    """The face of data formats and that of pictures, as animators of the same student; `name` is that of the first."""

    plain: Animator
    pictured: Animator
    name: str | None

    @classmethod
    def of(cls, animator: Animator, template: str | None) -> "Faces":
        if template is not None:
            return cls(animator, animator, template)
        name = next((name for name in animator.speakers if name in animator.templates), None)
        plain = animator if name is None else replace(animator, template=animator.templates[name])
        return cls(plain, plain.pictured(), name)


@dataclass(frozen=True)
class Run:
    """What all lines have in common; see `animate_files`."""

    out: Path
    formats: tuple[str, ...]
    fps: float | None
    chunk: float | None
    writers: Mapping[str, Writer]
    faces: Faces
    weights: dict[str, float]
    life: Life
    shown_life: Life
    control: Control
    text: str | None
    aligner: Aligner | None
    aligned_by: str
    senders: tuple[Sender, ...]
    settings: dict[str, Any]
    key: dict[str, Any]

    def animate(self, line: Line) -> AnimatedLine:
        """Animate one line; returns what became of it."""
        began = time.perf_counter()
        folder = self.out / line.name
        if not line.path.is_file():  # the error of `read_sound`, before the file is hashed
            read_sound(line.path, name=_shown_name(line.source))
        content = sha256(line.path)
        text = text_beside(line.path) if self.text is None and line.source != STDIN else self.text
        aligned_by = None if text is None else self.aligned_by
        recipe = _digest({**self.key, "sound": content, "text": text, "aligned_by": aligned_by})
        if line.found and _is_current(folder, recipe):
            return AnimatedLine(line, folder, "current")
        wave = read_sound(line.path, allow_silence=True, name=_shown_name(line.source))
        phonemes = self._phonemes(line, wave, text)
        made: dict[tuple[bool, Life], Animation] = {}

        def animation_of(name: str) -> Animation:
            own = (name in PICTURED, self.shown_life if name in SHOWN else self.life)
            own = (own[0] and self.faces.pictured is not self.faces.plain, own[1])
            if own not in made:
                face = self.faces.pictured if own[0] else self.faces.plain
                speech = face.animate(wave, style=self.weights, fps=self.fps, chunk=self.chunk, life=own[1])
                made[own] = controlled(with_phonemes(speech, phonemes), self.control)
            return made[own]

        groups: dict[int, tuple[Animation, list[str]]] = {}
        for name in self.formats:
            animation = animation_of(name)
            groups.setdefault(id(animation), (animation, []))[1].append(name)
        first = animation_of(next((name for name in self.formats if name not in PICTURED), self.formats[0]))
        about = {
            **self.settings,
            "recipe": recipe,
            "audio": {"name": Path(line.source).name, "sha256": content, "seconds": len(wave) / SAMPLE_RATE},
            **(_text_about(text, aligned_by, phonemes) if phonemes else {}),
            "fps": first.fps,
            "model_fps": self.faces.plain.fps,
            "frames": len(first.states),
            "vertices": len(first.template),
            "mm_per_unit": first.mm_per_unit,
        }
        folder.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            with own_folder(folder, ANIMATE, about) as partial:
                for animation, names in groups.values():
                    write_formats(partial / folder.name, animation, names, self.writers)
                stack.enter_context(_alone(self.out))  # two runs with the same `out` move their folders there in turn
        for sender in self.senders:
            spoken = animation_of("arkit")
            bar = progress(play(spoken, sender), f"{line.name} → live", total=len(spoken.states), unit="frame")
            for _ in bar:
                pass
        took = time.perf_counter() - began
        return AnimatedLine(line, folder, "made", len(wave) / SAMPLE_RATE, len(first.states), took)

    def _phonemes(self, line: Line, wave: np.ndarray, text: str | None) -> tuple[Phoneme, ...]:
        if text is None or self.aligner is None:
            return ()
        try:
            return self.aligner(wave, text)
        except BadInput as error:
            log.warning("%s: animated without its transcript: %s", line.name, error)
            return ()


def find_lines(sources: Sequence[str]) -> list[Line]:
    """The sounds of the arguments of a command: files, standard input, and all sounds in folders, sorted."""
    lines = []
    for source in sources:
        if source == STDIN or not Path(source).is_dir():
            lines.append(Line(source, "stdin" if source == STDIN else Path(source).stem))
            continue
        root = Path(source)
        below = [
            p for p in root.rglob("*") if p.suffix.lower() in SOUNDS and p.is_file() and not p.name.startswith(".")
        ]
        found = sorted(below)
        if not found:
            expected = f"sounds ({' '.join(sorted(SOUNDS))})"
            raise BadInput(source, expected=expected, found="none of them", fix="Name another folder.")
        lines += [Line(str(path), str(path.relative_to(root).with_suffix("")), True) for path in found]
    return lines


def _all(run: Run, lines: Sequence[Line], jobs: int) -> Iterator[AnimatedLine]:
    """The lines in order, `jobs` of them at a time."""

    def one(line: Line) -> AnimatedLine:
        try:
            return run.animate(line)
        except BadInput as error:
            if len(lines) == 1:
                raise
            return AnimatedLine(line, run.out / line.name, "failed", error=str(error))

    shown = len(lines) > 1
    if jobs == 1:
        yield from progress(map(one, lines), "lines", total=len(lines), unit="line") if shown else map(one, lines)
        return
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from progress(pool.map(one, lines), "lines", total=len(lines), unit="line")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chosen_style(animator: Animator, style: Style, lines: Sequence[Line]) -> dict[str, float]:
    """The style of all lines; "auto" is chosen by the first sound that can be read."""
    if style != AUTO:
        return animator.style_weights(style)
    for number, line in enumerate(lines):
        try:
            wave = read_sound(line.path, allow_silence=True, name=_shown_name(line.source))
        except BadInput:
            if number == len(lines) - 1:
                raise
        else:
            return animator.style_weights(style, wave)
    raise AssertionError("there is at least one line")


def _possible(wanted: Life, animator: Animator, asked: Life) -> Life:
    """`wanted` without the blinks and the gaze for which the mesh has no shapes, unless they were asked for."""
    if animator.arkit is not None:
        return wanted
    return replace(wanted, blinks=asked.blinks, gaze=asked.gaze)


def _life_about(life: Life, animator: Animator) -> dict[str, Any]:
    if life.head:
        load_head_model(animator.head_model)  # an error of it is explained here
    return {**asdict(life), **({"head_model": head_model_about(animator.head_model)} if life.head else {})}


def _control_about(control: Control) -> dict[str, Any]:
    edits = [{k: v for k, v in asdict(edit).items() if v not in (np.inf, -np.inf)} for edit in control.edits]
    return {"gains": dict(control.gains), "smooth": control.smooth, "rest": control.rest, "edits": edits}


def _text_about(text: str | None, aligned_by: str | None, phonemes: Sequence[Phoneme]) -> dict[str, Any]:
    return {"text": text, "aligned_by": aligned_by, "phonemes": [[p.start, p.end, p.name] for p in phonemes]}


def _digest(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()


def _is_current(folder: Path, recipe: str) -> bool:
    """Whether the folder was made by the same recipe and its files are still there, in their sizes."""
    with suppress(OSError, ValueError):
        told = json.loads((folder / MANIFEST).read_text())
        files = told["files"].items() if isinstance(told, dict) and told.get("recipe") == recipe else None
        return files is not None and all((folder / name).stat().st_size == size for name, size in files)
    return False


def _shown_name(source: str) -> str | None:
    return "standard input" if source == STDIN else None


def _check_place(out: Path, names: Sequence[str]) -> None:
    """Check before any work that `out` can be written, and that each `out/NAME` is missing or may be replaced."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        fix = "Choose another one with -o."
        raise BadInput(out, expected="a folder that can be written", found=str(error.strerror), fix=fix) from error
    for name in names:
        for part in Path(name).parts:
            plain_name(part, out)
        check_own(out / name, ANIMATE)


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
