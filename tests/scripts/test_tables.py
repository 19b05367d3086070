"""The paper's tables: which experiments they need, and what is written. `scripts.smoke` runs DVC itself."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from learn2talk_core.run.errors import BadInput
from scripts import tables

PARAMS: dict[str, Any] = {
    "lambda1": 0.3,
    "students": {"faceformer": {"network": "faceformer", "checkpoint": "weights/none"}},
    "taught_students": {"learn2talk": {"network": "faceformer"}},
    "networks": {"faceformer": "weights/none"},
    "corpus": {"source": {"path": "raw/vocaset", "recipe": None}},
    "experts": {"teacher": "weights/teacher"},
}
ABOUT = {
    "students": ["faceformer", "codetalker", "learn2talk"],
    "corpus": {"recipe": "vocaset", "unit": "m", "mm_per_unit": 1000.0, "notes": ["a note"],
               "tests": {"seen": "vocaset/seen", "unseen": "voca/flame-lips-250"}},
    "protocol": {
        "lse_d": {"name": "LSE-D", "unit": "", "goal": "lower"},
        "lve": {"name": "LVE", "unit": "m²", "goal": "lower"},
        "lve_mm": {"name": "LVE", "unit": "mm", "goal": "lower"},
    },
    "seen": {},
    "unseen": {"truth": {"clips": 2, "frames": 30, "frames_trimmed": 0}},
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Git repository with a tracked and an untracked input."""
    monkeypatch.chdir(tmp_path)
    for name in ("weights/teacher/model", "raw/vocaset/templates.pkl"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text("x")
    Path("params.yaml").write_text(json.dumps(PARAMS))  # JSON is YAML
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
    for words in (["init", "-q"], ["add", "weights", "params.yaml"], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *words], check=True)
    return tmp_path


def per_clip(row: str, seed: int) -> list[dict[str, Any]]:
    """Two unseen clips of one student, and one of another split."""
    start = {"faceformer": 3.0, "codetalker": 4.0, "learn2talk": 2.0}[row] + 0.5 * seed
    same = {"row": row, "style": "s", "lve": 1e-5 * start, "lve_mm": start, "lve_mm_weight": 20, "lve_weight": 20}
    return [
        {"split": "test_unseen", "clip": "a", **same, "lse_d": start, "lse_d_weight": 1},
        {"split": "test_unseen", "clip": "b", **same, "lse_d": None, "lse_d_weight": 0},
        {"split": "validation", "clip": "c", **same, "lse_d": 100.0, "lse_d_weight": 1},
    ]


