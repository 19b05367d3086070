"""Head motion from a voice, by PoseVAE, block by block while the sound arrives.

SadTalker (Zhang et al. 2023) generates independent blocks of 32 frames at 25 fps, concatenates them and smooths the
seams with a Savitzky-Golay filter. Here a block begins every 15 frames and cross-fades into the next over these 15
frames, and neighbouring blocks share two thirds of the variance of their latent vectors, so that slow motion continues
across blocks; then the same filter is applied. A block depends only on its own 1.5 s of sound, its number and the
seed, so a stream and a whole file give byte-identical results.
"""

import math
from pathlib import Path

import numpy as np
import torch
from scipy.signal import savgol_coeffs

from learn2talk_core.audio.mel import WINDOW_COLUMNS, mel_spectrogram
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import sha256
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.models.posevae import (
    BLOCK,
    LATENT,
    POSE,
    SMOOTHING,
    SMOOTHING_ORDER,
    PoseVAE,
    load_posevae,
)
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json
from learn2talk_core.run.paths import PACKAGED
from learn2talk_core.run.seed import generator
from learn2talk_core.untrusted.published import load_published

STORED = PACKAGED / "head_motion"
FPS = 25
HOP = 15  # frames between block starts: 0.6 s, exactly 48 columns of the spectrogram; two blocks cover each frame
KINSHIP = 3  # random vectors summed in each latent vector; the next block shares all but one of them
COLUMNS_PER_FRAME = 3.2
BEFORE, SOUND = 2000, 24000  # samples: how long before a block its sound begins, and its length
LOOK_AHEAD = (SOUND - BEFORE) / SAMPLE_RATE + (
    SMOOTHING // 2 + 1
) / FPS  # seconds of sound after a pose that it depends on
MM = 100.0  # mm per unit of a pose's translation: the unit of the Basel Face Model in Deep3DFaceRecon
NECK = (0.0, -34.0, -86.0)  # mm, from the centre of the lips to the joint of skull and neck


def load_head_model(path: str | Path | None = None) -> PoseVAE:
    """Load PoseVAE, frozen: the small one in this package, or SadTalker's.

    Args:
        path: a file or folder for `models.posevae.load_posevae`, or a folder written by scripts/train_head_motion.py;
            None is the one in this package.
    """
    folder = STORED if path is None else Path(path)
    config = read_json(folder / "model.json", made_by="learn2talk import-checkpoint") if folder.is_dir() else {}
    if "width" not in config:
        return load_posevae(folder)
    width, styles = config["width"], config.get("styles")
    if not (type(width) is type(styles) is int and 1 <= width <= 32 and 1 <= styles <= 1000):
        expected, found = "a width of 1 … 32 and 1 … 1000 styles", f"{width}, {styles}"
        raise BadInput(folder / "model.json", expected=expected, found=found, fix="Train it again.")
    return load_published(PoseVAE(width, styles, published=False), folder, what="PoseVAE", fix="Train it again.")


def head_model_about(path: str | Path | None) -> dict[str, str]:
    """Name and SHA-256 of the weights that `load_head_model` loads, for a manifest."""
    place = STORED if path is None else Path(path)
    return {"name": place.name, "sha256": sha256(place / "model.safetensors" if place.is_dir() else place)}


def neck(template: np.ndarray, topology: Topology, mm_per_unit: float) -> np.ndarray:
    """The point about which the head rotates, (3,) float32: below and behind the lips; for a mesh without a lip region,
    at a fixed place in its bounding box.
    """
    if "lips" in topology.regions:
        return (template[topology.regions["lips"]].mean(axis=0) + np.array(NECK) / mm_per_unit).astype(np.float32)
    low, high = template.min(axis=0), template.max(axis=0)
    return (low + (high - low) * (0.5, 0.19, 0.51)).astype(np.float32)  # as in the embedded head's box


def in_units(poses: np.ndarray, mm_per_unit: float) -> np.ndarray:
    """Convert poses of PoseVAE to those of an `Animation`: translation in the unit of the face."""
    return (poses * np.repeat([1.0, MM / mm_per_unit], 3)).astype(np.float32)


