import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.lipreader import LipReader
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.students.faceformer.network import FaceFormer
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.models.syncnet3d import Shape, SyncNet3D, window_frames
from learn2talk_core.run.device import run_device
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.run.weights import frozen
from learn2talk_core.training import loop
from learn2talk_core.training.loss_shares import LossShares
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import (
    ExtraTerm,
    frozen_features,
    motion_unit,
    principal_components,
    validation_loss,
)
from learn2talk_core.training.student_terms import embed_speech, lipread_term, sync_term
from learn2talk_core.training.students.faceformer import FaceFormerRecipe, train_network
from tests.toy import SIDE, toy_corpus

RECIPE = FaceFormerRecipe(
    width=16, dropout=0.1, start="pca", vertex_loss="mean", vertex_stride=1, steps=6, batch=3,
    learning_rate=5e-3, encoder_learning_rate=1e-3,
)  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy_corpus(tmp_path / "corpus")


def encoder(**numbers: float) -> Wav2Vec2SpeechEncoder:
    seed_torch(1)
    return Wav2Vec2SpeechEncoder.from_numbers(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, layerdrop=0.0, num_feat_extract_layers=7,
        **numbers,
    )  # fmt: skip


def fit(
    corpus: Corpus,
    folder: Path,
    recipe: FaceFormerRecipe = RECIPE,
    extra: list[tuple[str, float, ExtraTerm]] | None = None,
) -> tuple[FaceFormer, list[dict[str, float]]]:
    speech = encoder()
    clips = corpus.split("train")
    with Scratch(folder) as scratch:
        return train_network(
            corpus, speech, clips, recipe, seed=0, scratch=scratch, description="toy", extra=extra or []
        )


def syncnet(corpus: Corpus) -> SyncNet3D:
    seed_torch(2)
    shape = Shape(
        vertices=len(corpus.topology.regions["mouth"]), window=window_frames(corpus.fps), modes=4, width=8, layers=1,
        heads=2, channels=2, embedding=8, non_negative=True,
    )  # fmt: skip
    network = SyncNet3D(shape)
    torch.nn.init.normal_(network.modes, std=20.0)
    frozen(network)
    return network


def reader() -> LipReader:
    seed_torch(3)
    network = LipReader(
        5, width=2, dim=8, heads=2, hidden=16, encoder_layers=1, decoder_layers=1, kernel=3, size=44, normalise="clip"
    )
    frozen(network)
    return network


def extra_terms(corpus: Corpus, weight: float) -> list[tuple[str, float, ExtraTerm]]:
    clips = corpus.split("train")
    device = run_device()
    network, lips = syncnet(corpus).to(device), reader().to(device)
    g = torch.Generator().manual_seed(0)
    taught = {clip.id: torch.randn(int(clip.frames / 30 * 25), 16, generator=g) for clip in clips}
    return [
        ("sync", weight, sync_term(corpus, network, embed_speech(corpus, clips, network))),
        ("lipread", weight, lipread_term(corpus, lips, "frontend", taught, frames=8, clips_per_step=2, seed=0)),
    ]


