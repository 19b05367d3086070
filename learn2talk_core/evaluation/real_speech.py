"""What a student does with recordings of real people: recognition, closures and open vowels, synchrony, jitter.

There is no true motion to compare with; what was said is known. A set is a folder with `set.json`: a list of recordings
{id, wav, text, phonemes: [NAME, …]} or, with times, {…, phonemes_with_times: [[start, end, NAME], …]}, in seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.corpus.phonemes import PHONEMES, Phoneme
from learn2talk_core.evaluation.motion_sync import Scorer, SyncScore, score_motion
from learn2talk_core.evaluation.speech_recognition import align, recognise
from learn2talk_core.mesh.topology import lip_gap
from learn2talk_core.metrics.articulation import Articulation, acceleration_over_speed, articulation, jitter, pooled
from learn2talk_core.models.phoneme_head import SpeechRecogniser
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import plain_name, read_json
from learn2talk_core.statistics.recognition import edit_distance

SHIFTS_MS = (-200, -100, 100, 200)
SURE = 0.5  # confidence from which a lag is a verdict
TIMES_GIVEN, TIMES_ALIGNED = "given", "aligned"


@dataclass(frozen=True)
class SpokenRecording:
    """A recording of a person.

    Attributes:
        id: its name.
        wave: (samples,) 16 kHz mono.
        names: the phonemes that were spoken.
        phonemes: the same with times; None if the set gives none.
    """

    id: str
    wave: np.ndarray
    names: tuple[str, ...]
    phonemes: tuple[Phoneme, ...] | None


@dataclass(frozen=True)
class Judged:
    """What was measured of one recording.

    Attributes:
        id: of the recording.
        edits, spoken: edits of the recognised phonemes, and number of spoken ones; None without a recogniser.
        times: where the times of the phonemes come from: "given" or "aligned"; None if there are none.
        articulation: gaps at closures and vowels; None without times.
        jitter, acceleration: of the lip gap, the second over its speed; None if the mouth does not move.
        mouth_late_ms, confidence: the lag that SyncNet3D finds; None without SyncNet3D or with too little speech.
        shifted: for each of `SHIFTS_MS`, the lag found after the sound was shifted, and its confidence.
        frame_ms: duration of a frame of the lags.
    """

    id: str
    edits: int | None
    spoken: int
    times: str | None
    articulation: Articulation | None
    jitter: float | None
    acceleration: float | None
    mouth_late_ms: float | None
    confidence: float | None
    shifted: Mapping[int, tuple[float | None, float | None]]
    frame_ms: float | None


def read_set(folder: str | Path) -> list[SpokenRecording]:
    """The recordings of a set.

    Raises:
        BadInput: no `set.json`, an entry without what it must have, an unknown phoneme, or a sound that cannot be read.
    """
    path = Path(folder) / "set.json"
    entries = read_json(path, made_by="hand: a list of {id, wav, text, phonemes}")
    fix = "See benchmarks/real_speech.py for what it must hold."
    if not isinstance(entries, list) or not entries:
        raise BadInput(path, expected="a list of recordings", found=type(entries).__name__, fix=fix)
    return [_recording(entry, path, fix) for entry in entries]


def judge_recording(
    recording: SpokenRecording, animation: Animation, recogniser: SpeechRecogniser | None, scorer: Scorer | None
) -> Judged:
    """Measure one recording and its animation.

    Args:
        recording: what was said.
        animation: of the same sound, without head motion, of a mesh with lip pairs.
        recogniser: for the phoneme error, and for the times of phonemes if the set has none; None leaves both out.
        scorer: for the lag; None leaves it out.
    """
    phonemes, times = recording.phonemes, TIMES_GIVEN
    if phonemes is None and recogniser is not None:
        phonemes, times = tuple(align(recogniser, recording.wave, recording.names)), TIMES_ALIGNED
    edits = None
    if recogniser is not None:
        found = [phoneme.name for phoneme in recognise(recogniser, recording.wave)]
        edits = edit_distance(recording.names, found)
    gap = gap_mm(animation)
    lag, shifted = _lags(animation, scorer)
    return Judged(
        id=recording.id,
        edits=edits,
        spoken=len(recording.names),
        times=None if phonemes is None else times,
        articulation=None if phonemes is None else articulation(gap, animation.fps, phonemes),
        jitter=jitter(gap),
        acceleration=acceleration_over_speed(gap),
        mouth_late_ms=None if lag is None else lag.mouth_late_ms,
        confidence=None if lag is None else lag.confidence,
        shifted=shifted,
        frame_ms=None if lag is None else lag.frame_ms,
    )


def gap_mm(animation: Animation) -> np.ndarray:
    """(T,) mean gap of the lip pairs in millimetres. It is affine in the states, so no other vertex is computed.

    Raises:
        BadInput: a mesh without lip pairs.
    """
    upper, lower = animation.topology.lip_pairs.T
    if not len(upper):
        fix = "Use a corpus whose topology has lip pairs."
        raise BadInput("animation", expected="a mesh with pairs of lip vertices", found="none", fix=fix)

    def height(part: np.ndarray) -> np.ndarray:
        return (part[..., upper, 1].astype(np.float64) - part[..., lower, 1]).mean(-1)

    rest = height(animation.template + animation.offset)
    return (animation.states @ height(animation.basis) + rest) * animation.mm_per_unit


def true_motion(corpus: Corpus) -> dict[str, float | int | None]:
    """What `speech_summary` says of the mouth, for the true motion of a corpus's test clips.

    Raises:
        BadInput: a mesh without lip pairs.
    """
    pairs = corpus.topology.lip_pairs
    if not len(pairs):
        fix = "Use a corpus whose topology has lip pairs."
        raise BadInput(corpus.folder, expected="a mesh with pairs of lip vertices", found="none", fix=fix)
    clips = corpus.split("test_seen", "test_unseen")
    gaps = [corpus.mm_per_unit * lip_gap(corpus.vertices(clip), pairs).mean(axis=1) for clip in clips]
    said = [articulation(gap, corpus.fps, clip.phonemes) for gap, clip in zip(gaps, clips, strict=True)]
    jitters, accelerations = map(jitter, gaps), map(acceleration_over_speed, gaps)
    return {
        "clips": len(clips),
        **pooled(said).scores(),
        "jitter": _mean([found for found in jitters if found is not None]),
        "acceleration_over_speed": _mean([found for found in accelerations if found is not None]),
    }


def shifted_wave(wave: np.ndarray, late_ms: float) -> np.ndarray:
    """The sound for which a mouth in sync with `wave` is late by `late_ms`: earlier, or later after silence."""
    samples = round(abs(late_ms) * SAMPLE_RATE / 1000)
    return wave[samples:] if late_ms > 0 else np.concatenate([np.zeros(samples, wave.dtype), wave])


def speech_summary(judged: Sequence[Judged]) -> dict[str, float | int | None]:
    """All recordings together: phones are pooled, jitter and acceleration are averaged, lags are counted.

    `lag_within_frame` is the share of recordings whose lag is at most one frame; `shifts_found` the share of shifted
    sounds whose shift is found within one frame of what was found before; `shifts_found_with_verdict` the share where
    this has a confidence of at least one half.
    """
    heard = [one for one in judged if one.edits is not None]
    lags = [one for one in judged if one.mouth_late_ms is not None and one.frame_ms is not None]
    tried = [
        (
            found is not None and abs(found - one.mouth_late_ms - shift) <= one.frame_ms,
            sure is not None and sure >= SURE,
        )
        for one in judged
        if one.mouth_late_ms is not None and one.frame_ms is not None
        for shift, (found, sure) in one.shifted.items()
    ]
    edits, spoken = sum(one.edits or 0 for one in heard), sum(one.spoken for one in heard)
    return {
        "recordings": len(judged),
        "phoneme_error": edits / spoken if spoken else None,
        **pooled([one.articulation for one in judged if one.articulation is not None]).scores(),
        "jitter": _mean([one.jitter for one in judged if one.jitter is not None]),
        "acceleration_over_speed": _mean([one.acceleration for one in judged if one.acceleration is not None]),
        "lag_within_frame": _mean([abs(one.mouth_late_ms or 0.0) <= (one.frame_ms or 0.0) for one in lags]),
        "shifts_found": _mean([right for right, _ in tried]),
        "shifts_found_with_verdict": _mean([right and sure for right, sure in tried]),
    }


def table(judged: Sequence[Judged], truth: Mapping[str, float | int | None] | None = None) -> str:
    """Markdown: one row per recording, one for all, and one for `true_motion` if it is given."""
    head = ("recording", *COLUMNS.values())
    rows = [(one.id, *_cells(speech_summary([one]), one.mouth_late_ms)) for one in judged]
    rows.append(("all", *_cells(speech_summary(judged), _median([one.mouth_late_ms for one in judged]))))
    if truth is not None:
        rows.append(("true motion of the corpus", *_cells(truth, None)))
    lines = ["| " + " | ".join(row) + " |" for row in (head, ("---", *("---:" for _ in COLUMNS)), *rows)]
    return "\n".join(lines) + "\n"


COLUMNS = {
    "phoneme_error": "phoneme error",
    "closures": "p b m",
    "vowels": "open vowels",
    "closure_gap_mm": "gap at p b m, mm",
    "vowel_gap_mm": "gap at vowels, mm",
    "contrast_mm": "contrast, mm",
    "auc": "AUC",
    "closed": "closed",
    "wrongly_closed": "wrongly closed",
    "jitter": "jitter",
    "acceleration_over_speed": "acceleration / speed",
    "mouth_late_ms": "mouth late, ms",
    "shifts_found": "shifts found",
    "shifts_found_with_verdict": "with verdict",
}


def judged_json(judged: Sequence[Judged], **about: Any) -> dict[str, Any]:
    """Everything as JSON values."""
    rows = [
        {
            "id": one.id,
            "times": one.times,
            **speech_summary([one]),
            "mouth_late_ms": one.mouth_late_ms,
            "confidence": one.confidence,
            "shifted": {str(shift): list(found) for shift, found in one.shifted.items()},
        }
        for one in judged
    ]
    return {**about, "all": speech_summary(judged), "recordings": rows}


def _recording(entry: object, path: Path, fix: str) -> SpokenRecording:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not isinstance(entry.get("wav"), str):
        raise BadInput(path, expected="an id and a wav for each recording", found=str(entry)[:80], fix=fix)
    where = f"{path}: {entry['id'][:80]}"
    timed = entry.get("phonemes_with_times")
    try:
        phonemes = None if timed is None else tuple(Phoneme(float(a), float(b), str(name)) for a, b, name in timed)
        names = tuple(p.name for p in phonemes) if phonemes is not None else tuple(map(str, entry["phonemes"]))
    except (KeyError, TypeError, ValueError) as error:
        expected, found = (
            "phonemes, or phonemes_with_times: [start, end, NAME]",
            f"{type(error).__name__}: {error}"[:80],
        )
        raise BadInput(where, expected=expected, found=found, fix=fix) from None
    unknown = [name for name in names if name not in PHONEMES]
    if unknown or not names:
        found = repr(unknown[0])[:40] if unknown else "none"
        raise BadInput(where, expected="ARPAbet phonemes without stress", found=found, fix=fix)
    if phonemes is not None and not all(0 <= p.start <= p.end for p in phonemes):
        raise BadInput(where, expected="times that begin before they end", found="others", fix=fix)
    wave = read_sound(path.parent / plain_name(entry["wav"], path))
    return SpokenRecording(entry["id"], wave, names, phonemes)


def _lags(
    animation: Animation, scorer: Scorer | None
) -> tuple[SyncScore | None, dict[int, tuple[float | None, float | None]]]:
    """The lag of an animation, and those found when its sound is shifted."""
    if scorer is None:
        return None, {}
    ids = scorer.corpus.topology.regions["mouth"]
    scale = np.float32(animation.mm_per_unit / scorer.corpus.mm_per_unit)
    vertices, rest = scale * animation.vertices()[:, ids], scale * animation.template[ids]

    def scored(wave: np.ndarray) -> SyncScore | None:
        try:
            return score_motion(scorer, wave, vertices, rest, animation.fps, trim=True)
        except BadInput:  # too short or too little speech to measure
            return None

    found = {shift: scored(shifted_wave(animation.wave, shift)) for shift in SHIFTS_MS}
    return scored(animation.wave), {
        shift: (None, None) if one is None else (one.mouth_late_ms, one.confidence) for shift, one in found.items()
    }


def _cells(values: Mapping[str, float | int | None], late: float | None) -> list[str]:
    shown = {**values, "mouth_late_ms": late}
    return [_cell(shown.get(key)) for key in COLUMNS]


def _cell(value: float | int | None) -> str:
    if value is None:
        return "—"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
