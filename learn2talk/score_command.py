"""`learn2talk score`: which files belong together, and what is written of their scores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from learn2talk_core.audio.sound import SUFFIXES as SOUNDS
from learn2talk_core.corpus.motion_file import SUFFIXES
from learn2talk_core.evaluation.motion_sync import Scorer, SyncScore, score_files, verdict
from learn2talk_core.report.png import save_png
from learn2talk_core.report.sync_curve import sync_curve
from learn2talk_core.report.video_table import write_csv
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import by_stem, visible
from learn2talk_core.run.progress import progress
from learn2talk_core.video.recorded import SUFFIXES as VIDEOS

FIX = "Give --audio A.wav --motion M.npy, a folder of such pairs of the same name, or videos."
COLUMNS = ("pair", "seconds", "lse_d", "lse_c", "mouth_late_ms", "confidence", "outside", "notes", "error")


class Pair(NamedTuple):
    """A sound and a motion."""

    name: str
    audio: Path
    motion: Path


def find_pairs(
    paths: Sequence[str | Path], audio: Sequence[str | Path] = (), motion: Sequence[str | Path] = ()
) -> tuple[list[Pair], list[Path]]:
    """Pairs and videos among `paths`, and the pairs that `audio` and `motion` name one by one, in order.

    A folder holds pairs of the same stem, a sound and an `.npy` or `.npz`; or it holds videos. Suffixes may be in
    capitals, and hidden files are skipped. A video of the same stem as a motion is its sound, where there is no other.
    A motion without a sound is an error: nothing is left out silently.
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


def score_pairs(
    pairs: Sequence[Pair],
    scorer: Scorer,
    *,
    fps: float | None = None,
    mm_per_unit: float | None = None,
    template: str | None = None,
    trim: bool = False,
    out: str | Path | None = None,
    tell: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Score each pair; a bad one is a row with its error, and the others go on.

    Args:
        pairs: of `find_pairs`.
        scorer: what judges.
        fps, mm_per_unit, template: see `corpus.motion_file.read_mouth`.
        trim: see `sync_score.score`.
        out: folder for a picture and a table of each pair, `NAME.png` and `NAME.csv`.
        tell: takes the sentences on each pair.
    """
    rows = []
    for pair in progress(pairs, "pairs", unit="pair") if len(pairs) > 1 else pairs:
        how: dict[str, Any] = {"fps": fps, "mm_per_unit": mm_per_unit, "template": template, "trim": trim}
        try:
            found = score_files(pair.audio, pair.motion, scorer, **how)
        except BadInput as error:
            rows.append({**dict.fromkeys(COLUMNS), "pair": pair.name, "error": str(error)})
            continue
        rows.append(as_row(pair.name, found))
        tell(f"{pair.name}: {verdict(found)}; LSE-D {found.lse_d:.3f}, LSE-C {found.lse_c:.3f}, {found.seconds:.1f} s")
        for note in found.notes:
            tell(f"  note: {note}")
        for excess in found.outside:
            tell(f"  outside of what the network was trained on: {excess}")
        if out is not None:
            write_lag_curve(out, pair.name, found)
    return rows


def write_lag_curve(out: str | Path, name: str, found: SyncScore) -> None:
    """Write `NAME.png` and `NAME.csv` with the lag over the clip."""
    title = f"{name}: {verdict(found)}"
    figure = sync_curve(title, found.shifts_ms, found.distances, found.mouth_late_ms, found.curve, found.frame_ms)
    save_png(Path(out) / f"{name}.png", figure)
    write_csv(Path(out) / f"{name}.csv", found.curve)


def as_row(name: str, found: SyncScore) -> dict[str, Any]:
    """One row of the table of a batch, in `COLUMNS`."""
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


def video_rows(table_rows: Sequence[dict[str, Any]], problems: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Rows of `video_scores.sync_of_videos` in the columns of pairs.

    SyncNet's offset counts frames of 40 ms by which the sound leads, which is by how much the mouth is late.
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
        for row in table_rows
    ]
    return rows + [
        {**dict.fromkeys(COLUMNS), "pair": problem["video"], "error": problem["error"]} for problem in problems
    ]


def _sound(motion: Path, sounds: Mapping[str, Path]) -> Path:
    if motion.stem in sounds:
        return sounds[motion.stem]
    raise BadInput(
        motion,
        expected=f"a sound of the same name with one of {', '.join(SOUNDS)}",
        found="none",
        fix="Put it beside the motion.",
    )
