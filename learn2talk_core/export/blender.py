"""Whether Blender's Python module is installed: pip install bpy. Light to import: asked before anything is loaded."""

from importlib.util import find_spec

from learn2talk_core.run.errors import BadInput


def need_blender() -> None:
    """Raise `BadInput` if the format `fbx` cannot be written."""
    if find_spec("bpy") is None:
        fix = "pip install bpy (of the same Python version), or import the glb into your program."
        raise BadInput("fbx", expected="Blender's Python module", found="none installed", fix=fix)
