"""Is the splat video still in sync? The judges of the mesh look at splats and at the mesh render of the same motion.

Lip reading: both mouths are drawn by the lip reader's camera, and read. Sync: both faces are drawn as the 2D sync
expert sees faces, brows to chin, and compared with the sound (LSE-D, LSE-C, lag).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learn2talk_core.audio.mel import mel_spectrogram, mel_windows, window_starts
from learn2talk_core.avatar.avatar import Avatar, as_bytes, draw_avatar
from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.datasets.embedded.films import FACE_SIDE, MOUTH_HEIGHT
from learn2talk_core.evaluation.judge import perception_ratios
from learn2talk_core.metrics.bootstrap import paired_interval
from learn2talk_core.metrics.lse import lse
from learn2talk_core.models.lipreader import LipReader, load_lipreader, load_units, read_lips
from learn2talk_core.models.sync_expert2d import FRAMES, SyncExpert2D, audio_embeddings, face_embeddings, load_expert
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.mouth import CROP, LUMA, mouth_view, render_mouth
from learn2talk_core.render.pinhole import pinhole
from learn2talk_core.report.face import portrait_camera, portraits
from learn2talk_core.report.side_by_side import side_by_side, sound
from learn2talk_core.run import paths
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.run.resample import resample_frames
from learn2talk_core.video.talking_video import FACE_SIZE, MOUTH_SIZE, VIDEO_FPS
from learn2talk_core.video.video_file import write_video

WAYS = ("splats", "mesh")
FINER = 2  # the mouth of splats is drawn so much finer, and averaged: the least width of a splat is half a pixel


@dataclass(frozen=True)
class AvatarJudges:
    """The judging networks: lip reader with its frame-wise head and units, and 2D sync expert."""

    reader: LipReader
    head: torch.nn.Linear | None
    units: Sequence[str] | None
    expert: SyncExpert2D


def load_avatar_judges() -> AvatarJudges:
    """The judges of the last run."""
    reader = f"{paths.LIPREADER}/metric"
    return AvatarJudges(*load_lipreader(reader), load_units(reader), load_expert(paths.SYNC_EXPERT))


def judge_avatar(avatar: Avatar, corpus: Corpus, clips: Sequence[Clip], judges: AvatarJudges) -> dict[str, Any]:
    """Scores of `splats` and of `mesh` over the true motion of the clips: `lipread_error`, `viseme_accuracy` (over all
    phonemes and frames), `lse_d`, `lse_c` and `lag_ms` (means over clips; sound behind the lips); and
    `lag_difference_ms`, the largest over the clips; and `more_misread`, by how much the splats' lip reading error is
    larger than the mesh's, relative to it, with its 95 % bootstrap interval over clips, `more_misread_interval`: ten
    sentences have some 300 phonemes, so that 5 % are a few of them.

    Raises:
        BadInput: the avatar has another mesh than the corpus, or no clip is long enough.
    """
    if not np.array_equal(avatar.faces, corpus.topology.faces):
        found = f"another one, of {len(avatar.template)} vertices"
        fix = "Judge it with the corpus whose head it shows."
        raise BadInput("avatar", expected=f"the mesh of {corpus.folder}", found=found, fix=fix)
    judged = [_judged(avatar, corpus, clip, judges) for clip in progress(clips, "clips", unit="clip")]
    rows = [row for row in judged if row is not None]
    if not rows:
        found = f"{len(clips)} shorter ones"
        raise BadInput("clips", expected=f"some of more than {FRAMES} frames", found=found, fix="Give longer ones.")
    scores: dict[str, Any] = {"clips": len(rows)}
    for way in WAYS:
        shares = {}
        for key in ("lipread_error", "viseme_accuracy"):
            above, below = (sum(getattr(row[way][key], part) for row in rows) for part in ("total", "weight"))
            shares[key] = above / below if below else None
        means = {key: float(np.mean([row[way][key] for row in rows])) for key in ("lse_d", "lse_c", "lag_ms")}
        scores[way] = shares | means
    lags = [abs(row["splats"]["lag_ms"] - row["mesh"]["lag_ms"]) for row in rows]
    misread, at_least = (scores[way]["lipread_error"] for way in WAYS)
    more = misread / at_least - 1 if at_least else None
    splats, mesh = ([row[way]["lipread_error"] for row in rows] for way in WAYS)
    ends = paired_interval(mesh, splats, seed=0)
    interval = [end / at_least for end in ends] if at_least and ends else None
    return scores | {"lag_difference_ms": float(max(lags)), "more_misread": more, "more_misread_interval": interval}


def misread_more(scores: dict[str, Any]) -> str:
    """`more_misread` of `judge_avatar` with its interval, for people."""
    if scores["more_misread"] is None:
        return "–"
    low, high = (100 * end for end in scores["more_misread_interval"])
    return f"{100 * scores['more_misread']:+.1f} % (95 %: {low:+.1f} to {high:+.1f} %)"


def judged_page(name: str, scores: dict[str, Any], trained: dict[str, Any]) -> str:
    """Markdown: the scores of `judge_avatar` and the metrics of the training (`make.train_avatar`), beside the goals,
    and links to the files of the same folder."""
    lines = [
        f"# Splat avatar {name}", "", "![A turn around the head](turntable.png)", "",
        "[The same motion as mesh and as splats, with sound](side_by_side.mp4)", "",
        f"| {scores['clips']} clips | LSE-D ↓ | LSE-C ↑ | lag of the sound, ms | lip reading error ↓ "
        "| viseme accuracy ↑ |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for way in reversed(WAYS):
        row = scores[way]
        perceived = [_number(row[key], 3) for key in ("lipread_error", "viseme_accuracy")]
        cells = [way, *(_number(row[key], 3) for key in ("lse_d", "lse_c")), _number(row["lag_ms"], 0), *perceived]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Largest difference of the lags in a clip: {scores['lag_difference_ms']:.0f} ms (goal: one frame, "
        f"{1000 / VIDEO_FPS:.0f} ms). Lip reading error relative to the mesh's: {misread_more(scores)}; "
        "goal: at most +5 %.",
        "",
        "| held out | PSNR dB | on the head | SSIM | sharpness |",
        "|---|---|---|---|---|",
    ]
    for split in ("views", "expressions"):
        if split in trained:
            row = trained[split]
            cells = [f"{row[key]:.1f}" for key in ("psnr_db", "psnr_head_db")]
            lines.append(f"| {split} | {' | '.join(cells)} | {row['ssim']:.3f} | {row['sharpness']:.2f} |")
    speed = trained["speed"]
    lines += [
        "",
        f"{trained['splats']} splats. {speed['frames_per_second']:.0f} frames a second drawn, "
        f"{speed['training_pictures_per_second']:.1f} pictures a second trained, at {speed['width']} × "
        f"{speed['height']}; {speed['peak_memory_mb']:.0f} MB of memory at most.",
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def mesh_of(avatar: Avatar, corpus: Corpus, clip: Clip) -> np.ndarray:
    """The avatar's mesh (T, V, 3) at 25 fps with the true motion of a clip."""
    scale = np.float32(corpus.mm_per_unit / avatar.mm_per_unit)
    moved = corpus.vertices(clip) - corpus.template(clip.speaker)
    return avatar.template + scale * resample_frames(moved, corpus.fps, VIDEO_FPS)


