"""Weights and inputs as pure functions of their names, and the reader of the golden files.

The golden files hold what reference networks put out for weights that were never stored: each weight is drawn from a
generator that is seeded with the CRC-32 of its state-dict key. A network with the same keys fills itself by the same
rule, gets the recorded inputs and must give the recorded outputs.
"""

import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent
# A right float32 implementation may be this many times as far from the reference as that is from itself in float64. Ten
# times is typical; with other processors' kernels, which sum in other orders, twelve were seen.
NOISE = 20
RELATIVE = 1e-5


def named_generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def normal(name: str, shape: tuple[int, ...], scale: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """The recorded normal input called `name`: float32, standard deviation `scale`, mean `offset`."""
    draw = named_generator("input:" + name).standard_normal(shape, dtype=np.float32)
    return np.float32(offset) + np.float32(scale) * draw


def uniform(name: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """The recorded uniform input called `name`: float32 in [low, high)."""
    draw = named_generator("input:" + name).random(shape, dtype=np.float32)
    return np.float32(low) + np.float32(high - low) * draw


def waveform(seconds: float = 2.0, rate: int = 16000) -> np.ndarray:
    """The recorded test sound, float32 in [-1, 1]: three swelling chirps and a little noise."""
    time = np.arange(round(seconds * rate), dtype=np.float64) / rate

    def swell(depth: float, frequency: float, phase: float) -> np.ndarray:
        return (1 - depth) + depth * np.sin(2 * np.pi * frequency * time + phase)

    def chirp(centre: float, deviation: float, frequency: float, phase: float) -> np.ndarray:
        wobble = np.sin(2 * np.pi * frequency * time + phase)
        return np.sin(2 * np.pi * centre * time + (deviation / frequency) * wobble)

    wave = 0.30 * swell(0.4, 3.0, 0.0) * chirp(150.0, 40.0, 0.7, 0.0)
    wave += 0.20 * swell(0.5, 4.5, 1.0) * chirp(720.0, 260.0, 1.3, 0.5)
    wave += 0.10 * swell(0.5, 7.0, 2.0) * chirp(2300.0, 700.0, 2.1, 1.1)
    wave += 0.004 * named_generator("input:waveform-noise").standard_normal(len(time))
    return wave.astype(np.float32)


def zmuv(wave: np.ndarray, eps: float = 1e-7) -> np.ndarray:
    """Zero mean and unit (population) variance, as transformers' feature extractor: eps is 1e-5 up to version 4.8."""
    return ((wave - np.mean(wave)) / np.sqrt(np.var(wave) + eps)).astype(np.float32)


def filled(key: str, shape: tuple[int, ...], fill: Mapping[str, Any]) -> np.ndarray:
    """The weight called `key`; `fill` is the entry of that name in a golden file's JSON (gains by pattern of key)."""
    draw = named_generator(key).standard_normal(shape, dtype=np.float32)
    leaf = key.rpartition(".")[2]
    if leaf == "running_var":
        return np.float32(1) + np.float32(0.2) * np.abs(draw)
    if leaf == "weight_g" or (leaf == "weight" and len(shape) <= 1):
        return np.float32(1) + np.float32(0.1) * draw
    if len(shape) <= 1:
        return np.float32(0.05) * draw
    default = fill["gain2"] if len(shape) == 2 else fill["gainN"]
    gain = next((gain for pattern, gain in fill["gains"] if re.search(pattern, key)), default)
    return np.float32(gain / math.sqrt(math.prod(shape[1:]))) * draw


def spectral_pair(weight: np.ndarray, key_u: str) -> tuple[np.ndarray, np.ndarray]:
    """Spectral normalisation's buffers `weight_u` and `weight_v` for `weight_orig` = `weight`: u is drawn by its key,
    v is the unit vector along Wᵀu."""
    u = named_generator(key_u).standard_normal((weight.shape[0],), dtype=np.float32)
    u = u / np.float32(np.linalg.norm(u.astype(np.float64)))
    v = weight.reshape(len(weight), -1).astype(np.float64).T @ u.astype(np.float64)
    return u, (v / np.linalg.norm(v)).astype(np.float32)


def official_key(key: str) -> str:
    """Weight normalisation under the names that it had when the reference networks were published."""
    return key.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


def fill_state_dict(
    module: nn.Module, fill: Mapping[str, Any], *, rename: Callable[[str], str] = official_key
) -> list[str]:
    """Overwrite every floating-point entry of `module` in place; returns the keys that kept their own value.

    `rename` gives the official name of a key of ours (a prefix, for example).
    """
    state = module.state_dict()
    kept = []
    with torch.no_grad():
        for key, tensor in state.items():
            name, shape = rename(key), tuple(tensor.shape)
            if not tensor.is_floating_point() or any(re.search(pattern, name) for pattern in fill.get("constants", ())):
                kept.append(key)
                continue
            stem, _, leaf = name.rpartition(".")
            original = key.removesuffix(leaf) + "weight_orig"
            if leaf in ("weight_u", "weight_v") and original in state:
                weight = filled(rename(original), tuple(state[original].shape), fill)
                u, v = spectral_pair(weight, f"{stem}.weight_u" if stem else "weight_u")
                value = u if leaf == "weight_u" else v
            else:
                value = filled(name, shape, fill)
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32).reshape(shape)))
    return kept


