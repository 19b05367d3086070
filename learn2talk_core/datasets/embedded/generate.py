"""The embedded 3D speech corpus: speakers, sentences, speech and motion are all generated here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from learn2talk_core.corpus.format import Recording, write_corpus
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.datasets.embedded.face_motion import move_face
from learn2talk_core.datasets.embedded.sentences import make_sentences
from learn2talk_core.datasets.embedded.speakers import Speaker, make_speakers
from learn2talk_core.datasets.embedded.speech import synthesise
from learn2talk_core.run.progress import progress

FPS = 30.0
MM_PER_UNIT = 1000.0


@dataclass(frozen=True)
class SpeakingRole:
    """One speaker, and the sentences that they say: (split, sentences) pairs."""

    speaker: Speaker
    sentences: tuple[tuple[str, tuple[str, ...]], ...]


def make_corpus(folder: str | Path, roles: Sequence[SpeakingRole], seed: int, variation: float, jobs: int = 2) -> None:
    """Write the corpus to `folder`; the same arguments give the same bytes.

    Args:
        folder: where to write the corpus in the canonical format.
        roles: see `cast`.
        seed: for the motion.
        variation: of the motion, see `move_face`.
        jobs: number of processes; each makes one speaker at a time.
    """
    face = load_face()
    texts = sorted({text for role in roles for _, texts in role.sentences for text in texts})
    numbers = {text: f"{i:04d}" for i, text in enumerate(texts)}
    work = Parallel(n_jobs=jobs, return_as="generator")(
        delayed(_recordings)(r, numbers, seed, variation) for r in roles
    )
    write_corpus(
        folder,
        (recording for made in progress(work, "speakers", total=len(roles)) for recording in made),
        topology=face.topology,
        templates={role.speaker.id: face.identity(role.speaker) for role in roles},
        train_speakers=[role.speaker.id for role in roles if role.sentences[0][0] == "train"],
        fps=FPS,
        mm_per_unit=MM_PER_UNIT,
        recipe="embedded",
        basis=face.basis,
    )


def cast(
    seed: int,
    *,
    train_speakers: int,
    validation_speakers: int,
    unseen_speakers: int,
    train_sentences: int,
    seen_test_sentences: int,
    other_sentences: int,
) -> list[SpeakingRole]:
    """Assign sentences to speakers. No sentence occurs twice, so that no test sentence is in training.

    Args:
        seed: for speakers and sentences.
        train_speakers: number of speakers with `train_sentences` for training and `seen_test_sentences` for the test
            of seen speakers.
        validation_speakers, unseen_speakers: number of speakers with `other_sentences` each.
        train_sentences, seen_test_sentences, other_sentences: sentences per speaker.
    """
    others = validation_speakers + unseen_speakers
    count = train_speakers * (train_sentences + seen_test_sentences) + others * other_sentences
    sentences = iter(make_sentences(count, seed))

    def take(number: int) -> tuple[str, ...]:
        return tuple(next(sentences) for _ in range(number))

    roles = []
    for i, speaker in enumerate(make_speakers(train_speakers + others, seed)):
        if i < train_speakers:
            roles.append(
                SpeakingRole(speaker, (("train", take(train_sentences)), ("test_seen", take(seen_test_sentences))))
            )
        else:
            split = "validation" if i < train_speakers + validation_speakers else "test_unseen"
            roles.append(SpeakingRole(speaker, ((split, take(other_sentences)),)))
    return roles


def _recordings(role: SpeakingRole, numbers: dict[str, str], seed: int, variation: float) -> list[Recording]:
    speaker = role.speaker
    said = [(split, text) for split, texts in role.sentences for text in texts]
    recordings = []
    for i, (wave, phonemes) in enumerate(synthesise(speaker, [text for _, text in said])):
        split, text = said[i]
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
