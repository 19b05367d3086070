"""Train every network on one corpus with the same number of frames, judge them alike, and write docs/comparison.md.

    python -m scripts.compare [--networks faceformer voca …] [--seeds 0 1 2] [--clips 2400] [--out out/compare]

Every network is trained on the losses of its own paper, and again with Learn2Talk's two losses (lambda1 and lambda2 of
params.yaml); networks with losses to leave out have rows for that (`ABLATIONS`). The experts are those that `dvc repro`
made in data/. Recipes are the groups of params.yaml; only the number of steps is changed, so that each draws `--clips`
training clips: with equal batches the same clips in the same order, so the same frames. A finished arm is never trained
again; a killed one resumes. Nothing is chosen by a test set: `python -m scripts.sweep --vary` tunes on validation.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import delayed
from matplotlib.figure import Figure

from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.evaluation.predict import Studio, predict_clip, write_motions
from learn2talk_core.metrics.protocol import protocols
from learn2talk_core.models.students.student import Student
from learn2talk_core.report.examples import load_example
from learn2talk_core.report.names import row_title
from learn2talk_core.report.over_seeds import OverSeeds, pooled_seeds, seed_table
from learn2talk_core.report.pictures import side_by_side_frames
from learn2talk_core.report.side_by_side import sound
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, whole_file, whole_folder, write_json
from learn2talk_core.run.networks import network_names, training_of
from learn2talk_core.run.paths import NOTHING, is_nothing
from learn2talk_core.run.progress import progress
from learn2talk_core.run.weights import frozen, parameter_count
from learn2talk_core.run.workers import worker_processes
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.video.video_file import write_video
from scripts.sweep import judge_model
from stages import evaluate, motion_prior
from stages import taught_student as stage

# Rows that leave something out, as SelfTalk's Table 4: values that replace those of the network's recipe.
ABLATIONS: dict[str, dict[str, dict[str, float]]] = {
    "selftalk": {
        "without velocity loss": {"velocity_weight": 0.0},
        "without latent loss": {"latent_weight": 0.0},
        "without text loss": {"text_weight": 0.0},
        "without commutative diagram": {"latent_weight": 0.0, "text_weight": 0.0},
    },
    "meshtalk": {"without smoothing": {"smoothing": False}},
}
# Networks with a row for SyncNet3D's loss alone: a plain critic of synchrony was reported to harm CodeTalker (LVE 3.700
# → 4.319, a table of CVPR 2025).
SYNC_ALONE = ("codetalker",)
RECOGNISER = "weights/phoneme_head"  # SelfTalk's, if params.yaml names none
TESTS = {"unseen": "Unseen speakers (as VOCA-Test)", "seen": "Seen speakers (as BIWI-Test-A)"}
LEARN2TALK = ("lve_mm", "fdd_abs_mm2", "lse_d", "lse_c")  # columns of Learn2Talk, Tab. III
SELFTALK = ("lve_mm", "fdd_abs_mm2", "lrp")  # columns of SelfTalk, Tab. 1 and 2
OTHER = ("closure_mm", "velocity_mm_s", "gap_variance", "lipread_error")
VIDEO_CLIPS, VIDEO_HEIGHT = 2, 260
METHOD = """\
Every network has the same corpus, speech encoder, experts and judges, and sees the same number of frames. A prior
(CodeTalker's codec, MeshTalk's latent space), which sees motion before the network learns to speak, comes on top of
that: its frames and its time are listed. Learn2Talk's two losses have the weights of `params.yaml` for all networks,
as shares of the vertex loss's gradient; FaceFormer with them is Learn2Talk. Recipes are those of `params.yaml`; numbers
in them may be chosen on the validation clips only.

In brackets: the 95 % interval over test clips, drawn with all of their seeds; after ±: half the range over the seeds.
Two rows whose intervals overlap are not shown to differ. Unseen speakers are judged in the best training style, as in
the papers; MeshTalk and SelfTalk have no styles."""
LIMITS = """\
## What this can and cannot tell

