"""Wav2Lip's mel against the numbers of the reference code, and the windows cut from it."""

import librosa
import numpy as np
import pytest

from learn2talk_core.audio.mel import _filters, mel_spectrogram, mel_windows, window_starts
from tests.golden.fill import Golden, waveform

GOLDEN = Golden("wav2lip", "mel")


@pytest.mark.parametrize("padding", ["reflect", "constant"])
def test_mel_is_the_references(padding):
    wave = np.round(waveform(2.0).astype(np.float64) * 32767) / 32768  # the reference code read it from a 16-bit file
    GOLDEN.assert_close("wav", wave, atol=0)
    mel = mel_spectrogram(wave, padding=padding)
    assert mel.dtype == np.float32
    assert mel.shape == (80, 161)
    np.testing.assert_allclose(mel, GOLDEN[padding].dense(), atol=5e-5)
    other = GOLDEN["constant" if padding == "reflect" else "reflect"].dense()
    assert np.abs(mel - other)[:, [0, 1, -2, -1]].max() > 1  # the padding matters at the ends
    np.testing.assert_allclose(mel[:, 2:-2], other[:, 2:-2], atol=5e-5)  # and nowhere else


@pytest.mark.parametrize("samples", [401, 16000, 840_000])
def test_magnitudes_are_librosas_to_the_bit(samples):
    wave = np.random.default_rng(samples).normal(scale=0.1, size=samples).astype(np.float32)
    emphasised = np.concatenate([wave[:1].astype(np.float64), wave[1:] - 0.97 * wave[:-1].astype(np.float64)])
    padded = np.pad(emphasised, 400, mode="reflect")
    bands = _filters() @ np.abs(librosa.stft(padded, n_fft=800, hop_length=200, center=False))
    expected = np.clip(8 * (20 * np.log10(np.maximum(1e-5, bands)) - 20 + 100) / 100 - 4, -4, 4).astype(np.float32)
    np.testing.assert_array_equal(mel_spectrogram(wave), expected)


def test_filters_are_slaney_mels():
    np.testing.assert_allclose(_filters()[::10], GOLDEN["mel_basis_rows"].dense(), atol=1e-7)


def test_column_is_centred_on_its_time():
    wave = np.zeros(16000, np.float32)
    wave[8000] = 1.0  # a click at 0.5 s = column 40
    loudness = np.exp(mel_spectrogram(wave)).sum(axis=0)
    assert loudness.argmax() == 40


@pytest.mark.parametrize("fps", ["25", "30", "29.97", "24"])
def test_window_starts_are_the_references(fps):
    expected = GOLDEN[f"starts_{fps}"].dense()
    starts = window_starts(len(expected), float(fps))
    np.testing.assert_array_equal(np.minimum(starts, 161 - 16), expected)


def test_windows_are_slices_moved_inside_at_the_ends():
    mel = np.random.default_rng(0).normal(size=(80, 40)).astype(np.float32)
    windows = mel_windows(mel, [-3, 0, 7, 24, 30])
    for window, start in zip(windows, [0, 0, 7, 24, 24], strict=True):
        np.testing.assert_array_equal(window, mel[:, start : start + 16])
    short = mel_windows(mel[:, :10], [0])
    np.testing.assert_array_equal(short[0, :, :10], mel[:, :10])
    np.testing.assert_array_equal(short[0, :, 10:], np.repeat(mel[:, 9:10], 6, axis=1))


@pytest.mark.parametrize("shape", [(0,), (400,), (2, 16000)])
def test_too_short_or_stereo_is_refused(shape):
    with pytest.raises(ValueError, match="one channel of more than 400 samples"):
        mel_spectrogram(np.zeros(shape, np.float32))
