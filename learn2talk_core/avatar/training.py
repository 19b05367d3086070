"""Train a splat avatar on pictures from many cameras.

Losses, rates and density control are those of Qian et al. 2024 (§3.3, §3.4, and the settings of their code), with far
fewer steps. Of their regularisers, one keeps a splat within one size of its triangle, the other below 0.6 sizes.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.avatar.avatar import WHITE, Avatar, as_bytes, draw_avatar
from learn2talk_core.avatar.binding import (
    BoundSplats,
    TriangleFrames,
    in_world,
    take,
    triangle_frames,
)
from learn2talk_core.avatar.density import RESET_OPACITY, Pull, densify, prune
from learn2talk_core.avatar.refining import RefinedMotion
from learn2talk_core.avatar.start import covered_pixels, start_counts, start_splats
from learn2talk_core.avatar.views import View, read_picture
from learn2talk_core.render.pinhole import Pinhole
from learn2talk_core.render.splats import draw_splats
from learn2talk_core.run.seed import generator
from learn2talk_core.run.stage import peak_memory_mb
from learn2talk_core.statistics.ssim import ssim
from learn2talk_core.training.loop import Stateful, train
from learn2talk_core.training.scratch import Scratch

RATES = {"scale": 0.017, "rotation": 0.001, "opacity": 0.05, "base": 0.0025, "rest": 0.0025 / 20}
POSITION_RATES = 5e-3, 5e-5  # at the first and at the last step
SSIM_SHARE = 0.2
FARTHEST, POSITION_WEIGHT = 1.0, 0.01
LARGEST, SCALE_WEIGHT = 0.6, 1.0
LEAST_OPACITY = 0.005  # of a splat that is kept
KEPT_BYTES = 1 << 29  # of pictures in memory
LOOKED_AT = 400  # about as many pictures tell how large triangles are seen
REPEATS = 5  # of what is timed


@dataclass(frozen=True)
class AvatarSchedule:
    """How an avatar is trained; in brackets the paper's values.

    Attributes:
        steps: pictures that are drawn (600,000).
        degree_every: steps after which one more degree of spherical harmonics is used (1000).
        densify_from, densify_until, densify_every: density control in these steps (10,000, 600,000, 2000).
        degree: of the spherical harmonics in the end (3).
        threshold: pull in the picture above which splats are cloned or split (2e-4).
        most: largest number of splats (no limit).
        reset_every: steps after which opacities are reset, 0 for never (60,000).
        refine: factor on the rates at which FLAME's tracked parameters are refined (1); 0 leaves them.
        seed: of everything random.
    """

    steps: int
    degree_every: int
    densify_from: int
    densify_until: int
    densify_every: int
    degree: int = 3
    threshold: float = 2e-4
    most: int = 40_000
    reset_every: int = 0
    refine: float = 1.0
    seed: int = 0


def shortened(steps: int, *, most: int, seed: int, refine: float = 1.0) -> AvatarSchedule:
    """A schedule for this number of steps: one more degree after each eighth, density control from a sixth to two
    thirds of them."""
    return AvatarSchedule(
        steps=steps,
        degree_every=max(1, steps // 8),
        densify_from=steps // 6,
        densify_until=2 * steps // 3,
        densify_every=max(20, steps // 30),
        most=most,
        refine=refine,
        seed=seed,
    )


class GrowingSplats:
    """The splats in training and their optimiser; both can be resized and saved."""

    def __init__(self, splats: BoundSplats) -> None:
        self.splats = splats
        self.pull = Pull.none(len(splats.position))
        self._set(splats)

    def _set(self, splats: BoundSplats) -> None:
        parts = {name: nn.Parameter(part.detach().clone()) for name, part in _trained(splats)}
        self.splats = splats._replace(**parts)
        rates = {"position": POSITION_RATES[0], **RATES}
        groups = [{"params": [part], "lr": rates[name], "name": name} for name, part in parts.items()]
        self.optimiser = torch.optim.Adam(groups, eps=1e-15)

    def step(self, share: float) -> None:
        """One step of Adam on the gradients; `share` in 0..1 of the training is done."""
        first, last = POSITION_RATES
        self.optimiser.param_groups[0]["lr"] = first * (last / first) ** share
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def replace(self, splats: BoundSplats, past: Tensor) -> None:
        """Go on with other splats; `past` (N,) has the numbers of the old ones, −1 for those without moments."""
        old = {name: self.optimiser.state[part] for name, part in _trained(self.splats)}
        self._set(splats)
        for name, part in _trained(self.splats):
            if old[name]:
                self.optimiser.state[part] = {"step": old[name]["step"]}
                for moment in ("exp_avg", "exp_avg_sq"):
                    values = old[name][moment][past.clamp_min(0)]
                    values[past < 0] = 0
                    self.optimiser.state[part][moment] = values
        self.pull = Pull.none(len(past))

    def state_dict(self) -> dict[str, Any]:
        return {
            "splats": {name: part.detach() for name, part in self.splats._asdict().items()},
            "optimiser": self.optimiser.state_dict(),
            "pull": [self.pull.total, self.pull.squares],
        }

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self._set(BoundSplats(**state_dict["splats"]))
        self.optimiser.load_state_dict(state_dict["optimiser"])
        self.pull = Pull(*state_dict["pull"])


def _trained(splats: BoundSplats) -> list[tuple[str, Tensor]]:
    return [(name, part) for name, part in splats._asdict().items() if name != "triangle"]


def train_splats(
    views: Sequence[View],
    vertices: Callable[[int], np.ndarray],
    faces: np.ndarray,
    protected: np.ndarray,
    schedule: AvatarSchedule,
    scratch: Scratch,
    *,
    tracked: RefinedMotion | None = None,
) -> tuple[BoundSplats, list[dict[str, float]]]:
    """Fit splats to the pictures.

    Args:
        views: the training pictures.
        vertices: the mesh (V, 3) at a moment.
        faces: (F, 3) its triangles.
        protected: (F,) bool, triangles that must keep a splat.
        schedule: how long, how many.
        scratch: where checkpoints go.
        tracked: refined with the splats, and used instead of `vertices`.

    Returns:
        The splats, and a row of values for each step.
    """
    triangles, kept = torch.from_numpy(np.asarray(faces, np.int64)), torch.from_numpy(protected)
    seen = covered_pixels(views[:: max(1, len(views) // LOOKED_AT)], vertices, faces)
    counts = start_counts(seen, protected, schedule.most)
    template = vertices(min(view.time for view in views))
    growing = GrowingSplats(start_splats(template, faces, counts, schedule.degree))
    extent = scene_extent(views)
    largest = max(3 * view.camera.height * view.camera.width for view in views)

    @lru_cache(maxsize=256)
    def frames(time: int) -> TriangleFrames:
        return triangle_frames(torch.from_numpy(vertices(time)), triangles)

    @lru_cache(maxsize=KEPT_BYTES // largest)
    def picture(number: int) -> Tensor:
        return torch.from_numpy(read_picture(views[number]))

    def step(index: int) -> dict[str, float]:
        number = int(generator(schedule.seed, "picture", index).integers(len(views)))
        view, target = views[number], picture(number).float() / 255
        place = frames(view.time) if tracked is None else triangle_frames(tracked.vertices(view.time), triangles)
        degree = min(schedule.degree, index // schedule.degree_every)
        image, loss = _pulled(growing, place, view.camera, target, degree)
        growing.step(index / schedule.steps)
        if tracked is not None:
            tracked.step()
            place = TriangleFrames(*(part.detach() for part in place))
        _control(growing, place, kept, extent, schedule, index + 1)
        error = float((image.clamp(0, 1) - target).square().mean())
        return {"loss": loss, "psnr": decibels(error), "splats": float(len(growing.splats.position))}

    state: dict[str, Stateful] = {"splats": growing}
    if tracked is not None:
        state["tracked"] = tracked
    history = train(
        step, state, steps=schedule.steps, seed=schedule.seed, scratch=scratch,
        description="avatar", shown=("psnr", "splats"),
    )  # fmt: skip
    return BoundSplats(*(part.detach() for part in growing.splats)), history


def _pulled(
    growing: GrowingSplats, frames: TriangleFrames, view: Pinhole, target: Tensor, degree: int
) -> tuple[Tensor, float]:
    """Draw one picture, and let the loss pull at everything; returns the picture and the loss."""
    shift = torch.zeros(len(growing.splats.position), 2, requires_grad=True)
    drawn = draw_splats(in_world(growing.splats, frames, view, degree=degree), view, WHITE, shift=shift)
    loss = picture_loss(drawn.image, target) + regulariser(growing.splats, drawn.visible)
    loss.backward()
    assert shift.grad is not None
    growing.pull.add(shift.grad, drawn.visible, view.width)
    return drawn.image.detach(), float(loss.detach())


def measure_speed(avatar: Avatar, views: Sequence[View], vertices: Callable[[int], np.ndarray]) -> dict[str, float]:
    """Speed at the size of the largest picture, with the finished splats: `frames_per_second` of drawing from vertices
    to bytes, `training_pictures_per_second`, both the fastest of some; `height` and `width`; and the largest memory of
    this process so far, `peak_memory_mb`."""
    view = max(views, key=lambda one: one.camera.height * one.camera.width)  # close-ups are smaller
    moved, target = vertices(view.time), read_picture(view)
    frames = triangle_frames(torch.from_numpy(moved), torch.from_numpy(avatar.faces).long())
    growing, wanted = GrowingSplats(avatar.splats), torch.from_numpy(target).float() / 255

    def drawn() -> None:
        as_bytes(draw_avatar(avatar, moved, view.camera))

    def trained() -> None:
        _pulled(growing, frames, view.camera, wanted, avatar.degree)
        growing.step(1.0)

    return {
        "frames_per_second": 1 / _fastest(drawn),
        "training_pictures_per_second": 1 / _fastest(trained),
        "height": view.camera.height,
        "width": view.camera.width,
        "peak_memory_mb": peak_memory_mb(),
    }


def _fastest(work: Callable[[], None]) -> float:
    """Seconds of the fastest of a few calls."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def picture_loss(image: Tensor, target: Tensor) -> Tensor:
    """0.8 · mean absolute error + 0.2 · (1 − SSIM)."""
    return (1 - SSIM_SHARE) * (image - target).abs().mean() + SSIM_SHARE * (1 - ssim(image, target))


