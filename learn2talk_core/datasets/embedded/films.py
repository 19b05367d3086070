"""Films of the embedded 2D corpus: people who are not in the 3D corpus, with a new light and pose in each clip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from learn2talk_core.datasets.embedded.face import Face, colours, load_face
from learn2talk_core.datasets.embedded.face_motion import move_face
from learn2talk_core.datasets.embedded.speakers import Speaker, make_speaker
from learn2talk_core.datasets.embedded.utterances import Utterance
from learn2talk_core.render.camera import Camera, project
from learn2talk_core.render.mouth import CROP
from learn2talk_core.render.render import render
from learn2talk_core.render.shading import Light
from learn2talk_core.video.talking_video import (
    MOUTH_SIZE,
    SAMPLES_PER_FRAME,
    VIDEO_FPS,
    Box,
    EncodedFilm,
    VideoClip,
    frames_of,
)
from learn2talk_core.video.video_file import encode_video

SIZE = 160  # pixels
FACE_SIDE, MOUTH_HEIGHT = 1.65, 0.72  # of the face box: side relative to the mouth box; height of the lips from its top
RENDERED = 200  # pixels; averaged down to SIZE, which smooths edges more cheaply than antialiasing
FACE_SHARE = 0.75  # of the picture's height
NECK = np.array([0.0, -0.10, -0.06])  # metres from between the eyes; the centre of head rotation
NOTHING = (-1.0, -1.0, -1.0)  # background that no surface can have: these pixels show the wall
DARK = (0.04, 0.02, 0.02)  # albedo of the throat
BATCH = 16  # frames rendered at a time


@dataclass(frozen=True)
class Shot:
    """How one clip is filmed.

    Attributes:
        turn: yaw, pitch and roll of the head in radians.
        sway: the same angles for the head's small movement over time, (T, 3), added to `turn`.
        camera, light: for the renderer.
        tint: (3,) colour of the light.
        wall: (R, C, 3) coarse grid of background colours, interpolated to a smooth picture.
        collar: (3,) albedo of the clothes.
    """

    turn: np.ndarray
    sway: np.ndarray
    camera: Camera
    light: Light
    tint: np.ndarray
    wall: np.ndarray
    collar: np.ndarray


def film_person(said: Sequence[Utterance], *, variation: float, seed: int) -> Iterator[EncodedFilm]:
    """A person's clips with their MP4 and sound; the same arguments give the same bytes.

    Args:
        said: by one speaker, whose name also decides face, skin and style of motion; another light, pose and framing
            for each.
        variation: amount of mouth motion that the sound does not determine; see `move_face`.
        seed: for everything random.
    """
    speaker = make_speaker(said[0].speaker, seed, female=said[0].female)
    face = load_face()
    template = face.identity(speaker)
    skin = colours(np.random.default_rng([speaker.seed, 2]))
    for number, one in enumerate(said):
        wave, coefficients, shot = act(speaker, template, one, number, variation)
        face_box, mouth_box = boxes(face, template, shot)
        clip = VideoClip(
            id=f"{speaker.id}_{number:02d}",
            speaker=speaker.id,
            text=one.text,
            split=one.split,
            frames=len(coefficients),
            samples=len(wave),
            phonemes=one.phonemes,
            face_box=face_box,
            mouth_box=mouth_box,
        )
        yield clip, encode_video(render_film(template, coefficients, skin, shot), VIDEO_FPS), wave


def act(
    speaker: Speaker, template: np.ndarray, said: Utterance, number: int, variation: float
) -> tuple[np.ndarray, np.ndarray, Shot]:
    """The sound (samples,), the motion (T, K) and the shot of clip `number` of a person with this neutral face."""
    rng = np.random.default_rng([speaker.seed, 3, number])
    wave = said.wave()[: frames_of(said.samples) * SAMPLES_PER_FRAME]
    motion = move_face(speaker, wave, said.phonemes, VIDEO_FPS, variation, rng)
    return wave, motion, draw_shot(template, len(motion), rng)


def draw_shot(template: np.ndarray, frames: int, rng: np.random.Generator) -> Shot:
    """Random pose, camera, light and background for `frames` pictures of a person with this neutral face (V, 3)."""
    top, bottom = _face_height(template)
    degrees = np.pi / 180
    wall = rng.uniform(0.15, 0.9) + rng.uniform(-0.15, 0.15, 3) + rng.normal(0, 0.08, (5, 5, 1))
    brightness = rng.uniform(1.0, 1.3)
    side = rng.uniform(-1.0, 1.0)
    fill = rng.uniform(0.30, 0.50)
    return Shot(
        turn=rng.normal(0, [5 * degrees, 3 * degrees, 1.5 * degrees]).clip(-0.2, 0.2),
        sway=_sway(frames, rng) * [0.3 * degrees, 0.25 * degrees, 0.2 * degrees],
        camera=Camera(
            target=(rng.normal(0, 0.002), (top + bottom) / 2 + rng.normal(0, 0.002), 0.0),
            extent=(top - bottom) / FACE_SHARE * rng.uniform(0.97, 1.1),
            distance=rng.uniform(0.6, 1.0),
        ),
        light=Light(
            direction=(side, rng.uniform(-0.1, 0.9), 1.0),
            ambient=brightness * fill,
            diffuse=brightness * (0.92 - fill),
            specular=rng.uniform(0.02, 0.12),
            shininess=int(rng.integers(8, 32)),
        ),
        tint=np.array([1.0, 1.0, 1.0]) + rng.uniform(-0.07, 0.07) * np.array([1.0, 0.1, -1.0]),
        wall=wall,
        collar=rng.uniform(0.05, 0.8, 3),
    )


def render_film(template: np.ndarray, coefficients: np.ndarray, skin: np.ndarray, shot: Shot) -> np.ndarray:
    """Render pictures of a speaking head.

    Args:
        template: (V, 3) neutral face.
        coefficients: (T, K) of `Face.basis`.
        skin: (V, 3) albedo.
        shot: how the clip is filmed.

    Returns:
        uint8 (T, SIZE, SIZE, 3) RGB.
    """
    face = load_face()
    throat, throat_faces = _throat(template[face.regions["lips"]])
    collar, collar_faces = _collar(_face_height(template)[1])
    whole = len(template) + len(throat)
    faces = np.concatenate([_seen_faces(), throat_faces + len(template), collar_faces + whole])
    albedo = np.concatenate([skin, np.tile(DARK, (len(throat), 1)), np.tile(shot.collar, (len(collar), 1))]) * shot.tint
    albedo = torch.from_numpy(albedo.clip(0, 1).astype(np.float32))
    wall = cv2.resize(shot.wall.astype(np.float32), (RENDERED, RENDERED), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    turns = _turns(shot.turn + shot.sway)
    pictures = []
    for first in range(0, len(coefficients), BATCH):
        chosen = slice(first, first + BATCH)
        head = face.vertices(template, coefficients[chosen])
        head = np.concatenate([head, np.broadcast_to(throat, (len(head), *throat.shape))], axis=1)
        head = (head - NECK) @ turns[chosen].transpose(0, 2, 1) + NECK
        around = np.broadcast_to(collar, (len(head), *collar.shape))
        vertices = torch.from_numpy(np.concatenate([head, around], axis=1).astype(np.float32))
        images = render(
            vertices, faces, albedo, shot.camera, RENDERED, RENDERED,
            light=shot.light, background=NOTHING, smooth=False,
        ).numpy()  # fmt: skip
        for image in images:
            cv2.copyTo(wall, (image[..., 0] < 0).view(np.uint8), image)
            small = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            pictures.append(np.rint(small * 255).astype(np.uint8))
    return np.stack(pictures)


def boxes(face: Face, template: np.ndarray, shot: Shot) -> tuple[tuple[int, int, int, int], Box]:
    """Boxes of the face and of the mouth of the neutral head in the picture; see `VideoClip`.

    The mouth box is centred on the lips and has the size of the crop of `render_mouth`. The face box is placed relative
    to the mouth box, so that the lips are always at the same place in it, as in crops that follow landmarks; it extends
    from above the brows to below the chin, with room for an open jaw.
    """
    lips = template[face.regions["lips"]]
    centre = (lips.min(0) + lips.max(0)) / 2
    turned = torch.from_numpy((centre[None] - NECK) @ _turns(shot.turn[None])[0].T + NECK)
    ((x, y, depth),) = project(shot.camera, turned, SIZE, SIZE).tolist()
    half = CROP / 1000 * MOUTH_SIZE / 88 * SIZE / shot.camera.extent * shot.camera.distance / depth / 2
    side = min(round(FACE_SIDE * 2 * half), SIZE)
    left, up = (min(max(round(at - share * side), 0), SIZE - side) for at, share in ((x, 0.5), (y, MOUTH_HEIGHT)))
    return (left, up, left + side, up + side), (x - half, y - half, x + half, y + half)


def _face_height(template: np.ndarray) -> tuple[float, float]:
    """y of a line above the brows and of a line below the chin, with room for the jaw; the eyes are at 0."""
    return 0.032, float(template[load_face().mask["face"] > 0.5][:, 1].min()) - 0.009


def _turns(angles: np.ndarray) -> np.ndarray:
    """(T, 3) yaw, pitch, roll in radians → (T, 3, 3) rotation matrices."""
    return Rotation.from_euler("YXZ", angles).as_matrix()


def _sway(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Slow smooth movement (T, 3) of about ±1: the mean of two sines with periods of 1.5 to 6 s for each angle."""
    time = np.arange(frames)[:, None, None] / VIDEO_FPS
    period, phase = rng.uniform(1.5, 6, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 3))
    return np.sin(2 * np.pi * time / period + phase).mean(1)


