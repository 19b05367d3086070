"""The curves under the names and in the files of other programs: MetaHuman, Oculus, VRM, Rhubarb, Unity, Godot,
TalkingHead."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT, OCULUS, BlendShapes
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.animation.visemes import rhubarb_cues, viseme_weights, vrm_weights
from learn2talk_core.export.geometry import check_animation, suffixed, write_sound
from learn2talk_core.export.gltf import GlbFile
from learn2talk_core.run.files import whole_file, write_json

CONTROL = "CTRL_expressions_"  # how the curves of a MetaHuman's face begin
_FOUR = ("UL", "UR", "DL", "DR")
# ARKit's shapes as a MetaHuman's controls; L and R are put for the side.
METAHUMAN: dict[str, tuple[str, ...]] = {
    "eyeBlink": ("eyeBlink",), "eyeLookDown": ("eyeLookDown",), "eyeLookUp": ("eyeLookUp",),
    "eyeSquint": ("eyeSquintInner",), "eyeWide": ("eyeWiden",),
    "jawForward": ("jawFwd",), "jawRight": ("jawRight",), "jawLeft": ("jawLeft",), "jawOpen": ("jawOpen",),
    "mouthClose": tuple(f"mouthLipsTogether{place}" for place in _FOUR),
    "mouthFunnel": tuple(f"mouthFunnel{place}" for place in _FOUR),
    "mouthPucker": tuple(f"mouthLips{what}{place}" for what in ("Purse", "Towards") for place in _FOUR),
    "mouthRight": ("mouthRight",), "mouthLeft": ("mouthLeft",),
    "mouthSmile": ("mouthCornerPull",), "mouthFrown": ("mouthCornerDepress",), "mouthDimple": ("mouthDimple",),
    "mouthStretch": ("mouthStretch",),
    "mouthRollLower": ("mouthLowerLipRollInL", "mouthLowerLipRollInR"),
    "mouthRollUpper": ("mouthUpperLipRollInL", "mouthUpperLipRollInR"),
    "mouthShrugLower": ("jawChinRaiseDL", "jawChinRaiseDR"), "mouthShrugUpper": ("jawChinRaiseUL", "jawChinRaiseUR"),
    "mouthPress": ("mouthPressU", "mouthPressD"), "mouthLowerDown": ("mouthLowerLipDepress",),
    "mouthUpperUp": ("mouthUpperLipRaise",),
    "browDown": ("browDown",), "browInnerUp": ("browRaiseInL", "browRaiseInR"), "browOuterUp": ("browRaiseOuter",),
    "cheekPuff": ("mouthCheekBlowL", "mouthCheekBlowR"), "cheekSquint": ("eyeCheekRaise",),
    "noseSneer": ("noseWrinkle",), "tongueOut": ("tongueOut",),
}  # fmt: skip
RELAX = 200.0  # milliseconds in which a TalkingHead comes to rest after the last frame
_TOWARDS = {"InLeft": "RightL", "OutLeft": "LeftL", "InRight": "LeftR", "OutRight": "RightR"}  # of the looks


def metahuman_curves(curves: np.ndarray) -> dict[str, np.ndarray]:
    """ARKit's weights (T, 52) as a MetaHuman's control curves, (T,) by name, all of which begin with `CONTROL`."""
    found: dict[str, np.ndarray] = {}
    for column, name in enumerate(ARKIT):
        side = next((side for side in ("Left", "Right") if name.endswith(side)), "")
        if name.startswith(("eyeLookIn", "eyeLookOut")):
            controls: tuple[str, ...] = (f"eyeLook{_TOWARDS[name.removeprefix('eyeLook')]}",)
        elif name in METAHUMAN:
            controls = METAHUMAN[name]
        else:
            controls = tuple(control + side[0] for control in METAHUMAN[name.removesuffix(side)])
        for control in controls:
            found[CONTROL + control] = curves[:, column]
    return found


def write_metahuman(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM_metahuman.csv` and `.json`: control curves of a MetaHuman's face, a row a frame; and the sound."""
    check_animation(stem, animation)
    curves = metahuman_curves(arkit_weights(animation, shapes))
    return [*_write_curves(stem, "_metahuman", curves, animation.fps), _sound(stem, animation)]


