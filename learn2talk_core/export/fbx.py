"""FBX by Blender's own exporter, where its Python module is installed: pip install bpy."""

import subprocess
import sys
import tempfile
from pathlib import Path

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import BlendShapes
from learn2talk_core.export.avatar import write_avatar
from learn2talk_core.export.blender import need_blender
from learn2talk_core.export.geometry import suffixed, write_sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file

CONVERT = """
import sys, bpy
source, target, fps, frames = sys.argv[-4:]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = max(1, round(float(fps)))
scene.render.fps_base = scene.render.fps / float(fps)
bpy.ops.import_scene.gltf(filepath=source)
for thing in [o for o in bpy.data.objects if o.type == "MESH" and not o.data.materials]:
    bpy.data.objects.remove(thing)  # the importer's picture of a bone
scene.frame_start, scene.frame_end = 0, int(frames) - 1
bpy.ops.export_scene.fbx(filepath=target, bake_anim=True, bake_anim_use_all_actions=False,
                         bake_anim_use_nla_strips=False, bake_anim_simplify_factor=0.0, add_leaf_bones=False,
                         path_mode="COPY", embed_textures=True)
"""


def write_fbx(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM.fbx` with the targets, curves and texture of `write_avatar`, and `STEM.wav`.

    Raises:
        BadInput: Blender's module is not installed or fails; and as `write_avatar`.
    """
    path = suffixed(stem, ".fbx")
    need_blender()
    with tempfile.TemporaryDirectory() as folder, whole_file(path) as partial:
        glb, _ = write_avatar(Path(folder) / "avatar", animation, shapes)
        made = Path(folder) / "avatar.fbx"
        words = [str(glb), str(made), repr(float(animation.fps)), str(len(animation.states))]
        done = subprocess.run([sys.executable, "-c", CONVERT, *words], capture_output=True, text=True, check=False)
        if not made.is_file():
            found = (done.stderr.strip().splitlines() or ["no file"])[-1]
            raise BadInput("fbx", expected="Blender to convert the avatar", found=found, fix="Check the installation.")
        partial.write_bytes(made.read_bytes())
    return [path, write_sound(suffixed(stem, ".wav"), animation)]
