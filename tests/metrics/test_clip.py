import numpy as np
import pytest

from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.metrics.bootstrap import bootstrap_interval
from learn2talk_core.metrics.clip import (
    ClipScores,
    best_style,
    bilabial_frames,
    clip_row,
    corpus_intervals,
    corpus_scores,
    measure_clip,
)
from learn2talk_core.metrics.lve import worst_squared_distance
from learn2talk_core.metrics.protocol import METRICS, protocols
from learn2talk_core.metrics.ratio import Ratio

VERTICES = 12
TOPOLOGY = Topology(
    faces=np.zeros((0, 3), np.int32),
    regions={"lips": np.arange(4), "upper_face": np.arange(6, 10)},
    lip_pairs=np.array([[0, 1], [2, 3]]),
    colours=np.ones((VERTICES, 3), np.float32),
)
PHONEMES = (Phoneme(0.1, 0.2, "M"), Phoneme(0.2, 0.4, "AA"), Phoneme(0.4, 0.5, "B"), Phoneme(0.5, 0.6, "S"))


def clip(seed: int, frames: int, predicted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    template = 0.1 * rng.normal(size=(VERTICES, 3))
    truth = template + 0.001 * rng.normal(size=(max(frames, predicted), VERTICES, 3))
    prediction = truth + 0.0005 * rng.normal(size=truth.shape)
    return (
        truth[:frames].astype(np.float32),
        prediction[:predicted].astype(np.float32),
        template.astype(np.float32),
    )


def measure(truth: np.ndarray, prediction: np.ndarray, template: np.ndarray, scale: float = 1.0) -> ClipScores:
    return measure_clip(
        scale * truth, scale * prediction, scale * template, PHONEMES, TOPOLOGY,
        fps=30.0, mm_per_unit=1000.0 / scale, lrp_threshold_mm=1.0,
    )  # fmt: skip


def test_bilabial_frames() -> None:
    frames = bilabial_frames(PHONEMES, 20, 30.0)
    middles = (np.arange(20) + 0.5) / 30
    np.testing.assert_array_equal(frames, ((middles >= 0.1) & (middles < 0.2)) | ((middles >= 0.4) & (middles < 0.5)))
    assert not bilabial_frames((), 20, 30.0).any()


def test_clips_add_up_to_the_corpus() -> None:
    clips = [clip(0, 20, 20), clip(1, 31, 28), clip(2, 17, 25)]
    scores = [measure(*arrays) for arrays in clips]
    total = corpus_scores(scores)
    assert (total["clips"], total["frames"], total["frames_trimmed"]) == (3, 20 + 28 + 17, 3 + 8)
    squared = np.concatenate([worst_squared_distance(t, p, TOPOLOGY.regions["lips"]) for t, p, _ in clips])
    assert total["lve"] == pytest.approx(squared.mean())
    assert total["lve_mm"] == pytest.approx(1000 * np.sqrt(squared).mean())
    assert total["fdd"] == pytest.approx(np.mean([s.ratios["fdd"].total for s in scores]))
    assert total["fdd_abs"] == pytest.approx(np.mean([abs(s.ratios["fdd"].total) for s in scores]))
    assert total["fdd_mm2"] == pytest.approx(1e6 * total["fdd"])
    rows = [clip_row(s) for s in scores]  # what is in the CSV is enough
    for key in scores[0].ratios:
        weights = np.array([row[f"{key}_weight"] for row in rows])
        values = np.array([row[key] for row in rows])
        assert total[key] == pytest.approx((values * weights).sum() / weights.sum())
    intervals = corpus_intervals(scores, seed=4)
    assert intervals["lrp"] == bootstrap_interval([s.ratios["lrp"] for s in scores], seed=4)
    assert all(low <= total[key] <= high for key, (low, high) in intervals.items())


def test_a_perfect_prediction() -> None:
    truth, _, template = clip(3, 20, 20)
    total = corpus_scores([measure(truth, truth, template)])
    assert {key: total[key] for key in ("lve", "lve_mm", "fdd", "fdd_abs", "mve_mm", "closure_mm")} == dict.fromkeys(
        ("lve", "lve_mm", "fdd", "fdd_abs", "mve_mm", "closure_mm"), 0.0
    )
    assert (total["lrp"], total["gap_variance"], total["velocity_mm_s"]) == (100.0, 1.0, 0.0)


def test_millimetres_do_not_depend_on_the_unit() -> None:
    arrays = clip(4, 20, 22)
    metres, units = (corpus_scores([measure(*arrays, scale=scale)]) for scale in (1.0, 1 / 0.185))
    for key in ("lve_mm", "fdd_mm2", "fdd_abs_mm2", "mve_mm", "closure_mm", "velocity_mm_s", "lrp", "gap_variance"):
        assert units[key] == pytest.approx(metres[key], rel=1e-4)
    assert units["lve"] == pytest.approx(metres["lve"] / 0.185**2, rel=1e-4)


def test_clips_without_bilabials_or_lip_pairs() -> None:
    truth, prediction, template = clip(5, 20, 20)
    silent = measure_clip(truth, prediction, template, (), TOPOLOGY, fps=30.0, mm_per_unit=1000.0, lrp_threshold_mm=1.0)
    assert silent.ratios["closure_mm"].value is None
    assert corpus_scores([silent])["closure_mm"] is None
    assert corpus_intervals([silent], seed=0)["closure_mm"] is None
    both = corpus_scores([silent, measure(truth, prediction, template)])
    assert both["closure_mm"] == measure(truth, prediction, template).ratios["closure_mm"].value


def test_more_metrics_and_best_style() -> None:
    scores = measure(*clip(6, 10, 10)).with_ratios({"lse_d": Ratio(7.5, 1.0)})
    assert corpus_scores([scores])["lse_d"] == 7.5
    good, bad = (ClipScores({"lve": Ratio(value, 1.0)}, 1, 0) for value in (1.0, 2.0))
    assert best_style({"anna": [bad, bad], "ben": [good, bad], "carl": [bad]}) == "ben"


def test_every_metric_of_a_clip_has_a_protocol() -> None:
    known = protocols(TOPOLOGY, 1000.0, lrp_threshold_mm=1.0)
    assert set(measure(*clip(7, 10, 10)).ratios) <= set(known) == {metric.key for metric in METRICS}
    assert (known["lve"]["unit"], known["lve"]["vertices"], known["lve"]["mm_per_unit"]) == ("m²", 4, 1000.0)
    assert protocols(TOPOLOGY, 185.0, 1.0)["lve"]["unit"] == "unit²"
    assert known["lrp"]["threshold_mm"] == 1.0