def mouths_of(
    avatar: Avatar, corpus: Corpus, vertices: np.ndarray, *, published: bool = False
) -> dict[str, np.ndarray]:
    """Grey pictures of the mouth (T, 88, 88) in 0..1, as splats and as the mesh, for the avatar's mesh (T, V, 3).

    `published`: as published lip readers see mouths, not as ours do.
    """
    view = mouth_view(corpus.topology, avatar.template, avatar.mm_per_unit, published=published)
    with torch.no_grad():
        mesh = render_mouth(view, torch.from_numpy(np.ascontiguousarray(vertices[:, view.vertex_ids])))
    if view.lips is not None and view.rest is not None:  # the camera follows the lips
        lips = vertices[:, view.vertex_ids[view.lips.numpy()]].mean(axis=1, keepdims=True)
        vertices = vertices - lips + view.rest.numpy()
    camera, luma = pinhole(view.camera, FINER * view.size, FINER * view.size), torch.tensor(LUMA)
    splats = [(draw_avatar(avatar, frame, camera).image.clamp(0, 1) @ luma).numpy() for frame in vertices]
    fine = np.stack(splats).reshape(-1, view.size, FINER, view.size, FINER)
    return {"splats": fine.mean(axis=(2, 4)), "mesh": mesh.numpy()}


