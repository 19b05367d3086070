"""Read sound files of any format, length, sample rate and number of channels, piece by piece."""

import io
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile

from learn2talk_core.audio.containers import MANY, cut_short, frames_promised
from learn2talk_core.audio.mono import Limit, Mixer, limit_of, read_mono
from learn2talk_core.audio.mp3 import SLACK, mp3_parts
from learn2talk_core.audio.waveform import SAMPLE_RATE, SILENCE_PEAK, from_int16
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import log

# Suffixes of files that libsndfile and ffmpeg read, to find sounds in a folder. The content determines the format.
SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".oga", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".wma", ".amr", ".ac3", ".mka", ".mp2", ".3gp", ".weba"),
)
SHORTEST = SAMPLE_RATE // 10  # samples; long enough for every speech encoder
RATES = (1_000, 768_000)  # Hz; with a flipped bit a header can state 2 GHz, and resampling would need 300 GB
PIECE = 30.0  # seconds read at once
LARGEST = 2**24  # samples of all channels read at once
STATED = {"mov", "matroska", "asf", "avi", "flv", "wav", "aiff", "caf", "w64", "tta", "wv", "ape"}  # ffmpeg formats
FILTER = 10  # half the length of SciPy's resampling filter, in samples at the lower of the two rates


class SoundPart(NamedTuple):
    """A file, or bytes `span` (start, end) of it. If libsndfile finds fewer than `least` frames, ffmpeg reads it."""

    path: Path
    least: int
    span: tuple[int, int] | None = None

    def opened(self) -> Path | io.BytesIO:
        if self.span is None:
            return self.path
        with self.path.open("rb") as file:
            file.seek(self.span[0])
            return io.BytesIO(file.read(self.span[1] - self.span[0]))


def read_sound(
    path: str | Path, *, allow_silence: bool = False, limit: Limit | None = None, name: str | None = None
) -> np.ndarray:
    """Read the sound of a file that libsndfile or ffmpeg supports: the mean of its channels, resampled to 16 kHz.

    At most half a minute is held at the file's own rate, so memory is that of the result: 230 MB per hour. If the
    channels cancel each other in their mean, the loudest is used, with a warning. Of several MP3s concatenated in one
    file all are read. A stated length that the writer did not know, or that is wrong by no more than the size of a
    header, is not an error.

    Args:
        path: the file.
        allow_silence: warn about silence instead of refusing it.
        limit: the maximum length; if None, `limit_of` the file's size.
        name: the name in errors and warnings; if None, the path.

    Returns:
        (samples,) float32 in [-1, 1].

    Raises:
        BadInput: missing, empty, cut short, without sound, with a sample rate outside `RATES`, not finite, shorter than
            a tenth of a second, too long, or silent.
    """
    path, where = Path(path), name or path
    if not path.is_file():
        raise BadInput(where, expected="a sound file", found="nothing", fix="Check the path.")
    if path.stat().st_size == 0:
        raise BadInput(where, expected="sound", found="an empty file", fix="Record or copy it again.")
    limit = limit or limit_of(path.stat().st_size)
    sources = _sources(path, where)

    def read(mixer: Mixer) -> Iterator[np.ndarray]:
        for source in sources:
            yield from _pieces(source, limit, where, mixer)

    return checked_wave(read_mono(read, limit, where), where, allow_silence=allow_silence)


def for_ffmpeg(path: str | Path) -> str:
    """An absolute path, so that ffmpeg does not take a name with a colon for a protocol."""
    return str(Path(path).absolute())


def checked_wave(wave: np.ndarray, where: object = "wave", *, allow_silence: bool = False) -> np.ndarray:
    """A wave (samples,) at 16 kHz, floats in [-1, 1] or int16, as clipped float32. Refuses the same as `read_sound`."""
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
    if max(wave.max(), -wave.min()) < SILENCE_PEAK:
        if not allow_silence:
            raise BadInput(where, expected="speech", found="silence", fix="Check the microphone and the channel.")
        log.warning("%s: silent, so the mouth hardly moves", where)
    return np.clip(wave, -1, 1).astype(np.float32, copy=False)