@dataclass(frozen=True)
class Recorded:
    """A recorded array, of which only some elements may have been kept.

    shape: of the whole array; index: flat positions in C order of the elements kept, None for all of them;
    value: those elements, flat; stats: mean, standard deviation, largest magnitude and L2 norm of the whole array.
    """

    shape: tuple[int, ...]
    index: np.ndarray | None
    value: np.ndarray
    stats: np.ndarray | None

    def of(self, array: np.ndarray | torch.Tensor) -> np.ndarray:
        """The elements of `array`, which must have the recorded shape, that can be compared with `value`."""
        array = array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
        assert array.shape == self.shape, f"shape {array.shape}, recorded {self.shape}"
        return array.reshape(-1) if self.index is None else array.reshape(-1)[self.index]

    def dense(self) -> np.ndarray:
        """The whole array; only where it was kept whole."""
        assert self.index is None, "only some elements of this array were recorded"
        return self.value.reshape(self.shape)


class Golden:
    """The vectors of one reference run, `<module>/<name>.npz`, and what is known about it (`info`, the JSON beside).

    `golden["predict"]` is a `Recorded`.
    """

    def __init__(self, module: str, name: str) -> None:
        path = FOLDER / module / name
        with np.load(path.with_name(name + ".npz"), allow_pickle=False) as arrays:
            self.arrays = dict(arrays)
        about = path.with_name(name + ".json")
        self.info: dict[str, Any] = json.loads(about.read_text()) if about.is_file() else {}

    def __getitem__(self, name: str) -> Recorded:
        stats = self.arrays.get(f"{name}__stats")
        if name in self.arrays:
            whole = self.arrays[name]
            return Recorded(whole.shape, None, whole.reshape(-1), stats)
        shape = tuple(int(n) for n in self.arrays[f"{name}__shape"])
        return Recorded(shape, self.arrays[f"{name}__idx"], self.arrays[f"{name}__val"], stats)

    def tolerance(self, name: str) -> float:
        """`NOISE` times the noise floor that the reference run states for `name`, or for all that it recorded."""
        floor = self.info.get("noise_floor_f32_vs_f64") or self.info["noise_floor_predict_f32_vs_f64"]
        return NOISE * floor.get(name, floor)["max_abs"]

    def assert_close(
        self,
        name: str,
        actual: np.ndarray | torch.Tensor,
        *,
        atol: float | None = None,
        rtol: float = 0.0,
        relative: float = RELATIVE,
    ) -> None:
        """`actual` has the recorded shape and the recorded elements, each within `atol + rtol * |recorded|`, and all
        together within `relative` of their length.

        `atol` is `tolerance(name)` where it is not given: give it for what has no noise floor.
        """
        recorded = self[name]
        found, known = np.asarray(recorded.of(actual), np.float64), np.asarray(recorded.value, np.float64)
        atol = self.tolerance(name) if atol is None else atol
        np.testing.assert_allclose(found, known, atol=atol, rtol=rtol, err_msg=name)
        assert np.linalg.norm(found - known) <= relative * np.linalg.norm(known), name
