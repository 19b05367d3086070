import numpy as np
import pytest
import torch

from learn2talk_core.models.students.hearing import audio_rate_of, heard_states
from learn2talk_core.models.students.student import AudioAlignment
from tests.training.test_student import encoder


@pytest.mark.parametrize(("alignment", "fps", "count"), [("time", 30.0, 60), ("vocaset", 30.0, 59), ("biwi", 25.0, 98)])
@torch.no_grad()
def test_two_seconds_of_speech(alignment: AudioAlignment, fps: float, count: int) -> None:
    """99 features at 50 Hz: 59 frames stretched as in VOCASET's code, 49 pairs as in BIWI's."""
    wave, speech = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32), encoder().eval()
    states = heard_states(speech, wave, 60, fps, alignment)
    assert states.shape == (1, count, 16)
    assert count % audio_rate_of(alignment) == 0
    if alignment == "time":
        assert torch.equal(states[0], speech.listen(wave, 60, fps))
    if alignment == "biwi":
        assert torch.equal(states, speech.encode(speech.frozen_features(wave)[None, :98]))
