from dataclasses import replace

import numpy as np
import pytest

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT
from learn2talk_core.animation.control import closedness, controlled, pauses, rested, smoothed
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.animation.edits import expression
from learn2talk_core.animation.settings import Control, parse_gains
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.topology import lip_gap
from learn2talk_core.run.errors import BadInput
from tests.export.scene import speaking_sphere


def talking(frames: int = 90, hertz: float = 1.0) -> Animation:
    """The jaw of the embedded head opens and closes; in the middle third `mouthClose` keeps the lips together."""
    face, times = load_face(), np.arange(frames) / 30
    jaw = 0.25 * (1 - np.cos(2 * np.pi * hertz * times))
    close = jaw * np.clip(6 - np.abs(times - frames / 60) * 12 / (frames / 90), 0, 1)
    return Animation(
        states=np.stack([jaw, close], axis=1).astype(np.float32),
        basis=np.stack([face.unit["jawOpen"], face.unit["mouthClose"]]),
        offset=np.zeros_like(face.neutral),
        template=face.neutral,
        fps=30,
        mm_per_unit=1000,
        topology=face.topology,
        wave=np.random.default_rng(0).normal(0, 0.1, frames * 16000 // 30).astype(np.float32),
    )


def gap(animation: Animation) -> np.ndarray:
    """Millimetres between the lips, more than at rest."""
    pairs = animation.topology.lip_pairs
    rest = lip_gap(animation.template, pairs)
    return 1000 * (lip_gap(animation.vertices(), pairs) - rest).mean(axis=1)


def test_a_gain_opens_the_jaw_further_and_closed_lips_stay_closed():
    before = talking()
    after = controlled(before, Control({"jaw": 1.4}))
    jaw = ARKIT.index("jawOpen")
    weights = arkit_weights(before), arkit_weights(after)
    np.testing.assert_allclose(weights[1][:, jaw], np.clip(1.4 * weights[0][:, jaw], 0, 1), atol=1e-3)
    closed = gap(before) < 0.6
    assert closed[40:50].all()
    assert np.abs(gap(after) - gap(before))[closed].max() < 0.15
    wide = gap(before) > 4
    assert (gap(after)[wide] > 1.25 * gap(before)[wide]).all()


def test_a_gain_of_one_shape_or_a_viseme():
    before = talking()
    found = arkit_weights(controlled(before, Control({"jawOpen": 0.5})))
    np.testing.assert_allclose(
        found[:, ARKIT.index("jawOpen")], 0.5 * arkit_weights(before)[:, ARKIT.index("jawOpen")], atol=1e-3
    )
    said = replace(before, phonemes=(Phoneme(0.5, 0.8, "AA"),))
    after = arkit_weights(controlled(said, Control({"aa": 1.5})))[:, ARKIT.index("jawOpen")]
    plain = arkit_weights(before)[:, ARKIT.index("jawOpen")]
    np.testing.assert_allclose(after[18:22], 1.5 * plain[18:22], rtol=0.02)
    np.testing.assert_allclose(after[60:], plain[60:], atol=1e-3)


def test_an_expression_lies_over_the_speech():
    before = talking()
    after = controlled(before, Control({}, edits=(expression("smile", 0.6),)))
    found = arkit_weights(after) - arkit_weights(before)
    assert found[:, ARKIT.index("mouthSmileLeft")].min() > 0.3
    assert found[:, ARKIT.index("cheekSquintLeft")].min() > 0.25
    closed = gap(before) < 0.6
    assert gap(after)[closed].max() < gap(before)[closed].max() + 0.5
    assert after.states.shape[1] == 2 + len(after.shapes)


def test_without_settings_nothing_is_touched():
    before = talking()
    assert controlled(before, Control({})) is before
    loud = controlled(before, Control({}, rest=True))
    assert loud is before, "there is no pause"


def test_smoothing_has_no_delay_and_halves_at_the_cut_off():
    """Amplitude: both passes of the Butterworth filter give 1 / (1 + (f / f_c)⁴), on the warped axis of the filter."""
    quick = replace(talking(300, hertz=5.0), states=talking(300, hertz=5.0).states[:, :1], basis=talking().basis[:1])
    smooth = smoothed(quick, 5.0, np.zeros(300))
    middle = slice(60, 240)
    before, after = quick.states[middle, 0] - 0.25, smooth.states[middle, 0] - 0.25
    share = (before @ after) / (before @ before)
    assert share == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(after, share * before, atol=5e-3)


def test_smoothing_leaves_closed_lips_as_they_are():
    before = talking(hertz=4.0)
    after = controlled(before, Control({}, smooth=3.0))
    closed = closedness(before) == 1
    assert closed.sum() > 10
    np.testing.assert_allclose(after.states[closed], before.states[closed], atol=1e-6)
    free = closedness(before) == 0
    acceleration = [np.abs(np.diff(a.states[:, 0], 2))[free[1:-1]].mean() for a in (before, after)]
    assert acceleration[1] < 0.8 * acceleration[0]


def test_phonemes_tell_where_the_lips_are_closed():
    open_wide = replace(talking(), phonemes=(Phoneme(0.4, 0.6, "B"), Phoneme(0.6, 0.9, "AA")))
    found = closedness(open_wide)
    assert (found[13:18] == 1).all()
    assert found[8] < 1


def test_pauses_come_to_rest():
    before = replace(talking(), offset=(0.1 * load_face().unit["jawOpen"]).astype(np.float32))
    wave = before.wave.copy()
    wave[16000:32000] = 1e-5 * np.sign(wave[16000:32000])
    before = replace(before, wave=wave)
    quiet = pauses(wave, 90, 30)
    assert (quiet[36:54] == 1).all()
    assert (quiet[:29] == 0).all()
    assert (quiet[61:] == 0).all()
    after = rested(before)
    assert np.abs(after.vertices(slice(40, 50)) - before.template).max() < 1e-5
    np.testing.assert_array_equal(after.states[:29], before.states[:29])


def test_a_short_gap_is_no_pause():
    wave = np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32)
    wave[16000:19200] = 0
    assert not pauses(wave, 90, 30).any()
    assert not pauses(np.zeros(48000, np.float32), 90, 30).any(), "nothing is loud"


def test_gains_of_the_command_line():
    assert parse_gains("jaw=1.3, lips=1.1") == {"jaw": 1.3, "lips": 1.1}
    assert parse_gains("") == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse_gains("jaw=big"), r"--gain: expected NAME=NUMBER, such as jaw=1.3, found jaw=big"),
        (lambda: parse_gains("jaw"), r"found jaw without a number"),
        (lambda: Control({"chin": 1.0}), r"--gain: expected one of jaw, lips, .*, found chin"),
        (lambda: Control({"jaw": -1.0}), r"--gain: expected 0 … 4 for jaw, found -1"),
        (lambda: Control({"jaw": float("nan")}), r"--gain: expected 0 … 4 for jaw, found nan"),
        (lambda: Control({}, smooth=0), r"--smooth: expected 0.1 … 1000 hertz, found 0"),
        (lambda: controlled(speaking_sphere(), Control({"jaw": 2})), r"found another mesh, of 642 vertices"),
    ],
)
def test_settings_that_are_wrong(make, message):
    with pytest.raises(BadInput, match=message):
        make()
