"""A training that is killed and resumed must end with the same result as one that was not."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learn2talk_core.run import imports
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import generator, mix, seed_torch
from learn2talk_core.training import loop, scratch
from learn2talk_core.training.loop import train, update, warmup_cosine, write_curve
from learn2talk_core.training.scratch import Scratch, open_scratch
from stages import student


@dataclass(frozen=True)
class Params:
    steps: int
    rate: float


def fit(folder: Path, stop_at: int | None = None, steps: int = 12) -> tuple[dict[str, torch.Tensor], list]:
    seed_torch(0, "weights")
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters())

    def step(index: int) -> dict[str, float]:
        if index == stop_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(generator(0, "batch", index).normal(size=(4, 3))).float()
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        update(loss, optimizer, learning_rate=warmup_cosine(index, steps, 0.01))
        return {"loss": float(loss.detach())}

    with Scratch(folder) as place:
        history = train(step, {"model": model, "optimizer": optimizer}, steps=steps, seed=0, scratch=place,
                        description="toy")  # fmt: skip
    return model.state_dict(), history


def test_resume_gives_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    whole, whole_history = fit(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "b", stop_at=7)
    resumed, resumed_history = fit(tmp_path / "b")
    assert resumed_history == whole_history
    assert [row["step"] for row in resumed_history] == list(range(12))
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key


@pytest.mark.parametrize(("save_takes", "saved_at"), [(0.5, [20, 41, 62, 83, 100]), (3.0, [20, 81, 100])])
def test_saving_takes_a_bounded_share_of_the_run(
    save_takes: float, saved_at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes a second. The next checkpoint comes after 20 s and after 20 times the duration of the last save."""
    now, saved = 0.0, []

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    class Slow(Scratch):
        def save(self, state: dict[str, Any]) -> None:
            nonlocal now
            now += save_takes
            saved.append(len(state["history"]) - 1)

    def step(index: int) -> dict[str, float]:
        nonlocal now
        now += 1.0
        return {"loss": 1.0}

    monkeypatch.setattr(loop, "time", Clock)
    train(step, {}, steps=101, seed=0, scratch=Slow(Path("none")), description="toy")
    assert saved == saved_at


CHECKPOINT = """
import resource, sys
from pathlib import Path
import torch
from learn2talk_core.training.scratch import Scratch
place = Scratch(Path(sys.argv[1]))
place.save({"x": torch.zeros(10)})
state = {"x": torch.ones(50_000_000)}  # 200 MB
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 50_000_000,) * 2)
place.save(state)
"""


def test_a_checkpoint_is_written_without_a_copy_in_memory(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CHECKPOINT, str(tmp_path)], check=True)
    assert Scratch(tmp_path).load()["x"].sum() == 50_000_000


FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training.scratch import Scratch
place = Scratch(Path(sys.argv[1]))
place.save({"x": torch.zeros(10)})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for size in (2_000, 100_000, 925_000):  # at the beginning, in the middle, in the index at the end
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        place.save({str(i): torch.zeros(i, 1000) for i in range(22)})
    except BadInput as error:
        print(error)
"""


def test_a_full_disk_is_one_clear_error_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], check=True, capture_output=True, text=True)
    errors = run.stdout.splitlines()
    assert len(errors) == 3, run.stderr
    for error in errors:
        assert "checkpoint.pt: expected to be able to write it, found File too large. Free disk space" in error
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert torch.equal(Scratch(tmp_path).load()["x"], torch.zeros(10))


def test_a_damaged_checkpoint_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    whole, _ = fit(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "b", stop_at=5)
    checkpoint = tmp_path / "b" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    again, _ = fit(tmp_path / "b")
    assert all(torch.equal(whole[key], again[key]) for key in whole)


KILLED = """
import sys, time
from pathlib import Path
from tests.training.test_loop import fit
from learn2talk_core.training import loop
loop.SAVE_SECONDS = 0.0
real = loop.update
import tests.training.test_loop as me
def slow(*a, **k):
    time.sleep(0.05)
    real(*a, **k)
