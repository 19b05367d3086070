"""What a face says, read from its lips by the interpreter of a SelfTalk."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.corpus.motion_file import read_mouth
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.selftalk.network import READING_RATE, SelfTalk, text_of
from learn2talk_core.run.errors import BadInput
from learn2talk_core.statistics.recognition import ctc_greedy


class LipText(NamedTuple):
    """What was read.

    Attributes:
        text: words, or phonemes with spaces between them.
        seconds: length of the motion.
        notes: what a reader of the text should know.
    """

    text: str
    seconds: float
    notes: tuple[str, ...]


class LipFeatures(NamedTuple):
    """Lip features of one spoken word (n, H), and the clip that it is in."""

    features: np.ndarray
    clip: str


def load_interpreter(model: str | Path, corpus: Corpus) -> SelfTalk:
    """The SelfTalk in a model folder, for the mesh and unit of `corpus`; another network is refused."""
    made_by = "list selftalk in params.yaml (docs/networks.md), then make repro"
    student, _ = load_student(model, made_by=made_by, recipe=corpus.recipe)
    if not isinstance(student, SelfTalk):
        fix = "Name the folder of a SelfTalk: --model data/models/students/selftalk."
        raise BadInput(model, expected="a SelfTalk, which can read lips", found=f"a {student.network}", fix=fix)
    if student.vertex_count != len(corpus.topology.colours):
        found = f"one of {len(corpus.topology.colours)}"
        expected, fix = f"a corpus of {student.vertex_count} vertices", "Name the corpus of this model."
        raise BadInput(corpus.folder, expected=expected, found=found, fix=fix)
    return student


def read_lip_text(
    path: str | Path,
    interpreter: SelfTalk,
    corpus: Corpus,
    *,
    fps: float | None = None,
    mm_per_unit: float | None = None,
    template: str | Path | None = None,
) -> LipText:
    """Read the lips of a motion file; arguments as for `read_mouth`.

    Raises:
        BadInput: as `read_mouth`; lips that are not within the corpus's region `mouth`.
    """
    mouth = read_mouth(path, corpus, fps=fps, mm_per_unit=mm_per_unit, template=template)
    ids = corpus.topology.regions["mouth"]
    moved = np.zeros((len(mouth.vertices), interpreter.vertex_count, 3), np.float32)
    moved[:, ids] = mouth.vertices - mouth.template
    outside = np.setdiff1d(interpreter.lips.numpy(), [*ids, -1])
    if len(outside):
        expected = "lips within the mouth of the corpus"
        fix = "Name the corpus that the model was trained on: --corpus."
        raise BadInput(corpus.folder, expected=expected, found=f"{len(outside)} of the model's outside it", fix=fix)
    _, logits = interpreter.interpret(moved, mouth.fps)
    text = text_of(ctc_greedy(logits.numpy()), interpreter.units)
    notes = mouth.notes if text else (*mouth.notes, "nothing could be read from these lips")
    return LipText(text, len(moved) / mouth.fps, notes)


def features_of_word(
    interpreter: SelfTalk, corpus: Corpus, clips: Sequence[Clip], phonemes: Sequence[str], student: bool = True
) -> list[LipFeatures]:
    """Lip features wherever a word is spoken in `clips`.

    Args:
        interpreter: it reads the lips.
        corpus: gives the clips' sounds, and their true motion.
        clips: clips whose phonemes are known.
        phonemes: those of the word, in ARPABET without stress.
        student: read the lips that this SelfTalk moves to the sound; else those of the true motion.
    """
    found = []
    for clip in clips:
        spans = occurrences(clip.phonemes, phonemes)
        if not spans:
            continue
        if student:
            style = torch.eye(interpreter.style_count)[:1]  # SelfTalk has none
            states = interpreter.predict_states(corpus.audio(clip), corpus.fps, style, clip.frames)
            moved = interpreter.displacement(states)[0].detach().numpy()
        else:
            moved = corpus.vertices(clip) - corpus.template(clip.speaker)
        features, _ = interpreter.interpret(moved, corpus.fps)
        for start, end in spans:
            part = features[int(start * READING_RATE) : max(int(end * READING_RATE), int(start * READING_RATE) + 1)]
            found.append(LipFeatures(part.numpy(), clip.id))
    return found


def occurrences(spoken: Sequence[Phoneme], phonemes: Sequence[str]) -> list[tuple[float, float]]:
    """Start and end in seconds of each place where `spoken` has these phonemes in succession."""
    names, count = [phoneme.name for phoneme in spoken], len(phonemes)
    starts = [i for i in range(len(names) - count + 1) if names[i : i + count] == list(phonemes)]
    return [(spoken[i].start, spoken[i + count - 1].end) for i in starts]
