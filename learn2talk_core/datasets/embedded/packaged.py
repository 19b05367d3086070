"""The packaged speech of the embedded 3D corpus: `speech.parquet`, made by `python -m scripts.make_speech`."""

from pathlib import Path

from learn2talk_core.datasets.embedded.utterances import Utterance, read_utterances

PACKAGED = Path(__file__).with_name("speech.parquet")


def packaged_speech() -> dict[str, list[Utterance]]:
    """Speaker → utterances, in the order of `parts.packaged_parts`."""
    speech: dict[str, list[Utterance]] = {}
    for one in read_utterances(PACKAGED, made_by="git checkout or reinstall the package"):
        speech.setdefault(one.speaker, []).append(one)
    return speech
