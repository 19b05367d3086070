"""embedded generator or a folder of videos → data/talking_video: the 2D corpus of lip readers and teacher"""

from dataclasses import dataclass

from joblib import cpu_count

from learn2talk_core.config import shared
from learn2talk_core.corpus.embedded.video import make_films
from learn2talk_core.corpus.talking_video import VIDEO_FPS, open_talking_video, write_talking_video
from learn2talk_core.progress import progress
from learn2talk_core.stage import run

OUT = "data/talking_video"


@dataclass(frozen=True)
class Params:
    source: str
    reader_speakers: int
    reader_sentences: int
    validation_speakers: int
    validation_sentences: int
    variation: float
    seed: int = shared()


def main(params: Params) -> str:
    speakers = dict.fromkeys(("loss", "metric"), params.reader_speakers) | {"validation": params.validation_speakers}
    sentences = dict.fromkeys(("loss", "metric"), params.reader_sentences) | {"validation": params.validation_sentences}
    films = make_films(speakers, sentences, variation=params.variation, seed=params.seed, workers=min(cpu_count(), 8))
    total = sum(speakers[split] * sentences[split] for split in speakers)
    write_talking_video(OUT, progress(films, "films", total=total, unit="clip"))
    clips = open_talking_video(OUT).clips
    minutes = sum(clip.frames for clip in clips) / VIDEO_FPS / 60
    return f"{len(clips)} clips of {len({clip.speaker for clip in clips})} speakers, {minutes:.1f} minutes"


if __name__ == "__main__":
    run(main, Params)
