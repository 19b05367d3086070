"""SelfTalk's speech recogniser: a frozen wav2vec 2.0 with a CTC head, which says what the lips should say (Eq. 8, 9).

It is always in evaluation mode. SelfTalk's own code leaves it in training mode, where dropout and time masking disturb
the targets.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.models.phoneme_head import SpeechRecogniser, load_recogniser
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import new_speech_encoder
from learn2talk_core.models.speech_encoders.source import beside
from learn2talk_core.models.speech_encoders.wav2vec2 import load_wav2vec2
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json
from learn2talk_core.run.weights import frozen, load_config, load_network, save_weights
from learn2talk_core.untrusted.published import read_state

RECOGNISER = "speech_recogniser"  # kind of network in a folder of `save_text_recogniser`
HEAD_BY = "cd pretraining && dvc repro phoneme_head"
# The units of wav2vec2-large-xlsr-53-english, blank first.
CHARACTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", "'", "-", *"abcdefghijklmnopqrstuvwxyz")
PADDING = ("<pad>", "[PAD]")  # names of the blank in vocabularies of transformers


class Heard(NamedTuple):
    """What a recogniser hears in a clip.

    Attributes:
        hidden: (n, H) its hidden states.
        logits: (n, units) of CTC; unit 0 is blank.
        times: (n,) seconds from the beginning of the clip.
    """

    hidden: Tensor
    logits: Tensor
    times: Tensor


class Listener(Protocol):
    """Any frozen recogniser that SelfTalk can be trained with.

    Attributes:
        units: its units of text, blank first.
        width: H, width of its hidden states.
    """

    units: tuple[str, ...]

    @property
    def width(self) -> int: ...

    def hear(self, wave: np.ndarray) -> Heard:
        """What is said in a clip (samples,) at 16 kHz, without gradient."""
        ...


class TextRecogniser(nn.Module):
    """A wav2vec 2.0 with a linear CTC head; keys are those of transformers' Wav2Vec2ForCTC."""

    def __init__(self, encoder: SpeechEncoder, units: Sequence[str]) -> None:
        super().__init__()
        self.units = tuple(units)
        self.wav2vec2 = encoder
        self.lm_head = nn.Linear(encoder.width, len(self.units))
        self.eval()

    @property
    def width(self) -> int:
        return self.wav2vec2.width

    def train(self, mode: bool = True) -> "TextRecogniser":
        """Stay in evaluation mode, also inside a network that is being trained."""
        return super().train(False)

    @torch.no_grad()
    def hear(self, wave: np.ndarray) -> Heard:
        encoder = self.wav2vec2
        hidden = encoder.encode_long(encoder.frozen_features(wave)[None], SAMPLE_RATE / encoder.stride)[0]
        centres = torch.arange(len(hidden), dtype=torch.float64) * encoder.stride + encoder.offset
        return Heard(hidden, self.lm_head(hidden), centres / SAMPLE_RATE)


class PhonemeText:
    """The phoneme recogniser of this project: a head on the frozen speech encoder, whose hidden states are compared."""

    def __init__(self, recogniser: SpeechRecogniser) -> None:
        self._recogniser = recogniser
        self.units = ("<pad>", *recogniser.head.phonemes)

    @property
    def width(self) -> int:
        return self._recogniser.encoder.width

    @torch.no_grad()
    def hear(self, wave: np.ndarray) -> Heard:
        rate = self._recogniser.rate
        count = max(1, round(len(wave) / SAMPLE_RATE * rate))
        hidden = self._recogniser.features(wave, count, rate)
        logits, _ = self._recogniser.head(hidden[None])
        return Heard(hidden, logits[0], torch.arange(count, dtype=torch.float64) / rate)


def open_recogniser(source: str | Path, encoder: SpeechEncoder) -> Listener:
    """The recogniser for SelfTalk's training: a phoneme head on `encoder`, or what `load_text_recogniser` reads."""
    if (Path(source) / "model.json").is_file() and _kind(source) == "phoneme_head":
        return PhonemeText(load_recogniser(encoder, source, made_by=HEAD_BY))
    return load_text_recogniser(source)