def resampled(pieces: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Band-limited resampling of a sound in `pieces` from `rate` to 16 kHz, float32, as if done in one piece."""
    ratio = Fraction(SAMPLE_RATE, rate)
    up, down = ratio.numerator, ratio.denominator
    if ratio == 1:
        yield from pieces
        return
    from scipy.signal import resample_poly  # takes a second, and most sounds have this rate already

    edge = down * math.ceil((FILTER + 1) * max(up, down) / (up * down))  # samples influenced by the end of a piece
    held, start = np.zeros(0, np.float32), 0  # start: the first sample in `held` that is not yet converted
    for piece in pieces:
        held = np.concatenate([held, piece])
        settled = (len(held) - edge) // down * down
        if settled > start:
            yield resample_poly(held, up, down)[start * up // down : settled * up // down].astype(np.float32)
            keep = max(0, settled - edge)
            held, start = held[keep:], settled - keep
    if len(held) > start:
        yield resample_poly(held, up, down)[start * up // down :].astype(np.float32)


def mono_pieces(frames: Iterable[av.AudioFrame], mixer: Mixer, where: object) -> Iterator[np.ndarray]:
    """Frames decoded by ffmpeg → mono float32 at 16 kHz; sample rate and channels may change between frames."""
    for (rate, *_), alike in groupby(frames, lambda f: (f.sample_rate, f.layout.name, f.format.name)):
        _refuse_rate(rate, where)
        # ffmpeg's own mono is √2 times the mean, and PyAV misreads the planes of 8 or more channels: so packed samples.
        resampler = av.AudioResampler(format="flt", rate=SAMPLE_RATE)
        for frame in chain(alike, [None]):
            for piece in resampler.resample(frame):
                block = piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
                yield mixer.mono(np.ascontiguousarray(block.T))


class _Forward(soundfile.SoundFile):
    """Reads without a seek to the current place, which would lose the place in an MP3 and fail in a FLAC."""

    def seekable(self) -> bool:
        return False


def _sources(path: Path, where: object) -> list[SoundPart]:
    parts = mp3_parts(path)
    if not parts:
        return [SoundPart(path, frames_promised(path, where))]
    for part in parts:
        if part.cut_short:
            raise cut_short(where, f"{part.told} frames of MP3, as its header says", str(part.found))
    # libsndfile trusts the header's number of frames; without one it guesses, and reads no more than that.
    least = [(part.found - SLACK) * part.frame.samples if part.told is None else 0 for part in parts]
    if len(parts) == 1:
        return [SoundPart(path, least[0])]
    return [SoundPart(path, low, (part.start, part.end)) for part, low in zip(parts, least, strict=True)]


def _pieces(source: SoundPart, limit: Limit, where: object, mixer: Mixer) -> Iterator[np.ndarray]:
    try:
        file = _Forward(source.opened())
    except (RuntimeError, TypeError, ValueError):  # not one of its formats, or an invalid header
        yield from _finite(_by_ffmpeg(source, where, mixer), where)
        return
    with file:
        if file.frames < source.least:
            yield from _finite(_by_ffmpeg(source, where, mixer), where)
        else:
            if _exact(file):
                limit.refuse(file.frames / max(1, file.samplerate), where)
            yield from resampled(_finite(_by_libsndfile(file, where, mixer), where), file.samplerate)


def _by_libsndfile(file: soundfile.SoundFile, where: object, mixer: Mixer) -> Iterator[np.ndarray]:
    rate, count = file.samplerate, 0
    _refuse_rate(rate, where)
    size = max(1, min(file.frames, int(PIECE * rate), LARGEST // file.channels))
    try:
        # Use only the part of the buffer that was read: the rest is uninitialised memory.
        while len(block := file.read(size, dtype="float32", always_2d=True)):
            count += len(block)
            yield mixer.mono(block.T)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _not_sound(where, f"another format, or an incomplete file ({str(error)[:200]})") from error
    if count < file.frames and _exact(file):
        raise cut_short(where, f"{file.frames / rate:.2f} s of sound, as its header says", f"{count / rate:.2f} s")


def _exact(file: soundfile.SoundFile) -> bool:
    """Whether its number of frames is exact: it is unknown for a stream, and may be a guess for an MP3."""
    return file.frames != MANY and file.format != "MP3"


def _by_ffmpeg(source: SoundPart, where: object, mixer: Mixer) -> Iterator[np.ndarray]:
    file = source.opened()
    try:
        with av.open(for_ffmpeg(file) if isinstance(file, Path) else file, "r", metadata_errors="replace") as container:
            if not container.streams.audio:
                raise _not_sound(where, "a file without sound")
            stream, count = container.streams.audio[0], 0
            if stream.codec_context is None:
                raise _not_sound(where, "a codec that ffmpeg does not know")
            for piece in mono_pieces(container.decode(stream), mixer, where):
                count += len(piece)
                yield piece
            told = _stated_seconds(container)
            if count / SAMPLE_RATE < told - 0.5:
                expected = f"{told:.2f} s of sound, as its header says"
                raise cut_short(where, expected, f"{count / SAMPLE_RATE:.2f} s")
    except av.FFmpegError as error:
        raise _not_sound(where, f"another format, or an incomplete file ({error.strerror})") from error


def _stated_seconds(container: av.container.InputContainer) -> float:
    """The length of the first audio track if the container states it, else 0: ffmpeg would guess it from the size."""
    if not STATED & set(container.format.name.split(",")):
        return 0.0
    stream = container.streams.audio[0]
    if stream.duration is None and len(container.streams) == 1:  # Matroska states the length of the whole file
        return (container.duration or 0) / av.time_base
    return float((stream.duration or 0) * (stream.time_base or 0))


def _finite(pieces: Iterable[np.ndarray], where: object) -> Iterator[np.ndarray]:
    """Refuse NaN and infinity before resampling spreads them."""
    for piece in pieces:
        if not np.isfinite(piece).all():
            raise BadInput(where, expected="finite samples", found="NaN or infinity", fix="Write the file again.")
        yield piece


def _refuse_rate(rate: int, where: object) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        expected = f"a sample rate of {RATES[0]} to {RATES[1]} Hz"
        raise BadInput(where, expected=expected, found=str(rate), fix="Record or copy it again.")


def _not_sound(where: object, found: str) -> BadInput:
    expected = "a sound file that libsndfile or ffmpeg reads"
    return BadInput(where, expected=expected, found=found, fix="Convert it to WAV.")
