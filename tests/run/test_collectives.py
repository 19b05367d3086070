"""Two processes against one with twice the batch. Both were run once, by `in_two.py`; the tests check the results."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learn2talk_core.run import collectives
from tests.fake_device import DEVICE, fake_device
from tests.ranks import ended, start
from tests.toy import toy_corpus
from tests.training import in_two

Ranks = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    toy_corpus(folder / "corpus", clips=12)
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> Ranks:
    """The results of the two processes."""
    for status, text in ended(start(in_two.CODE, str(folder), folder=folder)):
        assert status == 0, text
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def losses(history: list[dict[str, float]], name: str = "loss") -> np.ndarray:
    return np.array([row[name] for row in history])


def test_gradients_are_averaged_and_missing_ones_are_zero(ranks: Ranks) -> None:
    for result in ranks:
        both, first, none = result["gradients"]
        torch.testing.assert_close(both, torch.full((2, 3), 1.5))
        torch.testing.assert_close(first, torch.arange(6.0).view(2, 3) / 2)
        assert none is None


def test_a_loss_over_all_rows_has_the_gradient_that_one_process_finds(ranks: Ranks) -> None:
    whole = in_two.compared_rows(slice(0, 7))
    assert whole.abs().max() > 0.1
    for result in ranks:
        torch.testing.assert_close(result["compared_rows"], whole, rtol=1e-5, atol=1e-6)


def test_what_is_the_same_everywhere_stays_so_to_the_bit(ranks: Ranks) -> None:
    assert all(torch.equal(result["constant"], torch.full((3,), 0.1)) for result in ranks)


def test_processes_that_do_not_agree_are_refused(ranks: Ranks) -> None:
    for result in ranks:
        assert (
            "expected the same code, parameters, data and checkpoint in all of them, found different ones"
            in result["refused"]
        )


def test_the_first_process_goes_first(ranks: Ranks) -> None:
    assert [result["in_turn"] for result in ranks] == [None, True]


@pytest.mark.parametrize("name", ["normalised", "student", "student_sync", "syncnet3d"])
def test_both_have_the_same_weights_and_the_same_curve(ranks: Ranks, name: str) -> None:
    (first, curve), (second, other) = (result[name] for result in ranks)
    assert curve == other
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_buffers_and_values_are_means_of_batches_that_differ(ranks: Ranks) -> None:
    weights, history = ranks[0]["normalised"]
    assert (losses(history, "rank") == 0.5).all()
    assert weights["1.running_mean"].abs().max() > 1e-3
    assert weights["1.num_batches_tracked"] == 5


def test_a_student_is_that_of_one_process_with_twice_the_batch(ranks: Ranks, folder: Path) -> None:
    weights, history = in_two.student(folder, 2)
    np.testing.assert_allclose(losses(ranks[0]["student"][1]), losses(history), rtol=1e-4)
    for key, value in weights.items():
        if key.endswith(("in_proj_bias", "k_proj.bias")):
            continue  # a bias of attention's keys changes nothing: Adam makes steps of the rounding of its gradient, 0
        assert (ranks[0]["student"][0][key] - value).norm() <= 1e-3 * value.norm() + 1e-4, key
    assert not np.allclose(losses(in_two.student(folder, 1)[1]), losses(history), rtol=0.02)


def test_a_student_with_the_sync_loss(ranks: Ranks, folder: Path) -> None:
    """The balance averages norms, so the sum of the terms is near that of one process, and each term follows it."""
    _, history = in_two.student(folder, 2, sync=0.3)
    two = ranks[0]["student_sync"][1]
    np.testing.assert_allclose(losses(two, "vertex"), losses(history, "vertex"), rtol=0.02)
    np.testing.assert_allclose(losses(two, "sync"), losses(history, "sync"), rtol=0.01)
    np.testing.assert_allclose(losses(two), losses(history), rtol=0.05)


def test_a_syncnet3d_follows_one_process_with_twice_the_clips(ranks: Ranks, folder: Path) -> None:
    """Not equal: batch normalisation sees the windows of one process."""
    one, two = (losses(history) for _, history in (in_two.syncnet3d(folder, 6), ranks[0]["syncnet3d"]))
    assert two[0] == pytest.approx(one[0], rel=0.01)
    np.testing.assert_allclose(two, one, rtol=0.1)
    assert one[-1] < 0.7 * one[0]


def test_gradients_are_averaged_without_waiting_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with the same gradients, on the imitated device."""
    monkeypatch.setattr(collectives, "count", lambda: 2)
    exchanged = []

    def reduced(tensor: torch.Tensor, how: str) -> torch.Tensor:
        exchanged.append((tensor.device.type, how))
        return tensor.clone() if how == "mean" else 2 * tensor

    monkeypatch.setattr(collectives, "_reduced", reduced)
    with fake_device() as waits:
        network, unused = torch.nn.Linear(3, 2).to(DEVICE), torch.nn.Linear(3, 2).to(DEVICE)
        network(torch.ones(1, 3, device=DEVICE)).sum().backward()
        waits.clear()
        collectives.mean_gradients([*network.parameters(), *unused.parameters()])
        assert not waits
        assert unused.weight.grad is None
        assert network.bias.grad is not None
        assert network.bias.grad.tolist() == [1.0, 1.0]
    assert exchanged == [("cpu", "sum"), ("fake", "mean")]
