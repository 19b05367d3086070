"""A teacher that is a program of the user's: run once a clip, in its own checkout and environment.

The program gets its words as they are; no shell reads them. It is killed, with all that it started, when its time is
over. Its video appears under the clip's name only when it is whole, so that a run that is killed at any moment goes on
with the clips that are not there yet.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from learn2talk_core.audio.waveform import to_int16, write_wave
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file

PLACES = ("audio", "image", "output", "folder")
TAIL_LINES, TAIL_LETTERS = 12, 1500
WORK = "work-"  # prefix of the folders of clips in the making
# Of our own Python: another one would take our packages for its own.
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True)
class Command:
    """How to call the program.

    Attributes:
        arguments: its words. `{audio}` becomes the path of the sound (WAV, 16 kHz, mono, 16 bit), `{image}` of the
            still (PNG), `{output}` of the video to be made, `{folder}` of the empty folder that `{output}` lies in.
        cwd: the folder to run it in; None is the current one.
        made: which file in the folder is the video: a name or a glob pattern that fits one file.
        seconds: its time for one clip.
    """

    arguments: tuple[str, ...]
    cwd: str | None
    made: str
    seconds: float


def check_command(command: Command, where: str) -> None:
    """Refuse a command that cannot work, before any clip: `where` names the parameter."""
    used = set(re.findall(r"\{(\w+)\}", " ".join(command.arguments)))
    if unknown := sorted(used - set(PLACES)):
        raise BadInput(
            f"{where}.arguments",
            expected=f"no other places than {', '.join(f'{{{name}}}' for name in PLACES)}",
            found=", ".join(f"{{{name}}}" for name in unknown),
            fix="Mend the name.",
        )
    if "audio" not in used or not used & {"output", "folder"}:
        raise BadInput(
            f"{where}.arguments",
            expected="a list of words, among them {audio} and {output} or {folder}",
            found=json.dumps(list(command.arguments)),
            fix="See docs/teachers.md for some teachers' command lines.",
        )
    folder = Path(command.cwd or ".")
    if not folder.is_dir():
        raise BadInput(f"{where}.cwd", expected="a folder", found=f"{command.cwd}: none", fix="Mend the path.")
    program = command.arguments[0]
    if shutil.which(str(folder / program) if "/" in program else program) is None:
        raise BadInput(
            f"{where}.arguments",
            expected="a program as the first word",
            found=f"{program!r}, which cannot be run",
            fix="Give its full path, such as that of python in the teacher's own environment.",
        )
    if command.seconds <= 0:
        raise BadInput(f"{where}.seconds", expected="more than 0", found=f"{command.seconds:g}", fix="Raise it.")


def video_path(scratch: Path, clip_id: str, command: Command, audio: np.ndarray, image: np.ndarray) -> Path:
    """Where a clip's video is kept: other words, another sound or another image never find an old one."""
    key = hashlib.sha256(json.dumps({**asdict(command), "seconds": 0}, sort_keys=True).encode())
    key.update(to_int16(audio).tobytes())
    key.update(repr(image.shape).encode() + image.tobytes())
    return scratch / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', clip_id)}-{key.hexdigest()[:16]}.mp4"


def make_video(command: Command, audio: np.ndarray, image: np.ndarray, target: Path) -> None:
    """Run the program for one clip, and put its video to `target`.

    What it printed is kept beside `target`, as .log, when it fails.

    Args:
        command: see `Command`.
        audio: float (samples,) in [-1, 1] at 16 kHz.
        image: the still, uint8 (H, W, 3) RGB.
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
        cv2.imwrite(str(places["image"]), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        words = [
            re.sub(r"\{(\w+)\}", lambda match: str(places.get(match[1], match[0])), word) for word in command.arguments
        ]
        printed = Path(work) / "printed"
        try:
            _run(command, words, target, printed)
            video = _only_video(folder, command, target)
        except BadInput:
            shutil.copyfile(printed, log)
            raise
        with whole_file(target) as partial:
            shutil.copyfile(video, partial)


def clear_unfinished(scratch: Path) -> None:
    """Remove what clips in the making left behind when their run was killed. Nobody else may be at work there."""
    for left in scratch.glob(f"{WORK}*.partial"):
        shutil.rmtree(left, ignore_errors=True)


def _run(command: Command, words: list[str], target: Path, printed: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    with printed.open("wb") as output:
        process = subprocess.Popen(
            words, cwd=command.cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(command.seconds)
        except BaseException as error:  # its time is over, or ours: Ctrl-C does not reach another session
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise BadInput(
                target,
                expected=f"the teacher to be done within {command.seconds:g} s",
                found=f"it at work still, and stopped it{_tail(printed)}",
                fix="Raise teacher_video.command.seconds, or see why it hangs.",
            ) from None
    if status:
        how = f"exit status {status}" if status > 0 else f"the end by signal {-status}"
        raise BadInput(
            target,
            expected="the teacher to end well",
            found=f"{how}{_tail(printed)}",
            fix=f"The whole of what it printed is in {target.with_suffix('.log').name} beside.",
        )


def _only_video(folder: Path, command: Command, target: Path) -> Path:
    found = sorted(path for path in folder.glob(command.made) if path.is_file())
    if len(found) != 1:
        others = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        raise BadInput(
            target,
            expected=f"the teacher to leave one video {command.made}",
            found=", ".join(path.name for path in found) or f"none, but {', '.join(others[:10]) or 'nothing at all'}",
            fix="Have it write {output}, or say by teacher_video.command.made which file in {folder} it is.",
        )
    return found[0]


def _tail(printed: Path) -> str:
    """The last lines of what the program printed, indented."""
    text = printed.read_bytes()[-TAIL_LETTERS:].decode(errors="replace").replace("\r", "\n")
    lines = [line for line in text.splitlines() if line.strip()][-TAIL_LINES:]
    return ":\n" + "\n".join(f"    {line}" for line in lines) + "\n" if lines else ", without a word"
