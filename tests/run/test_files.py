import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import (
    by_stem,
    check_file,
    inner_file,
    map_array,
    map_shard,
    missing,
    plain_name,
    read_json,
    visible,
    whole_file,
    whole_folder,
    write_json,
)


def test_whole_file_keeps_the_old_one_when_the_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.txt"
    with whole_file(path) as partial:
        partial.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_whole_folder_replaces_or_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(RuntimeError), whole_folder(folder) as partial:
        (partial / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for name in ("one", "two"):
        with whole_folder(folder) as partial:
            (partial / name).write_text(name)
    assert [f.name for f in folder.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_is_whole_or_old_whenever_its_replacing_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, replace = tmp_path / "out", os.replace
    with whole_folder(folder) as partial:
        for name in ("a", "b"):
            (partial / name).write_text("old")

    def stop(number: int, after: bool) -> None:
        moves = iter(range(3))

        def stopping(source: Path, target: Path) -> None:
            turn = next(moves)
            if turn == number and not after:
                raise KeyboardInterrupt
            replace(source, target)
            if turn == number:
                raise KeyboardInterrupt

        monkeypatch.setattr("os.replace", stopping)
        with pytest.raises(KeyboardInterrupt), whole_folder(folder) as partial:
            for name in ("a", "b"):
                (partial / name).write_text("new")
        assert list(tmp_path.iterdir()) == [folder]

    def found() -> list[str]:
        return [file.read_text() for file in sorted(folder.iterdir())]

    for number, after in ((0, False), (0, True), (1, False)):
        stop(number, after)
        assert found() == ["old", "old"]
    stop(1, True)
    assert found() == ["new", "new"]


def test_every_file_of_a_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, sync = set(), os.fsync

    def noting(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr("os.fsync", noting)
    with whole_folder(tmp_path / "out") as partial:
        (partial / "deep").mkdir()
        for number in range(40):
            (partial / "deep" / str(number)).write_text("x")
    assert {path.stat().st_ino for path in (tmp_path / "out").rglob("*")} < synced


def test_a_place_under_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for whole in (whole_file, whole_folder):
        with pytest.raises(BadInput, match="expected to be able to write it"), whole(tmp_path / "file" / "x" / "y"):
            raise AssertionError("not reached")


FULL = """
import resource, signal, sys
import torch
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import write_json
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.run.weights import save_weights
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
folder = Path(sys.argv[1])
model = torch.nn.Linear(100, 100)
for write in (
    lambda: save_weights(folder, model, {}),
    lambda: Scratch(folder).save(model.state_dict()),
    lambda: write_json(folder / "x.json", list(range(10_000))),
):
    try:
        write()
    except BadInput as error:
        print(error)
"""


def test_a_write_that_does_not_fit_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 3, run.stdout + run.stderr
    for line in lines:
        assert "expected to be able to write it, found File too large" in line
        assert "no partial output was left behind" in line
    assert list(tmp_path.iterdir()) == []


def test_json_round_trip_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_json(path, {"b": 1.5, "a": [1, 2]})
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert read_json(path, made_by="dvc repro evaluate") == {"a": [1, 2], "b": 1.5}
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    path.write_text('{"a": ')
    with pytest.raises(BadInput, match=r"m.json: expected JSON, found unreadable content .* dvc repro evaluate"):
        read_json(path, made_by="dvc repro evaluate")
    path.write_text(100_000 * "[")
    with pytest.raises(BadInput, match=r"m.json: expected JSON, found unreadable content .*recursion"):
        read_json(path, made_by="dvc repro evaluate")
    with pytest.raises(BadInput, match=r"none.json: expected a file, found nothing. Make it first: dvc repro x."):
        read_json(tmp_path / "none.json", made_by="dvc repro x")


def test_arrays_are_mapped_or_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(100.0))
    found = map_array(path, made_by="dvc repro corpus")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, np.arange(100.0))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(BadInput, match=r"a.npy: expected a complete array, found .* Make it again: dvc repro corpus."):
        map_array(path, made_by="dvc repro corpus")
    with pytest.raises(BadInput, match=r"none.npy: expected a file, found nothing. Make it first: dvc repro corpus."):
        map_array(tmp_path / "none.npy", made_by="dvc repro corpus")


def test_errors_survive_a_process_pool() -> None:
    error = pickle.loads(pickle.dumps(missing("a.wav", "dvc repro corpus")))
    assert str(error) == "a.wav: expected a file, found nothing. Make it first: dvc repro corpus."


def test_files_by_stem_and_those_that_are_not_hidden(tmp_path):
    for name in ("a.wav", "A.WAV", "a.mp3", "b.MP3", "._b.wav", ".DS_Store", "c.txt", "d.x.wav"):
        (tmp_path / name).touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "e.wav").touch()
    found = {stem: path.name for stem, path in by_stem(tmp_path, (".wav", ".mp3")).items()}
    assert found == {"a": "a.wav", "A": "A.WAV", "b": "b.MP3", "d.x": "d.x.wav"}
    assert [path.name for path in visible(tmp_path)] == ["A.WAV", "a.mp3", "a.wav", "b.MP3", "c.txt", "d.x.wav"]
    assert visible(tmp_path, "**/*.wav") == [tmp_path / "a.wav", tmp_path / "d.x.wav"]
    assert visible(tmp_path / "nowhere") == []
    assert visible(tmp_path / ".hidden") == [tmp_path / ".hidden" / "e.wav"], "a folder that is named itself is read"


