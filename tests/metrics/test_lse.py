import numpy as np
import pytest

from learn2talk_core.metrics.lse import lse
from learn2talk_core.statistics.synchrony import mean_distances, shifted_distances
from tests.golden.fill import FOLDER, normal


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "syncnet" / "syncnet.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def planted():
    """The recorded case: the audio embeddings are the mesh embeddings three frames later, with noise."""
    mesh = normal("planted-lip", (60, 1024))
    return mesh, np.roll(mesh, 3, axis=0) + np.float32(0.3) * normal("planted-noise", (60, 1024))


def test_distances_of_syncnet(golden, planted):
    np.testing.assert_allclose(shifted_distances(*planted, zero_padding=True), golden["planted_dists"], atol=1e-4)


def test_scores_of_syncnet(golden, planted):
    offset, confidence, smallest = golden["planted_offset_conf_minval"]
    found = lse(*planted, fps=25, zero_padding=True)
    assert found.offset == offset == -3
    assert (found.lse_c, found.lse_d) == pytest.approx((confidence, smallest), abs=1e-4)
    assert found.lag_ms == pytest.approx(3 * 40, abs=4)
    assert found.distance_at_0 == pytest.approx(golden["planted_dists"][:, 15].mean(), abs=1e-4)


def test_mean_over_windows_of_syncnet(golden):
    curve = mean_distances(golden["dists"].astype(np.float64))
    np.testing.assert_allclose(curve, golden["mean_dist_per_offset"], rtol=1e-6)
    offset, confidence, smallest = golden["offset_conf_minval"]
    assert 15 - curve.argmin() == offset
    assert (np.median(curve) - curve.min(), curve.min()) == pytest.approx((confidence, smallest), rel=1e-6)


@pytest.mark.parametrize("lag", [-10, -4, 0, 1, 10])
def test_a_planted_lag_is_found_in_milliseconds(lag):
    rng = np.random.default_rng(lag + 20)
    long = rng.normal(size=(100, 16))
    long = (long[1:] + long[:-1]) / 2  # neighbouring windows overlap and are therefore similar
    mesh, audio = long[20:80], long[20 - lag : 80 - lag]
    found = lse(mesh, audio + 0.1 * rng.normal(size=audio.shape), fps=30)
    assert found.offset == -lag
    assert found.lag_ms == pytest.approx(lag / 30 * 1000, abs=5)


def test_a_clip_shorter_than_the_shifts():
    found = lse(np.eye(4, 8), np.eye(4, 8), fps=30)
    assert found.offset == 0
    assert np.isnan(found.curve[[0, 11, 19, 30]]).all()
    assert np.isfinite(found.curve[12:19]).all()


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="no window to compare: 3 of motion, 0 of audio"):
        lse(np.ones((3, 4)), np.ones((0, 4)), fps=30)


def test_a_static_mouth_is_in_sync_only_when_silence_counts():
    """The mouth stays closed; silence at both ends of the audio fits that, speech in the middle does not."""
    rng = np.random.default_rng(1)
    speech = np.zeros(80, bool)
    speech[20:60] = True
    closed = np.tile(np.eye(1, 16), (80, 1))
    spoken = rng.normal(size=(80, 16))
    audio = np.where(speech[:, None], spoken, closed)
    assert lse(closed, audio, fps=30).offset == 0
    assert abs(lse(closed, audio, fps=30, keep=speech).offset) == 15
