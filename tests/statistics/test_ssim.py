import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from learn2talk_core.statistics.ssim import ssim


def pictures(seed: int, height: int = 40, width: int = 52) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    a = torch.rand(height, width, 3, generator=draw)
    return a, (0.7 * a + 0.3 * torch.rand(height, width, 3, generator=draw)).clamp(0, 1)


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_torchmetrics_and_its_gradient(seed):
    """torchmetrics leaves out the 5 pixels at the border, so both pictures get a border that is alike."""
    a, b = pictures(seed)
    inside = torch.zeros(40, 52, 1)
    inside[12:-12, 12:-12] = 1
    results = []
    for kind in ("ours", "theirs"):
        x, y = (a * inside).requires_grad_(), b * inside
        if kind == "ours":
            value = ssim(x, y)
        else:
            whole = structural_similarity_index_measure(
                x.permute(2, 0, 1)[None], y.permute(2, 0, 1)[None], data_range=1.0, return_full_image=True
            )[1]
            value = whole.mean()
        value.backward()
        results.append((value.detach(), x.grad))
    torch.testing.assert_close(*[value for value, _ in results], atol=1e-4, rtol=0)
    torch.testing.assert_close(*[gradient for _, gradient in results], atol=1e-6, rtol=2e-3)


def test_is_1_for_equal_pictures_and_lower_for_others():
    a, b = pictures(3)
    assert float(ssim(a, a)) == pytest.approx(1, abs=1e-6)
    assert 0 < float(ssim(a, b)) < 0.95
