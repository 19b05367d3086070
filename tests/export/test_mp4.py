from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.animation.loading import load_animator
from learn2talk_core.export import mp4
from learn2talk_core.mesh.files import write_mesh
from learn2talk_core.video.video_file import read_video
from tests.animation.test_animator import speech
from tests.toy import sheet, topology
from tests.toy_student import toy_student


def test_a_video_drawn_block_by_block_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, corpus = toy_student(tmp_path)
    face = load_animator(student, corpus=corpus).animate(speech(0.4), style="B")
    assert len(face.states) == 12
    for frames in (64, 12, 5, 1):
        monkeypatch.setattr(mp4, "DRAWN", frames)
        (tmp_path / str(frames)).mkdir()
        mp4.write_mp4(tmp_path / str(frames) / "face", face)
        assert (tmp_path / str(frames) / "face.mp4").read_bytes() == (tmp_path / "64" / "face.mp4").read_bytes()


def test_a_mesh_without_regions_has_a_picture(tmp_path: Path) -> None:
    student, _ = toy_student(tmp_path)
    write_mesh(tmp_path / "head.obj", sheet(), topology().faces)
    face = load_animator(student, corpus=None, template=tmp_path / "head.obj").animate(speech(0.2), style="A")
    mp4.write_mp4(tmp_path / "face", face)
    frames, _, _ = read_video(tmp_path / "face.mp4")
    assert np.ptp(frames[0].astype(int)) > 50
