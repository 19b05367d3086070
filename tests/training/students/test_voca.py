from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.students.voca.network import VOCA, speech_windows
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import ExtraTerm, true_displacement
from learn2talk_core.training.students.voca import VOCARecipe, train_network
from tests.toy import toy_corpus
from tests.training.test_student import encoder, extra_terms

RECIPE = VOCARecipe(
    prior=None, vertex_loss="mean", vertex_stride=1, velocity=10.0, steps=30, batch=3, learning_rate=5e-3
)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy_corpus(tmp_path / "corpus")


def fit(
    corpus: Corpus,
    folder: Path,
    recipe: VOCARecipe = RECIPE,
    extra: list[tuple[str, float, ExtraTerm]] | None = None,
) -> tuple[VOCA, list[dict[str, float]]]:
    with Scratch(folder) as scratch:
        return train_network(
            corpus, encoder(), corpus.split("train"), recipe, seed=0, scratch=scratch, description="toy",
            extra=extra or [],
        )  # fmt: skip


def test_it_learns_the_toy_and_the_speech_encoder_stays(corpus: Corpus, tmp_path: Path) -> None:
    model, history = fit(corpus, tmp_path / "a")
    assert set(history[0]) == {"step", "loss", "vertex", "velocity"}
    vertex = [row["vertex"] for row in history]
    assert sum(vertex[-5:]) < 0.8 * sum(vertex[:5])
    for row in history:
        torch.testing.assert_close(row["loss"], row["vertex"] + 10 * row["velocity"], rtol=1e-5, atol=0)
    before = encoder().state_dict()
    assert all(torch.equal(value, before[key]) for key, value in model.speech_encoder.state_dict().items())
    # in metres, as the corpus: the motion is up to 8 mm
    clip = corpus.split("train")[0]
    states = model.predict_states(corpus.audio(clip), corpus.fps, torch.eye(2)[:1], clip.frames)
    assert 1e-4 < float(model.displacement(states).detach().abs().max()) < 0.05


def test_losses_equal_their_definition(corpus: Corpus, tmp_path: Path) -> None:
    """VOCA, Eq. 2 and 3, apart from the factor 3 of its sum over coordinates: mean over frames of all clips."""
    clips = corpus.split("train")[:2]
    recipe = replace(RECIPE, steps=1, batch=2)
    with Scratch(tmp_path / "a") as scratch:
        model, history = train_network(
            corpus, encoder(), clips, replace(recipe, learning_rate=0.0), seed=0, scratch=scratch, description="toy"
        )
    model.train()  # the batch norm of the step
    model.speech_encoder.eval()
    truth, mask = true_displacement(corpus, clips, max(c.frames for c in clips), slice(None), 1.0, torch.device("cpu"))
    windows = [
        speech_windows(model.speech_encoder.listen(corpus.audio(c), c.frames, corpus.fps), corpus.fps) for c in clips
    ]
    moved = model.displacement(model.states_of_clips(windows, torch.eye(2))).flatten(2).detach()
    squares = [(moved[i, :n] - truth[i, :n]).square().flatten() for i, n in enumerate(c.frames for c in clips)]
    torch.testing.assert_close(history[0]["vertex"], float(torch.cat(squares).mean()), rtol=1e-4, atol=0)
    error = moved - truth
    steps = [(error[i, 1:n] - error[i, : n - 1]).square().flatten() for i, n in enumerate(c.frames for c in clips)]
    torch.testing.assert_close(history[0]["velocity"], float(torch.cat(steps).mean()), rtol=1e-4, atol=0)
    assert bool(mask[:, 0].all())


def test_a_lambda_changes_it(corpus: Corpus, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=4)
    plain, _ = fit(corpus, tmp_path / "a", recipe)
    zero, _ = fit(corpus, tmp_path / "b", recipe, extra_terms(corpus, 0.0))
    taught, history = fit(corpus, tmp_path / "c", recipe, extra_terms(corpus, 0.5))
    assert {"sync", "lipread"} <= set(history[0])
    assert torch.equal(plain.fc2.weight, zero.fc2.weight)
    assert not torch.equal(plain.fc2.weight, taught.fc2.weight)
