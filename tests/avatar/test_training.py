"""An avatar learns pictures that a known avatar drew; a killed training goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from learn2talk.cli import main
from learn2talk_core.avatar.avatar import Avatar, load_avatar, save_avatar
from learn2talk_core.avatar.binding import one_per_triangle
from learn2talk_core.avatar.make import AvatarInputs, train_avatar, train_into
from learn2talk_core.avatar.training import (
    AvatarSchedule,
    GrowingSplats,
    decibels,
    judge_views,
    measure_speed,
    picture_loss,
    regulariser,
    scene_extent,
    train_splats,
)
from learn2talk_core.avatar.views import read_mesh_motion, read_views
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training import loop
from learn2talk_core.training.scratch import Scratch
from tests.avatar.scene import small_avatar, some_splats, write_small_views

SCHEDULE = AvatarSchedule(
    steps=220, degree=1, degree_every=60, densify_from=40, densify_until=150, densify_every=20, most=120,
    threshold=1e-5,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("views") / "views"
    write_small_views(place)
    return place


def test_learns_held_out_views_and_expressions(folder, tmp_path):
    with Scratch(tmp_path / "scratch") as scratch:
        avatar, metrics, history = train_avatar(AvatarInputs(str(folder)), SCHEDULE, scratch)
    first, last = history[0], history[-1]
    assert last["psnr"] > first["psnr"] + 4
    assert 8 < metrics["splats"] <= 120
    assert metrics["splats"] == len(avatar.splats.position) == last["splats"]
    views, motion = read_views(folder), read_mesh_motion(folder)
    untrained = Avatar(one_per_triangle(8, 1), motion.template, motion.faces, 1000.0, motion.weights)
    for split, name in (("val", "views"), ("test", "expressions")):
        before = judge_views(untrained, [view for view in views if view.split == split], motion.vertices)
        assert metrics[name]["psnr_db"] > before["psnr_db"] + 3
        assert 0 < metrics[name]["ssim"] <= 1
        assert metrics[name]["psnr_head_db"] == pytest.approx(metrics[name]["psnr_db"], abs=6)
    save_avatar(tmp_path, avatar)
    again = load_avatar(tmp_path)
    assert torch.equal(again.splats.position, avatar.splats.position)
    np.testing.assert_array_equal(again.seen, motion.weights[:3])


def test_a_killed_training_goes_on_to_the_same_result(folder, tmp_path, monkeypatch):
    """Killed after 100 of its steps: the resumed run equals one that was not killed, byte for byte."""
    views, motion = [view for view in read_views(folder) if view.split == "train"], read_mesh_motion(folder)
    short = replace(SCHEDULE, steps=120)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVE_RATIO", 0.0)

    def run(name: str, vertices) -> tuple:
        with Scratch(tmp_path / name) as scratch:
            return train_splats(views, vertices, motion.faces, motion.protected, short, scratch)

    whole, history = run("whole", motion.vertices)
    step = GrowingSplats.step

    def killed(self, share):
        if share * short.steps > 100:
            raise KeyboardInterrupt
        step(self, share)

    monkeypatch.setattr(GrowingSplats, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run("killed", motion.vertices)
    monkeypatch.setattr(GrowingSplats, "step", step)
    resumed, again = run("killed", motion.vertices)
    assert again == history
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_moments_of_kept_splats_survive_density_control():
    growing = GrowingSplats(some_splats(10, 8))
    growing.splats.position.square().sum().backward()
    growing.step(0.0)
    old = growing.optimiser.state[growing.splats.position]["exp_avg"].clone()
    past = torch.tensor([3, 4, -1])
    growing.replace(type(growing.splats)(*(part.detach()[[3, 4, 4]] for part in growing.splats)), past)
    moment = growing.optimiser.state[growing.splats.position]["exp_avg"]
    assert torch.equal(moment, torch.cat([old[[3, 4]], torch.zeros(1, 3)]))
    assert growing.pull.total.tolist() == [0, 0, 0]


def test_speed_is_that_of_the_largest_picture(folder):
    near, head = [view for view in read_views(folder) if view.split == "train"][:2]
    near = replace(near, camera=replace(near.camera, height=16, width=16))  # not read
    speed = measure_speed(small_avatar(), [near, head], read_mesh_motion(folder).vertices)
    assert (speed["height"], speed["width"]) == (32, 32)
    assert speed["frames_per_second"] > 0


def test_losses_in_closed_form():
    image, target = torch.full((20, 20, 3), 0.4), torch.full((20, 20, 3), 0.4)
    assert float(picture_loss(image, target)) == pytest.approx(0, abs=1e-6)
    assert float(picture_loss(image + 0.1, target)) > 0.08
    splats = some_splats(2, 8)._replace(
        position=torch.tensor([[3.0, 4, 0], [0.1, 0, 0]]), scale=torch.tensor([[1.6, 0.6, 0.6], [0.1, 0.1, 0.1]]).log()
    )
    assert float(regulariser(splats, torch.tensor([True, True]))) == pytest.approx(0.01 * 4 / 2 + 1.0 / 2, abs=1e-6)
    assert float(regulariser(splats, torch.tensor([False, True]))) == 0
    assert float(regulariser(splats, torch.tensor([False, False]))) == 0
    assert decibels(0.01) == pytest.approx(20)


def test_extent_is_that_of_the_cameras(folder):
    assert 0.5 < scene_extent(read_views(folder)) < 2


def test_the_command_trains_and_refuses(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["avatar", "train", str(folder), "-o", "avatar", "--steps", "30", "--most", "50"]) == 0
    said = capsys.readouterr().out
    assert "held-out views: PSNR" in said
    assert "held-out expressions: PSNR" in said
    manifest = json.loads((tmp_path / "avatar" / "manifest.json").read_text())
    assert manifest["made_by"] == "learn2talk avatar train"
    assert manifest["metrics"]["splats"] == len(load_avatar("avatar").splats.position)
    assert not list((tmp_path / ".scratch").glob("avatar-*"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for words, text in [
        (["avatar", "train", str(folder), "-o", "mine"], "expected a folder that learn2talk avatar train made"),
        (["avatar", "train", "nothing", "-o", "b"], "expected a folder of pictures with cameras"),
        (["avatar", "train", str(folder), "-o", "b", "--steps", "0"], "--steps: expected at least 1"),
    ]:
        assert main(words) == 1
        assert text in capsys.readouterr().err


def test_moments_without_motion_are_refused(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "views")
    with np.load(tmp_path / "views" / "motion.npz") as stored:
        arrays = dict(stored)
    np.savez(tmp_path / "views" / "motion.npz", **{**arrays, "weights": arrays["weights"][:2]})
    with pytest.raises(BadInput, match="expected moments 0 … 1, found a picture of moment 3"):
        train_into(tmp_path / "out", AvatarInputs(str(tmp_path / "views")), SCHEDULE)
