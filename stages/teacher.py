"""data/talking_video, speech encoder → data/models/teacher: Wav2Lip's generator, and the sync expert that is its sync
loss. The judging lip reader measures what can be read from the generator's lips.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from learn2talk_core.checkpoints.wav2lip import import_expert
from learn2talk_core.corpus.phonemes import PHONEMES, frame_labels, visemes_of
from learn2talk_core.models.lipreader import Reading, load_lipreader, read_lips
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
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
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.paths import (
    CURVES,
    LIPREADER,
    METRICS,
    PLOTS,
    SPEECH_ENCODER,
    TALKING_VIDEO,
    TEACHER,
    is_nothing,
)
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import frozen
from learn2talk_core.statistics.face_videos import best_frame, l1, lower_half_l1, mouth_opening_agreement
from learn2talk_core.statistics.recognition import viseme_accuracy
from learn2talk_core.statistics.synchrony import at_shifts, auc, mean_distances, shifted_distances, sync_error
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.speaking_face import SpeakingFace, speaking_face, speaking_faces
from learn2talk_core.training.wav2lip import (
    GAINS,
    ExpertTraining,
    GeneratorTraining,
    inputs_of,
    train_audio_encoder,
    train_expert,
    train_generator,
    train_reading,
)
from learn2talk_core.video.talking_video import (
    MOUTH_SIZE,
    VIDEO_FPS,
    TalkingVideo,
    VideoClip,
    crop,
    grey,
    open_talking_video,
    pasted,
)

VISEMES = visemes_of(np.arange(1 + len(PHONEMES)))
VIDEO, OUT = TALKING_VIDEO, TEACHER
READER = f"{LIPREADER}/metric"  # judges how well the lips of the teacher's videos can be read
READING_EXPERT = f"{LIPREADER}/loss"  # helps to train the generator
TUNING_CLIPS = 10  # held-out clips on which the gain is chosen
PARTS = ("expert", "audio_encoder", "generator", "reading")
SHEET_CLIPS, SHEET_FRAMES = 3, 12
SHEET_MARGIN = 10  # pixels of the face around the lips


@dataclass(frozen=True)
class Params:
    expert_checkpoint: str
    hears: Literal["speech_encoder", "mel"]
    threads: int
    evaluation_clips: int
    expert: ExpertTraining
    generator: GeneratorTraining
    seed: int = shared()


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A held-out clip, its frames, and what the networks see and hear of it."""

    clip: VideoClip
    frames: np.ndarray
    face: SpeakingFace


def main(params: Params) -> str:
    if params.evaluation_clips < 1:
        raise BadInput("teacher.evaluation_clips", expected="1 or more", found=str(params.evaluation_clips),
                       fix="Correct it.")  # fmt: skip
    torch.set_num_threads(params.threads)
    # load the checkpoint first, so that a wrong file is an error at once
    expert_taken = None if is_nothing(params.expert_checkpoint) else import_expert(params.expert_checkpoint)
    expert_width = params.expert.width if expert_taken is None else expert_taken[1]
    listens = params.hears == "speech_encoder"
    encoder = load_speech_encoder(SPEECH_ENCODER).eval() if listens else None
    reader, head = load_lipreader(READER)
    reads = params.generator.reading_steps > 0
    reading_expert = load_lipreader(READING_EXPERT)[0] if reads else None
    video = open_talking_video(VIDEO)
    spoken = [clip for clip in video.split("loss", "metric") if clip.frames >= FRAMES]
    inputs_from = [VIDEO, *([SPEECH_ENCODER] if listens else []), *([READING_EXPERT] if reads else [])]
    with ExitStack() as stack:
        scratch = [stack.enter_context(open_scratch(f"teacher-{part}", params, inputs_from)) for part in PARTS]
        clips = speaking_faces(video, spoken, encoder, scratch[0].folder / "clips")
        if expert_taken is not None:
            expert, curve = expert_taken[0], [{"step": 0.0}]
        else:
            expert, curve = train_expert(clips, params.expert, seed=params.seed, scratch=scratch[0])
        write_curve(curve, f"{CURVES}/teacher_expert.csv")
        recipe, audio_encoder = params.generator, None
        if recipe.audio_steps:
            audio_encoder, _ = train_audio_encoder(clips, recipe, seed=params.seed, scratch=scratch[1])
        generator, curve = train_generator(clips, expert, audio_encoder, recipe, seed=params.seed, scratch=scratch[2])
        if reading_expert is not None:
            more = train_reading(clips, generator, reading_expert, recipe, seed=params.seed, scratch=scratch[3])
            curve += [row | {"step": row["step"] + recipe.steps} for row in more]
        shape = {"width": recipe.width, "audio_width": recipe.audio_width}
        tuning, judged = held_out(video, encoder, params.evaluation_clips)
        inputs = with_gain(generator, inputs_of(clips, recipe), tuning, recipe.amplitude)
        write_curve(curve, f"{CURVES}/teacher.csv")
        mean_face = np.mean([clip.mean_face for clip in clips], axis=0)
        frozen(expert)
        frozen(generator)
        scores = judge(judged, expert, generator, inputs, mean_face, partial(read_lips, reader, head))
        write_json(f"{METRICS}/teacher.json", scores)
        with whole_folder(OUT) as folder:
            save_generator(folder, generator, inputs=inputs, **shape)
            save_expert(folder / "sync_expert", expert, width=expert_width)
        for part in scratch:
            part.remove()
    return (
        f"Wav2Lip from {len(clips)} clips; one-shot on held-out faces: L1 {scores['l1']['generated']:.4f} (still: "
        f"{scores['l1']['still']:.4f}), mouth correlation {scores['mouth']['correlation']}, amplitude "
        f"{scores['mouth']['amplitude']} with gain {inputs.gain}"
    )


