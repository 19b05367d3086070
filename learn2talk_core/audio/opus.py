"""Speech as Ogg Opus (RFC 7845, RFC 6716), one small file per clip, and the same bytes every time."""

import io

import av
import numpy as np
import soundfile
from av.codec.context import Flags

from learn2talk_core.audio.waveform import SAMPLE_RATE, to_int16
from learn2talk_core.run.errors import BadInput

BITS_PER_SECOND = 32_000


def encode_opus(wave: np.ndarray, bits_per_second: int = BITS_PER_SECOND) -> bytes:
    """Encode (samples,) floats in [-1, 1] at 16 kHz."""
    file = io.BytesIO()
    # `bitexact`: a fixed serial number of the stream and no version of the program in the file.
    with av.open(file, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", options={"application": "audio"})
        stream.bit_rate = bits_per_second
        stream.codec_context.flags |= Flags.bitexact
        frame = av.AudioFrame.from_ndarray(to_int16(wave)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def decode_opus(file: bytes, samples: int, where: object, *, fix: str) -> np.ndarray:
    """Decode what `encode_opus` made of so many samples: (samples,) float32 in [-1, 1] at 16 kHz.

    Raises:
        BadInput: damaged, or of another length; the message begins with `where` and ends with `fix`.
    """
    expected = f"{samples} samples of Opus at {SAMPLE_RATE} Hz"
    try:
        wave, rate = soundfile.read(io.BytesIO(file), dtype="float32")
    except (RuntimeError, TypeError, ValueError) as error:
        raise BadInput(where, expected=expected, found=f"a damaged file ({str(error)[:200]})", fix=fix) from error
    if wave.shape != (samples,) or rate != SAMPLE_RATE or not np.isfinite(wave).all():
        raise BadInput(where, expected=expected, found=f"{wave.shape} at {rate} Hz", fix=fix)
    return np.clip(wave, -1, 1)
