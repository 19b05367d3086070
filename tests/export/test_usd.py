import importlib.util
import re
import tracemalloc

import numpy as np
import pytest

from learn2talk_core.export.usd import write_usd
from learn2talk_core.run.errors import BadInput
from tests.export.scene import nodding_sphere, speaking_character, speaking_sphere, spoilt


def numbers(text: str) -> np.ndarray:
    return np.array(re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text), np.float64)


def field(text: str, name: str) -> str:
    """The value assigned to `name`, which must occur once."""
    (found,) = re.findall(rf"^\s*(?:uniform )?[\w\[\]]* ?{re.escape(name)} = (.*)$", text, re.M)
    return found


def samples(text: str, name: str) -> dict[int, np.ndarray]:
    """Time code → (n, 3)."""
    body = re.search(rf"{re.escape(name)}\.timeSamples = {{\n(.*?)\n\s*}}", text, re.S)[1]
    found = {}
    for line in body.splitlines():
        time, values = re.fullmatch(r"\s*(\d+): \[(.*)\],", line).groups()
        assert re.fullmatch(r"\((-?[\d.]+, ){2}-?[\d.]+\)(, \((-?[\d.]+, ){2}-?[\d.]+\))*", values)
        found[int(time)] = numbers(values).reshape(-1, 3)
    return found


@pytest.mark.parametrize("frames", [1, 37])  # fewer and more than are in memory at a time
def test_every_frame_and_the_mesh_are_in_the_text(tmp_path, frames):
    animation = speaking_sphere(frames, fps=25)
    assert write_usd(tmp_path / "face", animation) == [tmp_path / "face.usda", tmp_path / "face.wav"]
    text = (tmp_path / "face.usda").read_text()
    assert text.startswith("#usda 1.0\n")
    points = samples(text, "points")
    assert list(points) == list(range(frames))
    np.testing.assert_allclose(np.stack(list(points.values())), animation.vertices(), atol=1e-4 / 250)
    extents = samples(text, "extent")
    for number, extent in extents.items():
        np.testing.assert_allclose(extent, [points[number].min(axis=0), points[number].max(axis=0)], atol=1e-9)
    assert (numbers(field(text, "faceVertexCounts")) == 3).all()
    np.testing.assert_array_equal(numbers(field(text, "faceVertexIndices")).reshape(-1, 3), animation.topology.faces)
    assert text.count("{") == text.count("}")
    assert text.count("(") == text.count(")")


def test_times_units_and_sound(tmp_path):
    write_usd(tmp_path / "face", speaking_sphere(9, fps=29.97))
    text = (tmp_path / "face.usda").read_text()
    head = {name: field(text, name) for name in ("startTimeCode", "endTimeCode", "timeCodesPerSecond", "upAxis")}
    assert head == {"startTimeCode": "0", "endTimeCode": "8", "timeCodesPerSecond": "29.97", "upAxis": '"Y"'}
    assert field(text, "metersPerUnit") == "0.25"
    assert field(text, "filePath") == "@./face.wav@"
    assert field(text, "startTime") == "0"
    write_usd(tmp_path / "me@home", speaking_sphere(1))
    assert field((tmp_path / "me@home.usda").read_text(), "filePath") == "@@@./me@home.wav@@@"


