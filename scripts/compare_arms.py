"""The rows of the comparison (`scripts/compare.py`): what is trained, predicted and judged, and what is finished."""

import dataclasses
import hashlib
import json
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.evaluation.judge import judge_clip, mean_motion, open_judging, summarise
from learn2talk_core.evaluation.predict import Studio, predict_clip, write_motions
from learn2talk_core.models.students.student import Student, save_student
from learn2talk_core.report.names import row_title
from learn2talk_core.run import paths
from learn2talk_core.run.config import load_params, read_yaml
from learn2talk_core.run.files import read_json, whole_folder, write_json
from learn2talk_core.run.networks import training_of
from learn2talk_core.run.progress import progress
from learn2talk_core.run.weights import frozen, parameter_count
from learn2talk_core.training.scratch import open_scratch
from scripts.priors import CountedScratch, content, recogniser_of, trained_prior
from scripts.sweep import judge_model, taught_params
from stages import evaluate
from stages import taught_student as stage

# Rows that leave something out, as SelfTalk's Table 4: values that replace those of the network's recipe.
ABLATIONS: dict[str, dict[str, dict[str, float]]] = {
    "selftalk": {
        "without velocity loss": {"velocity_weight": 0.0},
        "without latent loss": {"latent_weight": 0.0},
        "without text loss": {"text_weight": 0.0},
        "without commutative diagram": {"latent_weight": 0.0, "text_weight": 0.0},
        "with the weights as printed": {"latent_weight": 0.001, "text_weight": 0.0001},
    },
    "meshtalk": {"without smoothing": {"smoothing": False}},
}
# What a run trains or computes itself. Another processor rounds differently, which makes other experts of the same
# parameters, like another seed: these groups of params.yaml decide whether a training is finished, not the content.
MADE_HERE = {
    stage.SYNCNET3D: ("syncnet3d",),
    evaluate.JUDGES[0]: ("syncnet3d",),
    stage.TEACHER: ("teacher_video", "mouths", "teacher_features"),
}
PREDICTS_ONLY = {"smoothing"}  # fields of recipes that training does not read: arms that differ in them share one
# Networks with a row for SyncNet3D's loss alone: a plain critic of synchrony was reported to harm CodeTalker (LVE 3.700
# → 4.319, a table of CVPR 2025).
SYNC_ALONE = ("codetalker",)
TAUGHT = "with Learn2Talk's losses"
TESTS = ("unseen", "seen")
CLIPS = 2400  # drawn in a training: 300 steps of 8
SEEDS = (0, 1, 2)
# Computing minutes of one thread, to say how long it will take: of an arm of `CLIPS` clips with its prior, of what
# Learn2Talk's two losses add, and of predicting and judging; measured with seed 0, see docs/comparison.md.
MINUTES = {"faceformer": 2.0, "selftalk": 6.0, "codetalker": 8.6, "voca": 1.8, "meshtalk": 11.0}
MINUTES_TAUGHT, MINUTES_JUDGING = 2.5, 2.0
MADE_BY = "python -m scripts.compare"

Result = dict[str, Any]  # of an arm, as `run_arms` writes it


class Arm(NamedTuple):
    """A row of the comparison: a network, and how its training differs from its paper's.

    Attributes:
        network: such as "voca".
        variant: what the row adds or leaves out; empty for the plain row: the losses of its paper alone.
        lambda1, lambda2: weights of Learn2Talk's losses.
        changes: fields of the network's recipe, and their values.
    """

    network: str
    variant: str
    lambda1: float
    lambda2: float
    changes: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """The folder of the arm."""
        return self.network + (f"-{self.variant.replace(' ', '-')}" if self.variant else "")

    @property
    def title(self) -> str:
        """The name of its row."""
        if (self.network, self.variant) == ("faceformer", TAUGHT):
            return f"Learn2Talk (FaceFormer {TAUGHT})"
        return row_title(self.network) + (f", {self.variant}" if self.variant else "")


class Job(NamedTuple):
    """An arm with a seed, everything that decides its result, and a hash of that."""

    arm: Arm
    seed: int
    params: stage.Params
    recipe: Any
    key: str

    def folder(self, out: Path) -> Path:
        """Its student and its motion of the tests, in the folder `out`."""
        return out / f"{self.arm.name}-seed{self.seed}"

    def result(self, docs: Path) -> Path:
        """The file of its costs and scores, in the folder `docs`."""
        return docs / "comparison" / f"{self.arm.name}-seed{self.seed}.json"


