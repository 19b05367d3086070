import math

import numpy as np
import pytest
import torch

from learn2talk_core.metrics.lve import lip_vertex_distance, lip_vertex_error
from learn2talk_core.metrics.ratio import add_ratios
from tests.metrics import codetalker


def test_codetalkers_script() -> None:
    found = [lip_vertex_error(truth, prediction, codetalker.LIPS) for _, truth, prediction, _ in codetalker.clips()]
    corpus = add_ratios(found)
    assert corpus.weight == codetalker.GOLDEN["frames"]
    assert corpus.value == pytest.approx(codetalker.GOLDEN["lve"], rel=1e-5)
    starts = np.cumsum([0, *(ratio.weight for ratio in found)]).astype(int)
    for ratio, start, stop in zip(found, starts[:-1], starts[1:], strict=True):
        assert ratio.total == pytest.approx(sum(codetalker.GOLDEN["lve_frames"][start:stop]), rel=1e-5)
    per_clip = np.mean([ratio.value for ratio in found])  # LVE is not the mean over clips
    assert per_clip != pytest.approx(codetalker.GOLDEN["lve"], rel=1e-3)


def test_torchmetrics() -> None:
    from torchmetrics.functional.multimodal import lip_vertex_error as reference

    rng = np.random.default_rng(0)
    lips = np.array([4, 1, 7])
    for frames, predicted in ((10, 10), (10, 7), (6, 9)):  # the prediction has equal length, is shorter, is longer
        truth = rng.normal(size=(frames, 9, 3)).astype(np.float32)
        prediction = rng.normal(size=(predicted, 9, 3)).astype(np.float32)
        expected = reference(torch.from_numpy(prediction), torch.from_numpy(truth), lips.tolist())
        found = lip_vertex_error(truth, prediction, lips)
        assert found.value == pytest.approx(expected.item(), rel=1e-5)
        assert found.weight == min(frames, predicted)


def test_distance_is_the_mean_of_the_roots() -> None:
    rng = np.random.default_rng(1)
    truth, prediction = rng.normal(size=(2, 5, 6, 3))
    worst = [max(math.dist(truth[t, v], prediction[t, v]) for v in (0, 3)) for t in range(5)]
    assert lip_vertex_distance(truth, prediction, np.array([0, 3])).value == pytest.approx(np.mean(worst))
    assert lip_vertex_error(truth, prediction, np.array([0, 3])).value == pytest.approx(np.mean(np.square(worst)))


def test_ids_listed_twice_change_nothing() -> None:
    rng = np.random.default_rng(2)
    truth, prediction = rng.normal(size=(2, 5, 6, 3))
    once, twice = (lip_vertex_error(truth, prediction, np.array(ids)) for ids in ([1, 4], [1, 1, 4, 4]))
    assert once == twice


def test_template_cancels_and_units_are_squared() -> None:
    rng = np.random.default_rng(3)
    truth, prediction = rng.normal(size=(2, 5, 6, 3))
    template, lips = rng.normal(size=(6, 3)), np.arange(3)
    found = lip_vertex_error(truth, prediction, lips)
    assert lip_vertex_error(truth - template, prediction - template, lips).value == pytest.approx(found.value)
    in_millimetres = lip_vertex_error(1000 * truth, 1000 * prediction, lips)
    assert in_millimetres.value == pytest.approx(1e6 * found.value)