def test_training_learns_the_toy_and_is_resumed_to_the_same_bytes(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    recipe = dataclasses.replace(RECIPE, steps=30)
    extra = extra_terms(corpus, 0.3)
    whole, history = fit(corpus, tmp_path / "a", recipe, extra)
    vertex = [row["vertex"] for row in history]
    assert sum(vertex[-5:]) < 0.85 * sum(vertex[:5])
    assert set(history[0]) == {"step", "loss", "vertex", "sync", "lipread"}

    calls = iter(range(1000))

    def killed(*arguments: object, **named: object) -> torch.Tensor:
        if next(calls) == 12:
            raise KeyboardInterrupt
        return extra[0][2](*arguments, **named)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        fit(corpus, tmp_path / "b", recipe, [("sync", 0.3, killed), extra[1]])
    resumed, again = fit(corpus, tmp_path / "b", recipe, extra)
    assert again == history
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_the_tcn_stays_and_the_rest_of_the_encoder_learns(corpus: Corpus, tmp_path: Path) -> None:
    before = encoder().state_dict()
    model, _ = fit(corpus, tmp_path / "a")
    after = model.audio_encoder.state_dict()
    for key, value in before.items():
        if key.startswith("feature_extractor"):
            assert torch.equal(value, after[key]), key
    assert not torch.equal(
        before["feature_projection.projection.weight"], after["feature_projection.projection.weight"]
    )


def test_lambda_zero_is_faceformer(corpus: Corpus, tmp_path: Path) -> None:
    plain, _ = fit(corpus, tmp_path / "a")
    zero, _ = fit(corpus, tmp_path / "b", extra=extra_terms(corpus, 0.0))
    for key, value in plain.state_dict().items():
        assert torch.equal(value, zero.state_dict()[key]), key


def test_a_lambda_changes_the_student(corpus: Corpus, tmp_path: Path) -> None:
    plain, _ = fit(corpus, tmp_path / "a")
    for place in (0, 1):
        taught, _ = fit(corpus, tmp_path / f"b{place}", extra=[extra_terms(corpus, 0.5)[place]])
        assert not torch.equal(plain.vertice_map_r.weight, taught.vertice_map_r.weight)


@pytest.mark.parametrize("place", [0, 1])
def test_gradients_of_the_teachers_terms(corpus: Corpus, place: int) -> None:
    """Against finite differences along the gradient, through SyncNet3D, and through renderer and lip reader."""
    seed_torch(5)
    model, _ = _untrained(corpus)
    unit, sample = motion_unit(corpus, corpus.split("train"))
    model.start_from(*principal_components(sample, 16))
    clips = corpus.split("train")[:2]
    _, _, term = extra_terms(corpus, 1.0)[place]
    h = torch.randn(2, max(clip.frames for clip in clips), 16).requires_grad_()
    loss = term(model, h, clips, unit=unit, step=0)
    (gradient,) = torch.autograd.grad(loss, h)
    direction = gradient / gradient.norm()
    with torch.no_grad():
        step = 0.3
        up = term(model, h + step * direction, clips, unit=unit, step=0)
        down = term(model, h - step * direction, clips, unit=unit, step=0)
    assert ((up - down) / (2 * step)).item() == pytest.approx(gradient.norm().item(), rel=0.25)


def test_a_clip_shorter_than_a_window_is_left_out_of_the_sync_loss(corpus: Corpus) -> None:
    seed_torch(5)
    model, _ = _untrained(corpus)
    torch.nn.init.normal_(model.vertice_map_r.weight)
    long, other = corpus.split("train")[:2]
    short = dataclasses.replace(other, frames=3, samples=1600)
    network = syncnet(corpus)
    term = sync_term(corpus, network, embed_speech(corpus, [long, short], network))
    h = torch.randn(2, long.frames, 16)
    both = term(model, h, [long, short], unit=0.01, step=0)
    assert both > 0
    torch.testing.assert_close(both, term(model, h[:1], [long], unit=0.01, step=0))


def _untrained(corpus: Corpus) -> tuple[FaceFormer, Wav2Vec2SpeechEncoder]:
    speech = encoder()
    model = FaceFormer(SIDE * SIDE, 2, audio_width=16, width=16, period=30, audio_encoder=speech)
    model.eval()
    return model, speech


def test_pca_start_against_svd(corpus: Corpus) -> None:
    model, _ = _untrained(corpus)
    unit, sample = motion_unit(corpus, corpus.split("train"))
    assert np.sqrt(np.mean(sample**2)) == pytest.approx(1.0, rel=1e-4)
    assert 1e-3 < unit < 1e-2  # metres: a lip that drops 8 mm
    model.start_from(*principal_components(sample, 16))
    centred = sample.astype(np.float64) - sample.mean(0, dtype=np.float64)
    _, deviations, directions = np.linalg.svd(centred, full_matrices=False)
    weight = model.vertice_map_r.weight.detach().numpy().T.astype(np.float64)
    np.testing.assert_allclose(model.vertice_map_r.bias.detach().numpy(), sample.mean(0), atol=1e-5)
    for k in range(3):  # the toy moves in three ways
        expected = directions[k] * deviations[k] / np.sqrt(len(sample))
        assert abs(weight[k] @ expected) == pytest.approx(expected @ expected, rel=1e-4)
        assert weight[k][np.abs(weight[k]).argmax()] > 0


def test_folding_the_unit_keeps_states_and_scales_vertices(corpus: Corpus) -> None:
    model, _ = _untrained(corpus)
    torch.nn.init.normal_(model.vertice_map_r.weight, std=0.1)
    audio, style = torch.randn(1, 20, 16), torch.eye(2)[:1]
    with torch.no_grad():
        states, moved = model.states(audio, style), model.roll_out(audio, style)
        model.scale_motion(0.003)
        torch.testing.assert_close(model.states(audio, style), states, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.roll_out(audio, style), 0.003 * moved, rtol=1e-4, atol=1e-6)


def test_save_load_predict(corpus: Corpus, tmp_path: Path) -> None:
    model, _ = fit(corpus, tmp_path / "a")
    save_student(tmp_path / "m", model, fps=corpus.fps, speakers=corpus.train_speakers)
    again, speakers = load_student(tmp_path / "m", made_by="dvc repro student")
    assert speakers == ("A", "B")
    clip = corpus.split("test_unseen")[0]
    with torch.no_grad():
        model.eval()
        states = model.predict_states(corpus.audio(clip), corpus.fps, torch.eye(2), clip.frames)
        both = again.predict_states(corpus.audio(clip), corpus.fps, torch.eye(2), clip.frames)
        one = again.predict_states(corpus.audio(clip), corpus.fps, torch.eye(2)[1:], clip.frames)
    assert states.shape == (2, clip.frames, 16)
    assert torch.equal(states, both)
    torch.testing.assert_close(both[1:], one)
    with pytest.raises(BadInput, match=r"expected a file, found nothing. Make it first: dvc repro student"):
        load_student(tmp_path / "none", made_by="dvc repro student")


def test_a_corpus_that_does_not_move_is_refused(corpus: Corpus) -> None:
    with pytest.raises(BadInput, match="expected motion in the training clips, found none at all"):
        motion_unit(_Still(corpus), corpus.split("train"))  # type: ignore[arg-type]


class _Still:
    """A corpus that shows templates only."""

    def __init__(self, corpus: Corpus) -> None:
        self.folder, self._corpus = corpus.folder, corpus

    def template(self, speaker: str) -> np.ndarray:
        return self._corpus.template(speaker)

    def vertices(self, clip, frames=slice(None)) -> np.ndarray:  # type: ignore[no-untyped-def]
        return np.repeat(self.template(clip.speaker)[None], len(range(*frames.indices(clip.frames))), 0)


def test_a_pass_shows_every_clip_once(corpus: Corpus, tmp_path: Path) -> None:
    shown: list[str] = []

    def spy(student: object, h: torch.Tensor, clips: object, **_: object) -> torch.Tensor:
        shown.extend(clip.id for clip in clips)  # type: ignore[attr-defined]
        return h.sum()

    recipe = dataclasses.replace(RECIPE, batch=2, epochs=3)
    _, history = fit(corpus, tmp_path / "a", recipe, [("spy", 1e-9, spy)])
    assert len(history) == 6
    seen = shown[2:]  # the first step's term is computed twice, to measure it before it is weighted
    ids = sorted(clip.id for clip in corpus.split("train"))
    passes = [seen[4 * i : 4 * i + 4] for i in range(3)]
    assert all(sorted(part) == ids for part in passes)
    assert len({tuple(part) for part in passes}) > 1


def test_adam_takes_constant_steps_in_the_corpuss_unit(corpus: Corpus, tmp_path: Path) -> None:
    """From zeros, the gradient of the last layer's bias is -2 mean(v) / 3V, and Adam's first step -lr g / (|g| + ε)."""
    recipe = dataclasses.replace(
        RECIPE, start="zeros", optimiser="adam", steps=1, batch=1, learning_rate=1e-4, epochs=1
    )
    one = corpus.split("train")[:1]
    with Scratch(tmp_path / "a") as scratch:
        model, _ = train_network(corpus, encoder(), one, recipe, seed=0, scratch=scratch, description="toy")
    truth = corpus.displacement(one[0]).reshape(one[0].frames, -1).astype(np.float64)
    gradient = -2 * truth.mean(0) / truth.shape[1]
    expected = -1e-4 * gradient / (np.abs(gradient) + 1e-8)
    np.testing.assert_allclose(model.vertice_map_r.bias.detach().numpy(), expected, rtol=1e-3, atol=1e-9)


def test_validation_loss_is_the_mean_over_styles_of_an_unseen_speaker(corpus: Corpus, tmp_path: Path) -> None:
    model, _ = fit(corpus, tmp_path / "a")
    (clip,) = corpus.split("validation")
    wave, truth = corpus.audio(clip), corpus.displacement(clip)
    errors = []
    for style in torch.eye(2):
        states = model.predict_states(wave, corpus.fps, style[None], clip.frames)
        errors.append(np.square(model.displacement(states)[0].detach().numpy() - truth).mean())
    found = validation_loss(model, corpus, unit=1.0, form="mean")
    assert found == pytest.approx(np.mean(errors), rel=1e-5)
    assert model.training


def test_an_alignment_of_faceformer_needs_a_wav2vec(corpus: Corpus) -> None:
    with pytest.raises(BadInput, match=r"a wav2vec 2\.0"):
        frozen_features(corpus, object(), corpus.split("train"), "vocaset")  # type: ignore[arg-type]


def test_measuring_the_shares_changes_nothing(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        measured, _ = fit(corpus, tmp_path / "a", extra=extra_terms(corpus, 0.3))
    assert "toy: gradients relative to the vertex loss's in the first 6 steps: sync " in caplog.text
    monkeypatch.setattr(LossShares, "wanted", lambda self, index: False)
    plain, _ = fit(corpus, tmp_path / "b", extra=extra_terms(corpus, 0.3))
    for key, value in plain.state_dict().items():
        assert torch.equal(value, measured.state_dict()[key]), key
