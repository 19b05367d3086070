"""Calibrate the confidence of `learn2talk score` with sounds that are shifted by known times.

    python -m scripts.calibrate_score

Fits on the validation split and evaluates on the test splits, with whole clips and excerpts of them. Two pairs in three
have a lag of up to ±13 frames, not rounded to frames. Of the rest, half are shifted beyond the range of the search, and
half have the sound of another clip. These have no lag that could be found, so the confidence is also fitted to cases
without an answer.

`--pairs FOLDER…` adds recordings of people that are in sync, sounds and motions of matching names as for `learn2talk
score`: half of them, alternately by name, to the fit, and the others to a measurement of their own. A synthetic corpus
alone makes the confidence too low for natural voices, whose distances are larger although their lags are found. Without
captured motion, the motion that a student makes of the recordings can stand in for it:

    learn2talk animate recordings/ -o out/people --format npz,arkit
    python -m scripts.calibrate_score --pairs out/people/*

The result is written into the package; `--out` writes it to another path, for `learn2talk score --calibration`. It
holds four weights, the ranges of the training data, and its provenance.
"""

import argparse
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learn2talk_core.audio.sound import read_sound
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import Clip, Corpus, open_corpus, sha256
from learn2talk_core.evaluation.lag_confidence import (
    STORED,
    Evidence,
    confidence,
    evidence,
    fit_calibration,
    reliability,
    save_calibration,
)
from learn2talk_core.evaluation.motion_sync import (
    CORPUS,
    SYNCNET,
    Compared,
    Scorer,
    compare,
    distances_of,
    measures,
    read_mouth,
)
from learn2talk_core.evaluation.pairs import find_pairs
from learn2talk_core.models.syncnet3d import load_syncnet3d
from learn2talk_core.run.progress import progress
from learn2talk_core.run.resample import resample_frames
from learn2talk_core.run.seed import generator

WITHIN, BEYOND = 13.0, 24.0  # frames; the search covers lags up to 15
EXCERPTS = (1.0, 2.0, 4.0)  # seconds, in addition to the whole clip
PERCENTILES = (0.5, 99.5)  # of the training data, for the ranges


@dataclass(frozen=True)
class InSync:
    """Sound and mouth that begin at the same instant and are in sync, at the corpus's frame rate and in its unit.

    Attributes:
        id: a name, for the random numbers.
        wave: (samples,) at 16 kHz.
        mouth: (T, n, 3).
        template: (n, 3) at rest.
    """

    id: str
    wave: np.ndarray
    mouth: np.ndarray
    template: np.ndarray


def in_sync(corpus: Corpus, clip: Clip) -> InSync:
    """A clip of the corpus."""
    template = corpus.template(clip.speaker, "mouth")
    return InSync(clip.id, corpus.audio(clip), corpus.vertices(clip, "mouth"), template)


def recorded(corpus: Corpus, folders: Sequence[str], fps: float | None, mm_per_unit: float | None) -> list[InSync]:
    """The pairs of some folders."""
    pairs, _ = find_pairs(folders, [], [])
    found = []
    for pair in pairs:
        motion = read_mouth(pair.motion, corpus, fps=fps, mm_per_unit=mm_per_unit, template=None)
        mouth = resample_frames(motion.vertices, motion.fps, corpus.fps)
        found.append(InSync(pair.name, read_sound(pair.audio), mouth, motion.template))
    return found