def frame_columns(frames: np.ndarray) -> np.ndarray:
    """Columns of the spectrogram (n, 16) that these frames depend on: 0.2 s around each, as in SadTalker."""
    starts = np.floor(COLUMNS_PER_FRAME * (frames - 2) + 1e-9).astype(np.int64)
    return starts[:, None] + np.arange(WINDOW_COLUMNS)


class HeadMotion:
    """Streaming head motion: sound in, poses out.

    Args:
        network: from `load_head_model`.
        seed: determines the style and everything else that the sound does not.
    """

    def __init__(self, network: PoseVAE, seed: int) -> None:
        self._network, self._seed = network, seed
        self._style = int(generator(seed, "head manner").integers(network.styles))
        self._sound = np.zeros(BEFORE, np.float32)  # starts BEFORE samples before the next block
        self._blocks: dict[int, np.ndarray] = {}
        self._next = 0
        self._finished = False

    def hear(self, samples: np.ndarray) -> None:
        """Feed sound, (n,) at 16 kHz in [-1, 1]."""
        self._sound = np.concatenate([self._sound, samples])
        while len(self._sound) >= SOUND:
            self._make_block()

    def finish(self) -> None:
        """Mark the end of the sound; silence is assumed after it."""
        self._finished = True

    def poses(self, times: np.ndarray) -> np.ndarray:
        """Poses (n, 6), as in `models.posevae`, at these times in seconds.

        Times must ascend and not precede those of the last call. Before `finish`, sound must have been fed up to
        `LOOK_AHEAD` after the last of them.
        """
        if not len(times):
            return np.zeros((0, POSE), np.float32)
        at = np.asarray(times, np.float64) * FPS
        left = np.floor(at + 1e-9).astype(np.int64)
        first, last = max(0, int(left[0]) - SMOOTHING // 2), int(left[-1]) + 1 + SMOOTHING // 2
        while self._next <= last // HOP:
            if not self._finished:
                raise ValueError(f"not enough sound for the head pose at {times[-1]:.2f} s")
            self._make_block()
        for number in [number for number in self._blocks if number < first // HOP - 1]:
            del self._blocks[number]
        faded = np.stack([self._faded(frame) for frame in range(first, last + 1)])
        weights = savgol_coeffs(SMOOTHING, SMOOTHING_ORDER)
        around = np.arange(int(left[0]), int(left[-1]) + 2)
        smooth = np.zeros((len(around), POSE))
        for offset, weight in enumerate(weights, -(SMOOTHING // 2)):  # term by term, for the same rounding everywhere
            smooth += weight * faded[np.maximum(around + offset, 0) - first]
        share, here = (at - left)[:, None], left - left[0]
        return ((1 - share) * smooth[here] + share * smooth[here + 1]).astype(np.float32)

    def _faded(self, frame: int) -> np.ndarray:
        number, place = divmod(frame, HOP)
        pose = self._blocks[number][place]
        if number == 0:
            return pose
        share = (1 - math.cos(math.pi * (place + 1) / (HOP + 1))) / 2
        return share * pose + (1 - share) * self._blocks[number - 1][HOP + place]

    @torch.inference_mode()
    def _make_block(self) -> None:
        sound = np.zeros(SOUND, np.float32)
        sound[: len(self._sound)] = self._sound[:SOUND]
        self._sound = self._sound[HOP * SAMPLE_RATE // FPS :]
        mel = mel_spectrogram(sound, padding="constant")[:, frame_columns(np.arange(BLOCK)) + BEFORE // 200]
        latent = torch.from_numpy(self._latent(self._next))
        heard = self._network.audio_encoder(torch.from_numpy(np.ascontiguousarray(mel.transpose(1, 0, 2))))
        still, style = torch.zeros(1, POSE), torch.tensor([self._style])
        made = self._network.netG.decoder(latent[None], heard[None], still, style)
        self._blocks[self._next] = made[0].double().numpy()
        self._next += 1

    def _latent(self, number: int) -> np.ndarray:
        """Standard normal (64,), correlated with those of the neighbouring blocks."""
        drawn = [generator(self._seed, "head", number + i).standard_normal(LATENT) for i in range(KINSHIP)]
        return (np.sum(drawn, axis=0) / math.sqrt(KINSHIP)).astype(np.float32)
