from pathlib import Path

import pytest

from learn2talk_core.evaluation.pairs import find_pairs, video_rows
from learn2talk_core.run.errors import BadInput


def test_which_files_belong_together(tmp_path: Path) -> None:
    for name in ("one/a.wav", "one/a.npy", "two/a.FLAC", "two/a.npz", "two/film.mp4", "two/._a.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pairs, videos = find_pairs([tmp_path / "one", tmp_path / "two"], ["x.wav"], ["b.npy"])
    assert [pair.name for pair in pairs] == ["b", "a", "a-2"]
    assert pairs[2].audio == tmp_path / "two/a.FLAC"
    assert videos == [tmp_path / "two/film.mp4"]
    (tmp_path / "one/b.npy").touch()
    with pytest.raises(BadInput, match=r"b.npy: expected a sound of the same name with one of .wav, .*found none"):
        find_pairs([tmp_path / "one"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"motions .* with their sounds, or videos, found neither"):
        find_pairs([tmp_path / "empty"])
    with pytest.raises(BadInput, match=r"a.wav: expected a video or a folder, found neither"):
        find_pairs([tmp_path / "one/a.wav"])


def test_pairs_in_capitals_of_any_format_without_hidden_files(tmp_path: Path) -> None:
    sounds = {
        "a": "WAV",
        "b": "m4a",
        "c": "Opus",
        "d": "AIFF",
        "e": "aac",
        "f": "caf",
        "g": "Mp3",
        "h": "mp4",
        "i": "wav",
    }
    for name, suffix in sounds.items():
        for hidden in ("", "._"):
            (tmp_path / f"{hidden}{name}.{'NPY' if name == 'a' else 'npz'}").touch()
            (tmp_path / f"{hidden}{name}.{suffix}").touch()
    for name in ("i.mp3", "i.mp4", "other.MOV", ".DS_Store"):
        (tmp_path / name).touch()
    pairs, videos = find_pairs([tmp_path])
    assert {pair.name: pair.audio.name for pair in pairs} == {
        name: f"{name}.{suffix}" for name, suffix in sounds.items()
    }
    assert [video.name for video in videos] == ["i.mp4", "other.MOV"], "h.mp4 is the sound of h.npz"


def test_a_video_is_late_by_its_offset_in_frames_of_40_ms() -> None:
    scored = [{"video": "a.mp4", "frames": 50, "lse_d": 7.0, "lse_c": 3.0, "offset": -2}]
    one, other = video_rows(scored, [{"video": "b.mp4", "error": "broken"}])
    assert (one["pair"], one["seconds"], one["mouth_late_ms"], one["error"]) == ("a.mp4", 2, -80, None)
    assert (other["pair"], other["error"], other["lse_d"]) == ("b.mp4", "broken", None)
    assert list(one) == list(other)
