"""Train students with several lambdas and seeds, with the experts that `dvc repro` made in data/, and evaluate them.

    python -m scripts.sweep --arms 0,0 0.3,0 0,0.3 0.3,0.3 --seeds 0 1 2 --out out/sweep
    python -m scripts.sweep --network voca --arms 0,0 --vary learning_rate=0.001,0.003 velocity=1,10
    python -m scripts.sweep --network meshtalk --arms 0,0 --vary prior.learning_rate=0.0003,0.001
    python -m scripts.sweep --arms 0.3,0.1 --seeds 0 1 2 --teacher truth --out out/bound

Writes `sweep.csv` with one row per arm, seed and split (validation, seen, unseen), with the metrics of
metrics/evaluate.json; lambdas, and numbers in a network's recipe, are chosen on `validation` alone. What a network
learns of motion first is trained too, once for each seed. A finished arm is never trained again; a killed one resumes.
The numbers are those of `dvc exp run -S lambda1=… -S lambda2=… -S seed=…`, except that the experts are the same for all
seeds, so that the spread over seeds is that of the student alone.

With `--read-all`, the motions in all styles are lip-read, not only the best style of each speaker: the rows of the mean
over the styles then have the metrics of lip reading too. Finished arms are judged again, not trained.

With `--teacher truth`, the true motion, rendered, takes the place of the teacher's videos: the best teacher that there
can be. What the lipread loss gains then is a bound for every other teacher. With `--teacher FOLDER`, the features of
other videos do, or other features of the same videos: a copy of what the stage `teacher_features` wrote. Its last name
is part of the arm's, so that two folders of one name need another `--out`.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import delayed

from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.evaluation.judge import (
    Summary,
    judge_clip,
    lip_read_motion,
    load_motion_judges,
    open_judging,
    read_clip,
    summarise,
)
from learn2talk_core.evaluation.predict import Studio, predict_clip, write_motions
from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.models.lipreader import FPS
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, write_json
from learn2talk_core.run.networks import network_names, training_of
from learn2talk_core.run.progress import progress
from learn2talk_core.run.weights import frozen
from learn2talk_core.run.workers import worker_processes
from learn2talk_core.teacher.features import open_teacher_features, write_teacher_features
from learn2talk_core.training.scratch import open_scratch
from scripts.priors import trained_prior
from stages import evaluate
from stages import taught_student as stage

KEYS = (
    "lse_d", "lse_c", "lse_d0", "lve", "lve_mm", "fdd_mm2", "fdd_abs_mm2", "lrp", "mve_mm", "closure_mm",
    "velocity_mm_s", "gap_variance", "lipread_error", "viseme_accuracy", "lipread_cosine",
)  # fmt: skip


def recipes_of(network: str, varied: Sequence[str]) -> list[dict[str, float]]:
    """All combinations of values of fields of the network's recipe, each field as FIELD=VALUE,VALUE; those of what is
    learnt first are named prior.FIELD."""
    recipe = load_params(training_of(network, "--network").NetworkRecipe, network)
    kinds = {name: type(getattr(recipe, name)) for name in vars(recipe)}
    kinds |= {f"prior.{name}": type(value) for name, value in (vars(recipe.prior) if recipe.prior else {}).items()}
    kinds = {name: kind for name, kind in kinds.items() if kind in (int, float)}
    found: dict[str, list[float]] = {}
    for text in varied:
        name, _, values = text.partition("=")
        try:
            found[name] = [kinds[name](value) for value in values.split(",")]
        except (KeyError, ValueError):
            fix = "Write it as learning_rate=0.001,0.003."
            raise BadInput("--vary", expected=f"values of {', '.join(kinds)}", found=text, fix=fix) from None
    return [dict(zip(found, values, strict=True)) for values in itertools.product(*found.values())]


def changed_recipe(network: str, changes: dict[str, float]) -> Any:
    """The network's recipe of params.yaml with `changes`, as `recipes_of` names them."""
    recipe = load_params(training_of(network, "--network").NetworkRecipe, network)
    first = {name.removeprefix("prior."): value for name, value in changes.items() if name.startswith("prior.")}
    own: dict[str, Any] = {name: value for name, value in changes.items() if not name.startswith("prior.")}
    if first:
        own["prior"] = dataclasses.replace(recipe.prior, **first)
    return dataclasses.replace(recipe, **own)


