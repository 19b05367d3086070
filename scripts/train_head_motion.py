"""Train the small PoseVAE that is part of this project, for `learn2talk animate --head`.

    python -m scripts.train_head_motion

There is no free corpus of head poses, and the embedded corpora have none. So a generator (`head_track`) makes head
motion for the corpora's sentences, from published findings on how speakers move their heads, and the network learns it.
The generator knows the phonemes; the network gets only the sound, and its latent vector represents what the sound does
not determine. It is not a model of real people.

The generated motion contains:
- nods at prominent syllables: heads move at stress and pitch accents (Hadar et al. 1983, Language and Speech 26; Graf
  et al. 2002, "Visual prosody", FG), mostly down and back within half a second; some are raises or swings to a side;
- a lower head at the end of a phrase, raised again in the pause (the junctures of Hadar et al. 1983);
- slow sway, stronger during speech: head motion is partly correlated with the voice's level and pitch (Yehia et al.
  2002, Journal of Phonetics 30; Munhall et al. 2004, Psychological Science 15);
- individual manners: each speaker has its own amplitudes, delay and share of nods. Rotations have a standard deviation
  of a few degrees, as in read speech (Busso et al. 2007, IEEE TASLP 15).

First the audio encoder is trained to predict the voice's level, its accents and the mean nod (trained on the motion
alone it learned nothing in the same number of minutes: the motion that the sound determines is small compared with the
sway). Then it is frozen, and encoder and decoder are trained. Their loss is SadTalker's (Zhang et al. 2023, §3.2),
reconstruction and Kullback-Leibler, without its discriminator: a discriminator would only make the motion look like the
generator's, which is no more realistic than the result without it. Finally, the output is scaled so that sampled motion
has the amplitude of the training motion. Writes `model.safetensors` (half precision) and `model.json`, which holds the
measurements on held-out speakers.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from scipy.signal import find_peaks
from torch.nn.functional import mse_loss

from learn2talk_core.animation.head_motion import STORED, HeadMotion, frame_columns
from learn2talk_core.audio.mel import mel_spectrogram
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.corpus.phonemes import SILENCE, VOWELS, Phoneme
from learn2talk_core.datasets.embedded.face_motion import loudness, wander
from learn2talk_core.models.posevae import BLOCK, LATENT, POSE, PoseVAE
from learn2talk_core.run.files import whole_file, write_json
from learn2talk_core.run.paths import CORPUS, TALKING_VIDEO
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.run.weights import frozen
from learn2talk_core.video.talking_video import open_talking_video

FPS = 25
DEGREE = np.pi / 180
SENTENCES = 3  # sentences joined with pauses
PAUSE = (0.25, 0.9)  # seconds
APART = 0.3  # seconds between nods, at least
DRAWS = 8  # random motions of the same head, for their mean
TOLD = np.array([0.3, 0.7, 0.02])  # approximate standard deviations of level, accent and mean nod
GAIN = 6.0  # decibels, largest random gain in training
DECIBEL = 0.08  # one decibel in units of the mel spectrogram
BEAT, BEAT_DEGREES = 0.12, 0.5  # seconds: scale of the distance of a nod from an accent; degrees: least depth of a nod


class Said(NamedTuple):
    """Some sentences of one speaker: wave (samples,) at 16 kHz, and its phonemes."""

    speaker: str
    wave: np.ndarray
    phonemes: tuple[Phoneme, ...]


@dataclass(frozen=True)
class Track:
    """A training example.

    Attributes:
        said: sound and phonemes.
        mel: (80, C) mel spectrogram.
        motion: (T, 6) head poses.
        told: (T, 3) level, accent and mean nod, which the sound determines, as standard scores.
        style: the speaker's number.
    """

    said: Said
    mel: np.ndarray
    motion: np.ndarray
    told: np.ndarray
    style: int


def accents(phonemes: Sequence[Phoneme], loud: np.ndarray, share: float) -> list[tuple[float, float]]:
    """(time, strength) of the most prominent vowels by level and length, at least `APART` seconds from each other.

    `loud` (T,) is at the rate `FPS`. Strengths are standard scores. The corpus's phonemes do not contain stress.
    """
    vowels = [p for p in phonemes if p.name in VOWELS and p.start * FPS < len(loud) - 1]
    if not vowels:
        return []
    peaks = [int(p.start * FPS) + int(loud[int(p.start * FPS) : int(p.end * FPS) + 2].argmax()) for p in vowels]
    peaks = [min(peak, len(loud) - 1) for peak in peaks]
    level, length = loud[peaks], np.log([p.end - p.start for p in vowels])
    score = sum((x - x.mean()) / (x.std() + 1e-6) for x in (level, length)) / np.sqrt(2)
    chosen: list[int] = []
    for i in np.argsort(-score)[: max(1, round(share * len(vowels)))]:
        if all(abs(peaks[i] - peaks[j]) >= APART * FPS for j in chosen):
            chosen.append(int(i))
    return [(peaks[i] / FPS, float(score[i])) for i in sorted(chosen)]


def head_track(said: Said, rng: np.random.Generator) -> np.ndarray:
    """Generate head poses (T, 6): angles about x (down is positive), y, z in radians, then translation in decimetres.

    Args:
        said: sound and phonemes.
        rng: for everything that the sound does not determine; the speaker's manner is seeded by its name.
    """
    frames = len(said.wave) * FPS // SAMPLE_RATE
    own = generator(0, "manner", said.speaker)
    nodding, swinging, tilting, swaying = own.lognormal(0, 0.3, 4)
    late, share, sideways = own.uniform(-0.04, 0.12), own.uniform(0.35, 0.6), own.uniform(0.1, 0.3)
    time = np.arange(frames) / FPS
    loud = loudness(said.wave, frames, FPS)
    active = np.convolve(loud, np.hanning(25) / np.hanning(25).sum(), "same")
    motion = np.zeros((frames, POSE))
    for axis, degrees in enumerate((1.4 * nodding, 3.0 * swinging, 1.6 * tilting)):
        sway = wander(rng, frames, FPS, seconds=1.6, deviation=degrees * DEGREE)
        motion[:, axis] += swaying * sway * (0.35 + active)
    for axis in range(3, POSE):
        motion[:, axis] += wander(rng, frames, FPS, seconds=2.0, deviation=0.02) * (0.35 + active)
    for when, strength in accents(said.phonemes, loud, share):
        size = np.clip(1.0 + 0.5 * strength, 0.4, 2.5) * rng.lognormal(0, 0.25) * DEGREE
        bump = _bump(time - when - late, 0.22, 0.34)
        kind = rng.uniform()
        if kind < sideways:
            motion[:, 1] += 2.0 * swinging * size * bump * rng.choice([-1, 1])
            motion[:, 2] += 1.0 * tilting * size * bump * rng.choice([-1, 1])
        else:
            motion[:, 0] += (2.0 if kind < 0.85 else -1.4) * nodding * size * bump
        motion[:, 5] += 0.02 * size / DEGREE * bump
    for end in _phrase_ends(said.phonemes):
        motion[:, 0] += 1.6 * nodding * DEGREE * _bump(time - end - 0.1, 0.7, 0.5) * rng.lognormal(0, 0.2)
    return (motion - motion.mean(axis=0)).astype(np.float32)  # around the speaker's resting pose


def _bump(after: np.ndarray, rise: float, fall: float) -> np.ndarray:
    """A bump of height 1 at 0 that falls to 0 within `rise` seconds before and `fall` seconds after, as cosines."""
    share = np.clip(np.where(after < 0, -after / rise, after / fall), 0, 1)
    return (1 + np.cos(np.pi * share)) / 2


def _phrase_ends(phonemes: Sequence[Phoneme]) -> list[float]:
    """The times at which the voice stops for at least 0.2 s, and the end of speech."""
    spoken = [p for p in phonemes if p.name != SILENCE]
    gaps = [a.end for a, b in pairwise(spoken) if b.start - a.end >= 0.2]
    return gaps + [p.end for p in spoken[-1:]]


def joined(clips: Sequence[Said], rng: np.random.Generator) -> Iterator[Said]:
    """Join `SENTENCES` sentences of the same speaker at a time, with pauses between them."""
    by_speaker: dict[str, list[Said]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.speaker, []).append(clip)
    for speaker, own in by_speaker.items():
        for first in range(0, len(own), SENTENCES):
            waves, phonemes, at = [], [], 0
            for clip in own[first : first + SENTENCES]:
                pause = np.zeros(round(rng.uniform(*PAUSE) * SAMPLE_RATE), np.float32)
                shift = at / SAMPLE_RATE
                phonemes += [Phoneme(p.start + shift, p.end + shift, p.name) for p in clip.phonemes]
                waves += [clip.wave, pause]
                at += len(clip.wave) + len(pause)
            yield Said(speaker, np.concatenate(waves), tuple(phonemes))


def tracks(clips: Sequence[Said], seed: int, styles: dict[str, int]) -> list[Track]:
    """Generate head motion for the sentences; speakers that are not in `styles` get the number 0."""
    rng = generator(seed, "head tracks")
    found = []
    for said in joined(clips, rng):
        drawn = np.stack([head_track(said, rng) for _ in range(DRAWS)])
        loud = loudness(said.wave, drawn.shape[1], FPS)
        accent, time = np.zeros(len(loud)), np.arange(len(loud)) / FPS
        for when, strength in accents(said.phonemes, loud, 0.5):
            accent += (1.5 + strength) * _bump(time - when, 0.12, 0.12)
        told = np.stack([loud - 0.5, accent - 0.3, drawn[:, :, 0].mean(axis=0)], axis=1) / TOLD
        mel = mel_spectrogram(said.wave, padding="constant")
        found.append(Track(said, mel, drawn[0], told.astype(np.float32), styles.get(said.speaker, 0)))
    return found


def mels_of(track: Track, frames: np.ndarray) -> np.ndarray:
    """Mel windows around these frames, (n, 80, 16)."""
    columns = np.clip(frame_columns(frames), 0, track.mel.shape[1] - 1)
    return np.ascontiguousarray(track.mel[:, columns].transpose(1, 0, 2))


def train_hearing(network: PoseVAE, found: Sequence[Track], *, steps: int, size: int, seed: int) -> None:
    """Train the audio encoder, with a linear layer on top, to predict what the sound determines; then freeze it."""
    hearing = network.audio_encoder.train()
    channels = network.netG.decoder.linear_audio.in_features
    tell = torch.nn.Linear(channels, found[0].told.shape[1])
    parameters = [*hearing.parameters(), *tell.parameters()]
    optimiser = torch.optim.AdamW(parameters, 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    bar = progress(range(steps), "hearing", unit="step")
    for step in bar:
        rng = generator(seed, "hearing", step)
        mels, wanted = [], []
        for track in (found[i] for i in rng.integers(len(found), size=size // 16)):
            frames = rng.integers(len(track.motion), size=16)
            mels.append(mels_of(track, frames) + np.float32(DECIBEL * rng.uniform(-GAIN, GAIN)))
            wanted.append(track.told[frames])
        heard = hearing(torch.from_numpy(np.concatenate(mels)).clip(-4, 4))
        error = mse_loss(tell(heard), torch.from_numpy(np.concatenate(wanted)))
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(error=f"{error.item():.3f}", refresh=False)
    frozen(hearing)


@torch.inference_mode()
def heard_by(network: PoseVAE, track: Track) -> np.ndarray:
    """Audio features of all frames of a track, (T, 16 width)."""
    mels = torch.from_numpy(mels_of(track, np.arange(len(track.motion))))
    return torch.cat([network.audio_encoder(part) for part in mels.split(256)]).numpy()


def batch(
    found: Sequence[Track], heard: Sequence[np.ndarray], size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random blocks of the tracks: features (size, 32, 16 width), motion (size, 32, 6), styles (size,)."""
    lengths = np.array([len(track.motion) for track in found], np.float64)
    chosen = rng.choice(len(found), size, p=lengths / lengths.sum())
    starts = [int(rng.integers(len(found[i].motion) - BLOCK + 1)) for i in chosen]
    cuts = [(int(i), slice(start, start + BLOCK)) for i, start in zip(chosen, starts, strict=True)]
    return (
        torch.from_numpy(np.stack([heard[i][cut] for i, cut in cuts])),
        torch.from_numpy(np.stack([found[i].motion[cut] for i, cut in cuts])),
        torch.tensor([found[i].style for i, _ in cuts]),
    )


