"""splat avatar, corpus, judges → data/avatar_reports/NAME: is the splat video in sync, and what does it look like?

The same true motion is judged as splats and as the mesh (report.md, metrics/avatar_reports/NAME.json), and shown side
by side with sound (side_by_side.mp4). The stage exists only for the avatars that `avatar_reports` in params.yaml
names; they must be of the corpus's mesh.
"""

from dataclasses import dataclass
from typing import Literal

from learn2talk_core.avatar.avatar import load_avatar
from learn2talk_core.avatar.judging import judge_avatar, judged_page, load_avatar_judges, write_beside_mesh
from learn2talk_core.avatar.pictures import turntable, write_picture
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.run import paths
from learn2talk_core.run.config import shared
from learn2talk_core.run.files import read_json, whole_folder, write_json
from learn2talk_core.run.stage import run

OUT, METRICS = paths.AVATAR_REPORTS, f"{paths.METRICS}/avatar_reports"
TURN_SIZE = 256  # pixels


@dataclass(frozen=True)
class AvatarReportSettings:
    """A report of params.yaml."""

    split: Literal["train", "validation", "test_seen", "test_unseen"]
    clips: int


@dataclass(frozen=True)
class Params:
    avatar_reports: dict[str, AvatarReportSettings] = shared()


def main(params: Params, name: str) -> str:
    wanted = params.avatar_reports[name]
    trained = read_json(f"{paths.METRICS}/avatars/{name}.json", made_by=f"dvc repro avatar@{name}")
    avatar, corpus = load_avatar(f"{paths.AVATARS}/{name}"), open_corpus(paths.CORPUS)
    clips = corpus.split(wanted.split)[: wanted.clips]
    scores = judge_avatar(avatar, corpus, clips, load_avatar_judges())
    with whole_folder(f"{OUT}/{name}") as folder:
        write_picture(folder / "turntable.png", turntable(avatar, TURN_SIZE))
        write_beside_mesh(folder / "side_by_side.mp4", avatar, corpus, clips[0])
        (folder / "report.md").write_text(judged_page(name, scores, trained))
    write_json(f"{METRICS}/{name}.json", scores)
    return (
        f"lip reading error {scores['splats']['lipread_error']:.3f}, of the mesh {scores['mesh']['lipread_error']:.3f}"
    )


if __name__ == "__main__":
    run(main, Params, roles="avatar_reports")
