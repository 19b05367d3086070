"""Make Learn2Talk's Tables III and V for the dataset of params.yaml, over several seeds.

    python -m scripts.tables --seeds 0 1 2 [--queue] [--out out/tables]

For each seed there are three named DVC experiments: the run of params.yaml, with CodeTalker among its students (Table
III), and the same without the sync loss (lambda1 = 0) and without the lipread loss (lambda2 = 0; Table V). They run one
after the other in copies of the project; params.yaml and the workspace's results stay as they are. A finished
experiment never runs again, and a killed one continues: finished stages come from DVC's cache, a training from its last
checkpoint. With `--queue` they are left in DVC's queue, for `dvc queue start`.

Then `tables.md` and `tables.csv` are written: mean over all seeds and clips, its 95 % interval from a bootstrap over
clips, and half the range over the seeds. The seed is that of SyncNet3D too, so the range contains that of the judge.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dvc.api
import pandas as pd

from learn2talk_core.metrics.protocol import describe_test
from learn2talk_core.report.names import row_title
from learn2talk_core.report.over_seeds import ClipRow, OverSeeds, pooled_seeds, seed_table
from learn2talk_core.report.table import TESTS
from learn2talk_core.run.config import read_yaml
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.run.paths import METRICS
from learn2talk_core.run.program import run_program

COMPARED = ("faceformer", "codetalker")  # networks of Table III, added if no student has them
# Rows of Table V: name, title, and the parameters that the experiment changes.
VARIANTS = {
    "no-sync": ("w/o sync", {"lambda1": "0.0"}),
    "no-lipread": ("w/o lipread", {"lambda2": "0.0"}),
    "full": ("full model", {}),
}
COLUMNS = ("lse_d", "lse_c", "lve", "fdd")
# The paper's Tables III and V, by the protocol of the test (metrics/protocol.py); LVE and FDD in squared units. The
# paper names the powers of ten of BIWI only; those of VOCASET follow from the size of its faces.
PAPER: dict[str, dict[str, dict[str, tuple[float | None, ...]]]] = {
    "biwi-test-a/codetalker": {
        "III": {
            "FaceFormer": (9.101, 9.182, 5.3388e-4, 4.4103e-5),
            "CodeTalker": (9.090, 9.039, 4.8133e-4, 4.1244e-5),
            "Learn2Talk": (8.897, 9.449, 5.0003e-4, 3.7756e-5),
        },
        "V": {
            "w/o sync": (9.434, 8.933, 4.6971e-4, 3.4083e-5),
            "w/o lipread": (8.563, 9.652, 5.0375e-4, 5.1844e-5),
            "full model": (8.897, 9.449, 5.0003e-4, 3.7756e-5),
        },
    },
    "voca/flame-lips-250": {
        "III": {
            "FaceFormer": (11.720, 6.916, 2.5419e-5, None),
            "CodeTalker": (12.455, 6.704, 2.8708e-5, None),
            "Learn2Talk": (10.593, 9.838, 2.5148e-5, None),
        },
        "V": {
            "w/o sync": (11.717, 6.286, 2.3581e-5, None),
            "w/o lipread": (10.956, 9.926, 2.8233e-5, None),
            "full model": (10.593, 9.838, 2.5148e-5, None),
        },
    },
}
METHOD = """\
In brackets: the 95 % interval over test clips, drawn with all of their seeds; after ±: half the range over the seeds.
Bold: the best mean. Two rows whose intervals overlap are not shown to differ. Unseen speakers are judged in the best
training style, as in the paper. Rows “paper” are the published numbers; their LSE is measured by another SyncNet3D
and cannot be compared with ours."""

Values = dict[str, OverSeeds | None]  # metric → value
Tables = Mapping[str, Mapping[str, Mapping[str, Values]]]  # test → table ("III" or "V") → title of the row → values


class Experiment(NamedTuple):
    """One run of the pipeline: its name in DVC, its row of Table V, its seed, and arguments of `dvc exp run -S`."""

    name: str
    variant: str
    seed: int
    changes: tuple[str, ...]


class Scores(NamedTuple):
    """The results of an experiment: metrics/evaluate.json, and metrics/per_clip.csv by test and row."""

    evaluate: Mapping[str, Any]
    clips: Mapping[tuple[str, str], list[ClipRow]]


def plan(params: Mapping[str, Any], seeds: Sequence[int], state: str) -> list[Experiment]:
    """The experiments for `params`, the content of params.yaml.

    `state` is the state of the project; names contain a hash of it, so that no result of other code or parameters is
    taken for one of these.
    """
    plain = {student["network"] for student in params["students"].values()}
    added = [f"++networks.{network}=weights/none" for network in COMPARED if network not in params["networks"]]
    added += [f"++students.{n}={{network:{n},checkpoint:weights/none}}" for n in COMPARED if n not in plain]
    paths = [f'{key}="{Path(value).resolve()}"' for key, value in untracked_paths(params)]
    found = []
    for seed in seeds:
        for variant, (_, changed) in VARIANTS.items():
            own = [f"{key}={value}" for key, value in changed.items()]
            changes = (f"seed={seed}", *own, *(added if variant == "full" else ()), *paths)
            key = hashlib.sha256("\n".join((state, *changes)).encode()).hexdigest()[:8]
            found.append(Experiment(f"tables-{variant}-seed{seed}-{key}", variant, seed, changes))
    return found


def untracked_paths(params: Any, group: str = "") -> Iterator[tuple[str, str]]:
    """Parameters that name files here which a copy of the project would not have: neither in Git nor in DVC."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from untracked_paths(value, f"{group}{key}.")
        elif isinstance(value, str) and value and only_here(Path(value)):
            yield f"{group}{key}", value


