"""Short sounds in every container that the readers know."""

import io
import tempfile
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 16000
LIBSNDFILE = {  # format, subtype
    "wav": ("WAV", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
FFMPEG = {  # codec, format, options of the format
    "m4a": ("aac", "ipod", {}),
    "fast.m4a": ("aac", "ipod", {"movflags": "+faststart"}),
    "aac": ("aac", "adts", {}),
    "mka": ("aac", "matroska", {}),
    "bare.mp3": ("libmp3lame", "mp3", {"write_xing": "0", "id3v2_version": "0"}),
}
KINDS = (*LIBSNDFILE, *FFMPEG)


def tone(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """(samples,) float32 at `RATE`: a tone in noise, since silence is encoded in hardly any bytes."""
    time = np.arange(int(seconds * RATE)) / RATE
    noise = 0.05 * np.random.default_rng(seed).normal(size=len(time))
    return (0.4 * np.sin(2 * np.pi * 440 * time) + noise).astype(np.float32)


def encoded(kind: str, wave: np.ndarray | None = None, *, quality: int | None = None) -> bytes:
    """A file of one of `KINDS`; `quality` asks an MP3 for a variable bit rate, 0 for the highest."""
    wave = tone() if wave is None else wave
    buffer = io.BytesIO()
    if kind in LIBSNDFILE:
        form, subtype = LIBSNDFILE[kind]
        soundfile.write(buffer, wave, RATE, format=form, subtype=subtype)
        return buffer.getvalue()
    codec, form, options = FFMPEG[kind]
    variable = {} if quality is None else {"flags": "+qscale", "global_quality": str(118 * quality)}
    with tempfile.NamedTemporaryFile() as file:  # `faststart` reads what it wrote
        with av.open(file.name, "w", format=form, options=options) as container:
            stream = container.add_stream(codec, rate=RATE, layout="mono", options=variable)
            context = stream.codec_context
            resampler = av.AudioResampler(
                format=context.format, layout="mono", rate=RATE, frame_size=context.frame_size
            )
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))
        return Path(file.name).read_bytes()


def written(folder: Path, kind: str, content: bytes) -> Path:
    """Write the content to a file named after its kind."""
    path = folder / f"speech.{kind}"
    path.write_bytes(content)
    return path
