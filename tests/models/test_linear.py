import pytest
import torch

from learn2talk_core.models.linear import linear


@pytest.mark.parametrize("rows", [(1,), (3, 7), (1, 301)])
def test_equals_a_product_in_double_precision(rows: tuple[int, ...]) -> None:
    x, weight, bias = torch.randn(*rows, 64), torch.randn(1000, 64), torch.randn(1000)
    expected = (x.double() @ weight.double().T + bias.double()).float()
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, bias), expected, atol=5e-5, rtol=1e-5)
        strided = torch.randn(*rows, 128)[..., ::2], torch.randn(64, 1000).T
        expected = (strided[0].double() @ strided[1].double().T + bias.double()).float()
        torch.testing.assert_close(linear(*strided, bias), expected, atol=5e-5, rtol=1e-5)


def test_has_a_gradient_where_one_is_wanted() -> None:
    x, weight, bias = (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((4, 5), (3, 5), (3,)))
    assert torch.autograd.gradcheck(linear, (x, weight, bias))
    assert linear(x.detach().float(), weight.float(), bias.float()).requires_grad
