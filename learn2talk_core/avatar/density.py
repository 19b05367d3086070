"""Density control: more splats where the picture needs them, fewer where they do nothing.

After Kerbl et al. 2023, §5: a splat whose centre is pulled strongly in the image is cloned if it is small and split in
two if it is large; nearly transparent ones are removed. As in GaussianAvatars (Qian et al. 2024, §3.3), new splats
inherit the triangle, and a protected triangle keeps its most opaque splat: eyelids and teeth, which are seldom seen,
would vanish.

Training is short here, so splats are split down to two pixels of our pictures, a fifth of the size at which Kerbl et
al. begin to clone instead: the clone of a large splat needs many steps to become smaller.

When a splat is split, its halves are drawn from the splat's own Gaussian in the triangle's frame. (GaussianAvatars
draws them with the size in the world, although its positions are in sizes of the triangle.)
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from learn2talk_core.avatar.binding import BoundSplats, TriangleFrames, take
from learn2talk_core.run.errors import BadInput

SPLIT_SHRINKS = 1.6  # a half's scale is the splat's divided by this (2 · 0.8)
SMALL = 0.002  # of the scene's extent: splats up to this size are cloned, larger ones split (Kerbl et al.: 0.01)
TOO_LARGE = 0.1  # of the scene's extent
RESET_OPACITY = 0.01


@dataclass
class Pull:
    """How strongly the pictures pull at each splat: sums over pictures of the pull and of its square, both (N,)."""

    total: Tensor
    squares: Tensor

    @staticmethod
    def none(count: int) -> "Pull":
        """Nothing seen yet."""
        return Pull(torch.zeros(count), torch.zeros(count))

    def add(self, shift: Tensor, visible: Tensor, width: int) -> None:
        """Add one picture: `shift` (N, 2) is the gradient of the loss by the centre in pixels; it is counted in half
        widths of the picture, as Kerbl et al. do."""
        pull = torch.where(visible, shift.norm(dim=1) * width / 2, 0)
        self.total += pull
        self.squares += pull.square()

    @property
    def mean(self) -> Tensor:
        """(N,) mean over the pictures, each weighted by the pull itself. Kerbl et al. take the plain mean over the
        pictures that the splat lies in, also those in which others hide it: what is seen seldom, such as teeth, would
        never be pulled enough."""
        return self.squares / self.total.clamp_min(1e-12)


def densify(
    bound: BoundSplats, frames: TriangleFrames, pull: Tensor, *, threshold: float, extent: float, most: int
) -> tuple[BoundSplats, Tensor]:
    """Clone and split.

    Args:
        bound: the splats.
        frames: of the triangles, for the size of a splat in the world.
        pull: (N,) mean pull on each splat.
        threshold: splats that are pulled more are cloned or split.
        extent: of the scene, in the unit of the world.
        most: no more splats than this; those pulled most come first.

    Returns:
        The new splats; and for each the number of the old one that it is, or −1 for one without a past.
    """
    count = len(bound.position)
    wanted = torch.argsort(pull, descending=True, stable=True)[: max(0, most - count)]
    wanted = wanted[pull[wanted] > threshold]
    size = (frames.size[bound.triangle, None] * bound.scale.exp()).amax(dim=1)
    large = size[wanted] > SMALL * extent
    cloned, split = wanted[~large], wanted[large]
    stays = torch.ones(count, dtype=torch.bool)
    stays[split] = False
    halves = take(bound, split.repeat(2))
    spread = halves.scale.exp() * torch.randn_like(halves.scale)
    halves = halves._replace(
        position=halves.position + turned(halves.rotation, spread), scale=halves.scale - math.log(SPLIT_SHRINKS)
    )
    parts = [take(bound, stays), take(bound, cloned), halves]
    past = torch.cat([torch.nonzero(stays)[:, 0], torch.full((len(cloned) + len(halves.position),), -1)])
    return BoundSplats(*(torch.cat(some) for some in zip(*parts, strict=True))), past


def prune(
    bound: BoundSplats, frames: TriangleFrames, protected: Tensor, *, least: float, extent: float, large: bool
) -> Tensor:
    """(N,) bool, the splats that stay: those with an opacity of `least` or more and, if `large`, not too large in the
    world. A triangle of `protected` (F,) keeps its most opaque splat in any case.

    Raises:
        BadInput: no splat would be left.
    """
    opacity = bound.opacity.sigmoid()
    stays = opacity >= least
    if large:
        size = (frames.size[bound.triangle, None] * bound.scale.exp()).amax(dim=1)
        stays &= size <= TOO_LARGE * extent
    rank = torch.zeros(len(protected))
    rank.scatter_reduce_(0, bound.triangle, opacity, "amax")
    stays |= (opacity >= rank[bound.triangle]) & protected[bound.triangle]
    if not stays.any():
        fix = "Check that the pictures show the head where the cameras see the mesh, and its unit (metres)."
        raise BadInput("avatar", expected="splats that the pictures need", found="zero splats left", fix=fix)
    return stays


def turned(rotation: Tensor, vectors: Tensor) -> Tensor:
    """Vectors (N, 3) turned by quaternions (N, 4)."""
    q = F.normalize(rotation, dim=-1)
    w, axis = q[:, :1], q[:, 1:]
    across = 2 * torch.linalg.cross(axis, vectors)
    return vectors + w * across + torch.linalg.cross(axis, across)
