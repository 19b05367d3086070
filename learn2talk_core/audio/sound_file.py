"""Sound files of strangers: `waveform.read_wave` behind a check of what their header asks for."""

from pathlib import Path

import numpy as np
import soundfile

from learn2talk_core.audio.waveform import read_wave
from learn2talk_core.errors import BadInput

RATES = (4_000, 768_000)  # Hz; resampling from a rate of 2 GHz, one flipped bit, would ask for 300 GB


def read_sound(path: str | Path, *, allow_silence: bool = False) -> np.ndarray:
    """As `waveform.read_wave`; a sample rate that no recorder has is refused before memory is taken for it."""
    try:
        rate = soundfile.info(str(path)).samplerate if Path(path).is_file() else RATES[0]
    except (RuntimeError, TypeError, ValueError):
        rate = RATES[0]  # no sound file: read_wave says what is wrong with it
    if not RATES[0] <= rate <= RATES[1]:
        expected = f"{RATES[0]} to {RATES[1]} samples a second"
        raise BadInput(path, expected=expected, found=str(rate), fix="Record or copy it again.")
    try:
        return read_wave(path, allow_silence=allow_silence)
    except (RuntimeError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {str(error)[:200]}"
        raise BadInput(path, expected="a sound file", found=found, fix="Convert it to WAV.") from error
