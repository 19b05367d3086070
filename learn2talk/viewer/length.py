"""How long a sound is, told before it is read: a small file can hold hours of silence."""

from pathlib import Path

import av
import soundfile

from learn2talk_core.run.errors import BadInput


def refuse_long(path: Path, longest: float) -> None:
    """Raise `BadInput` where the sound at `path` takes more than `longest` seconds. What is no sound passes."""
    try:
        file = soundfile.info(path)
        too_long = file.frames > longest * file.samplerate
    except (RuntimeError, TypeError, ValueError):  # not one of libsndfile's formats
        too_long = _by_ffmpeg(path, longest)
    if too_long:
        fix = "Cut it, or take learn2talk animate."
        raise BadInput(path, expected=f"up to {longest:g} s of sound", found="more", fix=fix)


def _by_ffmpeg(path: Path, longest: float) -> bool:
    seconds = 0.0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            for frame in container.decode(audio=0):
                seconds += frame.samples / frame.sample_rate
                if seconds > longest:
                    return True
    except (av.FFmpegError, AttributeError, IndexError):
        pass  # `read_sound` says what is wrong
    return False
