"""Mono 16 kHz waveforms: read from any sound file, written as 16-bit WAV."""

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from learn2talk_core.errors import BadInput
from learn2talk_core.files import whole_file
from learn2talk_core.progress import log

SAMPLE_RATE = 16_000
SILENCE_PEAK = 1e-3  # -60 dB of full scale


def read_wave(path: str | Path, *, allow_silence: bool = False) -> np.ndarray:
    """Read a sound file as the mean of its channels, resampled to `SAMPLE_RATE`.

    Refuses a file that is missing, empty, cut short, not audio, or not finite; a silent one too, unless
    `allow_silence`, which then is only logged.

    Returns:
        (samples,) float32 in [-1, 1].
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(path, expected="a sound file", found="nothing", fix="Check the path.")
    if path.stat().st_size == 0:
        raise BadInput(path, expected="sound", found="an empty file", fix="Record or copy it again.")
    _refuse_truncated(path)
    try:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise BadInput(
            path, expected="a sound file (WAV, FLAC, OGG, MP3)", found=error.error_string, fix="Convert it to WAV."
        ) from error
    wave = resample(channels.mean(axis=1), rate)
    if wave.size == 0:
        raise BadInput(path, expected="sound", found="no samples", fix="Record or copy it again.")
    if not np.isfinite(wave).all():
        raise BadInput(path, expected="finite samples", found="NaN or infinity", fix="Write the file again.")
    if np.abs(wave).max() < SILENCE_PEAK:
        if not allow_silence:
            raise BadInput(path, expected="speech", found="silence", fix="Check the microphone and the channel.")
        log.warning("%s: silent", path)
    return np.clip(wave, -1, 1)


def write_wave(path: str | Path, wave: np.ndarray) -> None:
    """Write (samples,) floats in [-1, 1] as 16-bit mono WAV at `SAMPLE_RATE`."""
    with whole_file(path) as partial:
        soundfile.write(partial, to_int16(wave), SAMPLE_RATE, subtype="PCM_16", format="WAV")


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """Band-limited conversion of (samples,) from `rate` to `SAMPLE_RATE`, float32."""
    ratio = Fraction(SAMPLE_RATE, rate)
    if ratio == 1 or wave.size == 0:
        return wave.astype(np.float32)
    return resample_poly(wave, ratio.numerator, ratio.denominator).astype(np.float32)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Floats in [-1, 1] as 16-bit samples; what lies outside is clipped."""
    return np.round(np.clip(wave, -1, 32767 / 32768) * 32768).astype(np.int16)


def from_int16(samples: np.ndarray) -> np.ndarray:
    """16-bit samples as float32 in [-1, 1)."""
    return samples.astype(np.float32) / 32768


def _refuse_truncated(path: Path) -> None:
    """libsndfile reads a WAV whose end is missing without a word, so compare the RIFF sizes with the file's."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
            return
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                found = size - file.tell()
                if length != 0xFFFFFFFF and found < length:  # all ones: written to a pipe, length unknown
                    raise BadInput(
                        path,
                        expected=f"{length} bytes of samples",
                        found=f"{found}: the file is cut short",
                        fix="Copy or record it again.",
                    )
                return
            file.seek(length + length % 2, 1)
    raise BadInput(
        path, expected="a WAV file with samples", found="no data chunk: the file is cut short", fix="Copy it again."
    )
