"""Scores of 2D videos, the columns of the paper's table of teachers (Tab. I): LSE-D, LSE-C, FID, CPBD, CSIM.

Each column has a protocol that names the network and the frames; numbers of different protocols cannot be compared.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch

from learn2talk_core.audio.mel import mel_spectrogram, mel_windows, window_starts
from learn2talk_core.metrics.cpbd import cpbd
from learn2talk_core.metrics.csim import identity_similarity
from learn2talk_core.metrics.frechet import frechet_distance
from learn2talk_core.metrics.lse import lse
from learn2talk_core.metrics.protocol import Metric
from learn2talk_core.models.arcface import Embed, load_arcface
from learn2talk_core.models.inception import Inception, inception_features, load_inception
from learn2talk_core.models.lipreader import LipReader, load_lipreader
from learn2talk_core.models.sync_expert2d import FRAMES, SyncExpert2D, audio_embeddings, face_embeddings, load_expert
from learn2talk_core.models.syncnet2d import SyncNet, embeddings, load_syncnet
from learn2talk_core.run import paths
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.video.face_crops import arcface_crop, face_crops
from learn2talk_core.video.footage import Film, Footage, heard
from learn2talk_core.video.talking_video import VIDEO_FPS, frames_of

EXPERT = paths.SYNC_EXPERT  # the project's own SyncNet of 2D videos
LIPREADER = f"{paths.LIPREADER}/metric"
T = TypeVar("T")
VideoRow = dict[str, Any]


@dataclass(frozen=True)
class VideoJudges:
    """The judging networks. `sync` is the published SyncNet or the project's own expert; the others may be absent.

    FID uses `inception`; without it, a distance of the mouths is computed with `reader` instead. recogniser: the stem
    of the file of `embed`, for its protocol.
    """

    sync: SyncNet | SyncExpert2D
    inception: Inception | None = None
    reader: LipReader | None = None
    embed: Embed | None = None
    recogniser: str = ""


@dataclass(frozen=True)
class VideoTable:
    """The result of `score_videos`.

    Attributes:
        rows: one for each video that could be scored: `video`, `frames`, and a value (None: undefined) by metric key.
        mean: number of `videos`, the mean over videos of each metric, and the distance between the sets.
        protocol: metric key → name, unit, goal, protocol.
        problems: `video` and `error` of each video that could not be scored.
        absent: name of a metric that was not computed → what it would need.
    """

    rows: list[VideoRow]
    mean: VideoRow
    protocol: dict[str, dict[str, str]]
    problems: list[dict[str, str]]
    absent: dict[str, str] = field(default_factory=dict)


def load_video_judges(
    *,
    syncnet: str | Path | None = None,
    inception: str | Path | None = None,
    arcface: str | Path | None = None,
    expert: str | Path = EXPERT,
    reader: str | Path | None = None,
) -> VideoJudges:
    """Load the given networks; without `syncnet`, the project's own expert."""
    return VideoJudges(
        sync=_own_expert(expert) if syncnet is None else load_syncnet(syncnet),
        inception=None if inception is None else load_inception(inception),
        reader=None if reader is None else load_lipreader(reader)[0],
        embed=None if arcface is None else load_arcface(arcface),
        recogniser="" if arcface is None else Path(arcface).stem,
    )


def score_videos(
    films: Sequence[Film], judges: VideoJudges, *, reference: Sequence[Film] | None = None, every: int = 5
) -> VideoTable:
    """Score every video by itself and all of them as a set. A bad video is listed in `problems`, the others are scored.

    Args:
        films: the videos.
        judges: the judging networks.
        reference: real videos: the set that FID compares with, and by `key` the true faces, or stills, for CSIM.
        every: CPBD, FID and CSIM use every `every`th frame at 25 fps.
    """
    true_faces = {film.key: film for film in reference or ()}
    rows: list[VideoRow] = []
    problems: list[dict[str, str]] = []
    features: list[np.ndarray] = []
    for film in progress(films, "videos", unit="video"):
        try:
            footage = film.open()
            row = {"video": film.name, "frames": len(footage.landmarks)}
            row |= sync_of_footage(film.name, footage, judges.sync)
            row |= {"cpbd": _mean(cpbd(grey) for grey in _sampled(_greys(footage.frames()), every))}
            if judges.embed is not None and reference is not None:
                row |= {"csim": _identity(film, footage, true_faces.get(film.key), judges.embed, every)}
            if reference is not None:
                features.append(_set_features(film, footage, judges, every))
        except BadInput as error:
            problems.append({"video": film.name, "error": str(error)})
        else:
            rows.append(row)
    mean: VideoRow = {"videos": len(rows), "frames": sum(row["frames"] for row in rows)}
    mean |= {key: _mean(row[key] for row in rows) for key in METRICS if rows and key in rows[0]}
    if rows and reference is not None:
        mean |= _distance(features, reference, judges, every, problems)
    protocol = {key: _protocol(key, judges, every) for key in METRICS if key in mean}
    return VideoTable(rows, mean, protocol, problems, _absent(mean, judges, reference is not None))


