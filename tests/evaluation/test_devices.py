"""Students predict, judges judge and the teacher's videos are made and read on a device that is not the CPU
(`tests/fake_device.py`), as on the CPU."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.evaluation.judge import judge_clip, mean_motion, open_judging
from learn2talk_core.evaluation.predict import Studio, predict_clip
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, hidden_states, one_shot
from learn2talk_core.run.device import run_device
from learn2talk_core.teacher.features import open_teacher_features
from stages import teacher_features
from tests.evaluation.test_judge import judges, predicted  # noqa: F401
from tests.fake_device import DEVICE, fake_device, waits_outside
from tests.models.speech_encoders.test_whisper import tiny
from tests.toy import toy_corpus
from tests.toy_networks import toy_network
from tests.training.test_lipreader import reader as toy_reader

# A clip ends on the CPU; MeshTalk smooths the vertices of a mask.
PREDICTED = {"evaluation/predict.py: predict_clip", "models/students/meshtalk/network.py: smoothed_motion"}
JUDGED = {
    "evaluation/judge.py: load_motion_judges", "evaluation/judge.py: __init__", "evaluation/judge.py: sync_ratios",
    "models/lipreader.py: read_lips",
}  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy_corpus(tmp_path / "corpus")


@pytest.mark.parametrize("network", ["faceformer", "selftalk", "codetalker", "voca", "meshtalk"])
def test_a_student_predicts(corpus: Corpus, network: str) -> None:
    clip = corpus.split("test_unseen")[0]
    with fake_device() as waits:
        student = toy_network(network, corpus).to(run_device())
        waits.clear()  # the upload of the weights
        motions = predict_clip(Studio(corpus, student, corpus.train_speakers), clip)
        basis, bias = student.map_arrays()
        waits.pop("models/students/student.py: map_arrays", None)
    assert not waits_outside(waits, PREDICTED)
    on_cpu = toy_network(network, corpus)
    expected = predict_clip(Studio(corpus, on_cpu, corpus.train_speakers), clip)
    assert [style for style, _ in motions] == [style for style, _ in expected]
    for (_, states), (_, known) in zip(motions, expected, strict=True):
        np.testing.assert_allclose(states, known, rtol=1e-3, atol=1e-4)
    for array, known in zip((basis, bias), on_cpu.map_arrays(), strict=True):
        np.testing.assert_array_equal(array, known)


def test_the_judges_judge(corpus: Corpus, judges: tuple[str, str], predicted: dict[str, str]) -> None:  # noqa: F811
    clip, rest = corpus.split("test_seen")[0].id, mean_motion(corpus)
    with fake_device() as waits:
        rows = judge_clip(
            open_judging(str(corpus.folder), predicted, judges), clip, lrp_threshold_mm=2.0, rest=rest
        ).rows
    assert not waits_outside(waits, JUDGED)
    expected = judge_clip(
        open_judging(str(corpus.folder), predicted, judges), clip, lrp_threshold_mm=2.0, rest=rest
    ).rows
    for (*row, scores), (*known_row, known) in zip(rows, expected, strict=True):
        assert row == known_row
        assert scores.ratios.keys() == known.ratios.keys()
        for key, ratio in scores.ratios.items():
            assert ratio.value == pytest.approx(known.ratios[key].value, rel=1e-3, abs=1e-4), key


def test_a_teacher_speaks() -> None:
    torch.manual_seed(0)
    generator, encoder, inputs = Wav2Lip(width=0.05, states=tiny().width).eval(), tiny().eval(), Inputs(gain=1.5)
    inputs = inputs._replace(states=encoder.width)
    still = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    wave = np.random.default_rng(1).normal(0, 0.1, 3200).astype(np.float32)
    expected = one_shot(generator, still, hidden_states(encoder, wave, 5), 5, inputs)
    with fake_device() as waits:
        generator.to(DEVICE)
        encoder.to(DEVICE)
        waits.clear()  # the upload of the weights
        found = one_shot(generator, still, hidden_states(encoder, wave, 5), 5, inputs)
    assert not waits_outside(waits, {"models/wav2lip.py: hidden_states", "models/wav2lip.py: to_image"})
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("features", ["frontend", "encoder"])
def test_a_teacher_is_read(features: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (6, 96, 96), dtype=np.uint8)
    clip = SimpleNamespace(id="a", text="", phonemes=())
    monkeypatch.setattr(teacher_features, "open_mouths", lambda _: SimpleNamespace(clips=("a",), frames=lambda _: grey))
    monkeypatch.setattr(teacher_features, "open_corpus", lambda _: SimpleNamespace(clips=(clip,)))
    monkeypatch.setattr(teacher_features, "load_units", lambda _: None)

    def read() -> np.ndarray:
        parts = toy_reader().eval(), torch.nn.Linear(16, 40)
        monkeypatch.setattr(teacher_features, "load_lipreader", lambda _: parts)
        teacher_features.main(teacher_features.Params(features, "float32"))  # type: ignore[arg-type]
        return open_teacher_features(teacher_features.OUT).features("a")

    monkeypatch.chdir(tmp_path)
    with fake_device():
        found = read()
    np.testing.assert_allclose(found, read(), rtol=1e-3, atol=1e-4)
