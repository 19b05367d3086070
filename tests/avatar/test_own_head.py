"""The embedded head as training pictures."""

import numpy as np
import pytest

from learn2talk.cli import main
from learn2talk_core.avatar.own_head import (
    HeadSession,
    _babble,
    _unlike,
    _views,
    filming_camera,
    head_expressions,
    paint_head,
    protected_triangles,
    record_head,
)
from learn2talk_core.avatar.views import read_mesh_motion, read_picture, read_views
from learn2talk_core.datasets.embedded.face import colours, load_face
from learn2talk_core.render.pinhole import orbiting

SMALL = HeadSession(cameras=3, close=2, every=1, expressions=4, held_out_cameras=1, held_out_expressions=4, size=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("head") / "head"
    record_head(place, SMALL)
    return place


def test_splits_are_disjoint_in_views_and_expressions(folder):
    views, motion = read_views(folder), read_mesh_motion(folder)
    by_split = {split: {(v.time, v.number) for v in views if v.split == split} for split in ("train", "val", "test")}
    # cameras 0 … 2, close-ups 4 and 5; the held-out camera is number 3
    assert by_split["train"] == {(time, number) for time in range(4) for number in (0, 1, 2, 4, 5)}
    assert {number for _, number in by_split["val"]} == {3}
    assert {time for time, _ in by_split["test"]} == {4, 5, 6, 7}
    assert motion.moments == 8
    assert np.abs(motion.vertices(0) - motion.template).max() == 0  # the first expression is neutral


def test_cameras_take_turns():
    """Each of nine expressions is filmed by two of six cameras; in three moments all of them have had a turn."""
    session = HeadSession(cameras=6, close=1, every=3, expressions=9, held_out_cameras=2, held_out_expressions=0)
    views = list(_views(session, load_face().neutral))
    train = [view for view in views if view.split == "train" and view.number < 6]
    for time in range(9):
        assert [view.number for view in train if view.time == time] == [(-time) % 3, (-time) % 3 + 3]
    assert sum(view.number == 8 for view in views) == 9  # the close-up films all
    assert {view.number for view in views if view.split == "val"} == {6, 7}


def test_one_camera_in_four_looks_from_behind():
    session = HeadSession(cameras=8, close=0, expressions=3, held_out_cameras=2)
    views = list(_views(session, load_face().neutral))
    assert {view.number for view in views if view.camera.position[2] < 0} == {3, 7}


def test_close_ups_show_the_lips_from_inside_the_picture(folder):
    """All lip vertices are in the picture, which is half as large, and they span most of its width from the front."""
    motion, lips = read_mesh_motion(folder), load_face().mask["lips"] > 0.5
    close = [view for view in read_views(folder) if view.number > 3]
    assert len(close) == 4 * 2
    for view in close:
        assert (view.camera.height, view.camera.width) == (24, 24)
        points = motion.vertices(view.time)[lips] @ view.camera.rotation.T + view.camera.translation
        pixels = points[:, :2] / points[:, 2:] * view.camera.focal + view.camera.centre
        assert pixels.min() > 0
        assert pixels.max() < 24
        assert np.ptp(pixels[:, 0]) > 6
        assert (read_picture(view) < 250).any(axis=2).mean() > 0.7  # little background


def test_pictures_show_the_head_where_the_cameras_see_the_mesh(folder):
    views, motion = [view for view in read_views(folder) if view.number <= 3], read_mesh_motion(folder)
    for view in views[::3]:
        points = motion.vertices(view.time) @ view.camera.rotation.T + view.camera.translation
        pixels = (points[:, :2] / points[:, 2:] * view.camera.focal + view.camera.centre).astype(int)
        seen = (read_picture(view) < 250).any(axis=2)
        rows, columns = np.nonzero(seen)
        assert 0.15 < seen.mean() < 0.7
        assert abs(rows.min() - pixels[:, 1].min()) <= 2
        assert abs(columns.max() - pixels[:, 0].max()) <= 2


def test_expressions_open_the_mouth_and_close_the_lids():
    names, weights = list(load_face().unit), head_expressions(60, 0)
    assert weights.shape == (60, len(names))
    assert weights.min() >= -0.05
    assert weights.max() <= 1.5
    for name in ("jawOpen", "eyeBlinkLeft", "mouthPucker", "mouthSmileLeft"):
        assert weights[:, names.index(name)].max() > 0.3, name
    assert not np.array_equal(weights, head_expressions(60, 1))


def test_speech_moves_the_mouth_as_far_as_the_corpus_does():
    """Of frames of speech by other persons, half of them extreme, most lie within what the expressions reach."""
    units = head_expressions(192, 0).max(axis=0)
    other = _babble(200, 1)
    assert (other <= units + 0.02).all(axis=1).mean() > 0.8


def test_unlike_is_the_farthest_of_all():
    points = np.array([[0.0], [1.0], [9.0], [4.0], [10.0]])
    assert _unlike(points, np.array([0]), 3).tolist() == [0, 4, 3, 1]


def test_the_light_stays_in_the_room():
    """The same point of the skin has another brightness on the two sides: the key light is at the speaker's left."""
    face = load_face()
    view = orbiting(filming_camera(face.neutral), 64, 64, 0.0)
    picture = paint_head(face.neutral, colours(), view).astype(float).mean(axis=2)
    left, right = picture[30:45, 38:44].mean(), picture[30:45, 20:26].mean()
    assert left > right + 5


def test_teeth_tongue_and_lids_are_protected():
    face = load_face()
    protected = protected_triangles(face)
    for part in ("upper_teeth", "lower_teeth", "tongue", "left_eye"):
        assert protected[face.part[part][face.faces].all(axis=1)].all()
    assert 0.1 < protected.mean() < 0.5


def test_the_command_records_and_refuses(tmp_path, capsys):
    words = [
        "avatar",
        "record",
        "-o",
        str(tmp_path / "head"),
        "--size",
        "32",
        "--cameras",
        "2",
        "--close",
        "0",
        "--expressions",
        "2",
    ]
    assert main(words) == 0
    assert "pictures" in capsys.readouterr().out
    assert main([*words[:-1], "1"]) == 1
    assert "--expressions: expected at least 2, found 1" in capsys.readouterr().err
