import itertools
import math

import pytest
import torch

from learn2talk_core.losses.commutative import latent_consistency, text_consistency


def test_latent_consistency_leaves_the_padding_out() -> None:
    read, heard = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    expected = torch.cat([(read[0] - heard[0]).square().flatten(), (read[1, :2] - heard[1, :2]).square().flatten()])
    torch.testing.assert_close(latent_consistency(read, heard, mask), expected.mean())


def test_text_consistency_sums_over_all_alignments() -> None:
    """Against Eq. 17 literally: every path over three frames that collapses to the text."""
    logits = torch.randn(1, 3, 3, dtype=torch.float64)
    chances = logits[0].softmax(-1)
    text, total = [1, 2], 0.0
    for path in itertools.product(range(3), repeat=3):
        merged = [unit for i, unit in enumerate(path) if (i == 0 or path[i - 1] != unit) and unit]
        if merged == text:
            total += math.prod(chances[i, unit].item() for i, unit in enumerate(path))
    loss = text_consistency(logits, [3], [torch.tensor(text)])
    assert loss.item() == pytest.approx(-math.log(total) / len(text))


def test_texts_without_units_and_texts_that_do_not_fit_have_finite_gradients() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    loss = text_consistency(logits, [3, 2], [torch.zeros(0, dtype=torch.long), torch.tensor([1, 1, 2])])
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert text_consistency(logits[:1], [3], [torch.zeros(0, dtype=torch.long)]) > 0
