"""A small mesh that moves linearly, as the student's does."""

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import BlendShapes, embedded_shapes
from learn2talk_core.animation.characters import load_character
from learn2talk_core.mesh.topology import Topology
from tests.render.meshes import bumpy_sphere


def speaking_sphere(frames: int = 7, fps: float = 30, mm_per_unit: float = 250) -> Animation:
    """642 vertices, 5 directions of motion; states of both signs, one of which never changes."""
    rng = np.random.default_rng(3)
    vertices, faces, colours = (np.asarray(x) for x in bumpy_sphere())
    states = rng.normal(size=(frames, 5)).astype(np.float32) * [1, 3, 0.1, 20, 0] + [0, 5, -2, 0, 0.7]
    return Animation(
        states=states.astype(np.float32),
        basis=(0.01 * rng.normal(size=(5, 642, 3))).astype(np.float32),
        offset=(0.01 * rng.normal(size=(642, 3))).astype(np.float32),
        template=vertices[0].astype(np.float32),
        fps=fps,
        mm_per_unit=mm_per_unit,
        topology=Topology(faces.astype(np.int32), {}, np.zeros((0, 2), np.int64), colours.astype(np.float32)),
        wave=np.sin(np.arange(round(frames * 16000 / fps)) / 20).astype(np.float32) / 2,
    )


def nodding_sphere(frames: int = 7, **how: float) -> Animation:
    """The same with a head that rotates by up to half a radian about a neck and translates, and two blend shapes."""
    still = speaking_sphere(frames, **how)
    pose = np.random.default_rng(4).uniform(-0.5, 0.5, (frames, 6)).astype(np.float32)
    neck = np.array([0.1, -0.8, -0.3], np.float32)
    return spoilt(still, shapes=("eyeBlinkLeft", "eyeBlinkRight"), pose=pose, pivot=neck)


def speaking_character(name: str = "ada", frames: int = 30, *, head: bool = True) -> Animation:
    """A packaged character that opens and rounds its mouth slowly, blinks, and turns its head."""
    character, shapes = load_character(name), embedded_shapes()
    arkit = BlendShapes(shapes.names, character.correspondence.move(shapes.deltas))
    times = np.arange(frames)[:, None]
    states = 0.3 + 0.25 * np.sin(times / [7, 9, 5] + [0, 1, 2])
    used = ("jawOpen", "mouthFunnel", "eyeBlinkLeft")
    return Animation(
        states=states.astype(np.float32),
        basis=arkit.deltas[[shapes.names.index(one) for one in used]],
        offset=np.zeros_like(character.template),
        template=character.template,
        fps=30,
        mm_per_unit=1000,
        topology=character.topology,
        wave=np.sin(np.arange(frames * 16000 // 30) / 20).astype(np.float32) / 2,
        shapes=used[2:],
        pose=(0.2 * np.sin(times / [4, 5, 6, 7, 8, 9]) * [1, 1, 1, 0.02, 0.02, 0.02]).astype(np.float32)
        if head
        else None,
        pivot=np.array([0, -0.1, -0.09], np.float32) if head else None,
        follow=character.follow,
        look=character.look,
        arkit=arkit,
    )


def spoilt(animation: Animation, **fields: np.ndarray) -> Animation:
    """The same with other fields."""
    return Animation(**{**vars(animation), **fields})
