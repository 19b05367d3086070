from typing import Any

from learn2talk_core.metrics.protocol import METRICS
from learn2talk_core.report.summary import COLUMNS, summary

ROW = {"lse_d": 0.52249, "lve_mm": 2.45061, "fdd_abs_mm2": 1.50049, "fdd_abs": 1.5e-6, "lrp": 83.7149, "lse_c": None}
EVALUATE: dict[str, Any] = {
    "corpus": {"recipe": "embedded"},
    "protocol": {"lse_d": {"unit": ""}},
    "unseen": {
        "truth": {"lse_d": 0.588},
        "faceformer": ROW | {"lse_d": 0.631, "interval": {"lse_d": [0.6, 0.7]}},
        "learn2talk": ROW,
        "learn2talk_mean_style": {"lse_d": 0.53},
    },
    "seen": {"learn2talk": {"lse_d": 0.46601}, "template": {"lse_d": 1.3}},
}


def test_the_student_stands_at_the_top_and_others_are_named() -> None:
    row = {"lve_mm": 2.451, "fdd_mm2": 1.5, "lrp": 83.71}
    assert summary(EVALUATE, "learn2talk") == {
        "lse_d": 0.522, **row, "seen": {"lse_d": 0.466}, "faceformer": {"lse_d": 0.631, **row},
    }  # fmt: skip


def test_a_corpus_without_unseen_speakers() -> None:
    assert summary({"seen": {"learn2talk": {"lrp": 80.0}}}, "learn2talk") == {"seen": {"lrp": 80.0}}


def test_columns_are_metrics_in_millimetres_or_without_unit() -> None:
    units = {metric.key: metric.unit for metric in METRICS}
    assert {units[key] for key in COLUMNS} <= {"", "%", "mm", "mm²"}


def test_headings_fit_a_screen() -> None:
    """Of 100 columns, an experiment's name and two lambdas take 45, and DVC adds three spaces to each heading."""
    shown = [short for short, _ in COLUMNS.values() if short not in ("fdd_mm2", "lrp")]
    assert sum(len(short) + 3 for short in shown) <= 55
