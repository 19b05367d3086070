"""Sound of any kind and length: files of every format, rate and number of channels, read piece by piece."""

import math
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, groupby
from pathlib import Path

import av
import numpy as np
import soundfile
from scipy.signal import resample_poly

from learn2talk_core.audio.waveform import SAMPLE_RATE, SILENCE_PEAK, from_int16
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import log

# Of files that libsndfile and ffmpeg read, to find a sound by its name; the format is told by the content.
SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".oga", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".wma", ".amr", ".ac3", ".mka", ".mp2", ".3gp", ".weba"),
)
SHORTEST = SAMPLE_RATE // 10  # samples; of these every speech encoder makes something
RATES = (1_000, 768_000)  # Hz; a header's flipped bit can ask for 2 GHz, and 300 GB to resample from there
PIECE = 30.0  # seconds read at a time
FILTER = 10  # half the length of SciPy's resampling filter, in samples at the lower of the two rates


def read_sound(path: str | Path, *, allow_silence: bool = False) -> np.ndarray:
    """Read the sound of a file that libsndfile or ffmpeg knows: the mean of its channels, resampled to 16 kHz.

    No more than half a minute is held at the file's own rate, so memory is that of the result: 230 MB an hour. Only MP3
    is read whole.

    Returns:
        (samples,) float32 in [-1, 1].

    Raises:
        BadInput: missing, empty, cut short, without sound, of a rate outside of `RATES`, not finite, shorter than a
            tenth of a second, or silent; with `allow_silence` there is a warning instead.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(path, expected="a sound file", found="nothing", fix="Check the path.")
    if path.stat().st_size == 0:
        raise BadInput(path, expected="sound", found="an empty file", fix="Record or copy it again.")
    _refuse_truncated(path)
    try:
        file = soundfile.SoundFile(path)
    except (RuntimeError, TypeError, ValueError):  # not one of its formats, or a header without sense
        pieces = list(_finite(_by_ffmpeg(path), path))
    else:
        with file:
            pieces = list(resampled(_finite(_by_libsndfile(file, path), path), file.samplerate))
    return checked_wave(np.concatenate([np.zeros(0, np.float32), *pieces]), path, allow_silence=allow_silence)


def checked_wave(wave: np.ndarray, where: object = "wave", *, allow_silence: bool = False) -> np.ndarray:
    """A wave (samples,) at 16 kHz, floats in [-1, 1] or int16, as clipped float32; or refused, as by `read_sound`."""
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
        if not allow_silence:
            raise BadInput(where, expected="speech", found="silence", fix="Check the microphone and the channel.")
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


def mono_pieces(frames: Iterable[av.AudioFrame], where: object) -> Iterator[np.ndarray]:
    """What ffmpeg decoded as the mean of its channels, float32 at 16 kHz; rate and channels may change on the way."""
    for (rate, *_), alike in groupby(frames, lambda f: (f.sample_rate, f.layout.name, f.format.name)):
        _refuse_rate(rate, where)
        resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)  # ffmpeg's own mono is √2 times the mean
        for frame in chain(alike, [None]):
            yield from (piece.to_ndarray().mean(axis=0) for piece in resampler.resample(frame))


def _by_libsndfile(file: soundfile.SoundFile, path: Path) -> Iterator[np.ndarray]:
    rate, count = file.samplerate, 0
    _refuse_rate(rate, path)
    # libsndfile loses its place in an MP3 between two reads
    size = file.frames if file.format == "MP3" else min(file.frames, int(PIECE * rate))
    try:
        for block in file.blocks(max(1, size), dtype="float32", always_2d=True):
            count += len(block)
            yield block.mean(axis=1)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _not_sound(path, f"something else, or a part of one ({str(error)[:200]})") from error
    if count < file.frames:
        raise _cut_short(path, count / rate, file.frames / rate)


def _by_ffmpeg(path: Path) -> Iterator[np.ndarray]:
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                raise _not_sound(path, "a file without sound in it")
            stream, count = container.streams.audio[0], 0
            if stream.codec_context is None:
                raise _not_sound(path, "a codec that ffmpeg does not know")
            for piece in mono_pieces(container.decode(stream), path):
                count += len(piece)
                yield piece
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


def _refuse_rate(rate: int, where: object) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        expected = f"{RATES[0]} to {RATES[1]} samples a second"
        raise BadInput(where, expected=expected, found=str(rate), fix="Record or copy it again.")


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
