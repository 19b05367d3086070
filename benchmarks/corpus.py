"""data/corpus → lip gaps by phoneme, correlation with loudness, and time of access.

python -m benchmarks.corpus [--corpus data/corpus]
"""

import argparse
import time

import numpy as np

from learn2talk_core.corpus.format import Clip, Corpus, open_corpus
from learn2talk_core.corpus.phonemes import BILABIALS, PHONEMES, SILENCE, VOWELS, frame_labels
from learn2talk_core.datasets.embedded.face_motion import loudness
from learn2talk_core.mesh.topology import lip_gap
from learn2talk_core.metrics.articulation import articulation, pooled
from learn2talk_core.run.paths import CORPUS

CLASSES = {
    "p b m": BILABIALS,
    "f v": ("F", "V"),
    "open vowels": ("AA", "AE", "AY"),
    "round (uw ow w)": ("UW", "OW", "W"),
    "all vowels": VOWELS,
    "other consonants": tuple(set(PHONEMES) - set(VOWELS) - {*BILABIALS, "F", "V", "W"}),
    "silence": (SILENCE,),
}
LAGS = range(-8, 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", default=CORPUS, help="default: %(default)s")
    corpus = open_corpus(parser.parse_args().corpus)
    gaps = [opening(corpus, clip) for clip in corpus.clips]
    labels = np.concatenate([frame_labels(clip.phonemes, clip.frames, corpus.fps) for clip in corpus.clips])
    names = np.array([SILENCE, *PHONEMES])[labels]
    every = np.concatenate(gaps)
    seconds = np.array([clip.frames for clip in corpus.clips]) / corpus.fps
    print(f"{len(seconds)} clips, {seconds.mean():.2f} s on average ({seconds.min():.1f} to {seconds.max():.1f})\n")

    print("| lip gap, mm | frames | mean | 10 % | median | 90 % |\n|---|---|---|---|---|---|")
    for title, members in CLASSES.items():
        chosen = every[np.isin(names, members)].mean(axis=1)
        low, middle, high = np.percentile(chosen, (10, 50, 90))
        print(f"| {title} | {len(chosen)} | {chosen.mean():.2f} | {low:.2f} | {middle:.2f} | {high:.2f} |")
    print(f"\np b m with a frame where every pair is within 0.5 mm: {100 * closed(corpus, gaps):.1f} %")
    pairs = list(zip(corpus.clips, gaps, strict=True))
    moved = pooled([articulation(gap.mean(axis=1), corpus.fps, clip.phonemes) for clip, gap in pairs])
    print("the measures of benchmarks.real_speech:", moved.scores())

    found = {lag: np.mean([correlation(corpus, clip, gap, lag) for clip, gap in pairs]) for lag in LAGS}
    print("lip gap against loudness, by lag in frames (positive: sound later):")
    print(" ".join(f"{lag:+d}: {value:.2f}" for lag, value in found.items()))

    corpus.vertices(corpus.clips[0], "mouth")  # warm-up: caches the region's basis
    clips = [corpus.clips[i % len(corpus.clips)] for i in range(2000)]
    start = time.perf_counter()
    for clip in clips:
        corpus.vertices(clip, "mouth", slice(20, 26))
    print(f"a window of 0.2 s of the mouth: {1e6 * (time.perf_counter() - start) / len(clips):.0f} µs")


def opening(corpus: Corpus, clip: Clip) -> np.ndarray:
    """(T, P) gap of the lip pairs in millimetres."""
    return lip_gap(corpus.vertices(clip), corpus.topology.lip_pairs) * corpus.mm_per_unit


def closed(corpus: Corpus, gaps: list[np.ndarray]) -> float:
    """Share of bilabials with a frame in which all lip pairs are closed."""
    tight = []
    for clip, gap in zip(corpus.clips, gaps, strict=True):
        for phoneme in clip.phonemes:
            if phoneme.name in BILABIALS:
                first, last = int(phoneme.start * corpus.fps), int(np.ceil(phoneme.end * corpus.fps))
                tight.append(gap[first : last + 1].max(axis=1).min() < 0.5)
    return float(np.mean(tight))


def correlation(corpus: Corpus, clip: Clip, gap: np.ndarray, lag: int) -> float:
    loud = loudness(corpus.audio(clip), clip.frames, corpus.fps)
    mouth = gap.mean(axis=1)
    first, second = (mouth[: len(mouth) - lag], loud[lag:]) if lag >= 0 else (mouth[-lag:], loud[:lag])
    return float(np.corrcoef(first, second)[0, 1])


if __name__ == "__main__":
    main()
