"""`learn2talk animate --avatar` from end to end, with a toy student."""

import json
from pathlib import Path

import numpy as np
import pytest

from learn2talk.cli import main
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.avatar.avatar import save_avatar
from learn2talk_core.video.video_file import read_video
from tests.animation.test_animator import speech
from tests.avatar.scene import sheet_avatar, small_avatar
from tests.toy_student import toy_student


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    student, corpus = toy_student(tmp_path)
    for name, avatar in (("avatar", sheet_avatar()), ("other", small_avatar())):
        (tmp_path / name).mkdir()
        save_avatar(tmp_path / name, avatar)
    write_wave(tmp_path / "speech.wav", speech(0.5))
    monkeypatch.chdir(tmp_path)
    return ["animate", "speech.wav", "--model", str(student), "--corpus", str(corpus), "-o", "out"]


def test_the_video_shows_the_avatar_from_the_side(words: list[str]) -> None:
    shown = []
    for view in ("0,0", "50,10"):
        said = [*words, "--avatar", "avatar", "--view", view, "--size", "64x48", "--format", "mp4,npz"]
        assert main(said) == 0
        frames, _, wave = read_video("out/speech/speech.mp4")
        assert frames.shape[1:] == (48, 64, 3)
        assert wave is not None
        assert Path("out/speech/speech.npz").is_file()  # the mesh, as without an avatar
        shown.append((frames[0].astype(int) < 200).any(axis=2).mean())
    assert 0.1 < shown[1] < 0.85 * shown[0]  # a sheet seen from the side is narrower
    told = json.loads(Path("out/speech/manifest.json").read_text())
    assert told["made_by"] == "learn2talk animate"
    assert (told["avatar"]["yaw"], told["avatar"]["width"]) == (50, 64)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--avatar", "nothing"], "nothing: expected a folder for --avatar, found nothing"),
        (["--avatar", "other"], "expected an animation of the avatar's mesh, 6 vertices"),
        (["--avatar", "avatar", "--view", "left"], "--view: expected two angles in degrees, found left"),
        (["--avatar", "avatar", "--view", "0,95"], "a pitch within 90 degrees"),
        (
            ["--avatar", "avatar", "--camera", "head"],
            "--camera: expected no camera of the mesh with --avatar",
        ),
        (["--avatar", "avatar", "--size", "33"], "--size: expected 512 or 1280x720: even numbers"),
    ],
)
def test_bad_options_are_refused(
    words: list[str], options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *options]) == 1
    assert text in capsys.readouterr().err
    assert not Path("out/speech").exists()


def test_the_motion_is_the_students(words: list[str]) -> None:
    """The mouth of the splats opens where the mesh's does."""
    assert main([*words, "--avatar", "avatar", "--format", "ply,npz"]) == 0
    files = sorted(Path("out/speech/speech_splats").iterdir())
    with np.load("out/speech/speech.npz") as stored:
        moved = stored["vertices"] - stored["template"]
    assert len(files) == len(moved)
    places = [np.frombuffer(f.read_bytes().split(b"end_header\n")[1], "<f4").reshape(98, -1)[:, :3] for f in files]
    splats = sheet_avatar()
    expected = (splats.template + moved)[:, splats.faces].mean(axis=2)
    np.testing.assert_allclose(np.stack(places), expected, atol=1e-5)
