import numpy as np
from scipy.signal import lfilter

from learn2talk_core.audio.voice import nearest_voice, voice_of


def speech(seed: int, darkness: float, loudness: float = 0.1) -> np.ndarray:
    """Bursts of noise through a one-pole filter: `darkness` characterises the voice, `seed` the words."""
    rng = np.random.default_rng(seed)
    bursts = np.repeat(rng.uniform(0, 1, 20) > 0.4, 1600)
    noise = lfilter([1 - darkness], [1, -darkness], rng.normal(size=32000))
    return (loudness * bursts * noise).astype(np.float32)


def test_the_nearest_voice_is_the_same_one_saying_something_else() -> None:
    voices = {name: voice_of(speech(1, darkness)) for name, darkness in (("bright", 0.2), ("dull", 0.6), ("dark", 0.9))}
    for name, darkness in (("bright", 0.2), ("dull", 0.6), ("dark", 0.9)):
        for loudness in (0.01, 0.3):
            assert nearest_voice(speech(2, darkness, loudness), voices) == name


def test_a_long_silence_does_not_change_a_voice() -> None:
    voice = speech(1, 0.6)
    alone, followed = voice_of(voice), voice_of(np.concatenate([voice, np.zeros(3 * len(voice), np.float32)]))
    np.testing.assert_allclose(followed, alone, atol=0.1)


def test_silence_has_a_voice_too() -> None:
    assert np.isfinite(voice_of(np.zeros(1600, np.float32))).all()