A corpus whose recipe begins with “embedded” is generated: all speakers articulate by the same rules, the sound is
synthetic, and much of the upper face's motion is independent of it. Such a corpus shows whether a network learns what
sound determines, whether the lips close, and what a loss changes. It does not show which network sounds and looks best
on recordings of people, or how much data each needs: published orders of networks do not carry over between real data
sets either. LSE says in sync, not true: the truth need not be the best row.

Where a recipe differs from its paper: batches of several clips with AdamW, warm-up and cosine decay (the papers use
single clips and a constant rate), because they need fewer steps; VOCA listens to the frozen speech encoder, because
DeepSpeech is a dead dependency; MeshTalk has no loss on key points of the eyes, because the corpora have none;
SelfTalk's recogniser reads phonemes unless a published one is named, because letters would need a recogniser of
letters."""


class Arm(NamedTuple):
    """A row of the comparison: a network, and how its training differs from its paper's.

    Attributes:
        network: such as "voca".
        variant: what the row adds or leaves out; empty for the network as in its paper.
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
        return row_title(self.network) + (f", {self.variant}" if self.variant else "")


def arms_of(networks: Sequence[str], lambda1: float, lambda2: float) -> list[Arm]:
    """The rows of the comparison, in order."""
    arms = []
    for network in networks:
        arms += [Arm(network, "", 0.0, 0.0), Arm(network, "with Learn2Talk's losses", lambda1, lambda2)]
        if network in SYNC_ALONE:
            arms.append(Arm(network, "with the sync loss alone", lambda1, 0.0))
        for variant, changes in ABLATIONS.get(network, {}).items():
            arms.append(Arm(network, variant, 0.0, 0.0, tuple(changes.items())))
    return arms


def run_arm(arm: Arm, seed: int, clips: int, out: Path) -> dict[str, Any]:
    """Train, predict and judge one arm; returns its costs and one row of scores per test clip."""
    folder = out / f"{arm.name}-seed{seed}"
    if (folder / "result.json").is_file():
        return read_json(folder / "result.json", made_by="scripts.compare")
    torch.set_num_threads(1)
    params = load_params(stage.Params, "taught_student")
    params = dataclasses.replace(params, lambda1=arm.lambda1, lambda2=arm.lambda2, seed=seed)
    training = training_of(arm.network, "--networks")
    recipe = load_params(training.NetworkRecipe, arm.network)
    recipe = dataclasses.replace(recipe, steps=max(1, round(clips / recipe.batch)), **dict(arm.changes))
    corpus = open_corpus(stage.CORPUS)
    prior, prior_seconds = trained_prior(arm.network, recipe, corpus, seed, out)
    inputs = [stage.CORPUS, stage.ENCODER, *([prior] if prior else [])]
    inputs += ([stage.SYNCNET3D] if arm.lambda1 else []) + ([stage.LIPREADER, stage.TEACHER] if arm.lambda2 else [])
    with open_scratch(f"compare-{arm.name}-{seed}", (params, recipe), inputs) as scratch:
        began = time.process_time()
        model, history = stage.train_taught_student(params, arm.network, recipe, corpus, scratch, folder.name, prior)
        seconds = time.process_time() - began
        frozen(model)
        spoken = corpus.split("test_seen", "test_unseen")
        studio = Studio(corpus, model, corpus.train_speakers)
        bar = progress(spoken, folder.name, unit="clip")
        write_motions(folder / "predicted", studio, spoken, (predict_clip(studio, clip) for clip in bar))
        judged = judge_model(corpus, folder / "predicted", tests=tuple(TESTS))
        result = {
            "parameters": parameter_count(model),
            "frames": frames_seen(recipe, corpus),
            "prior_frames": 0.0 if recipe.prior is None else frames_seen(recipe.prior, corpus),
            "training_seconds": seconds,
            "prior_seconds": prior_seconds,
            "prediction_ms_per_second": 1000 * prediction_seconds(model, corpus),
            "final": history[-1],
            "clips": {test: found.clips for test, found in judged.items()},
            "rows": {test: found.table for test, found in judged.items()},
        }
        write_json(folder / "result.json", result)
        scratch.remove()
    return result


def frames_seen(recipe: Any, corpus: Corpus) -> float:
    """The expected number of frames that a training draws: of whole clips, or of windows of `recipe.frames`."""
    clips = corpus.split("train")
    length = getattr(recipe, "frames", statistics.mean(clip.frames for clip in clips))
    return recipe.steps * min(recipe.batch, len(clips)) * length


