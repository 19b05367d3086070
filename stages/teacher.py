"""data/talking_video → data/models/teacher: Wav2Lip's generator, and the sync expert that is its sync loss."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from learn2talk_core.audio.mel import mel_spectrogram, mel_windows, window_starts
from learn2talk_core.checkpoints.wav2lip import import_expert
from learn2talk_core.corpus.phonemes import PHONEMES, frame_labels
from learn2talk_core.models.sync_expert2d import (
    FRAMES,
    SyncExpert2D,
    audio_embeddings,
    face_embeddings,
    save_expert,
)
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, one_shot, save_generator
from learn2talk_core.report.teacher_sheet import write_teacher_sheet
from learn2talk_core.run.config import shared
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.paths import CURVES, METRICS, PLOTS, TALKING_VIDEO, TEACHER, is_nothing
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import frozen
from learn2talk_core.statistics.face_videos import lower_half_l1, mouth_opening_agreement
from learn2talk_core.statistics.synchrony import at_shifts, auc, mean_distances, shifted_distances, sync_error
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.wav2lip import (
    ExpertTraining,
    GeneratorTraining,
    SpeakingFace,
    train_audio_encoder,
    train_expert,
    train_generator,
)
from learn2talk_core.video.talking_video import FACE_SIZE, VIDEO_FPS, TalkingVideo, VideoClip, open_talking_video

VIDEO, OUT = TALKING_VIDEO, TEACHER
PARTS = ("expert", "audio_encoder", "generator")
SHEET_CLIPS, SHEET_FRAMES = 3, 12
SHEET_MARGIN = 10  # pixels of the face around the lips
LIPS_SHARE = 0.6  # width of the lips as a share of the mouth box's 9 cm


@dataclass(frozen=True)
class Params:
    expert_checkpoint: str
    threads: int
    evaluation_clips: int
    expert: ExpertTraining
    generator: GeneratorTraining
    seed: int = shared()


def main(params: Params) -> str:
    torch.set_num_threads(params.threads)
    # load the checkpoint first, so that a wrong file is an error at once
    expert_taken = None if is_nothing(params.expert_checkpoint) else import_expert(params.expert_checkpoint)
    expert_width = params.expert.width if expert_taken is None else expert_taken[1]
    video = open_talking_video(VIDEO)
    spoken = [clip for clip in video.split("loss", "metric") if clip.frames >= FRAMES]
    clips = [speaking_face(video, clip) for clip in progress(spoken, "faces", unit="clip")]
    with ExitStack() as stack:
        scratch = [stack.enter_context(open_scratch(f"teacher-{part}", params, [VIDEO])) for part in PARTS]
        if expert_taken is not None:
            expert, curve = expert_taken[0], [{"step": 0.0}]
        else:
            expert, curve = train_expert(clips, params.expert, seed=params.seed, scratch=scratch[0])
        write_curve(curve, f"{CURVES}/teacher_expert.csv")
        recipe, listening = params.generator, None
        if recipe.audio_steps:
            listening, _ = train_audio_encoder(clips, recipe, seed=params.seed, scratch=scratch[1])
        generator, curve = train_generator(clips, expert, listening, recipe, seed=params.seed, scratch=scratch[2])
        shape, inputs = {"width": recipe.width, "audio_width": recipe.audio_width}, Inputs(lead=recipe.lead)
        write_curve(curve, f"{CURVES}/teacher.csv")
        mean_face = np.mean([clip.faces.mean(axis=0) for clip in clips], axis=0)
        frozen(expert)
        frozen(generator)
        scores = judge(video, expert, generator, inputs, mean_face, params.evaluation_clips)
        write_json(f"{METRICS}/teacher.json", scores)
        with whole_folder(OUT) as folder:
            save_generator(folder, generator, inputs=inputs, **shape)
            save_expert(folder / "sync_expert", expert, width=expert_width)
        for part in scratch:
            part.remove()
    return (
        f"Wav2Lip from {len(clips)} clips; one-shot on held-out faces: L1 {scores['l1']['generated']:.4f} (still: "
        f"{scores['l1']['still']:.4f}), mouth correlation {scores['mouth']['correlation']}"
    )


def speaking_face(video: TalkingVideo, clip: VideoClip) -> SpeakingFace:
    mel = mel_spectrogram(video.audio(clip))
    left, top, right, bottom = clip.face_box
    scale = FACE_SIZE / (right - left), FACE_SIZE / (bottom - top)
    # The lips fill the central part of the lip reader's mouth box.
    centre = [(clip.mouth_box[k] + clip.mouth_box[k + 2]) / 2 for k in (0, 1)]
    half = LIPS_SHARE * (clip.mouth_box[2] - clip.mouth_box[0]) / 2
    corners = [
        (c + side * half - o) * s for side in (-1, 1) for c, o, s in zip(centre, (left, top), scale, strict=True)
    ]
    lips = [min(FACE_SIZE, max(0, round(corner))) for corner in corners]
    return SpeakingFace(
        video.faces(clip),
        mel_windows(mel, window_starts(clip.frames, VIDEO_FPS)),
        (lips[0], lips[1], lips[2], lips[3]),
    )


def judge(
    video: TalkingVideo, expert: SyncExpert2D, generator: Wav2Lip, inputs: Inputs, mean_face: np.ndarray, count: int
) -> dict[str, Any]:
    """Score one-shot videos, made from each clip's first frame, on held-out faces and sentences; write the sheet."""
    held_out = [clip for clip in video.split("validation") if clip.frames >= FRAMES]
    chosen = held_out[:: max(1, len(held_out) // count)][:count]
    rows, truth, sheet, labels = [], [], [], []
    for clip in progress(chosen, "judging", unit="clip"):
        face = speaking_face(video, clip)
        videos = {
            "truth": face.faces,
            "generated": one_shot(generator, face.faces[0], face.mels, inputs),
            "still": np.broadcast_to(face.faces[0], face.faces.shape),
        }
        phonemes = frame_labels(clip.phonemes, clip.frames, VIDEO_FPS)
        heard = audio_embeddings(expert, face.mels[: face.windows])
        speech = phonemes[FRAMES // 2 :][: face.windows] > 0
        seen = {name: face_embeddings(expert, faces) for name, faces in videos.items()}
        truth.append(shifted_distances(seen["truth"], heard)[speech])
        left, top, right, bottom = face.lips
        correlation, amplitude = mouth_opening_agreement(
            *(videos[name][:, top:bottom, left:right] for name in ("generated", "truth"))
        )
        drawn = {
            "generated": videos["generated"],
            "still": videos["still"],
            "mean_training_frame": mean_face,
            "best_still": face.faces.mean(axis=0),  # mean of the true frames, unknown to a generator
        }
        rows.append(
            {
                "sync": {name: expert_sync_scores(seen[name], heard, speech) for name in videos},
                "l1": {name: lower_half_l1(other, face.faces) for name, other in drawn.items()},
                "mouth": {"correlation": correlation, "amplitude": amplitude},
            }
        )
        if clip in chosen[:: max(1, len(chosen) // SHEET_CLIPS)][:SHEET_CLIPS]:
            at = np.linspace(0, clip.frames - 1, SHEET_FRAMES).astype(int)
            around = [
                slice(max(0, low - SHEET_MARGIN), high + SHEET_MARGIN) for low, high in ((top, bottom), (left, right))
            ]
            mouths = {name: faces[at][:, *around] for name, faces in videos.items()}
            sheet.append((f"{clip.id}: {clip.text}", mouths))
            labels.append([f"{t / VIDEO_FPS:.2f} s {('', *PHONEMES)[phonemes[t]]}" for t in at])
    write_teacher_sheet(f"{PLOTS}/teacher.png", sheet, labels)
    distances = np.concatenate(truth)
    apart = {f"auc_shift{n}": auc(at_shifts(distances, 0, 0), at_shifts(distances, n, 15)) for n in (1, 3)}
    return {"clips": len(chosen), "expert": mean_of([apart]), **mean_of(rows)}


def expert_sync_scores(face: np.ndarray, audio: np.ndarray, keep: np.ndarray) -> dict[str, float]:
    """Scores of one clip by a 2D sync expert.

    Args:
        face, audio: (N, E) unit embeddings of the windows that start at each frame.
        keep: (N,) mask of the windows with speech; if there are none, all windows are used.

    Returns:
        Mean cosine; LSE-D, LSE-C and the distance at shift 0, all from L2 distances of the unit embeddings.
    """
    keep = keep if keep.any() else np.ones_like(keep)
    curve = mean_distances(shifted_distances(face, audio), keep)
    if not np.isfinite(curve).any():
        raise ValueError(f"no window to compare: {len(face)} of video, {len(audio)} of audio")
    lse_d, lse_c = sync_error(curve)
    return {
        "cosine": float((face * audio).sum(axis=1)[keep].mean()),
        "lse_d": lse_d,
        "lse_c": lse_c,
        "distance_at_0": float(curve[len(curve) // 2]),
    }


def mean_of(rows: list[Any]) -> Any:
    """Mean of nested scores over clips; None if no clip has a value: a mouth that never moves has no correlation."""
    if isinstance(rows[0], dict):
        return {key: mean_of([row[key] for row in rows]) for key in rows[0]}
    finite = [value for value in rows if np.isfinite(value)]
    return round(float(np.mean(finite)), 5) if finite else None


if __name__ == "__main__":
    run(main, Params)