def arms_of(networks: Sequence[str], lambda1: float, lambda2: float) -> list[Arm]:
    """The rows of the comparison, in order."""
    arms = []
    for network in networks:
        arms += [Arm(network, "", 0.0, 0.0), Arm(network, TAUGHT, lambda1, lambda2)]
        if network in SYNC_ALONE:
            arms.append(Arm(network, "with the sync loss alone", lambda1, 0.0))
        for variant, changes in ABLATIONS.get(network, {}).items():
            arms.append(Arm(network, variant, 0.0, 0.0, tuple(changes.items())))
    return arms


def plan(networks: Sequence[str], seeds: Sequence[int], clips: int) -> list[Job]:
    """All arms of `networks` with all `seeds`, seed by seed."""
    shared = dataclasses.replace(load_params(stage.Params, "taught_student"), taught_students={})
    threshold = load_params(evaluate.Params, "evaluate").lrp_threshold_mm
    recipes = {network: recipe_in_params(network) for network in networks}
    heard = {network: recogniser_of(network) for network in networks}
    values, jobs = read_yaml("params.yaml"), []
    for seed in seeds:
        for arm in arms_of(networks, shared.lambda1, shared.lambda2):
            params = taught_params(shared, arm.lambda1, arm.lambda2, seed)
            recipe = recipe_of(arm, recipes[arm.network], clips)
            decisive = [dataclasses.asdict(params), dataclasses.asdict(recipe), threshold]
            inputs = (*inputs_of(arm), *heard[arm.network], *evaluate.JUDGES)
            decisive += [decided_by(path, values) for path in inputs]
            key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
            jobs.append(Job(arm, seed, params, recipe, key))
    return jobs


def decided_by(path: str, values: Mapping[str, Any]) -> Any:
    """What decides an input on any machine: its content, or for what is made here its groups of params.yaml (`values`)
    and, for the teacher's features, the teacher."""
    hashed = content(path)  # refuses a missing one
    if path not in MADE_HERE:
        return hashed
    made_with = [values[name] for name in MADE_HERE[path]]
    return [*made_with, content(paths.TEACHER)] if path == stage.TEACHER else made_with


def recipe_in_params(network: str) -> Any:
    """The network's recipe of params.yaml."""
    return load_params(training_of(network, "--networks").NetworkRecipe, network)


def recipe_of(arm: Arm, recipe: Any, clips: int) -> Any:
    """`recipe` with as many steps as draw `clips` clips, and the changes of the arm."""
    steps: dict[str, Any] = {"steps": max(1, round(clips / recipe.batch))}
    steps |= {"epochs": None} if hasattr(recipe, "epochs") else {}
    return dataclasses.replace(recipe, **steps, **dict(arm.changes))


def inputs_of(arm: Arm) -> list[str]:
    """The folders that a training reads, without the network's prior."""
    found = [stage.CORPUS, stage.ENCODER, *([stage.SYNCNET3D] if arm.lambda1 else [])]
    return found + ([stage.LIPREADER, stage.TEACHER] if arm.lambda2 else [])