def trained_prior(network: str, recipe: Any, corpus: Corpus, seed: int, out: Path) -> tuple[str | None, float]:
    """The folder of the network's prior and the seconds of its training; it is trained once per seed."""
    folder, training = out / f"{network}-prior-seed{seed}", training_of(network, "--networks")
    if recipe.prior is None:
        if not hasattr(training, "save_motion_prior"):
            return None, 0.0
        if not folder.is_dir():  # SelfTalk's recogniser
            named = load_params(motion_prior.Params, "motion_prior").networks.get(network, NOTHING)
            with whole_folder(folder) as partial:
                training.save_motion_prior(partial, RECOGNISER if is_nothing(named) else named, corpus)
        return str(folder), 0.0
    if not (folder / "cost.json").is_file():
        with open_scratch(f"compare-prior-{network}-{seed}", recipe.prior, [stage.CORPUS]) as scratch:
            began = time.process_time()
            prior, _ = training.train_motion_prior(
                corpus, corpus.split("train"), recipe.prior, seed=seed, scratch=scratch, description=f"{network}, prior"
            )
            with whole_folder(folder) as partial:
                training.save_motion_prior(partial / "prior", prior, corpus)
                write_json(partial / "cost.json", {"seconds": time.process_time() - began})
            scratch.remove()
    return f"{folder}/prior", float(read_json(folder / "cost.json", made_by="scripts.compare")["seconds"])


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


def values_of(
    arms: Sequence[Arm], results: Mapping[Arm, Sequence[Mapping[str, Any]]], test: str, keys: Sequence[str]
) -> dict[Arm, dict[str, OverSeeds | None]]:
    """The metrics `keys` of every arm over its seeds."""
    runs = {
        arm: [[row for row in result["clips"][test] if row["row"] == "student"] for result in results[arm]]
        for arm in arms
    }
    return {arm: {key: pooled_seeds(runs[arm], key) for key in keys} for arm in arms}


