from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learn2talk_core.checkpoints.meshtalk import export_meshtalk
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.meshtalk.network import (
    MeshTalk,
    MeshTalkShape,
    one_hot_classes,
)
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import ExtraTerm
from learn2talk_core.training.students.meshtalk import (
    LatentRecipe,
    LatentWindows,
    MeshTalkRecipe,
    latent_codes,
    latent_groups,
    latent_losses,
    latent_windows,
    load_motion_prior,
    save_motion_prior,
    start_responsive,
    train_motion_prior,
    train_network,
)
from tests.toy import toy_corpus
from tests.training.test_student import encoder, extra_terms

LATENT = LatentRecipe(
    hears="features", heads=4, classes=8, frames=16, vertex_stride=2, crossing=1.0, steps=40, batch=4,
    learning_rate=3e-3, weight_decay=1e-3,
)  # fmt: skip
RECIPE = MeshTalkRecipe(prior=LATENT, smoothing=True, vertex_stride=2, steps=25, batch=3, learning_rate=3e-3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return toy_corpus(tmp_path_factory.mktemp("meshtalk") / "corpus")


class Prior(NamedTuple):
    model: MeshTalk
    history: list[dict[str, float]]


@pytest.fixture(scope="module")
def prior(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Prior:
    folder = tmp_path_factory.mktemp("prior")
    with Scratch(folder / "scratch") as scratch:
        model, history = train_motion_prior(
            corpus, encoder(), corpus.split("train"), LATENT, seed=0, scratch=scratch, description="toy"
        )
    save_motion_prior(folder / "prior", model, corpus)
    return Prior(load_motion_prior(folder / "prior", corpus), history)


def fit(
    corpus: Corpus, prior: Prior, folder: Path, extra: list[tuple[str, float, ExtraTerm]] | None = None
) -> tuple[MeshTalk, list[dict[str, float]]]:
    with Scratch(folder) as scratch:
        return train_network(
            corpus, encoder(), corpus.split("train"), RECIPE, prior=prior.model, seed=0, scratch=scratch,
            description="toy", extra=extra or [],
        )  # fmt: skip


def test_the_latent_space_learns_the_toy(corpus: Corpus, prior: Prior) -> None:
    model, history = prior
    assert set(history[0]) == {"step", "loss", "reconstruction", "crossing"}
    first, last = (np.mean([row["loss"] for row in rows]) for rows in (history[:5], history[-5:]))
    assert last < 0.7 * first
    clip = corpus.split("train")[0]
    _, labels = latent_codes(corpus, model, clip, 1.0)
    assert labels.shape == (clip.frames, 4)
    template = torch.from_numpy(corpus.template(clip.speaker))
    moved = model.vertex_unet(template[None], F.one_hot(labels, 8)[None].float())[0].detach()
    truth = torch.from_numpy(corpus.vertices(clip)) - template
    assert (moved - truth).square().mean() < 0.8 * truth.square().mean()  # in metres, as the corpus


def test_crossing_loss_equals_a_loop(corpus: Corpus, prior: Prior) -> None:
    """Row b takes the expression, or the sound, of row b − shift; mouth, or upper face, must still be its own."""
    model, clips = prior.model, corpus.split("train")[:3]
    heard = {clip.id: model.heard(corpus.audio(clip), clip.frames, corpus.fps) for clip in clips}
    batch = latent_windows(corpus, model, heard, clips, [0, 4, 9], 12, 1.0)
    mouth, upper = (torch.from_numpy(corpus.topology.regions[name]) for name in ("mouth", "upper_face"))
    found = latent_losses(model, batch, torch.arange(64), mouth, upper, 2)
    codes = model.encoder.expression_encoder(batch.meshes)
    crossing = reconstruction = 0.0
    for b in range(3):
        truth = batch.meshes[b] - batch.template[b]
        for e, a, region, weight in ((b - 2, b, mouth, 1), (b, b - 2, upper, 1), (b, b, torch.arange(64), 0)):
            logprobs = model.encoder.fusion_model(codes[e % 3][None], batch.audio[a % 3][None])
            moved = model.vertex_unet(batch.template[b][None], one_hot_classes(logprobs))[0]
            error = float((moved - truth)[:, region].square().mean().detach()) / 3
            crossing, reconstruction = crossing + weight * error, reconstruction + (1 - weight) * error
    np.testing.assert_allclose(float(found["crossing"].detach()), crossing, rtol=1e-4)
    np.testing.assert_allclose(float(found["reconstruction"].detach()), reconstruction, rtol=1e-4)


@pytest.mark.parametrize("hears", ["features", "mel"])
def test_audio_codes_of_a_window_are_those_of_its_clip(corpus: Corpus, hears: str) -> None:
    torch.manual_seed(0)
    ears = encoder() if hears == "features" else None
    model, clip = MeshTalk(MeshTalkShape(64, 4, 8), 2, speech_encoder=ears).eval(), corpus.split("train")[1]
    heard = {clip.id: model.heard(corpus.audio(clip), clip.frames, corpus.fps)}
    last = clip.frames - 10
    for start in (0, 7, last):
        batch: LatentWindows = latent_windows(corpus, model, heard, [clip], [start], 10, 1.0)
        whole = model.audio_codes(corpus.audio(clip), clip.frames, corpus.fps)
        torch.testing.assert_close(batch.audio[0], whole[start : start + 10], atol=1e-3, rtol=2e-4)


def test_the_start_lets_classes_move_the_face(corpus: Corpus) -> None:
    """Other classes change the motion by a good part of its size; with torch's own weights they hardly do."""
    template = torch.from_numpy(corpus.template("A"))[None]
    drawn = F.one_hot(torch.randint(8, (2, 12, 4), generator=torch.Generator().manual_seed(0)), 8).float()
    shares = []
    for start in (start_responsive, lambda _: None):
        torch.manual_seed(0)
        model = MeshTalk(MeshTalkShape(64, 4, 8), 2)
        start(model)
        with torch.no_grad():
            first, second = model.vertex_unet(template.expand(2, -1, -1), drawn)
        shares.append(float((first - second).norm() / first.norm()))
    assert shares[0] > 0.5
    assert shares[1] < 0.2


def test_wide_layers_learn_more_slowly() -> None:
    model = MeshTalk(MeshTalkShape(12, 4, 8), 2)
    groups = {id(group["params"][0]): group for group in latent_groups(model, LATENT)}
    assert groups.keys() == {id(p) for part in (model.encoder, model.vertex_unet) for p in part.parameters()}
    for weight in (model.encoder.expression_encoder.layers[0].weight, model.vertex_unet.encoder[0].weight):
        assert groups[id(weight)]["peak"] == pytest.approx(LATENT.learning_rate / 6)
    assert groups[id(model.vertex_unet.fusion.weight)]["peak"] == LATENT.learning_rate
    assert groups[id(model.vertex_unet.fusion.weight)]["weight_decay"] == LATENT.weight_decay
    assert groups[id(model.encoder.fusion_model.mlp[0].weight)]["weight_decay"] == 0


def test_a_batch_of_one_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with (
        Scratch(tmp_path) as scratch,
        pytest.raises(BadInput, match=r"modality-crossing loss.*found a batch of 8 from 1"),
    ):
        train_motion_prior(
            corpus, encoder(), corpus.split("train")[:1], replace(LATENT, batch=8), seed=0, scratch=scratch,
            description="toy",
        )  # fmt: skip


def test_the_context_model_learns_and_is_a_student(corpus: Corpus, prior: Prior, tmp_path: Path) -> None:
    model, history = fit(corpus, prior, tmp_path / "a")
    assert set(history[0]) == {"step", "loss", "cross_entropy", "vertex"}
    entropy = [row["cross_entropy"] for row in history]
    assert sum(entropy[-5:]) < 0.8 * sum(entropy[:5])
    assert history[-1]["vertex"] < 1e-4  # square metres
    before, after = prior.model.state_dict(), model.state_dict()
    for key, value in before.items():
        same = torch.allclose(value, after[key], rtol=1e-5)
        assert same or key.startswith("context_model."), key
    save_student(tmp_path / "m", model, fps=30, speakers=("A", "B"), recipe="toy")
    again, _ = load_student(tmp_path / "m", made_by="the test")
    clip = corpus.split("train")[0]
    words = corpus.audio(clip), corpus.fps, torch.eye(2)[:1], clip.frames, corpus.template(clip.speaker)
    states = model.predict_states(*words)
    assert torch.equal(again.predict_states(*words), states)
    assert states.shape == (1, clip.frames, 192)


def test_only_one_that_hears_the_mel_spectrogram_can_be_exported(corpus: Corpus, prior: Prior, tmp_path: Path) -> None:
    with Scratch(tmp_path / "scratch") as scratch:
        model, _ = train_motion_prior(
            corpus, encoder(), corpus.split("train"), replace(LATENT, hears="mel", steps=2), seed=0, scratch=scratch,
            description="toy",
        )  # fmt: skip
    (note, *_) = export_meshtalk(model, tmp_path / "mel")
    assert "n_vertices=64, heads=4 and classes=8" in note
    with pytest.raises(BadInput, match=r"this student.*found one that hears through a speech encoder.*hears: mel"):
        export_meshtalk(prior.model, tmp_path / "features")
    assert not (tmp_path / "features").exists()


def test_a_lambda_changes_the_context_model(corpus: Corpus, prior: Prior, tmp_path: Path) -> None:
    plain, _ = fit(corpus, prior, tmp_path / "a")
    zero, _ = fit(corpus, prior, tmp_path / "b", extra_terms(corpus, 0.0))
    taught, history = fit(corpus, prior, tmp_path / "c", extra_terms(corpus, 0.5))
    assert {"sync", "lipread", "vertex", "cross_entropy"} <= set(history[0])
    key = "context_model.logits.masked_linear.weight"
    assert torch.equal(plain.state_dict()[key], zero.state_dict()[key])
    assert not torch.equal(plain.state_dict()[key], taught.state_dict()[key])
    assert all(np.isfinite(row["loss"]) for row in history)
