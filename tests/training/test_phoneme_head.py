"""Training of the phoneme head: it learns, its encoder does not, and a killed training goes on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learn2talk_core.datasets.embedded.packaged import packaged_speech
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.training import loop
from learn2talk_core.training.phoneme_head import PhonemeHeadRecipe, train_phoneme_head
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.speech_encoder import SpokenText, blind_scores, recognition_scores
from tests.models.speech_encoders.test_whisper import PACKAGED, tiny
from tests.training.test_speech_encoder import beeps

RECIPE = PhonemeHeadRecipe(
    width=16, dropout=0.1, steps=6, batch=3, window=0.8, noise=0.1, gain_db=6.0,
    learning_rate=1e-2, weight_decay=0.01, alignment_weight=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def packaged() -> SpeechEncoder:
    return load_speech_encoder(PACKAGED)


def test_it_learns_from_a_few_sentences_and_the_encoder_stays(packaged: SpeechEncoder, tmp_path: Path) -> None:
    """A minute of training voices; scored on voices and sentences that it has not heard."""
    clips, held_out = (
        [
            SpokenText(one.wave(), one.phonemes)
            for said in packaged_speech().values()
            for one in [one for one in said if one.split == split][:count]
        ]
        for split, count in (("train", 3), ("test_unseen", 2))
    )
    before = {key: value.clone() for key, value in packaged.state_dict().items()}
    recipe = replace(RECIPE, width=64, steps=60, batch=4, window=1.5, learning_rate=5e-3)
    with Scratch(tmp_path) as scratch:
        model, history = train_phoneme_head(packaged, clips, recipe, seed=0, scratch=scratch)
    assert len(history) == 60
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in packaged.state_dict().items())
    scores, blind = recognition_scores(model, held_out, model.rate), blind_scores(clips, held_out, model.rate)
    assert scores["frame_accuracy"] > 1.5 * blind["frame_accuracy"]


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVE_RATIO", 0.0)
    clips = [beeps(i) for i in range(3)]
    with Scratch(tmp_path / "a") as scratch:
        whole, history = train_phoneme_head(tiny(), clips, RECIPE, seed=0, scratch=scratch)

    class Killed(list):
        def __getitem__(self, index: int) -> object:  # type: ignore[override]
            calls.append(index)
            if len(calls) == 3 * RECIPE.batch + 1:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt), Scratch(tmp_path / "b") as scratch:
        train_phoneme_head(tiny(), Killed(clips), RECIPE, seed=0, scratch=scratch)
    with Scratch(tmp_path / "b") as scratch:
        resumed, again = train_phoneme_head(tiny(), clips, RECIPE, seed=0, scratch=scratch)
    assert again == history
    assert all(torch.equal(value, resumed.head.state_dict()[key]) for key, value in whole.head.state_dict().items())
