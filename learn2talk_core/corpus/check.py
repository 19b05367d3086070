"""What is wrong with a corpus."""

from collections import Counter
from pathlib import Path

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE, SILENCE_PEAK
from learn2talk_core.corpus.format import SPLITS, Clip, Corpus, open_corpus, sha256
from learn2talk_core.files import read_json
from learn2talk_core.progress import progress

UNSEEN = ("validation", "test_unseen")


def check_corpus(folder: str | Path) -> tuple[list[str], list[str]]:
    """Look at every clip of a corpus in the canonical format.

    Returns:
        What it holds, and what is wrong with it, one line each.
    """
    folder = Path(folder)
    corpus = open_corpus(folder)
    problems = _files(folder) + _splits(corpus)
    for clip in progress(corpus.clips, "checking", unit="clip"):
        problems += [f"clip {clip.id}: {problem}" for problem in _clip(corpus, clip)]
    return _contents(corpus), problems


def _contents(corpus: Corpus) -> list[str]:
    vertex_count = len(corpus.topology.colours)
    lines = [
        f"{corpus.recipe}: {corpus.fps:g} frames a second, {vertex_count} vertices, unit {corpus.mm_per_unit:g} mm"
    ]
    lines += [f"region {name}: {len(ids)} vertices" for name, ids in sorted(corpus.topology.regions.items())]
    for name in SPLITS:
        clips = corpus.split(name)
        minutes = sum(clip.samples for clip in clips) / SAMPLE_RATE / 60
        lines.append(f"{name}: {len(clips)} clips of {len({c.speaker for c in clips})} speakers, {minutes:.1f} minutes")
    return lines


def _files(folder: Path) -> list[str]:
    hashes = read_json(folder / "corpus.json", made_by="dvc repro corpus")["sha256"]
    return [f"{name}: not the file that was written" for name, h in hashes.items() if sha256(folder / name) != h]


def _splits(corpus: Corpus) -> list[str]:
    ids = Counter(clip.id for clip in corpus.clips)
    problems = [f"clip {name}: {count} clips have this id" for name, count in ids.items() if count > 1]
    trained = {clip.speaker for clip in corpus.split("train")}
    for name in UNSEEN:
        both = trained & {clip.speaker for clip in corpus.split(name)}
        problems += [f"speaker {speaker}: in train and in {name}" for speaker in sorted(both)]
    if trained != set(corpus.train_speakers):
        problems.append("train_speakers of corpus.json are not the speakers of the training split")
    texts = {clip.text for clip in corpus.split("train")}
    shared = {c.text for c in corpus.split("validation", "test_seen", "test_unseen")} & texts
    problems += [f"sentence {text!r}: in train and in a test" for text in sorted(shared - {""})]
    for speaker, template in corpus.templates.items():
        if template.shape != (len(corpus.topology.colours), 3) or not np.isfinite(template).all():
            problems.append(f"speaker {speaker}: template of shape {template.shape} or not finite")
    return problems


def _clip(corpus: Corpus, clip: Clip) -> list[str]:
    problems = []
    motion, audio = corpus.stored(clip), corpus.audio(clip)
    if len(motion) != clip.frames or len(audio) != clip.samples:
        problems.append(f"{len(motion)} of {clip.frames} frames and {len(audio)} of {clip.samples} samples are there")
    difference = clip.frames / corpus.fps - clip.samples / SAMPLE_RATE
    if abs(difference) > 1 / corpus.fps:
        problems.append(f"motion lasts {1000 * difference:+.0f} ms longer than audio")
    finite = np.isfinite(motion.reshape(len(motion), -1)).all(axis=1)
    if not finite.all():
        problems.append(f"frame {int(np.argmin(finite))}: NaN or infinity in the motion")
    if np.abs(audio).max(initial=0) < SILENCE_PEAK:
        problems.append("silent audio")
    if not clip.text.strip():
        problems.append("no text")
    starts = [phoneme.start for phoneme in clip.phonemes]
    inside = all(0 <= p.start < p.end <= clip.samples / SAMPLE_RATE for p in clip.phonemes)
    if starts != sorted(starts) or not inside:
        problems.append("phonemes out of order or outside the clip")
    return problems
