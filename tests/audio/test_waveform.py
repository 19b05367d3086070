import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from learn2talk_core.audio.waveform import SAMPLE_RATE, from_int16, read_wave, resample, to_int16, write_wave
from learn2talk_core.errors import BadInput


def tone(seconds: float = 0.5, rate: int = SAMPLE_RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_round_trip_is_exact_to_16_bits(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", tone())
    read = read_wave(tmp_path / "a.wav")
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, tone(), atol=0.5 / 32768 + 1e-7)
    np.testing.assert_array_equal(to_int16(from_int16(to_int16(tone()))), to_int16(tone()))


def test_full_scale_is_clipped_not_wrapped() -> None:
    np.testing.assert_array_equal(to_int16(np.array([-2.0, -1.0, 1.0, 2.0])), [-32768, -32768, 32767, 32767])


@pytest.mark.parametrize("rate", [8000, 48000, 44100])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate=rate), rate)
    read = read_wave(tmp_path / "a.wav")
    assert len(read) == len(tone())
    middle = slice(1000, -1000)
    np.testing.assert_allclose(read[middle], tone()[middle], atol=0.01)  # the closed form at 16 kHz


def test_resampling_keeps_what_is_already_right() -> None:
    np.testing.assert_array_equal(resample(tone(), SAMPLE_RATE), tone())


def test_stereo_is_mixed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), np.zeros_like(tone())], 1), SAMPLE_RATE)
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav"), tone() / 2, atol=1e-4)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.wav: expected a sound file, found nothing"):
        read_wave(tmp_path / "none.wav")


def test_empty_file_and_no_samples(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    with pytest.raises(BadInput, match="expected sound, found an empty file"):
        read_wave(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", np.zeros(0, np.float32), SAMPLE_RATE)
    with pytest.raises(BadInput, match="expected sound, found no samples"):
        read_wave(tmp_path / "b.wav")


@pytest.mark.parametrize("keep", [1000, 44, 30])
def test_truncated_file(tmp_path: Path, keep: int) -> None:
    write_wave(tmp_path / "a.wav", tone())
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:keep])
    with pytest.raises(BadInput, match="the file is cut short"):
        read_wave(tmp_path / "b.wav")


def test_not_audio(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("this is not sound")
    with pytest.raises(BadInput, match=r"expected a sound file \(WAV, FLAC, OGG, MP3\), found Format not recognised"):
        read_wave(tmp_path / "a.wav")


def test_silent_file_is_refused_or_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_wave(tmp_path / "a.wav", np.zeros(1600))
    with pytest.raises(BadInput, match="expected speech, found silence"):
        read_wave(tmp_path / "a.wav")
    with caplog.at_level(logging.WARNING, "learn2talk"):
        assert not read_wave(tmp_path / "a.wav", allow_silence=True).any()
    assert "silent" in caplog.text


def test_not_finite(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(1600, np.nan, np.float32), SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(BadInput, match="expected finite samples"):
        read_wave(tmp_path / "a.wav")
