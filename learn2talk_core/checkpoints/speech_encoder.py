"""Published speech encoders: wav2vec 2.0 or Whisper's, told apart by their files."""

from pathlib import Path

from learn2talk_core.checkpoints.wav2vec2 import import_wav2vec2
from learn2talk_core.checkpoints.whisper import CTRANSLATE2, import_whisper
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import model_type
from learn2talk_core.models.speech_encoders.whisper import WhisperSpeechEncoder


def import_speech_encoder(source: str | Path) -> SpeechEncoder:
    """The encoder of a published checkpoint, in evaluation mode.

    Args:
        source: a folder of packaged weights, or one with `config.json` and weights in transformers' format; the name
            of a hub model in the local cache (nothing is downloaded); a file of wav2vec 2.0's weights (see
            `import_wav2vec2`); CTranslate2's `model.bin` of a Whisper, or its folder.

    Raises:
        BadInput: nothing there, another kind of model, or an incomplete or damaged one.
    """
    path = Path(source)
    if path.name == CTRANSLATE2 or (path / CTRANSLATE2).is_file():
        return import_whisper(source)
    if not path.is_file() and model_type(source) == WhisperSpeechEncoder.model_type:
        return import_whisper(source)
    return import_wav2vec2(source)
