from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from learn2talk_core.datasets.embedded.face import colours, load_face
from learn2talk_core.datasets.embedded.films import (
    LENGTHS,
    SIZE,
    Shot,
    boxes,
    draw_shot,
    make_films,
    render_film,
    short_sentences,
)
from learn2talk_core.datasets.embedded.sentences import make_sentences
from learn2talk_core.datasets.embedded.speakers import make_speakers
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.video.talking_video import crop, frames_of, grey
from learn2talk_core.video.video_file import read_video

COUNTS = {"loss": 1, "metric": 1, "validation": 1}


@pytest.fixture(scope="module")
def template() -> np.ndarray:
    return load_face().identity(make_speakers(1, 5, "T")[0])


def still(template: np.ndarray, shot: Shot) -> np.ndarray:
    """A film of a neutral face."""
    return render_film(template, np.zeros((1, len(load_face().basis)), np.float32), colours(), shot)[0]


def frontal(template: np.ndarray, seed: int) -> Shot:
    shot = draw_shot(template, 1, np.random.default_rng(seed))
    return replace(shot, turn=np.zeros(3), sway=np.zeros((1, 3)))


def test_same_seed_same_films_and_whoever_makes_them() -> None:
    pytest.importorskip("espeakng_loader")
    first = list(make_films(COUNTS, COUNTS, variation=1.0, seed=3, workers=1))
    second = list(make_films(COUNTS, COUNTS, variation=1.0, seed=3, workers=2))
    assert [(clip, mp4) for clip, mp4, _ in first] == [(clip, mp4) for clip, mp4, _ in second]
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(first, second, strict=True))
    assert [clip.split for clip, _, _ in first] == ["loss", "metric", "validation"]
    assert len({clip.speaker for clip, _, _ in first}) == len({clip.text for clip, _, _ in first}) == 3
    for clip, mp4, audio in first:
        frames, fps, _ = read_video(mp4)
        assert (len(frames), fps, len(audio)) == (clip.frames, 25, clip.samples)
        assert clip.frames == frames_of(clip.samples)
        assert clip.phonemes[-1].end < clip.samples / 16000
        face = crop(frames, clip.face_box, 96)
        assert 25 < face.mean() < 230  # lit
        assert np.abs(np.diff(grey(crop(frames, clip.mouth_box, 96)).astype(float), axis=0)).mean() > 0.2  # it speaks


def test_sentences_are_short_and_other_than_the_3d_corpus_has() -> None:
    texts = short_sentences(300, 0)
    assert len(set(texts)) == 300
    assert {len(text) for text in texts} <= set(LENGTHS)
    assert not set(texts) & set(make_sentences(300, 0))
    assert short_sentences(10, 0) == texts[:10]


def test_mouth_box_is_the_crop_of_render_mouth(template: np.ndarray) -> None:
    """From the front at the same distance, the middle 88 pixels of the box show what `render_mouth` renders."""
    face = load_face()
    shot = frontal(template, 0)
    shot = replace(shot, camera=replace(shot.camera, distance=0.62), tint=np.ones(3))
    _, mouth_box = boxes(face, template, shot)
    found = crop(grey(still(template, shot)[None]), mouth_box, 96)[0, 4:-4, 4:-4].astype(float)
    view = mouth_view(face.topology, template, 1000.0)
    vertices = torch.from_numpy(template[view.vertex_ids][None])
    expected = render_mouth(view, vertices, light=shot.light)[0].numpy() * 255
    errors = {}
    for scale in (0.9, 1.0, 1.1):
        for dx in (-4, 0, 4):
            for dy in (-4, 0, 4):
                into = np.array([[scale, 0, 44 * (1 - scale) + dx], [0, scale, 44 * (1 - scale) + dy]])
                moved = cv2.warpAffine(expected.astype(np.float32), into, (88, 88), borderMode=cv2.BORDER_REPLICATE)
                errors[scale, dx, dy] = np.abs(moved - found)[15:-15, 15:-15].mean()
    assert min(errors, key=lambda key: errors[key]) == (1.0, 0, 0)
    assert errors[1.0, 0, 0] < 5


def test_head_turns_and_boxes_follow(template: np.ndarray) -> None:
    shot = frontal(template, 1)
    turned = replace(shot, turn=np.array([0.2, 0.0, 0.0]))  # to its left, which is right in the picture
    straight_box, turned_box = (boxes(load_face(), template, s)[1] for s in (shot, turned))
    assert turned_box[0] > straight_box[0] + 5
    assert np.abs(still(template, shot).astype(float) - still(template, turned)).mean() > 3


def test_face_box_lies_in_the_picture_whoever_is_filmed() -> None:
    face = load_face()
    for number, speaker in enumerate(make_speakers(30, 0, "T")):
        template = face.identity(speaker)
        for take in range(10):
            shot = draw_shot(template, 1, np.random.default_rng([number, take]))
            (left, top, right, bottom), mouth_box = boxes(face, template, shot)
            assert 0 <= left < right <= SIZE
            assert 0 <= top < bottom <= SIZE
            assert right - left == bottom - top > 0.6 * SIZE
            assert left < mouth_box[0] < mouth_box[2] < right
            # The lips are in the half that Wav2Lip generates, and always at the same place.
            middle = np.array([(mouth_box[0] + mouth_box[2]) / 2 - left, (mouth_box[1] + mouth_box[3]) / 2 - top])
            np.testing.assert_allclose(middle / (right - left), (0.5, 0.72), atol=0.04)


def test_wall_is_behind_the_head(template: np.ndarray) -> None:
    shot = replace(frontal(template, 2), wall=np.full((5, 5, 3), 0.5))
    picture = still(template, shot)
    assert np.abs(picture[:20, :8].astype(int) - 128).max() <= 1
    assert np.abs(picture[:20, -8:].astype(int) - 128).max() <= 1
