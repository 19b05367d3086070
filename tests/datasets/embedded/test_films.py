from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.datasets.embedded.face import TONGUE_TIP, colours, load_face
from learn2talk_core.datasets.embedded.films import SIZE, Shot, boxes, draw_shot, film_person, render_film
from learn2talk_core.datasets.embedded.speakers import make_speakers
from learn2talk_core.datasets.embedded.utterances import Utterance, utterance
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.video.filming import film_people
from learn2talk_core.video.talking_video import EncodedFilm, crop, grey, join_shards, open_talking_video


@pytest.fixture(scope="module")
def template() -> np.ndarray:
    return load_face().identity(make_speakers(1, 5, "T")[0])


def still(template: np.ndarray, shot: Shot) -> np.ndarray:
    """A film of a neutral face."""
    return render_film(template, np.zeros((1, len(load_face().basis)), np.float32), colours(), shot)[0]


def frontal(template: np.ndarray, seed: int) -> Shot:
    shot = draw_shot(template, 1, np.random.default_rng(seed))
    return replace(shot, turn=np.zeros(3), sway=np.zeros((1, 3)))


def said(speaker: str, split: str, *texts: str) -> list[Utterance]:
    """A hum that opens and closes the mouth three times for each text, 0.8 s long; not a whole number of frames."""
    time = np.arange(12_900) / 16_000
    phonemes = tuple(Phoneme(0.1 + 0.1 * i, 0.2 + 0.1 * i, "AA" if i % 2 else "M") for i in range(6))
    wave = (0.2 * np.sin(2 * np.pi * 120 * time)).astype(np.float32)
    return [utterance(speaker, "a hum", True, split, text, (wave, phonemes)) for text in texts]


def test_same_seed_same_films_and_whoever_makes_them(tmp_path: Path) -> None:
    people = [
        partial(film_person, said(name, split, "one", "two"), variation=1.0, seed=3)
        for name, split in (("A", "loss"), ("B", "metric"), ("C", "validation"))
    ]
    made = [sorted(film_people(people, tmp_path / folder, workers)) for folder, workers in (("a", 1), ("b", 2))]
    assert [[path.read_bytes() for path in paths] for paths in made] == [[path.read_bytes() for path in made[0]]] * 2
    join_shards(tmp_path / "films", made[0])
    video = open_talking_video(tmp_path / "films")
    assert [(clip.id, clip.split) for clip in video.clips] == [
        ("A_00", "loss"), ("A_01", "loss"), ("B_00", "metric"), ("B_01", "metric"),
        ("C_00", "validation"), ("C_01", "validation"),
    ]  # fmt: skip
    stills = []
    for clip, frames, audio in video.films(video.clips):
        assert (len(frames), clip.frames, len(audio), clip.samples) == (20, 20, 12_800, 12_800)
        face = crop(frames, clip.face_box, 96)
        assert 25 < face.mean() < 230  # lit
        assert np.abs(np.diff(grey(crop(frames, clip.mouth_box, 96)).astype(float), axis=0)).mean() > 0.2  # it speaks
        stills.append(face[0].astype(float))
    assert min(np.abs(a - b).mean() for a, b in pairwise(stills)) > 5  # other faces, and another light in each clip


def test_finished_people_are_not_filmed_again(tmp_path: Path) -> None:
    film = partial(film_person, said("A", "loss", "one"), variation=1.0, seed=3)

    def stopped() -> Iterator[EncodedFilm]:
        yield from film()
        raise KeyboardInterrupt

    def never() -> Iterator[EncodedFilm]:
        raise AssertionError("filmed again")

    with pytest.raises(KeyboardInterrupt):
        list(film_people([film, stopped], tmp_path, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["person-000.parquet"]
    assert sorted(film_people([never, film], tmp_path, 1)) == [tmp_path / f"person-00{i}.parquet" for i in range(2)]


def test_an_open_mouth_shows_teeth_and_a_dark_cavity(template: np.ndarray) -> None:
    """Some of the pixels between the lips are as bright as teeth, others darker than anything outside the mouth."""
    face = load_face()
    shot = frontal(template, 3)
    opened = np.zeros((2, len(face.basis)), np.float32)
    for unit, weight in (("jawOpen", 0.5), ("mouthLowerDownLeft", 0.4), ("mouthLowerDownRight", 0.4)):
        opened[1, list(face.unit).index(unit)] = weight
    shot = replace(shot, sway=np.zeros((2, 3)), tint=np.ones(3))
    closed, wide = crop(grey(render_film(template, opened, colours(), shot)), boxes(face, template, shot)[1], 96)
    mouth = (slice(36, 70), slice(30, 66))
    assert wide[mouth].min() < 0.5 * closed[mouth].min()
    assert wide[mouth].max() > 1.2 * np.median(closed[mouth])


def test_nothing_shines_through_a_raised_tongue() -> None:
    """Whatever the mouth does, the wall is not seen inside the lips."""
    face = load_face()
    names = list(face.unit)
    for number, speaker in enumerate(make_speakers(6, 0, "T")):
        template = face.identity(speaker)
        shot = draw_shot(template, 1, np.random.default_rng(number))
        shot = replace(shot, wall=np.broadcast_to([0.0, 1.0, 0.0], (5, 5, 3)))
        coefficients = np.zeros((1, len(face.basis)), np.float32)
        for unit, weight in (("jawOpen", 0.3), (TONGUE_TIP, 1.0), ("mouthLowerDownLeft", 0.4)):
            coefficients[0, names.index(unit)] = weight
        picture = render_film(template, coefficients, colours(), shot)
        red, green, _ = crop(picture, boxes(face, template, shot)[1], 96)[0, 30:66, 24:72].astype(int).T
        assert (green - red).max() < 60


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
