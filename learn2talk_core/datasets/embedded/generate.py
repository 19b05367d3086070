"""The embedded 3D speech corpus: packaged speech, or eSpeak's, and the generated motion of faces that say it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import delayed

from learn2talk_core.corpus.format import Recording, write_corpus
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.datasets.embedded.face_motion import move_face
from learn2talk_core.datasets.embedded.packaged import packaged_speech
from learn2talk_core.datasets.embedded.sentences import make_sentences
from learn2talk_core.datasets.embedded.speakers import Speaker, make_speaker
from learn2talk_core.datasets.embedded.speech import synthesise
from learn2talk_core.datasets.embedded.utterances import Utterance
from learn2talk_core.datasets.embedded.voices import CORPUS_VOICES, EspeakVoice, espeak_voices
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import regular
from learn2talk_core.run.progress import progress
from learn2talk_core.run.workers import worker_processes

FPS = 30.0
MM_PER_UNIT = 1000.0
LONGEST_TEXT = 300  # characters of a sentence of the user's own


@dataclass(frozen=True)
class CorpusSize:
    """How much is said.

    Attributes:
        train_speakers: number of speakers with `train_sentences` for training and `seen_test_sentences` for the test
            of seen speakers.
        validation_speakers, unseen_speakers: number of speakers with `other_sentences` each.
        train_sentences, seen_test_sentences, other_sentences: sentences per speaker.
    """

    train_speakers: int
    validation_speakers: int
    unseen_speakers: int
    train_sentences: int
    seen_test_sentences: int
    other_sentences: int

    @property
    def sentences(self) -> int:
        """Of all speakers."""
        others = (self.validation_speakers + self.unseen_speakers) * self.other_sentences
        return self.train_speakers * (self.train_sentences + self.seen_test_sentences) + others


@dataclass(frozen=True)
class SpeakingRole:
    """One speaker, the splits and texts of their sentences, and their speech: utterances, or a voice of eSpeak."""

    speaker: Speaker
    splits: tuple[str, ...]
    texts: tuple[str, ...]
    speech: tuple[Utterance, ...] | EspeakVoice


def make_corpus(folder: str | Path, roles: Sequence[SpeakingRole], seed: int, variation: float, jobs: int = 2) -> None:
    """Write the corpus to `folder`; the same arguments give the same bytes.

    Args:
        folder: where to write the corpus in the canonical format.
        roles: see `cast_packaged` and `cast_espeak`.
        seed: for the motion.
        variation: of the motion, see `move_face`.
        jobs: number of processes; each makes one speaker at a time.
    """
    face = load_face()
    texts = sorted({text for role in roles for text in role.texts})
    numbers = {text: f"{i:04d}" for i, text in enumerate(texts)}
    work = worker_processes(jobs, return_as="generator")(
        delayed(_recordings)(r, numbers, seed, variation) for r in roles
    )
    write_corpus(
        folder,
        (recording for made in progress(work, "speakers", total=len(roles)) for recording in made),
        topology=face.topology,
        templates={role.speaker.id: face.identity(role.speaker) for role in roles},
        train_speakers=[role.speaker.id for role in roles if "train" in role.splits],
        fps=FPS,
        mm_per_unit=MM_PER_UNIT,
        recipe="embedded",
        basis=face.basis,
    )


def cast_packaged(size: CorpusSize, seed: int) -> list[SpeakingRole]:
    """Roles with the packaged speech; `seed` is for faces and styles of motion.

    Raises:
        BadInput: the packaged speech has fewer speakers or sentences.
    """
    speech = packaged_speech()
    by_split = {split: [said for said in speech.values() if said[0].split == split] for split in CORPUS_VOICES}
    needed = {
        "train": (size.train_speakers, size.train_sentences + size.seen_test_sentences),
        "validation": (size.validation_speakers, size.other_sentences),
        "test_unseen": (size.unseen_speakers, size.other_sentences),
    }
    roles = []
    for split, (speakers, sentences) in needed.items():
        found, most = len(by_split[split]), min(map(len, by_split[split]), default=0)
        if speakers > found or sentences > most:
            raise BadInput(
                "params.yaml: corpus",
                expected=f"at most {found} speakers with {most} sentences each in the split {split}, as packaged",
                found=f"{speakers} with {sentences}",
                fix="Reduce them, or set corpus.speech to espeak.",
            )
        for said in by_split[split][:speakers]:
            speaker = make_speaker(said[0].speaker, seed, female=said[0].female)
            chosen = tuple(said[:sentences])
            roles.append(SpeakingRole(speaker, _splits(split, size), tuple(one.text for one in chosen), chosen))
    return roles


def cast_espeak(size: CorpusSize, seed: int, texts: Sequence[str] | None = None) -> list[SpeakingRole]:
    """Roles with eSpeak's voices. No sentence occurs twice, so that no test sentence is in training.

    Args:
        size: of the corpus.
        seed: for speakers, voices and the grammar's sentences.
        texts: different sentences; the grammar's if None.
    """
    sentences = iter(make_sentences(size.sentences, seed) if texts is None else texts)
    count = size.train_speakers + size.validation_speakers + size.unseen_speakers
    roles = []
    for i, voice in enumerate(espeak_voices(count, seed)):
        others = "validation" if i < size.train_speakers + size.validation_speakers else "test_unseen"
        splits = _splits("train" if i < size.train_speakers else others, size)
        said = tuple(next(sentences) for _ in splits)
        roles.append(SpeakingRole(make_speaker(voice.id, seed, female=voice.female), splits, said, voice))
    return roles


def read_texts(path: str | Path, needed: int) -> list[str]:
    """Sentences of a text file, one per line; empty lines and repetitions are left out.

    Raises:
        BadInput: no text in UTF-8, a line longer than `LONGEST_TEXT` characters, or fewer than `needed` sentences.
    """
    path = regular(path, made_by="write one sentence per line")
    fix = "Correct the file, or set corpus.texts to weights/none."
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise BadInput(path, expected="text in UTF-8", found=str(error), fix=fix) from error
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_TEXT:
            expected = f"sentences of up to {LONGEST_TEXT} characters"
            raise BadInput(f"{path}, line {number}", expected=expected, found=str(len(line)), fix=fix)
    texts = list(dict.fromkeys(line for line in lines if line))
    if len(texts) < needed:
        raise BadInput(path, expected=f"{needed} different sentences", found=str(len(texts)), fix=fix)
    return texts[:needed]


def _splits(split: str, size: CorpusSize) -> tuple[str, ...]:
    """The split of each sentence of a speaker."""
    if split != "train":
        return (split,) * size.other_sentences
    return ("train",) * size.train_sentences + ("test_seen",) * size.seen_test_sentences


def _recordings(role: SpeakingRole, numbers: dict[str, str], seed: int, variation: float) -> list[Recording]:
    speaker = role.speaker
    if isinstance(role.speech, EspeakVoice):
        spoken = synthesise(role.speech, role.texts)
    else:
        spoken = [(one.wave(), one.phonemes) for one in role.speech]
    recordings = []
    for i, ((wave, phonemes), text, split) in enumerate(zip(spoken, role.texts, role.splits, strict=True)):
        rng = np.random.default_rng([seed, speaker.seed, i])
        motion = move_face(speaker, wave, phonemes, FPS, variation, rng)
        recordings.append(
            Recording(
                id=f"{speaker.id}_{numbers[text]}",
                speaker=speaker.id,
                sentence=numbers[text],
                text=text,
                split=split,
                audio=wave,
                motion=motion,
                phonemes=phonemes,
            )
        )
    return recordings
