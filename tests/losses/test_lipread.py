import numpy as np
import torch
from scipy.spatial.distance import cosine

from learn2talk_core.losses.lipread import lipread_loss


def test_is_the_mean_cosine_distance_of_the_frames_that_count() -> None:
    rng = np.random.default_rng(0)
    read, taught = rng.normal(size=(2, 3, 5, 7))
    mask = np.arange(5) < np.array([[5], [2], [4]])
    distances = [cosine(read[b, t], taught[b, t]) for b, t in zip(*mask.nonzero(), strict=True)]
    loss = lipread_loss(torch.from_numpy(read), torch.from_numpy(taught), torch.from_numpy(mask))
    np.testing.assert_allclose(loss, np.mean(distances), rtol=1e-12)
    everything = [cosine(a, b) for a, b in zip(read.reshape(-1, 7), taught.reshape(-1, 7), strict=True)]
    np.testing.assert_allclose(
        lipread_loss(torch.from_numpy(read), torch.from_numpy(taught)), np.mean(everything), rtol=1e-12
    )


def test_gradient_by_finite_differences() -> None:
    torch.manual_seed(0)
    read = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    taught = torch.randn(2, 3, 4, dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert torch.autograd.gradcheck(lambda x: lipread_loss(x, taught, mask), (read,))
    lipread_loss(read, taught, mask).backward()
    assert read.grad is not None
    assert torch.equal(read.grad[1, 1:], torch.zeros(2, 4, dtype=torch.float64))
