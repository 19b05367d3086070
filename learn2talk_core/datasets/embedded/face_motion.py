"""Speech → motion of the face: coefficients of `Face.basis` for a speaker."""

from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter

from learn2talk_core.audio.waveform import SAMPLE_RATE, whole_frames
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.datasets.embedded.articulation import PARAMETERS, articulate
from learn2talk_core.datasets.embedded.face import NOISE_WAVES, TONGUE_TIP, load_face
from learn2talk_core.datasets.embedded.speakers import Speaker


def move_face(
    speaker: Speaker,
    wave: np.ndarray,
    phonemes: Sequence[Phoneme],
    fps: float,
    variation: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The motion of the face while `speaker` says `wave`.

    Args:
        speaker: gives the style.
        wave: (samples,) at 16 kHz.
        phonemes: with their times in `wave`.
        fps: frames per second; frame t shows time t / fps.
        variation: amount of mouth motion that the sound does not determine: 0 none, 1 natural. With 0 the mouth is a
            function of sound and speaker, so that averaging costs regression nothing.
        rng: for everything random.

    Returns:
        (T, K) float32 coefficients of `Face.basis`, T = whole frames in `wave`.
    """
    frames = whole_frames(len(wave), fps)
    late = [Phoneme(p.start + speaker.lag, p.end + speaker.lag, p.name) for p in phonemes]
    track = articulate(
        late, frames, fps, coarticulation=speaker.coarticulation, variation=variation, rng=rng
    )  # (T, parameters)
    effort = 1 + variation * wander(rng, frames, fps, seconds=0.5, deviation=0.16)
    closing = [PARAMETERS.index(name) for name in ("seal", "tuck")]
    gain = np.repeat(np.clip(effort, 0.4, 1.6)[:, None], len(PARAMETERS), axis=1)
    gain[:, closing] = 1
    loud = loudness(wave, frames, fps)
    units = {
        **_mouth(dict(zip(PARAMETERS, (track * gain).T, strict=True)), loud, speaker, fps, variation, rng),
        **_upper_face(loud, speaker, fps, rng),
    }
    names = list(load_face().unit)
    weights = np.stack([units.get(name, np.zeros(frames)) for name in names], axis=1)
    noise = rng.normal(size=(frames, NOISE_WAVES))
    return np.concatenate([weights, noise], axis=1).astype(np.float32)


def loudness(wave: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Level of the sound around each frame, (T,): 0 at -50 dB of full scale, 1 at -10 dB."""
    half = round(SAMPLE_RATE / fps / 2)
    power = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    centres = (np.arange(frames) * SAMPLE_RATE / fps).astype(int)
    first, last = np.clip(centres - half, 0, len(wave)), np.clip(centres + half, 1, len(wave))
    mean = (power[last] - power[first]) / np.maximum(last - first, 1)
    return np.clip((10 * np.log10(np.maximum(mean, 1e-10)) + 50) / 40, 0, 1)


def wander(rng: np.random.Generator, frames: int, fps: float, *, seconds: float, deviation: float) -> np.ndarray:
    """Slow noise (T,): a first-order autoregressive process with this correlation time and standard deviation."""
    keep = np.exp(-1 / (seconds * fps))
    settle = 4 * round(seconds * fps)
    noise = rng.normal(size=frames + settle)
    return lfilter([np.sqrt(1 - keep**2) * deviation], [1, -keep], noise)[settle:]


def _mouth(
    track: dict[str, np.ndarray],
    loud: np.ndarray,
    speaker: Speaker,
    fps: float,
    variation: float,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Articulation parameters (T,) each → weights of face units (T,) each, in the speaker's style."""
    seal, tuck = np.clip(track["seal"], 0, 1), np.clip(track["tuck"], 0, 1)
    free = 1 - seal
    pucker, funnel = speaker.rounding * track["pucker"], speaker.rounding * track["funnel"] * (0.3 + 0.7 * free)
    stretch = speaker.spreading * track["stretch"]
    # Pucker alone would close the lips, so the jaw opens a little.
    jaw = 0.48 * speaker.jaw * track["jaw"] * (0.8 + 0.35 * loud) + 0.10 * pucker * free
    raised = speaker.upper_lip * track["raise"] * free
    lowered = speaker.lower_lip * (track["lower"] + 0.25 * track["jaw"]) * free * (1 - tuck)
    smile = speaker.smile + variation * wander(rng, len(jaw), fps, seconds=2.0, deviation=0.025)
    units = {
        "jawOpen": jaw,
        # At the same weight as the jaw this unit keeps the lips together; a little more presses them.
        "mouthClose": seal * (jaw + 0.022) + tuck * (0.6 * jaw + 0.040),
        "mouthPucker": 0.95 * pucker,
        "mouthFunnel": 0.75 * funnel,
        "mouthRollLower": 0.10 * seal * speaker.press + 0.75 * tuck,
        "mouthRollUpper": 0.08 * seal * speaker.press,
        "mouthShrugUpper": 0.25 * tuck,
        "tongueOut": 0.55 * track["tongue_out"] * free,
        TONGUE_TIP: track["tongue_up"] * free,
    }
    for side, more in (("Left", 1 + speaker.asymmetry), ("Right", 1 - speaker.asymmetry)):
        units[f"mouthPress{side}"] = 0.22 * seal * speaker.press * more
        units[f"mouthStretch{side}"] = 0.75 * stretch * more
        units[f"mouthSmile{side}"] = np.maximum(0.20 * stretch * more + smile * more, -0.02)
        units[f"mouthUpperUp{side}"] = 0.8 * raised * more + 0.25 * tuck
        units[f"mouthLowerDown{side}"] = 0.85 * lowered * more
    return units


def _upper_face(loud: np.ndarray, speaker: Speaker, fps: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Brows that loosely follow the voice, and blinks and glances that do not."""
    frames = len(loud)
    pad = round(0.15 * fps)
    emphasis = np.convolve(np.pad(loud, pad, mode="edge"), np.ones(2 * pad + 1) / (2 * pad + 1), "valid")
    brows = 0.45 * (emphasis - emphasis.mean()) + wander(rng, frames, fps, seconds=1.0, deviation=0.18)
    brows = speaker.brows * brows
    blink = np.zeros(frames)
    time = rng.exponential(speaker.blink_pause)
    while time < frames / fps:
        after = np.arange(frames) / fps - time
        blink = np.maximum(blink, np.exp(-((after / np.where(after < 0, 0.043, 0.080)) ** 2)))
        time += 0.4 + rng.exponential(speaker.blink_pause)
    fixation = round(0.4 * fps)
    targets = rng.normal(0, 0.25, (2, frames // fixation + 1))
    sideways, upwards = (np.convolve(np.repeat(t, fixation), np.ones(3) / 3, "same")[:frames] for t in targets)
    units = {"browInnerUp": np.clip(brows + 0.1, 0, 1)}
    for side, more in (("Left", 1 + speaker.asymmetry), ("Right", 1 - speaker.asymmetry)):
        inwards = -sideways if side == "Left" else sideways
        units[f"browOuterUp{side}"] = 0.8 * np.clip(brows * more + 0.05, 0, 1)
        units[f"browDown{side}"] = np.clip(-0.6 * brows, 0, 1)
        units[f"eyeBlink{side}"] = 0.95 * blink
        units[f"eyeLookIn{side}"], units[f"eyeLookOut{side}"] = np.clip(inwards, 0, 1), np.clip(-inwards, 0, 1)
        units[f"eyeLookUp{side}"] = np.clip(0.5 * upwards, 0, 1)
        units[f"eyeLookDown{side}"] = np.clip(-0.5 * upwards, 0, 1)
    return units
