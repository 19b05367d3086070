"""Checks of a corpus, or of a dataset before it becomes one: what is wrong, where, how severe it is, and the fix."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import SPLITS, Clip, Corpus, Recording, common_duration, open_corpus, sha256
from learn2talk_core.datasets.across_clips import Trace, across_clips, trace
from learn2talk_core.datasets.clip_checks import broken_clip, doubtful
from learn2talk_core.datasets.problem import Problem, Severity
from learn2talk_core.datasets.settings import Dataset, Settings, open_source
from learn2talk_core.datasets.source import Source
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import inner_file, read_json
from learn2talk_core.run.progress import log, progress

REGIONS = ("lips", "mouth", "mouth_view", "upper_face")


def check_corpus(folder: str | Path) -> tuple[list[str], list[Problem]]:
    """Check every clip of a corpus in the canonical format.

    Returns:
        What it holds, one line each, and what is wrong with it.
    """
    folder = Path(folder)
    corpus = open_corpus(folder)
    problems = [*_files(folder), *_splits(corpus), *_topology(corpus.topology, corpus.folder)]
    for speaker, template in corpus.templates.items():
        if template.shape != (len(corpus.topology.colours), 3) or not np.isfinite(template).all():
            what = f"template of shape {template.shape} or not finite"
            problems.append(
                Problem(f"speaker {speaker}", what, "error", "Correct the template and make the corpus again.")
            )
    traces: list[Trace] = []
    for clip in progress(corpus.clips, "checking", unit="clip"):
        problems += _clip(corpus, clip, traces)
    problems += across_clips(corpus, traces, str(folder))
    if not any(clip.phonemes for clip in corpus.clips):
        what = "no phonemes: no closure error, reading error and viseme accuracy"
        problems.append(Problem(str(folder), what, "note", "No action needed, unless you want these metrics."))
    return _contents(corpus), problems


def check_dataset(dataset: Dataset, settings: Settings) -> tuple[list[str], list[Problem]]:
    """Read every clip of a dataset as the stage `corpus` does, but continue after clips that the stage would refuse.

    Returns:
        What it holds, one line each, and what is wrong with it.
    """
    problems: list[Problem] = []
    with _logged(settings.path, problems):
        try:
            source = open_source(dataset, settings)
        except BadInput as error:
            return [f"{settings.path}: read as {dataset}"], [*problems, from_error(error)]
        contents, found = check_source(source, settings.path)
    return contents, problems + found


def check_source(source: Source, where: str) -> tuple[list[str], list[Problem]]:
    """As `check_dataset`, for a dataset that is already open; `where` names it in the problems."""
    problems = _topology(source.topology, where)
    traces: list[Trace] = []
    counts: Counter[str] = Counter()
    speakers: dict[str, set[str]] = {name: set() for name in SPLITS}
    recordings = iter(source.recordings)
    while True:
        try:
            recording = next(recordings, None)
        except BadInput as error:
            problems.append(from_error(error))
            continue
        if recording is None:
            break
        found = _recording(source, recording, traces)
        problems += found
        counts[recording.split] += 1
        speakers[recording.split].add(recording.speaker)
        if not any(problem.severity == "error" for problem in found):
            frames, _ = common_duration(len(recording.motion), len(recording.audio), source.fps)
            counts[recording.split + " frames"] += frames
    problems += across_clips(source, traces, where)
    lines = [_about(source.recipe, source.fps, source.topology, source.mm_per_unit)]
    lines += [
        f"{name}: {counts[name]} clips of {len(speakers[name])} speakers, {counts[name + ' frames']} frames"
        for name in SPLITS
    ]
    return lines, problems


def from_error(error: BadInput) -> Problem:
    """Convert an error to a problem."""
    return Problem(str(error.where), f"expected {error.expected}, found {error.found}", "error", error.fix)


def as_text(problems: Sequence[Problem], names: int = 5) -> str:
    """Readable text: the most severe problems first; the same problem of several clips is one line."""
    lines = []
    for severity in ("error", "warning", "note"):
        equal: dict[tuple[str, str], list[str]] = {}
        for problem in problems:
            if problem.severity == severity:
                equal.setdefault((problem.what, problem.fix), []).append(problem.where)
        for (what, fix), where in equal.items():
            more = f" and {len(where) - names} more" if len(where) > names else ""
            lines.append(f"{severity:8}{', '.join(where[:names])}{more}: {what}. {fix}")
    return "\n".join(lines)


def _contents(corpus: Corpus) -> list[str]:
    lines = [_about(corpus.recipe, corpus.fps, corpus.topology, corpus.mm_per_unit)]
    lines += [f"region {name}: {len(ids)} vertices" for name, ids in sorted(corpus.topology.regions.items())]
    for name in SPLITS:
        clips = corpus.split(name)
        minutes = sum(clip.samples for clip in clips) / SAMPLE_RATE / 60
        lines.append(f"{name}: {len(clips)} clips of {len({c.speaker for c in clips})} speakers, {minutes:.1f} minutes")
    return lines


def _about(recipe: str, fps: float, topology: Topology, mm_per_unit: float) -> str:
    return f"{recipe}: {fps:g} frames per second, {len(topology.colours)} vertices, unit {mm_per_unit:g} mm"


def _files(folder: Path) -> list[Problem]:
    hashes = read_json(folder / "corpus.json", made_by="dvc repro corpus")["sha256"]
    return [
        Problem(name, "changed since it was written", "error", "Make the corpus again: dvc repro -f corpus.")
        for name, h in hashes.items()
        if sha256(inner_file(folder / name, made_by="dvc repro corpus")) != h
    ]


def _splits(corpus: Corpus) -> list[Problem]:
    ids = Counter(clip.id for clip in corpus.clips)
    fix = "Correct the splits and make the corpus again."
    problems = [
        Problem(f"clip {n}", f"{count} clips have this id", "error", fix) for n, count in ids.items() if count > 1
    ]
    trained = {clip.speaker for clip in corpus.split("train")}
    heard: tuple[tuple[str, Severity, str], ...] = (
        ("test_unseen", "error", fix),
        (
            "validation",
            "note",
            "No action needed; BIWI is the same. Validation says nothing about unseen speakers then.",
        ),
    )
    for name, severity, remedy in heard:
        for speaker in sorted(trained & {clip.speaker for clip in corpus.split(name)}):
            problems.append(Problem(f"speaker {speaker}", f"in train and in {name}", severity, remedy))
    if trained != set(corpus.train_speakers):
        what = "train_speakers in corpus.json differ from the speakers of the training split"
        problems.append(Problem("corpus.json", what, "error", fix))
    if not corpus.split("test_seen", "test_unseen"):
        problems.append(Problem(str(corpus.folder), "no test clips", "error", fix))
    if not corpus.split("validation"):
        what = "no validation clips: nothing to choose the lambdas on"
        problems.append(Problem(str(corpus.folder), what, "warning", fix))
    texts = {clip.text for clip in corpus.split("train")}
    shared = {c.text for c in corpus.split("validation", "test_seen", "test_unseen")} & texts
    for text in sorted(shared - {""}):
        problems.append(Problem(f"sentence {text!r}", "in train and in a test", "warning", fix))
    return problems


def _topology(topology: Topology, where: object) -> list[Problem]:
    problems = [
        Problem(f"region {name}", "no vertices", "error", "Give a list of its vertices (docs/datasets.md).")
        for name in REGIONS
        if not len(topology.regions.get(name, ()))
    ]
    if not len(topology.lip_pairs):
        what = "no pairs of facing lip vertices: no gap variance and closure error"
        problems.append(Problem(str(where), what, "warning", "Use a mesh with separate lips and a closed mouth."))
    return problems


def _clip(corpus: Corpus, clip: Clip, traces: list[Trace]) -> list[Problem]:
    """What is wrong with a clip of a corpus; appends the clip's trace to `traces`."""
    where, again = f"clip {clip.id}", "Make the corpus again: dvc repro -f corpus."
    problems = []
    motion, audio = corpus.vertices(clip), corpus.audio(clip)
    if len(motion) != clip.frames or len(audio) != clip.samples:
        what = f"only {len(motion)} of {clip.frames} frames and {len(audio)} of {clip.samples} samples exist"
        problems.append(Problem(where, what, "error", again))
    difference = clip.frames / corpus.fps - clip.samples / SAMPLE_RATE
    if abs(difference) > 1 / corpus.fps:
        what = f"duration of motion minus audio: {1000 * difference:+.0f} ms"
        problems.append(Problem(where, what, "error", again))
    recording = Recording(clip.id, clip.speaker, clip.sentence, clip.text, clip.split, audio, motion)
    problems += _motion_and_sound(corpus, recording, traces)
    if not clip.text.strip():
        problems.append(Problem(where, "no text", "note", "No action needed, unless pictures should show the text."))
    starts = [phoneme.start for phoneme in clip.phonemes]
    inside = all(0 <= p.start < p.end <= clip.samples / SAMPLE_RATE for p in clip.phonemes)
    if starts != sorted(starts) or not inside:
        problems.append(Problem(where, "phonemes out of order or outside the clip", "error", "Align the clip again."))
    return problems


