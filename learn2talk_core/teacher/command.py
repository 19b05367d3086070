"""A teacher that is the user's own program: run once per clip, in its own checkout and environment.

The program gets its arguments unchanged, without a shell. A supervisor process kills it, with everything that it
started, at the time limit and when our process ends for any reason (Ctrl-C, a closed terminal, SIGKILL). A video
appears under the clip's name only when it is complete, so that an interrupted run continues with the missing clips.
"""

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO

import numpy as np

from learn2talk_core.audio.waveform import to_int16, write_wave
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.teacher import supervisor
from learn2talk_core.video.stills import png

PLACES = ("audio", "image", "output", "folder")
TAIL_LINES, TAIL_CHARACTERS = 12, 1500
WORK = "work-"  # prefix of the working folders of clips
POLL_SECONDS = 1.0  # how often a worker process checks that the process that started it is alive
_PARENT = os.getppid()
# Variables of our own Python environment; with them, another Python would import our packages.
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True)
class Command:
    """How to call the program.

    Attributes:
        arguments: the program and its arguments. `{audio}` becomes the path of the sound (WAV, 16 kHz, mono, 16 bit),
            `{image}` of the still image (PNG), `{output}` of the video to write, `{folder}` of the empty folder that
            contains `{output}`.
        cwd: the working directory; None is the current one.
        made: which file in the folder is the video: a name or a glob pattern that matches one file.
        seconds: time limit for one clip.
    """

    arguments: tuple[str, ...]
    cwd: str | None
    made: str
    seconds: float


def check_command(command: Command, where: str) -> None:
    """Refuse a command that cannot work, before the first clip; `where` names the parameter in the error."""
    used = set(re.findall(r"\{(\w+)\}", " ".join(command.arguments)))
    if unknown := sorted(used - set(PLACES)):
        raise BadInput(
            f"{where}.arguments",
            expected=f"no placeholders except {', '.join(f'{{{name}}}' for name in PLACES)}",
            found=", ".join(f"{{{name}}}" for name in unknown),
            fix="Correct the name.",
        )
    if "audio" not in used or not used & {"output", "folder"}:
        raise BadInput(
            f"{where}.arguments",
            expected="a list of arguments, among them {audio} and {output} or {folder}",
            found=json.dumps(list(command.arguments)),
            fix="docs/teachers.md has the command lines of some teachers.",
        )
    folder = Path(command.cwd or ".")
    if not folder.is_dir():
        raise BadInput(
            f"{where}.cwd", expected="a folder", found=f"{command.cwd}: no such folder", fix="Correct the path."
        )
    program = command.arguments[0]
    if shutil.which(str(folder / program) if "/" in program else program) is None:
        raise BadInput(
            f"{where}.arguments",
            expected="a program as the first argument",
            found=f"{program!r}, which cannot be run",
            fix="Give its full path, such as that of python in the teacher's own environment.",
        )
    if not command.made or Path(command.made).is_absolute() or ".." in Path(command.made).parts:
        raise BadInput(
            f"{where}.made",
            expected="a file name or a glob pattern, relative to {folder}",
            found=repr(command.made),
            fix="Give the name of the file that the teacher writes into {folder}.",
        )
    if command.seconds <= 0:
        raise BadInput(f"{where}.seconds", expected="more than 0", found=f"{command.seconds:g}", fix="Raise it.")


def video_path(scratch: Path, clip_id: str, command: Command, audio: np.ndarray, image: np.ndarray) -> Path:
    """Path of a clip's video. The name depends on command, sound and image, so that a change gives a new file."""
    key = hashlib.sha256(json.dumps({**asdict(command), "seconds": 0}, sort_keys=True).encode())
    key.update(to_int16(audio).tobytes())
    key.update(repr(image.shape).encode() + image.tobytes())
    return scratch / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', clip_id)}-{key.hexdigest()[:16]}.mp4"