def regulariser(splats: BoundSplats, visible: Tensor) -> Tensor:
    """Penalty on visible splats that are far from their triangle or larger than it; both in sizes of the triangle."""
    far = (splats.position[visible].norm(dim=1) - FARTHEST).clamp_min(0).mean()
    large = (splats.scale[visible].exp() - LARGEST).clamp_min(0).norm(dim=1).mean()
    return POSITION_WEIGHT * far + SCALE_WEIGHT * large if visible.any() else far.new_zeros(())


def scene_extent(views: Sequence[View]) -> float:
    """1.1 times the largest distance of a camera from their mean, as Kerbl et al. define it; from the origin if there
    is one camera only."""
    places = np.array([view.camera.position for view in views])
    middle = places.mean(axis=0) if len(np.unique(places.round(6), axis=0)) > 1 else 0
    return 1.1 * float(np.linalg.norm(places - middle, axis=1).max())


def _control(
    growing: GrowingSplats,
    frames: TriangleFrames,
    protected: Tensor,
    extent: float,
    schedule: AvatarSchedule,
    done: int,
) -> None:
    """Density control after `done` steps."""
    if schedule.densify_from < done <= schedule.densify_until and done % schedule.densify_every == 0:
        plain = BoundSplats(*(part.detach() for part in growing.splats))
        splats, past = densify(
            plain, frames, growing.pull.mean, threshold=schedule.threshold, extent=extent, most=schedule.most
        )
        large = 0 < schedule.reset_every < done
        stays = prune(splats, frames, protected, least=LEAST_OPACITY, extent=extent, large=large)
        growing.replace(take(splats, stays), past[stays])
    if schedule.reset_every and done % schedule.reset_every == 0 and done < schedule.densify_until:
        ceiling = math.log(RESET_OPACITY / (1 - RESET_OPACITY))
        with torch.no_grad():
            growing.splats.opacity.clamp_(max=ceiling)
        growing.optimiser.state.pop(growing.splats.opacity, None)