def held_out(video: TalkingVideo, encoder: SpeechEncoder | None, count: int) -> tuple[list[HeldOut], list[HeldOut]]:
    """Clips to choose the gain with, and `count` others, or fewer, to judge the teacher with.

    Both are spread over the held-out faces. If there are too few, some are used for both.
    """
    clips = [clip for clip in video.split("validation") if clip.frames >= FRAMES]
    judged = clips[:: max(1, len(clips) // count)][:count]
    others = [clip for clip in clips if clip not in judged] or judged
    tuning = others[:: max(1, len(others) // TUNING_CLIPS)][:TUNING_CLIPS]
    both = [
        [HeldOut(clip, frames, speaking_face(clip, frames, wave, encoder)) for clip, frames, wave in video.films(part)]
        for part in (tuning, judged)
    ]
    return both[0], both[1]


def with_gain(generator: Wav2Lip, inputs: Inputs, clips: Sequence[HeldOut], amplitude: float) -> Inputs:
    """`inputs` with the smallest gain for which the lips move at least `amplitude` times as far as in the films."""
    for gain in GAINS:
        inputs = inputs._replace(gain=gain)
        reached = [lips_agreement(one, one_shot_of(one, generator, inputs))[1] for one in clips]
        if np.mean(reached) >= amplitude:
            break
    return inputs


def one_shot_of(one: HeldOut, generator: Wav2Lip, inputs: Inputs) -> np.ndarray:
    """The clip's first frame made to say its sound, uint8 (T, 96, 96, 3)."""
    return one_shot(generator, one.face.faces[0], one.face.sound, len(one.frames), inputs)


def lips_agreement(one: HeldOut, made: np.ndarray) -> tuple[float, float]:
    """Correlation and amplitude of the lips of a video of the clip; see `mouth_opening_agreement`."""
    left, top, right, bottom = one.face.lips
    generated, truth = (faces[:, top:bottom, left:right] for faces in (made, one.face.faces))
    return mouth_opening_agreement(generated, truth)


def judge(
    clips: Sequence[HeldOut],
    expert: SyncExpert2D,
    generator: Wav2Lip,
    inputs: Inputs,
    mean_face: np.ndarray,
    read: Callable[[np.ndarray], Reading],
) -> dict[str, Any]:
    """Score one-shot videos, made from each clip's first frame, on held-out faces and sentences; write the sheet.

    `read` is the judging lip reader: mouth crops (T, 96, 96) → `Reading`.
    """
    rows, truth, sheet, labels = [], [], [], []
    spoken: list[np.ndarray] = []
    logits: dict[str, list[np.ndarray]] = {"truth": [], "generated": []}
    shown = clips[:: max(1, len(clips) // SHEET_CLIPS)][:SHEET_CLIPS]
    for one in progress(clips, "judging", unit="clip"):
        clip, face = one.clip, one.face
        made = one_shot_of(one, generator, inputs)
        videos = {
            "truth": face.faces,
            "generated": made,
            "still": np.broadcast_to(face.faces[0], face.faces.shape),
        }
        phonemes = frame_labels(clip.phonemes, clip.frames, VIDEO_FPS)
        heard = audio_embeddings(expert, face.mel_at(np.arange(face.windows))[:, 0])
        speech = phonemes[FRAMES // 2 :][: face.windows] > 0
        seen = {name: face_embeddings(expert, faces) for name, faces in videos.items()}
        truth.append(shifted_distances(seen["truth"], heard)[speech])
        whole = {"truth": one.frames, "generated": pasted(one.frames[0], clip.face_box, made)}
        readings = {name: read(crop(grey(frames), clip.mouth_box, MOUTH_SIZE)) for name, frames in whole.items()}
        if clip.phonemes:
            spoken.append(phonemes)
            for name, reading in readings.items():
                if reading.frame_logits is not None:
                    logits[name].append(reading.frame_logits)
        correlation, amplitude = lips_agreement(one, made)
        left, top, right, bottom = face.lips
        lips = (..., slice(top, bottom), slice(left, right), slice(None))
        drawn = {
            "generated": made,
            "still": videos["still"],
            "mean_training_frame": mean_face,
            "best_frame": best_frame(face.faces),  # the true frame that is nearest to all
            "best_still": face.faces.mean(axis=0),  # mean of the true frames; both are unknown to a generator
        }
        rows.append(
            {
                "sync": {name: expert_sync_scores(seen[name], heard, speech) for name in videos},
                "l1": {name: lower_half_l1(other, face.faces) for name, other in drawn.items()},
                "l1_lips": {name: l1(other[lips], face.faces[lips]) for name, other in drawn.items()},
                "mouth": {"correlation": correlation, "amplitude": amplitude},
            }
        )
        if one in shown:
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
    visemes = {
        name: round(viseme_accuracy(np.concatenate(some), np.concatenate(spoken), VISEMES), 5)
        for name, some in logits.items()
        if some
    }
    return {
        "clips": len(clips),
        "gain": inputs.gain,
        "expert": mean_of([apart]),
        "viseme_accuracy": visemes,
        **mean_of(rows),
    }


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
