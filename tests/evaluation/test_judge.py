import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.format import Corpus, open_corpus, write_corpus
from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.corpus.predictions import write_predictions
from learn2talk_core.evaluation.judge import (
    ClipJudge,
    judge_clip,
    load_motion_judges,
    mean_motion,
    open_judging,
    perception_ratios,
    read_clip,
    summarise,
)
from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.models.lipreader import LipReader, Reading, with_head
from learn2talk_core.models.syncnet3d import Shape, SyncNet3D, config, window_frames
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.run.weights import save_weights
from stages.evaluate import refuse_same_weights
from tests.toy import clip, sheet, toy_corpus

READER = {"vocabulary": 41, "width": 2, "dim": 8, "heads": 2, "hidden": 16, "encoder_layers": 1, "decoder_layers": 1,
          "kernel": 3, "size": 44, "normalise": "clip"}  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy_corpus(tmp_path / "corpus")


@pytest.fixture
def judges(corpus: Corpus, tmp_path: Path) -> tuple[str, str]:
    seed_torch(0)
    shape = Shape(
        vertices=len(corpus.topology.regions["mouth"]), window=window_frames(corpus.fps), modes=4, width=8, layers=1,
        heads=2, channels=2, embedding=8, non_negative=False,
    )  # fmt: skip
    syncnet = SyncNet3D(shape)
    torch.nn.init.normal_(syncnet.modes, std=20.0)
    save_weights(tmp_path / "syncnet", syncnet, config(syncnet))
    classes = 1 + len(PHONEMES)
    save_weights(tmp_path / "reader", with_head(LipReader(**READER), classes), {"reader": READER, "classes": classes})
    return str(tmp_path / "syncnet"), str(tmp_path / "reader")


@pytest.fixture
def predicted(corpus: Corpus, tmp_path: Path) -> dict[str, str]:
    """`exact` predicts the true motion in style A and another one in style B; `rest` never moves."""
    rng = np.random.default_rng(0)
    with write_predictions(tmp_path / "exact") as exact, write_predictions(tmp_path / "rest") as rest:
        for clip in corpus.split("validation", "test_seen", "test_unseen"):
            true = corpus.displacement(clip)
            for style in ("A",) if clip.split == "test_seen" else ("B", "A"):
                noise = 0 if style == "A" else 0.002 * rng.normal(size=true.shape)
                exact.add(clip.id, style, true + noise)
                rest.add(clip.id, style, 0 * true)
    return {"exact": str(tmp_path / "exact"), "rest": str(tmp_path / "rest")}


def summaries(corpus: Corpus, judges: tuple[str, str], predicted: dict[str, str]) -> dict[str, dict]:
    ids = [clip.id for clip in corpus.split("validation", "test_seen", "test_unseen")]
    judging = open_judging(str(corpus.folder), predicted, judges)
    rest = mean_motion(corpus)
    judged = {clip_id: judge_clip(judging, clip_id, lrp_threshold_mm=2.0, rest=rest) for clip_id in ids}
    rows = [row for clip in judged.values() for row in clip.rows]

    def read(wanted: list[tuple[str, str, str]]) -> list[dict[str, Ratio]]:
        return [read_clip(judging, (*motion, judged[motion[0]].true_features)) for motion in wanted]

    return {
        split: summarise(
            corpus, split, rows, list(predicted), read, seed=0,
        ).table
        for split in ("validation", "test_seen", "test_unseen")
    }  # fmt: skip


def test_rows_of_the_table(corpus: Corpus, judges: tuple[str, str], predicted: dict[str, str]) -> None:
    tables = summaries(corpus, judges, predicted)
    json.dumps(tables, allow_nan=False)
    seen, unseen, validation = tables["test_seen"], tables["test_unseen"], tables["validation"]
    assert set(seen) == {"truth", "template", "mean_motion", "exact", "rest"}
    assert set(unseen) == {*seen, "exact_mean_style", "rest_mean_style"}
    assert set(validation) == {"exact", "exact_mean_style", "rest", "rest_mean_style"}

    # the exact student equals the true motion in every metric and for every judge
    for table in (seen, unseen):
        for key, value in table["truth"].items():
            if key not in ("interval", "styles"):
                assert table["exact"][key] == pytest.approx(value, rel=1e-3, abs=1e-6), key
    assert seen["truth"]["lve_mm"] == 0
    assert seen["truth"]["lipread_cosine"] == pytest.approx(1)
    # the student at rest equals the template
    for key in ("lve", "lse_d", "lipread_error", "fdd", "gap_variance"):
        assert seen["rest"][key] == pytest.approx(seen["template"][key], rel=1e-3, abs=1e-6), key
    # of the two styles of an unseen speaker the better one is reported, beside the mean over both
    assert unseen["exact"]["styles"] == {"D": "A"}
    assert unseen["exact"]["lve_mm"] == pytest.approx(0, abs=1e-4)
    assert unseen["exact_mean_style"]["lve_mm"] > 1
    assert unseen["exact_mean_style"]["clips"] == 2 * unseen["exact"]["clips"]
    assert unseen["mean_motion"]["lve_mm"] < unseen["template"]["lve_mm"]


