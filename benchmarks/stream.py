"""Delay, real-time factor and memory of a stream with chunks of 0.4, 1, 2 and 5 s.

    python -m benchmarks.stream [--model data/models/students/learn2talk] [--corpus data/corpus] [--seconds 60] [--hour]

Sound is fed in pieces of 0.1 s, as from a microphone. The delay of a frame is the time from its instant until `feed`
returns it, if the pieces arrive in real time and the machine does nothing else: waiting for the end of the chunk, the
look-ahead and the end of the piece, and computing. The real-time factor is the computing time per second of sound. The
mean distance of the lips from the motion predicted for the whole clip at once is given too, and for comparison that
from rest. `--hour` feeds an hour of sound and prints the memory.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.decode import peak_kilobytes
from learn2talk_core.animation.animator import Animator
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.animation.stream import Stream
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.run.paths import CORPUS

PIECE = 1600  # samples
FPS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="folder or name of a student (default: as in learn2talk animate)")
    parser.add_argument("--corpus", default=CORPUS)
    parser.add_argument("--seconds", type=int, default=60, help="length of the speech (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--hour", action="store_true", help="measure memory over an hour, with chunks of 1 s")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    animator = load_animator(arguments.model, corpus=arguments.corpus)
    wave = speech(arguments.corpus, arguments.seconds)
    warm(animator, wave)
    whole = animator.animate(wave, style=animator.speakers[0])
    lips = animator.topology.regions["lips"]
    expected = whole.vertices()[:, lips]
    for chunk in (0.4, 1.0, 2.0, 5.0):
        for look_ahead in (0.2, 0.4, 1.0):
            stream = animator.stream(FPS, chunk=chunk, look_ahead=look_ahead)
            vertices, delays, work = live(stream, wave)
            distance = np.linalg.norm(vertices[:, lips] - expected, axis=-1).mean()
            print(
                f"chunk {chunk:g} s, look-ahead {look_ahead:g} s: delay mean {delays.mean():.2f} s, largest "
                f"{delays.max():.2f} s; real-time factor {work / arguments.seconds:.3f}; "
                f"{distance * animator.mm_per_unit:.2f} mm from the whole",
                flush=True,
            )
    still = np.linalg.norm(expected - whole.template[lips], axis=-1).mean()
    print(f"the lips' mean distance from rest is {still * animator.mm_per_unit:.2f} mm")
    if arguments.hour:
        hour(animator, wave)


def speech(corpus: str, seconds: int) -> np.ndarray:
    """The test clips in sequence, repeated or cut to `seconds`."""
    opened = open_corpus(corpus)
    clips = [opened.audio(clip) for clip in opened.split("test_seen", "test_unseen")]
    wave = np.concatenate(clips)
    return np.tile(wave, 1 + 16000 * seconds // len(wave))[: 16000 * seconds]


def warm(animator: Animator, wave: np.ndarray) -> None:
    animator.animate(wave[:16000], style=animator.speakers[0])
    live(animator.stream(FPS), wave[: 5 * 16000])


def live(stream: Stream, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Vertices, the delay of each frame in seconds, and the computing time in seconds."""
    pieces, delays, work, free, given = [], [], 0.0, 0.0, 0
    for start in range(0, len(wave) + PIECE, PIECE):
        arrived = min(start + PIECE, len(wave)) / 16000
        begin = time.perf_counter()
        pieces.append(stream.feed(wave[start : start + PIECE]) if start < len(wave) else stream.finish())
        took = time.perf_counter() - begin
        work += took
        free = max(free, arrived) + took  # simulated time at which this piece is done
        delays += [free - (given + i) / stream.fps for i in range(len(pieces[-1]))]
        given += len(pieces[-1])
    return np.concatenate(pieces), np.array(delays), work


def hour(animator: Animator, wave: np.ndarray) -> None:
    stream = animator.stream(FPS)
    minute = np.tile(wave, 1 + 60 * 16000 // len(wave))[: 60 * 16000]
    for number in range(60):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the peak memory
        begin = time.perf_counter()
        for start in range(0, len(minute), PIECE):
            stream.feed(minute[start : start + PIECE])
        if number % 10 in (0, 9):
            took = time.perf_counter() - begin
            print(f"minute {number + 1:2d}: peak {peak_kilobytes() / 1024:.0f} MB, real-time factor {took / 60:.3f}")


if __name__ == "__main__":
    main()
