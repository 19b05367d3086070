"""Streaming roll-out of FaceFormer: speech arrives piece by piece, and memory use stays constant."""

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.models.periodic_attention import distance_bias
from learn2talk_core.models.students.faceformer.network import Alignment, FaceFormer
from learn2talk_core.run.threads import one_thread


class RollOut:
    """The recursion of `FaceFormer.states` for one clip; `extend` continues it.

    The division of the speech into pieces only affects rounding. A frame attends to itself and the `memory - 1` frames
    before it, so the result equals FaceFormer's for clips of at most `memory` frames.

    Args:
        model: in evaluation mode.
        style: (S,) weights of the training speakers.
        memory: number of frames that attention covers.
    """

    def __init__(self, model: FaceFormer, style: Tensor, memory: int) -> None:
        self._model, self._memory, self._time = model, memory, 0
        embedded = model.obj_vector(style[None])
        self._transition, offset = model.transition()
        positions = model.PPE.pe[0, : model.period]
        self._constant = offset + embedded + positions
        self._token = embedded + positions[0]
        self._bias = distance_bias(memory, model.period, model.heads).flip(1)[:, None].to(embedded.device)
        self._keys = self._values = embedded.new_empty(model.heads, 0, embedded.shape[1] // model.heads)

    @torch.no_grad()
    def extend(self, hidden: Tensor) -> Tensor:
        """The speech encoder's next hidden states (audio_rate · n, H) → the next states (n, d)."""
        model = self._model
        alignment = Alignment(model, model.audio_feature_map(hidden[None]))
        states = [hidden.new_empty(0, self._token.shape[1])]
        with one_thread():
            for i in range(alignment.frames):
                query, key, value = model._in_projection(self._token)
                self._keys = torch.cat((self._keys, key), dim=1)[:, -self._memory :]
                self._values = torch.cat((self._values, value), dim=1)[:, -self._memory :]
                bias = self._bias[:, :, self._memory - self._keys.shape[1] :]
                attended = model._attend(query, self._keys, self._values, bias)
                states.append(model._after_attention(self._token, attended, alignment, i))
                self._time += 1
                phase = self._time % model.period
                self._token = torch.addmm(self._constant[phase], states[-1], self._transition.T)
        return torch.cat(states)


class FaceFormerStream:
    """FaceFormer's `StudentStream`: the speech encoder and the roll-out of one clip."""

    def __init__(self, model: FaceFormer, style: Tensor, fps: float, memory: int) -> None:
        self._model, self._fps, self._hearing = model, fps, model.speech_encoder.hearing()
        self._roll_out = RollOut(model, style, memory)

    @torch.no_grad()
    def extend(self, wave: np.ndarray, new: int, skipped: int, wanted: int, frames: int) -> Tensor:
        encoder, per_frame = self._model.speech_encoder, self._model.audio_rate
        features = encoder.resample(self._hearing.features(wave, new), frames * per_frame, self._fps * per_frame)
        hidden = encoder.encode(features[None])[0, skipped * per_frame : (skipped + wanted) * per_frame]
        return self._roll_out.extend(hidden)
