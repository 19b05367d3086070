"""How far sound and lips of a corpus are apart in time, from what they have in common: loud sounds open the mouth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.run.errors import BadInput

STEP = 0.005  # seconds between two points of the curves
LIMIT = 0.3  # seconds; larger lags are not looked for
WINDOW = 0.045  # seconds over which the sound's level is averaged
FLOOR = 1e-5  # power of what counts as silence, -50 dB of full scale
ENOUGH = 60  # clips that are looked at, spread over the corpus


@dataclass(frozen=True)
class AudioOffset:
    """By how much the motion of a corpus is later than its sound.

    Attributes:
        lag_ms: where the clips' mean correlation is highest; negative: motion is earlier.
        low_ms, high_ms: between these lie the middle half of the clips, each taken alone.
        correlation: the highest, of loudness and mouth opening; below 0.2 or so the lag means nothing.
        clips: how many were looked at.
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


def measure_offset(corpus: Corpus, clips: Sequence[Clip] | None = None) -> AudioOffset:
    """Correlate level and lip opening of `clips`, by default of `ENOUGH` spread over the corpus.

    Speech in step does not give 0: lips open a little after the sound's level rises. On the embedded corpus, whose
    truth is 0, it is 7 ms. To bring a corpus to that, read it with `audio_offset_ms` raised by what is too much.

    Raises:
        BadInput: no clip has both sound and motion of the lips for longer than twice `LIMIT`.
    """
    if clips is None:
        clips = corpus.clips[:: max(1, len(corpus.clips) // ENOUGH)]
    curves = np.array([curve for clip in clips if (curve := _correlations(corpus, clip)) is not None])
    if not len(curves):
        raise BadInput(
            corpus.folder,
            expected=f"clips longer than {2 * LIMIT:g} s with sound and moving lips",
            found="none",
            fix="The offset between sound and motion cannot be measured.",
        )
    mean = curves.mean(axis=0)
    low, high = np.percentile([_peak(curve) for curve in curves], [25, 75])
    return AudioOffset(1000 * _peak(mean), 1000 * low, 1000 * high, float(mean.max()), len(curves))


def shifted(motion: np.ndarray, audio: np.ndarray, seconds: float, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Sound that comes `seconds` later against the motion, by cutting the start of one: nothing is invented.

    Args:
        motion: (T, V, 3) at `fps`.
        audio: (samples,) at 16 kHz.
        seconds: negative moves the sound earlier.
        fps: frames per second of the motion.
    """
    frames = int(np.ceil(max(seconds, 0.0) * fps - 1e-9))
    return motion[frames:], audio[round((frames / fps - seconds) * SAMPLE_RATE) :]


def _correlations(corpus: Corpus, clip: Clip) -> np.ndarray | None:
    """Correlation of level and opening for each lag of motion in -`LIMIT` … `LIMIT`; None where there is nothing."""
    frames = np.arange(clip.frames) / corpus.fps
    times = np.arange(0, frames[-1] if clip.frames else 0, STEP)
    opening = np.interp(times, frames, _opening(corpus, clip)) if len(times) else times
    level = _level(corpus.audio(clip), times)
    most = round(LIMIT / STEP)
    if (
        len(times) <= 2 * most
        or np.ptp(opening) < 1e-6 * np.ptp(corpus.templates[clip.speaker])
        or np.ptp(level) < 1e-6
    ):
        return None
    length = len(times)
    return np.array(
        [
            _cosine(level[max(0, -lag) : length - max(0, lag)], opening[max(0, lag) : length - max(0, -lag)])
            for lag in range(-most, most + 1)
        ]
    )


def _opening(corpus: Corpus, clip: Clip) -> np.ndarray:
    """(T,) how far the lips are apart along y; without pairs of facing vertices, how far the lips spread."""
    pairs = corpus.topology.lip_pairs
    if len(pairs):
        y = corpus.displacement(clip, pairs.T.reshape(-1))[:, :, 1]
        return (y[:, : len(pairs)] - y[:, len(pairs) :]).mean(axis=1)
    return corpus.vertices(clip, "lips")[:, :, 1].std(axis=1)


def _level(wave: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(n,) level of the sound around each time, in dB."""
    power = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    ends = np.clip(np.round((times[:, None] + np.array([-0.5, 0.5]) * WINDOW) * SAMPLE_RATE), 0, len(wave)).astype(int)
    mean = (power[ends[:, 1]] - power[ends[:, 0]]) / np.maximum(ends[:, 1] - ends[:, 0], 1)
    return 10 * np.log10(np.maximum(mean, FLOOR))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-30))


def _peak(curve: np.ndarray) -> float:
    """Lag in seconds of the maximum, between the points by the parabola through three of them."""
    top = int(np.clip(curve.argmax(), 1, len(curve) - 2))
    left, middle, right = curve[top - 1 : top + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return (top - len(curve) // 2 + float(np.clip(shift, -1, 1))) * STEP
