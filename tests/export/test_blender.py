"""Blender's import of our files, if its Python module is installed: pip install bpy."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.export.avatar import write_avatar
from learn2talk_core.export.fbx import write_fbx
from learn2talk_core.export.gltf import write_gltf
from learn2talk_core.export.usd import write_usd
from tests.export.glb import Glb
from tests.export.scene import nodding_sphere, speaking_character, speaking_sphere

SHOW = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = 30
path = sys.argv[-1]
(bpy.ops.import_scene.gltf if path.endswith("glb") else bpy.ops.wm.usd_import)(filepath=path)
(face,) = [o for o in bpy.data.objects if o.type == "MESH"]
bpy.context.scene.frame_set(3)
moved = face.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
print("VERTICES", json.dumps([list(face.matrix_world @ v.co) for v in moved.vertices]))
"""


@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="Blender's module bpy is not installed")
@pytest.mark.parametrize(("suffix", "write"), [("glb", write_gltf), ("usda", write_usd)])
@pytest.mark.parametrize("sphere", [speaking_sphere, nodding_sphere])
def test_blender_shows_the_face_at_its_frame(tmp_path, suffix, write, sphere):
    animation = sphere()
    write(tmp_path / "face", animation)
    command = [sys.executable, "-c", SHOW, str(tmp_path / f"face.{suffix}")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("VERTICES")]
    x, minus_z, y = np.array(json.loads(line.removeprefix("VERTICES"))).T  # Blender's z is up
    found = np.stack([x, y, -minus_z], axis=1)
    np.testing.assert_allclose(found, 0.25 * animation.vertices()[3], atol=1e-5)


KEYS = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = 30
path = sys.argv[-1]
(bpy.ops.import_scene.gltf if path.endswith("glb") else bpy.ops.import_scene.fbx)(filepath=path)
skin = next(o for o in bpy.data.objects if o.type == "MESH" and o.name.startswith("skin"))
keys = skin.data.shape_keys
values = []
for frame in range(30):
    scene.frame_set(frame)
    values.append(keys.key_blocks["jawOpen"].value)
ends = [a.frame_range[:] for a in bpy.data.actions]
found = {"names": [k.name for k in keys.key_blocks][1:], "values": values, "fps": scene.render.fps,
         "range": [min(e[0] for e in ends), max(e[1] for e in ends)],
         "materials": sorted(m.name for m in bpy.data.materials),
         "images": sum(1 for i in bpy.data.images if i.size[0] > 100),
         "meshes": sorted(o.name for o in bpy.data.objects if o.type == "MESH" and o.data.materials)}
print("FOUND", json.dumps(found))
"""


@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="Blender's module bpy is not installed")
@pytest.mark.parametrize(("suffix", "write"), [("glb", write_avatar), ("fbx", write_fbx)])
def test_blender_plays_the_avatars_shape_keys(tmp_path, suffix, write):
    animation = speaking_character()
    write(tmp_path / "face", animation)
    command = [sys.executable, "-c", KEYS, str(tmp_path / f"face.{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(next(line for line in done.splitlines() if line.startswith("FOUND")).removeprefix("FOUND"))
    write_avatar(tmp_path / "own", animation)
    names = Glb(tmp_path / "own.glb").document["meshes"][0]["extras"]["targetNames"]
    assert found["names"] == names
    start = 0 if suffix == "glb" else 1  # Blender's FBX begins at frame 1
    expected = arkit_weights(animation)[:, names.index("jawOpen")]
    np.testing.assert_allclose(found["values"][start:], expected[: 30 - start], atol=5e-3)
    assert found["fps"] == 30
    assert found["range"][1] - found["range"][0] == pytest.approx(29, abs=0.01)
    assert len(found["meshes"]) == len(found["materials"]) == 7
    assert found["images"] == 1
