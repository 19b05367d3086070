"""Phonemes with times, their names (ARPAbet), and the mouth shapes (visemes) that they share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The 39 phonemes of the CMU pronouncing dictionary, without stress.
_ARPABET = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
PHONEMES: tuple[str, ...] = tuple(_ARPABET.split())
SILENCE = ""
BILABIALS = ("P", "B", "M")
_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
VOWELS: tuple[str, ...] = tuple(_VOWELS.split())
OPEN_VOWELS = ("AA", "AE", "AO", "AW", "AY")  # at which the mouth must be open

# Phonemes that look alike on the lips, one class per row; class 0 is silence. Grouped by place of articulation and lip
# shape, as in the viseme sets of audio-visual speech recognition (Fisher 1968; MPEG-4 facial animation has 14 of them).
_VISEME_ROWS = (
    "P B M",
    "F V",
    "TH DH",
    "T D N L",
    "S Z",
    "SH ZH CH JH",
    "K G NG HH",
    "R ER",
    "W UW UH",
    "OW AO OY",
    "AA AH AW AY",
    "AE EH EY",
    "IY IH Y",
)
VISEMES: dict[str, int] = {
    SILENCE: 0,
    **{name: row for row, names in enumerate(_VISEME_ROWS, 1) for name in names.split()},
}

# eSpeak's mnemonics for English -> ARPAbet. An r-coloured vowel becomes a vowel and R, as in the dictionary.
_ESPEAK = {
    **{"i:": "IY", "i": "IY", "I": "IH", "I2": "IH", "I#": "IH", "E": "EH", "a": "AE", "aa": "AE", "A:": "AA"},
    **{"0": "AA", "O2": "AO", "O:": "AO", "O": "AO", "V": "AH", "U": "UH", "u:": "UW", "u": "UW", "3:": "ER"},
    **{"3": "ER", "@": "AH", "@2": "AH", "@-": "AH", "a#": "AH", "@L": "AH L", "eI": "EY", "aI": "AY", "aI2": "AY"},
    **{"aU": "AW", "OI": "OY", "oU": "OW", "A@": "AA R", "O@": "AO R", "o@": "AO R", "e@": "EH R", "U@": "UH R"},
    **{"i@3": "IH R", "i@": "IY AH", "aI@": "AY AH", "aI3": "AY ER", "aU@": "AW ER", "IR": "ER", "VR": "ER"},
    **{"p": "P", "b": "B", "t": "T", "t#": "T", "t2": "T", "t[": "T", "d": "D", "d[": "D", "k": "K", "g": "G"},
    **{"f": "F", "v": "V", "T": "TH", "D": "DH", "s": "S", "z": "Z", "S": "SH", "Z": "ZH", "h": "HH", "x": "K"},
    **{"tS": "CH", "dZ": "JH", "m": "M", "n": "N", "N": "NG", "l": "L", "L": "L", "r": "R", "r-": "R", "j": "Y"},
    **{"w": "W", "w#": "W", "n-": "AH N"},
}


@dataclass(frozen=True)
class Phoneme:
    """One phoneme of an utterance; `start` and `end` are seconds from the start of the clip."""

    start: float
    end: float
    name: str


def from_espeak(mnemonic: str) -> tuple[str, ...]:
    """The ARPAbet phonemes of one eSpeak mnemonic: one, two (`A@` is AA R), or none for a pause.

    Stress marks are ignored.
    """
    name = mnemonic.lstrip("',%=")
    if not name.strip("_:;!|-?*"):
        return ()
    if name not in _ESPEAK:
        raise ValueError(f"eSpeak's phoneme {mnemonic!r} has no ARPAbet name")
    return tuple(_ESPEAK[name].split())


def frame_labels(phonemes: Sequence[Phoneme], frames: int, fps: float) -> np.ndarray:
    """The phoneme at the middle of each frame, t = (frame + 0.5) / fps.

    Returns:
        (frames,) int64, index into `("",) + PHONEMES`: 0 is silence.
    """
    labels = np.zeros(frames, np.int64)
    times = (np.arange(frames) + 0.5) / fps
    index = {name: i for i, name in enumerate((SILENCE, *PHONEMES))}
    for phoneme in phonemes:
        labels[(times >= phoneme.start) & (times < phoneme.end)] = index[phoneme.name]
    return labels


def visemes_of(labels: np.ndarray) -> np.ndarray:
    """The viseme class of each label from `frame_labels`, same shape."""
    return np.array([VISEMES[name] for name in (SILENCE, *PHONEMES)], np.int64)[labels]
