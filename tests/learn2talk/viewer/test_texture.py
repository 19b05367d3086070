"""A face with a texture: what the server sends of it, and what a headless Chromium draws."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learn2talk.viewer.app import App
from learn2talk.viewer.scene import Motion, ViewerClip, as_wav, motion_of
from learn2talk.viewer.sources import find_viewer_clips
from learn2talk_core.animation.characters import PARTS
from learn2talk_core.export.vertices import write_npz
from learn2talk_core.mesh.look import Look
from learn2talk_core.mesh.topology import Topology
from tests.export.scene import speaking_character
from tests.learn2talk.viewer.chromium import chromium
from tests.learn2talk.viewer.serving import Client, served

GREEN, RED = (0, 200, 0), (200, 0, 0)


def flag() -> Motion:
    """A square of two triangles that faces the viewer, a part each; its texture is green above and red below."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32], picture[32:] = GREEN, RED
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=95)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    look = Look(("skin", "teeth"), np.array([0, 1], np.uint8), corners[faces], picture, file.getvalue())
    square = np.concatenate([corners - 0.5, np.zeros((4, 1), np.float32)], axis=1) / 5
    topology = Topology(faces, {}, np.zeros((0, 2), np.int64), np.full((4, 3), 0.5, np.float32))
    return Motion("a flag", np.zeros((30, 4, 3), np.float32), None, square, topology, 30.0, 1000.0, look)


@contextmanager
def showing(motion: Motion) -> Iterator[Client]:
    clip = ViewerClip("a clip", "Clips", (motion,), as_wav(np.zeros(16000, np.float32)))
    with served(App([clip], lambda: pytest.fail("no student is needed"))) as client:
        yield client


def test_the_parts_that_are_sent_are_the_mesh_with_its_texture() -> None:
    motion = motion_of(speaking_character(head=False), "a character")
    assert motion.look is not None
    with showing(motion) as client:
        about = client.ask("api/clips/0").json["motions"][0]

        def array(name: str, kind: str) -> np.ndarray:
            return np.frombuffer(client.ask(f"api/arrays/{name}").body, kind)

        look = about["look"]
        assert array(look["texture"], "u1").tobytes() == motion.look.encoded
        assert [part["name"] for part in look["parts"]] == list(PARTS)
        assert [part["two_sided"] for part in look["parts"]] == [False] * 5 + [True] * 2
        for number, part in enumerate(look["parts"]):
            own = motion.look.part == number
            faces, vertices = array(part["faces"], "<u4"), array(part["vertices"], "<u4")
            np.testing.assert_array_equal(vertices[faces].reshape(-1, 3), motion.topology.faces[own])
            uv = array(part["uv"], "<f4").reshape(-1, 2)[faces].reshape(-1, 3, 2)
            np.testing.assert_allclose(uv * (1, -1) + (0, 1), motion.look.uv[own], atol=1e-6)
        np.testing.assert_array_equal(array(about["follow"], "<f4"), motion.follow)


def test_a_motion_file_of_a_character_has_its_look(tmp_path: Path) -> None:
    animation = speaking_character("ben", frames=3)
    write_npz(tmp_path / "a", animation)
    (clip,) = find_viewer_clips([tmp_path / "a.npz"])
    (motion,) = clip.motions
    assert motion.look is not None
    assert animation.look is not None
    assert motion.look.encoded == animation.look.encoded
    np.testing.assert_array_equal(motion.topology.lip_pairs, animation.topology.lip_pairs)
    np.testing.assert_allclose(motion.vertices(), animation.vertices(), atol=1e-6)


def test_chromium_draws_the_texture_the_right_way_up(tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as page, showing(flag()) as client:
        page.open(client.server.address)
        page.wait("document.querySelector('[data-frame]')?.dataset.frame === '0'")
        page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        picture = page.picture("figure").astype(int)
        red, green, _ = picture.transpose(2, 0, 1)
        rows, columns = np.nonzero(np.abs(red - green) > 60)
        top, bottom = (rows >= 0) & (rows < np.median(rows)), rows > np.median(rows)
        assert len(rows) > 0.2 * picture.shape[0] * picture.shape[1], "the square fills a good part of the pane"
        assert ((green > red)[rows, columns][top]).mean() > 0.95
        assert ((red > green)[rows, columns][bottom]).mean() > 0.95
        assert page.complaints() == []


def test_chromium_draws_each_part_where_the_mesh_has_it(tmp_path: Path) -> None:
    motion = motion_of(speaking_character(head=False), "a character")
    with chromium(tmp_path / "profile") as page, showing(motion) as client:
        page.open(client.server.address)
        page.wait("document.querySelector('[data-frame]')?.dataset.frame === '0'")
        page.module("view.js", "m.player.seek(0.5)")
        page.wait("document.querySelector('[data-frame]').dataset.frame === '15'")
        shown = page.module("view.js", "m.stage.panes[0].parts.group.children.map((mesh) => [mesh.name, mesh.visible])")
        assert shown == [[name, True] for name in PARTS]
        moved = motion.vertices(slice(15, 16))[0]
        for number in (0, PARTS.index("teeth")):
            part = f"m.stage.panes[0].parts.parts[{number}]"
            found, own = page.module(
                "view.js", f"[[...{part}.geometry.attributes.position.array], [...{part}.vertices]]"
            )
            np.testing.assert_allclose(np.reshape(found, (-1, 3)), moved[own], atol=3e-6)
        page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert len(np.unique(page.picture("figure").reshape(-1, 3), axis=0)) > 1000
        assert page.complaints() == []
