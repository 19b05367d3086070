"""Blender's import of our files, if its Python module is installed: pip install bpy."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from learn2talk_core.export.gltf import write_gltf
from learn2talk_core.export.usd import write_usd
from tests.export.scene import nodding_sphere, speaking_sphere

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
