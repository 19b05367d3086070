"""pictures of a head → data/models/avatars/NAME: a splat avatar, trained and judged on held-out pictures.

Without a folder of pictures, the embedded head is recorded first. The stage exists only for the avatars that
params.yaml names; there are none by default.
"""

import tempfile
from dataclasses import dataclass, replace

from learn2talk_core.avatar.avatar import save_avatar
from learn2talk_core.avatar.make import AvatarInputs, held_out_sheet, train_avatar
from learn2talk_core.avatar.own_head import HeadSession, record_head
from learn2talk_core.avatar.pictures import write_picture
from learn2talk_core.avatar.training import shortened
from learn2talk_core.run import paths
from learn2talk_core.run.config import shared
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.stage import run
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import open_scratch

OUT = paths.AVATARS
METRICS, CURVES = f"{paths.METRICS}/avatars", f"{paths.CURVES}/avatars"
PLOTS = f"{paths.PLOTS}/avatars"


@dataclass(frozen=True)
class AvatarSettings:
    """An avatar of params.yaml."""

    images: str | None
    flame: str | None
    steps: int
    most: int
    refine: float


@dataclass(frozen=True)
class Params:
    seed: int = shared()
    avatars: dict[str, AvatarSettings] = shared()


def main(params: Params, name: str) -> str:
    wanted = params.avatars[name]
    schedule = shortened(wanted.steps, most=wanted.most, seed=params.seed, refine=wanted.refine)
    sources = [path for path in (wanted.images, wanted.flame) if path]
    with open_scratch(f"avatar-{name}", replace(params, avatars={name: wanted}), sources) as scratch:
        with tempfile.TemporaryDirectory() as place:
            images = wanted.images or f"{place}/head"
            if wanted.images is None:
                record_head(images, HeadSession(seed=params.seed))
            inputs = AvatarInputs(images, wanted.flame)
            avatar, metrics, history = train_avatar(inputs, schedule, scratch)
            write_picture(f"{PLOTS}/{name}.png", held_out_sheet(inputs, avatar))
        with whole_folder(f"{OUT}/{name}") as folder:
            save_avatar(folder, avatar)
        write_curve(history, f"{CURVES}/{name}.csv")
        write_json(f"{METRICS}/{name}.json", metrics)
        scratch.remove()
    return f"{metrics['splats']} splats, PSNR {metrics.get('expressions', {}).get('psnr_db', float('nan')):.1f} dB"


if __name__ == "__main__":
    run(main, Params, roles="avatars")
