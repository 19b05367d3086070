import pytest
import torch

from learn2talk_core.losses.total import GradientBalance, Term, overall_loss


def terms(lambda1: float, lambda2: float) -> list[tuple[str, float, Term]]:
    return [
        ("vertex", 1.0, lambda h: (h - 1).square().sum()),
        ("sync", lambda1, lambda h: 1000 * h[..., 0].sum()),
        ("lipread", lambda2, lambda h: 1e-4 * h[..., 1].square().sum()),
    ]


def test_without_balance_it_is_equation_8() -> None:
    h = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    loss, values = overall_loss(h, terms(5e-4, 5e-7), None)
    expected = (h - 1).square().sum() + 5e-4 * 1000 * h[..., 0].sum() + 5e-7 * 1e-4 * h[..., 1].square().sum()
    assert loss.item() == pytest.approx(expected.item())
    assert set(values) == {"loss", "vertex", "sync", "lipread"}


def test_a_networks_own_losses_are_added_as_weighted_and_never_balanced() -> None:
    h = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    own = [("velocity", 2.0, h.diff(dim=1).square().sum())]
    for balance in (None, GradientBalance(3)):
        plain, _ = overall_loss(h, terms(0.3, 0.7), balance)
        torch.autograd.grad(plain, h)  # measures the norms
        plain, _ = overall_loss(h, terms(0.3, 0.7), balance)
        loss, values = overall_loss(h, terms(0.3, 0.7), balance, own)
        torch.testing.assert_close(loss - plain, 2 * own[0][2])
        assert values["velocity"] == own[0][2].item()
        assert values["loss"] == loss.item()


def test_a_zero_lambda_is_never_computed() -> None:
    def never(_: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    h = torch.zeros(1, 1, 2, requires_grad=True)
    _, values = overall_loss(h, [("vertex", 1.0, lambda h: h.sum()), ("sync", 0.0, never)], GradientBalance(2))
    assert set(values) == {"loss", "vertex"}


def test_a_share_is_a_share_of_the_gradient_norm() -> None:
    """After a few steps at the same place, each term's scaled gradient has lambda times the vertex gradient's norm."""
    balance = GradientBalance(3)
    h = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        loss, _ = overall_loss(h, terms(0.3, 0.7), balance)
        (total,) = torch.autograd.grad(loss, h)
    losses = [term(h) for _, _, term in terms(1, 1)]
    vertex, sync, lipread = (torch.autograd.grad(value, h)[0] for value in losses)
    expected = vertex + 0.3 * sync * vertex.norm() / sync.norm() + 0.7 * lipread * vertex.norm() / lipread.norm()
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-7)


def test_a_loss_that_is_left_out_has_no_share_to_measure() -> None:
    states, weighted = torch.ones(1, 2, 3, requires_grad=True), dict[str, torch.Tensor]()
    own = [("text", 0.0, states.sum()), ("latent", 2.0, states.sum())]
    _, values = overall_loss(states, [("vertex", 1.0, lambda h: h.square().mean())], None, own, weighted)
    assert (values["text"], weighted.keys()) == (6.0, {"vertex", "latent"})


def test_a_share_is_right_from_the_first_weighted_step_on() -> None:
    """The loss of motion in metres is scaled before the backward pass, and with it what that measures."""
    scale = 0.004**-2
    balance = GradientBalance(3, scale=scale)
    h = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    losses = [term(h) for _, _, term in terms(1, 1)]
    vertex, sync, lipread = (torch.autograd.grad(value, h)[0] for value in losses)
    expected = vertex + 0.3 * sync * vertex.norm() / sync.norm() + 0.7 * lipread * vertex.norm() / lipread.norm()
    for step in range(4):
        loss, _ = overall_loss(h, terms(0.3, 0.7), balance)
        (total,) = torch.autograd.grad(scale * loss, h)
        if step:  # before, the vertex loss's norm is not known
            torch.testing.assert_close(total / scale, expected, rtol=1e-5, atol=1e-7)


def test_balance_is_saved_with_the_checkpoint() -> None:
    balance = GradientBalance(3)
    h = torch.ones(1, 2, 2, requires_grad=True) * 3
    for _ in range(2):
        loss, _ = overall_loss(h, terms(0.3, 0.3), balance)
        torch.autograd.grad(loss, h)
    again = GradientBalance(3)
    again.load_state_dict(balance.state_dict())
    assert [again.share_weight(i) for i in range(3)] == [balance.share_weight(i) for i in range(3)]
    assert all(balance.share_weight(i) > 0 for i in range(3))