me.update = slow
fit(Path(sys.argv[1]), steps=60)
"""


def test_sigkill_then_resume_gives_the_same_numbers(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "b")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "b" / "checkpoint.pt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    saved = torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)
    assert 0 < len(saved["history"]) < 60
    resumed, _ = fit(tmp_path / "b", steps=60)
    whole, _ = fit(tmp_path / "a", steps=60)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_two_trainers_never_share_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "WAIT_SECONDS", 0.0)
    with Scratch(tmp_path / "x"):
        with pytest.raises(BadInput, match=rf"expected no other training in this folder, found process {os.getpid()}"):
            Scratch(tmp_path / "x").__enter__()
    with Scratch(tmp_path / "x"):
        pass


def test_who_waited_for_a_folder_that_is_gone_and_who_made_it_anew_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One training ends while a second waits and a third starts: the second then holds the lock of a deleted file."""
    monkeypatch.setattr(scratch, "WAIT_SECONDS", 0.0)
    first, third = Scratch(tmp_path / "x").__enter__(), Scratch(tmp_path / "x")
    flock = scratch.fcntl.flock

    def end_and_begin_anew(*words: int) -> None:
        monkeypatch.setattr(scratch.fcntl, "flock", flock)
        first.remove()
        first.__exit__()
        third.__enter__()
        flock(*words)

    monkeypatch.setattr(scratch.fcntl, "flock", end_and_begin_anew)  # the second has just opened the lock file
    with pytest.raises(BadInput, match=rf"expected no other training in this folder, found process {os.getpid()}"):
        Scratch(tmp_path / "x").__enter__()
    third.save({"step": torch.tensor(3)})
    assert third.load() == {"step": torch.tensor(3)}
    third.remove()
    third.__exit__()
    assert list(tmp_path.iterdir()) == []


def test_scratch_key_follows_params_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").write_text("1")
    first = open_scratch("s", Params(1, 0.5), [data]).folder
    assert open_scratch("s", Params(1, 0.5), [data]).folder == first
    assert first.parent == tmp_path / ".scratch"
    assert open_scratch("s", Params(1, 0.6), [data]).folder != first
    assert open_scratch("t", Params(1, 0.5), [data]).folder != first
    (data / "a").write_text("2")
    assert open_scratch("s", Params(1, 0.5), [data]).folder != first


def test_scratch_key_follows_what_the_stage_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Params` is a class of a stage in a small project: editing the viewer must not change the key."""
    files = {
        "stages/toy.py": "from learn2talk_core.run import used",
        "learn2talk_core/run/used.py": "x = 1",
        "learn2talk_core/run/unused.py": "x = 1",
        "learn2talk_core/run/mean.npz": "numbers",
        "learn2talk_core/report/style.json": "{}",
        "learn2talk/viewer/static/view.js": "let x = 1",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for module in (imports, scratch):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__].__spec__, "name", "stages.toy")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))

    def key_after_an_edit_of(name: str) -> str:
        with (tmp_path / name).open("a") as file:
            file.write("\n")
        return open_scratch("s", Params(1, 0.5), []).folder.name

    keys = [open_scratch("s", Params(1, 0.5), []).folder.name]
    unused = ("learn2talk_core/run/unused.py", "learn2talk_core/report/style.json", "learn2talk/viewer/static/view.js")
    for name in unused:
        assert key_after_an_edit_of(name) == keys[0], name
    for name in ("stages/toy.py", "learn2talk_core/run/used.py", "learn2talk_core/run/mean.npz"):
        keys.append(key_after_an_edit_of(name))
    assert len(set(keys)) == 4


def test_scratch_key_of_a_real_stage_holds_what_it_imports() -> None:
    code = scratch._code(load_params(student.Params, "student", Path(__file__).parents[2] / "params.yaml"))
    assert {"stages/student.py", "learn2talk_core/training/loop.py", "learn2talk_core/corpus/format.py"} <= set(code)
    assert not [name for name in code if name.startswith("learn2talk/") or name == "stages/taught_student.py"]


def test_an_orphan_saves_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([100, 100, 100, 1])
    monkeypatch.setattr(loop.os, "getppid", lambda: next(parents))
    with pytest.raises(KeyboardInterrupt, match="the process that started this training is gone"):
        fit(tmp_path / "a")
    assert len(torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)["history"]) == 3


def test_a_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    with Scratch(tmp_path) as place, pytest.raises(FloatingPointError, match="x: the loss is nan at step 0"):
        train(lambda _: {"loss": float("nan")}, {}, steps=3, seed=0, scratch=place, description="x")


def test_seeds_are_stable_and_distinct() -> None:
    assert mix(1, "batch", 2) == mix(1, "batch", 2)
    assert len({mix(s, n, i) for s in range(5) for n in ("a", "b") for i in range(50)}) == 500
    assert generator(0, "a").integers(1 << 30) == generator(0, "a").integers(1 << 30)


def test_warmup_cosine_end_points() -> None:
    rates = [warmup_cosine(i, 100, 2.0, warmup=0.1, floor=0.05) for i in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == pytest.approx(2.0)
    assert rates[-1] == pytest.approx(0.1)
    assert warmup_cosine(0, 1, 1.0) > 0


def test_curve_is_averaged_over_stretches(tmp_path: Path) -> None:
    write_curve([{"step": float(i), "loss": float(i % 2)} for i in range(1000)], str(tmp_path / "c.csv"), rows=100)
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert lines[0] == "step,loss"
    assert len(lines) == 101
    assert lines[1] == "4.5,0.5"
