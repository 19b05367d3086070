"""Pictures of the embedded head from many sides, with many expressions, to train a splat avatar: true cameras, true
motion, no tracking error.

The head is lit and textured better than in the viewer: skin with pores, patches and oil, glossy teeth and eyes, a hair
cap with strands, a warm key light, a cool fill light, a rim light and light from the sky.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from learn2talk_core.avatar.views import MeshMotion, View, write_views
from learn2talk_core.corpus.phonemes import PHONEMES, Phoneme
from learn2talk_core.datasets.embedded.face import NOISE_WAVES, Face, colours, load_face
from learn2talk_core.datasets.embedded.face_motion import move_face
from learn2talk_core.datasets.embedded.speakers import Speaker, make_speakers
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.pinhole import Pinhole, orbiting
from learn2talk_core.render.rasterise import interpolate, rasterise
from learn2talk_core.render.shading import vertex_normals
from learn2talk_core.run.over_frames import kernel, over_frames
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator

RECORDED = "learn2talk avatar record"
SUPERSAMPLE = 2  # samples per pixel along x and along y
HAIR = (0.16, 0.10, 0.07)
LATTICE, CELL = 64, 0.0015  # cells and metres per cell of the noise that the textures are made of
TURN, RISE = 75, (-18, 30)  # degrees that the cameras span to each side, and downwards and upwards
BEHIND = 4  # one in so many training cameras looks from behind, for a turn around the head
CLOSE, CLOSE_TURN, CLOSE_RISE = 0.07, 45, (-15, 20)  # metres around the lips that a close-up shows, and its degrees
SWAY = 12  # degrees by which a training camera moves between moments, to each side
# direction in the world towards each light, and its colour
LIGHTS = (((0.45, 0.55, 0.75), (0.78, 0.74, 0.68)), ((-0.9, 0.05, 0.45), (0.16, 0.19, 0.24)),
          ((0.2, 0.5, -0.9), (0.26, 0.26, 0.28)))  # fmt: skip
SKY, GROUND = (0.42, 0.44, 0.47), (0.30, 0.26, 0.24)
PAUSE = 0.12  # share of silence among the random phonemes
PERSONS = 8  # whose speech the expressions are from: with one of them, a third of other speech moves the lips further
LARGEST = 1.5  # weight of a unit; speech has more than 1 of some


@dataclass(frozen=True)
class HeadSession:
    """What is recorded: number of cameras and expressions, and how many of them only serve for evaluation.

    `close` further cameras film the mouth for training, in pictures of half the size: lips are 1 % of a picture of the
    whole head, but all that a lip reader looks at. Of the other training cameras, one in `every` sees an expression, in
    turn: many expressions teach more than many views of each.
    """

    cameras: int = 16
    close: int = 6
    every: int = 3
    expressions: int = 192
    held_out_cameras: int = 2
    held_out_expressions: int = 12
    size: int = 256
    seed: int = 0


def record_head(folder: str | Path, session: HeadSession, speaker: Speaker | None = None) -> int:
    """Render the pictures and write the folder (`views.write_views`); returns the number of pictures.

    One in `session.every` training cameras, and all close-ups, see a training expression. The split `val` has the
    training expressions from held-out cameras, `test` has held-out expressions from all; both are thinned out.
    """
    face = load_face()
    person = make_speakers(1, session.seed, prefix="A")[0] if speaker is None else speaker
    template = face.identity(person)
    count = session.expressions + session.held_out_expressions
    weights = head_expressions(count, session.seed)
    units = np.stack(list(face.unit.values()))
    motion = MeshMotion(template, face.faces, units, weights, protected_triangles(face), mm_per_unit=1000.0)
    views = list(_views(session, template))
    skin = colours(generator(session.seed, "skin"))

    def pictures() -> Iterator[np.ndarray]:
        for view in progress(views, "pictures of the head", unit="picture"):
            yield paint_head(motion.vertices(view.time), skin, view.camera)

    write_views(folder, views, pictures(), motion, made_by=RECORDED)
    return len(views)


def head_expressions(count: int, seed: int) -> np.ndarray:
    """`count` expressions, weights (T, K) of the face units: a third from speech, a third of a few units, a third both.

    The speech is a sequence of random phonemes, so nothing needs to be synthesised. The first expression is neutral.
    """
    names, rng = list(load_face().unit), generator(seed, "expressions")
    speech = _babble(count, seed)
    few = np.zeros_like(speech)
    pairs = [name for name in names if name.endswith("Left")]
    for row in few:
        for name in rng.choice(names, rng.integers(2, 6), replace=False):
            row[names.index(name)] = rng.beta(2, 2)
            if name in pairs and rng.random() < 0.7:  # most expressions are about symmetric
                row[names.index(name[:-4] + "Right")] = row[names.index(name)]
        row[names.index("jawOpen")] *= rng.uniform(0.3, 0.7)
    kind = rng.integers(3, size=count)
    weights = np.where((kind == 0)[:, None], speech, np.where((kind == 1)[:, None], few, speech + 0.6 * few))
    weights[0] = 0
    return weights.clip(-0.05, LARGEST).astype(np.float32)


def protected_triangles(face: Face) -> np.ndarray:
    """(F,) bool: triangles of mouth, teeth, tongue, eyes and lids, which are seldom seen and must keep a splat."""
    some = (face.mask["inside_mouth"] > 0.5) | (face.mask["lips"] > 0.4) | (face.mask["eyelids"] > 0.3)
    for part in ("left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue"):
        some |= face.part[part]
    return some[face.faces].any(axis=1)


def filming_camera(template: np.ndarray) -> Camera:
    """In front of the head, a metre away; it shows all of it."""
    low, high = template.min(axis=0), template.max(axis=0)
    x, y, z = ((low + high) / 2).tolist()
    return Camera(target=(x, y, z), extent=1.12 * float(np.ptp(template, axis=0).max()), distance=1.0)


def mouth_camera(template: np.ndarray) -> Camera:
    """In front of the lips, a metre away; it shows little more than them."""
    lips = template[load_face().mask["lips"] > 0.4]
    x, y, z = ((lips.min(axis=0) + lips.max(axis=0)) / 2).tolist()
    return Camera(target=(x, y, z), extent=CLOSE, distance=1.0)


def paint_head(vertices: np.ndarray, skin: np.ndarray, view: Pinhole) -> np.ndarray:
    """One picture, uint8 (H, W, 3), on white.

    Args:
        vertices: (V, 3) of the embedded head.
        skin: (V, 3) albedo, as `face.colours` gives it.
    """
    face, material = load_face(), _material()
    height, width = SUPERSAMPLE * view.height, SUPERSAMPLE * view.width
    samples = view.project(vertices) * (SUPERSAMPLE, SUPERSAMPLE, 1)
    screen = torch.from_numpy(samples.astype(np.float32))[None]
    found = rasterise(screen, face.faces, height, width)
    normals = vertex_normals(torch.from_numpy(vertices)[None], face.faces)[0].numpy()
    at_vertices = np.concatenate([normals, vertices, face.neutral, skin, material], axis=1).astype(np.float32)
    surface = interpolate(torch.from_numpy(at_vertices)[None], screen, face.faces, found.pix_to_face)[0].numpy()
    seen = found.pix_to_face[0].numpy() >= 0
    image = np.ones((height, width, 3), np.float32)
    over_frames(_light, height, surface, seen, view.position.astype(np.float32), _lights(), _lattice(), image)
    image = image.reshape(view.height, SUPERSAMPLE, view.width, SUPERSAMPLE, 3).mean(axis=(1, 3))
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8)


@kernel
def _light(first, last, surface, seen, eye, lights, lattice, image):  # type: ignore[no-untyped-def]
    """Colour rows first … last - 1 where `seen`.

    `surface` (H, W, 15) has normal, position, neutral position, albedo, and shares of hair, gloss and skin; `lights`
    (L, 6) direction and colour, then sky and ground.
    """
    colour, shine = np.empty(3, np.float32), np.empty(3, np.float32)
    for row in range(first, last):
        for column in range(seen.shape[1]):
            if not seen[row, column]:
                continue
            point = surface[row, column]
            hair, gloss, skin = point[12], point[13], point[14]
            length = np.sqrt(point[0] ** 2 + point[1] ** 2 + point[2] ** 2) + np.float32(1e-12)
            nx, ny, nz = point[0] / length, point[1] / length, point[2] / length
            vx, vy, vz = eye[0] - point[3], eye[1] - point[4], eye[2] - point[5]
            length = np.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx / length, vy / length, vz / length
            x, y, z = point[6] / CELL, point[7] / CELL, point[8] / CELL
            pores, patches = _noise(lattice, x, y, z), _noise(lattice, 0.12 * x, 0.12 * y, 0.12 * z + 20)
            strands = 0.0
            if hair > 0:
                strands = _noise(lattice, 100 * np.arctan2(x * CELL, 0.05 - z * CELL), 0.12 * y, 0.0)
            for k in range(3):
                tint = 0.03 if k == 0 else -0.01
                albedo = point[9 + k] * (1 + skin * (0.05 * pores + 0.05 * patches)) + tint * skin * patches
                albedo = albedo * (1 - hair) + hair * HAIR[k] * (1.25 + 0.9 * strands)
                up = 0.5 + 0.5 * ny
                colour[k] = albedo
                shine[k] = up * lights[-2, k] + (1 - up) * lights[-1, k]  # first the light, below the picture
            strength = 0.10 * skin * (1 + 0.6 * patches) + 0.55 * gloss + 0.12 * hair
            sharpness = 14 + 60 * gloss + 10 * hair
            for k in range(3):
                image[row, column, k] = 0
            for light in range(len(lights) - 2):
                lx, ly, lz = lights[light, 0], lights[light, 1], lights[light, 2]
                lit = max(nx * lx + ny * ly + nz * lz, 0.0)
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                length = np.sqrt(hx * hx + hy * hy + hz * hz)
                peak = strength * max((nx * hx + ny * hy + nz * hz) / length, 0.0) ** sharpness
                for k in range(3):
                    shine[k] += lit * lights[light, 3 + k]
                    image[row, column, k] += peak * lights[light, 3 + k]
            for k in range(3):
                image[row, column, k] += colour[k] * shine[k]


@kernel
def _noise(lattice, x, y, z):  # type: ignore[no-untyped-def]
    """Smooth noise of about ±1, trilinear between the lattice's points; repeats after `LATTICE` cells."""
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    total = 0.0
    for corner in range(8):
        a, b, c = corner & 1, corner >> 1 & 1, corner >> 2
        weight = (x - i if a else 1 - x + i) * (y - j if b else 1 - y + j) * (z - k if c else 1 - z + k)
        total += weight * lattice[(i + a) % LATTICE, (j + b) % LATTICE, (k + c) % LATTICE]
    return total