class FakeDVC:
    """Experiments that end as soon as they are run, unless they are queued."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[tables.Experiment] = []
        self.waiting: set[str] = set()
        self.done: set[str] = set()
        monkeypatch.setattr(tables, "run_experiment", self.run)
        monkeypatch.setattr(tables, "finished_names", lambda: set(self.done))
        monkeypatch.setattr(tables, "waiting_names", lambda: set(self.waiting))
        monkeypatch.setattr(tables, "read_scores", self.scores)

    def run(self, experiment: tables.Experiment, *, queue: bool) -> None:
        self.ran.append(experiment)
        (self.waiting if queue else self.done).add(experiment.name)

    def scores(self, name: str) -> tables.Scores:
        seed, full = int(name.split("seed")[1][0]), "-full-" in name
        rows = [row for student in (ABOUT["students"] if full else ["learn2talk"]) for row in per_clip(student, seed)]
        rows = [row | {"lve": 2 * row["lve"]} if "no-sync" in name else row for row in rows]
        return tables.Scores(ABOUT, tables.clips_by_row(pd.DataFrame(rows).to_csv(index=False)))


def names(experiments: Sequence[tables.Experiment]) -> set[str]:
    return {experiment.name for experiment in experiments}


def test_three_experiments_for_each_seed(project: Path) -> None:
    found = tables.plan(PARAMS, [0, 7], "state")
    assert [(e.variant, e.seed) for e in found] == [(v, s) for s in (0, 7) for v in ("no-sync", "no-lipread", "full")]
    path = f'corpus.source.path="{project}/raw/vocaset"'  # a copy of the project has no raw/
    assert found[0].changes == ("seed=0", "lambda1=0.0", path)
    assert found[4].changes == ("seed=7", "lambda2=0.0", path)
    codetalker = "++students.codetalker={network:codetalker,checkpoint:weights/none}"
    assert found[2].changes == ("seed=0", "++networks.codetalker=weights/none", codetalker, path)
    assert all(e.name.startswith(f"tables-{e.variant}-seed{e.seed}-") for e in found)
    assert len(names(found)) == 6


def test_a_student_that_is_there_stays_as_it_is(project: Path) -> None:
    students = {**PARAMS["students"], "published": {"network": "codetalker", "checkpoint": "weights/codetalker"}}
    params = {**PARAMS, "students": students, "networks": {"faceformer": "weights/none", "codetalker": "weights/none"}}
    assert not [change for change in tables.plan(params, [0], "state")[2].changes if change.startswith("++")]


def test_changed_code_makes_other_names(project: Path) -> None:
    before = tables.plan(PARAMS, [0], tables.project_state())
    assert names(before) == names(tables.plan(PARAMS, [0], tables.project_state()))
    Path("weights/teacher/model").write_text("y")
    assert not names(before) & names(tables.plan(PARAMS, [0], tables.project_state()))


def test_finished_experiments_do_not_run_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeDVC(monkeypatch)
    fake.done = {tables.plan(PARAMS, [0, 1], tables.project_state())[1].name}
    tables.make_tables([0, 1], Path("out"), queue=False)
    assert len(fake.ran) == 5
    text, csv = Path("out/tables.md").read_text(), Path("out/tables.csv").read_text()
    tables.make_tables([0, 1], Path("out"), queue=False)
    assert len(fake.ran) == 5
    assert (Path("out/tables.md").read_text(), Path("out/tables.csv").read_text()) == (text, csv)
    assert text in capsys.readouterr().out
    lines = text.splitlines()
    assert "Corpus `vocaset`, `python -m scripts.tables --seeds 0 1`." in lines
    assert "2 clips and 30 frames, 0 frames trimmed, protocol voca/flame-lips-250, 1 m = 1000 mm." in lines
    assert "## Seen speakers, new sentences" not in lines  # VOCASET has none
    third = lines.index("### Table III")
    assert lines[third + 2 : third + 10] == [
        "| | LSE-D | LVE 10⁻⁵ m² |",
        "|---|---|---|",
        "| FaceFormer | 3.250 [3.250, 3.250] ± 0.250 | 3.250 [3.250, 3.250] ± 0.250 |",
        "| CodeTalker | 4.250 [4.250, 4.250] ± 0.250 | 4.250 [4.250, 4.250] ± 0.250 |",
        "| Learn2Talk | **2.250 [2.250, 2.250] ± 0.250** | **2.250 [2.250, 2.250] ± 0.250** |",
        "| FaceFormer, paper | 11.720 | 2.542 |",
        "| CodeTalker, paper | 12.455 | 2.871 |",
        "| Learn2Talk, paper | 10.593 | 2.515 |",
    ]
    fifth = lines.index("### Table V")
    assert [line.split(" | ")[0] for line in lines[fifth + 4 : fifth + 10]] == [
        "| w/o sync", "| w/o lipread", "| full model",
        "| w/o sync, paper", "| w/o lipread, paper", "| full model, paper",
    ]  # fmt: skip
    assert "| 4.500 [4.500, 4.500] ± 0.500 |" in lines[fifth + 4]
    table = pd.read_csv("out/tables.csv").set_index(["test", "table", "row", "key"])
    row = table.loc[("unseen", "III", "Learn2Talk", "lve_mm")]
    assert (row["mean"], row["spread"], row["seed_0"], row["seed_1"]) == (2.25, 0.25, 2.0, 2.5)
    assert (row["name"], row["unit"], row["goal"]) == ("LVE", "mm", "lower")
    assert len(table) == 3 * (3 + 3)


def test_a_queue_is_only_filled_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeDVC(monkeypatch)
    for queue in (True, True, False):
        tables.make_tables([0], Path("out"), queue=queue)
        assert len(fake.ran) == 3
        assert "tables: 3 experiments are in DVC's queue: dvc queue start" in capsys.readouterr().out
    assert not Path("out").exists()


def test_a_failed_experiment_stops(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables.sys, "executable", "false")
    experiment = tables.Experiment("tables-full-seed0-0", "full", 0, ("seed=0",))
    with pytest.raises(
        BadInput, match=r"tables-full-seed0-0: expected an experiment that ends well, found exit status 1"
    ):
        tables.run_experiment(experiment, queue=False)


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(BadInput, match="expected a Git repository with a commit, for DVC's experiments"):
        tables.project_state()


def test_names_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = """\
Task     Name                        Created    Status
405ea71  tables-full-seed0-1a2b      11:11 AM   Queued
13553cb  tables-full-seed1-1a2b      11:11 AM   Running
89eebf5  tables-full-seed2-1a2b      11:10 AM   Failed
54917af  t1                          11:10 AM   Success

Worker status: 1 active, 0 idle"""
    monkeypatch.setattr(tables, "dvc_lines", lambda *words: lines.splitlines() if words == ("queue", "status") else [])
    assert tables.waiting_names() == {"tables-full-seed0-1a2b", "tables-full-seed1-1a2b"}