def trained_alike(jobs: Sequence[Job]) -> list[list[Job]]:
    """`jobs` in groups that one training serves, because they differ in how they predict only."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        recipe = {name: x for name, x in dataclasses.asdict(job.recipe).items() if name not in PREDICTS_ONLY}
        key = json.dumps([job.arm.network, dataclasses.asdict(job.params), recipe], sort_keys=True)
        groups.setdefault(key, []).append(job)
    return list(groups.values())


def minutes(group: Sequence[Job]) -> float:
    """About how many minutes of computing a group of `trained_alike` takes, on one thread."""
    job = group[0]
    clips = job.recipe.steps * job.recipe.batch / CLIPS
    training = clips * (MINUTES[job.arm.network] + MINUTES_TAUGHT * bool(job.arm.lambda1))
    return training + len(group) * MINUTES_JUDGING


def finished(job: Job, docs: Path) -> Result | None:
    """The result of an arm, made here or elsewhere; None if it is not finished, or was made from other parameters or
    inputs."""
    file = job.result(docs)
    result = read_json(file, made_by=MADE_BY) if file.is_file() else {}
    return result if result.get("key") == job.key else None


def run_arms(group: Sequence[Job], out: Path, docs: Path, commit: str) -> list[Result]:
    """Train the network of a group of `trained_alike`, then predict and judge each of its arms that is not finished.

    Students and motion are written into folders in `out`. The results, also written into `docs`, are for each arm its
    costs and one row of scores per test clip.
    """
    left = [job for job in group if finished(job, docs) is None]
    if left:
        torch.set_num_threads(1)
        # of the first arm of the group, finished or not: a killed training is found again
        (arm, seed, params, recipe, _), corpus = group[0], open_corpus(stage.CORPUS)
        prior, prior_seconds = trained_prior(arm.network, recipe, seed)
        inputs = [*inputs_of(arm), *([prior] if prior else [])]
        scratch = CountedScratch(open_scratch(f"compare-{arm.name}-{seed}", (params, recipe), inputs).folder)
        with scratch:
            model, history = stage.train_taught_student(
                params, arm.network, recipe, corpus, scratch, group[0].folder(out).name, prior
            )
            costs = {
                "commit": commit,
                "parameters": parameter_count(model),
                "frames": frames_seen(recipe, corpus),
                "prior_frames": 0.0 if recipe.prior is None else frames_seen(recipe.prior, corpus),
                "training_seconds": scratch.seconds(),
                "prior_seconds": prior_seconds,
                "final": history[-1],
            }
            frozen(model)
            for job in left:
                for name in PREDICTS_ONLY & vars(job.recipe).keys():
                    setattr(model, name, getattr(job.recipe, name))
                with whole_folder(job.folder(out) / "student") as folder:
                    save_student(
                        folder, model, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe,
                        lambda1=arm.lambda1, lambda2=arm.lambda2, balance=params.balance, changes=dict(arm.changes),
                    )  # fmt: skip
                scores = judge_arm(model, corpus, job.folder(out))
                write_json(job.result(docs), {"key": job.key, "judge": content(evaluate.JUDGES[0]), **costs, **scores})
            scratch.remove()
    return [read_json(job.result(docs), made_by=MADE_BY) for job in group]


def judge_arm(model: Student, corpus: Corpus, folder: Path) -> Result:
    """Predict all test clips, into `predicted` in `folder`, and judge them."""
    spoken = corpus.split("test_seen", "test_unseen")
    studio = Studio(corpus, model, corpus.train_speakers)
    bar = progress(spoken, folder.name, unit="clip")
    write_motions(folder / "predicted", studio, spoken, (predict_clip(studio, clip) for clip in bar))
    judged = judge_model(corpus, folder / "predicted", tests=TESTS)
    return {
        "prediction_ms_per_second": 1000 * prediction_seconds(model, corpus),
        "clips": {test: found.clips for test, found in judged.items()},
        "rows": {test: found.table for test, found in judged.items()},
    }


def frames_seen(recipe: Any, corpus: Corpus) -> float:
    """The expected number of frames that a training draws: of whole clips, or of windows of `recipe.frames`."""
    clips = corpus.split("train")
    length = getattr(recipe, "frames", statistics.mean(clip.frames for clip in clips))
    return recipe.steps * min(recipe.batch, len(clips)) * length


def prediction_seconds(model: Student, corpus: Corpus) -> float:
    """Seconds of computation per second of speech, on one thread: the fastest of three predictions of a test clip.
    Computing time, because other arms run at the same time."""
    clip = corpus.split("test_unseen", "test_seen")[0]
    style, template, times = torch.eye(model.style_count)[:1], corpus.template(clip.speaker), []
    for _ in range(3):
        began = time.process_time()
        states = model.predict_states(corpus.audio(clip), corpus.fps, style, clip.frames, template)
        model.displacement(states)
        times.append(time.process_time() - began)
    return min(times) / (clip.frames / corpus.fps)


def judged_references(corpus: Corpus, docs: Path) -> dict[str, list[dict[str, Any]]]:
    """The scores of the true motion and of faces that do not move, by test: one row per clip and reference."""
    threshold = load_params(evaluate.Params, "evaluate").lrp_threshold_mm
    decisive = [threshold, *map(content, (stage.CORPUS, *evaluate.JUDGES))]
    key = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]
    file = docs / "comparison" / "references.json"
    if not file.is_file() or read_json(file, made_by=MADE_BY)["key"] != key:
        judging, spoken = open_judging(stage.CORPUS, {}, evaluate.JUDGES), corpus.split("test_seen", "test_unseen")
        each = partial(judge_clip, judging, lrp_threshold_mm=threshold, rest=mean_motion(corpus))
        found = [row for clip in progress(spoken, "references", unit="clip") for row in each(clip.id).rows]
        tests = {test: summarise(corpus, f"test_{test}", found, [], lambda _: [], seed=0).clips for test in TESTS}
        write_json(file, {"key": key, "clips": tests})
    references: dict[str, list[dict[str, Any]]] = read_json(file, made_by=MADE_BY)["clips"]
    return references


def current_commit() -> str:
    """The commit, with a + if tracked files differ from it; "unknown" outside a repository."""
    found = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