def _recording(source: Source, recording: Recording, traces: list[Trace]) -> list[Problem]:
    """What is wrong with a clip on its way into the corpus; appends the clip's trace to `traces`."""
    problems = []
    difference = len(recording.motion) / source.fps - len(recording.audio) / SAMPLE_RATE
    if abs(difference) > 1 / source.fps:
        what = f"duration of motion minus audio: {1000 * difference:+.0f} ms; the longer one is cut at its end"
        severity: Severity = "warning" if abs(difference) < 0.5 else "error"
        problems.append(Problem(f"clip {recording.id}", what, severity, "Check fps, and that both start together."))
    frames, samples = common_duration(len(recording.motion), len(recording.audio), source.fps)
    common = replace(recording, motion=recording.motion[:frames], audio=recording.audio[:samples])
    return problems + _motion_and_sound(source, common, traces)


def _motion_and_sound(data: Source | Corpus, recording: Recording, traces: list[Trace]) -> list[Problem]:
    if problems := broken_clip(data, recording):
        return problems
    traces.append(trace(data, recording))
    return doubtful(data, recording)


@contextmanager
def _logged(where: str, problems: list[Problem]) -> Iterator[None]:
    """Turn what readers log into notes and warnings instead of printing it."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            what = record.getMessage().removeprefix(f"{where}: ")
            if record.levelno >= logging.WARNING:
                problems.append(Problem(where, what, "warning", "Complete the data, or continue without it."))
            else:
                problems.append(Problem(where, what, "note", "No action needed."))

    handler = Handler()
    log.addHandler(handler)
    propagate, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
