"""A batch of sounds with motions, and of videos: which files form a pair, and the rows of the table of scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from learn2talk_core.audio.sound import SUFFIXES as SOUNDS
from learn2talk_core.corpus.motion_file import SUFFIXES
from learn2talk_core.evaluation.motion_sync import SyncScore
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import by_stem, visible
from learn2talk_core.video.recorded import SUFFIXES as VIDEOS

FIX = "Give --audio A.wav --motion M.npy, a folder of such pairs of the same name, or videos."
COLUMNS = ("pair", "seconds", "lse_d", "lse_c", "mouth_late_ms", "confidence", "outside", "notes", "error")
PairRow = dict[str, Any]  # in `COLUMNS`


class Pair(NamedTuple):
    """A sound and a motion."""

    name: str
    audio: Path
    motion: Path


def find_pairs(
    paths: Sequence[str | Path], audio: Sequence[str | Path] = (), motion: Sequence[str | Path] = ()
) -> tuple[list[Pair], list[Path]]:
    """Pairs and videos among `paths`, and the pairs that `audio` and `motion` name one by one, in order.

    A folder contains pairs of the same stem, a sound and an `.npy` or `.npz`; or it contains videos. The case of
    suffixes does not matter, and hidden files are skipped. A video with the stem of a motion is used as its sound if
    there is no sound file. A motion without a sound is an error: nothing is left out silently.
    """
    if len(audio) != len(motion):
        counts = f"{len(audio)} sounds and {len(motion)} motions"
        raise BadInput("score", expected="one --audio for each --motion", found=counts, fix=FIX)
    pairs = [Pair(Path(m).stem, Path(a), Path(m)) for a, m in zip(audio, motion, strict=True)]
    videos: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            if path.suffix.lower() not in VIDEOS:
                raise BadInput(path, expected="a video or a folder", found="neither", fix=FIX)
            videos.append(path)
            continue
        motions = [file for file in visible(path) if file.suffix.lower() in SUFFIXES]
        films = [file for file in visible(path) if file.suffix.lower() in VIDEOS]
        if not motions and not films:
            raise BadInput(path, expected="motions (.npy, .npz) with their sounds, or videos", found="neither", fix=FIX)
        sounds = by_stem(path, (*SOUNDS, *sorted(VIDEOS)))
        found = [Pair(file.stem, _sound(file, sounds), file) for file in motions]
        pairs += found
        videos += [film for film in films if film not in [pair.audio for pair in found]]
    names: dict[str, int] = {}
    for number, pair in enumerate(pairs):
        names[pair.name] = names.get(pair.name, 0) + 1
        if names[pair.name] > 1:  # pictures are named by pair
            pairs[number] = pair._replace(name=f"{pair.name}-{names[pair.name]}")
    if not pairs and not videos:
        raise BadInput("score", expected="something to score", found="nothing", fix=FIX)
    return pairs, videos


def as_row(name: str, found: SyncScore) -> PairRow:
    """The row of a pair."""
    return {
        "pair": name,
        "seconds": round(found.seconds, 3),
        "lse_d": found.lse_d,
        "lse_c": found.lse_c,
        "mouth_late_ms": found.mouth_late_ms,
        "confidence": found.confidence,
        "outside": "; ".join(found.outside),
        "notes": "; ".join(found.notes),
        "error": None,
    }


def failed_row(name: str, error: str) -> PairRow:
    """The row of a pair or a video that could not be scored."""
    return {**dict.fromkeys(COLUMNS), "pair": name, "error": error}


def video_rows(scored: Sequence[dict[str, Any]], problems: Sequence[dict[str, str]]) -> list[PairRow]:
    """Rows made from the result of `video_scores.sync_of_videos`.

    SyncNet's offset is the number of frames of 40 ms by which the sound leads, that is, by which the mouth is late.
    """
    rows = [
        {
            **dict.fromkeys(COLUMNS),
            "pair": row["video"],
            "seconds": row["frames"] / 25,
            "lse_d": row["lse_d"],
            "lse_c": row["lse_c"],
            "mouth_late_ms": 40.0 * row["offset"],
            "notes": "2D video: whole frames, no confidence; LSE not comparable with that of 3D motion",
        }
        for row in scored
    ]
    return rows + [failed_row(problem["video"], problem["error"]) for problem in problems]


def _sound(motion: Path, sounds: Mapping[str, Path]) -> Path:
    if motion.stem in sounds:
        return sounds[motion.stem]
    raise BadInput(
        motion,
        expected=f"a sound of the same name with one of {', '.join(SOUNDS)}",
        found="none",
        fix="Put it beside the motion.",
    )