def sync_of_videos(films: Sequence[Film], sync: SyncNet | SyncExpert2D) -> tuple[list[VideoRow], list[dict[str, str]]]:
    """Rows with only `video`, `frames` and the sync scores, and the problems, as in `VideoTable`."""
    rows: list[VideoRow] = []
    problems: list[dict[str, str]] = []
    for film in progress(films, "videos", unit="video"):
        try:
            footage = film.open()
            rows.append(
                {"video": film.name, "frames": len(footage.landmarks), **sync_of_footage(film.name, footage, sync)}
            )
        except BadInput as error:
            problems.append({"video": film.name, "error": str(error)})
    return rows, problems


def video_records(table: VideoTable) -> list[VideoRow]:
    """The rows followed by the mean, all with the same keys in the same order: for CSV."""
    keys = ["video", "frames", *table.protocol]
    return [{key: row.get(key) for key in keys} for row in [*table.rows, {"video": "mean", **table.mean}]]


METRICS: Mapping[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("lse_d", "LSE-D", "", "lower", ""),
        Metric("lse_c", "LSE-C", "", "higher", ""),
        Metric("offset", "AV offset", "frames", "zero", ""),
        Metric("lse_d_unpadded", "LSE-D unpadded", "", "lower", ""),
        Metric("lse_c_unpadded", "LSE-C unpadded", "", "higher", ""),
        Metric("fid", "FID", "", "lower", ""),
        Metric("mouth_distance", "mouth distance", "", "lower", ""),
        Metric("cpbd", "CPBD", "", "higher", ""),
        Metric("csim", "CSIM", "", "higher", ""),
    )
}


def _protocol(key: str, judges: VideoJudges, every: int) -> dict[str, str]:
    published = isinstance(judges.sync, SyncNet)
    whose = "lse/syncnet_v2" if published else "lse/own-expert"
    padding = ", zero padding" if published else ", no padding"
    network = "SyncNet" if published else "the project's 2D expert, unit vectors; not comparable with SyncNet's"
    pictures = f"one in {every} frames" if every > 1 else "every frame"
    texts = {
        "lse_d": f"{whose}: least mean distance over ±15 frames{padding}; {network}",
        "lse_c": f"{whose}: median minus least mean distance{padding}; {network}",
        "offset": f"{whose}: frames by which the sound leads the lips at the least mean distance",
        "lse_d_unpadded": f"{whose}/no-padding: as LSE-D, only over windows that exist in the sound",
        "lse_c_unpadded": f"{whose}/no-padding: as LSE-C, only over windows that exist in the sound",
        "fid": f"fid/inception-2015-12-05: whole frames, {pictures}, of all videos against all of the reference",
        "mouth_distance": f"fid/own-lip-reader: Fréchet distance of mouths, front-end features, {pictures}; not FID",
        "cpbd": f"cpbd/matlab-1.0: whole frames, unscaled, {pictures}",
        "csim": f"csim/{judges.recogniser}: cosine to the reference's face at the same time, {pictures}",
    }
    metric = METRICS[key]
    return {"name": metric.name, "unit": metric.unit, "goal": metric.goal, "protocol": texts[key]}


