"""Every network trains on a device that is not the CPU, and in bf16, and gets the numbers of the CPU in float32.

See `tests/fake_device.py`: nothing mixes tensors of both places or calls numpy, and within the steps the program waits
for the device only at the places named here. `tests/evaluation/test_devices.py` is about prediction and judging.

bfloat16 rounds to one part in 256. In these steps losses moved by up to 6 %: the velocity of SelfTalk, a difference of
motions that hardly differ, and the teacher's sync loss. A tolerance of 10 % leaves some room.
"""

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.models.students.student import AudioAlignment
from learn2talk_core.models.wav2lip import Wav2Lip
from learn2talk_core.run.config import load_params
from learn2talk_core.run.device import run_device
from learn2talk_core.run.precision import VARIABLE
from learn2talk_core.training import loop
from learn2talk_core.training.lipreader import train_lipreader
from learn2talk_core.training.phoneme_head import train_phoneme_head
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import ExtraTerm
from learn2talk_core.training.student_terms import PhonemeTerm, closure_term, lipread_term
from learn2talk_core.training.students.faceformer import train_network as train_faceformer
from learn2talk_core.training.syncnet3d import read_windows, train_syncnet3d
from learn2talk_core.training.wav2lip import (
    ExpertTraining,
    train_audio_encoder,
    train_expert,
    train_generator,
    train_reading,
)
from stages import speech_encoder
from tests.fake_device import fake_device, waits_outside
from tests.models.speech_encoders.test_whisper import tiny
from tests.toy import toy_corpus
from tests.training import test_lipreader as toy_reader
from tests.training import test_phoneme_head as toy_head
from tests.training import test_student as toy_faceformer
from tests.training import test_syncnet3d as toy_syncnet3d
from tests.training import test_wav2lip as toy_teacher
from tests.training.students import test_codetalker as toy_codetalker
from tests.training.students import test_meshtalk as toy_meshtalk
from tests.training.students import test_selftalk as toy_selftalk
from tests.training.students import test_voca as toy_voca
from tests.training.test_speech_encoder import beeps

LOGGING = {"training/loop.py: read_values", "training/loop.py: on_the_cpu"}  # of losses, and of a checkpoint
MASK = {"models/speech_encoders/wav2vec2.py: encode"}  # transformers looks whether a batch is padded
BALANCE = {"losses/total.py: is_measured"}  # in the first steps, until the norms are known
Curve = list[dict[str, float]]
Trained = tuple[nn.Module, Curve]


def demand_close(curve: Curve, expected: Curve, where: str) -> None:
    """Later steps show that the updates are the same."""
    tolerance, smallest = (0.1, 1e-9) if where == "bf16" else (2e-3, 1e-6)
    if where == "bf16":
        assert curve != expected  # it was on
        # a phoneme that is hardly more probable than the next may change
        curve, expected = ([{**row, "frame_accuracy": 0.0} for row in rows] for rows in (curve, expected))
    for row, known in zip(curve, expected, strict=True):
        assert row == pytest.approx(known, rel=tolerance, abs=smallest)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return toy_corpus(tmp_path_factory.mktemp("devices") / "corpus")


@pytest.fixture(params=["fake", "bf16"])
def trained(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Counter[str]]:
    """Trains on the fake device, or in bf16, and on the CPU, compares, and returns where the program waited for the
    fake device."""

    def both(fit: Callable[[Path], Trained]) -> Counter[str]:
        waits: Counter[str] = Counter()
        if request.param == "bf16":
            monkeypatch.setenv(VARIABLE, "bf16")
            model, curve = fit(tmp_path / "other")
            monkeypatch.delenv(VARIABLE)
        else:
            with fake_device(within="training/loop.py: train") as waits:
                model, curve = fit(tmp_path / "other")
        for value in model.state_dict().values():
            assert type(value) is torch.Tensor  # back on the CPU
            assert value.dtype != torch.bfloat16
        _, expected = fit(tmp_path / "cpu")
        demand_close(curve, expected, request.param)
        return waits

    return both


def terms(corpus: Corpus) -> list[tuple[str, float, ExtraTerm]]:
    clips = corpus.split("train")
    return [
        *toy_faceformer.extra_terms(corpus, 0.3),
        ("closure", 0.1, closure_term(corpus, clips, 0.3)),
        ("phoneme", 0.1, PhonemeTerm(corpus, clips, 0)),
    ]


def test_faceformer_with_every_term(corpus: Corpus, trained: Callable[..., Counter[str]]) -> None:
    recipe = replace(toy_faceformer.RECIPE, steps=2, batch=2, vertex_stride=2, dropout=0.0)
    waits = trained(lambda folder: toy_faceformer.fit(corpus, folder, recipe, terms(corpus)))
    assert not waits_outside(waits, LOGGING | BALANCE | MASK)
    assert waits["losses/total.py: is_measured"] <= 2 * 4  # of four terms, in the first two steps


