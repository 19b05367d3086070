"""Natural speech of the embedded corpora: Kokoro's voices, with varied rate and pauses."""

import re
from collections.abc import Sequence

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.datasets.embedded.kokoro import Kokoro, speak, style_table
from learn2talk_core.datasets.embedded.speech import Spoken, clip_of, later
from learn2talk_core.datasets.embedded.spelling import spell
from learn2talk_core.datasets.embedded.voices import NaturalVoice
from learn2talk_core.run.errors import BadInput

BREATH = (0.05, 0.10)  # seconds kept before the first and after the last phoneme
RATE_SPREAD = 0.04  # of the speaking rate from sentence to sentence, standard deviation of its logarithm
COMMAS = {" ": 0.3, ", ": 0.55, "; ": 0.15}  # a comma is read as no pause, a pause or a longer one: probabilities


def speak_naturally(kokoro: Kokoro, voice: NaturalVoice, texts: Sequence[str]) -> list[Spoken]:
    """Speak `texts`; the same voice and texts give the same samples.

    The speaking rate varies a little between sentences, and so do the pauses at commas.

    Returns:
        As `synthesise`.

    Raises:
        BadInput: see `spell` and `speak`; also a text without words.
    """
    styles = style_table(kokoro, voice.blend)
    spoken = []
    for i, spelt in enumerate(spell(texts, british=voice.british)):
        rng = np.random.default_rng([voice.seed, i])
        spelt = re.sub(", ", lambda _: rng.choice(list(COMMAS), p=list(COMMAS.values())), spelt)  # noqa: B023
        wave, phonemes = speak(kokoro, styles, spelt, voice.speed * float(np.exp(rng.normal(0, RATE_SPREAD))))
        if not phonemes:
            raise BadInput(repr(texts[i]), expected="words", found="no phoneme", fix="Leave out this text.")
        first = max(0, round((phonemes[0].start - BREATH[0]) * SAMPLE_RATE))
        last = round((phonemes[-1].end + BREATH[1]) * SAMPLE_RATE)
        spoken.append(clip_of(_faded(wave[first:last]), later(phonemes, -first / SAMPLE_RATE), rng))
    return spoken


def _faded(wave: np.ndarray) -> np.ndarray:
    """Fade in and out over 20 ms, where a wave was cut."""
    ramp = np.minimum(np.arange(len(wave)) / (0.02 * SAMPLE_RATE), 1).astype(np.float32)
    return wave * ramp * ramp[::-1]
