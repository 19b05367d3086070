"""How well a mouth's motion and a sound are in sync, and by how much the mouth is late: `learn2talk score`.

The judge is SyncNet3D's metric network, never the one used as a loss. LSE-D and LSE-C are those of the result table
(`metrics.lse.lse`, all windows); the lag is computed from the windows with speech only. A mouth that is late, behind
its sound, has a positive lag.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from learn2talk_core.animation.animation import Animation
from learn2talk_core.audio.mel import WINDOW_COLUMNS
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import Corpus, open_corpus, sha256
from learn2talk_core.corpus.motion_file import mouth_mm, read_mouth
from learn2talk_core.evaluation.lag_confidence import Calibration, confidence, evidence, load_calibration
from learn2talk_core.metrics.lse import lse
from learn2talk_core.models.syncnet3d import WINDOW_SECONDS, SyncNet3D, audio_windows, load_syncnet3d
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.paths import CORPUS, PACKAGED_SYNCNET3D, SYNCNET3D, corpus_of
from learn2talk_core.run.resample import resample_frames
from learn2talk_core.statistics.synchrony import MAX_SHIFT, shifted_distances, sync_error

SYNCNET = f"{SYNCNET3D}/metric"
LEAST_SECONDS = 1.0
EXCERPT_SECONDS, HOP_SECONDS = 2.0, 0.25  # of the curve over the clip
SPEECH_DB = 30.0  # windows that are this much quieter than the loud ones (95th percentile) are silence
FLOOR_DB = -80.0  # of full scale: windows below this level are silence in any case
BATCH = 1024  # windows at a time
SLACK = 0.1  # fraction of a range, or of the larger of its ends, by which a measure may exceed it
# The measures that are compared with the training data, and the text for a value out of range.
MEASURES = {
    "mouth_mm": "the resting mouth is {found:.0f} mm across",
    "rest": "the mouth rests {found:.2g} away from the template",
    "energy": "the mouth moves by {found:.2g}",
    "speed": "the mouth changes by {found:.2g} per frame",
    "explained": "the network's modes of motion explain {found:.2f} of the motion",
    "speech": "{found:.2f} of the sound is speech",
    "loudness_db": "the loud parts of the sound are at {found:.0f} dB of full scale",
}


@dataclass(frozen=True)
class Scorer:
    """The judging network and what it needs; see `open_scorer`. Without a calibration, lags have no confidence."""

    corpus: Corpus
    syncnet: SyncNet3D
    calibration: Calibration | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SyncScore:
    """The score of one pair.

    Attributes:
        seconds: duration that was compared.
        lse_d, lse_c: as in the result table.
        mouth_late_ms: milliseconds by which the mouth lags behind the sound, negative when it is early; None if there
            is too little speech.
        confidence: probability that this is correct within one frame of the corpus; None without a calibration.
        frame_ms: duration of that frame.
        shifts_ms, distances: (31,) mean distance over the windows with speech if the mouth is assumed to be late by
            this many milliseconds; NaN where there are too few windows.
        curve: one row for each excerpt of two seconds: `time_s` (its middle), `mouth_late_ms`, `confidence`, `lse_d`
            and `lse_c` (over its windows with speech), `speech` (share of its windows); None where there is too little
            speech.
        outside: how the pair differs from the network's training data.
        notes: further remarks.
    """

    seconds: float
    lse_d: float
    lse_c: float
    mouth_late_ms: float | None
    confidence: float | None
    frame_ms: float
    shifts_ms: np.ndarray
    distances: np.ndarray
    curve: list[dict[str, float | None]]
    outside: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """Motion and sound of a pair, prepared for judging.

    Attributes:
        displacement: (T, n, 3) mouth vertices minus the template at the corpus's frame rate and in its unit.
        template: (n, 3) resting mouth.
        mesh, audio: (N, E) and (M, E) embeddings.
        speech: (M,) whether a window of the sound is loud enough to be speech.
        loudness: (M,) its level in dB of full scale.
    """

    displacement: np.ndarray
    template: np.ndarray
    mesh: np.ndarray
    audio: np.ndarray
    speech: np.ndarray
    loudness: np.ndarray


def open_scorer(
    syncnet: str | Path = SYNCNET, corpus: str | Path = CORPUS, calibration: str | Path | None = None
) -> Scorer:
    """Load the judging network, the corpus that it was trained on, and the calibration (by default the package's).

    If the last run has made no network, the one of this package is used.

    Raises:
        BadInput: a network of another corpus, or the one used as a loss; a given calibration of another corpus.
    """
    if syncnet == SYNCNET and not Path(syncnet).exists() and PACKAGED_SYNCNET3D.is_dir():
        syncnet = PACKAGED_SYNCNET3D
    opened = open_corpus(corpus_of(syncnet, corpus) or corpus)
    network = load_syncnet3d(syncnet, None if opened is None else opened.recipe)
    if network.shape.non_negative:
        raise BadInput(
            syncnet,
            expected="the SyncNet3D of the metric",
            found="the one of the loss, with which students may have been trained",
            fix=f"Use {SYNCNET}.",
        )
    mouth = len(opened.topology.regions["mouth"])
    if network.shape.vertices != mouth:
        found = f"one for {network.shape.vertices}"
        fix = "Give the corpus that the network was trained on (--corpus)."
        raise BadInput(syncnet, expected=f"a network for {mouth} vertices of the mouth", found=found, fix=fix)
    scale = load_calibration() if calibration is None else load_calibration(calibration)
    if scale.recipe != opened.recipe:
        if calibration is not None:
            found = f"one for {scale.recipe}"
            fix = "Make one: python -m scripts.calibrate_score."
            raise BadInput(calibration, expected=f"a calibration for {opened.recipe}", found=found, fix=fix)
        note = f"no confidence: calibrated for {scale.recipe}, not {opened.recipe} (python -m scripts.calibrate_score)"
        return Scorer(opened, network, None, (note,))
    notes: tuple[str, ...] = ()
    if scale.network != sha256(Path(syncnet) / "model.safetensors"):
        notes = ("the confidence was calibrated for other weights of the same network",)
    return Scorer(opened, network, scale, notes)


def score_motion(
    scorer: Scorer,
    wave: np.ndarray,
    vertices: np.ndarray,
    template: np.ndarray,
    fps: float,
    *,
    name: str = "motion",
    trim: bool = False,
) -> SyncScore:
    """Judge one pair. Both begin at the same instant; the longer one is trimmed, nothing is stretched.

    Args:
        scorer: from `open_scorer`.
        wave: (samples,) float32 in [−1, 1], 16 kHz mono.
        vertices: (T, n, 3) of the corpus's region `mouth`, in its unit.
        template: (n, 3) the same vertices of the resting face.
        fps: frame rate of `vertices`; if it differs from the corpus's, the motion is resampled linearly in time.
        name: name of the pair in errors.
        trim: trim also lengths that differ by more than half a second and by more than a tenth, instead of refusing
            them.

    Raises:
        BadInput: the pair is too short, the lengths disagree, or there is too little speech.
    """
    notes = _lengths(name, len(vertices) / fps, len(wave) / SAMPLE_RATE, fps, trim)
    pair = compare(scorer, wave, vertices, template, fps)
    rate, count = scorer.corpus.fps, min(len(pair.mesh), len(pair.audio))
    if count < LEAST_SECONDS * rate - scorer.syncnet.shape.window:
        least = f"at least {LEAST_SECONDS:g} s of motion with its sound"
        shorter = min(len(vertices) / fps, len(wave) / SAMPLE_RATE)
        raise BadInput(name, expected=least, found=f"{shorter:.2f} s", fix="Join short clips, or leave it out.")
    rows, speech = distances_of(pair)
    if speech.sum() < scorer.syncnet.shape.window:
        fix = "Check the sound, and that it begins when the motion does."
        raise BadInput(name, expected="speech", found=f"{speech.sum()} windows of sound that is loud enough", fix=fix)
    whole = evidence(rows, speech, rate)
    overall = lse(pair.mesh, pair.audio, rate)
    scale = scorer.calibration
    return SyncScore(
        seconds=(count - 1) / rate + WINDOW_SECONDS,
        lse_d=overall.lse_d,
        lse_c=overall.lse_c,
        mouth_late_ms=None if whole is None else whole.mouth_late_ms,
        confidence=None if whole is None or scale is None else confidence(scale, whole),
        frame_ms=1000 / rate,
        # If the sound must be shifted back by s frames to fit, the mouth is early by s frames.
        shifts_ms=-np.arange(-MAX_SHIFT, MAX_SHIFT + 1) * 1000 / rate,
        distances=np.full(2 * MAX_SHIFT + 1, np.nan) if whole is None else whole.curve,
        curve=_over_time(rows, speech, rate, scale),
        outside=() if scale is None else _outside(measures(scorer, pair), scale),
        notes=(*scorer.notes, *notes),
    )


def score_files(
    audio: str | Path,
    motion: str | Path,
    scorer: Scorer | None = None,
    *,
    fps: float | None = None,
    mm_per_unit: float | None = None,
    template: str | Path | None = None,
    trim: bool = False,
) -> SyncScore:
    """Score a sound file and a motion in an `.npy` or `.npz`; arguments as in `read_mouth` and `score_motion`.

    Without `scorer`, the one of the last run is used.
    """
    judge = open_scorer() if scorer is None else scorer
    mouth = read_mouth(motion, judge.corpus, fps=fps, mm_per_unit=mm_per_unit, template=template)
    name = f"{audio} + {motion}"
    found = score_motion(judge, read_sound(audio), mouth.vertices, mouth.template, mouth.fps, name=name, trim=trim)
    return replace(found, notes=(*mouth.notes, *found.notes))


def score_animation(animation: Animation, scorer: Scorer | None = None) -> SyncScore:
    """Score the output of an `Animator`, without its head motion. Without `scorer`, the one of the last run is used.

    Raises:
        BadInput: the mesh differs from that of the scorer's corpus.
    """
    judge = open_scorer() if scorer is None else scorer
    corpus = judge.corpus
    if not np.array_equal(animation.topology.faces, corpus.topology.faces):
        found = f"another one, of {len(animation.template)} vertices"
        fix = "Score the model's own face, before --transfer."
        raise BadInput("animation", expected=f"the mesh of {corpus.folder}", found=found, fix=fix)
    ids, scale = corpus.topology.regions["mouth"], np.float32(animation.mm_per_unit / corpus.mm_per_unit)
    parts = {"basis": animation.basis[:, ids], "offset": animation.offset[ids], "template": animation.template[ids]}
    mouth = replace(animation.unposed(), **parts)
    return score_motion(judge, animation.wave, scale * mouth.vertices(), scale * mouth.template, animation.fps)


def compare(scorer: Scorer, wave: np.ndarray, vertices: np.ndarray, template: np.ndarray, fps: float) -> Compared:
    """Resample a pair to the corpus's frame rate and embed it; arguments as in `score_motion`."""
    rate = scorer.corpus.fps
    displacement = resample_frames(vertices - template, fps, rate)
    loudness = window_loudness(wave, rate)
    audio = embed_audio_windows(scorer.syncnet, audio_windows(wave, rate))
    loudness = loudness[: len(audio)]
    loud = float(np.percentile(loudness, 95)) if len(loudness) else 0.0
    return Compared(
        displacement=displacement,
        template=template,
        mesh=mesh_embeddings(scorer.syncnet, displacement),
        audio=audio,
        speech=loudness > max(loud - SPEECH_DB, FLOOR_DB),
        loudness=loudness,
    )


def distances_of(pair: Compared) -> tuple[np.ndarray, np.ndarray]:
    """Rows for `lag_confidence.evidence`, one per window of sound, and which of them are speech."""
    # One row per window of sound, not of motion, so that silence can be left out at every shift. The columns are
    # reversed, because shifting the motion forwards is shifting the sound back.
    rows = shifted_distances(pair.audio, pair.mesh)[:, ::-1]
    return rows, pair.speech[: len(rows)]


def window_loudness(wave: np.ndarray, rate: float) -> np.ndarray:
    """Level of the 0.2 s from each frame on, in dB of full scale: (M',) for all frames that begin within the sound."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    start = np.round(np.arange(int(len(wave) / SAMPLE_RATE * rate) + 1) * SAMPLE_RATE / rate).astype(np.int64)
    start = start[start < len(wave)]
    end = np.minimum(start + round(WINDOW_SECONDS * SAMPLE_RATE), len(wave))
    return 10 * np.log10((energy[end] - energy[start]) / (end - start) + 1e-10)


@torch.inference_mode()
def mesh_embeddings(model: SyncNet3D, displacement: np.ndarray) -> np.ndarray:
    """Embeddings (T − W + 1, E) of a motion (T, n, 3) of any length; empty if T < W."""
    window, count = model.shape.window, len(displacement) - model.shape.window + 1
    parts = [
        model.embed_mesh(torch.from_numpy(displacement[start : start + BATCH + window - 1])[None])[0].numpy()
        for start in range(0, max(0, count), BATCH)
    ]
    return np.concatenate(parts) if parts else np.empty((0, model.shape.embedding), np.float32)


@torch.inference_mode()
def embed_audio_windows(model: SyncNet3D, mel: np.ndarray) -> np.ndarray:
    """Embeddings (M, E) of mel windows (M, 80, 16)."""
    assert mel.shape[-1] == WINDOW_COLUMNS
    parts = [model.embed_audio(part).numpy() for part in torch.from_numpy(mel).split(BATCH)] if len(mel) else []
    return np.concatenate(parts) if parts else np.empty((0, model.shape.embedding), np.float32)


def measures(scorer: Scorer, pair: Compared) -> dict[str, float]:
    """The measures of a pair that are compared with the training data; keys as in `MEASURES`.

    Motion is measured in the network's mode weights, which are its input; they have no unit.
    """
    modes = scorer.syncnet.modes.double().numpy()
    flat = pair.displacement.reshape(len(pair.displacement), -1).astype(np.float64)
    weights = flat @ modes
    directions = modes / np.maximum(np.linalg.norm(modes, axis=0), 1e-30)  # they are orthogonal
    moved = flat - flat.mean(axis=0)
    steps = np.diff(weights, axis=0)
    return {
        "mouth_mm": mouth_mm(pair.template, scorer.corpus.mm_per_unit),
        "rest": _rms(np.median(weights, axis=0)),
        "energy": _rms(weights - weights.mean(axis=0)),
        "speed": _rms(steps),
        "explained": float(np.square(moved @ directions).sum() / max(np.square(moved).sum(), 1e-30)),
        "speech": float(pair.speech.mean()) if len(pair.speech) else 0.0,
        "loudness_db": float(np.percentile(pair.loudness, 95)) if len(pair.loudness) else -100.0,
    }


def verdict(found: SyncScore) -> str:
    """The score in one sentence."""
    late = found.mouth_late_ms
    if late is None:
        return "too little speech to measure a lag"
    trust = "" if found.confidence is None else f", confidence {found.confidence:.2f}"
    side = "late" if late > 0 else "early"
    if found.confidence is not None and found.confidence < 0.5:
        return f"the lag is uncertain (best guess: the mouth is {abs(late):.0f} ms {side}{trust})"
    if abs(late) <= found.frame_ms / 2:
        return f"in sync: the mouth is {abs(late):.0f} ms {side}, less than half a frame{trust}"
    return f"the mouth is {abs(late):.0f} ms {side}{trust}"


def _lengths(name: str, motion: float, sound: float, fps: float, trim: bool) -> tuple[str, ...]:
    difference = abs(motion - sound)
    if difference <= 1 / fps + 1e-6:
        return ()
    said = f"{motion:.2f} s of motion at {fps:g} frames a second and {sound:.2f} s of sound"
    if difference > max(0.5, 0.1 * max(motion, sound)) and not trim:
        fits = [rate for rate in (24, 25, 30, 50, 60) if abs(motion * fps / rate - sound) <= 1.5 / rate]
        fix = f"At {fits[0]} frames a second they would be equal (--fps). " if fits else ""
        raise BadInput(
            name,
            expected="motion and sound of the same length",
            found=said,
            fix=f"{fix}To compare only their common duration from the start: --trim.",
        )
    return (f"{said}: the longer one was trimmed",)


def _over_time(
    rows: np.ndarray, speech: np.ndarray, rate: float, scale: Calibration | None
) -> list[dict[str, float | None]]:
    size, hop = round(EXCERPT_SECONDS * rate), max(1, round(HOP_SECONDS * rate))
    curve: list[dict[str, float | None]] = []
    for start in range(0, max(1, len(rows) - size + 1), hop):
        part, keep = rows[start : start + size], speech[start : start + size]
        found = evidence(part, keep, rate)
        curve.append(
            {
                "time_s": (start + (len(part) - 1) / 2) / rate + WINDOW_SECONDS / 2,
                "mouth_late_ms": None if found is None else found.mouth_late_ms,
                "confidence": None if found is None or scale is None else confidence(scale, found),
                "lse_d": None if found is None else sync_error(found.curve)[0],
                "lse_c": None if found is None else found.contrast,
                "speech": float(keep.mean()),
            }
        )
    return curve


def _outside(found: dict[str, float], scale: Calibration) -> tuple[str, ...]:
    said = []
    for name, (low, high) in scale.ranges.items():
        slack = SLACK * max(high - low, abs(low), abs(high))
        if name in found and not low - slack <= found[name] <= high + slack:
            said.append(f"{MEASURES[name].format(found=found[name])}, in training {low:.3g} … {high:.3g}")
    return tuple(said)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean())) if values.size else 0.0