@cache
def _lattice() -> np.ndarray:
    noise = gaussian_filter(generator(0, "noise").normal(size=(LATTICE,) * 3), 1.0, mode="wrap")
    return (noise / (1.5 * noise.std())).astype(np.float32)


@cache
def _lights() -> np.ndarray:
    """Unit direction and colour of each light, then the colours of sky and ground, (L + 2, 6)."""
    rows = [[*np.array(way) / np.linalg.norm(way), *colour] for way, colour in LIGHTS]
    return np.array([*rows, [*SKY, 0, 0, 0], [*GROUND, 0, 0, 0]], np.float32)


@cache
def _material() -> np.ndarray:
    """(V, 3) shares of hair, gloss and skin of every vertex."""
    face = load_face()
    x, y, z = face.neutral.T
    outside = face.part["skin"] & (face.mask["inside_mouth"] < 0.5)
    line = (y - 0.062) * 0.8 + (-0.02 - z) * 0.6  # the hairline rises from the nape over the ears to the forehead
    hair = outside * np.clip(line / 0.012 + 0.5, 0, 1) * np.clip((y + 0.075) / 0.02, 0, 1) * (face.mask["ears"] < 0.1)
    gloss = np.zeros(len(x))
    for part in ("left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue"):
        gloss[face.part[part]] = 1.0
    gloss[face.part["tongue"]] = 0.4
    gloss = np.maximum(gloss, 0.25 * (face.mask["lips"] > 0.5))
    return np.stack([hair, gloss, outside * (1 - hair)], axis=1)