def test_only_a_file_is_replaced_by_a_file_and_a_folder_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for name, found in (("folder", "a folder"), ("pipe", "a device or a pipe")):
        text = f"{name}: expected a file to write, or nothing, found {found}. Name another place."
        with pytest.raises(BadInput, match=text), whole_file(tmp_path / name):
            raise AssertionError("not reached")
        with pytest.raises(BadInput, match=text):
            check_file(tmp_path / name)
    for name, found in (("file", "a file"), ("pipe", "a device or a pipe")):
        text = f"{name}: expected a folder to write, or nothing, found {found}."
        with pytest.raises(BadInput, match=text), whole_folder(tmp_path / name):
            raise AssertionError("not reached")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "mine", "pipe"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old").write_text("old")
    (tmp_path / "link").symlink_to("disk/old")
    with whole_file(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "old").read_text() == "new"
    (tmp_path / "folder").symlink_to("disk")
    with whole_folder(tmp_path / "folder") as partial:
        (partial / "b").write_text("x")
    assert (tmp_path / "folder").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["b"]


DEAD = 2**22 + 1  # more than Linux has


def test_what_killed_runs_left_is_cleared(tmp_path: Path) -> None:
    ours = [f".a.csv.{DEAD}.partial.csv", f".out.{DEAD}.partial", f".out.{DEAD}.old"]
    others = [
        f".a.csv.{os.getppid()}.partial.csv",  # being written
        f".b.csv.{DEAD}.partial.csv",  # of another output
        f".a.csv.{DEAD}.partialx", f"a.csv.{DEAD}.partial.csv", ".a.csv.x.partial.csv", f".a.csv.{10**30}.partial.csv",
    ]  # fmt: skip
    for name in (ours[0], *others):
        (tmp_path / name).write_text("half")
    for name in ours[1:]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("half")
    (tmp_path / "out").mkdir()
    with whole_file(tmp_path / "a.csv") as partial:
        partial.write_text("x")
    with whole_folder(tmp_path / "out") as partial:
        (partial / "x").write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "a.csv", "out"])


def test_a_folder_that_a_killed_run_moved_away_comes_back(tmp_path: Path) -> None:
    (tmp_path / f".out.{DEAD}.old").mkdir()
    (tmp_path / f".out.{DEAD}.old" / "old").write_text("old")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out"):
        raise RuntimeError
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["out", "out/old"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "os error 28"),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/3: file write failed"), "failed"),
        (OSError("1250 requested and 0 written"), "1250 requested and 0 written"),
    ],
)
def test_a_full_disk_is_known_however_it_is_told(error: Exception, text: str, tmp_path: Path) -> None:
    for whole in (whole_file, whole_folder):
        with (
            pytest.raises(BadInput, match=f"x: expected to be able to write it, found .*{text}"),
            whole(tmp_path / "x"),
        ):
            raise error
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_cannot_be_read_is_not_taken_for_the_output(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match=r"input.wav"), whole_folder(tmp_path / "out"):
        raise PermissionError(13, "Permission denied", str(tmp_path / "input.wav"))


def test_a_cause_is_kept(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught, whole_file(tmp_path / "x"):
        raise missing("a", "b") from ZeroDivisionError()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_files_of_a_folder_lead_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    np.save(folder / "a-000.npy", np.arange(3))
    np.save(tmp_path / "outside.npy", np.arange(3))
    cache = tmp_path / "cache" / "files" / "md5" / "ab"
    cache.mkdir(parents=True)
    np.save(tmp_path / "x.npy", np.arange(3))
    (tmp_path / "x.npy").rename(cache / ("0123456789abcdef" * 2)[2:])
    (folder / "a-001.npy").symlink_to("a-000.npy")
    (folder / "a-002.npy").symlink_to(next(cache.iterdir()))  # as DVC links its cache
    (folder / "a-003.npy").symlink_to("../outside.npy")
    (folder / "a-004.npy").symlink_to("/dev/zero")
    os.mkfifo(folder / "a-005.npy")
    (folder / "a-006.npy").mkdir()
    (tmp_path / "linked").symlink_to("corpus")  # the folder itself may be anywhere
    for number in range(3):
        np.testing.assert_array_equal(map_shard(tmp_path / "linked", "a", number, made_by="x"), np.arange(3))
    for number, found in enumerate(("a link that points outside", "a device", "a device or a pipe", "a folder"), 3):
        with pytest.raises(BadInput, match=f"a-00{number}.npy: expected a file.*, found {found}"):
            map_shard(folder, "a", number, made_by="x")
    with pytest.raises(BadInput, match=r"a-007.npy: expected a file, found nothing. Make it first: x."):
        inner_file(folder / "a-007.npy", made_by="x")
    for number in ("../outside", -1, 1.5, None, 10**9):
        with pytest.raises(BadInput, match="corpus: expected a shard number, found"):
            map_shard(folder, "a", number, made_by="x")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/dev/zero", "a/b", "a\\b", "a\0", "x" * 201, None, 3])
def test_names_that_lead_out_of_a_folder(name: object) -> None:
    with pytest.raises(BadInput, match=r"c.json: expected a plain name without path separators, of at most 200"):
        plain_name(name, "c.json")


@pytest.mark.parametrize("name", ["F2_e01", "take 2: Müller, 日本.v2", "..a", "-rf", ".hidden", "x" * 200])
def test_plain_names(name: str) -> None:
    assert plain_name(name, "c.json") == name


def test_json_of_a_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("/dev/zero")
    with pytest.raises(BadInput, match=r"a.json: expected a file, found a device or a pipe"):
        read_json(tmp_path / "a.json", made_by="x")
