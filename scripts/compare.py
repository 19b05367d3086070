"""Train every network on one corpus with the same number of frames, judge them alike, and write docs/comparison.md.

    python -m scripts.compare [--networks faceformer voca …] [--seeds 0 1 2] [--clips 2400] [--out out/compare]
    python -m scripts.compare --plan    # train nothing: what is missing, and how much computing it needs
    python -m scripts.compare --page    # train nothing: the document from what is finished

Every network is trained on the losses of its own paper, and again with Learn2Talk's two losses (lambda1 and lambda2 of
params.yaml); networks with losses to leave out have rows for that (`compare_arms.ABLATIONS`). The experts are those
that `dvc repro` made in data/. Recipes are the groups of params.yaml; only the number of steps is changed, so that each
draws `--clips` training clips: with equal batches the same clips in the same order, so the same frames. Nothing is
chosen by a test set: `python -m scripts.sweep --vary` tunes on validation.

It can be run in parts, also on several machines: `--networks` and `--seeds` say what to train now. The scores of each
training are a file in `docs/comparison`, which belongs to the document. A finished training is never repeated unless
parameters, corpus or packaged networks have changed, also not after a change of code (the document names the commits):
delete its file. A killed one resumes. Students and motion are in `--out` (3 GB for all), so that `learn2talk animate
speech.wav --model out/compare/voca-seed0/student` works. The document is written from all scores that are there,
whichever call made them, and says what is missing.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from joblib import delayed

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.networks import network_names, training_of
from learn2talk_core.run.program import run_program
from learn2talk_core.run.workers import worker_processes
from scripts.compare_arms import (
    CLIPS,
    SEEDS,
    Arm,
    Job,
    Result,
    current_commit,
    finished,
    judged_references,
    minutes,
    plan,
    run_arms,
    trained_alike,
)
from scripts.compare_page import write_comparison
from scripts.priors import trained_prior
from stages import taught_student as stage


def compare(networks: Sequence[str], seeds: Sequence[int], clips: int, out: Path, docs: Path, jobs: int, *,
            plan_only: bool, page_only: bool) -> None:  # fmt: skip
    """Train what is missing of `networks` with `seeds`, then write the document from all that is finished in `docs`."""
    whole = plan(network_names(), sorted({*SEEDS, *seeds}), clips)
    asked = [job for job in whole if job.arm.network in networks and job.seed in seeds]
    left = [job for job in asked if finished(job, docs) is None]
    print(f"compare: {sum(finished(job, docs) is not None for job in whole)} of {len(whole)} trainings are finished, "
          f"{len(left)} are to do: about {sum(map(minutes, trained_alike(left))):.0f} minutes of computing, {jobs} at "
          "a time", flush=True)  # fmt: skip
    if plan_only:
        for job in left:
            print(f"{job.arm.title}, seed {job.seed}: about {minutes([job]):.0f} min")
        return
    if not page_only:
        train(asked, out, docs, jobs)
    results: dict[Arm, dict[int, Result]] = {}
    missing = []
    for job in sorted(whole, key=lambda job: job.seed):
        if (result := finished(job, docs)) is None:
            missing.append(job)
        else:
            results.setdefault(job.arm, {})[job.seed] = result
    if not results:
        raise BadInput(docs / "comparison", expected="a finished training", found="none", fix="Leave out --page.")
    results = {job.arm: results[job.arm] for job in whole if job.arm in results}  # in the order of the rows
    corpus = open_corpus(stage.CORPUS)
    write_comparison(docs, results, missing, judged_references(corpus, docs), corpus, out, clips)
    print(f"{docs / 'comparison.md'}: {len(results)} rows, {len(missing)} trainings missing")


def train(asked: Sequence[Job], out: Path, docs: Path, jobs: int) -> None:
    """Run what is not finished of `asked`, `jobs` at a time, and say after each how long the rest will take."""
    groups = [group for group in trained_alike(asked) if any(finished(job, docs) is None for job in group)]
    left = [job for group in groups for job in group]
    commit, done, total = current_commit(), 0.0, sum(map(minutes, groups))
    first = {(job.arm.network, job.seed): job for job in left}  # priors first: arms would wait for each other's
    worker_processes(jobs, batch_size=1)(
        delayed(trained_prior)(job.arm.network, job.recipe, job.seed) for job in first.values()
    )
    run = worker_processes(jobs, batch_size=1, return_as="generator_unordered")
    number, began = 0, time.monotonic()
    for group in run(delayed(run_named)(group, out, docs, commit) for group in groups):
        number, done = number + len(group), done + minutes(group)
        passed = (time.monotonic() - began) / 60
        print(f"compare: {number} of {len(left)}, {group[-1].arm.title}, seed {group[-1].seed}; {passed:.0f} minutes "
              f"passed, about {passed * (total - done) / done:.0f} left", flush=True)  # fmt: skip


def run_named(group: Sequence[Job], out: Path, docs: Path, commit: str) -> Sequence[Job]:
    """`run_arms` in a process of its own; its results are in their folders."""
    run_arms(group, out, docs, commit)
    return group


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=network_names(), default=list(network_names()), help="default: %(default)s"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="default: %(default)s")
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips drawn in training (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="folder of the students (default: "
                        "%(default)s)")  # fmt: skip
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of comparison.md and of the scores in "
                        "comparison/ (default: %(default)s)")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, help="trainings at the same time, one thread each (default: 2)")
    parser.add_argument("--plan", action="store_true", help="only say what is to be trained")
    parser.add_argument("--page", action="store_true", help="only write the document from what is finished")
    words = parser.parse_args()

    def work() -> int:
        for network in words.networks:
            training_of(network, "--networks")  # refuses an unknown one
        if words.clips < 1:
            raise BadInput("--clips", expected="1 or more", found=str(words.clips), fix="Correct it.")
        compare(words.networks, words.seeds, words.clips, words.out, words.docs, words.jobs, plan_only=words.plan,
                page_only=words.page)  # fmt: skip
        return 0

    raise SystemExit(run_program("compare", work, go_on="; the same command goes on from here"))


if __name__ == "__main__":
    main()
