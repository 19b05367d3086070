"""predicted motion, corpus, teacher's videos, metrics → metrics/plots/*.png, metrics/cost.json, data/report.

data/report holds the result table (report.md, report.json) and the side-by-side video with sound.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.report.cost import read_costs
from learn2talk_core.report.examples import example_clips, load_example, mean_errors
from learn2talk_core.report.figures import distance_histogram, empty, loss_curves
from learn2talk_core.report.pictures import heat_map, opening, side_by_side_frames
from learn2talk_core.report.png import save_png
from learn2talk_core.report.side_by_side import sound
from learn2talk_core.report.table import TESTS, expert_table, markdown, result_records, student_differences
from learn2talk_core.run import paths
from learn2talk_core.run.config import shared
from learn2talk_core.run.files import read_json, whole_folder, write_json
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import peak_memory_mb, run
from learn2talk_core.run.students import PlainStudent, TaughtStudent, student_names, student_pairs
from learn2talk_core.video.talking_video import open_talking_video
from learn2talk_core.video.video_file import write_video

EXPERTS = ("speech_encoder", "lipreader_metric", "lipreader_loss", "teacher", "sync_expert", "phoneme_head")
METRICS, PLOTS, OUT = Path(paths.METRICS), Path(paths.PLOTS), Path(paths.REPORT)


@dataclass(frozen=True)
class Params:
    clips: int
    height: int
    seed: int = shared()
    students: dict[str, PlainStudent] = shared()
    taught_students: dict[str, TaughtStudent] = shared()


def main(params: Params) -> str:
    start = time.perf_counter()
    corpus, names = open_corpus(paths.CORPUS), student_names(params.students, params.taught_students)
    students = {name: open_predictions(f"{paths.PREDICTED}/{name}", corpus) for name in names}
    teacher = open_talking_video(paths.TEACHER_VIDEO, made_by="dvc repro teacher_video")
    films = {clip.id: clip for clip in teacher.clips}
    evaluate = read_json(METRICS / "evaluate.json", made_by="dvc repro evaluate")
    examples = {
        test: [
            load_example(corpus, clip, students, evaluate[test])
            for clip in example_clips(corpus.split(f"test_{test}"), list(films), params.clips)
        ]
        for test in TESTS
    }
    for test, shown in examples.items():
        path, clips = PLOTS / f"error_heat_map_{test}.png", corpus.split(f"test_{test}")
        if not clips:  # VOCASET has no test of seen speakers
            save_png(path, empty(f"{TESTS[test]}: the corpus has no such clips"))
            continue
        means = {name: mean_errors(corpus, clips, student, evaluate[test][name]) for name, student in students.items()}
        save_png(path, heat_map(corpus, shown[0], means))
    first = {TESTS[test]: shown[0] for test, shown in examples.items() if shown}
    save_png(PLOTS / "lip_opening.png", opening(corpus, first))
    curves = {path.stem: pd.read_csv(path) for path in sorted((METRICS / "curves").rglob("*.csv"))}
    curves = {name: curve for name, curve in curves.items() if "loss" in curve}  # imported checkpoints have none
    save_png(PLOTS / "losses.png", loss_curves(curves))
    distances = pd.read_csv(PLOTS / "syncnet3d-metric-histogram.csv")
    save_png(PLOTS / "distances.png", distance_histogram(distances, "SyncNet3D (metric) on unseen speakers"))

    flat = [(TESTS[test].lower(), example) for test, shown in examples.items() for example in shown]

    def frames() -> Iterator[np.ndarray]:
        for note, example in progress(flat, "side by side", unit="clip"):
            filmed = films.get(example.clip.id)
            pictures = None if filmed is None else teacher.frames(filmed)
            yield from side_by_side_frames(corpus, example, pictures, params.height, note)

    audio = [sound(corpus.audio(e.clip), len(e.motions["truth"]), corpus.fps) for _, e in flat]
    per_clip = pd.read_csv(METRICS / "per_clip.csv")
    pairs = student_pairs(params.students, params.taught_students)
    differences = student_differences(per_clip, pairs, list(evaluate["protocol"]), params.seed)
    experts = {
        name: read_json(METRICS / f"experts/{name}.json", made_by=f"dvc repro experts@{name}") for name in EXPERTS
    }
    experts["syncnet3d"] = read_json(METRICS / "syncnet3d.json", made_by="dvc repro evaluate")
    experts |= {name: read_json(METRICS / "students" / f"{name}.json", made_by="make repro") for name in names}
    with whole_folder(OUT) as folder:
        write_video(folder / "side_by_side.mp4", frames(), corpus.fps, np.concatenate(audio), qp=24)
        pages = ["# Results", markdown(evaluate, differences), "## Experts and students", expert_table(experts)]
        (folder / "report.md").write_text("\n\n".join(pages))
        write_json(folder / "report.json", {"table": result_records(evaluate), "differences": differences})
    own = {"seconds": round(time.perf_counter() - start, 1), "peak_memory_mb": round(peak_memory_mb())}
    write_json(METRICS / "cost.json", {**read_costs(METRICS / "cost", without="report"), "report": own})
    return f"pictures in {PLOTS}, table and video of {len(flat)} clips in {OUT}"


if __name__ == "__main__":
    run(main, Params)
