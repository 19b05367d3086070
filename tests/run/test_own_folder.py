import json
import os
from pathlib import Path

import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.own_folder import EXPORT, PACK, check_own, own_folder


def make(folder: Path, *names: str, by: str = PACK) -> None:
    with own_folder(folder, by, {"about": 1}) as partial:
        for name in names:
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text("ours")


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_folder_is_replaced_by_the_command_that_made_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty folder may be used
    make(tmp_path / "out", "a", "meshes/1", "meshes/2")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == {
        "about": 1, "made_by": PACK, "files": {"a": 4}, "sequences": {"meshes": 2},
    }  # fmt: skip
    (tmp_path / "out" / "a").unlink()
    make(tmp_path / "out", "b")
    assert left(tmp_path) == ["out/b", "out/manifest.json"]


@pytest.mark.parametrize("other", [None, "", "{}", "[]", json.dumps({"made_by": EXPORT})])
def test_a_folder_of_anybody_else_is_refused_and_stays(other: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    if other is not None:
        (folder / "manifest.json").write_text(other)
    before = left(tmp_path)
    with pytest.raises(
        BadInput, match=r"d(/manifest.json)?: expected (a folder that learn2talk pack made, or none|JSON)"
    ):
        make(folder, "a")
    assert left(tmp_path) == before
    assert (folder / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("mine", "text"),
    [
        ("notes.txt", "found notes.txt there, which it did not make and which would be lost"),
        ("meshes/3", "found more files in meshes there, which it did not make"),
        (".git/config", "found .git there"),
    ],
)
def test_what_was_added_to_it_is_not_lost(mine: str, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    make(folder, "a", "meshes/1", "meshes/2")
    (folder / mine).parent.mkdir(exist_ok=True)
    (folder / mine).write_text("mine")
    before = left(tmp_path)
    with pytest.raises(BadInput, match=text):
        make(folder, "a")
    assert left(tmp_path) == before


def test_what_is_added_during_the_work_is_not_lost(tmp_path: Path) -> None:
    make(tmp_path / "d", "a")
    with pytest.raises(BadInput, match="found mine there"), own_folder(tmp_path / "d", PACK) as partial:
        (partial / "b").write_text("ours")
        (tmp_path / "d" / "mine").write_text("mine")
    assert left(tmp_path) == ["d/a", "d/manifest.json", "d/mine"]


def test_a_file_is_no_place_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(BadInput, match=r"f: expected a folder that learn2talk pack made, or none, found a file"):
        make(tmp_path / "f", "a")
    assert (tmp_path / "f").read_text() == "mine"


def test_a_link_stays_and_its_folder_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    (tmp_path / "loose").symlink_to("new")
    for name in ("a", "b"):
        make(tmp_path / "link", name)
        make(tmp_path / "loose", name)
    assert os.readlink(tmp_path / "link") == "disk"
    assert os.readlink(tmp_path / "loose") == "new"
    assert left(tmp_path / "disk") == left(tmp_path / "new") == ["b", "manifest.json"]
    (tmp_path / "disk" / "mine").write_text("mine")
    with pytest.raises(BadInput, match=r"link: expected a folder that learn2talk pack made"):
        make(tmp_path / "link", "c")


def test_the_folder_that_a_command_is_run_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (".", "", "..", str(tmp_path)):
        with pytest.raises(BadInput, match="found the current working directory"):
            check_own(place, PACK)
