"""Head motion that goes with a voice, by PoseVAE, block by block while the sound comes in.

SadTalker (Zhang et al. 2023) makes blocks of 32 frames at 25 a second that know nothing of each other, puts them end to
end and smooths the seams with a Savitzky-Golay filter. Here a block begins every 15 frames and fades into the next over
all of these, and neighbouring blocks share two thirds of the variance of their latent vectors, so that a sway goes on;
then the same filter. A block depends on its own 1.5 s of sound, its number and the seed: so a stream gives the bits of
a whole file.
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
from learn2talk_core.run.seed import generator
from learn2talk_core.untrusted.published import load_published

STORED = Path(__file__).parents[1] / "checkpoints" / "packaged" / "head_motion"
FPS = 25
HOP = 15  # frames from block to block: 0.6 s, 48 whole columns of the spectrogram; two blocks are in each frame
KINSHIP = 3  # drawn vectors in each latent vector, of which the next block has all but one
COLUMNS_PER_FRAME = 3.2
BEFORE, SOUND = 2000, 24000  # samples: where a block's sound begins before it, and how much it is
LOOK_AHEAD = (SOUND - BEFORE) / SAMPLE_RATE + (SMOOTHING // 2 + 1) / FPS  # seconds that a pose needs to hear on
MM = 100.0  # per unit of a pose's translation, that of the Basel face model in Deep3DFaceRecon
NECK = (0.0, -34.0, -86.0)  # mm from the middle of the lips to where the skull sits on the neck


def load_head_model(path: str | Path | None = None) -> PoseVAE:
    """PoseVAE, frozen: the small one that comes with this package, or SadTalker's.

    Args:
        path: a file or folder that `models.posevae.load_posevae` takes, or what scripts/train_head_motion.py wrote;
            None is the package's.
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
    """Name and SHA-256 of the weights that `load_head_model` takes, for a manifest."""
    place = STORED if path is None else Path(path)
    return {"name": place.name, "sha256": sha256(place / "model.safetensors" if place.is_dir() else place)}


def neck(template: np.ndarray, topology: Topology, mm_per_unit: float) -> np.ndarray:
    """Where the head turns, (3,) float32: below and behind the lips, or inside the box of a mesh without known lips."""
    if "lips" in topology.regions:
        return (template[topology.regions["lips"]].mean(axis=0) + np.array(NECK) / mm_per_unit).astype(np.float32)
    low, high = template.min(axis=0), template.max(axis=0)
    return (low + (high - low) * (0.5, 0.19, 0.51)).astype(np.float32)  # where it is in the embedded head's box


def in_units(poses: np.ndarray, mm_per_unit: float) -> np.ndarray:
    """Poses of PoseVAE as those of an `Animation`: the translation in the unit of a face."""
    return (poses * np.repeat([1.0, MM / mm_per_unit], 3)).astype(np.float32)


def frame_columns(frames: np.ndarray) -> np.ndarray:
    """Columns of the spectrogram (n, 16) that these frames hear, 0.2 s around each, as SadTalker's."""
    starts = np.floor(COLUMNS_PER_FRAME * (frames - 2) + 1e-9).astype(np.int64)
    return starts[:, None] + np.arange(WINDOW_COLUMNS)


class HeadMotion:
    """Sound in, poses out.

    Args:
        network: of `load_head_model`.
        seed: of the manner and of all that the sound does not determine.
    """

    def __init__(self, network: PoseVAE, seed: int) -> None:
        self._network, self._seed = network, seed
        self._style = int(generator(seed, "head manner").integers(network.styles))
        self._sound = np.zeros(BEFORE, np.float32)  # from BEFORE samples before the next block on
        self._blocks: dict[int, np.ndarray] = {}
        self._next = 0
        self._finished = False

    def hear(self, samples: np.ndarray) -> None:
        """More sound, (n,) at 16 kHz in [-1, 1]."""
        self._sound = np.concatenate([self._sound, samples])
        while len(self._sound) >= SOUND:
            self._make_block()

    def finish(self) -> None:
        """No more will come: silence follows."""
        self._finished = True

    def poses(self, times: np.ndarray) -> np.ndarray:
        """Poses at these seconds, ascending and not before those of the last call: (n, 6) as `models.posevae` has them.

        Before `finish`, sound must have been heard until `LOOK_AHEAD` after the last of them.
        """
        if not len(times):
            return np.zeros((0, POSE), np.float32)
        at = np.asarray(times, np.float64) * FPS
        left = np.floor(at + 1e-9).astype(np.int64)
        first, last = max(0, int(left[0]) - SMOOTHING // 2), int(left[-1]) + 1 + SMOOTHING // 2
        while self._next <= last // HOP:
            if not self._finished:
                raise ValueError(f"too little sound for the head at {times[-1]:.2f} s")
            self._make_block()
        for number in [number for number in self._blocks if number < first // HOP - 1]:
            del self._blocks[number]
        faded = np.stack([self._faded(frame) for frame in range(first, last + 1)])
        weights = savgol_coeffs(SMOOTHING, SMOOTHING_ORDER)
        around = np.arange(int(left[0]), int(left[-1]) + 2)
        smooth = np.zeros((len(around), POSE))
        for offset, weight in enumerate(weights, -(SMOOTHING // 2)):  # one term after the other: same bits everywhere
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
        """Standard normal (64,), in common with the neighbours as far as they are near."""
        drawn = [generator(self._seed, "head", number + i).standard_normal(LATENT) for i in range(KINSHIP)]
        return (np.sum(drawn, axis=0) / math.sqrt(KINSHIP)).astype(np.float32)
