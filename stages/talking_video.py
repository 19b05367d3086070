"""embedded generator or a folder of videos → data/talking_video: the 2D corpus for the lip readers and the teacher

Each person's films are kept in .scratch until all are made, so that a killed run goes on with the next person.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from joblib import cpu_count

from learn2talk_core.datasets.embedded.films import film_person
from learn2talk_core.datasets.embedded.utterances import open_speech
from learn2talk_core.run.files import write_json
from learn2talk_core.run.paths import METRICS, SPEECH, TALKING_VIDEO, is_nothing
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import run
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.video.filming import Person, film_people
from learn2talk_core.video.landmarks import FindFaces, mediapipe_faces
from learn2talk_core.video.recorded import read_film, videos
from learn2talk_core.video.talking_video import (
    SPLITS,
    VIDEO_FPS,
    EncodedFilm,
    TalkingVideo,
    VideoClip,
    join_shards,
    open_talking_video,
)

OUT = TALKING_VIDEO
MOST_WORKERS = 8  # each needs half a gigabyte of memory


@dataclass(frozen=True)
class Params:
    source: str
    variation: float
    seed: int


def main(params: Params) -> str:
    embedded = is_nothing(params.source)
    people = embedded_people(params) if embedded else recorded_people(params.source)
    workers = min(cpu_count(), MOST_WORKERS) if embedded else 1
    with open_scratch("talking_video", params, [SPEECH if embedded else params.source]) as scratch:
        made = list(progress(film_people(people, scratch.folder, workers), "people", total=len(people)))
        join_shards(OUT, sorted(made))
        found = contents(open_talking_video(OUT))
        write_json(f"{METRICS}/talking_video.json", {"source": "embedded" if embedded else params.source, **found})
        scratch.remove()
    return f"{found['clips']} clips of {found['speakers']} speakers, {found['minutes']:.1f} minutes"


def contents(video: TalkingVideo) -> dict[str, Any]:
    """The size of the corpus and of its splits: clips, speakers, minutes."""

    def size(clips: Sequence[VideoClip]) -> dict[str, float]:
        minutes = sum(clip.frames for clip in clips) / VIDEO_FPS / 60
        speakers = len({clip.speaker for clip in clips})
        return {"clips": len(clips), "speakers": speakers, "minutes": round(minutes, 3)}

    return {**size(video.clips), "splits": {name: size(video.split(name)) for name in SPLITS}}


def embedded_people(params: Params) -> list[Person]:
    """The speakers of `data/speech`, each with a face of their own."""
    return [
        partial(film_person, said, variation=params.variation, seed=params.seed)
        for said in open_speech(SPEECH).values()
    ]


def recorded_people(folder: str) -> list[Person]:
    """The people of a folder of videos, in this process: the landmark networks are loaded once."""
    find = mediapipe_faces()
    together = [list(files) for _, files in groupby(videos(folder), key=lambda file: file[0].parent)]
    return [partial(recorded_person, files, find) for files in together]


def recorded_person(files: Sequence[tuple[Path, str]], find: FindFaces) -> Iterator[EncodedFilm]:
    """The films of one person: files and their split."""
    for path, split in files:
        yield read_film(path, split, find)


if __name__ == "__main__":
    run(main, Params)