def refuse_other_network(source: str | Path) -> None:
    """Refuse what `open_recogniser` cannot read, without a speech encoder."""
    if not (Path(source) / "model.json").is_file():
        load_text_recogniser(source)
    elif (kind := _kind(source)) not in ("phoneme_head", RECOGNISER):
        expected = "a recogniser: a phoneme head, or a wav2vec 2.0 with a CTC head"
        fix = "Name weights/phoneme_head, or a folder that docs/checkpoints.md describes."
        raise BadInput(source, expected=expected, found=f"a {kind}"[:80], fix=fix)


def _kind(source: str | Path) -> str:
    """Which network is in a model folder of this project."""
    return str(load_config(source, made_by=HEAD_BY).get("network", "network of another kind"))


def save_text_recogniser(folder: str | Path, recogniser: TextRecogniser) -> None:
    """Write a recogniser that `load_text_recogniser` reads."""
    settings = {"units": list(recogniser.units), "speech_encoder": recogniser.wav2vec2.settings()}
    save_weights(folder, recogniser, {"network": RECOGNISER, **settings})


def load_text_recogniser(source: str | Path) -> TextRecogniser:
    """A frozen recogniser: a folder in the format of transformers' Wav2Vec2ForCTC, such as that of
    jonatasgrosman/wav2vec2-large-xlsr-53-english, its name in the local cache, or a folder of `save_text_recogniser`.

    Raises:
        BadInput: nothing there, no CTC head, or units whose number is not that of the head.
    """
    if (Path(source) / "model.json").is_file():
        refuse_other_network(source)
        made_by = "learn2talk import-checkpoint"
        return load_network(source, lambda config: _new(config, Path(source) / "model.json"), made_by=made_by)[0]
    fix = "Name a wav2vec 2.0 that was fine-tuned with CTC, such as wav2vec2-large-xlsr-53-english."
    encoder = load_wav2vec2(source)
    file = beside(source, "model.safetensors") or beside(source, "pytorch_model.bin")
    head = {} if file is None else {k: v for k, v in read_state(file).items() if k.startswith("lm_head.")}
    weight, bias = head.get("lm_head.weight"), head.get("lm_head.bias")
    if weight is None or bias is None or weight.shape != (len(bias), encoder.width):
        raise BadInput(source, expected="a CTC head: lm_head.weight and lm_head.bias", found="none", fix=fix)
    units = _vocabulary(source, len(bias))
    blank = next((number for number, unit in enumerate(units) if unit in PADDING), None)
    if blank is None:
        expected = f"a unit {' or '.join(PADDING)}, the blank of CTC"
        raise BadInput(source, expected=expected, found=", ".join(units), fix=fix)
    order = [blank, *(number for number in range(len(units)) if number != blank)]  # here the blank is the first
    recogniser = TextRecogniser(encoder, [units[number] for number in order])
    with torch.no_grad():
        recogniser.lm_head.weight.copy_(weight[order])
        recogniser.lm_head.bias.copy_(bias[order])
    frozen(recogniser)
    return recogniser


def _new(config: Mapping[str, Any], path: Path) -> TextRecogniser:
    return TextRecogniser(new_speech_encoder(config["speech_encoder"], path), config["units"])


def _vocabulary(source: str | Path, count: int) -> tuple[str, ...]:
    """The units in `vocab.json` (unit → number), or, without that file, those of the model that SelfTalk uses."""
    path = beside(source, "vocab.json")
    numbers = dict(zip(CHARACTERS, range(len(CHARACTERS)), strict=True)) if path is None else {}
    if path is not None:
        found = read_json(path, made_by="download the model")
        numbers = found if isinstance(found, dict) else {}
    units = {number: unit for unit, number in numbers.items() if isinstance(number, int)}
    if sorted(units) != list(range(count)):
        fix = "Download vocab.json of this model beside its weights."
        found = f"{len(units)} in {path or 'the vocabulary that SelfTalk uses'}"
        raise BadInput(source, expected=f"the {count} units of its CTC head", found=found, fix=fix)
    return tuple(units[number] for number in range(count))