def write_true_features(corpus: Corpus, folder: Path) -> None:
    """Write the lip reader's features of the true motion of the training clips, as `teacher_features` does for the
    teacher's videos."""
    judges = load_motion_judges(stage.SYNCNET3D, stage.LIPREADER, corpus)
    bar = progress(corpus.split("train"), "true motion", unit="clip")
    read = (
        (clip.id, lip_read_motion(corpus, clip, corpus.vertices(clip, "mouth_view"), judges).features) for clip in bar
    )
    write_teacher_features(folder, read, kind="encoder", fps=FPS)


def run_arm(
    network: str,
    lambda1: float,
    lambda2: float,
    changes: dict[str, float],
    seed: int,
    out: Path,
    prior: str | None,
    teacher: str = stage.TEACHER,
    read_all: bool = False,
) -> list[dict[str, Any]]:
    """Train one student and evaluate it on the validation split and both test splits; `prior` is the folder of the
    network's motion prior, `teacher` that of the features of the teacher's videos; see `judge_model` for `read_all`."""
    changed = "".join(f"-{name}{value:g}" for name, value in changes.items())
    changed += "" if teacher == stage.TEACHER else f"-{Path(teacher).name}"
    folder = out / f"{network}-sync{lambda1:g}-lipread{lambda2:g}{changed}-seed{seed}"
    result = folder / ("rows-read-all.json" if read_all else "rows.json")
    if result.is_file():
        return read_json(result, made_by="scripts.sweep")
    torch.set_num_threads(1)
    corpus = open_corpus(stage.CORPUS)
    if not (folder / "predicted").is_dir():
        train_arm(network, lambda1, lambda2, changes, seed, folder, prior, teacher, corpus)
    rows = []
    for name, judged in judge_model(corpus, folder / "predicted", read_all=read_all).items():
        for row, values in judged.table.items():
            numbers = {key: values[key] for key in KEYS if key in values}
            style = "mean" if row.endswith("mean_style") else "best"
            arm = {"lambda1": lambda1, "lambda2": lambda2, **changes, "seed": seed, "split": name, "style": style}
            rows.append(arm | numbers)
    write_json(result, rows)
    return rows


def taught_params(params: stage.Params, lambda1: float, lambda2: float, seed: int) -> stage.Params:
    """`params` of an arm. One without Learn2Talk's losses has no other loss besides those of its network's paper."""
    plain = {} if lambda1 or lambda2 else {"lambda_closure": 0.0, "lambda_phoneme": 0.0}
    return dataclasses.replace(params, lambda1=lambda1, lambda2=lambda2, seed=seed, **plain)


def train_arm(
    network: str,
    lambda1: float,
    lambda2: float,
    changes: dict[str, float],
    seed: int,
    folder: Path,
    prior: str | None,
    teacher: str,
    corpus: Corpus,
) -> None:
    """Train a student and write its predictions to `folder`/predicted."""
    params = taught_params(load_params(stage.Params, "taught_student"), lambda1, lambda2, seed)
    recipe = changed_recipe(network, changes)
    inputs = [stage.CORPUS, stage.ENCODER, *([prior] if prior else [])]
    inputs += ([stage.SYNCNET3D] if lambda1 else []) + ([stage.LIPREADER, teacher] if lambda2 else [])
    with open_scratch(f"sweep-{network}", (params, recipe), inputs) as scratch:
        model, _ = stage.train_taught_student(params, network, recipe, corpus, scratch, folder.name, prior, teacher)
        spoken = corpus.split("validation", "test_seen", "test_unseen")
        frozen(model)
        studio = Studio(corpus, model, corpus.train_speakers)
        bar = progress(spoken, folder.name, unit="clip")
        write_motions(folder / "predicted", studio, spoken, (predict_clip(studio, clip) for clip in bar))
        scratch.remove()


