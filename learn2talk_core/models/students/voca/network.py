"""VOCA (Cudeiro et al. 2019): a window of speech features and a speaking style in, the displacements of one frame out.

    x = batch norm of the window (16, F)            one scale and one shift for all features (VOCA, Sect. 4)
    x = four convolutions over time, stride 2       the style is joined to the channels of the first
    c = W₂ tanh(W₁ (x, style) + b₁) + b₂            50 numbers per frame: the student's states
    v = W₃ c + b₃                                   displacements; W₃ starts as principal components of the motion

VOCA listens through DeepSpeech (29 logits). Here any frame-wise features serve: those of the speech encoder, which is
frozen, as DeepSpeech is in VOCA. The sizes of all layers are VOCA's; with 29 features the network is VOCA's own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import new_speech_encoder
from learn2talk_core.models.students.student import Student, StudentStream
from learn2talk_core.run.device import sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.resample import interpolated_tensor

WINDOW = 16  # steps of a window, the frame at step 8
STEPS_PER_SECOND = 60.0  # so that a window is 267 ms, whatever the frame rate of the motion
CHANNELS = (32, 32, 64, 64)
HIDDEN, STATES = 128, 50
DEEPSPEECH = 29  # logits of DeepSpeech 0.1.0: 26 letters, space, apostrophe, blank


class VOCA(Student):
    """The network; with a speech encoder it takes sound, without one windows of DeepSpeech's logits.

    Args:
        vertex_count: V.
        style_count: S.
        feature_width: F, width of the speech features.
        speech_encoder: the frozen encoder of the features; None for published weights.
    """

    network = "voca"

    def __init__(
        self, vertex_count: int, style_count: int, *, feature_width: int, speech_encoder: SpeechEncoder | None = None
    ) -> None:
        super().__init__()
        if speech_encoder is not None:
            self.audio_encoder = speech_encoder.requires_grad_(False)
        self.batch_norm = nn.BatchNorm1d(1, eps=1e-5)
        widths = (feature_width + style_count, *CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel_size=3, stride=2) for before, after in zip(widths, CHANNELS, strict=False)
        )
        self.fc1 = nn.Linear(CHANNELS[-1] + style_count, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, STATES)
        self.expression_offset = nn.Linear(STATES, 3 * vertex_count)
        self._feature_width, self._style_count = feature_width, style_count

    @property
    def vertex_count(self) -> int:
        return self.expression_offset.out_features // 3

    @property
    def style_count(self) -> int:
        return self._style_count

    @property
    def speech_encoder(self) -> SpeechEncoder:
        """The frozen speech encoder; published weights have none."""
        encoder = getattr(self, "audio_encoder", None)
        if encoder is None:
            raise BadInput(
                "a published VOCA",
                expected="the logits of DeepSpeech 0.1.0, 29 numbers per frame, on which it was trained",
                found="sound",
                fix="Compute them with DeepSpeech and call VOCA.predict_from_logits in Python, or train a voca of your "
                "own, which listens through the speech encoder of this project.",
            )
        assert isinstance(encoder, SpeechEncoder)
        return encoder

    def settings(self) -> dict[str, Any]:
        encoder = getattr(self, "audio_encoder", None)
        return {
            "vertex_count": self.vertex_count,
            "feature_width": self._feature_width,
            "speech_encoder": None if encoder is None else encoder.settings(),
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "VOCA":
        numbers = settings["speech_encoder"]
        return cls(
            settings["vertex_count"], settings["style_count"], feature_width=settings["feature_width"],
            speech_encoder=None if numbers is None else new_speech_encoder(numbers, "the student's model.json"),
        )  # fmt: skip

    def affine_map(self) -> tuple[Tensor, Tensor]:
        return self.expression_offset.weight, self.expression_offset.bias

    @torch.no_grad()
    def start_from(self, components: Tensor, mean: Tensor) -> None:
        """Set the last layer to principal components (50, 3V) of the motion and its mean (3V,), as VOCA does."""
        self.expression_offset.weight.copy_(components.T)
        self.expression_offset.bias.copy_(mean)

    @torch.no_grad()
    def scale_motion(self, unit: float) -> None:
        """Convert the output from `unit`s to the unit of the corpus; the states stay the same."""
        self.expression_offset.weight.mul_(unit)
        self.expression_offset.bias.mul_(unit)

    def states(self, windows: Tensor, style: Tensor) -> Tensor:
        """Windows (N, 16, F) and styles (N, S) -> states (N, 50)."""
        x = self.batch_norm(windows.flatten(1)[:, None]).view_as(windows).transpose(1, 2)
        x = torch.cat((x, style[:, :, None].expand(-1, -1, WINDOW)), dim=1)
        for convolution in self.convolutions:
            x = F.relu(convolution(F.pad(x, (0, 1))))  # TensorFlow's SAME: stride 2 pads at the end only
        x = torch.tanh(self.fc1(torch.cat((x.squeeze(2), style), dim=1)))
        return self.fc2(x)

    def states_of_clips(self, windows: Sequence[Tensor], styles: Tensor) -> Tensor:
        """Windows (T, 16, F) of each clip and its style (B, S) -> states (B, T, 50) of the padded batch, zero in the
        padding, which the batch norm does not see."""
        lengths = [len(clip) for clip in windows]
        states = self.states(
            torch.cat(list(windows)),
            styles.repeat_interleave(sent(torch.tensor(lengths), styles.device), dim=0, output_size=sum(lengths)),
        )
        return nn.utils.rnn.pad_sequence(list(states.split(lengths)), batch_first=True)

    @torch.no_grad()
    def predict_states(
        self, wave: np.ndarray, fps: float, styles: Tensor, frames: int, template: np.ndarray | None = None
    ) -> Tensor:
        windows = speech_windows(self.speech_encoder.listen(wave, frames, fps), fps)
        return self.states_of_clips([windows] * len(styles), sent(styles, windows.device))

    @torch.no_grad()
    def predict_from_logits(self, logits: Tensor, style: Tensor) -> Tensor:
        """States (T, 50) from DeepSpeech's logits (T, 29), resampled to 60 per second as in VOCA, and a style (S,)."""
        return self.states(speech_windows(logits, STEPS_PER_SECOND), style.expand(len(logits), -1))

    def open_stream(self, style: Tensor, fps: float, memory: int) -> StudentStream:
        return VOCAStream(self, style, fps)