def judge_views(avatar: Avatar, views: Sequence[View], vertices: Callable[[int], np.ndarray]) -> dict[str, float]:
    """Means over pictures: PSNR of the whole picture and of the head in dB, SSIM, and sharpness.

    The head is where the true picture is not white. Sharpness is the mean length of the picture's gradient relative to
    that of the true picture: 1 is as sharp, less is blurred.
    """
    rows = []
    for view in views:
        truth = read_picture(view)
        drawn = as_bytes(draw_avatar(avatar, vertices(view.time), view.camera))
        a, b = (torch.from_numpy(some).float() / 255 for some in (drawn, truth))
        head = torch.from_numpy((truth < 250).any(axis=2))
        squares = (a - b).square()
        rows.append({
            "psnr_db": decibels(float(squares.mean())),
            "psnr_head_db": decibels(float(squares[head].mean())) if head.any() else float("nan"),
            "ssim": float(ssim(a, b)),
            "sharpness": _edges(a) / max(_edges(b), 1e-9),
        })  # fmt: skip
    return {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}


def decibels(squared_error: float) -> float:
    """PSNR of colours in 0..1, at most 100 dB."""
    return -10 * math.log10(max(squared_error, 1e-10))


def _edges(image: Tensor) -> float:
    down, across = image[1:, :-1] - image[:-1, :-1], image[:-1, 1:] - image[:-1, :-1]
    return float((down.square() + across.square()).sum(-1).sqrt().mean())