def judge_model(
    corpus: Corpus,
    predicted: Path,
    tests: Sequence[str] = ("validation", "seen", "unseen"),
    *,
    read_all: bool = False,
) -> dict[str, Summary]:
    """Judge one model's predictions, the row `student`, on the sets of clips `tests`, in this process; with `read_all`
    all styles are lip-read."""
    splits = {test: "validation" if test == "validation" else f"test_{test}" for test in tests}
    judging = open_judging(stage.CORPUS, {"student": str(predicted)}, evaluate.JUDGES)
    threshold = load_params(evaluate.Params, "evaluate").lrp_threshold_mm
    clips = corpus.split(*splits.values())
    judged = {clip.id: judge_clip(judging, clip.id, lrp_threshold_mm=threshold, read_all=read_all) for clip in clips}
    found = [row for clip in judged.values() for row in clip.rows]

    def read(wanted: list[tuple[str, str, str]]) -> list[dict[str, Ratio]]:
        return [read_clip(judging, (*motion, judged[motion[0]].true_features)) for motion in wanted]

    return {test: summarise(corpus, split, found, ["student"], read, seed=0) for test, split in splits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arms", nargs="+", required=True, metavar="LAMBDA1,LAMBDA2")
    parser.add_argument(
        "--network",
        choices=network_names(),
        default="faceformer",
        help="network of the students (default: %(default)s)",
    )
    parser.add_argument(
        "--vary", nargs="+", default=[], metavar="FIELD=VALUE,…", help="values of fields of the network's recipe"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--teacher",
        default="videos",
        metavar="{videos,truth,FOLDER}",
        help="whose lips are read; FOLDER has teacher's features (default: %(default)s)",
    )
    parser.add_argument("--read-all", action="store_true", help="lip-read all styles, not only the best ones")
    parser.add_argument("--out", type=Path, default=Path("out/sweep"))
    parser.add_argument("--jobs", type=int, default=2, help="arms at the same time, one thread each")
    words = parser.parse_args()
    arms = [tuple(map(float, arm.split(","))) for arm in words.arms]
    recipes = recipes_of(words.network, words.vary)
    teacher: str = {"videos": stage.TEACHER, "truth": str(words.out / "truth")}.get(words.teacher, words.teacher)
    if words.teacher == "truth":
        write_true_features(open_corpus(stage.CORPUS), words.out / "truth")
    elif teacher == words.teacher:
        open_teacher_features(teacher)  # a wrong folder is an error before anything is trained
    students = [(seed, changes, changed_recipe(words.network, changes)) for seed in words.seeds for changes in recipes]
    once = {(seed, str(recipe.prior)): (seed, recipe) for seed, _, recipe in students}
    made = worker_processes(words.jobs, batch_size=1)(
        delayed(trained_prior)(words.network, recipe, seed) for seed, recipe in once.values()
    )
    priors = dict(zip(once, (folder for folder, _ in made), strict=True))
    jobs = [
        delayed(run_arm)(
            words.network, *arm, changes, seed, words.out, priors[seed, str(recipe.prior)], teacher, words.read_all
        )
        for seed, changes, recipe in students
        for arm in arms
    ]
    rows = [row for found in worker_processes(words.jobs, batch_size=1)(jobs) for row in found]
    table = pd.DataFrame(rows).sort_values(["split", "style", "lambda1", "lambda2", *recipes[0], "seed"])
    table.to_csv(words.out / "sweep.csv", index=False, float_format="%.6g")
    print(table.drop(columns=["lve", "lve_mm"], errors="ignore").round(4).to_string(index=False))


if __name__ == "__main__":
    main()
