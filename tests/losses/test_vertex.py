import pytest
import torch

from learn2talk_core.losses.vertex import vertex_loss


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    predicted = torch.randn(2, 4, 6, generator=g, dtype=torch.float64)
    truth = torch.randn(2, 4, 6, generator=g, dtype=torch.float64)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    return predicted, truth, mask


def test_both_forms_against_naive_loops(batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    predicted, truth, mask = batch
    squares, norms, frames = 0.0, 0.0, 0
    for b in range(2):
        for t in range(4):
            if not mask[b, t]:
                continue
            frames += 1
            for v in range(2):
                d = (predicted[b, t, 3 * v : 3 * v + 3] - truth[b, t, 3 * v : 3 * v + 3]).tolist()
                squares += sum(x * x for x in d)
                norms += sum(x * x for x in d) ** 0.5
    assert vertex_loss(predicted, truth, mask).item() == pytest.approx(squares / (frames * 6))
    assert vertex_loss(predicted, truth, mask, "sum").item() == pytest.approx(norms / 2)


@pytest.mark.parametrize("form", ["mean", "sum"])
def test_gradient(batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], form: str) -> None:
    predicted, truth, mask = batch
    predicted[0, 0] = truth[0, 0]  # a frame predicted exactly has a finite gradient
    loss = vertex_loss(predicted.requires_grad_(), truth, mask, form)  # type: ignore[arg-type]
    loss.backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[1, 2:] == 0).all()
    step = torch.zeros_like(predicted)
    step[1, 1, 3] = 1e-6
    with torch.no_grad():
        up = vertex_loss(predicted + step, truth, mask, form)  # type: ignore[arg-type]
        down = vertex_loss(predicted - step, truth, mask, form)  # type: ignore[arg-type]
    assert predicted.grad[1, 1, 3].item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-5)