def page(arms: Sequence[Arm], results: Mapping[Arm, Sequence[Mapping[str, Any]]], corpus: Corpus, clips: int) -> str:
    """docs/comparison.md."""
    seeds = len(next(iter(results.values())))
    names = protocols(corpus.topology, corpus.mm_per_unit, load_params(evaluate.Params, "evaluate").lrp_threshold_mm)
    size = f"corpus `{corpus.recipe}`, {len(corpus.split('train'))} training clips, {seeds} seeds, {clips} clips drawn"
    parts = [
        "# Comparison of the networks",
        f"Written by `python -m scripts.compare`: {size} in each training.",
        METHOD,
    ]
    for test, title in TESTS.items():
        if not any(result["clips"][test] for own in results.values() for result in own):
            continue
        values = values_of(arms, results, test, LEARN2TALK + SELFTALK + OTHER)
        rows = {arm.title: values[arm] for arm in arms}
        parts += [f"## {title}", "### Learn2Talk, Table III", seed_table(rows, LEARN2TALK, names)]
        parts += ["### SelfTalk, Tables 1, 2 and 4", seed_table(rows, SELFTALK, names)]
        parts += ["### Other measures", seed_table(rows, OTHER, names)]
    parts += ["## Cost", cost_table(arms, results)]
    parts += [
        "![Lip sync against vertex error](comparison.png)",
        "The side-by-side video is `out/compare/side_by_side.mp4`.",
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def cost_table(arms: Sequence[Arm], results: Mapping[Arm, Sequence[Mapping[str, Any]]]) -> str:
    """Parameters, frames, and the computing time of training and prediction, means over seeds."""
    lines = [
        "| | parameters, million | frames seen | and by the prior | training, min | of that the prior "
        "| prediction, ms per second |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in arms:
        own = results[arm]

        def mean(key: str, own: Sequence[Mapping[str, Any]] = own) -> float:
            return statistics.mean(result[key] for result in own)

        prior = mean("prior_seconds") / 60
        total = mean("training_seconds") / 60 + prior
        lines.append(
            f"| {arm.title} | {mean('parameters') / 1e6:.2f} | {mean('frames'):.0f} | {mean('prior_frames'):.0f} "
            f"| {total:.1f} | {prior:.1f} | {mean('prediction_ms_per_second'):.1f} |"
        )
    return "\n".join(lines)


def lip_sync_against_error(arms: Sequence[Arm], results: Mapping[Arm, Sequence[Mapping[str, Any]]]) -> Figure:
    """One point per arm and seed: LVE to the right, LSE-D upwards, both better towards zero."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axes, (test, title) in zip(figure.subplots(1, len(TESTS)), TESTS.items(), strict=True):
        for arm, values in values_of(arms, results, test, ("lve_mm", "lse_d")).items():
            lve, lse = values["lve_mm"], values["lse_d"]
            if lve is None or lse is None:
                continue
            marker = "o" if not arm.variant else "^" if arm.lambda1 or arm.lambda2 else "x"
            (line,) = axes.plot(lve.seeds, lse.seeds, marker, alpha=0.4, linestyle="none")
            axes.plot(lve.mean, lse.mean, marker, color=line.get_color(), markersize=9, label=arm.title)
        axes.set(title=title, xlabel="LVE, mm", ylabel="LSE-D")
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def write_side_by_side(
    path: Path, arms: Sequence[Arm], results: Mapping[Arm, Sequence[Mapping[str, Any]]], corpus: Corpus, out: Path,
    seed: int,
) -> None:  # fmt: skip
    """A video of the networks as in their papers, on the first clips of the tests."""
    shown = [arm for arm in arms if not arm.variant]
    predicted = {arm.network: open_predictions(out / f"{arm.name}-seed{seed}" / "predicted", corpus) for arm in shown}
    examples = []
    for test in TESTS:
        rows = {arm.network: results[arm][0]["rows"][test].get("student", {}) for arm in shown}
        for clip in corpus.split(f"test_{test}")[:VIDEO_CLIPS]:
            examples.append((test, load_example(corpus, clip, predicted, rows)))

    def frames() -> Iterator[np.ndarray]:
        for test, example in progress(examples, "side by side", unit="clip"):
            yield from side_by_side_frames(corpus, example, None, VIDEO_HEIGHT, f"{test} speaker")

    audio = [sound(corpus.audio(e.clip), len(e.motions["truth"]), corpus.fps) for _, e in examples]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames(), corpus.fps, np.concatenate(audio), qp=24)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(network_names()), help="default: %(default)s")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=2400, help="clips drawn in training (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/compare"))
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of comparison.md (default: docs)")
    parser.add_argument("--jobs", type=int, default=2, help="arms at the same time, one thread each")
    words = parser.parse_args()
    for network in words.networks:
        training_of(network, "--networks")  # refuses an unknown one
    if words.clips < 1:
        raise BadInput("--clips", expected="1 or more", found=str(words.clips), fix="Correct it.")
    params = load_params(stage.Params, "taught_student")
    arms = arms_of(words.networks, params.lambda1, params.lambda2)
    corpus = open_corpus(stage.CORPUS)
    for network in words.networks:  # before its arms, which would otherwise wait for each other
        recipe = load_params(training_of(network, "--networks").NetworkRecipe, network)
        for seed in words.seeds:
            trained_prior(network, recipe, corpus, seed, words.out)
    jobs = [delayed(run_arm)(arm, seed, words.clips, words.out) for seed in words.seeds for arm in arms]
    found = worker_processes(words.jobs, batch_size=1)(jobs)
    results = {arm: found[i :: len(arms)] for i, arm in enumerate(arms)}
    write_side_by_side(words.out / "side_by_side.mp4", arms, results, corpus, words.out, words.seeds[0])
    words.docs.mkdir(parents=True, exist_ok=True)
    with whole_file(words.docs / "comparison.png") as partial:
        lip_sync_against_error(arms, results).savefig(partial, format="png", dpi=130)
    with whole_file(words.docs / "comparison.md") as partial:
        partial.write_text(page(arms, results, corpus, words.clips), encoding="utf-8")
    print(f"{words.docs / 'comparison.md'}: {len(arms)} rows, {len(words.seeds)} seeds")


if __name__ == "__main__":
    main()
