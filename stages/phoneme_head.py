"""speech, speech encoder → data/models/phoneme_head: a phoneme recogniser on the frozen encoder, of English speech.

It is scored on the speakers of the validation split, whose voices and sentences it has not heard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from learn2talk_core.datasets.embedded.utterances import Utterance, open_speech
from learn2talk_core.models.phoneme_head import save_phoneme_head
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.run.config import shared
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.paths import CURVES, METRICS, PHONEME_HEAD, SPEECH, SPEECH_ENCODER
from learn2talk_core.run.seed import mix
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import parameter_count
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.phoneme_head import PhonemeHeadRecipe, train_phoneme_head
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.speech_encoder import SpokenText, blind_scores, recognition_scores

ENCODER, OUT = SPEECH_ENCODER, PHONEME_HEAD
CURVE, NUMBERS = f"{CURVES}/phoneme_head.csv", f"{METRICS}/phoneme_head.json"


@dataclass(frozen=True)
class Params(PhonemeHeadRecipe):
    """Group `phoneme_head` of params.yaml."""

    seed: int = shared()


def main(params: Params) -> str:
    said = [one for utterances in open_speech(SPEECH).values() for one in utterances if one.phonemes]
    encoder = load_speech_encoder(ENCODER)
    clips, held_out = (
        SpokenUtterances([one for one in said if (one.split == "validation") == held]) for held in (0, 1)
    )
    if not clips or not held_out:
        expected = "speech of the split validation and of others"
        raise BadInput(SPEECH, expected=expected, found=splits(said), fix="Make more voices: dvc repro speech.")
    with open_scratch("phoneme_head", params, [SPEECH, ENCODER]) as scratch:
        model, history = train_phoneme_head(
            encoder, clips, params, seed=mix(params.seed, "phoneme_head"), scratch=scratch
        )
        scores = recognition_scores(model, held_out, model.rate)
        blind = blind_scores(clips, held_out, model.rate)
        about = {
            "parameters": parameter_count(model.head),
            "train_clips": len(clips),
            "validation_clips": len(held_out),
        }
        with whole_folder(OUT) as folder:
            save_phoneme_head(folder, model.head, encoder)
        write_curve(history, CURVE)
        write_json(NUMBERS, {**scores, **{f"{key}_no_audio": value for key, value in blind.items()}, **about})
        scratch.remove()
    return f"phoneme error {scores['phoneme_error']:.3f} on unseen voices ({blind['phoneme_error']:.3f} without audio)"


class SpokenUtterances(Sequence[SpokenText]):
    """Utterances whose sound is decoded when it is needed: three hours would take 700 MB."""

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self._utterances = utterances

    def __len__(self) -> int:
        return len(self._utterances)

    @overload
    def __getitem__(self, index: int) -> SpokenText: ...
    @overload
    def __getitem__(self, index: slice) -> "SpokenUtterances": ...
    def __getitem__(self, index: int | slice) -> "SpokenText | SpokenUtterances":
        if isinstance(index, slice):
            return SpokenUtterances(self._utterances[index])
        return SpokenText(self._utterances[index].wave(), self._utterances[index].phonemes)


def splits(said: list[Utterance]) -> str:
    """How many clips each split has."""
    names = sorted({one.split for one in said})
    return ", ".join(f"{sum(one.split == name for one in said)} of {name}" for name in names) or "none"


if __name__ == "__main__":
    run(main, Params)