@pytest.mark.parametrize("frames", [1, 37])
def test_the_head_is_a_transform_of_its_own(tmp_path, frames):
    animation = nodding_sphere(frames)
    write_usd(tmp_path / "face", animation)
    text = (tmp_path / "face.usda").read_text()
    points = np.stack(list(samples(text, "points").values()))
    np.testing.assert_allclose(points, animation.unposed().vertices(), atol=1e-4 / 250)
    assert field(text, "xformOpOrder") == '["xformOp:transform:head"]'
    body = re.search(r"matrix4d xformOp:transform:head\.timeSamples = {\n(.*?)\n\s*}", text, re.S)[1]
    times, matrices = zip(*(line.split(":", 1) for line in body.splitlines()), strict=True)
    assert [int(time) for time in times] == list(range(frames))
    matrix = np.stack([numbers(text).reshape(4, 4) for text in matrices])  # USD multiplies rows from the left
    whole = np.concatenate([points, np.ones((frames, 642, 1))], axis=2) @ matrix
    np.testing.assert_allclose(whole[:, :, :3], animation.vertices(), atol=1e-5)
    np.testing.assert_array_equal(whole[:, :, 3], 1)
    assert "xformOp" not in write_usd(tmp_path / "still", animation.unposed())[0].read_text()


def test_memory_does_not_grow_with_the_frames(tmp_path):
    write_usd(tmp_path / "face", speaking_sphere())  # warm-up: compiles the formatting
    peaks = []
    for frames in (50, 400):
        animation = spoilt(speaking_sphere(frames), wave=np.zeros(100, np.float32))
        tracemalloc.start()
        write_usd(tmp_path / "face", animation)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    grown = 350 * 642 * 3 * 4  # bytes of the vertices of all frames
    assert peaks[1] - peaks[0] < 0.05 * grown


def test_nothing_is_written_of_what_is_not_finite(tmp_path):
    broken = spoilt(speaking_sphere(), template=np.full((642, 3), np.nan, np.float32))
    with pytest.raises(BadInput, match=r"face\.usda: expected finite numbers, found NaN or infinity in template"):
        write_usd(tmp_path / "face", broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("pxr") is None, reason="usd-core is not installed")
@pytest.mark.parametrize("make", [speaking_sphere, speaking_character])
def test_usd_binds_the_material(tmp_path, make):
    from pxr import Usd, UsdGeom, UsdShade

    animation = make(frames=3)
    write_usd(tmp_path / "face", animation)
    stage = Usd.Stage.Open(str(tmp_path / "face.usda"))
    prim = stage.GetPrimAtPath("/Face/Head")
    material, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()
    surface = material.ComputeSurfaceSource()[0]
    assert surface.GetIdAttr().Get() == "UsdPreviewSurface"
    source = surface.GetInput("diffuseColor").GetConnectedSource()[0].GetPrim().GetName()
    if animation.look is None:
        assert source == "Reader"
        return
    assert source == "Texture"
    file = stage.GetPrimAtPath("/Face/Looks/Skin/Texture").GetAttribute("inputs:file").Get()
    assert (tmp_path / file.path).read_bytes() == animation.look.encoded
    uv = UsdGeom.PrimvarsAPI(prim).GetPrimvar("st")
    assert uv.GetInterpolation() == "faceVarying"
    np.testing.assert_allclose(np.array(uv.Get()).reshape(-1, 3, 2), animation.look.uv, atol=1e-5)
    points = UsdGeom.Mesh(prim).GetPointsAttr()
    for frame, vertices in enumerate(animation.vertices()):  # shoulders stay, so the points hold the head's motion
        np.testing.assert_allclose(np.array(points.Get(frame)), vertices, atol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("pxr") is None, reason="usd-core is not installed")
def test_usd_reads_the_same(tmp_path):
    from pxr import Gf, Usd, UsdGeom

    animation = nodding_sphere(5)
    write_usd(tmp_path / "face", animation)
    stage = Usd.Stage.Open(str(tmp_path / "face.usda"))
    assert (stage.GetTimeCodesPerSecond(), stage.GetEndTimeCode()) == (30, 4)
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/Face/Head"))
    for frame, vertices in enumerate(animation.vertices()):
        matrix = mesh.ComputeLocalToWorldTransform(frame)
        shown = [matrix.Transform(Gf.Vec3d(*map(float, point))) for point in mesh.GetPointsAttr().Get(frame)]
        np.testing.assert_allclose(np.array(shown), vertices, atol=1e-5)
