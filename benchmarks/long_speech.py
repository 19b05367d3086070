"""Time and memory of `learn2talk animate` for long speech, format by format.

    python -m benchmarks.long_speech [--minutes 15] [--formats npy,glb,mp4] [--model …] [--corpus …]

The speech is the corpus's test clips in sequence, as 16-bit WAV. Each format runs in its own process, which reads,
animates, writes and syncs. An hour needs 6 GB of disk as npy or npz, 20 to 35 GB as usd, obj or ply.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.decode import peak_kilobytes
from benchmarks.stream import speech
from learn2talk.cli import main as learn2talk
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.run.paths import CORPUS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, nargs="+", default=(15,), help="default: %(default)s")
    parser.add_argument("--formats", default="npy,glb,mp4", help="default: %(default)s")
    parser.add_argument("--model", help="folder or name of a student (default: as in learn2talk animate)")
    parser.add_argument("--corpus", default=CORPUS)
    parser.add_argument("--alone", nargs=2, metavar=("WAV", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    given = [*([] if arguments.model is None else ["--model", arguments.model]), "--corpus", arguments.corpus]
    if arguments.alone:
        alone([arguments.alone[0], "-o", arguments.alone[1], "--format", arguments.formats, *given])
        return
    for minutes in arguments.minutes:
        for name in arguments.formats.split(","):
            with tempfile.TemporaryDirectory() as place:
                wave = Path(place) / "speech.wav"
                write_wave(wave, speech(arguments.corpus, round(60 * minutes)))
                command = [sys.executable, "-m", "benchmarks.long_speech", "--alone", str(wave), f"{place}/out"]
                command += ["--formats", name, *given]
                answer = subprocess.run(
                    command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
                )
                seconds, megabytes = map(float, answer.stdout.splitlines()[-1].split())
            rate = f"{seconds:.0f} s, {60 * minutes / seconds:.0f} times real time"
            print(f"{minutes:g} minutes as {name}: {rate}, peak memory {megabytes:.0f} MB", flush=True)


def alone(words: list[str]) -> None:
    """Run the command in this process; print its seconds and the peak memory in megabytes."""
    start = time.perf_counter()
    if learn2talk(["animate", *words]) != 0:
        raise SystemExit(1)
    print(time.perf_counter() - start, peak_kilobytes() / 1024)


if __name__ == "__main__":
    main()
