"""three.js in a headless Chromium plays our avatar; skipped without Chromium, or without the npm package `three`."""

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.export.avatar import write_avatar
from learn2talk_core.export.onto import UsersAvatar, write_onto
from tests.export.scene import speaking_character
from tests.learn2talk.viewer.chromium import chromium

PAGE = """<!doctype html><canvas id="c" width="240" height="240"></canvas>
<script type="importmap">{"imports": {"three": "./three/build/three.module.js"}}</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "./three/examples/jsm/loaders/GLTFLoader.js";
const canvas = document.querySelector("#c");
const renderer = new THREE.WebGLRenderer({ canvas, preserveDrawingBuffer: true });
const camera = new THREE.PerspectiveCamera(20, 1, 0.1, 10);
camera.position.set(0, -0.03, 1.0);
const scene = new THREE.Scene();
scene.add(new THREE.HemisphereLight(0xffffff, 0x888888, 3));
window.play = async (name) => {
  const gltf = await new GLTFLoader().loadAsync(name);
  scene.add(gltf.scene);
  const mixer = new THREE.AnimationMixer(gltf.scene);
  const clip = THREE.AnimationClip.findByName(gltf.animations, "speech");
  mixer.clipAction(clip).play();
  let skin;
  gltf.scene.traverse((node) => { if (node.name === "skin") skin = node; });
  window.show = (seconds) => {
    mixer.setTime(seconds);
    renderer.render(scene, camera);
    return skin.morphTargetInfluences[skin.morphTargetDictionary.jawOpen];
  };
  return [Object.keys(skin.morphTargetDictionary).length, clip.duration, Boolean(skin.material.map)];
};
window.ready = true;
</script>"""


@pytest.fixture
def three() -> Path:
    """The folder of the npm package."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    found = subprocess.run(["node", "-p", "require.resolve('three')"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("node does not find the package three")
    return Path(found.stdout.strip()).parents[1]


@pytest.fixture
def address(tmp_path: Path, three: Path) -> Iterator[str]:
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "three").symlink_to(three)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("onto", [False, True])
def test_the_pixels_move_with_the_curves(address: str, tmp_path: Path, onto: bool) -> None:
    animation = speaking_character(head=not onto)
    name = "a.glb"
    write_avatar(tmp_path / "a", speaking_character(frames=9, head=False) if onto else animation)
    if onto:
        write_onto(tmp_path / "b", animation, UsersAvatar(tmp_path / "a.glb"))
        name = "b_avatar.glb"
    jaw = arkit_weights(animation)[:, 17]
    widest, closed = int(jaw[:-1].argmax()), int(jaw[:-1].argmin())  # at its last key a clip begins again
    with chromium(tmp_path / "profile") as page:
        page.open(address)
        page.wait("window.ready === true")
        targets, duration, textured = page.run(f"play('{name}')")
        assert (targets, textured) == (52, True)
        assert duration == pytest.approx(29 / 30, abs=1e-4)
        shown = {}
        for frame in (widest, closed):
            assert page.run(f"show({frame} / 30)") == pytest.approx(jaw[frame], abs=2e-3)
            shown[frame] = page.picture("#c").astype(int)
        assert page.complaints() == [] or all("favicon" in text for text in page.complaints())
    face = shown[closed][60:200, 60:180]
    assert face.std() > 10, "a face is seen"
    moved = np.abs(shown[widest] - shown[closed]).max(axis=2) > 24
    assert moved.sum() > 60
    rows = np.flatnonzero(moved.any(axis=1))
    if onto:  # the head stands still: only the mouth and the blinking eye move
        assert rows.min() > 60
