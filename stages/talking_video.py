"""embedded generator or a folder of videos → data/talking_video: the 2D corpus for the lip readers and the teacher"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from joblib import cpu_count

from learn2talk_core.datasets.embedded.films import make_films
from learn2talk_core.run.files import write_json
from learn2talk_core.run.paths import METRICS, TALKING_VIDEO
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import run
from learn2talk_core.video.landmarks import mediapipe_faces
from learn2talk_core.video.recorded import recorded_films, videos
from learn2talk_core.video.talking_video import (
    SPLITS,
    VIDEO_FPS,
    EncodedFilm,
    TalkingVideo,
    VideoClip,
    open_talking_video,
    write_talking_video,
)

OUT = TALKING_VIDEO
MOST_WORKERS = 8  # each needs half a gigabyte of memory


@dataclass(frozen=True)
class Params:
    source: str
    reader_speakers: int
    reader_sentences: int
    validation_speakers: int
    validation_sentences: int
    variation: float
    seed: int


def main(params: Params) -> str:
    films, total = embedded_films(params) if params.source == "embedded" else films_of_folder(params.source)
    write_talking_video(OUT, progress(films, "videos", total=total, unit="clip"))
    found = contents(open_talking_video(OUT))
    write_json(f"{METRICS}/talking_video.json", {"source": params.source, **found})
    return f"{found['clips']} clips of {found['speakers']} speakers, {found['minutes']:.1f} minutes"


def contents(video: TalkingVideo) -> dict[str, Any]:
    """The size of the corpus and of its splits: clips, speakers, minutes."""

    def size(clips: Sequence[VideoClip]) -> dict[str, float]:
        minutes = sum(clip.frames for clip in clips) / VIDEO_FPS / 60
        speakers = len({clip.speaker for clip in clips})
        return {"clips": len(clips), "speakers": speakers, "minutes": round(minutes, 3)}

    return {**size(video.clips), "splits": {name: size(video.split(name)) for name in SPLITS}}


def embedded_films(params: Params) -> tuple[Iterator[EncodedFilm], int]:
    speakers = dict.fromkeys(("loss", "metric"), params.reader_speakers) | {"validation": params.validation_speakers}
    sentences = dict.fromkeys(("loss", "metric"), params.reader_sentences) | {"validation": params.validation_sentences}
    films = make_films(
        speakers, sentences, variation=params.variation, seed=params.seed, workers=min(cpu_count(), MOST_WORKERS)
    )
    return films, sum(speakers[split] * sentences[split] for split in speakers)


def films_of_folder(folder: str) -> tuple[Iterator[EncodedFilm], int]:
    return recorded_films(folder, mediapipe_faces()), len(videos(folder))


if __name__ == "__main__":
    run(main, Params)
