"""The stage `speech`: its parameters, and that killed work goes on."""

from pathlib import Path

import pytest

import stages.speech as stage
from learn2talk_core.datasets.embedded.utterances import open_speech
from learn2talk_core.run.errors import BadInput
from stages.speech import Params, main


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    pytest.importorskip("espeakng_loader")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def params(**changes: object) -> Params:
    values = {
        "source": "weights/none",
        "kokoro": "weights/none",
        "natural_voices": 0,
        "espeak_voices": 3,
        "sentences_a_voice": 2,
        "seed": 0,
    }
    return Params(**{**values, **changes})  # type: ignore[arg-type]


def test_each_split_has_a_voice_and_nothing_is_left_behind(here: Path) -> None:
    assert main(params()).startswith("6 sentences of 3 voices, 0.")
    speech = open_speech("data/speech")
    assert {name: said[0].split for name, said in speech.items()} == {
        "E00": "loss",
        "E01": "metric",
        "E02": "validation",
    }
    assert len({one.text for said in speech.values() for one in said}) == 6
    assert not any((here / ".scratch").iterdir())


def test_a_killed_stage_keeps_the_finished_voices(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "whole_folder", stop)  # killed after the last voice
        with pytest.raises(KeyboardInterrupt):
            main(params())
    assert not (here / "data").exists()
    finished = {file.name: file.stat().st_mtime_ns for file in here.glob(".scratch/*/E*.parquet")}
    assert sorted(finished) == ["E00.parquet", "E01.parquet", "E02.parquet"]
    next(here.glob(".scratch/*/E01.parquet")).unlink()
    copied = []
    with monkeypatch.context() as patch:
        patch.setattr(stage, "record_to", lambda path, part, kokoro: copied.append(part.voice.id) or stop())
        patch.setattr(stage, "cpu_count", lambda: 1)
        with pytest.raises(KeyboardInterrupt):
            main(params())
    assert copied == ["E01"]  # only what was missing is made again
    main(params())
    assert len(open_speech("data/speech")) == 3


def test_finished_speech_is_taken_as_it_is(here: Path) -> None:
    main(params())
    (here / "data" / "speech").rename(here / "finished")
    assert main(params(source="finished", espeak_voices=0)).startswith("6 sentences of 3 voices, 0.")
    files = {file.name: file.read_bytes() for file in (here / "data" / "speech").iterdir()}
    assert files == {file.name: file.read_bytes() for file in (here / "finished").iterdir()}


def test_finished_speech_that_is_not_there_or_damaged(here: Path) -> None:
    with pytest.raises(BadInput, match=r"N00\.parquet: expected a file, found nothing\. Make it first: dvc repro"):
        main(params(source="elsewhere"))
    (here / "damaged").mkdir()
    (here / "damaged" / "E00.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match=r"E00\.parquet: expected"):
        main(params(source="damaged"))
    assert not (here / "data").exists()


def test_kokoro_that_is_not_there(here: Path) -> None:
    expected = r"speech.kokoro: expected the folder of Kokoro's files, for natural voices, found none\. Get Kokoro"
    with pytest.raises(BadInput, match=expected):
        main(params(natural_voices=3))


@pytest.mark.parametrize("wrong", [{"espeak_voices": 2}, {"espeak_voices": -1}, {"sentences_a_voice": 0}])
def test_impossible_numbers(here: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=r"speech: expected at least 3 voices of one kind .* Increase them"):
        main(params(**wrong))
