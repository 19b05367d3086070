"""predicted motion, corpus, judges → metrics/{evaluate,summary,validation,syncnet3d,teacher_video}.json, per_clip.csv.

The judges are the SyncNet3D and the lip reader of role `metric`. Their weights must differ from those of the losses,
which is checked by hash. teacher_video.json holds what the lip reader reads in the teacher's videos (data/mouths).
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.evaluation.judge import judge_clip, open_judging, read_clip, summarise
from learn2talk_core.evaluation.teacher_reading import read_teacher
from learn2talk_core.metrics.protocol import describe_corpus, describe_test, protocols
from learn2talk_core.models.lipreader import load_units
from learn2talk_core.report.summary import summary
from learn2talk_core.run.clip_map import Backend, map_clips
from learn2talk_core.run.config import shared
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import missing, read_json, whole_file, write_json
from learn2talk_core.run.paths import (
    CORPUS,
    EVALUATION,
    LIPREADER,
    METRICS,
    MODELS,
    MOUTHS,
    PREDICTED,
    SUMMARY,
    SYNCNET3D,
)
from learn2talk_core.run.progress import log, progress
from learn2talk_core.run.stage import run
from learn2talk_core.run.students import PlainStudent, TaughtStudent, student_names

EXPERTS = ("syncnet3d", "lipreader")
JUDGES = (f"{SYNCNET3D}/metric", f"{LIPREADER}/metric")
CHUNK = 8  # clips per job, for which the judges are loaded once


@dataclass(frozen=True)
class Params:
    lrp_threshold_mm: float
    workers: int
    parallel: Backend = shared()
    seed: int = shared()
    students: dict[str, PlainStudent] = shared()
    taught_students: dict[str, TaughtStudent] = shared()


def main(params: Params) -> str:
    for expert in EXPERTS:
        refuse_same_weights(f"{MODELS}/{expert}/metric", f"{MODELS}/{expert}/loss")
    corpus, names = open_corpus(CORPUS), student_names(params.students, params.taught_students)
    predicted = {name: f"{PREDICTED}/{name}" for name in names}
    clips = [clip.id for clip in corpus.split("validation", "test_seen", "test_unseen")]
    by_clip = partial(
        map_clips, prepare=partial(open_judging, CORPUS, predicted, JUDGES),
        backend=params.parallel, workers=params.workers, chunk=CHUNK,
    )  # fmt: skip
    judged = by_clip(partial(judge_clip, lrp_threshold_mm=params.lrp_threshold_mm), clips)
    rows = [row for part in progress(judged, "judging", total=len(clips), unit="clip") for row in part]

    def read(wanted: list[tuple[str, str, str]]) -> list[dict]:
        return list(by_clip(read_clip, wanted, name=lambda motion: motion[0]))

    tests = {
        name: summarise(corpus, split, rows, names, read, params.seed)
        for name, split in (("seen", "test_seen"), ("unseen", "test_unseen"), ("validation", "validation"))
    }
    read_units = "phonemes" if load_units(JUDGES[1]) is None else "characters"
    protocol = protocols(corpus.topology, corpus.mm_per_unit, params.lrp_threshold_mm, read=read_units)
    write_json(f"{METRICS}/validation.json", tests["validation"].table)
    about = describe_corpus(corpus)
    results: dict[str, Any] = {test: tests[test].table for test in ("seen", "unseen")}
    results |= {"protocol": protocol, "corpus": about, "students": names}
    write_json(EVALUATION, results)
    write_json(SUMMARY, summary(results, names[-1]))
    for test in ("seen", "unseen"):
        log.info("%s: %s", test, describe_test(results, test))
    for note in about["notes"]:
        log.info("%s", note)
    with whole_file(f"{METRICS}/per_clip.csv") as file:
        table = pd.DataFrame([row for test in tests.values() for row in test.clips])
        table.to_csv(file, index=False, float_format="%.7g")
    reports = {
        role: read_json(f"{METRICS}/syncnet3d/{role}.json", made_by="dvc repro syncnet3d")
        for role in ("metric", "loss")
    }
    write_json(f"{METRICS}/syncnet3d.json", reports)
    teacher = read_teacher(corpus, MOUTHS, JUDGES[1])
    write_json(f"{METRICS}/teacher_video.json", teacher)
    log.info("the teacher's videos: %s", teacher)
    return f"{len(rows)} motions of {len(clips)} clips judged"


def refuse_same_weights(judge: str, loss: str) -> None:
    """A network that served as a loss must not judge: raise `BadInput` if both folders hold the same weights."""
    digests = []
    for folder in (judge, loss):
        path = Path(folder) / "model.safetensors"
        if not path.is_file():
            raise missing(path, "dvc repro")
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    if digests[0] == digests[1]:
        raise BadInput(
            judge, expected=f"other weights than {loss}", found="the same weights", fix="Name two different networks."
        )


if __name__ == "__main__":
    run(main, Params)
