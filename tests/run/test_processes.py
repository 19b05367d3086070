import accelerate
import pytest
import torch

from learn2talk_core.run import device, processes
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file, whole_folder
from tests.ranks import ended, start


@pytest.mark.parametrize(("items", "count"), [(2, 2), (5, 2), (7, 3), (3, 3), (4, 1)])
def test_parts_hold_every_item_once(monkeypatch, items, count):
    monkeypatch.setattr(processes, "_count", count)
    found, sizes = [], set()
    for rank in range(count):
        monkeypatch.setattr(processes, "_rank", rank)
        part = list(range(items))[processes.own_part(items)]
        found += part
        sizes.add(len(part))
    assert found == list(range(items))
    assert max(sizes) - min(sizes) <= 1


def test_more_processes_than_clips_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "_count", 3)
    with pytest.raises(BadInput, match="expected at least one clip per step for each of 3 processes, found 2 clips"):
        processes.own_part(2)


def test_alone_nothing_is_joined(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes.joined():
        assert (processes.rank(), processes.count(), processes.mark()) == (0, 1, ())


def test_accelerate_that_started_only_one_process_is_told(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    with pytest.raises(BadInput, match=r"found one, because --cpu starts only one\. Write --multi_gpu"):
        with processes.joined():
            pass


def test_on_gpus_tensors_of_the_cpu_can_be_exchanged_too(monkeypatch):
    asked = []

    class State:
        device, process_index, num_processes = torch.device("meta"), 1, 2

        def __init__(self, **wanted):
            asked.append(wanted)

        def destroy_process_group(self):
            pass

    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(accelerate, "PartialState", State)
    for place in ("cuda", "cpu"):
        monkeypatch.setattr(device, "device_for_each", lambda _, place=place: torch.device(place))
        with processes.joined():
            assert (processes.rank(), processes.count(), device.run_device().type) == (1, 2, "meta")
    gpu, cpu = asked
    assert gpu == {"cpu": False, "timeout": processes.TIMEOUT, "backend": "cuda:nccl,cpu:gloo"}
    assert cpu == {"cpu": True, "timeout": processes.TIMEOUT, "backend": None}


def test_a_half_told_rendezvous_is_told(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(BadInput, match=r"the environment variables RANK, .*, found no RANK\. Start it with accelerate"):
        with processes.joined():
            pass


def test_only_the_first_one_writes(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "_rank", 1)
    with whole_file(tmp_path / "a" / "file.txt") as partial:
        partial.write_text("other")
    with whole_folder(tmp_path / "b") as folder:
        (folder / "x").write_text("other")
    assert not partial.exists()
    assert not folder.exists()
    assert not any(tmp_path.iterdir())
    assert processes.mark() == ("process", 1)


SILENT = """
import sys, time
from datetime import timedelta
from learn2talk_core.run import processes
processes.TIMEOUT = timedelta(seconds=5)
with processes.joined():
    processes.wait()
    if processes.rank() == 1:
        sys.stdin.read()
    processes.wait()
"""


def test_one_that_does_not_answer_is_waited_for_only_so_long(tmp_path):
    first, silent = start(SILENT, folder=tmp_path)
    try:
        [(status, text)] = ended([first], seconds=120)
    finally:
        silent.kill()
        silent.communicate()
    assert status == 1
    assert "expected all processes to respond, found that one has exited or does not respond (" in text
