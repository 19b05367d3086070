"""The voices of the embedded corpora: Kokoro's English voices and blends of them, and eSpeak's.

The voices of the validation and unseen speakers of the 3D corpus are heard nowhere else: neither by its training
speakers nor in the 2D corpus. The 2D corpus's validation speakers share no voice with those that the lip readers are
trained on, nor do the two readers with each other.
"""

from dataclasses import dataclass

import numpy as np

# Kokoro's names: American or British, female or male, name. Both sexes alternate, so that the first speakers have both.
_CORPUS = {
    "train": "af_heart am_fenrir bf_isabella bm_fable af_bella am_puck af_kore am_echo af_nova bm_lewis af_aoede "
    "am_liam",
    "validation": "bf_emma am_michael",
    "test_unseen": "af_sarah bm_george",
}
_FILMS = {
    "loss": "af_heart am_fenrir bf_isabella bm_fable af_nova am_echo af_jessica am_eric af_sky af_nicole",
    "metric": "af_bella am_puck bf_alice bm_lewis af_kore am_liam af_aoede am_adam af_river am_santa",
    "validation": "af_alloy am_onyx bf_lily bm_daniel",
}
# Split of the 3D corpus → voices, one speaker each; split of the 2D corpus → voices, and what blends are made of.
CORPUS_VOICES = {split: tuple(names.split()) for split, names in _CORPUS.items()}
FILM_VOICES = {split: tuple(names.split()) for split, names in _FILMS.items()}
HELD_OUT_EVERY = 11  # of so many voices of the 2D corpus, one is for validation; odd, since the sexes alternate
SPEED = (0.85, 1.2)  # of Kokoro's voices; 1 is the one that the voice was trained with

_FEMALE = ("f2", "f3", "f1", "f4", "Annie", "linda", "steph", "belinda", "anika", "Andrea", "aunty", "Michelle")
_MALE = ("m3", "m1", "m7", "m2", "Andy", "m4", "Alex", "m8", "m5", "m6", "Lee", "David")
_DIALECTS = ("gmw/en-US", "gmw/en-GB-scotland", "gmw/en", "gmw/en-US-nyc")
VARIANTS = tuple(name for pair in zip(_MALE, _FEMALE, strict=True) for name in pair)
FIRST_FILM_VOICE = 32  # of eSpeak's: lower ones are for the 3D corpus

Blend = tuple[tuple[str, float], ...]  # base voices and their weights


@dataclass(frozen=True)
class NaturalVoice:
    """A voice of Kokoro.

    Attributes:
        id: name of the speaker.
        seed: for everything random about this voice.
        blend: base voices and their weights, with sum 1; all are female or all male.
        speed: speaking rate; 1 is average.
    """

    id: str
    seed: int
    blend: Blend
    speed: float

    @property
    def name(self) -> str:
        return " + ".join(f"{weight:g} {base}" for base, weight in self.blend) if self.blend[1:] else self.blend[0][0]

    @property
    def female(self) -> bool:
        return self.blend[0][0][1] == "f"

    @property
    def british(self) -> bool:
        """Whether the base voice with the largest weight, the first one, is British; this decides the pronunciation."""
        return self.blend[0][0][0] == "b"


@dataclass(frozen=True)
class EspeakVoice:
    """A voice of eSpeak NG: `id` and `seed` as above; voice and variant, pitch and range (0 to 99), words a minute."""

    id: str
    seed: int
    name: str
    female: bool
    pitch: int
    pitch_range: int
    rate: int


Voice = NaturalVoice | EspeakVoice


def corpus_voices() -> list[tuple[str, NaturalVoice]]:
    """Split and voice of each speaker of the 3D corpus's packaged speech, S00, S01, …"""
    named = [(split, base) for split, bases in CORPUS_VOICES.items() for base in bases]
    return [(split, _natural(f"S{i:02d}", 0, ((base, 1.0),))) for i, (split, base) in enumerate(named)]


def film_voices(natural: int, espeak: int, seed: int) -> list[tuple[str, Voice]]:
    """Split and voice of each speaker of the 2D corpus: N00, N01, … speak naturally, E00, E01, … are eSpeak's.

    Of each kind one in `HELD_OUT_EVERY` is for validation; loss and metric get equally many of the rest. The natural
    voices of a split are its base voices first, then blends of two or three of them.
    """
    voices: list[tuple[str, Voice]] = []
    blends: set[Blend] = set()
    places = dict.fromkeys(FILM_VOICES, 0)
    for i in range(natural):
        split = _split(i)
        bases, place, name = FILM_VOICES[split], places[split], f"N{i:02d}"
        places[split] += 1
        rng = np.random.default_rng([seed, *name.encode(), 1])
        blend: Blend = ((bases[place], 1.0),) if place < len(bases) else _blend(bases, "fm"[place % 2], rng)
        while blend in blends:
            blend = _blend(bases, "fm"[place % 2], rng)
        blends.add(blend)
        voices.append((split, _natural(name, seed, blend)))
    others = espeak_voices(espeak, seed, "E", FIRST_FILM_VOICE)
    return voices + [(_split(i), voice) for i, voice in enumerate(others)]


def espeak_voices(count: int, seed: int, prefix: str = "S", first: int = 0) -> list[EspeakVoice]:
    """`count` voices of eSpeak, named `prefix`00, `prefix`01, …, alternately male and female.

    Args:
        count: number of voices; 96 consecutive ones differ in dialect or variant.
        seed: for pitch and rate; the first voices do not depend on `count`.
        prefix: of their names.
        first: index of the first voice in a fixed order.
    """
    return [_espeak(f"{prefix}{i:02d}", first + i, seed) for i in range(count)]


def _split(i: int) -> str:
    if i % HELD_OUT_EVERY == 2:
        return "validation"
    held_out_before = (i + HELD_OUT_EVERY - 3) // HELD_OUT_EVERY
    return ("loss", "metric")[(i - held_out_before) % 2]


def _natural(name: str, seed: int, blend: Blend) -> NaturalVoice:
    rng = np.random.default_rng([seed, *name.encode()])
    return NaturalVoice(name, int(rng.integers(1 << 31)), blend, round(float(rng.uniform(*SPEED)), 3))


def _blend(bases: tuple[str, ...], sex: str, rng: np.random.Generator) -> Blend:
    """Two or three base voices of one sex, at least a fifth of each, in the order of their weights."""
    alike = [base for base in bases if base[1] == sex]
    number = min(len(alike), int(rng.integers(2, 4)))
    chosen = rng.choice(alike, number, replace=False).tolist()
    shares = [round(float(share), 2) for share in 0.2 + (1 - 0.2 * number) * rng.dirichlet(np.ones(number))]
    shares[0] = round(1 - sum(shares[1:]), 2)
    return tuple(sorted(zip(chosen, shares, strict=True), key=lambda part: -part[1]))


def _espeak(name: str, number: int, seed: int) -> EspeakVoice:
    rng = np.random.default_rng([seed, *name.encode()])
    variant = VARIANTS[number % len(VARIANTS)]
    turn = number // len(VARIANTS)  # once all variants are used, they repeat in the next dialect
    return EspeakVoice(
        id=name,
        seed=int(rng.integers(1 << 31)),
        name=f"{_DIALECTS[(number + turn) % len(_DIALECTS)]}+{variant}",
        female=variant in _FEMALE,
        pitch=int(rng.integers(35, 66)),
        pitch_range=int(rng.integers(30, 75)),
        rate=int(rng.integers(144, 174)),
    )
