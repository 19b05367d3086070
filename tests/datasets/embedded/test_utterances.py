from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.datasets.embedded.utterances import (
    Utterance,
    open_speech,
    read_utterances,
    utterance,
    write_utterances,
)
from learn2talk_core.run.errors import BadInput

SAID = (Phoneme(0.2, 0.3, "HH"), Phoneme(0.3, 0.6, "AY"))


def hum(speaker: str = "N00", text: str = "Hi.") -> Utterance:
    wave = (0.3 * np.sin(np.arange(16_000) * 0.05)).astype(np.float32)
    return utterance(speaker, "af_heart", True, "loss", text, (wave, SAID))


def test_what_was_written_is_read_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    said = [hum(), hum(text="Hi there.")]
    write_utterances(tmp_path / "a.parquet", said)
    write_utterances(tmp_path / "b.parquet", [hum(), hum(text="Hi there.")])
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert read_utterances(tmp_path / "a.parquet", made_by="make it") == said
    expected = 0.3 * np.sin(np.arange(16_000) * 0.05)
    heard = said[0].wave()
    assert heard.dtype == np.float32
    assert np.corrcoef(heard, expected)[0, 1] > 0.99
    assert np.abs(heard - expected)[1000:-1000].max() < 0.03


def test_a_folder(tmp_path: Path) -> None:
    for name in ("N01", "N00"):
        write_utterances(tmp_path / f"{name}.parquet", [hum(name)])
    assert {name: [one.speaker for one in said] for name, said in open_speech(tmp_path).items()} == {
        "N00": ["N00"],
        "N01": ["N01"],
    }
    with pytest.raises(BadInput, match=r"nowhere/N00.parquet: expected a file, found nothing. Make it first: dvc"):
        open_speech(tmp_path / "nowhere")


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_utterances(path, [hum()])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"a.parquet: expected a parquet file, found a damaged .* again: do so\."):
        read_utterances(path, made_by="do so")
    write_utterances(path, [])
    with pytest.raises(BadInput, match=r"a.parquet: expected at least one sentence, found none\. Make it again: do so"):
        read_utterances(path, made_by="do so")


def test_damaged_sound() -> None:
    said = hum()
    middle = len(said.opus) // 2
    for broken in (said.opus[:middle], b"", b"RIFF" * 20, said.opus[:middle] + b"\0\1" + said.opus[middle + 2 :]):
        with pytest.raises(BadInput, match=r"speech of N00: 'Hi\.': expected 16000 samples of Opus at 16000 Hz, found"):
            replace(said, opus=broken).wave()


@pytest.mark.parametrize(
    "phonemes",
    [(), (Phoneme(0.2, 0.3, "XX"),), (Phoneme(0.3, 0.2, "AA"),), (Phoneme(0.9, 1.1, "AA"),), (SAID[1], SAID[0])],
)
def test_phonemes_that_cannot_be(phonemes: tuple[Phoneme, ...], tmp_path: Path) -> None:
    write_utterances(tmp_path / "a.parquet", [replace(hum(), phonemes=phonemes)])
    with pytest.raises(BadInput, match=r"expected phonemes of ARPAbet, one after another within the clip, found"):
        read_utterances(tmp_path / "a.parquet", made_by="do so")
