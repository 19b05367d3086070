"""Sound of any kind and length: files of every format, rate and number of channels, read piece by piece."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from scipy.signal import resample_poly

from learn2talk_core.audio.waveform import SAMPLE_RATE, SILENCE_PEAK, _refuse_truncated, from_int16
from learn2talk_core.errors import BadInput
from learn2talk_core.progress import log

SHORTEST = SAMPLE_RATE // 10  # samples; of these every speech encoder makes something
PIECE = 30.0  # seconds read at a time
FILTER = 10  # half the length of SciPy's resampling filter, in samples at the lower of the two rates


def read_sound(path: str | Path, *, longest: float = math.inf) -> np.ndarray:
    """Read the sound of a file that libsndfile or ffmpeg knows: the mean of its channels, resampled to 16 kHz.

    No more than half a minute is held at the file's own rate, so memory is that of the result: 230 MB an hour. Silence
    is taken as it is, with a warning.

    Args:
        path: the file.
        longest: seconds; a longer one is refused before it fills the memory, as a small file of hours of silence would.

    Returns:
        (samples,) float32 in [-1, 1].

    Raises:
        BadInput: missing, empty, cut short, without sound, not finite, shorter than a tenth of a second, or too long.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(path, expected="a sound file", found="nothing", fix="Check the path.")
    if path.stat().st_size == 0:
        raise BadInput(path, expected="sound", found="an empty file", fix="Record or copy it again.")
    _refuse_truncated(path)
    try:
        with soundfile.SoundFile(path) as file:
            in_pieces = file.format != "MP3"  # libsndfile loses its place in an MP3 between two reads
            if in_pieces:
                read = resampled(_finite(_by_libsndfile(file, path), path), file.samplerate)
                pieces = list(_up_to(longest, read, path))
    except soundfile.LibsndfileError:
        in_pieces = False
    if not in_pieces:
        pieces = list(_up_to(longest, _finite(_by_ffmpeg(path), path), path))
    return checked_wave(np.concatenate([np.zeros(0, np.float32), *pieces]), path)


def checked_wave(wave: np.ndarray, where: object = "wave") -> np.ndarray:
    """A wave (samples,) at 16 kHz, as floats in [-1, 1] or as int16: as clipped float32, or refused with `where`."""
    wave = np.asarray(wave)
    if wave.ndim != 1:
        fix = "Take the mean of the channels."
        raise BadInput(where, expected="one channel (samples,)", found=f"an array {wave.shape}", fix=fix)
    if wave.dtype != np.int16 and wave.dtype.kind != "f":
        fix = "Give floats in [-1, 1], or int16."
        raise BadInput(where, expected="float or int16 samples", found=str(wave.dtype), fix=fix)
    wave = from_int16(wave) if wave.dtype == np.int16 else wave
    if len(wave) < SHORTEST:
        found = f"{len(wave) / SAMPLE_RATE:.3f} s of it"
        raise BadInput(where, expected="at least 0.1 s of sound", found=found, fix="Record or copy it again.")
    if not np.isfinite(wave).all():
        raise BadInput(where, expected="finite samples", found="NaN or infinity", fix="Write the file again.")
    if np.abs(wave).max() < SILENCE_PEAK:
        log.warning("%s: silent, so the mouth hardly moves", where)
    return np.clip(wave, -1, 1).astype(np.float32)


def resampled(pieces: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Band-limited conversion of a sound in `pieces` from `rate` to 16 kHz, float32, as if it were converted whole."""
    ratio = Fraction(SAMPLE_RATE, rate)
    up, down = ratio.numerator, ratio.denominator
    if ratio == 1:
        yield from pieces
        return
    edge = down * math.ceil((FILTER + 1) * max(up, down) / (up * down))  # samples that an end of a piece reaches
    held, start = np.zeros(0, np.float32), 0  # start: where, in `held`, what is not yet converted begins
    for piece in pieces:
        held = np.concatenate([held, piece])
        settled = (len(held) - edge) // down * down
        if settled > start:
            yield resample_poly(held, up, down)[start * up // down : settled * up // down].astype(np.float32)
            keep = max(0, settled - edge)
            held, start = held[keep:], settled - keep
    if len(held) > start:
        yield resample_poly(held, up, down)[start * up // down :].astype(np.float32)


def _by_libsndfile(file: soundfile.SoundFile, path: Path) -> Iterator[np.ndarray]:
    count = 0
    for block in file.blocks(int(PIECE * file.samplerate), dtype="float32", always_2d=True):
        count += len(block)
        yield block.mean(axis=1)
    if count < file.frames:
        raise _cut_short(path, count / file.samplerate, file.frames / file.samplerate)


def _by_ffmpeg(path: Path) -> Iterator[np.ndarray]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise _not_sound(path, "a file without sound in it")
            stream, count = container.streams.audio[0], 0
            resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)  # ffmpeg's own mono is not the mean
            for frame in container.decode(stream):
                for piece in resampler.resample(frame):
                    count += piece.samples
                    yield piece.to_ndarray().mean(axis=0)
            for piece in resampler.resample(None):
                count += piece.samples
                yield piece.to_ndarray().mean(axis=0)
            told = float((stream.duration or 0) * (stream.time_base or 0))
            if count / SAMPLE_RATE < told - 0.5:
                raise _cut_short(path, count / SAMPLE_RATE, told)
    except av.FFmpegError as error:
        raise _not_sound(path, f"something else, or a part of one ({error.strerror})") from error


def _finite(pieces: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    """Before resampling spreads a NaN."""
    for piece in pieces:
        if not np.isfinite(piece).all():
            raise BadInput(path, expected="finite samples", found="NaN or infinity", fix="Write the file again.")
        yield piece


def _up_to(longest: float, pieces: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    count = 0
    for piece in pieces:
        count += len(piece)
        if count > longest * SAMPLE_RATE:
            fix = "Cut it, or take learn2talk animate."
            raise BadInput(path, expected=f"up to {longest:g} s of sound", found="more", fix=fix)
        yield piece


def _not_sound(path: Path, found: str) -> BadInput:
    return BadInput(
        path, expected="a sound file that libsndfile or ffmpeg reads", found=found, fix="Convert it to WAV."
    )


def _cut_short(path: Path, found: float, told: float) -> BadInput:
    return BadInput(
        path,
        expected=f"{told:.2f} s of sound, as its header says",
        found=f"{found:.2f} s: the file is cut short",
        fix="Copy or record it again.",
    )