@pytest.mark.parametrize("alignment", ["vocaset", "biwi"])
def test_faceformer_as_the_papers_presets_train_it(
    corpus: Corpus, alignment: AudioAlignment, trained: Callable[..., Counter[str]]
) -> None:
    """Whole clips, the crops and the front-end of a published lip reader, Adam, passes, and the validation loss, for
    which the student predicts."""
    recipe = replace(
        toy_faceformer.RECIPE, start="zeros", alignment=alignment, optimiser="adam", epochs=1, batch=2, dropout=0.0,
        validation_epochs=1, learning_rate=1e-5,  # Adam's first step has this size even where a gradient is rounding
    )  # fmt: skip
    clips = corpus.split("train")[:4]
    taught = {clip.id: torch.randn(int(clip.frames / 30 * 25), 16) for clip in clips}

    def fit(folder: Path) -> Trained:
        reader = toy_faceformer.reader().to(run_device())
        term = lipread_term(
            corpus, reader, "frontend", taught, frames=None, clips_per_step=2, seed=0, published=True
        )  # fmt: skip
        with Scratch(folder) as scratch:
            return train_faceformer(
                corpus, toy_faceformer.encoder(), clips, recipe, seed=0, scratch=scratch, description="toy",
                extra=[("lipread", 5e-4, term)], balanced=False,
            )  # fmt: skip

    predicting = {"training/student.py: validation_loss", "models/students/student.py: predict_states"}
    assert not waits_outside(trained(fit), LOGGING | MASK | predicting)


def test_selftalk(corpus: Corpus, trained: Callable[..., Counter[str]]) -> None:
    recipe = replace(toy_selftalk.RECIPE, steps=2, batch=2)
    assert not waits_outside(
        trained(lambda folder: toy_selftalk.fit(corpus, folder, recipe, toy_faceformer.extra_terms(corpus, 0.3)[:1])),
        LOGGING | BALANCE | MASK,
    )


def test_voca(corpus: Corpus, trained: Callable[..., Counter[str]]) -> None:
    recipe = replace(toy_voca.RECIPE, steps=2, batch=2)
    assert not waits_outside(
        trained(lambda folder: toy_voca.fit(corpus, folder, recipe, toy_faceformer.extra_terms(corpus, 0.3)[:1])),
        LOGGING | BALANCE | MASK,
    )


def test_codetalker_and_its_codec(corpus: Corpus, trained: Callable[..., Counter[str]]) -> None:
    prior = replace(toy_codetalker.PRIOR, steps=2, batch=2)
    recipe = replace(toy_codetalker.RECIPE, steps=2, batch=2)
    assert not waits_outside(trained(lambda folder: toy_codetalker.prior(corpus, folder, prior)), LOGGING)

    def fit(folder: Path) -> Trained:
        codec, _ = toy_codetalker.prior(corpus, folder / "prior", prior)
        return toy_codetalker.fit(
            corpus, folder / "network", codec, recipe, toy_faceformer.extra_terms(corpus, 0.3)[:1]
        )

    assert not waits_outside(trained(fit), LOGGING | BALANCE | MASK)


def test_meshtalk_and_its_latent_space(corpus: Corpus, tmp_path: Path, trained: Callable[..., Counter[str]]) -> None:
    latent = replace(toy_meshtalk.LATENT, steps=2, batch=2)

    def prior(folder: Path) -> Trained:
        with Scratch(folder) as scratch:
            return toy_meshtalk.train_motion_prior(
                corpus, toy_meshtalk.encoder(), corpus.split("train"), latent, seed=0, scratch=scratch,
                description="toy",
            )  # fmt: skip

    assert not waits_outside(trained(prior), LOGGING)
    given = toy_meshtalk.Prior(*prior(tmp_path / "prior"))
    assert not waits_outside(
        trained(
            lambda folder: toy_meshtalk.fit(
                corpus, given, folder / "network", toy_faceformer.extra_terms(corpus, 0.3)[:1]
            )
        ),
        LOGGING | BALANCE | MASK,
    )


@pytest.mark.parametrize("role", ["metric", "loss"])
def test_syncnet3d(corpus: Corpus, role: str, trained: Callable[..., Counter[str]]) -> None:
    recipe = replace(toy_syncnet3d.RECIPE, steps=2, clips=3, windows=8)

    def fit(folder: Path) -> Trained:
        with Scratch(folder) as scratch:
            return train_syncnet3d(
                corpus, read_windows(corpus, "train"), toy_syncnet3d.NETWORK, recipe, role, seed=0, scratch=scratch
            )  # type: ignore[arg-type]

    assert not waits_outside(trained(fit), LOGGING)


