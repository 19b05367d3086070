"""Visemes: the 15 mouth shapes of Oculus' LipSync, and what other programs call theirs, from the curves or phonemes."""

from collections.abc import Mapping, Sequence

import numpy as np

from learn2talk_core.animation.blend_shapes import ARKIT, OCULUS
from learn2talk_core.animation.curves import solve_box
from learn2talk_core.corpus.phonemes import Phoneme

OF_PHONEME = {
    **dict.fromkeys(("P", "B", "M"), "PP"), **dict.fromkeys(("F", "V"), "FF"), **dict.fromkeys(("TH", "DH"), "TH"),
    **dict.fromkeys(("T", "D"), "DD"), **dict.fromkeys(("K", "G", "NG", "HH"), "kk"),
    **dict.fromkeys(("CH", "JH", "SH", "ZH"), "CH"), **dict.fromkeys(("S", "Z"), "SS"),
    **dict.fromkeys(("N", "L"), "nn"), **dict.fromkeys(("R", "ER"), "RR"),
    **dict.fromkeys(("AA", "AE", "AH", "AY", "AW"), "aa"), **dict.fromkeys(("EH", "EY"), "E"),
    **dict.fromkeys(("IY", "IH", "Y"), "I"), **dict.fromkeys(("AO", "OW", "OY"), "O"),
    **dict.fromkeys(("UW", "UH", "W"), "U"), "": "sil",
}  # fmt: skip
# Letters of Rhubarb Lip Sync's mouth shapes: A closed, B clenched, C open, D wide, E rounded, F puckered, G on the lip,
# H tongue behind the teeth, X idle.
RHUBARB = {
    "sil": "X", "PP": "A", "FF": "G", "TH": "B", "DD": "B", "kk": "B", "CH": "B", "SS": "B", "nn": "H", "RR": "E",
    "aa": "D", "E": "C", "I": "B", "O": "E", "U": "F",
}  # fmt: skip
# VRM's vowels as the strongest of some visemes, with a factor for consonants.
VRM: dict[str, dict[str, float]] = {
    "aa": {"aa": 1, "kk": 0.4, "TH": 0.4}, "ih": {"I": 1, "SS": 0.6, "DD": 0.4, "nn": 0.4},
    "ou": {"U": 1, "RR": 0.5, "CH": 0.5}, "ee": {"E": 1}, "oh": {"O": 1},
}  # fmt: skip
EDGE = 0.04  # seconds: half the time in which one phoneme's viseme gives way to the next
ALIKE = 0.02  # ridge on the weights of visemes: several are alike
SHORTEST = 0.06  # seconds: shorter mouth shapes of Rhubarb are dropped


def mixture(viseme: str) -> np.ndarray:
    """The viseme's weights of the shapes, (52,)."""
    weights = np.zeros(len(ARKIT))
    for name, weight in OCULUS[viseme].items():
        for whole in (name, f"{name}Left", f"{name}Right"):
            if whole in ARKIT and (whole == name or name not in ARKIT):
                weights[ARKIT.index(whole)] = weight
    return weights


def viseme_shapes(shapes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Displacements (V, 3) of each viseme, mixed from those of ARKit's shapes."""
    some = next(iter(shapes.values()))
    return {
        name: sum(
            (
                np.float32(weight) * shapes[key]
                for key, weight in zip(ARKIT, mixture(name), strict=True)
                if weight and key in shapes
            ),
            start=np.zeros_like(some),
        )
        for name in OCULUS
    }


def viseme_weights(curves: np.ndarray, fps: float, phonemes: Sequence[Phoneme] = ()) -> np.ndarray:
    """Weights (T, 15) in 0..1 of the visemes, in the order of `OCULUS`.

    From the phonemes where they are known: each lasts from its start to its end, with crossfades. Else those whose mix
    is nearest to the curves, in least squares. `sil` takes what is missing from a sum of 1.

    Args:
        curves: (T, 52) weights of ARKit's shapes.
        fps: frames per second.
        phonemes: with their times, may be empty.
    """
    names = list(OCULUS)
    weights = np.zeros((len(curves), len(names)))
    if phonemes:
        times = np.arange(len(curves)) / fps
        for phoneme in phonemes:
            up = np.clip((times - phoneme.start) / (2 * EDGE) + 0.5, 0, 1)
            down = np.clip((phoneme.end - times) / (2 * EDGE) + 0.5, 0, 1)
            column = names.index(OF_PHONEME.get(phoneme.name, "kk"))
            weights[:, column] = np.maximum(weights[:, column], np.minimum(up, down))
    else:
        mixes = np.stack([mixture(name) for name in names[1:]])
        gram = mixes @ mixes.T
        gram += ALIKE * np.diag(np.diag(gram))
        weights[:, 1:] = solve_box(gram, curves.astype(np.float64) @ mixes.T)
        weights[:, 1:] /= np.maximum(weights[:, 1:].sum(axis=1, keepdims=True), 1)
    weights[:, 0] = np.clip(1 - weights[:, 1:].sum(axis=1), 0, 1)
    return weights


def rhubarb_cues(weights: np.ndarray, fps: float) -> list[tuple[float, str]]:
    """Start time and letter of each mouth shape: that of the strongest viseme; those under 60 ms are dropped."""
    names = list(OCULUS)
    letters = [RHUBARB[names[column]] for column in weights.argmax(axis=1)]
    cues: list[tuple[float, str]] = []
    for frame, letter in enumerate(letters):
        if cues and cues[-1][1] == letter:
            continue
        if len(cues) > 1 and frame / fps - cues[-1][0] < SHORTEST - 1e-9:
            cues.pop()
            if cues[-1][1] == letter:
                continue
        cues.append((frame / fps, letter))
    return cues


def vrm_weights(visemes: np.ndarray, curves: np.ndarray) -> dict[str, np.ndarray]:
    """Weights (T,) of VRM's expressions: five vowels, and the lids."""
    names = list(OCULUS)
    vowels = {
        vowel: np.max([factor * visemes[:, names.index(name)] for name, factor in parts.items()], axis=0)
        for vowel, parts in VRM.items()
    }
    lids = {side: curves[:, ARKIT.index(f"eyeBlink{side}")] for side in ("Left", "Right")}
    both = np.minimum(lids["Left"], lids["Right"])
    return {**vowels, "blink": both, "blinkLeft": lids["Left"] - both, "blinkRight": lids["Right"] - both}