def losses(
    network: PoseVAE, heard: torch.Tensor, motion: torch.Tensor, style: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared reconstruction error, and divergence from the prior in nats (SadTalker, Eq. 4 and 5)."""
    still = motion.new_zeros(len(motion), POSE)
    means, logarithms = network.netG.encoder(motion, heard, still, style)
    latent = means + (0.5 * logarithms).exp() * noise
    found = network.netG.decoder(latent, heard, still, style)
    divergence = -0.5 * (1 + logarithms - means**2 - logarithms.exp()).sum(dim=1).mean()
    return mse_loss(found, motion), divergence


def train(
    found: Sequence[Track], styles: int, *, width: int, hearing: int, steps: int, size: int, weight: float, seed: int
) -> PoseVAE:
    """Train with Adam and a cosine schedule.

    Motion is divided by its root mean square; at the end this scale is folded into the weights.
    """
    torch.set_num_threads(1)  # reproducible: sums depend on the number of threads
    seed_torch(seed, "head motion")
    network = PoseVAE(width, styles, published=False).train()
    train_hearing(network, found, steps=hearing, size=256, seed=seed)
    heard = [heard_by(network, track) for track in found]
    scale = float(np.sqrt(np.mean([np.square(track.motion).mean() for track in found])))
    optimiser = torch.optim.Adam(network.netG.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    bar = progress(range(steps), "head motion", unit="step")
    for step in bar:
        features, motion, style = batch(found, heard, size, generator(seed, "head batch", step))
        seed_torch(seed, "head noise", step)
        error, divergence = losses(network, features, motion / scale, style, torch.randn(size, LATENT))
        optimiser.zero_grad()
        (error + weight * divergence).backward()
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(error=f"{error.item():.3f}", nats=f"{divergence.item():.1f}", refresh=False)
    with torch.no_grad():
        network.netG.decoder.pose_linear.weight *= scale
        network.netG.decoder.pose_linear.bias *= scale
        for layer in (network.netG.encoder.resunet.input_layer[0], network.netG.encoder.resunet.input_skip[0]):
            layer.weight /= scale
    return network.eval()


def drawn(network: PoseVAE, wave: np.ndarray, seed: int) -> np.ndarray:
    """The head poses that `learn2talk animate` generates for this sound, (T, 6)."""
    head = HeadMotion(network, seed)
    head.hear(wave)
    head.finish()
    return head.poses(np.arange(len(wave) * FPS // SAMPLE_RATE) / FPS)


@torch.no_grad()
def enlarge(network: PoseVAE, found: Sequence[Track], seed: int) -> float:
    """Scale the decoder's output so that sampled motion has the amplitude of the training motion; returns the factor.

    The encoder's latent vectors hold more information than those of the prior, so sampled motion is smaller than
    reconstructed motion.
    """
    motions = [drawn(network, track.said.wave, seed + number) for number, track in enumerate(found)]
    sizes = [
        np.sqrt(np.mean([np.square(m[:, :3]).mean() for m in some])) for some in ([t.motion for t in found], motions)
    ]
    factor = float(sizes[0] / sizes[1])
    network.netG.decoder.pose_linear.weight *= factor
    network.netG.decoder.pose_linear.bias *= factor
    return factor


@torch.inference_mode()
def rebuilt(network: PoseVAE, found: Sequence[Track], seed: int) -> dict[str, float]:
    """Reconstruction by encoder and decoder of held-out motion, before `enlarge`."""
    heard = [heard_by(network, track) for track in found]
    features, motion, style = batch(found, heard, 256, generator(seed, "head test"))
    error, divergence = losses(network, features, motion, style, torch.zeros(len(motion), LATENT))
    return {
        "rebuilt_rms_degrees": _degrees(error),
        "unmoved_rms_degrees": _degrees(motion.square().mean()),
        "nats": float(divergence),
    }


def measured(network: PoseVAE, found: Sequence[Track], seed: int) -> dict[str, Any]:
    """Test on held-out speakers whether sampled motion fits its own sound better than another sound."""
    rows: dict[str, list[dict[str, float]]] = {"generator": [], "drawn": [], "drawn_from_other_sound": []}
    for number, track in enumerate(found):
        other = found[(number + 1) % len(found)]
        rows["generator"].append(_alignment(track.motion, track.said))
        for name, wave in (("drawn", track.said.wave), ("drawn_from_other_sound", other.said.wave)):
            motions = [drawn(network, wave, seed + turn)[: len(track.motion)] for turn in range(4)]
            rows[name] += [_alignment(motion, track.said) for motion in motions]
    return {name: {key: float(np.mean([row[key] for row in of])) for key in of[0]} for name, of in rows.items()}


def _degrees(square: torch.Tensor) -> float:
    """The root of the mean square of all six numbers in degrees, treating all of them as angles."""
    return float(square.sqrt() / DEGREE)


def _alignment(motion: np.ndarray, said: Said) -> dict[str, float]:
    """Amplitude of the head motion, and how well it fits the sound.

    `speed_loudness`: correlation of the rotation speed with the level. `beats`: mean over the accents of
    exp(−d² / 2 σ²), where d is the time to the nearest lowest point of a nod (beat alignment as in Siyao et al. 2022,
    σ = 0.12 s). `nod_at_accents_degrees`: how much lower the head is within 0.1 s of an accent than on average.
    """
    loud = loudness(said.wave[: round(len(motion) * SAMPLE_RATE / FPS)], len(motion), FPS)
    speed = np.linalg.norm(np.gradient(motion[:, :3], axis=0), axis=1)
    pitch = motion[:, 0]
    lowest = find_peaks(pitch, prominence=BEAT_DEGREES * DEGREE)[0]
    times = [when for when, _ in accents(said.phonemes, loud, 0.5)]
    apart = [np.abs(lowest / FPS - when).min(initial=9.0) for when in times]
    near = np.concatenate([pitch[max(0, int(when * FPS) - 1) : int(when * FPS) + 4] for when in times])
    return {
        "rms_degrees": float(np.sqrt(np.square(motion[:, :3]).mean()) / DEGREE),
        "speed_loudness": float(np.corrcoef(speed, loud)[0, 1]),
        "beats": float(np.mean(np.exp(-np.square(apart) / (2 * BEAT**2)))),
        "nod_at_accents_degrees": float((near.mean() - pitch.mean()) / DEGREE),
    }


def store(folder: Path, network: PoseVAE, shape: dict[str, int], about: dict[str, Any]) -> None:
    """Write `model.safetensors` in half precision, and `model.json`."""
    state = network.state_dict()
    stored = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    with whole_file(folder / "model.safetensors") as partial:
        partial.write_bytes(save(stored))
    write_json(folder / "model.json", {"network": "PoseVAE", **shape, "about": about})


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=CORPUS)
    video = f"pretraining/{TALKING_VIDEO}"
    parser.add_argument("--video", default=video, help="2D corpus, for more speakers and sentences")
    parser.add_argument("--width", type=int, default=4, help="channels; the published network has 32")
    parser.add_argument("--hearing", type=int, default=350, help="steps of the audio encoder (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="steps of the rest (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--kl", type=float, default=2e-4, help="weight of the divergence (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(STORED))
    arguments = parser.parse_args(words)
    corpus, video = open_corpus(arguments.corpus), open_talking_video(arguments.video)
    taught = [Said(c.speaker, corpus.audio(c), c.phonemes) for c in corpus.split("train", "test_seen")]
    taught += [Said(c.speaker, video.audio(c), c.phonemes) for c in video.clips]
    held_out = [Said(c.speaker, corpus.audio(c), c.phonemes) for c in corpus.split("validation", "test_unseen")]
    styles = {name: number for number, name in enumerate(dict.fromkeys(said.speaker for said in taught))}
    lessons = tracks(taught, arguments.seed, styles)
    network = train(
        lessons,
        len(styles),
        width=arguments.width,
        hearing=arguments.hearing,
        steps=arguments.steps,
        size=arguments.batch,
        weight=arguments.kl,
        seed=arguments.seed,
    )
    tests = tracks(held_out, arguments.seed + 1, styles)
    found: dict[str, Any] = rebuilt(network, tests, arguments.seed)
    found["enlarged"] = enlarge(network, lessons[:48], arguments.seed)
    # Round to the stored half precision before measuring.
    network.load_state_dict({key: value.half().to(value.dtype) for key, value in network.state_dict().items()})
    found |= measured(network, tests, arguments.seed)
    names = ("width", "hearing", "steps", "batch", "kl", "seed")
    options = " ".join(f"--{name} {getattr(arguments, name)}" for name in names)
    about = {
        "command": f"python -m scripts.train_head_motion {options}",
        "learned_from": "head motion that a program made to the sentences of the embedded corpora, not from people",
        "seconds_of_speech": round(sum(len(said.wave) for said in taught) / SAMPLE_RATE),
        "held_out": {"speakers": len({said.speaker for said in held_out}), **found},
    }
    store(Path(arguments.out), network, {"width": arguments.width, "styles": len(styles)}, about)
    print(f"{arguments.out}: {found}")


if __name__ == "__main__":
    main()
