"""The script for a GPU, here on the CPU at tiny size, and the numbers that it derives."""

import numpy as np
import pytest
import torch

from benchmarks import gpu
from learn2talk_core.run.device import using

ROWS = (
    "student, both losses, batch 1", "student, both losses, batch 8", "SyncNet3D", "rendering 88 × 88",
    "roll-out of 10 frames", "roll-out of 40 frames in training", "lip reader", "teacher", "teacher's sync expert",
    "teacher's audio encoder", "SelfTalk",
    "CodeTalker's codec", "CodeTalker", "VOCA", "MeshTalk's latent space", "MeshTalk",
)  # fmt: skip


def test_everything_runs_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with using("cpu"):
        assert gpu.main(30, []) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:-1]] == list(ROWS)
    assert lines[-1] == "There is no GPU: these are tiny sizes on the CPU, and the GPU's numbers are missing."
    for line in lines[1:-1]:
        assert "/s" in line or line.startswith("roll-out"), line
        assert "goal" not in line


def test_what_is_left_is_skipped_and_a_failure_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(gpu, "measured", fails)
    with using("cpu"):
        assert gpu.main(30, ["VOCA"]) == 1
        assert gpu.main(-1, ["VOCA"]) == 0
    out = capsys.readouterr().out
    assert "VOCA:                            failed: RuntimeError: no kernel image\n" in out
    assert "VOCA:                            skipped: -1 minutes are over\n" in out


def test_waiting_share_against_samples() -> None:
    """Intervals that overlap, contain each other and leave gaps, against 100,000 points in time."""
    draw = np.random.default_rng(0)
    start = draw.uniform(0, 100, 30)
    times = [(float(a), float(b)) for a, b in zip(start, start + draw.uniform(0, 4, 30), strict=True)]
    points = np.linspace(min(a for a, _ in times), max(b for _, b in times), 100_001)
    busy = np.zeros(len(points), bool)
    for a, b in times:
        busy |= (points >= a) & (points <= b)
    assert gpu.waiting_share(times) == pytest.approx(1 - busy.mean(), abs=1e-3)
    assert gpu.waiting_share([]) is None
    assert gpu.waiting_share([(1.0, 3.0), (1.5, 2.0), (4.0, 5.0)]) == pytest.approx(0.25)


def test_losses_are_compared_on_both_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fit(steps: int, batch: int) -> gpu.Curve:
        place = gpu.run_device().type
        asked.append((place, steps, batch, torch.backends.cudnn.allow_tf32))
        return [{"loss": 2.0 + (0.001 * step if place == "meta" else 0.0)} for step in range(steps)]

    before = torch.backends.cudnn.allow_tf32
    training = gpu.Training("toy", 8, 3, "clips", 1, None, fit)
    assert gpu.loss_difference(training, torch.device("meta")) == pytest.approx(0.009 / 2)
    assert asked == [("cpu", 10, 3, False), ("meta", 10, 3, False)]
    assert torch.backends.cudnn.allow_tf32 == before


def test_goals() -> None:
    assert gpu.against(24.96, 20, "clips") == "25.0 clips/s, goal 20: reached"
    assert gpu.against(15_000.0, 20_000, "windows") == "15,000.0 windows/s, goal 20,000: missed"
    assert gpu.against(3.0, None, "clips") == "3.0 clips/s"


def test_the_face_has_the_official_size() -> None:
    template, topology = gpu.imitation_face(gpu.OFFICIAL.vertices)
    assert len(template) == len(topology.colours) == 5023
    assert 9700 < len(topology.faces) < 10000  # FLAME: 9976
    assert topology.faces.max() == 5022
    a, b, c = (template[topology.faces[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()  # seen from outside, as the renderer draws them
    gap = template[topology.lip_pairs[:, 0]] - template[topology.lip_pairs[:, 1]]
    assert (gap[:, 1] > 0).all()
    assert len(topology.lip_pairs) > 10
    lips, mouth, view = (set(topology.regions[name].tolist()) for name in ("lips", "mouth", "mouth_view"))
    assert lips < mouth < view


def test_the_report_of_a_gpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "measured", lambda *_: gpu.Measured(0.32, 2048.0, 0.25))
    monkeypatch.setattr(gpu, "loss_difference", lambda *_: 2e-3)
    training = gpu.Training("student, both losses, batch 8", 8, 1, "clips", 1, 20, lambda *_: [])
    gpu.report(training, gpu.OFFICIAL, torch.device("cuda"))
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "student, both losses, batch 8:   25.0 clips/s, goal 20: reached; 3.1 steps/s; 2.00 GB at most; "
        "the GPU waits 25%; 100 epochs of VOCASET in 21 min, goal 30: reached",
        "10 losses differ from the CPU's by 2.0e-03 at most, goal 0.001: NOT EQUAL",
    ]


def test_launches_are_counted() -> None:
    weight = torch.randn(4, 3, requires_grad=True)
    with gpu.Launches() as forward:
        product = torch.randn(2, 3) @ weight.T  # the numbers, the product; the transpose is a view
        total = product.relu().sum()
    assert forward.count == 4
    with gpu.Launches() as backward:
        total.backward()
    assert backward.count == 3  # of ones, through relu, for the weight


def test_launches_of_the_roll_out_hardly_grow_with_the_batch() -> None:
    one, four = (sum(gpu.training_launches(gpu.TINY, batch, 12)) for batch in (1, 4))
    assert four == one + 3 * 12  # query, key and value are copied
