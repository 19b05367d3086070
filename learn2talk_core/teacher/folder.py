"""For teachers that are run by hand: write their inputs and check their videos."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from learn2talk_core.audio.waveform import SAMPLE_RATE, write_wave
from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import visible_files
from learn2talk_core.run.own_folder import TEACHER_INPUTS, own_folder
from learn2talk_core.run.progress import progress
from learn2talk_core.teacher.videos import find_video, look_at, resample_note
from learn2talk_core.video.landmarks import FindFaces
from learn2talk_core.video.recorded import SUFFIXES
from learn2talk_core.video.stills import Still, png
from learn2talk_core.video.talking_video import frames_of, open_talking_video


@dataclass(frozen=True)
class Report:
    """What `check_teacher` found.

    Attributes:
        folder: the folder that was checked.
        checked: number of videos that were expected.
        refused: clip and reason; the stage teacher_video stops at any of them.
        notes: deviations that the stage handles by itself.
    """

    folder: Path
    checked: int
    refused: Sequence[tuple[str, BadInput]]
    notes: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        problems = [
            {"clip": clip, "severity": "refused"}
            | {"where": str(r.where), "expected": r.expected, "found": r.found, "fix": r.fix}
            for clip, r in self.refused
        ]
        passed = self.checked - len(self.refused)
        counts = {"checked": self.checked, "passed": passed, "refused": len(self.refused)}
        return {"folder": str(self.folder), **counts, "problems": problems, "notes": list(self.notes)}


def check_teacher(
    folder: str | Path, corpus: Corpus, clips: Sequence[Clip], stills: Mapping[str, Still], find: FindFaces | None
) -> Report:
    """Check the teacher's videos of these clips as the stage teacher_video does.

    Args:
        folder: videos named by clip, or the output of the stage (data/teacher_video).
        corpus: contains the sound of the clips.
        clips: the clips that must have a video.
        stills: by speaker, for videos in which the head does not move; not used with `find`.
        find: finds the faces in a frame.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(folder, expected="a folder of videos", found="no such folder", fix="Correct the path.")
    made = any(folder.glob("films-*.parquet"))
    refused: list[tuple[str, BadInput]] = []
    notes: Counter[str] = Counter()
    looked = _made(folder, clips) if made else _named(folder, clips, stills)
    for clip, video in progress(looked, "checking", total=len(clips), unit="clip"):
        if isinstance(video, BadInput):
            refused.append((clip.id, video))
            continue
        source, still, samples = video
        try:
            look_at(source, samples, still, find, name=f"{folder}, clip {clip.id}")
            if note := resample_note(source):
                notes[note] += 1
        except BadInput as reason:
            refused.append((clip.id, reason))
    lines = [f"{note}: {count} of {len(clips)} videos" for note, count in notes.items()]
    others = [] if made else _others(folder, {clip.id for clip in corpus.clips})
    if others:
        lines.append(f"videos that belong to no clip of {corpus.folder}: {len(others)}, {', '.join(others[:10])}")
    return Report(folder, len(clips), refused, lines)


def write_inputs(
    folder: str | Path, corpus: Corpus, clips: Sequence[Clip], stills: Mapping[str, Still]
) -> pd.DataFrame:
    """Write the inputs of a one-shot teacher: audio/CLIP.wav (16 kHz, mono, 16 bit), images/STILL.png, and clips.csv.

    Returns:
        the table: clip, speaker, audio, image (paths in the folder), frames at 25 fps, seconds.

    Raises:
        BadInput: the folder contains files that this command did not write.
    """
    rows = []
    with own_folder(folder, TEACHER_INPUTS) as partial:
        for clip in progress(clips, "inputs", unit="clip"):
            still = stills[clip.speaker]
            audio, image = f"audio/{clip.id}.wav", f"images/{still.clip.id}.png"
            write_wave(partial / audio, corpus.audio(clip))
            if not (partial / image).is_file():
                (partial / image).parent.mkdir(exist_ok=True)
                (partial / image).write_bytes(png(still.image))
            seconds = round(clip.samples / SAMPLE_RATE, 3)
            rows.append([clip.id, clip.speaker, audio, image, frames_of(clip.samples), seconds])
        table = pd.DataFrame(rows, columns=["clip", "speaker", "audio", "image", "frames", "seconds"])
        table.to_csv(partial / "clips.csv", index=False)
    return table


def listed(path: str | Path, clips: Sequence[Clip]) -> list[Clip]:
    """The clips that a file lists, as the first column of its lines; the stage's refused.txt is such a file."""
    try:
        names = [line.split("\t")[0].strip() for line in Path(path).read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, expected="a list of clips", found=str(error), fix="Correct the path.") from error
    if unknown := sorted(set(names) - {clip.id for clip in clips}):
        raise BadInput(
            path, expected="names of clips", found=f"{unknown[0]!r}, which is not one", fix="Correct or remove it."
        )
    return [clip for clip in clips if clip.id in names]


Video = tuple[str | Path | bytes, Still | None, int]  # source, still, samples of its sound


def _named(folder: Path, clips: Sequence[Clip], stills: Mapping[str, Still]) -> Iterator[tuple[Clip, Video | BadInput]]:
    for clip in clips:
        try:
            yield clip, (find_video(folder, clip.id), stills.get(clip.speaker), clip.samples)
        except BadInput as reason:
            yield clip, reason


def _made(folder: Path, clips: Sequence[Clip]) -> Iterator[tuple[Clip, Video | BadInput]]:
    """The stage's output contains the boxes; each clip's first frame is its still."""
    video = open_talking_video(folder)
    films = {film.id: film for film in video.clips}
    for clip in clips:
        film = films.get(clip.id)
        if film is None:
            yield clip, BadInput(folder, expected=f"a video of {clip.id}", found="none", fix="dvc repro teacher_video")
        else:
            yield clip, (video.mp4(film), Still(video.frames(film)[0], film), film.samples)


def _others(folder: Path, known: Collection[str]) -> list[str]:
    return [path.name for path in visible_files(folder, SUFFIXES) if path.stem not in known]
