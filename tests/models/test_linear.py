import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learn2talk_core.models.linear import Linear, by_onednn, linear


def numbers(*size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(sum(size)))


@pytest.mark.parametrize("rows", [(), (1,), (3, 7), (1, 301)])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("intel", [True, False])
def test_value_and_gradients_of_a_product_in_double_precision(
    rows: tuple[int, ...], biased: bool, intel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learn2talk_core.models.linear.INTEL", intel)
    inputs = [numbers(*rows, 64), numbers(1000, 64), *([numbers(1000)] if biased else [])]
    strided = [numbers(*rows, 128)[..., ::2], numbers(64, 1000).T, *([numbers(2000)[::2]] if biased else [])]
    gaps = [numbers(*rows, 80)[..., :64], numbers(1000, 80)[:, :64], *([numbers(2000)[::2]] if biased else [])]
    for given in (inputs, strided, gaps):
        leaves = [tensor.detach().requires_grad_() for tensor in given]
        double = [tensor.detach().double().requires_grad_() for tensor in given]
        found, expected = linear(*leaves), F.linear(*double)
        torch.testing.assert_close(found.double(), expected, atol=5e-5, rtol=1e-5)
        seen = numbers(*rows, 1000)
        ours, theirs = torch.autograd.grad(found, leaves, seen), torch.autograd.grad(expected, double, seen.double())
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a.double(), b, atol=1e-5 * float(b.abs().max()), rtol=1e-5)
        with torch.no_grad():
            assert torch.equal(linear(*given), found)


def test_gradients_that_nobody_wants() -> None:
    x, weight, bias = numbers(4, 5), numbers(3, 5).requires_grad_(), numbers(3)
    linear(x, weight, bias).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(3, 5))
    assert x.grad is None
    assert bias.grad is None


def test_its_result_may_be_written_to() -> None:
    x = numbers(2, 4, 5).requires_grad_()
    linear(x, numbers(3, 5)).mul_(2).sum().backward()
    torch.testing.assert_close(x.grad, (2 * numbers(3, 5).sum(0)).expand(2, 4, 5))


def test_what_is_not_float32_or_empty_is_torchs_own() -> None:
    x, weight, bias = (numbers(*size).double().requires_grad_() for size in ((4, 5), (3, 5), (3,)))
    assert torch.autograd.gradcheck(linear, (x, weight, bias))
    assert linear(torch.zeros(2, 0, 5), numbers(3, 5), numbers(3)).shape == (2, 0, 3)


def test_a_network_keeps_weights_and_names() -> None:
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 2, bias=False)))
    before, x = {name: tensor.clone() for name, tensor in network.state_dict().items()}, numbers(9, 6)
    expected = network(x)
    assert by_onednn(network) is network
    assert type(network[0]) is type(network[2][0]) is Linear
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    torch.testing.assert_close(network(x), expected, atol=1e-6, rtol=1e-5)
