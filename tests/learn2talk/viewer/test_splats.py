"""The splat pane of the viewer: what the server sends, the worker's order, and the picture in a headless Chromium."""

import base64
import io
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learn2talk.viewer.app import STATIC, App
from learn2talk.viewer.messages import Request
from learn2talk.viewer.scene import Motion, ViewerClip, as_wav
from learn2talk.viewer.server import ViewServer
from learn2talk_core.avatar.avatar import Avatar, draw_avatar
from learn2talk_core.avatar.binding import in_world, triangle_frames
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.render.pinhole import Pinhole
from tests.avatar.scene import moving_octahedron, small_avatar
from tests.learn2talk.viewer.chromium import Page, chromium

COUNT = 300


def clip(stretch: float = 1.1) -> ViewerClip:
    """The octahedron's motion, on a face that is larger than the avatar's own."""
    motion = moving_octahedron()
    topology = Topology(motion.faces, {}, np.zeros((0, 2), np.int64), np.full((6, 3), 0.5, np.float32))
    shown = Motion("A", motion.weights, motion.basis, stretch * motion.template, topology, 2.0, 1000.0)
    return ViewerClip("clip", "group", (shown,), as_wav(np.zeros(32000)))


def avatar_with(local: bool) -> Avatar:
    """Spherical harmonics in the triangles' axes, or in those of the mesh, as GaussianAvatars has them."""
    return replace(small_avatar(COUNT), local=local)


def app(tmp_path: Path, local: bool = True) -> App:
    return App([clip()], lambda: None, out=tmp_path, avatar=avatar_with(local))


def test_the_server_describes_the_splats(tmp_path):
    served = app(tmp_path)
    told = json.loads(served.answer("GET", "api/clips/0", Request({})).body)["motions"][0]["avatar"]
    assert (told["count"], told["local"]) == (COUNT, True)
    avatar = small_avatar(COUNT)
    rows = np.frombuffer(served.answer("GET", f"api/arrays/{told['splats']}", Request({})).body, "<f4").reshape(-1, 24)
    np.testing.assert_array_equal(rows[:, 3], avatar.splats.triangle)
    np.testing.assert_allclose(rows[:, 8:11], avatar.splats.scale.exp(), rtol=1e-6)
    np.testing.assert_array_equal(rows[:, 15:18], avatar.splats.rest[:, 0])  # Y_1,-1
    change = np.frombuffer(served.answer("GET", f"api/arrays/{told['change']}", Request({})).body, "<f4")
    np.testing.assert_allclose(change.reshape(6, 3), -0.1 * avatar.template, atol=1e-7)


def test_a_motion_of_another_mesh_has_no_avatar(tmp_path):
    one = clip()
    other = Topology(one.motions[0].topology.faces[::-1].copy(), {}, np.zeros((0, 2), np.int64), np.zeros((6, 3)))
    motion = Motion("A", one.motions[0].rows, one.motions[0].basis, one.motions[0].rest, other, 2.0, 1000.0)
    served = App([ViewerClip("c", "g", (motion,), one.sound)], lambda: None, out=tmp_path, avatar=small_avatar())
    assert json.loads(served.answer("GET", "api/clips/0", Request({})).body)["motions"][0]["avatar"] is None


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_worker_sorts_from_back_to_front(tmp_path):
    avatar, motion = small_avatar(COUNT), moving_octahedron()
    vertices, direction = motion.vertices(1), np.array([0.3, -0.2, -0.9])
    sent = {
        "triangles": avatar.splats.triangle.tolist(),
        "local": avatar.splats.position.reshape(-1).tolist(),
        "faces": avatar.faces.reshape(-1).tolist(),
    }
    moved = {"positions": vertices.reshape(-1).tolist(), "direction": direction.tolist()}
    script = f"""
      const answers = [];
      globalThis.postMessage = (sorted) => answers.push([...sorted]);
      {(STATIC / "sorter.js").read_text().replace("onmessage =", "globalThis.onmessage =")}
      globalThis.onmessage({{ data: {json.dumps(sent)} }});
      globalThis.onmessage({{ data: {json.dumps(moved)} }});
      console.log(JSON.stringify(answers[0]));
    """
    (tmp_path / "sort.mjs").write_text(script)
    done = subprocess.run(["node", tmp_path / "sort.mjs"], capture_output=True, text=True, check=True, timeout=60)
    order = json.loads(done.stdout)
    frames = triangle_frames(torch.from_numpy(vertices), torch.from_numpy(avatar.faces).long())
    view = Pinhole(np.eye(3), np.zeros(3), (1.0, 1.0), (0.5, 0.5), 1, 1)
    depth = in_world(avatar.splats, frames, view, degree=1).position.numpy() @ direction
    assert sorted(order) == list(range(COUNT))
    steps = np.diff(depth[order])
    assert steps.max() < 2 * np.ptp(depth) / (1 << 16)  # within a bin, the order is free