def test_lip_reader(trained: Callable[..., Counter[str]]) -> None:
    clips = [toy_reader.open_and_shut(seed) for seed in range(3)]
    recipe = replace(toy_reader.RECIPE, steps=2, batch=2)

    def fit(folder: Path) -> Trained:
        with Scratch(folder) as scratch:
            return train_lipreader(toy_reader.reader(), clips, recipe, seed=3, scratch=scratch, description="toy")

    assert not waits_outside(trained(fit), LOGGING)


def test_teacher_with_its_expert_and_its_ears(trained: Callable[..., Counter[str]]) -> None:
    clips = [toy_teacher.numbered_clip(12, first) for first in (0, 100)]

    def fit(folder: Path) -> Trained:
        with Scratch(folder / "1") as first, Scratch(folder / "2") as second, Scratch(folder / "3") as third:
            expert, _ = train_expert(clips, ExpertTraining(0.05, 2, 2, 2, 1e-3), seed=1, scratch=first)
            ears, _ = train_audio_encoder(clips, toy_teacher.RECIPE, seed=1, scratch=second)
            return train_generator(clips, expert, ears, toy_teacher.RECIPE, seed=1, scratch=third)

    assert not waits_outside(trained(fit), LOGGING)


def test_teacher_with_a_lip_reader(trained: Callable[..., Counter[str]]) -> None:
    clip = toy_teacher.numbered_clip(12, hears_states=True)
    noise = np.random.default_rng(0).integers(0, 255, clip.faces.shape, dtype=np.uint8)

    def fit(folder: Path) -> Trained:
        torch.manual_seed(0)
        network = Wav2Lip(0.05, audio_width=0.05, states=6)
        with Scratch(folder) as scratch:
            return network, train_reading(
                [replace(clip, faces=noise)], network, toy_teacher.small_reader(), toy_teacher.RECIPE, seed=1,
                scratch=scratch,
            )  # fmt: skip

    assert not waits_outside(trained(fit), LOGGING)


def test_phoneme_head(trained: Callable[..., Counter[str]]) -> None:
    recipe = replace(toy_head.RECIPE, steps=2, batch=2, dropout=0.0)

    def fit(folder: Path) -> Trained:
        with Scratch(folder) as scratch:
            return train_phoneme_head(tiny(), [beeps(0), beeps(1)], recipe, seed=0, scratch=scratch)

    # the frozen encoder hears waves on the CPU, as they are recorded
    assert not waits_outside(trained(fit), LOGGING)


def test_speech_encoder(trained: Callable[..., Counter[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    params = load_params(speech_encoder.Params, "speech_encoder", "pretraining/params.yaml")
    small = replace(params, checkpoint="weights/none", tcn_width=8, width=16, layers=1, heads=2, steps=2, batch=2,
                    dropout=0.0, window=0.8)  # fmt: skip
    said = [beeps(number) for number in range(3)]
    video = SimpleNamespace(split=lambda *_: said, audio=lambda clip: clip.wave)
    monkeypatch.setattr(speech_encoder, "open_talking_video", lambda _: video)

    def fit(folder: Path) -> Trained:
        (folder / speech_encoder.VIDEO).mkdir(parents=True)
        monkeypatch.chdir(folder)
        speech_encoder.main(small)
        with Path(speech_encoder.CURVE).open() as file:
            curve = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        return load_speech_encoder(speech_encoder.OUT), curve

    assert not waits_outside(trained(fit), LOGGING)


def test_a_run_goes_on_with_a_warning_on_another_device(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "BLOCK", 2)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVE_RATIO", 0.0)
    recipe = replace(toy_faceformer.RECIPE, steps=4, batch=2, dropout=0.0)
    sync = toy_faceformer.extra_terms(corpus, 0.3)[:1]
    _, whole = toy_faceformer.fit(corpus, tmp_path / "whole", recipe, sync)

    with fake_device():
        network = toy_faceformer.extra_terms(corpus, 0.3)[0][2]
        calls = iter(range(100))

        def killed(*arguments: Any, **named: Any) -> torch.Tensor:
            if next(calls) == 3:  # the first step calls it twice
                raise KeyboardInterrupt
            return network(*arguments, **named)

        with pytest.raises(KeyboardInterrupt):
            toy_faceformer.fit(corpus, tmp_path / "moved", recipe, [("sync", 0.3, killed)])
    _, curve = toy_faceformer.fit(corpus, tmp_path / "moved", recipe, sync)
    assert (
        "begun on fake and resumed on cpu; the result will differ in its bytes from a run without this change"
        in caplog.text
    )
    assert [row["step"] for row in curve] == list(range(4))
    for row, known in zip(curve, whole, strict=True):
        assert row == pytest.approx(known, rel=2e-3, abs=1e-6)