def speech_windows(features: Tensor, fps: float) -> Tensor:
    """Features (T, F) at the times of the motion frames -> the window of each frame (T, 16, F).

    Step k of the window of frame t is at t / fps + (k − 8) / 60 s, interpolated linearly between frames; steps outside
    the clip are zero, as in VOCA.
    """
    frames = len(features)
    steps, times = (torch.arange(n, dtype=torch.float64, device=features.device) for n in (WINDOW, frames))
    position = (times[:, None] + (steps - WINDOW // 2) * (fps / STEPS_PER_SECOND)).flatten()
    inside = ((position >= 0) & (position < frames)).to(features.dtype)
    return (interpolated_tensor(features, position) * inside[:, None]).view(frames, WINDOW, -1)


class VOCAStream:
    """VOCA's `StudentStream`. A frame needs 0.12 s of look-ahead, besides the context of the speech encoder."""

    def __init__(self, model: VOCA, style: Tensor, fps: float) -> None:
        self._model, self._style, self._fps = model, style, fps
        self._encoder = model.speech_encoder  # refuses published weights at once
        self._hearing = self._encoder.hearing()

    @torch.no_grad()
    def extend(self, wave: np.ndarray, new: int, skipped: int, wanted: int, frames: int) -> Tensor:
        features = self._encoder.resample(self._hearing.features(wave, new), frames, self._fps)
        hidden = self._encoder.encode(features[None])[0]
        windows = speech_windows(hidden, self._fps)[skipped : skipped + wanted]
        return self._model.states(windows, self._style.expand(len(windows), -1))
