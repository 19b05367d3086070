"""The time offset between the sound and the lips of a corpus, measured by correlation: loud sounds open the mouth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput

STEP = 0.005  # seconds between two samples of the curves
LIMIT = 0.3  # seconds; the largest lag that is tried
WINDOW = 0.045  # seconds over which the sound's level is averaged
FLOOR = 1e-5  # power below which sound counts as silence, -50 dB of full scale
ENOUGH = 60  # clips that are measured, spread over the corpus


@dataclass(frozen=True)
class AudioOffset:
    """How much later the motion of a corpus is than its sound.

    Attributes:
        lag_ms: lag with the highest mean correlation over the clips; negative if the motion is earlier.
        low_ms, high_ms: quartiles of the lags of the single clips.
        correlation: the highest mean correlation of loudness and mouth opening; below about 0.2 the lag means nothing.
        clips: number of clips measured.
    """

    lag_ms: float
    low_ms: float
    high_ms: float
    correlation: float
    clips: int

    def __str__(self) -> str:
        side = "after" if self.lag_ms >= 0 else "before"
        return (
            f"lips open {abs(self.lag_ms):.0f} ms {side} the sound (middle half of {self.clips} clips "
            f"{self.low_ms:.0f} … {self.high_ms:.0f} ms, correlation {self.correlation:.2f})"
        )


@dataclass(frozen=True)
class LipCurves:
    """Sound level and lip opening of a clip, sampled every `STEP` seconds.

    Attributes:
        level: (n,) sound level, dB of full scale.
        opening: (n,) lip opening in the unit of the mesh.
    """

    level: np.ndarray
    opening: np.ndarray


def measure_offset(corpus: Corpus, clips: Sequence[Clip] | None = None) -> AudioOffset:
    """Correlate sound level and lip opening of `clips`; by default of about `ENOUGH` clips spread over the corpus.

    Synchronous speech does not give 0, because the lips open a little after the sound's level rises: the embedded
    corpus, whose true offset is 0, gives 7 ms. To correct a corpus, increase `audio_offset_ms` by the excess over that
    and read the dataset again.

    Raises:
        BadInput: no clip has both sound and moving lips for longer than twice `LIMIT`.
    """
    if clips is None:
        clips = corpus.clips[:: max(1, len(corpus.clips) // ENOUGH)]
    found = [
        correlations(lip_curves(_opening(corpus, clip), corpus.audio(clip), corpus.fps), _smallest(corpus, clip))
        for clip in clips
    ]
    rows = [row for row in found if row is not None]
    if not rows:
        raise BadInput(
            corpus.folder,
            expected=f"clips longer than {2 * LIMIT:g} s with sound and moving lips",
            found="none",
            fix="The offset between sound and motion cannot be measured.",
        )
    return mean_offset(np.array(rows))


def mean_offset(rows: np.ndarray) -> AudioOffset:
    """The offset of a set of clips from their `correlations`, (clips, lags)."""
    mean = rows.mean(axis=0)
    low, high = np.percentile([peak_seconds(row) for row in rows], [25, 75])
    return AudioOffset(1000 * peak_seconds(mean), 1000 * low, 1000 * high, float(mean.max()), len(rows))


def shifted(motion: np.ndarray, audio: np.ndarray, seconds: float, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Delay the sound by `seconds` against the motion by cutting the start of one of them; nothing is padded.

    Args:
        motion: (T, V, 3) at `fps`.
        audio: (samples,) at 16 kHz.
        seconds: negative makes the sound earlier.
        fps: frames per second of the motion.
    """
    frames = int(np.ceil(max(seconds, 0.0) * fps - 1e-9))
    return motion[frames:], audio[round((frames / fps - seconds) * SAMPLE_RATE) :]


def lip_curves(opening: np.ndarray, audio: np.ndarray, fps: float) -> LipCurves:
    """The curves of a clip from its lip opening (T,) at `fps`, and its sound at 16 kHz."""
    frames = np.arange(len(opening)) / fps
    times = np.arange(0, frames[-1] if len(opening) else 0, STEP)
    return LipCurves(sound_level(audio, times), np.interp(times, frames, opening) if len(times) else times)


def opening_curve(topology: Topology, motion: np.ndarray) -> np.ndarray:
    """(T,) gap between the lips along y; if the mesh has no lip pairs, the standard deviation of the lips' y.

    Args:
        topology: of the mesh.
        motion: (T, V, 3).
    """
    upper, lower = topology.lip_pairs.T
    if len(upper):
        return (motion[:, upper, 1] - motion[:, lower, 1]).mean(axis=1)
    return motion[:, topology.regions["lips"], 1].std(axis=1)


def correlations(curves: LipCurves, smallest: float, *, backwards: bool = False) -> np.ndarray | None:
    """Correlation of level and opening for each lag of the motion in -`LIMIT` … `LIMIT`, every `STEP`; (lags,).

    Args:
        curves: of a clip.
        smallest: range of the opening below which lips count as still.
        backwards: reverse the sound level in time.

    Returns:
        None if the clip is no longer than twice `LIMIT`, or if sound or lips do not change.
    """
    level, opening = curves.level[::-1] if backwards else curves.level, curves.opening
    most, length = round(LIMIT / STEP), len(opening)
    if length <= 2 * most or np.ptp(opening) < smallest or np.ptp(level) < 1e-6:
        return None
    return np.array(
        [
            _cosine(level[max(0, -lag) : length - max(0, lag)], opening[max(0, lag) : length - max(0, -lag)])
            for lag in range(-most, most + 1)
        ]
    )


def sound_level(wave: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(n,) level of the sound (samples,) at 16 kHz around each time (n,) in seconds; dB of full scale."""
    power = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    ends = np.clip(np.round((times[:, None] + np.array([-0.5, 0.5]) * WINDOW) * SAMPLE_RATE), 0, len(wave)).astype(int)
    mean = (power[ends[:, 1]] - power[ends[:, 0]]) / np.maximum(ends[:, 1] - ends[:, 0], 1)
    return 10 * np.log10(np.maximum(mean, FLOOR))


def peak_seconds(row: np.ndarray) -> float:
    """The lag at which a row of `correlations` peaks, refined by the parabola through the peak and its neighbours."""
    top = int(np.clip(row.argmax(), 1, len(row) - 2))
    left, middle, right = row[top - 1 : top + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return (top - len(row) // 2 + float(np.clip(shift, -1, 1))) * STEP


def _opening(corpus: Corpus, clip: Clip) -> np.ndarray:
    """`opening_curve` up to a constant, computed from the lip vertices alone."""
    pairs = corpus.topology.lip_pairs
    if len(pairs):
        y = corpus.displacement(clip, pairs.T.reshape(-1))[:, :, 1]
        return (y[:, : len(pairs)] - y[:, len(pairs) :]).mean(axis=1)
    return corpus.vertices(clip, "lips")[:, :, 1].std(axis=1)


def _smallest(corpus: Corpus, clip: Clip) -> float:
    return 1e-6 * float(np.ptp(corpus.templates[clip.speaker]))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-30))