def only_here(path: Path) -> bool:
    """Whether a relative path exists that neither Git nor DVC tracks."""
    if path.is_absolute() or not path.exists() or Path(f"{path}.dvc").exists():
        return False
    return not git("ls-files", "--", str(path))


def project_state() -> str:
    """What experiments start from: the commit and the changes of tracked files, without results."""
    return git("rev-parse", "HEAD") + git(
        "diff", "HEAD", "--binary", "--", ".", ":(exclude)metrics", ":(exclude)dvc.lock"
    )


def git(*words: str) -> str:
    """The output of Git.

    Raises:
        BadInput: this is no Git repository, which experiments need.
    """
    found = subprocess.run(["git", *words], capture_output=True, text=True, errors="surrogateescape")
    if found.returncode:
        raise BadInput(
            Path.cwd(), expected="a Git repository with a commit, for DVC's experiments",
            found=found.stderr.strip(), fix="Clone the project, or run git init and commit.",
        )  # fmt: skip
    return found.stdout


def dvc_lines(*words: str) -> list[str]:
    """The lines that a command of DVC prints."""
    found = subprocess.run([sys.executable, "-m", "dvc", *words], check=True, stdout=subprocess.PIPE, text=True)
    return found.stdout.splitlines()


def finished_names() -> set[str]:
    """The names of DVC's finished experiments on this commit."""
    return set(dvc_lines("exp", "list", "--name-only"))


def waiting_names() -> set[str]:
    """The names of experiments in DVC's queue that wait or run: lines of task, name, time, state."""
    words = [line.split() for line in dvc_lines("queue", "status")]
    return {line[1] for line in words if len(line) > 3 and line[-1] in ("Queued", "Running")}


def run_experiment(experiment: Experiment, *, queue: bool) -> None:
    """Run an experiment in a copy of the project, or leave it in DVC's queue."""
    command = [sys.executable, "-m", "dvc", "exp", "run", "--queue" if queue else "--temp", "-n", experiment.name]
    for change in experiment.changes:
        command += ["-S", change]
    if status := subprocess.run(command).returncode:
        raise BadInput(
            experiment.name, expected="an experiment that ends well", found=f"exit status {status}",
            fix="Its message is above. What is finished is kept: run the same command again.",
        )  # fmt: skip


def read_scores(name: str) -> Scores:
    """The results of a finished experiment."""
    evaluate, table = (dvc.api.read(f"{METRICS}/{file}", rev=name) for file in ("evaluate.json", "per_clip.csv"))
    return Scores(json.loads(evaluate), clips_by_row(table))


def clips_by_row(csv: str) -> dict[tuple[str, str], list[ClipRow]]:
    """metrics/per_clip.csv by test and row; an empty cell is None."""
    table = pd.read_csv(io.StringIO(csv))
    found: dict[tuple[str, str], list[ClipRow]] = {}
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        found.setdefault((row["split"].removeprefix("test_"), row["row"]), []).append(row)
    return found