def _babble(count: int, seed: int) -> np.ndarray:
    """Weights (count, K) of the face units in random speech of several persons: one half at random moments, the other
    half where the mouth is most unlike all those chosen before, so that wide and rare shapes are among them."""
    rng, fps = generator(seed, "babble"), 25.0
    spoken = []
    for person in make_speakers(PERSONS, seed, prefix="A"):
        time, phonemes = 0.0, []
        while time < max(2.0, count * 0.4 / PERSONS):
            name = "" if rng.random() < PAUSE else str(rng.choice(PHONEMES))
            length = float(rng.uniform(0.06, 0.3))
            phonemes.append(Phoneme(time, time + length, name))
            time += length
        wave = (0.1 * rng.normal(size=round(16000 * time))).astype(np.float32)
        spoken.append(move_face(person, wave, phonemes, fps, 1.0, rng)[:, :-NOISE_WAVES])
    pool = np.concatenate(spoken)
    chosen = rng.choice(len(pool), count - count // 2, replace=False)
    return pool[rng.permutation(_unlike(_mouths(pool), chosen, count // 2))]


def _mouths(weights: np.ndarray) -> np.ndarray:
    """(T, 3 M) displacements of lips, teeth and tongue."""
    face = load_face()
    mouth = face.mask["lips"] > 0.4
    for part in ("upper_teeth", "lower_teeth", "tongue"):
        mouth |= face.part[part]
    units = np.stack([unit[mouth].ravel() for unit in face.unit.values()])
    return (weights @ units).astype(np.float32)


def _unlike(points: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    """`chosen` rows of `points` (N, D) and `count` more, each the farthest from all those before."""
    distance = np.full(len(points), np.inf)
    found = list(chosen)
    for number in range(len(chosen) + count):
        if number >= len(chosen):
            found.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points - points[found[number]]) ** 2).sum(axis=1))
    return np.array(found)


def _views(session: HeadSession, template: np.ndarray) -> Iterator[View]:
    front, rng = filming_camera(template), generator(session.seed, "cameras")
    cameras = session.cameras + session.held_out_cameras
    # Held-out cameras look from between the training ones: the golden ratio spreads all of them evenly.
    share = np.arange(cameras) * 0.6180339887 % 1
    yaw = np.radians(TURN) * (2 * (np.argsort(np.argsort(share)) + 0.5) / cameras - 1)
    yaw[-session.held_out_cameras :] *= 0.6
    yaw[BEHIND - 1 : session.cameras : BEHIND] += np.pi
    pitch = np.radians(rng.uniform(*RISE, cameras))
    close, near = mouth_camera(template), generator(session.seed, "close-ups")
    for time in range(session.expressions + session.held_out_expressions):
        for number in range(cameras, cameras + session.close * (time < session.expressions)):
            # most of them look from about the front, as lip readers do
            angles = np.radians([CLOSE_TURN * near.uniform(-1, 1) ** 3, near.uniform(*CLOSE_RISE)])
            yield View(time, number, orbiting(close, session.size // 2, session.size // 2, *angles), "train")
        for number in range(cameras):
            held_out = number >= session.cameras
            # the training cameras sway, so that a splat is seen from more than a few directions
            sway = np.radians(SWAY) * rng.uniform(-1, 1, 2) * (not held_out)
            camera = orbiting(front, session.size, session.size, yaw[number] + sway[0], pitch[number] + sway[1])
            if time < session.expressions and not held_out:
                if (time + number) % session.every == 0:
                    yield View(time, number, camera, "train")
            elif time < session.expressions and (time + number) % (4 * session.every) == 0:
                yield View(time, number, camera, "val")
            elif time >= session.expressions and (time + number) % 4 == 0:
                yield View(time, number, camera, "test")
