"""Codes of mouths: films of two movements, whose modes and codes are known."""

import numpy as np
import pytest
import torch

from learn2talk_core.models.mouth_modes import COLUMNS, MODES, ROWS, lower_face_logits
from learn2talk_core.models.wav2lip import to_tensor
from learn2talk_core.run.weights import frozen
from learn2talk_core.training.mouth_codes import (
    CodedMouths,
    CodeTraining,
    MouthEncoder,
    find_modes,
    leading_components,
    logits_of,
    modes_of,
    train_mouth_codes,
)
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.speaking_face import SpeakingFace
from tests.training.test_wav2lip import LIPS, MOUTH, mean_of

RECIPE = CodeTraining(codes=2, steps=60, learning_rate=0.003)


def films(clips: int = 12, frames: int = 40) -> tuple[list[SpeakingFace], list[np.ndarray]]:
    """Faces whose lower half moves in two ways, by known weights (T, 2), 0 in the first frame; and these weights."""
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.normal(size=(2, 13, 20, 3)), np.ones((1, 4, 4, 1)))  # 52 x 80
    made, weights = [], []
    for _ in range(clips):
        weight = rng.uniform(-1, 1, (frames, 2)) * [1.0, 0.4]
        weight[0] = 0
        logits = np.full((frames, 96, 96, 3), rng.uniform(-0.5, 0.5))
        logits[:, ROWS, COLUMNS] += 0.6 * np.einsum("tk,khwc->thwc", weight, smooth)
        faces = (255 / (1 + np.exp(-logits))).round().astype(np.uint8)
        made.append(SpeakingFace(faces, np.zeros((80, 200), np.float32), LIPS, MOUTH, mean_of(faces)))
        weights.append(weight)
    return made, weights


def test_logits_of_films_are_those_of_the_network():
    faces = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    np.testing.assert_allclose(logits_of(faces), lower_face_logits(to_tensor(faces)).numpy(), atol=1e-5)


def test_leading_components_are_those_of_the_singular_value_decomposition():
    rows = torch.randn(80, 60) * torch.linspace(3, 0.1, 60) ** 2
    deviations, components = leading_components(rows, 4)
    _, values, vectors = np.linalg.svd(rows.numpy())
    np.testing.assert_allclose(deviations.numpy(), values[:4] / np.sqrt(80), rtol=1e-3)
    np.testing.assert_allclose(np.abs(components.numpy() @ vectors[:4].T), np.eye(4), atol=0.02)
    assert leading_components(rows[:3], 4)[1].shape == (3, 60)  # no more than there are rows


def test_modes_are_the_movements_of_the_films():
    clips, weights = films()
    torch.manual_seed(0)
    encoder = MouthEncoder(find_modes(clips, 2, seed=0), 2)
    assert encoder.mouth.modes.shape == (MODES, 3 * 52 * 80)
    each, looks = modes_of(clips, encoder)
    assert [one.shape for one in each] == [(40, MODES)] * 12
    moved = torch.cat(each)
    assert moved[:, 0].square().mean().sqrt().item() == pytest.approx(1, abs=0.2)
    assert moved[:, 2:].square().sum() < 0.01 * moved.square().sum()  # the rest is rounding
    true = np.concatenate(weights)
    fitted, *_ = np.linalg.lstsq(moved[:, :2].numpy(), true, rcond=None)
    np.testing.assert_allclose(moved[:, :2].numpy() @ fitted, true, atol=0.05)
    frozen(encoder)
    one, first = to_tensor(clips[3].faces[[7]]), to_tensor(clips[3].faces[[0]])
    expected = encoder.encode(moved[[127]], looks[[3]])
    torch.testing.assert_close(encoder(one, first), expected, atol=1e-3, rtol=1e-3)


def test_codes_say_how_the_mouth_is_held_and_repeat_themselves(tmp_path):
    clips, weights = films()

    def trained(name: str) -> tuple[MouthEncoder, CodedMouths, list[dict[str, float]]]:
        with Scratch(tmp_path / name) as scratch:
            return train_mouth_codes(clips, RECIPE, seed=1, scratch=scratch)

    encoder, mouths, history = trained("a")
    codes = mouths.codes
    assert not encoder.training
    assert [code.shape for code in codes] == [(40, 2)] * 12
    assert history[0]["explained"] < 0.3
    assert history[-1]["explained"] > 0.9
    together = torch.cat(codes)
    torch.testing.assert_close(together.std(dim=0), torch.ones(2), atol=0.15, rtol=0)
    torch.testing.assert_close(together.mean(dim=0), torch.zeros(2), atol=0.15, rtol=0)
    true = np.concatenate(weights)[:, :1]
    inputs = np.concatenate([together.numpy(), together.numpy() ** 2, np.ones((480, 1))], axis=1)
    fitted, *_ = np.linalg.lstsq(inputs, true, rcond=None)
    assert np.square(inputs @ fitted - true).mean() < 0.1 * true.var()
    again = trained("b")
    assert all(torch.equal(one, other) for one, other in zip(codes, again[1].codes, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again[0].parameters(), strict=True))