def tables_of(scores: Mapping[str, Sequence[Scores]], taught: Sequence[str], test: str) -> dict[str, dict[str, Values]]:
    """Table ("III" or "V") → title of the row → values, for one test.

    Args:
        scores: variant → the results of each seed.
        taught: names of the students with Learn2Talk's losses.
    """
    about = scores["full"][0].evaluate

    def values(variant: str, row: str) -> Values:
        return {
            key: pooled_seeds([own.clips.get((test, row), []) for own in scores[variant]], key)
            for key in about["protocol"]
        }

    third = {row_title(student): values("full", student) for student in about["students"]}
    fifth = {}
    for student in taught:
        of_whom = f"{row_title(student)} " if len(taught) > 1 else ""
        fifth |= {of_whom + title: values(variant, student) for variant, (title, _) in VARIANTS.items()}
    return {"III": third, "V": fifth}


def page(tables: Tables, about: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """The content of tables.md; `about` is evaluate.json of one of the experiments."""
    command = f"python -m scripts.tables --seeds {' '.join(map(str, seeds))}"
    parts = ["# Learn2Talk, Tables III and V", f"Corpus `{about['corpus']['recipe']}`, `{command}`.", METHOD]
    for test, of_test in tables.items():
        parts += [f"## {TESTS[test]}", f"{describe_test(about, test)}."]
        published = PAPER.get(about["corpus"]["tests"][test], {})
        for table, rows in of_test.items():
            paper = {f"{row}, paper": dict(zip(COLUMNS, v, strict=True)) for row, v in published.get(table, {}).items()}
            parts += [f"### Table {table}", seed_table({**rows, **paper}, COLUMNS, about["protocol"])]
    parts += [f"- {note}" for note in about["corpus"]["notes"]]
    return "\n\n".join(parts) + "\n"


def records(tables: Tables, about: Mapping[str, Any], seeds: Sequence[int]) -> pd.DataFrame:
    """The content of tables.csv: every metric of every row, with the value of each seed."""
    found = []
    for test, of_test in tables.items():
        for table, rows in of_test.items():
            for row, values in rows.items():
                for key, value in values.items():
                    if value is not None:
                        numbers = {"mean": value.mean, "low": value.low, "high": value.high, "spread": value.spread}
                        singles = {f"seed_{seed}": v for seed, v in zip(seeds, value.seeds, strict=True)}
                        said = {field: about["protocol"][key][field] for field in ("name", "unit", "goal")}
                        found.append({"test": test, "table": table, "row": row, "key": key} | said | numbers | singles)
    return pd.DataFrame(found)


def make_tables(seeds: Sequence[int], out: Path, *, queue: bool) -> None:
    """Run what is missing, and write the tables if nothing is missing any more."""
    params = read_yaml("params.yaml")
    experiments = plan(params, seeds, project_state())
    left = finished_names() | waiting_names()
    for number, experiment in enumerate(experiments, start=1):
        if experiment.name not in left:
            print(f"tables: {number} of {len(experiments)}, {experiment.name}", flush=True)
            run_experiment(experiment, queue=queue)
    done = finished_names()
    if missing := [experiment.name for experiment in experiments if experiment.name not in done]:
        print(f"tables: {len(missing)} experiments are in DVC's queue: dvc queue start; dvc queue status.")
        print("When they are finished, run this command again: it writes the tables.")
        return
    scores = {v: [read_scores(e.name) for e in experiments if e.variant == v] for v in VARIANTS}
    about = scores["full"][0].evaluate
    taught = [student for student in about["students"] if student in params["taught_students"]]
    tables = {test: tables_of(scores, taught, test) for test in ("seen", "unseen") if about[test]}
    text = page(tables, about, seeds)
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / "tables.csv") as partial:
        records(tables, about, seeds).to_csv(partial, index=False, float_format="%.7g")
    with whole_file(out / "tables.md") as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"{text}\ntables: {out}/tables.md, {out}/tables.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--queue", action="store_true", help="leave the experiments in DVC's queue")
    parser.add_argument("--out", type=Path, default=Path("out/tables"), help="default: %(default)s")
    words = parser.parse_args()

    def work() -> int:
        make_tables(words.seeds, words.out, queue=words.queue)
        return 0

    raise SystemExit(run_program("tables", work))


if __name__ == "__main__":
    main()
