"""SyncNet's MFCCs against the numbers of python_speech_features."""

import numpy as np
import pytest

from learn2talk_core.audio.mfcc import mfcc
from tests.golden.fill import Golden, waveform

PCM = np.round(waveform(1.6).astype(np.float64) * 32767).astype(np.int16)


def test_cepstra_are_the_references():
    Golden("syncnet", "network").assert_close("mfcc", mfcc(PCM), atol=1e-9)


@pytest.mark.parametrize(("samples", "columns"), [(1, 1), (399, 1), (400, 1), (401, 2), (560, 2), (561, 3)])
def test_every_sample_is_in_a_window(samples, columns):
    assert mfcc(PCM[:samples]).shape == (columns, 13)
    assert np.isfinite(mfcc(PCM[:samples])).all()


def test_silence_is_finite_and_a_column_sees_only_its_window():
    assert np.isfinite(mfcc(np.zeros(1000, np.int16))).all()
    changed = PCM.copy()
    changed[1600:] = 0  # from column 10's first sample on; columns 8 and 9 reach beyond it
    np.testing.assert_array_equal(mfcc(changed)[:8], mfcc(PCM)[:8])
    assert not np.allclose(mfcc(changed)[8], mfcc(PCM)[8])


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match="one channel"):
        mfcc(np.zeros((2, 1000)))