def make_video(command: Command, audio: np.ndarray, image: np.ndarray, target: Path) -> None:
    """Run the program for one clip and move its video to `target`.

    If it fails, its output is kept beside `target`, as .log.

    Args:
        command: see `Command`.
        audio: float (samples,) in [-1, 1] at 16 kHz.
        image: the still image, uint8 (H, W, 3) RGB.
        target: path of the video.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    log = target.with_suffix(".log")
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=WORK, suffix=".partial", dir=target.parent.resolve()) as work:
        folder = Path(work) / "made"
        folder.mkdir()
        places = {
            "audio": Path(work) / "audio.wav",
            "image": Path(work) / "still.png",
            "output": folder / "output.mp4",
            "folder": folder,
        }
        write_wave(places["audio"], audio)
        places["image"].write_bytes(png(image))
        words = [
            re.sub(r"\{(\w+)\}", lambda match: str(places.get(match[1], match[0])), word) for word in command.arguments
        ]
        printed = Path(work) / "printed"
        try:
            _run(command, words, target, printed)
            video = _only_video(folder, command, target)
        except BadInput:
            os.replace(printed, log)
            raise
        with whole_file(target) as partial:
            shutil.copyfile(video, partial)


def clear_unfinished(scratch: Path) -> None:
    """Remove the working folders that a killed run left behind. No other run may use `scratch` at the same time."""
    for left in scratch.glob(f"{WORK}*.partial"):
        shutil.rmtree(left, ignore_errors=True)


def _run(command: Command, words: list[str], target: Path, printed: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    supervised = [sys.executable, "-I", "-S", supervisor.__file__, str(printed), *words]
    with subprocess.Popen(
        supervised, cwd=command.cwd, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            answer = process.stdout.read() if _ends_within(command.seconds, process.stdout) else None
        finally:
            process.stdin.close()  # the supervisor kills what is still running, and exits
            process.wait()
    if answer is None:
        raise BadInput(
            target,
            expected=f"the teacher to finish within {command.seconds:g} s",
            found=f"it still running, so it was stopped{_tail(printed)}",
            fix="Raise teacher_video.command.seconds, or find out why the teacher hangs.",
        )
    status = int(answer or -signal.SIGKILL)  # no answer: the supervisor itself was killed
    if status:
        how = f"exit status {status}" if status > 0 else f"termination by signal {-status}"
        raise BadInput(
            target,
            expected="the teacher to succeed",
            found=f"{how}{_tail(printed)}",
            fix=f"Its complete output is in {target.with_suffix('.log').name} beside this video.",
        )


def _ends_within(seconds: float, output: IO[bytes]) -> bool:
    """Wait for the supervisor's answer. A worker process also stops waiting when the process that started it ends."""
    deadline = time.monotonic() + seconds
    while not wait([output.fileno()], max(0.0, min(POLL_SECONDS, deadline - time.monotonic()))):
        orphan = multiprocessing.parent_process() is not None and os.getppid() != _PARENT
        if orphan or time.monotonic() >= deadline:
            return False
    return True


def _only_video(folder: Path, command: Command, target: Path) -> Path:
    found = sorted(path for path in folder.glob(command.made) if path.is_symlink() or not path.is_dir())
    if len(found) != 1:
        others = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        raise BadInput(
            target,
            expected=f"one video {command.made} from the teacher",
            found=", ".join(path.name for path in found) or f"none, but {', '.join(others[:10]) or 'no file at all'}",
            fix="Make it write {output}, or name the file in {folder} with teacher_video.command.made.",
        )
    if found[0].resolve() != found[0] or not found[0].is_file():  # a link (perhaps of its folder), a pipe or a socket
        raise BadInput(
            target,
            expected=f"a regular file {found[0].name} from the teacher",
            found="a symbolic link" if found[0].resolve() != found[0] else "a special file",
            fix="Make it write the video itself to {output} or into {folder}.",
        )
    return found[0]


def _tail(printed: Path) -> str:
    """The last lines of the program's output, indented, with control characters escaped."""
    with printed.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_CHARACTERS))
        text = file.read(TAIL_CHARACTERS).decode(errors="replace").replace("\r", "\n")
    lines = ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in text.splitlines()]
    lines = [line for line in lines if line.strip()][-TAIL_LINES:]
    return ":\n" + "\n".join(f"    {line}" for line in lines) + "\n" if lines else "; it printed nothing"