def write_visemes(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM_visemes.csv` and `.json`: weights of the 15 Oculus visemes, a row a frame; and the sound."""
    check_animation(stem, animation)
    weights = viseme_weights(arkit_weights(animation, shapes), animation.fps, animation.phonemes)
    named = {f"viseme_{name}": weights[:, column] for column, name in enumerate(OCULUS)}
    return [*_write_curves(stem, "_visemes", named, animation.fps), _sound(stem, animation)]


def write_rhubarb(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM_rhubarb.tsv`: start in seconds and letter of each mouth shape; the last line is the end."""
    check_animation(stem, animation)
    cues = rhubarb_cues(
        viseme_weights(arkit_weights(animation, shapes), animation.fps, animation.phonemes), animation.fps
    )
    path = suffixed(stem, "_rhubarb.tsv")
    with whole_file(path) as partial, partial.open("w", newline="\n") as out:
        out.writelines(
            f"{start:.2f}\t{letter}\n" for start, letter in [*cues, (len(animation.states) / animation.fps, "X")]
        )
    return [path, _sound(stem, animation)]


def write_vrm(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM.vrma`, a VRM animation (VRMC_vrm_animation 1.0) of the expressions aa, ih, ou, ee, oh and the blinks.

    An expression's weight is the x of a node's translation, as that extension has it.
    """
    check_animation(stem, animation)
    curves = arkit_weights(animation, shapes)
    expressions = vrm_weights(viseme_weights(curves, animation.fps, animation.phonemes), curves)
    file = GlbFile()
    times = file.add(np.arange(len(curves)) / animation.fps, bounds=True)
    samplers = [
        {
            "input": times,
            "output": file.add(np.stack([weight, 0 * weight, 0 * weight], axis=1)),
            "interpolation": "LINEAR",
        }
        for weight in expressions.values()
    ]
    channels = [{"sampler": n, "target": {"node": n, "path": "translation"}} for n in range(len(expressions))]
    path = suffixed(stem, ".vrma")
    file.write(
        path,
        {
            "asset": {"version": "2.0", "generator": "Learn2Talk"},
            "extensionsUsed": ["VRMC_vrm_animation"],
            "extensions": {
                "VRMC_vrm_animation": {
                    "specVersion": "1.0",
                    "expressions": {"preset": {name: {"node": n} for n, name in enumerate(expressions)}},
                }
            },
            "scene": 0,
            "scenes": [{"nodes": list(range(len(expressions)))}],
            "nodes": [{"name": name} for name in expressions],
            "animations": [{"name": "speech", "channels": channels, "samplers": samplers}],
        },
    )
    return [path, _sound(stem, animation)]


def write_unity(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM.anim`, a Unity animation clip of the blend shapes (0 to 100) of the object `skin` of our GLB."""
    check_animation(stem, animation)
    curves = arkit_weights(animation, shapes)
    path = suffixed(stem, ".anim")
    with whole_file(path) as partial, partial.open("w", newline="\n") as out:
        out.write("%YAML 1.1\n%TAG !u! tag:unity3d.com,2011:\n--- !u!74 &7400000\nAnimationClip:\n")
        out.write(f"  m_ObjectHideFlags: 0\n  m_Name: {json.dumps(stem.name)}\n  serializedVersion: 6\n  m_Legacy: 0\n")
        out.write("  m_Compressed: 0\n  m_UseHighQualityCurve: 1\n")
        out.writelines(
            f"  m_{kind}Curves: []\n" for kind in ("Rotation", "CompressedRotation", "Euler", "Position", "Scale")
        )
        out.write("  m_FloatCurves:\n")
        for column, name in enumerate(ARKIT):
            out.write("  - curve:\n      serializedVersion: 2\n      m_Curve:\n")
            for time, value, slope in zip(*_slopes(100 * curves[:, column], animation.fps), strict=True):
                out.write(f"      - serializedVersion: 3\n        time: {time:.6g}\n        value: {value:.4f}\n")
                out.write(f"        inSlope: {slope:.4f}\n        outSlope: {slope:.4f}\n        tangentMode: 0\n")
                out.write("        weightedMode: 0\n        inWeight: 0.33333334\n        outWeight: 0.33333334\n")
            out.write("      m_PreInfinity: 2\n      m_PostInfinity: 2\n      m_RotationOrder: 4\n")
            out.write(
                f"    attribute: blendShape.{name}\n    path: skin\n    classID: 137\n    script: {{fileID: 0}}\n"
            )
        end = (len(curves) - 1) / animation.fps
        out.write(f"  m_PPtrCurves: []\n  m_SampleRate: {animation.fps:g}\n  m_WrapMode: 0\n")
        out.write("  m_AnimationClipSettings:\n    serializedVersion: 2\n    m_StartTime: 0\n")
        out.write(f"    m_StopTime: {end:.6g}\n    m_LoopTime: 0\n  m_EditorCurves: []\n  m_Events: []\n")
    return [path, _sound(stem, animation)]


def write_godot(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM.tres`, a Godot 4 Animation with a blend shape track for each shape of the node `skin` of our GLB."""
    check_animation(stem, animation)
    curves = arkit_weights(animation, shapes)
    times = np.arange(len(curves)) / animation.fps
    path = suffixed(stem, ".tres")
    with whole_file(path) as partial, partial.open("w", newline="\n") as out:
        out.write('[gd_resource type="Animation" format=3]\n\n[resource]\n')
        out.write(f"resource_name = {json.dumps(stem.name)}\nlength = {len(curves) / animation.fps:.6g}\n")
        out.write(f"step = {1 / animation.fps:.9g}\n")
        for column, name in enumerate(ARKIT):
            keys = ", ".join(f"{t:.6g}, 1, {w:.6g}" for t, w in zip(times, curves[:, column], strict=True))
            start = f"tracks/{column}/"
            out.write(f'{start}type = "blend_shape"\n{start}imported = false\n{start}enabled = true\n')
            out.write(f'{start}path = NodePath("skin:{name}")\n{start}interp = 1\n{start}loop_wrap = false\n')
            out.write(f"{start}keys = PackedFloat32Array({keys})\n")
    return [path, _sound(stem, animation)]


def write_talkinghead(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM_talkinghead.json`, an argument of TalkingHead's `speakAudio` (its README, Appendix F), and the sound.

    `dt` holds the milliseconds before each value, 0 before the first. Shapes that do not move are left to its own life.
    """
    check_animation(stem, animation)
    curves = np.round(arkit_weights(animation, shapes), 5)
    steps = [0.0, *[1000 / animation.fps] * (len(curves) - 1), RELAX]
    values = {name: [*curves[:, n].tolist(), 0.0] for n, name in enumerate(ARKIT) if curves[:, n].any()}
    path = suffixed(stem, "_talkinghead.json")
    write_json(path, {"anim": {"name": "speech", "dt": steps, "vs": values}})
    return [path, _sound(stem, animation)]


def _slopes(values: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, values and slopes per second of the keys of a curve."""
    slope = np.gradient(values) * fps if len(values) > 1 else np.zeros(1)
    return np.arange(len(values)) / fps, values, slope


def _write_curves(stem: Path, suffix: str, curves: Mapping[str, np.ndarray], fps: float) -> list[Path]:
    """A CSV with a column of seconds and one for each curve, and the same as JSON."""
    table, file = suffixed(stem, f"{suffix}.csv"), suffixed(stem, f"{suffix}.json")
    columns = np.stack(list(curves.values()), axis=1)
    with whole_file(table) as partial, partial.open("w", newline="\n") as out:
        out.write(",".join(["seconds", *curves]) + "\n")
        row = ",".join(["%.6f"] * (1 + columns.shape[1])) + "\n"
        out.writelines(row % (frame / fps, *numbers) for frame, numbers in enumerate(columns.tolist()))
    write_json(file, {"fps": float(fps), "names": list(curves), "frames": np.round(columns, 6).tolist()})
    return [table, file]


def _sound(stem: Path, animation: Animation) -> Path:
    return write_sound(suffixed(stem, ".wav"), animation)
