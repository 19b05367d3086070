import json

import cv2
import numpy as np
import pytest

from learn2talk_core.avatar.make import AvatarInputs, open_inputs
from learn2talk_core.avatar.views import read_mesh_motion, read_picture, read_views
from learn2talk_core.run.errors import BadInput
from tests.avatar.scene import write_small_views


@pytest.fixture
def folder(tmp_path):
    write_small_views(tmp_path / "views")
    return tmp_path / "views"


def edit(folder, change, split="train") -> None:
    path = folder / f"transforms_{split}.json"
    listed = json.loads(path.read_text())
    change(listed["frames"])
    path.write_text(json.dumps(listed))


def test_cameras_pictures_and_motion_survive(folder):
    views, motion = read_views(folder), read_mesh_motion(folder)
    assert [sum(view.split == split for view in views) for split in ("train", "val", "test")] == [12, 3, 5]
    assert motion.moments == 4
    np.testing.assert_allclose(motion.vertices(2)[2, 1], 0.1 + 0.05 * motion.weights[2, 0], rtol=1e-6)
    for view in views:
        turn = view.camera.rotation
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(view.camera.position), 1, atol=1e-9)  # a metre from the target
        assert (turn[2] @ -view.camera.position) > 0.99  # it looks at the target
        assert read_picture(view).shape == (32, 32, 3)
    matrix = np.array(json.loads((folder / "transforms_train.json").read_text())["frames"][0]["transform_matrix"])
    np.testing.assert_allclose(-matrix[:3, 2], views[0].camera.rotation[2], atol=1e-12)  # OpenGL looks along −z
    np.testing.assert_allclose(matrix[:3, 3], views[0].camera.position, atol=1e-12)


def test_masks_and_transparency_become_white(folder):
    view = next(view for view in read_views(folder) if view.split == "train")
    rgba = np.full((32, 32, 4), 90, np.uint8)
    rgba[..., 3] = 255
    rgba[:8, :, 3] = 0
    cv2.imwrite(str(view.picture), rgba)
    mask = np.full((32, 32), 255, np.uint8)
    mask[:, :4] = 0
    cv2.imwrite(str(folder / "mask.png"), mask)
    edit(folder, lambda frames: frames[0].update(fg_mask_path="mask.png"))
    image = read_picture(read_views(folder)[0])
    assert (image[:8] == 255).all()
    assert (image[:, :4] == 255).all()
    assert (image[8:, 4:] == 90).all()


def test_bad_folders_are_refused(folder, tmp_path):
    with pytest.raises(BadInput, match="expected a folder of pictures with cameras"):
        read_views(tmp_path / "nothing")
    (folder / "transforms_train.json").rename(tmp_path / "kept.json")
    with pytest.raises(BadInput, match="found pictures without cameras"):
        read_views(folder)
    (folder / "transforms_train.json").write_text('{"frames": []}')
    with pytest.raises(BadInput, match="expected pictures, found an empty list"):
        read_views(folder)
    (folder / "transforms_train.json").write_text("{")
    with pytest.raises(BadInput, match="expected JSON"):
        read_views(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f[1].pop("transform_matrix"), "frame 1: expected w, h, fl_x, transform_matrix"),
        (lambda f: f[0]["transform_matrix"][0].__setitem__(3, float("nan")), "found NaN or infinity"),
        (lambda f: f[0]["transform_matrix"][0].__setitem__(0, 7.0), "a rotation in transform_matrix"),
        (lambda f: f[0].update(w=0), "up to 4096 × 4096 pixels"),
        (lambda f: f[0].update(w=float("inf")), "frame 0: expected w, h, fl_x.*found OverflowError"),
        (lambda f: f[1].update(camera_index=float("inf")), "frame 1: expected w, h, fl_x.*found OverflowError"),
        (lambda f: f[0].update(file_path="../../../etc/passwd"), "is outside the folder"),
    ],
)
def test_bad_cameras_are_refused(folder, change, text):
    edit(folder, change)
    with pytest.raises(BadInput, match=text):
        read_views(folder)


def refuses_a_bad_picture(picture, read):
    """Whether `read` refuses a picture of 32 × 32 pixels with another size, without content, and when it is gone."""
    cv2.imwrite(str(picture), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(BadInput, match="expected 32 × 32 pixels, as its camera has, found 30 × 20"):
        read()
    picture.write_bytes(b"not a picture")
    with pytest.raises(BadInput, match="expected a picture, found no picture in it"):
        read()
    picture.unlink()
    with pytest.raises(BadInput, match="expected a picture, found no such file"):
        read()
    return True


def test_bad_pictures_are_refused(folder):
    view = read_views(folder)[0]
    assert refuses_a_bad_picture(view.picture, lambda: read_picture(view))


def test_a_training_refuses_its_last_picture_before_it_begins(folder):
    inputs, view = AvatarInputs(str(folder)), read_views(folder)[-1]
    assert len(open_inputs(inputs)[0]) == 20
    assert refuses_a_bad_picture(view.picture, lambda: open_inputs(inputs))


def test_bad_motion_is_refused(folder):
    with np.load(folder / "motion.npz") as stored:
        good = dict(stored)
    for name, value, text in [
        ("weights", good["weights"] * np.nan, "weights: expected finite numbers of shape"),
        ("basis", good["basis"][:, :-1], "basis: expected"),
        ("faces", good["faces"] + 5, "expected triangles of 6 vertices"),
        ("mm_per_unit", np.float64(-1), "mm_per_unit: expected a positive number, found -1"),
    ]:
        np.savez(folder / "motion.npz", **{**good, name: value})
        with pytest.raises(BadInput, match=text):
            read_mesh_motion(folder)
    (folder / "motion.npz").unlink()
    with pytest.raises(BadInput, match=r"neither motion\.npz nor flame_param"):
        read_mesh_motion(folder)