def faces_of(avatar: Avatar, corpus: Corpus, vertices: np.ndarray) -> dict[str, np.ndarray]:
    """Faces from brows to chin (T, 96, 96, 3) uint8, as splats and as the mesh."""
    lips = avatar.template[corpus.topology.regions["lips"]]
    x, y, z = ((lips.min(axis=0) + lips.max(axis=0)) / 2).tolist()
    side = FACE_SIDE * CROP * MOUTH_SIZE / 88 / avatar.mm_per_unit
    camera = Camera((x, y + (MOUTH_HEIGHT - 0.5) * side, z), extent=side, distance=800 / avatar.mm_per_unit)
    view = pinhole(camera, FACE_SIZE, FACE_SIZE)
    splats = np.stack([as_bytes(draw_avatar(avatar, frame, view)) for frame in vertices])
    return {"splats": splats, "mesh": portraits(vertices, corpus.topology, camera, FACE_SIZE, FACE_SIZE)}


def write_beside_mesh(path: str | Path, avatar: Avatar, corpus: Corpus, clip: Clip, size: int = 300) -> None:
    """Write a video of the true motion of a clip, as the mesh and as splats, with sound."""
    vertices = mesh_of(avatar, corpus, clip)
    camera = portrait_camera(corpus.topology, avatar.template)
    view = pinhole(camera, size, size)
    panels: dict[str, np.ndarray | None] = {
        "Mesh": portraits(vertices, corpus.topology, camera, size, size),
        "Splats": np.stack([as_bytes(draw_avatar(avatar, frame, view)) for frame in vertices]),
    }
    audio = sound(corpus.audio(clip), len(vertices), VIDEO_FPS)
    write_video(path, side_by_side(panels, f"“{clip.text}”", clip.phonemes, VIDEO_FPS), VIDEO_FPS, audio)


def _judged(avatar: Avatar, corpus: Corpus, clip: Clip, judges: AvatarJudges) -> dict[str, dict[str, Any]] | None:
    """What the judges say about one clip; None if it is too short."""
    vertices = mesh_of(avatar, corpus, clip)
    if len(vertices) <= FRAMES:
        return None
    mouths = mouths_of(avatar, corpus, vertices, published=judges.units is not None)
    faces = faces_of(avatar, corpus, vertices)
    mels = mel_windows(mel_spectrogram(corpus.audio(clip)), window_starts(len(vertices) - FRAMES + 1, VIDEO_FPS))
    heard = audio_embeddings(judges.expert, mels)
    with torch.no_grad():
        readings = {way: read_lips(judges.reader, judges.head, mouths[way]) for way in WAYS}
    rows = {}
    for way in WAYS:
        sync = lse(face_embeddings(judges.expert, faces[way]), heard, VIDEO_FPS)
        said = perception_ratios(clip, readings[way], readings["mesh"].features, judges.units)
        rows[way] = {**said, "lse_d": sync.lse_d, "lse_c": sync.lse_c, "lag_ms": sync.lag_ms}
    return rows
