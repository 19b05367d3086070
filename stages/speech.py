"""Packaged speech, or Kokoro's and eSpeak's voices → data/speech: the speech of the 2D corpus, one file per voice"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from joblib import Parallel, cpu_count, delayed, parallel_config

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.datasets.embedded.kokoro import GET_THEM, open_kokoro
from learn2talk_core.datasets.embedded.parts import FILM_BITS_PER_SECOND, SpokenPart, film_parts, record
from learn2talk_core.datasets.embedded.utterances import open_speech, write_utterances
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_folder
from learn2talk_core.run.paths import SPEECH, is_nothing
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import run
from learn2talk_core.training.scratch import open_scratch

OUT = SPEECH
MOST_WORKERS = 16  # each needs half a gigabyte of memory
FEWEST = 3  # voices: one for each split


@dataclass(frozen=True)
class Params:
    source: str
    kokoro: str
    natural_voices: int
    espeak_voices: int
    sentences_a_voice: int
    seed: int


def main(params: Params) -> str:
    if is_nothing(params.source):
        make_speech(params)
    else:
        copy_speech(params.source)
    speech = open_speech(OUT)
    utterances = [one for said in speech.values() for one in said]
    spoken = sum(one.phonemes[-1].end - one.phonemes[0].start for one in utterances) / 60
    total = sum(one.samples for one in utterances) / SAMPLE_RATE / 60
    return f"{len(utterances)} sentences of {len(speech)} voices, {spoken:.1f} minutes, {total:.1f} with silence"


def copy_speech(source: str) -> None:
    """Take speech that an earlier run made."""
    made_by = "dvc repro speech in pretraining/ with speech.source ../weights/none, and copy data/speech"
    speech = open_speech(source, made_by=made_by)  # refuses a damaged file
    with whole_folder(OUT) as folder:
        for voice in speech:
            shutil.copy(Path(source) / f"{voice}.parquet", folder)


def make_speech(params: Params) -> None:
    """Let every voice say its part; a killed run goes on after the last finished voice."""
    check_voices(params)
    parts = film_parts(params.natural_voices, params.espeak_voices, params.sentences_a_voice, params.seed)
    kokoro = None if is_nothing(params.kokoro) else Path(params.kokoro).absolute()
    with open_scratch("speech", params, [kokoro] if kokoro else []) as scratch:
        made = scratch.folder.absolute()
        left = [part for part in parts if not file_of(part, made).is_file()]
        jobs = (delayed(record_to)(file_of(part, made), part, kokoro) for part in left)
        with parallel_config("loky", inner_max_num_threads=1, idle_worker_timeout=10):
            work = Parallel(n_jobs=min(cpu_count(), MOST_WORKERS), return_as="generator_unordered")(jobs)
            for _ in progress(work, "voices", total=len(parts), start=len(parts) - len(left)):
                pass
        with whole_folder(OUT) as folder:
            for part in parts:
                shutil.copy(file_of(part, made), folder)
        scratch.remove()


def check_voices(params: Params) -> None:
    """Refuse impossible parameters before the work."""
    if params.natural_voices > 0:
        if is_nothing(params.kokoro):
            expected = "the folder of Kokoro's files, for natural voices"
            fix = f"{GET_THEM} Or set speech.natural_voices to 0."
            raise BadInput("params.yaml: speech.kokoro", expected=expected, found="none", fix=fix)
        open_kokoro(params.kokoro)
    counts = (params.natural_voices, params.espeak_voices, params.sentences_a_voice)
    if min(counts) < 0 or max(counts[:2]) < FEWEST or params.sentences_a_voice < 1:
        expected = f"at least {FEWEST} voices of one kind (one for each split) and one sentence of each"
        found = f"natural_voices {counts[0]}, espeak_voices {counts[1]}, sentences_a_voice {counts[2]}"
        raise BadInput("params.yaml: speech", expected=expected, found=found, fix="Increase them.")


def file_of(part: SpokenPart, folder: Path) -> Path:
    return folder / f"{part.voice.id}.parquet"


def record_to(path: Path, part: SpokenPart, kokoro: Path | None) -> None:
    write_utterances(path, record(part, kokoro, bits_per_second=FILM_BITS_PER_SECOND))


if __name__ == "__main__":
    run(main, Params)
