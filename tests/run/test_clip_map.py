import importlib.util
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import distributed
import pytest

from learn2talk_core.run.clip_map import Backend, map_clips, naming
from learn2talk_core.run.errors import BadInput

LOCAL: list[Backend] = ["processes", "threads"]


def nothing() -> None:
    """No preparation."""


def slow_square(_: None, number: int) -> int:
    time.sleep(0.02 * (number % 3))  # later ones overtake earlier ones
    return number**2


def opened(folder: Path) -> str:
    (folder / f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}").touch()
    return "opened "


def with_opened(prepared: str, clip: str) -> str:
    return prepared + clip


def refuse(_: None, number: int) -> int:
    if number == 5:
        raise BadInput("the video", expected="a mouth", found="none", fix="Correct it.")
    if number == 7:
        raise ZeroDivisionError("seven")
    return number


def die(_: None, number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def where(_: None, clip: str) -> str:
    return str(Path(clip).resolve())


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize(("workers", "chunk"), [(1, 1), (1, 4), (2, 1), (2, 3)])
def test_all_of_them_once_and_in_order(backend: Backend, workers: int, chunk: int) -> None:
    found = map_clips(slow_square, range(10), nothing, backend=backend, workers=workers, chunk=chunk)
    assert list(found) == [n**2 for n in range(10)]
    assert list(map_clips(slow_square, [], nothing, backend=backend, workers=workers)) == []


@pytest.mark.parametrize("backend", LOCAL)
def test_prepared_once_a_job(backend: Backend, tmp_path: Path) -> None:
    found = map_clips(with_opened, list("abcde"), partial(opened, tmp_path), backend=backend, workers=2, chunk=2)
    assert list(found) == [f"opened {letter}" for letter in "abcde"]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_names_its_clip(backend: Backend, workers: int) -> None:
    clips = map_clips(refuse, range(7), nothing, backend=backend, workers=workers, chunk=2, name=lambda n: f"S{n}")
    with pytest.raises(BadInput, match=r"^clip S5: the video: expected a mouth, found none\. Correct it\.$"):
        list(clips)
    with pytest.raises(ZeroDivisionError) as caught:
        list(map_clips(refuse, [7], nothing, backend=backend, workers=workers, name=lambda n: f"S{n}"))
    assert caught.value.__notes__ == ["This was clip S7."]


def test_a_clip_is_not_named_twice() -> None:
    with pytest.raises(BadInput, match=r"^clip a, frame 3: expected b"):
        with naming("a"):
            raise BadInput("clip a, frame 3", expected="b", found="c", fix="d")


def test_results_come_as_they_are_made_and_may_be_left() -> None:
    found = map_clips(slow_square, range(100), nothing, backend="threads", workers=2)
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]


def test_a_killed_process_is_told() -> None:
    with pytest.raises(
        BadInput, match=r"^workers: expected processes that finish their work, found one that was killed"
    ):
        list(map_clips(die, range(6), nothing, backend="processes", workers=2))
    assert list(map_clips(slow_square, range(6), nothing, backend="processes", workers=2)) == [0, 1, 4, 9, 16, 25]


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_is_named(backend: Backend, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(BadInput, match=rf"^parallel: {backend}: expected the package {package}, .* pip install"):
        list(map_clips(slow_square, range(3), nothing, backend=backend, workers=1))


def recorded(folder: Path, number: int) -> tuple[int, int]:
    """Leave a trace at the beginning and at the end; return the process. The first call for number 6 never ends."""
    (folder / f"{number}-{os.getpid()}-{time.monotonic_ns()}.begun").touch()
    time.sleep(60 if number == 6 and len(list(folder.glob("6-*.begun"))) == 1 else 0.05)
    (folder / f"{number}-{os.getpid()}-{time.monotonic_ns()}.done").touch()
    return number, os.getpid()


def traces(folder: Path, kind: str) -> list[tuple[int, int]]:
    """Number and process of each trace."""
    names = [path.name.split("-") for path in folder.glob(f"*.{kind}")]
    return sorted((int(number), int(process)) for number, process, _ in names)


def lose_a_worker(backend: Backend, folder: Path) -> None:
    """Kill a worker during number 6: nothing is lost, and no finished work is repeated."""
    found = []

    def kill() -> None:
        while not (held := [process for n, process in traces(folder, "begun") if n == 6]):
            time.sleep(0.02)
        time.sleep(0.5)  # its earlier results have been fetched by then
        os.kill(held[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    for number, _ in map_clips(recorded, range(40), partial(Path, folder), backend=backend, workers=1):
        found.append(number)
    killer.join()
    assert found == list(range(40))
    done, begun = traces(folder, "done"), traces(folder, "begun")
    assert [number for number, _ in done] == list(range(40)), "each is finished once"
    assert [number for number, _ in begun] == sorted([*range(40), 6]), "and only what the killed one held begun again"
    assert len({process for _, process in done}) >= 2


@pytest.fixture
def cluster() -> Iterator[distributed.LocalCluster]:
    """A real local cluster of two worker processes, joined as a user would: through the address."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as made:
        yield made


def test_dask_without_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with pytest.raises(BadInput, match="expected the address of a cluster in DASK_SCHEDULER_ADDRESS"):
        list(map_clips(slow_square, range(3), nothing, backend="dask", workers=1))


@pytest.mark.filterwarnings("ignore")  # of the packages of the cluster
def test_a_dask_worker_killed_in_the_middle(
    cluster: distributed.LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
    monkeypatch.chdir(tmp_path)
    assert list(map_clips(where, ["a"], nothing, backend="dask", workers=1)) == [str(tmp_path / "a")]

    lose_a_worker("dask", tmp_path)
    with pytest.raises(BadInput, match=r"^clip S5: the video"):
        list(map_clips(refuse, range(7), nothing, backend="dask", workers=1, name=lambda n: f"S{n}"))


@pytest.mark.filterwarnings("ignore")  # of the packages of the cluster
def test_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the package ray (pip install ray)")
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(BadInput, match="expected the address of a cluster in RAY_ADDRESS"):
        list(map_clips(slow_square, range(3), nothing, backend="ray", workers=1))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = map_clips(slow_square, range(10), nothing, backend="ray", workers=1, chunk=2)
        assert list(found) == [n**2 for n in range(10)]
        with pytest.raises(BadInput, match=r"^clip S5: the video"):
            list(map_clips(refuse, range(7), nothing, backend="ray", workers=1, name=lambda n: f"S{n}"))
        lose_a_worker("ray", tmp_path)
    finally:
        ray.shutdown()
