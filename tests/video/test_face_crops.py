import numpy as np
import pytest

from learn2talk_core.video.face_crops import (
    ARCFACE,
    arcface_crop,
    detector_boxes,
    face_crops,
    landmarks_of_box,
    landmarks_of_crop,
    syncnet_crops,
)
from learn2talk_core.video.landmarks import REFERENCE, similarity
from learn2talk_core.video.recorded import FACE_BOX, LEFT, SIDE, SIZE, TOP
from learn2talk_core.video.talking_video import crop

SHADE = np.arange(200, dtype=np.float64)
# A smooth picture, so that a shift by a tenth of a pixel shows and interpolation does not.
PICTURE = np.stack([SHADE[None] + 0 * SHADE[:, None], 0 * SHADE[None] + SHADE[:, None]] * 2, axis=-1)[..., :3].astype(
    np.uint8
)


def test_a_corpus_of_videos_has_the_mean_face_in_its_box() -> None:
    found = landmarks_of_box(FACE_BOX)
    assert np.allclose(found, (REFERENCE - [LEFT, TOP]) * SIZE / SIDE)


def test_face_crop_of_a_known_box_is_the_box() -> None:
    box = (31, 22, 151, 142)
    (found,) = face_crops([PICTURE], landmarks_of_box(box)[None])
    expected = crop(PICTURE[None], box, 96)[0]
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_crop_of_syncnets_is_found_again_whole() -> None:
    points = landmarks_of_crop(200, 200)
    (found,) = syncnet_crops([PICTURE], points[None])
    expected = crop(PICTURE[None], (0, 0, 200, 200), 224)[0]
    inside = slice(3, -3), slice(3, -3)  # the pipeline cuts at whole pixels, so its edge may be one pixel off
    assert np.abs(found[inside].astype(int) - expected[inside]).max() <= 2


def test_syncnet_crop_is_the_pipelines() -> None:
    """SyncNet's formula, written out for one frame; the part outside the frame is grey 110."""
    points = REFERENCE * 0.5 + [60, 3]
    across, middle, half = detector_boxes(points[None])[0]
    eyes, mouth = (points[0] + points[1]) / 2, points[3]
    assert (mouth[1] - eyes[1]) / (2 * half) == pytest.approx(0.37, abs=0.001)
    assert (eyes[1] - (middle - half)) / (2 * half) == pytest.approx(0.40, abs=0.001)
    pad = int(half * 1.8)
    big = np.full((200 + 2 * pad, 200 + 2 * pad, 3), 110, np.uint8)
    big[pad : pad + 200, pad : pad + 200] = PICTURE
    y, x = middle + pad, across + pad
    part = big[int(y - half) : int(y + half * 1.8), int(x - half * 1.4) : int(x + half * 1.4)]
    (found,) = syncnet_crops([PICTURE], points[None])
    assert found.shape == (224, 224, 3)
    assert np.array_equal(found[0, 0], part[0, 0])
    assert np.array_equal(found[-1, -1], part[-1, -1])
    assert (found == 110).all(axis=2).any()


def test_the_box_follows_the_head_but_not_a_jitter() -> None:
    moving = REFERENCE + np.arange(40)[:, None, None] * [2.0, 0.0]
    steps = np.diff(detector_boxes(moving)[:, 0])
    assert np.allclose(steps[6:-6], 2)
    jitter = np.repeat(REFERENCE[None], 40, axis=0)
    jitter[20] += 30
    assert np.allclose(detector_boxes(jitter), detector_boxes(jitter)[0])


def test_ends_with_the_shorter() -> None:
    points = np.repeat(landmarks_of_box((31, 22, 151, 142))[None], 3, axis=0)
    assert len(list(face_crops([PICTURE] * 5, points))) == 3
    assert len(list(syncnet_crops([PICTURE] * 2, points))) == 2


def test_faces_are_turned_and_scaled_to_the_template():
    turn = np.array([[0.0, -2.0], [2.0, 0.0]])  # a head that lies on its side, twice as large
    points = ARCFACE @ turn.T + [260, 20]
    matrix = similarity(points, ARCFACE)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], ARCFACE, atol=1e-3)
    picture = np.zeros((300, 300, 3), np.uint8)
    x, y = np.round(points[2]).astype(int)
    picture[y - 6 : y + 7, x - 6 : x + 7] = 255
    found = arcface_crop(picture, points)
    assert found.shape == (112, 112, 3)
    rows, columns = np.nonzero(found[..., 0] > 127)
    np.testing.assert_allclose([columns.mean(), rows.mean()], ARCFACE[2], atol=0.5)