def test_all_styles_are_read_if_asked_for(corpus: Corpus, judges: tuple[str, str], predicted: dict[str, str]) -> None:
    judging = open_judging(str(corpus.folder), predicted, judges)
    best, every = ([], [])
    for one in corpus.split("test_unseen"):
        best += judge_clip(judging, one.id, lrp_threshold_mm=2.0).rows
        every += judge_clip(judging, one.id, lrp_threshold_mm=2.0, read_all=True).rows
    assert not any("lipread_error" in row[3].ratios for row in best)
    assert all("lipread_error" in row[3].ratios for row in every)

    def read(wanted: list[tuple[str, str, str]]) -> list[dict[str, Ratio]]:
        raise AssertionError("all are read already")

    table = summarise(corpus, "test_unseen", every, list(predicted), read, seed=0).table
    assert table["exact"]["lipread_cosine"] == pytest.approx(1)
    assert table["exact_mean_style"]["lipread_cosine"] < table["exact"]["lipread_cosine"]


def test_metrics_that_no_clip_has_are_absent(
    corpus: Corpus, judges: tuple[str, str], predicted: dict[str, str], tmp_path: Path
) -> None:
    mute = [replace(r, phonemes=()) for r in (clip(100, "A", "test_seen"), clip(0, "A", "train"))]
    sheets = {"A": sheet(), "C": sheet(), "D": sheet()}
    write_corpus(
        tmp_path / "mute", mute, topology=corpus.topology, templates=sheets, train_speakers=["A"], fps=30,
        mm_per_unit=1000, recipe="toy",
    )  # fmt: skip
    tables = summaries(open_corpus(tmp_path / "mute"), judges, predicted)
    assert tables["test_unseen"] == tables["validation"] == {}
    row = tables["test_seen"]["exact"]
    assert {"lve", "lse_d", "lipread_cosine"} <= set(row)
    assert not {"closure_mm", "lipread_error", "viseme_accuracy"} & ({*row} | {*row["interval"]})


def test_an_official_reader_reads_characters(
    corpus: Corpus, judges: tuple[str, str], predicted: dict[str, str], tmp_path: Path
) -> None:
    units = ["<blank>", "P", "A", "<space>", "<eos>"]
    shape = {**READER, "vocabulary": len(units), "size": 88, "normalise": "official"}
    reader = torch.nn.ModuleDict({"reader": LipReader(**shape)})
    save_weights(tmp_path / "official", reader, {"reader": shape, "classes": 0, "units": units})
    table = summaries(corpus, (judges[0], str(tmp_path / "official")), predicted)["test_seen"]
    for row in table.values():
        assert row["lipread_error"] >= 0
        assert "viseme_accuracy" not in row
    assert table["exact"]["lipread_cosine"] == pytest.approx(1, abs=1e-4)
    # by hand: "P A" was spoken, "PAA" was read
    clip = corpus.split("test_seen")[0]
    log_probs = np.log(np.eye(5)[[1, 1, 0, 2, 0, 2, 4]] + 0.01)
    reading = Reading(np.ones((7, 2)), log_probs, None)
    ratios = perception_ratios(clip, reading, reading.features, units)
    assert ratios["lipread_error"] == Ratio(1.0, 3)
    assert perception_ratios(replace(clip, text=""), reading, reading.features, units)["lipread_error"] == Ratio(
        0.0, 0.0
    )


def test_mean_motion_against_a_loop(corpus: Corpus) -> None:
    frames = [
        frame - corpus.template(clip.speaker)
        for clip in corpus.split("train")
        for frame in corpus.vertices(clip)
    ]  # fmt: skip
    np.testing.assert_allclose(mean_motion(corpus), np.mean(frames, axis=0), atol=1e-6)


def test_a_clip_without_known_phonemes_has_no_perception_score(corpus: Corpus, judges: tuple[str, str]) -> None:
    clip = corpus.split("test_seen")[0]
    object.__setattr__(clip, "phonemes", ())
    scores = ClipJudge(corpus, clip, load_motion_judges(*judges, corpus), 2.0).scores(
        corpus.vertices(clip), perception=True
    )
    assert scores.ratios["lipread_error"].value is None
    assert scores.ratios["viseme_accuracy"].value is None
    assert scores.ratios["closure_mm"].value is None
    assert scores.ratios["lipread_cosine"].value == pytest.approx(1)


def test_a_loss_network_may_not_judge(judges: tuple[str, str]) -> None:
    refuse_same_weights(*judges)
    with pytest.raises(BadInput, match=r"expected other weights than .*syncnet, found the same"):
        refuse_same_weights(judges[0], judges[0])
    with pytest.raises(BadInput, match=r"expected a file, found nothing\. Make it first: dvc repro"):
        refuse_same_weights(judges[0], judges[1] + "x")
