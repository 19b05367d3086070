"""The stage of the 2D corpus: killed and started again, it films only those who are missing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from learn2talk_core.video.talking_video import EncodedFilm, open_talking_video
from stages import talking_video
from stages.talking_video import Params, main
from tests.video.test_talking_video import clip, film


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two videos by each of three people; the current folder is an empty one."""
    for number, name in enumerate(("ann", "ann", "bob", "bob", "cid", "cid")):
        path = tmp_path / "videos" / name / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"film")
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(talking_video, "mediapipe_faces", lambda: None)
    return tmp_path / "videos"


def filming(until: int, read: list[str]) -> Callable[..., EncodedFilm]:
    """Stands for `read_film`; stops the stage at the `until`-th film, as a kill would."""

    def read_film(path: Path, split: str, find: object) -> EncodedFilm:
        if len(read) == until:
            raise KeyboardInterrupt
        read.append(path.stem)
        shown, *rest = film(clip(int(path.stem)))
        return (replace(shown, speaker=path.parent.name, split=split), *rest)  # type: ignore[return-value]

    return read_film


def test_a_killed_run_goes_on_with_the_next_person(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, read = Params(str(folder), 1.0, 0), list[str]()
    monkeypatch.setattr(talking_video, "read_film", filming(3, read))
    with pytest.raises(KeyboardInterrupt):
        main(params)
    assert not Path("data/talking_video").exists()
    assert read == ["0", "1", "2"]
    read.clear()
    monkeypatch.setattr(talking_video, "read_film", filming(99, read))
    assert main(params).startswith("6 clips of 3 speakers")
    assert read == ["2", "3", "4", "5"]  # ann's films were there
    opened = open_talking_video("data/talking_video")
    assert [(one.id, one.speaker, one.split) for one in opened.clips] == [
        ("c0", "ann", "loss"), ("c1", "ann", "loss"), ("c2", "bob", "metric"), ("c3", "bob", "metric"),
        ("c4", "cid", "validation"), ("c5", "cid", "validation"),
    ]  # fmt: skip
    assert not any(Path(".scratch").iterdir())


def test_other_videos_are_filmed_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, read = Params(str(folder), 1.0, 0), list[str]()
    monkeypatch.setattr(talking_video, "read_film", filming(3, read))
    with pytest.raises(KeyboardInterrupt):
        main(params)
    (folder / "cid" / "5.mp4").write_bytes(b"another film")
    read.clear()
    monkeypatch.setattr(talking_video, "read_film", filming(99, read))
    main(params)
    assert read == ["0", "1", "2", "3", "4", "5"]
