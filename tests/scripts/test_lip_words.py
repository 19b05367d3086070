from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.evaluation.lip_reading import LipFeatures
from scripts.lip_words import main, told_apart
from tests.evaluation.test_lip_reading import reader


def test_words_far_apart_are_told_apart() -> None:
    rng = np.random.default_rng(0)

    def word(centre: float) -> list[LipFeatures]:
        return [LipFeatures(rng.normal(centre, 1, (10, 4)), f"clip{i}") for i in range(3)]

    assert told_apart({"a": word(0), "b": word(100)}) == 1.0
    assert 0.2 < told_apart({"a": word(0), "b": word(0)}) < 0.8


def test_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, corpus = reader(tmp_path)
    out = tmp_path / "words.png"
    given = ["first=P", "second=AA", "--model", str(folder), "--corpus", str(corpus.folder), "-o", str(out)]
    assert main(given) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "first 3 times, second 3 times" in capsys.readouterr().out
    assert main(["absent=ZH", *given[2:]]) == 1
    assert "expected two clips or more in which it is spoken, found 0" in capsys.readouterr().err
