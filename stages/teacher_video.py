"""a teacher, corpus audio, one still image → data/teacher_video: videos of the still image speaking, G_teach(X)."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from learn2talk_core.corpus.format import Clip, Corpus, open_corpus
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, load_generator, one_shot, sound_for
from learn2talk_core.run.clip_map import map_clips
from learn2talk_core.run.device import run_device
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.run.paths import CORPUS, TEACHER, TEACHER_VIDEO, is_nothing
from learn2talk_core.run.progress import log, progress
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import folded
from learn2talk_core.teacher.command import check_command, clear_unfinished, make_video, video_path
from learn2talk_core.teacher.settings import TeacherVideo as Params
from learn2talk_core.teacher.videos import describe, find_video, foreign_film, taught_clips
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.video.landmarks import mediapipe_faces
from learn2talk_core.video.stills import Still, choose_stills
from learn2talk_core.video.talking_video import (
    VIDEO_FPS,
    EncodedFilm,
    frames_of,
    open_talking_video,
    pasted,
    write_talking_video,
)
from learn2talk_core.video.video_file import encode_video

OUT = TEACHER_VIDEO
SCRATCH = "teacher_videos"  # in .scratch: videos that a command made, kept until the user deletes them
CHUNK = 8  # clips per job, for which the generator is loaded once
HOPELESS = 5  # stop if a command fails for each of the first 5 clips
SHOWN = 20  # most rejected videos listed in an error


Made = tuple[EncodedFilm, str]  # the video, and a note on it or ""


@dataclass(frozen=True)
class Workshop:
    """What a job loads before its first clip."""

    corpus: Corpus
    stills: dict[str, Still]
    make: Callable[[Clip, np.ndarray, Still], Made]


def main(params: Params) -> str:
    check(params)
    corpus = open_corpus(CORPUS)
    stills = choose_stills(corpus.templates, open_talking_video(params.stills), params.still)
    clips = taught_clips(corpus, params.test_clips)
    scratch = scratch_folder()
    with ExitStack() as stack:
        if params.kind == "command":
            stack.enter_context(Scratch(scratch))  # locked: two runs at once would make each clip twice
            clear_unfinished(scratch)
        made = map_clips(
            make_film, clips, partial(open_workshop, params, scratch),
            backend=params.parallel, workers=params.workers, chunk=CHUNK if params.kind == "wav2lip" else 1,
            name=lambda clip: clip.id,
        )  # fmt: skip
        notes: Counter[str] = Counter()
        bar = progress(made, "teacher video", total=len(clips), unit="clip")
        write_talking_video(OUT, passed(bar, clips, params.kind, notes))
    faces = len({stills[clip.speaker].clip.id for clip in clips})
    for note, count in notes.items():
        log.info("%s: %d of %d videos", note, count, len(clips))
    return f"{len(clips)} one-shot videos of {faces} still image{'s' if faces > 1 else ''} by {params.kind}"


def check(params: Params) -> None:
    """Raise `BadInput` for wrong parameters before any video is made."""
    if params.kind == "command":
        check_command(params.command, "teacher_video.command")
    if params.kind == "videos" and not Path(params.videos).is_dir():
        raise BadInput(
            "teacher_video.videos",
            expected="a folder with a video for each clip",
            found=params.videos,
            fix="Give its path; docs/teachers.md explains how to fill it.",
        )


def scratch_folder() -> Path:
    """The folder that keeps a command's videos between runs; DVC neither tracks nor removes it."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".scratch" / SCRATCH


def open_workshop(params: Params, scratch: Path) -> Workshop:
    """Load everything except the clips, for one job."""
    torch.set_num_threads(params.threads)
    corpus = open_corpus(CORPUS)
    stills = choose_stills(corpus.templates, open_talking_video(params.stills), params.still)
    if params.kind == "wav2lip":
        generator, inputs = load_generator(TEACHER)
        generator = folded(generator).to(run_device())
        encoder = None
        if inputs.states and not is_nothing(params.hears):
            encoder = load_speech_encoder(params.hears).eval().to(run_device())

        def spoken(clip: Clip, audio: np.ndarray, still: Still) -> Made:
            return wav2lip_film(clip, audio, still, generator, inputs, encoder), ""

        return Workshop(corpus, stills, spoken)
    find = mediapipe_faces() if params.face == "landmarks" else None

    def found(clip: Clip, audio: np.ndarray, still: Still) -> Made:
        return foreign_film(clip, audio, find_video(params.videos, clip.id), still, find)

    def commanded(clip: Clip, audio: np.ndarray, still: Still) -> Made:
        path = video_path(scratch, clip.id, params.command, audio, still.image)
        if path.is_file():
            try:
                return foreign_film(clip, audio, path, still, find)
            except BadInput as error:  # damaged since, or `face` has changed
                log.warning("made again: %s", error)
        make_video(params.command, audio, still.image, path)
        try:
            return foreign_film(clip, audio, path, still, find)
        except BadInput:
            path.replace(path.with_suffix(".refused.mp4"))  # for inspection; the next run makes a new one
            raise

    return Workshop(corpus, stills, found if params.kind == "videos" else commanded)


def make_film(workshop: Workshop, clip: Clip) -> Made | BadInput:
    """Make one clip's video; a rejected one returns its error, so that the others are still made."""
    try:
        return workshop.make(clip, workshop.corpus.audio(clip), workshop.stills[clip.speaker])
    except BadInput as reason:
        return reason


def passed(
    films: Iterable[Made | BadInput], clips: list[Clip], kind: str, notes: Counter[str] | None = None
) -> Iterator[EncodedFilm]:
    """Yield the accepted videos; after the last, raise one `BadInput` that lists all rejected clips, if there are any.

    `notes` counts the notes on the accepted videos.
    """
    refused: list[tuple[str, BadInput]] = []
    for number, (clip, made) in enumerate(zip(clips, films, strict=True), start=1):
        if isinstance(made, BadInput):
            refused.append((clip.id, made))
        else:
            if notes is not None and made[1]:
                notes[made[1]] += 1
            yield made[0]
        if kind == "command" and len(refused) == number == HOPELESS < len(clips):
            break
    if not refused:
        return
    listed = scratch_folder() / "refused.txt"
    with whole_file(listed) as partial_file:
        partial_file.write_text("".join(f"{clip}\t{' '.join(str(reason).split())}\n" for clip, reason in refused))
    lines = [f"  {clip}: {reason}" for clip, reason in refused[:SHOWN]]
    raise BadInput(
        f"{len(refused)} of {number} teacher videos",
        expected="a valid video of every clip",
        found="\n" + "\n".join(lines) + (f"\n  and {len(refused) - SHOWN} more" if len(refused) > SHOWN else "") + "\n",
        fix=f"{'Run it again' if kind == 'command' else 'Replace them and run it again'}: only these are made "
        f"again. {listed} lists them all.",
    )


def wav2lip_film(
    clip: Clip, audio: np.ndarray, still: Still, generator: Wav2Lip, inputs: Inputs, encoder: SpeechEncoder | None
) -> EncodedFilm:
    """The teacher's video of one clip's audio: the generated face pasted into the otherwise unchanged still image."""
    frames = frames_of(len(audio))
    faces = one_shot(generator, still.face, sound_for(inputs, audio, frames, encoder), frames, inputs)
    described = describe(clip, frames, len(audio), still.clip.face_box, still.clip.mouth_box)
    return described, encode_video(pasted(still.image, still.clip.face_box, faces), VIDEO_FPS), audio


if __name__ == "__main__":
    run(main, Params)
