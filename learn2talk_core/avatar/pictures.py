"""Pictures to look at: held-out pictures beside the truth, and a turn around the head."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from learn2talk_core.avatar.avatar import Avatar, as_bytes, draw_avatar
from learn2talk_core.avatar.formats import Framing, avatar_view
from learn2talk_core.avatar.views import View, read_picture
from learn2talk_core.run.files import whole_file

COLUMNS = 6


def avatar_sheet(avatar: Avatar, views: Sequence[View], vertices: Callable[[int], np.ndarray]) -> np.ndarray:
    """Three rows (3 S, 6 S, 3) uint8: held-out pictures, the same by the avatar, and a turn around the head at rest."""
    chosen = [views[number] for number in np.linspace(0, len(views) - 1, COLUMNS).astype(int)]
    truth = [read_picture(view) for view in chosen]
    drawn = [as_bytes(draw_avatar(avatar, vertices(view.time), view.camera)) for view in chosen]
    size = truth[0].shape[0]
    fitted = [np.concatenate([cv2.resize(one, (size, size)) for one in row], axis=1) for row in (truth, drawn)]
    return np.concatenate([*fitted, turntable(avatar, size)])


def turntable(avatar: Avatar, size: int) -> np.ndarray:
    """A turn around the head at rest, uint8 (S, 6 S, 3)."""
    turn = Framing(turntable=float(COLUMNS), width=size, height=size)
    views = [avatar_view(avatar, turn, time) for time in range(COLUMNS)]
    return np.concatenate([as_bytes(draw_avatar(avatar, avatar.template, view)) for view in views], axis=1)


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write a PNG from (H, W, 3) uint8 RGB."""
    done, encoded = cv2.imencode(".png", picture[..., ::-1])
    assert done
    with whole_file(path) as partial:
        partial.write_bytes(encoded.tobytes())