@contextmanager
def served(tmp_path: Path, local: bool) -> Iterator[str]:
    with ViewServer(app(tmp_path, local)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()


def pane(page: Page) -> tuple[np.ndarray, dict]:
    """The splat pane's pixels (H, W, 4) with their alpha, and the camera that drew them."""
    told = json.loads(
        page.module(
            "view.js",
            """{
              const stage = m.stage, pane = stage.panes[1];
              stage.drawNow();
              const whole = stage.host.getBoundingClientRect(), box = pane.element.getBoundingClientRect();
              const ratio = stage.canvas.width / whole.width;
              return JSON.stringify({
                image: stage.canvas.toDataURL(),
                left: (box.left - whole.left) * ratio, top: (box.top - whole.top) * ratio,
                width: box.width * ratio, height: box.height * ratio, scale: pane.group.scale.x,
                toCamera: stage.camera.matrixWorldInverse.elements, toClip: stage.camera.projectionMatrix.elements,
              });
            }""",
        )
    )
    content = base64.b64decode(told["image"].split(",")[1])
    image = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")) / 255
    left, top, width, height = (round(told[key]) for key in ("left", "top", "width", "height"))
    return image[top : top + height, left : left + width], told


@pytest.mark.parametrize("local", [True, False])
def test_the_browser_draws_what_the_renderer_draws(tmp_path, local):
    with chromium(tmp_path / "profile") as page, served(tmp_path, local) as address:
        page.open(address)
        page.wait("[...document.querySelectorAll('[data-frame]')].length === 2")
        page.module("view.js", "m.player.seek(0.5)")
        page.wait("[...document.querySelectorAll('[data-frame]')].every((one) => one.dataset.frame === '1')")
        page.wait(f"import('./view.js').then((m) => m.stage.panes[1].splats.sorted === {COUNT})")
        page.module("view.js", "m.stage.orbit(0.5, 0.3)")
        for _ in range(3):  # the worker sorts for the new direction
            page.run("new Promise((done) => setTimeout(done, 300))")
        image, told = pane(page)
        assert page.complaints() == []
    height, width = image.shape[:2]
    matrix = np.array(told["toCamera"]).reshape(4, 4).T
    clip_ = np.array(told["toClip"]).reshape(4, 4).T
    rotation = np.diag([1.0, -1.0, -1.0]) @ matrix[:3, :3]
    translation = np.diag([1.0, -1.0, -1.0]) @ matrix[:3, 3] / told["scale"]
    focal = 0.5 * width * clip_[0, 0], 0.5 * height * clip_[1, 1]
    view = Pinhole(rotation, translation, focal, (width / 2, height / 2), height, width)
    vertices = moving_octahedron().vertices(1)
    drawn, other = (
        draw_avatar(avatar_with(axes), vertices, view, background=(0.0, 0.0, 0.0)) for axes in (local, not local)
    )
    expected, cover = drawn.image.numpy(), 1 - drawn.light.numpy()
    assert np.abs(other.image.numpy() - expected).mean() > 0.03  # the axes matter
    assert 0.1 < cover.mean() < 0.95
    found = image[..., :3] * image[..., 3:]
    assert np.abs(image[..., 3] - cover).mean() < 0.01
    assert np.abs(found - expected.clip(0, 1)).mean() < 0.01
    assert np.corrcoef(found.ravel(), expected.clip(0, 1).ravel())[0, 1] > 0.995
