"""The linear modes of a mouth, against sums written out."""

import numpy as np
import torch

from learn2talk_core.models.mouth_modes import COLUMNS, LOOKS, MODES, PIXELS, ROWS, MouthModes, lower_face_logits


def drawn_modes(codes: int) -> MouthModes:
    """Modes and looks of random numbers."""
    torch.manual_seed(0)
    mouth = MouthModes(codes)
    for numbers in (mouth.modes, mouth.looks, mouth.neutral):
        numbers.normal_(std=0.02)
    return mouth


def test_logits_are_of_the_lower_face_and_finite():
    faces = torch.rand(2, 3, 96, 96)
    faces[0, 0, 50, 20], faces[0, 1, 95, 87] = 0.0, 1.0
    found = lower_face_logits(faces).view(2, 3, 52, 80)
    inner = faces[:, :, 44:, 8:88].clamp(0.02, 0.98).double().numpy()
    np.testing.assert_allclose(found.numpy(), np.log(inner / (1 - inner)), atol=1e-5)


def test_a_change_is_the_weighted_sum_of_the_modes_and_nothing_around_them():
    mouth, code, reference = drawn_modes(5), torch.randn(3, 5), torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        change = mouth(code, reference).numpy()
        look = [float((lower_face_logits(reference)[0] - mouth.neutral) @ row) for row in mouth.looks]
        weights = mouth.decoder(torch.cat([code, torch.tensor([look] * 3)], dim=1)).numpy()
    assert weights.shape == (3, MODES)
    assert len(look) == LOOKS
    expected = sum(weights[:, k, None] * mouth.modes[k].numpy() for k in range(MODES))
    np.testing.assert_allclose(change[:, :, ROWS, COLUMNS].reshape(3, PIXELS), expected, atol=1e-5)
    outside = np.ones((96, 96), bool)
    outside[ROWS, COLUMNS] = False
    assert (change[:, :, outside] == 0).all()
    assert np.abs(expected).max() > 0.01


def test_one_reference_is_that_of_all_codes():
    mouth, code, reference = drawn_modes(5), torch.randn(3, 5), torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(mouth(code, reference), mouth(code, reference.expand(3, -1, -1, -1)))
