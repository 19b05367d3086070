from pathlib import Path

import numpy as np
import pytest
import soundfile

from learn2talk_core.audio.waveform import SAMPLE_RATE, from_int16, resample, to_int16, write_wave


def tone(rate: int = SAMPLE_RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)).astype(np.float32)


def test_round_trip_is_exact_to_16_bits(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", tone())
    read, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == 16000
    np.testing.assert_allclose(read, tone(), atol=0.5 / 32768 + 1e-7)
    np.testing.assert_array_equal(to_int16(from_int16(to_int16(tone()))), to_int16(tone()))


def test_full_scale_is_clipped_not_wrapped() -> None:
    np.testing.assert_array_equal(to_int16(np.array([-2.0, -1.0, 1.0, 2.0])), [-32768, -32768, 32767, 32767])


@pytest.mark.parametrize("rate", [8000, 48000, 44100])
def test_other_rates_are_resampled(rate: int) -> None:
    wave = resample(tone(rate), rate)
    assert len(wave) == len(tone())
    middle = slice(1000, -1000)
    np.testing.assert_allclose(wave[middle], tone()[middle], atol=0.01)  # the closed form at 16 kHz


def test_resampling_keeps_what_is_already_right() -> None:
    np.testing.assert_array_equal(resample(tone(), SAMPLE_RATE), tone())
