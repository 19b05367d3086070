"""Speech encoders on disk: a folder with `config.json` and `model.safetensors`, as transformers writes and reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Wav2Vec2Config

from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.source import beside
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder, load_wav2vec2
from learn2talk_core.models.speech_encoders.whisper import WhisperSpeechEncoder, load_whisper, whisper_config
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import missing, read_json, write_json
from learn2talk_core.run.paths import SPEECH_ENCODER
from learn2talk_core.run.weights import write_tensors

KINDS = (Wav2Vec2SpeechEncoder.model_type, WhisperSpeechEncoder.model_type)


def model_type(source: str | Path) -> str:
    """The kind of encoder in a folder or hub model, from its `config.json`; wav2vec 2.0 if it does not say.

    Raises:
        BadInput: another kind of model.
    """
    path = beside(source, "config.json")
    about = {} if path is None else read_json(path, made_by="download the model")
    kind = about.get("model_type", KINDS[0]) if isinstance(about, dict) else KINDS[0]
    if kind not in KINDS:
        fix = "Name one in the format of transformers: a folder, or a hub model in the local cache."
        raise BadInput(source, expected="a wav2vec 2.0 or a Whisper", found=f"a {kind}"[:80], fix=fix)
    return str(kind)


def load_speech_encoder(source: str | Path, frozen_layers: int | None = None) -> SpeechEncoder:
    """Load an encoder from a folder, or a hub model in the local cache; nothing is ever downloaded.

    Weights of half precision are converted to float32.

    Args:
        source: the folder or hub model.
        frozen_layers: number of transformer layers that a student's training leaves as they are; None is the encoder's
            own choice: for Whisper all but the last two, for wav2vec 2.0 none.

    Raises:
        BadInput: nothing there, another kind of network, weights that are missing, damaged or of other shapes; or
            fewer layers than `frozen_layers`.
    """
    if str(source) == SPEECH_ENCODER and not Path(source).is_dir():  # else it would be sought among the hub's models
        raise missing(Path(source) / "config.json", "dvc repro")
    kind = model_type(source)
    encoder: SpeechEncoder = load_whisper(source) if kind == WhisperSpeechEncoder.model_type else load_wav2vec2(source)
    if frozen_layers is not None:
        layers = encoder.config.num_hidden_layers
        if not 0 <= frozen_layers <= layers:
            expected = f"0 … {layers}, the layers of the speech encoder in {source}"
            raise BadInput(
                "frozen_layers", expected=expected, found=str(frozen_layers), fix="Change it in params.yaml."
            )
        encoder.config.frozen_layers = frozen_layers
    return encoder


def save_speech_encoder(folder: str | Path, encoder: SpeechEncoder) -> None:
    """Write the two files into an existing folder."""
    write_tensors(Path(folder) / "model.safetensors", encoder.state_dict(), {"format": "pt"})
    write_json(Path(folder) / "config.json", encoder.settings())


def new_speech_encoder(settings: Mapping[str, Any], path: object) -> SpeechEncoder:
    """An untrained encoder with these `SpeechEncoder.settings`; `path`, where they were read, is for errors."""
    kind = settings.get("model_type", KINDS[0])  # students saved before there was a choice do not say
    if kind == WhisperSpeechEncoder.model_type:
        return WhisperSpeechEncoder(whisper_config(settings, path, fix="Train the student again."))
    if kind != Wav2Vec2SpeechEncoder.model_type:
        expected, fix = " or ".join(KINDS), "Train the student again."
        raise BadInput(f"{path}: speech_encoder", expected=expected, found=f"{kind}"[:80], fix=fix)
    numbers = {key: value for key, value in settings.items() if key != "model_type"}
    return Wav2Vec2SpeechEncoder(Wav2Vec2Config(**numbers))