@cache
def _seen_faces() -> np.ndarray:
    """The head's triangles that a camera in front can see, without the back of the head and the root of the tongue."""
    face = load_face()
    a, b, c = face.neutral[face.faces].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    forward = normal[:, 2] / (np.linalg.norm(normal, axis=1) + 1e-12) > -0.4
    root = (face.neutral[face.faces, 1] < -0.098).any(1) & ~_outside(face)[face.faces].all(1)
    return face.faces[~root & (forward | ~_outside(face)[face.faces].all(1))]


def _outside(face: Face) -> np.ndarray:
    return face.part["skin"] & (face.mask["inside_mouth"] < 0.5)


def _throat(lips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a dark card behind the teeth, so that nothing bright shows through an open mouth."""
    x, y, z = (lips.min(axis=0) + lips.max(axis=0)) / 2
    across, up = np.meshgrid([x - 0.03, x + 0.03], [y + 0.02, y - 0.03])
    return np.stack([across, up, np.full_like(up, z - 0.05)], axis=-1).reshape(-1, 3), _grid(2, 2)


def _collar(chin: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of the clothes below the height `chin`; they hide the end of the mesh's neck."""
    around = np.linspace(-np.pi / 2, np.pi / 2, 25)
    across, ahead = np.sin(around), np.cos(around)
    rings = [  # height, half width, depth
        (chin - 0.009, 0.066, -0.085 + 0.062 * ahead),
        (chin - 0.023, 0.085, -0.080 + 0.070 * ahead),
        (chin - 0.081, 0.160, -0.080 + 0.110 * ahead),
    ]
    vertices = [np.stack([width * across, height + 0.02 * np.abs(across), depth], 1) for height, width, depth in rings]
    return np.concatenate(vertices), _grid(len(rings), len(around))


def _grid(rows: int, columns: int) -> np.ndarray:
    """Triangles of a grid whose rows go downwards and columns to the right, counter-clockwise from the front."""
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = corner[:-1, :-1].ravel(), corner[:-1, 1:].ravel(), corner[1:, :-1].ravel(), corner[1:, 1:].ravel()
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.int32)
