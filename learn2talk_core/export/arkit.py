"""The curves of ARKit's 52 blend shapes as the CSV of Epic's Live Link Face app, and as JSON."""

import json
from pathlib import Path

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT, BlendShapes
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.animation.life import LOOK_DEGREES, SIDES
from learn2talk_core.export.geometry import check_animation, suffixed, write_sound
from learn2talk_core.run.files import whole_file

TURNS = (
    *("HeadYaw", "HeadPitch", "HeadRoll"),
    *(f"{side}Eye{turn}" for side in ("Left", "Right") for turn in ("Yaw", "Pitch", "Roll")),
)


def write_arkit(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM_arkit.csv`, `STEM_arkit.json` and `STEM.wav`; arguments as for `arkit_weights`."""
    check_animation(stem, animation)
    weights = arkit_weights(animation, shapes)
    head = None if animation.pose is None else head_turns(animation)
    return [
        write_arkit_csv(suffixed(stem, "_arkit.csv"), weights, animation.fps, head),
        write_arkit_json(suffixed(stem, "_arkit.json"), weights, animation.fps, head),
        write_sound(suffixed(stem, ".wav"), animation),
    ]


def head_turns(animation: Animation) -> np.ndarray:
    """Yaw, pitch and roll of the head (T, 3) in radians, positive to the speaker's left, up, and to the right shoulder.

    Computed from the face's axes, as other programs do with ARKit's `ARFaceAnchor.transform`: yaw and pitch from the
    direction of z, roll from the tilt of x.
    """
    turn = animation.rigid()[:, :, :3]
    yaw, pitch = np.arctan2(turn[:, 0, 2], turn[:, 2, 2]), np.arcsin(np.clip(turn[:, 1, 2], -1, 1))
    return np.stack([yaw, pitch, np.arctan2(turn[:, 1, 0], turn[:, 1, 1])], axis=1)


def eye_turns(weights: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll of the left, then of the right eye (T, 6) in radians, from the look weights in (T, 52).

    Positive to the speaker's right and down, as in a recording of the app (docs/export.md); eyes do not roll.
    `life.LOOK_DEGREES` holds the angle by which a weight of 1 turns an eye.
    """
    turns = np.zeros((len(weights), 2, 3))
    for number, side in enumerate(SIDES):
        looks = {
            look: np.radians(degrees) * weights[:, ARKIT.index(f"eyeLook{look}{side}")]
            for look, degrees in LOOK_DEGREES.items()
        }
        inwards = looks["In"] - looks["Out"]
        turns[:, number, 0] = inwards if side == "Left" else -inwards
        turns[:, number, 1] = looks["Down"] - looks["Up"]
    return turns.reshape(-1, 6)


def write_arkit_csv(path: str | Path, weights: np.ndarray, fps: float, head: np.ndarray | None = None) -> Path:
    """Write `arkit_weights` in the layout of Live Link Face's recordings; returns the path.

    Columns: Timecode (hours:minutes:seconds:frames from the sound's start, frames with three decimals),
    BlendShapeCount (61), the 52 weights, three angles of the head (`head_turns`; zero if `head` is None) and three of
    each eye (`eye_turns`).
    """
    header = ",".join(["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in ARKIT), *TURNS])
    head = np.zeros((len(weights), 3)) if head is None else head
    columns = np.concatenate([weights, head, eye_turns(weights)], axis=1)
    row = f"%s,{len(ARKIT) + len(TURNS)}," + ",".join(["%.6f"] * columns.shape[1]) + "\n"
    with whole_file(path) as partial, partial.open("w", newline="\n") as out:
        out.write(header + "\n")
        out.writelines(row % (timecode(frame, fps), *numbers.tolist()) for frame, numbers in enumerate(columns))
    return Path(path)


def write_arkit_json(path: str | Path, weights: np.ndarray, fps: float, head: np.ndarray | None = None) -> Path:
    """Write `arkit_weights` as `{"fps": fps, "names": [52], "frames": [[52], …]}`; returns the path.

    With `head`, which `head_turns` returns, there is also `"head": [[yaw, pitch, roll], …]` in radians.
    """
    row = "[" + ",".join(["%.6f"] * len(ARKIT)) + "]"
    with whole_file(path) as partial, partial.open("w", newline="\n") as out:
        out.write(json.dumps({"fps": float(fps), "names": ARKIT})[:-1] + ', "frames": [')
        out.writelines(",\n" * (frame > 0) + row % tuple(numbers.tolist()) for frame, numbers in enumerate(weights))
        out.write("]" if head is None else f'], "head": {json.dumps(np.round(head, 6).tolist())}')
        out.write("}\n")
    return Path(path)


def timecode(frame: int, fps: float) -> str:
    """The time of a frame as hours:minutes:seconds:frames."""
    seconds = int(frame / fps + 1e-9)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{max(frame - seconds * fps, 0):06.3f}"
