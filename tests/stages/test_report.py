import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.metrics.clip import clip_row, corpus_intervals, corpus_scores, measure_clip
from learn2talk_core.metrics.protocol import protocols
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import write_json
from learn2talk_core.run.students import PlainStudent, TaughtStudent
from learn2talk_core.video.talking_video import VideoClip, write_talking_video
from learn2talk_core.video.video_file import encode_video, read_video
from stages.report import EXPERTS, Params, main
from tests.report.scene import FRAMES, make_corpus, make_predictions

STUDENTS = {"faceformer": PlainStudent("faceformer", None)}
TAUGHT = {"learn2talk": TaughtStudent("faceformer")}
PARAMS = Params(clips=2, height=60, seed=0, students=STUDENTS, taught_students=TAUGHT)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small outputs of all stages before the report."""
    monkeypatch.chdir(tmp_path)
    corpus = make_corpus(tmp_path / "data" / "corpus")
    make_predictions(tmp_path / "data" / "predicted", corpus)
    filmed = corpus.split("test_seen")[1]
    pictures, audio = np.full((20, 64, 64, 3), 200, np.uint8), corpus.audio(filmed)
    box = (8, 8, 56, 56)
    film = VideoClip(
        filmed.id,
        filmed.speaker,
        filmed.text,
        "validation",
        20,
        len(audio),
        filmed.phonemes,
        box,
        (16.0, 32.0, 48.0, 64.0),
    )
    write_talking_video("data/teacher_video", [(film, encode_video(pictures, 25), audio)])
    evaluate_by_hand(corpus)
    for expert in EXPERTS:
        write_json(f"metrics/experts/{expert}.json", {"checkpoint": f"weights/{expert}", "parameters": 1e6})
    write_json("metrics/syncnet3d.json", {"metric": {"error": 0.5}})
    write_json("metrics/students/faceformer.json", {"checkpoint": "vocaset.pth", "parameters": 92e6})
    write_json("metrics/students/learn2talk.json", {"parameters": 92e6})
    write_json("metrics/cost/students/learn2talk.json", {"student": {"seconds": 60.0, "peak_memory_mb": 1024}})
    for name in ("curves/students/learn2talk", "curves/teacher_expert"):
        Path(f"metrics/{name}.csv").parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"step": [0, 1], "loss": [1.0, 0.5]}).to_csv(f"metrics/{name}.csv", index=False)
    Path("metrics/curves/teacher.csv").write_text("step\n0\n")  # an imported checkpoint
    Path("metrics/plots").mkdir()
    histogram = pd.DataFrame({"distance": [0.1, 0.3], "genuine": [0.8, 0.2], "false": [0.1, 0.9]})
    histogram.to_csv("metrics/plots/syncnet3d-metric-histogram.csv", index=False)
    return tmp_path


def evaluate_by_hand(corpus: Corpus) -> None:
    table: dict = {"protocol": protocols(corpus.topology, 1000.0, 2.0), "students": ["faceformer", "learn2talk"]}
    rows = []
    for test in ("seen", "unseen"):
        table[test] = {}
        for name in ("truth", "faceformer", "learn2talk"):
            scores = []
            for clip in corpus.split(f"test_{test}"):
                found = truth = corpus.vertices(clip)
                if name != "truth":
                    student = open_predictions(f"data/predicted/{name}", corpus)
                    found = student.vertices(clip.id, student.styles(clip.id)[0])
                scores.append(
                    measure_clip(
                        truth, found, corpus.template(clip.speaker), clip.phonemes, corpus.topology,
                        fps=30.0, mm_per_unit=1000.0, lrp_threshold_mm=2.0,
                    )
                )  # fmt: skip
                rows.append({"split": clip.split, "clip": clip.id, "row": name, "style": "", **clip_row(scores[-1])})
            table[test][name] = {**corpus_scores(scores), "interval": corpus_intervals(scores, seed=0)}
    write_json("metrics/evaluate.json", table)
    pd.DataFrame(rows).to_csv("metrics/per_clip.csv", index=False)


def test_report(project: Path) -> None:
    sentence = main(PARAMS)
    assert sentence == "pictures in metrics/plots, table and video of 4 clips in data/report"
    names = ("error_heat_map_seen", "error_heat_map_unseen", "lip_opening", "losses", "distances")
    for name in names:
        path = project / "metrics" / "plots" / f"{name}.png"
        assert path.stat().st_size < 300_000
        assert np.asarray(Image.open(path)).std() > 5, f"{name} is blank"

    frames, fps, sound = read_video(project / "data" / "report" / "side_by_side.mp4")
    assert fps == 30
    assert len(frames) == 4 * (FRAMES - 1)
    assert frames.shape[2] == 4 * 48
    assert len(sound) == pytest.approx(len(frames) / 30 * 16000, abs=2048)
    teacher = frames[:, 40:80, 3 * 48 + 4 : 4 * 48 - 4].mean(axis=(1, 2, 3))
    assert (abs(teacher[: FRAMES - 1] - 200) < 5).all(), "the filmed clip comes first"
    assert (teacher[FRAMES - 1 :] > 220).all(), "the others have an empty place"

    text = (project / "data" / "report" / "report.md").read_text()
    for part in (
        "## Seen speakers, new sentences",
        "## Unseen speakers",
        "| Truth |",
        "LVE (mm) ↓",
        "| lipreader_metric.checkpoint | weights/lipreader_metric |",
        "| faceformer.checkpoint | vocaset.pth |",
    ):
        assert part in text
    records = json.loads((project / "data" / "report" / "report.json").read_text())
    better = {(r["test"], r["row"]) for r in records["table"] if r["key"] == "lve_mm" and r["best_student"]}
    assert better == {("seen", "learn2talk"), ("unseen", "learn2talk")}
    difference, (_, high) = records["differences"]["unseen"]["learn2talk − faceformer"]["lve_mm"]
    assert difference < high < 0

    costs = json.loads((project / "metrics" / "cost.json").read_text())
    assert costs["student"] == {"seconds": 60.0, "peak_memory_mb": 1024}
    assert costs["report"]["seconds"] > 0
    assert costs["report"]["peak_memory_mb"] > 50

    made = [*Path("metrics/plots").glob("*.png"), *Path("data/report").iterdir()]
    before = {path: path.read_bytes() for path in made}
    main(PARAMS)
    assert [path for path in made if path.read_bytes() != before[path]] == [], "the same input gives the same bytes"


def test_a_corpus_without_a_test_of_seen_speakers(project: Path) -> None:
    table = pd.read_parquet("data/corpus/clips.parquet")
    table[table["split"] != "test_seen"].to_parquet("data/corpus/clips.parquet", index=False)
    evaluate = json.loads(Path("metrics/evaluate.json").read_text())
    write_json("metrics/evaluate.json", {**evaluate, "seen": {}})
    assert main(PARAMS) == "pictures in metrics/plots, table and video of 2 clips in data/report"
    assert (project / "metrics" / "plots" / "error_heat_map_seen.png").stat().st_size > 0
    text = (project / "data" / "report" / "report.md").read_text()
    assert "## Unseen speakers" in text
    assert "## Seen speakers" not in text


def test_missing_upstream_file(project: Path) -> None:
    (project / "metrics" / "experts" / "teacher.json").unlink()
    with pytest.raises(
        BadInput, match=r"experts/teacher\.json: expected a file, found nothing.*dvc repro experts@teacher"
    ):
        main(PARAMS)
    assert not (project / "data" / "report").exists()
