"""Make the packaged speech of the embedded 3D corpus from Kokoro's voices: python -m scripts.make_speech FOLDER

FOLDER holds Kokoro's files (docs/corpus.md). The result, `speech.parquet` beside the code, is the same for the same
files and versions of the packages.
"""

import argparse

from joblib import cpu_count, delayed

from learn2talk_core.datasets.embedded.packaged import PACKAGED
from learn2talk_core.datasets.embedded.parts import packaged_parts, record
from learn2talk_core.datasets.embedded.utterances import write_utterances
from learn2talk_core.run.progress import progress
from learn2talk_core.run.workers import worker_processes


def main(kokoro: str) -> None:
    parts = packaged_parts()
    jobs = (delayed(record)(part, kokoro) for part in parts)
    work = worker_processes(cpu_count(), threads=1, return_as="generator")(jobs)
    made = [one for said in progress(work, "voices", total=len(parts)) for one in said]
    write_utterances(PACKAGED, made)
    size = PACKAGED.stat().st_size / 1e6
    minutes = sum(one.samples for one in made) / 16_000 / 60
    print(f"{PACKAGED}: {len(made)} sentences of {len(parts)} voices, {minutes:.1f} minutes, {size:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kokoro", metavar="FOLDER")
    main(parser.parse_args().kokoro)