def sync_of_footage(name: str, footage: Footage, sync: SyncNet | SyncExpert2D) -> VideoRow:
    """LSE-D, LSE-C and offset of one video; see `METRICS`."""
    audio = heard(footage, name)
    frames = min(len(footage.landmarks), frames_of(len(audio)))
    if frames <= FRAMES:
        fix = "Leave it out, or join short clips."
        raise BadInput(name, expected=f"more than {FRAMES} frames with sound", found=str(frames), fix=fix)
    if isinstance(sync, SyncNet):
        lips, sound = embeddings(sync, footage.syncnet(), audio)
        padded = lse(lips, sound, VIDEO_FPS, zero_padding=True)
        bare = lse(lips, sound, VIDEO_FPS)
        scores = {"lse_d": padded.lse_d, "lse_c": padded.lse_c, "offset": padded.offset}
        return scores | {"lse_d_unpadded": bare.lse_d, "lse_c_unpadded": bare.lse_c}
    faces = np.stack(list(face_crops(islice(footage.frames(), frames), footage.landmarks)))
    mels = mel_windows(mel_spectrogram(audio), window_starts(frames - FRAMES + 1, VIDEO_FPS))
    bare = lse(face_embeddings(sync, faces), audio_embeddings(sync, mels), VIDEO_FPS)
    return {"lse_d": bare.lse_d, "lse_c": bare.lse_c, "offset": bare.offset}


def _identity(film: Film, footage: Footage, true: Film | None, embed: Embed, every: int) -> float:
    if true is None:
        fix = f"Put {film.key} with a video's or picture's ending there, or leave --arcface out."
        raise BadInput(film.name, expected="a true face of the same name in --reference", found="none", fix=fix)
    found, expected = (_embeddings(each, embed, every) for each in (footage, true.open()))
    if len(expected) == 1:
        return identity_similarity(found, expected)
    common = min(len(found), len(expected))
    return identity_similarity(found[:common], expected[:common])


def _embeddings(footage: Footage, embed: Embed, every: int) -> np.ndarray:
    pairs = _sampled(zip(footage.frames(), footage.landmarks, strict=False), every)
    return np.stack([embed(arcface_crop(frame, points)) for frame, points in pairs])


@torch.inference_mode()
def _set_features(film: Film, footage: Footage | None, judges: VideoJudges, every: int) -> np.ndarray:
    """(N, d) features of a video's frames for the distance between sets; `footage` if the video is already open."""
    if judges.inception is not None:
        return inception_features(judges.inception, _sampled(film.pictures(), every))
    if judges.reader is None:
        return np.empty((0, 0), np.float32)
    mouths = np.stack(list((footage or film.open()).mouths()))
    seen = judges.reader.features(torch.from_numpy(mouths)[None].float() / 255, "frontend")
    return seen[0, ::every].numpy()


def _distance(
    features: Sequence[np.ndarray],
    reference: Sequence[Film],
    judges: VideoJudges,
    every: int,
    problems: list[dict[str, str]],
) -> VideoRow:
    """The distance between the sets, and their sizes; empty if there is no network for it. Adds to `problems`."""
    if judges.inception is None and judges.reader is None:
        return {}
    real = [features[0][:0]]
    for film in progress(reference, "reference", unit="video"):
        try:
            real.append(_set_features(film, None, judges, every))
        except BadInput as error:
            problems.append({"video": f"reference {film.name}", "error": str(error)})
    seen, true = np.concatenate(features), np.concatenate(real)
    sizes = {"pictures": len(seen), "reference_pictures": len(true)}
    if min(sizes.values()) < 2:
        return sizes
    return {"fid" if judges.inception is not None else "mouth_distance": frechet_distance(seen, true), **sizes}


def _absent(mean: VideoRow, judges: VideoJudges, reference: bool) -> dict[str, str]:
    """What each metric that was not computed would need."""
    weights = {"FID": (judges.inception, "its Inception (--inception)"), "CSIM": (judges.embed, "ArcFace (--arcface)")}
    found = {}
    for name, (network, option) in weights.items():
        needs = [option] if network is None else []
        needs += [] if reference else ["real videos (--reference)"]
        if not needs and name.lower() not in mean:
            needs = ["a video that can be scored and two pictures or more in --reference"]
        if needs:
            found[name] = " and ".join(needs)
    return found


def _own_expert(folder: str | Path) -> SyncExpert2D:
    return load_expert(folder, made_by="dvc repro teacher, or give the published one with --syncnet")


def _greys(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    return (cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames)


def _sampled(items: Iterable[T], every: int) -> Iterator[T]:
    return islice(items, 0, None, every)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
