"""USD as text (.usda): the mesh with its points at every frame, and the sound.

Written frame by frame, so memory does not grow with length. The file does: about 5 MB for each second, with 4,800
vertices at 30 fps. Points are rounded to 1e-4 mm.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.export.geometry import check_animation, linear_light, suffixed, write_sound
from learn2talk_core.export.text import decimals, triples
from learn2talk_core.run.files import whole_file

CHUNK = 16  # frames in memory at a time


def write_usd(stem: Path, animation: Animation) -> list[Path]:
    """Write `STEM.usda` and `STEM.wav`; with a texture also `STEM_texture.jpg`.

    Coordinates are in the template's unit, given as `metersPerUnit`; y up. Time code t is frame t; the sound begins at
    time code 0. The points are those of a head that does not move; head motion is a transform of the mesh,
    `xformOp:transform:head`. If shoulders stay while the head moves, the points contain its motion. A material with the
    texture, or with the colours of the vertices, is bound to the mesh.

    Returns:
        The paths.

    Raises:
        BadInput: no frames, NaN or infinite values, or a path that cannot be written.
    """
    path, sound = suffixed(stem, ".usda"), suffixed(stem, ".wav")
    check_animation(path, animation)
    written = [path, sound]
    texture = None
    if animation.look is not None:
        texture = suffixed(stem, "_texture.jpg")
        with whole_file(texture) as partial:
            partial.write_bytes(animation.look.encoded)
        written.append(texture)
    with whole_file(path) as partial, partial.open("wb") as out:
        name = None if texture is None else texture.name
        out.writelines(_pieces(animation, sound.name, name, decimals(animation.mm_per_unit)))
    write_sound(sound, animation)
    return written


def _pieces(animation: Animation, sound: str, texture: str | None, places: int) -> Iterator[bytes]:
    faces, frames = animation.topology.faces, len(animation.states)
    yield f"""#usda 1.0
(
    defaultPrim = "Face"
    endTimeCode = {frames - 1}
    framesPerSecond = {animation.fps:.12g}
    metersPerUnit = {animation.mm_per_unit / 1000:.12g}
    startTimeCode = 0
    timeCodesPerSecond = {animation.fps:.12g}
    upAxis = "Y"
)

def Xform "Face" (
    kind = "component"
)
{{
    def Mesh "Head" (
        prepend apiSchemas = ["MaterialBindingAPI"]
    )
    {{
        rel material:binding = </Face/Looks/Skin>
        uniform token orientation = "rightHanded"
        uniform token subdivisionScheme = "none"
        int[] faceVertexCounts = [{", ".join(["3"] * len(faces))}]
        int[] faceVertexIndices = [{", ".join(map(str, faces.ravel().tolist()))}]
        color3f[] primvars:displayColor = [""".encode()
    yield _tuples(linear_light(animation.topology.colours), 6)
    yield b'] (\n            interpolation = "vertex"\n        )\n'
    if animation.look is not None:
        pairs = ", ".join(f"({u:.6g}, {v:.6g})" for u, v in animation.look.uv.reshape(-1, 2).tolist())
        yield f"        texCoord2f[] primvars:st = [{pairs}] (\n".encode()
        yield b'            interpolation = "faceVarying"\n        )\n'
    yield b"        point3f[] points = ["
    yield _tuples(animation.template, places)
    yield b"]\n        point3f[] points.timeSamples = {\n"
    extents = []
    apart = animation.pose is not None and animation.follow is None  # a transform can hold the head's motion
    still = animation.unposed() if apart else animation
    for first in range(0, frames, CHUNK):
        for number, vertices in enumerate(still.vertices(slice(first, first + CHUNK)), first):
            extents.append(np.stack([vertices.min(axis=0), vertices.max(axis=0)]))
            yield b"            %d: [" % number + _tuples(vertices, places) + b"],\n"
    yield b"        }\n        float3[] extent.timeSamples = {\n"
    for number, extent in enumerate(extents):
        yield b"            %d: [" % number + _tuples(extent, places) + b"],\n"
    if apart:
        yield b"        }\n        matrix4d xformOp:transform:head.timeSamples = {\n"
        for number, rigid in enumerate(animation.rigid()):
            rows = [[*column, 0] for column in rigid[:, :3].T.tolist()] + [[*rigid[:, 3].tolist(), 1]]  # row vectors
            yield f"            {number}: ({', '.join(str(tuple(row)) for row in rows)}),\n".encode()
        yield b'        }\n        uniform token[] xformOpOrder = ["xformOp:transform:head"]\n'
    else:
        yield b"        }\n"
    yield f"""    }}

{_material(texture)}
    def SpatialAudio "Speech"
    {{
        uniform token auralMode = "nonSpatial"
        uniform asset filePath = {_asset(sound)}
        uniform token playbackMode = "onceFromStart"
        uniform timecode startTime = 0
    }}
}}
""".encode()


def _asset(name: str) -> str:
    """A file beside this one, in USD's quotes for a path that contains @ or does not."""
    at = "@@@" if "@" in name else "@"
    return f"{at}./{name}{at}"


def _material(texture: str | None) -> str:
    """A preview surface whose colour is the texture, or the colours of the vertices."""
    reads = "float2" if texture is not None else "float3"
    name = "st" if texture is not None else "displayColor"
    colour = (
        "</Face/Looks/Skin/Texture.outputs:rgb>" if texture is not None else "</Face/Looks/Skin/Reader.outputs:result>"
    )
    image = (
        ""
        if texture is None
        else f"""
            def Shader "Texture"
            {{
                uniform token info:id = "UsdUVTexture"
                asset inputs:file = {_asset(texture)}
                float2 inputs:st.connect = </Face/Looks/Skin/Reader.outputs:result>
                token inputs:sourceColorSpace = "sRGB"
                float3 outputs:rgb
            }}
"""
    )
    return f"""    def Scope "Looks"
    {{
        def Material "Skin"
        {{
            token outputs:surface.connect = </Face/Looks/Skin/Surface.outputs:surface>

            def Shader "Surface"
            {{
                uniform token info:id = "UsdPreviewSurface"
                color3f inputs:diffuseColor.connect = {colour}
                float inputs:roughness = 0.55
                token outputs:surface
            }}

            def Shader "Reader"
            {{
                uniform token info:id = "UsdPrimvarReader_{reads}"
                string inputs:varname = "{name}"
                {reads} outputs:result
            }}
{image}        }}
    }}
"""


def _tuples(numbers: np.ndarray, decimals: int) -> bytes:
    """Format (n, 3) numbers as `(x, y, z), …`."""
    return triples(numbers, decimals, start=b"(", between=b", ", end=b"), ")[:-2]
