"""Files of speech with texts, phoneme times and voices: parquet, one row per sentence, sound as Ogg Opus.

speech.parquet   packaged: the speech of the embedded 3D corpus
VOICE.parquet    of a folder, one for each voice: the speech of the 2D corpus
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from learn2talk_core.audio.opus import BITS_PER_SECOND, decode_opus, encode_opus
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.phonemes import PHONEMES as ARPABET_PHONEMES
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import inner_file, missing, plain_name, visible_files, whole_file
from learn2talk_core.untrusted.parquet import PHONEMES, read_rows

_COLUMNS: list[tuple[str, pa.DataType]] = [
    *[(name, pa.string()) for name in ("speaker", "voice")],
    ("female", pa.bool_()),
    *[(name, pa.string()) for name in ("split", "text")],
    ("samples", pa.int64()),
    ("phonemes", PHONEMES),
    ("opus", pa.binary()),
]


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence.

    Attributes:
        speaker: name of the speaker.
        voice: the voice in words, such as "0.6 af_heart + 0.4 af_sky".
        female: whether the voice is female.
        split: of the corpus that the speaker belongs to.
        text: what is said.
        samples: number of samples at 16 kHz.
        phonemes: with their times in seconds; pauses are covered by no phoneme.
        opus: the sound as Ogg Opus.
    """

    speaker: str
    voice: str
    female: bool
    split: str
    text: str
    samples: int
    phonemes: tuple[Phoneme, ...]
    opus: bytes

    def wave(self) -> np.ndarray:
        """The sound, float32 (samples,) in [-1, 1] at 16 kHz."""
        where = f"speech of {self.speaker}: {self.text!r}"
        return decode_opus(self.opus, self.samples, where, fix="Make the file of speech again.")


def utterance(
    speaker: str,
    voice: str,
    female: bool,
    split: str,
    text: str,
    spoken: tuple[np.ndarray, tuple[Phoneme, ...]],
    bits_per_second: int = BITS_PER_SECOND,
) -> Utterance:
    """An utterance from a wave (samples,) at 16 kHz and its phonemes, as the functions of `speech.py` return them."""
    wave, phonemes = spoken
    return Utterance(speaker, voice, female, split, text, len(wave), phonemes, encode_opus(wave, bits_per_second))


def write_utterances(path: str | Path, utterances: Sequence[Utterance]) -> None:
    """Write a file of speech; the same utterances give the same bytes."""
    rows = [asdict(u) for u in utterances]
    table = pa.Table.from_pylist(rows, schema=pa.schema(_COLUMNS))
    with whole_file(path) as partial:
        parquet.write_table(table, partial, row_group_size=max(1, len(rows)), compression="snappy")


def read_utterances(path: str | Path, *, made_by: str) -> list[Utterance]:
    """Read a file of speech, in the order in which it was written.

    Raises:
        BadInput: missing, empty or damaged, or with phonemes or lengths that cannot be.
    """
    path = inner_file(path, made_by=made_by)
    utterances = []
    for row in read_rows(path, _COLUMNS, made_by=made_by):
        plain_name(row["speaker"], f"{path}: name of a speaker")
        phonemes = tuple(Phoneme(**phoneme) for phoneme in row["phonemes"])
        edges = [edge for phoneme in phonemes for edge in (phoneme.start, phoneme.end)]
        right = all(a <= b + 1e-6 for a, b in zip([0.0, *edges], [*edges, row["samples"] / SAMPLE_RATE], strict=True))
        if not right or not phonemes or not {phoneme.name for phoneme in phonemes} <= set(ARPABET_PHONEMES):
            expected, found = "phonemes of ARPAbet, one after another within the clip", f"others in {row['text']!r:.80}"
            raise BadInput(path, expected=expected, found=found, fix=f"Make it again: {made_by}.")
        utterances.append(Utterance(**{**row, "phonemes": phonemes}))
    if not utterances:
        raise BadInput(path, expected="at least one sentence", found="none", fix=f"Make it again: {made_by}.")
    return utterances


def open_speech(folder: str | Path, *, made_by: str = "dvc repro speech in pretraining/") -> dict[str, list[Utterance]]:
    """The speech of the 2D corpus: speaker → utterances, sorted by the speakers' names. It takes 40 MB for 3 hours."""
    files = visible_files(folder, {".parquet"})
    if not files:
        raise missing(Path(folder) / "N00.parquet", made_by)
    return {file.stem: read_utterances(file, made_by=made_by) for file in files}
