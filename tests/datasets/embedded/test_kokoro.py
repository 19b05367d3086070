"""The network itself (90 MB) is not in the repository: a session of the same interface takes its place, and where the
files are in `checkpoints/kokoro`, one sentence is spoken."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.datasets.embedded import kokoro
from learn2talk_core.datasets.embedded.kokoro import Kokoro, open_kokoro, speak, style_table, timed_phonemes
from learn2talk_core.datasets.embedded.spelling import ARPABET
from learn2talk_core.run.errors import BadInput

FILES = Path(__file__).parents[3] / "checkpoints/kokoro"
SYMBOLS = {symbol: i for i, symbol in enumerate([*ARPABET, *"ˈˌː ,.?"], 1)}
STYLES = np.arange(510 * 256, dtype=np.float32).reshape(510, 256)


class Session:
    """Makes 100 ms of a tone for each token, in which the first and the last are of 200 ms; notes what it was given."""

    def __init__(self, level: float = 0.1) -> None:
        self.level = level

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.inputs = inputs
        units = np.full((1, inputs["tokens"].shape[1]), 4, np.float32)
        units[0, [0, -1]] = 8
        samples = int(units.sum()) * 600
        return [(self.level * np.sin(np.arange(samples) * 0.1))[None].astype(np.float32), units]


def test_what_the_network_is_given_and_when_phonemes_are() -> None:
    session = Session()
    wave, phonemes = speak(Kokoro(Path("k"), session, SYMBOLS), STYLES, "bˈAk", 1.1)
    assert session.inputs["tokens"].tolist() == [[0, SYMBOLS["b"], SYMBOLS["ˈ"], SYMBOLS["A"], SYMBOLS["k"], 0]]
    np.testing.assert_array_equal(session.inputs["style"], STYLES[None, 3])
    assert session.inputs["speed"].tolist() == [pytest.approx(1.1)]
    assert len(wave) == round(0.8 * 16_000)
    # 0.2 s before the first token, less 62.5 ms
    assert phonemes == (Phoneme(0.1375, 0.2375, "B"), Phoneme(0.2375, 0.4375, "EY"), Phoneme(0.4375, 0.5375, "K"))


def named(spelt: str, lengths: list[float]) -> list[tuple[float, float, str]]:
    edges = np.cumsum([0, *lengths])
    return [(p.start, p.end, p.name) for p in timed_phonemes(spelt, edges, edges[-1])]


def test_stress_length_and_spaces() -> None:
    assert named("ˈɑː", [0.1, 0.2, 0.3]) == [(0, 0.6, "AA")]
    assert named("t t", [0.1, 0.06, 0.1]) == [(0, 0.13, "T"), (0.13, 0.26, "T")]  # both share a short space
    assert named("t t", [0.1, 0.5, 0.1]) == [(0, 0.1, "T"), (0.6, 0.7, "T")]
    assert named("t, ˈi.", [0.1, 0.2, 0.04, 0.02, 0.1, 0.3]) == [(0, 0.1, "T"), (0.34, 0.46, "IY")]


def test_r_coloured_vowels() -> None:
    assert [name for *_, name in named("bˈɜɹd", [0.1] * 5)] == ["B", "ER", "D"]
    assert named("əɹ", [0.1, 0.2]) == [(0, 0.3, "ER")]
    assert [name for *_, name in named("əɹˈWnd", [0.1] * 6)] == ["AH", "R", "AW", "N", "D"]
    assert [name for *_, name in named("wˈɔTəɹz ɹ", [0.1] * 9)] == ["W", "AO", "T", "ER", "Z", "R"]
    assert [name for *_, name in named("ɹə", [0.1] * 2)] == ["R", "AH"]


def test_phonemes_stay_within_the_wave() -> None:
    made = timed_phonemes("ɑb", np.array([-0.06, 0.1, 0.3]), 0.25)
    assert made == (Phoneme(0.0, 0.1, "AA"), Phoneme(0.1, 0.25, "B"))


def test_what_cannot_be_spoken() -> None:
    opened = Kokoro(Path("k"), Session(), SYMBOLS)
    with pytest.raises(BadInput, match=r"k/vocab.json: expected all symbols of a sentence, found y in 'bˈyx'"):
        speak(Kokoro(Path("k"), Session(), SYMBOLS | {"x": 70}), STYLES, "bˈyx", 1.0)
    for spelt in ("", "t" * 511):
        with pytest.raises(BadInput, match=rf"expected a sentence of 1 to 510 symbols, found {len(spelt)}\."):
            speak(opened, STYLES, spelt, 1.0)
    for level in (0.0, 1e-5, np.nan):
        with pytest.raises(BadInput, match=r"k: expected speech for 'bˈAk', found silence or NaN"):
            speak(Kokoro(Path("k"), Session(level), SYMBOLS), STYLES, "bˈAk", 1.0)


def test_blends_are_weighted_means(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    for name, level in (("af_a", 1.0), ("af_b", 3.0)):
        np.full((510, 256), level, np.float32).tofile(tmp_path / f"voices/{name}.bin")
    opened = Kokoro(tmp_path, Session(), SYMBOLS)
    np.testing.assert_allclose(style_table(opened, [("af_a", 0.75), ("af_b", 0.25)]), 1.5)
    with pytest.raises(BadInput, match=r"af_c.bin: expected a file of Kokoro, found No such file.*fetch_kokoro"):
        style_table(opened, [("af_c", 1.0)])
    (tmp_path / "voices/af_a.bin").write_bytes(b"\0" * 1000)
    with pytest.raises(BadInput, match=r"af_a.bin: expected 510 × 256 finite numbers of 4 bytes, found 1000 bytes"):
        style_table(opened, [("af_a", 1.0)])


def test_files_and_packages_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(BadInput, match=r"expected the optional package onnxruntime, .*'learn2talk\[speech\]'"):
            open_kokoro(tmp_path)
    pytest.importorskip("onnxruntime")
    with pytest.raises(BadInput, match=r"vocab.json: expected a file of Kokoro, found No such file or directory"):
        open_kokoro(tmp_path)
    (tmp_path / "vocab.json").write_text('["a"]')
    with pytest.raises(BadInput, match=r'vocab.json: expected {"vocab": {symbol: token}}, found something else'):
        open_kokoro(tmp_path)
    (tmp_path / "vocab.json").write_text('{"vocab": {"a": 1}}')
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(BadInput, match=r"model.onnx: expected Kokoro's network, found a damaged or different one"):
        open_kokoro(tmp_path)


def test_the_network_itself() -> None:
    pytest.importorskip("onnxruntime")
    if not (FILES / "model.onnx").is_file():
        pytest.skip("Kokoro's files are not there")
    opened = open_kokoro(FILES)
    styles = style_table(opened, [("af_heart", 1.0)])
    wave, phonemes = speak(opened, styles, "mˈɑ.", 1.0)
    again, _ = speak(opened, styles, "mˈɑ.", 1.0)
    np.testing.assert_array_equal(wave, again)
    assert [p.name for p in phonemes] == ["M", "AA"]
    first, last = (round(seconds * 16_000) for seconds in (phonemes[0].start, phonemes[-1].end))
    assert np.square(wave[first:last]).mean() > 50 * np.square(wave[: max(1, first - 1600)]).mean()
    assert set(json.loads((FILES / "vocab.json").read_text())["vocab"]) >= {*ARPABET, *"ˈˌː ,.;:!?—…"}
    assert kokoro.RATE * kokoro.UNIT == 600