def shifted(rate: float, pair: InSync, late: float, other: InSync | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sound and mouth (T, n, 3), shifted so that the mouth is late by `late` frames, without padding.

    The sound is cut at a sample, so `late` need not be a whole number of frames. With `other`, the sound is taken from
    that pair.
    """
    # For a late mouth, cut the start of the sound; for an early one, cut the start of the motion.
    first = max(0, int(np.ceil(-late)))
    cut = round((first + late) * SAMPLE_RATE / rate)
    wave = (other or pair).wave[cut:]
    mouth = pair.mouth[first:]
    frames = min(len(mouth), int(len(wave) * rate / SAMPLE_RATE))
    return wave[: round(frames * SAMPLE_RATE / rate)], mouth[:frames]


def try_lags(scorer: Scorer, pairs: Sequence[InSync], lags: int, seed: int) -> tuple[list[Evidence], np.ndarray]:
    """Evidence of whole pairs and excerpts with known lags, and whether each lag was found within one frame."""
    tried, right = [], []
    for found, wanted in _tries(scorer, pairs, lags, seed):
        tried.append(found)
        right.append(wanted is not None and abs(found.mouth_late_ms - wanted) <= 1000 / scorer.corpus.fps)
    return tried, np.array(right, bool)


def _tries(scorer: Scorer, pairs: Sequence[InSync], lags: int, seed: int) -> Iterator[tuple[Evidence, float | None]]:
    rate = scorer.corpus.fps
    for number, pair in enumerate(progress(pairs, "known lags", unit="clip")):
        rng = generator(seed, "calibrate_score", pair.id)
        for turn in range(lags):
            kind = rng.choice(["lag", "lag", "lag", "lag", "beyond", "other"])
            late = rng.uniform(-WITHIN, WITHIN)
            if kind == "beyond":
                late = rng.choice([-1, 1]) * rng.uniform(WITHIN + 4, BEYOND)
            other = pairs[(number + 1 + int(rng.integers(len(pairs) - 1))) % len(pairs)] if len(pairs) > 1 else None
            if kind == "other" and other is None:
                continue
            wave, mouth = shifted(rate, pair, late, other if kind == "other" else None)
            if len(mouth) < rate:
                continue
            rows, speech = distances_of(compare(scorer, wave, mouth, pair.template, rate))
            wanted = 1000 * late / rate if kind == "lag" else None
            seconds = EXCERPTS[turn % len(EXCERPTS)]
            size = round(seconds * rate)
            start = int(rng.integers(max(1, len(rows) - size + 1)))
            for part in (slice(None), slice(start, start + size)):
                if (found := evidence(rows[part], speech[part], rate)) is not None:
                    yield found, wanted


def ranges(scorer: Scorer, clips: Sequence[Clip]) -> dict[str, tuple[float, float]]:
    """The ranges of the network's training data: percentiles of each of `sync_score.MEASURES` over these clips."""
    corpus = scorer.corpus
    found = [measures(scorer, _pair(scorer, corpus, clip)) for clip in progress(clips, "ranges", unit="clip")]
    return {name: tuple(np.percentile([row[name] for row in found], PERCENTILES).tolist()) for name in found[0]}


def _pair(scorer: Scorer, corpus: Corpus, clip: Clip) -> Compared:
    template = corpus.template(clip.speaker, "mouth")
    return compare(scorer, corpus.audio(clip), corpus.vertices(clip, "mouth"), template, corpus.fps)


def _commit() -> str:
    """The current commit, with the suffix `-dirty` if files differ from it; empty outside of Git."""
    done = subprocess.run(["git", "describe", "--always", "--abbrev=40", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip()


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=CORPUS)
    parser.add_argument("--syncnet", default=SYNCNET)
    parser.add_argument("--lags", type=int, default=6, help="known lags tried per clip (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--pairs", nargs="+", metavar="FOLDER", default=[], help="recordings of people in sync: sounds and motions"
    )
    parser.add_argument("--fps", type=float, help="frame rate of the motions of --pairs that do not contain it")
    parser.add_argument("--mm-per-unit", type=float, help="their unit, if they do not contain it")
    parser.add_argument("--out", default=str(STORED))
    arguments = parser.parse_args(words)
    corpus = open_corpus(arguments.corpus)
    scorer = Scorer(corpus, load_syncnet3d(arguments.syncnet, corpus.recipe), None)
    people = recorded(corpus, arguments.pairs, arguments.fps, arguments.mm_per_unit) if arguments.pairs else []
    known = [in_sync(corpus, clip) for clip in corpus.split("validation")]
    tried, right = try_lags(scorer, known, arguments.lags, arguments.seed)
    if people:
        more, found = try_lags(scorer, people[::2], arguments.lags, arguments.seed)
        tried, right = [*tried, *more], np.concatenate([right, found])
    fitted = fit_calibration(
        tried,
        right,
        recipe=corpus.recipe,
        network=sha256(Path(arguments.syncnet) / "model.safetensors"),
        ranges=ranges(scorer, corpus.split("train", "validation")),
        about={},
    )
    unknown = [in_sync(corpus, clip) for clip in corpus.split("test_seen", "test_unseen")]
    test, truly = try_lags(scorer, unknown, arguments.lags, arguments.seed)
    stated = np.array([confidence(fitted, found) for found in test])
    measured = {}
    if len(people) > 1:
        of_people, theirs = try_lags(scorer, people[1::2], arguments.lags, arguments.seed)
        measured = reliability(np.array([confidence(fitted, found) for found in of_people]), theirs)
    names = [Path(folder).name for folder in arguments.pairs]
    recordings = f" --pairs {' '.join(names)}" if names else ""
    about = {
        "command": f"python -m scripts.calibrate_score --lags {arguments.lags} --seed {arguments.seed}{recordings}",
        "commit": _commit(),
        "fitted_on": {
            "split": "validation",
            "recordings": len(people[::2]),
            "cases": len(tried),
            "share_right": float(right.mean()),
        },
        "measured_on": {"split": "test_seen, test_unseen", "share_right": float(truly.mean())},
        "pairs": "4 of 6 with a lag of up to 13 frames, 1 moved out of the search's range, 1 with another clip's sound",
        "reliability": reliability(stated, truly),
        **({"reliability_on_recordings": measured} if measured else {}),
    }
    save_calibration(arguments.out, type(fitted)(**{**vars(fitted), "about": about}))
    print(f"{arguments.out}: Brier {about['reliability']['brier']:.3f}")


if __name__ == "__main__":
    main()
