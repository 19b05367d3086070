import statistics

import numpy as np
import pytest

from learn2talk_core.metrics.fdd import absolute, upper_face_dynamics_deviation
from learn2talk_core.metrics.ratio import Ratio, add_ratios
from tests.metrics import codetalker

UPPER = np.array([0, 2, 3])


def test_codetalkers_script() -> None:
    found = [
        upper_face_dynamics_deviation(truth, prediction, template, codetalker.UPPER_FACE)
        for _, truth, prediction, template in codetalker.clips()
    ]
    golden = codetalker.GOLDEN["fdd_clips"]  # differences, of which one may be near zero
    np.testing.assert_allclose([ratio.value for ratio in found], golden, rtol=1e-5, atol=1e-5 * np.abs(golden).max())
    assert add_ratios(found).value == pytest.approx(codetalker.GOLDEN["fdd"], rel=1e-5)


def test_corpus_value_is_the_mean_over_clips() -> None:
    golden = codetalker.BIWI["float64"]
    clips = [Ratio(truth - prediction, 1) for truth, prediction in golden["per_sequence_gt_std_pred_std"].values()]
    assert add_ratios(clips).value == pytest.approx(golden["fdd"], rel=1e-12)


def test_against_the_definition_number_by_number() -> None:
    rng = np.random.default_rng(0)
    template = rng.normal(size=(5, 3))
    truth, prediction = template + rng.normal(size=(2, 6, 5, 3))

    def dynamics(vertices: np.ndarray) -> float:
        deviations = []
        for v in UPPER:
            motion = [sum((vertices[t, v, k] - template[v, k]) ** 2 for k in range(3)) for t in range(len(vertices))]
            deviations.append(statistics.pstdev(motion))
        return statistics.mean(deviations)

    found = upper_face_dynamics_deviation(truth, prediction, template, UPPER)
    assert found == pytest.approx((dynamics(truth) - dynamics(prediction), 1.0))


def test_sign() -> None:
    rng = np.random.default_rng(1)
    template = rng.normal(size=(5, 3))
    motion = rng.normal(size=(20, 5, 3))
    still = upper_face_dynamics_deviation(template + motion, template + 0 * motion, template, UPPER)
    trembling = upper_face_dynamics_deviation(template + motion, template + 2 * motion, template, UPPER)
    assert still.total > 0 > trembling.total
    assert add_ratios([still, trembling]).value != pytest.approx(
        add_ratios([absolute(still), absolute(trembling)]).value
    )
    assert absolute(trembling) == Ratio(-trembling.total, 1.0)


def test_lengths_that_differ_and_ids_listed_twice() -> None:
    rng = np.random.default_rng(2)
    template = rng.normal(size=(5, 3))
    truth, prediction = template + rng.normal(size=(2, 9, 5, 3))
    expected = upper_face_dynamics_deviation(truth[:6], prediction[:6], template, UPPER)
    assert upper_face_dynamics_deviation(truth[:6], prediction, template, UPPER) == expected
    assert upper_face_dynamics_deviation(truth, prediction[:6], template, np.array([3, 0, 0, 2])) == expected
