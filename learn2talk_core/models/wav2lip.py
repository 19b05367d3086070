"""Wav2Lip's generator (Prajwal et al. 2020, "A Lip Sync Expert Is All You Need", §4.2): from a face whose lower half is
masked, a reference face and a window of sound, it makes the face with a mouth that fits the speech.

With `width=1` it is the official network with the same keys; `Inputs` describes the input format of its weights. It may
hear the hidden states of a speech encoder instead of the mel spectrogram, as MuseTalk and LatentSync do.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from learn2talk_core.audio.mel import mel_spectrogram, mel_windows, window_starts
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.run.device import device_of, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import load_network, save_weights

MADE_BY = "dvc repro teacher"
STATES_PER_FRAME = 2  # hidden states of a speech encoder for each video frame: 50 per second
REACH = 8  # of them that are heard before a frame and after it: 0.16 s
VIDEO_FPS = 25
LEAST = 8  # channels of the generator's layers; fewer are not faster on a CPU, and learn more slowly
DROPPED = 0.1  # share of the hidden states' values that are left out in training


class Inputs(NamedTuple):
    """Input format of a generator; the defaults are those of the official weights in Wav2Lip's `inference.py`, except
    for the order of colours, which is BGR there.

    Attributes:
        bgr: faces are BGR, not RGB.
        lead: the mel window (0.2 s) of a frame begins this many frames before it. Wav2Lip has 0: the frame is at the
            beginning of its window, so the network does not hear the speech before it. A window of a speech encoder's
            hidden states has its frame in the middle, whatever this is.
        gain: factor on the motion, see `one_shot`; 1 changes nothing.
        states: width of the hidden states of a speech encoder, which it hears; 0 for the mel spectrogram.
    """

    bgr: bool = False
    lead: int = 0
    gain: float = 1.0
    states: int = 0


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, ReLU; with `residual` the input is added before the ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, kernel, stride, padding), nn.BatchNorm2d(channels_out)
        )
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv_block(x)
        return torch.relu_(y + x if self.residual else y)


class UpBlock(nn.Module):
    """Transposed convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 2, padding: int = 1) -> None:
        super().__init__()
        up = nn.ConvTranspose2d(channels_in, channels_out, 3, stride, padding, output_padding=stride - 1)
        self.conv_block = nn.Sequential(up, nn.BatchNorm2d(channels_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.conv_block(x))


def with_skip(block: ConvBlock | UpBlock, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    """Output of `block` for the channels of `x` (B, …) followed by those of `skip` (B, …).

    A convolution is linear, so that the share of one `skip` (1, …) for all of a batch is computed once.
    """
    if len(skip) == len(x):
        return block(torch.cat([x, skip], dim=1))
    convolution: Any
    convolution, *norm = block.conv_block
    channels = [x.shape[1], skip.shape[1]]
    of_x, of_skip = convolution.weight.split(channels, dim=0 if isinstance(block, UpBlock) else 1)
    changing = functional_call(convolution, {"weight": of_x, "bias": torch.zeros_like(convolution.bias)}, x)
    y = changing.add_(functional_call(convolution, {"weight": of_skip}, skip))
    return torch.relu_(nn.Sequential(*norm)(y))


def residual_blocks(channels: int, count: int) -> list[ConvBlock]:
    """`count` residual blocks of 3×3 convolutions that keep channels and size."""
    return [ConvBlock(channels, channels, 3, 1, 1, residual=True) for _ in range(count)]


def scaled(channels: int, width: float, least: int = 4) -> int:
    """The official number of channels times `width`, at least `least`."""
    return max(least, round(channels * width))


class Wav2Lip(nn.Module):
    """The generator: a U-Net whose bottleneck is the embedding of the mel window.

    Args:
        width: factor on the official numbers of channels.
        audio_width: the same for the audio encoder alone, which is by far the cheaper part; None means `width`.
        states: see `Inputs`.
        residual: add the network's output, before the sigmoid, to the reference face. A generator that is trained in
            minutes then starts from the still face and only learns what speech changes. The official network
            generates every pixel.
    """

    def __init__(
        self, width: float = 1.0, *, audio_width: float | None = None, states: int = 0, residual: bool = False
    ) -> None:
        super().__init__()
        self.residual = residual
        c16, c32, c64, c128, c256, c384, c512 = (scaled(c, width, LEAST) for c in (16, 32, 64, 128, 256, 384, 512))
        # 96×96 faces are downsampled to 48, 24, 12, 6, 3 and 1 pixels; every size is passed to the decoder.
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvBlock(6, c16, 7, 1, 3)),
                nn.Sequential(ConvBlock(c16, c32, 3, 2, 1), *residual_blocks(c32, 2)),
                nn.Sequential(ConvBlock(c32, c64, 3, 2, 1), *residual_blocks(c64, 3)),
                nn.Sequential(ConvBlock(c64, c128, 3, 2, 1), *residual_blocks(c128, 2)),
                nn.Sequential(ConvBlock(c128, c256, 3, 2, 1), *residual_blocks(c256, 2)),
                nn.Sequential(ConvBlock(c256, c512, 3, 2, 1), *residual_blocks(c512, 1)),
                nn.Sequential(ConvBlock(c512, c512, 3), ConvBlock(c512, c512, 1)),
            ]
        )
        audio_width = width if audio_width is None else audio_width
        a512 = scaled(512, audio_width)
        self.audio_encoder = state_encoder(states, audio_width) if states else mel_encoder(audio_width)
        self.face_decoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvBlock(a512, c512, 1)),
                nn.Sequential(UpBlock(2 * c512, c512, stride=1, padding=0), *residual_blocks(c512, 1)),
                nn.Sequential(UpBlock(2 * c512, c512), *residual_blocks(c512, 2)),
                nn.Sequential(UpBlock(c512 + c256, c384), *residual_blocks(c384, 2)),
                nn.Sequential(UpBlock(c384 + c128, c256), *residual_blocks(c256, 2)),
                nn.Sequential(UpBlock(c256 + c64, c128), *residual_blocks(c128, 2)),
                nn.Sequential(UpBlock(c128 + c32, c64), *residual_blocks(c64, 2)),
            ]
        )
        last = nn.Conv2d(c32, 3, 1)
        if residual:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.output_block = nn.Sequential(ConvBlock(c64 + c16, c32, 3, 1, 1), last, nn.Sigmoid())

    def forward(self, heard: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        """Generate faces that speak what is heard.

        Args:
            heard: (B, 1, 80, 16) mel windows or (B, 1, 17, C) windows of hidden states; for clips of T frames
                (B, T, 1, …).
            faces: (B, 6, 96, 96), or (B, 6, T, 96, 96), in 0..1: masked face and reference face along the channels.

        Returns:
            (B, 3, 96, 96), or (B, 3, T, 96, 96), in 0..1.
        """
        if faces.ndim == 5:
            batch, _, frames, height, size = faces.shape
            flat = self(heard.flatten(0, 1), faces.transpose(1, 2).flatten(0, 1))
            return flat.view(batch, frames, 3, height, size).transpose(1, 2)
        return self.decode(self.audio_encoder(heard), self.encode_faces(faces), faces[:, 3:])

    def encode_faces(self, faces: torch.Tensor) -> list[torch.Tensor]:
        """(B, 6, 96, 96) → output of each block of the face encoder, largest image first."""
        skips = []
        for block in self.face_encoder_blocks:
            faces = block(faces)
            skips.append(faces)
        return skips

    def decode(self, x: torch.Tensor, skips: list[torch.Tensor], reference: torch.Tensor) -> torch.Tensor:
        """Embeddings of the sound (B, E, 1, 1), encoded faces, (B, 3, 96, 96) reference faces → (B, 3, 96, 96) in
        0..1. One encoded face and one reference, of B = 1, are those of all sounds."""
        blocks: list[Any] = [*self.face_decoder_blocks, self.output_block[:2]]
        x = blocks[0](x)
        for block, skip in zip(blocks[1:], reversed(skips), strict=True):
            x = block[1:](with_skip(block[0], x, skip))
        made = x.float()  # bfloat16 has too few levels of grey
        return torch.sigmoid(made + torch.logit(reference, eps=0.02) if self.residual else made)


def mel_encoder(width: float) -> nn.Sequential:
    """(B, 1, 80, 16) mel windows → (B, E, 1, 1): Wav2Lip's own audio encoder, E = 512 width."""
    c32, c64, c128, c256, c512 = (scaled(c, width) for c in (32, 64, 128, 256, 512))
    return nn.Sequential(
        ConvBlock(1, c32, 3, 1, 1),
        *residual_blocks(c32, 2),
        ConvBlock(c32, c64, 3, (3, 1), 1),
        *residual_blocks(c64, 2),
        ConvBlock(c64, c128, 3, 3, 1),
        *residual_blocks(c128, 2),
        ConvBlock(c128, c256, 3, (3, 2), 1),
        *residual_blocks(c256, 1),
        ConvBlock(c256, c512, 3),
        ConvBlock(c512, c512, 1),
    )


def state_encoder(states: int, width: float) -> nn.Sequential:
    """(B, 1, 17, C) windows of a speech encoder's hidden states → (B, E, 1, 1), E = 512 width.

    The states know their surroundings already, so that a few convolutions over time are enough.
    """
    inner, out = scaled(1024, width), scaled(512, width)
    return nn.Sequential(
        nn.Dropout(DROPPED),
        ConvBlock(1, inner, (1, states)),
        ConvBlock(inner, inner, (3, 1), 1, (1, 0), residual=True),
        ConvBlock(inner, inner, (3, 1), 1, (1, 0), residual=True),
        ConvBlock(inner, out, (2 * REACH + 1, 1)),
        ConvBlock(out, out, 1, residual=True),
    )


def masked(faces: torch.Tensor) -> torch.Tensor:
    """(…, H, W) faces with the lower half set to black: pose, eyes and light remain, the mouth is hidden."""
    lower = faces.clone()
    lower[..., faces.shape[-2] // 2 :, :] = 0
    return lower


def to_tensor(faces: np.ndarray, *, bgr: bool = False) -> torch.Tensor:
    """(…, H, W, 3) uint8 RGB → (…, 3, H, W) float32 in 0..1, in BGR if the weights need it."""
    ordered = np.ascontiguousarray(faces[..., ::-1] if bgr else faces)
    return torch.from_numpy(ordered).movedim(-1, -3).float() / 255


def to_image(faces: torch.Tensor, *, bgr: bool = False) -> np.ndarray:
    """The inverse of `to_tensor`: (…, 3, H, W) in 0..1 → (…, H, W, 3) uint8 RGB."""
    pixels = (faces * 255).round().clamp(0, 255).byte().movedim(-3, -1).cpu().numpy()
    return np.ascontiguousarray(pixels[..., ::-1] if bgr else pixels)


def heard_at(sound: np.ndarray, frames: np.ndarray, inputs: Inputs) -> np.ndarray:
    """What the generator hears of a clip at some of its frames.

    Args:
        sound: the mel spectrogram (80, columns), or `hidden_states` (2 T, C); see `sound_for`.
        frames: (n,) numbers of video frames.
        inputs: input format of the generator.

    Returns:
        (n, 1, 80, 16) or (n, 1, 17, C), float32. Before the beginning and after the end, the outermost are repeated.
    """
    if not inputs.states:
        starts = window_starts(int(frames.max()) + 1, VIDEO_FPS)[np.maximum(frames - inputs.lead, 0)]
        return mel_windows(sound, starts)[:, None]
    around = STATES_PER_FRAME * frames[:, None] + np.arange(-REACH, REACH + 1)
    return sound[around.clip(0, len(sound) - 1)][:, None].astype(np.float32)


@torch.no_grad()
def hidden_states(encoder: SpeechEncoder, wave: np.ndarray, frames: int) -> np.ndarray:
    """The sound (samples,) at 16 kHz of a clip of T = `frames` → (2 T, C) float16: state k is of the time k / 50 s."""
    states = encoder.hidden_states(wave)
    return encoder.resample(states, STATES_PER_FRAME * frames, STATES_PER_FRAME * VIDEO_FPS).half().cpu().numpy()


def sound_for(inputs: Inputs, wave: np.ndarray, frames: int, encoder: SpeechEncoder | None) -> np.ndarray:
    """What a generator hears of a clip of `frames`, for `one_shot`; `encoder` is needed if `inputs` has `states`."""
    if not inputs.states:
        return mel_spectrogram(wave)
    if encoder is None or encoder.width != inputs.states:
        raise BadInput(
            "the teacher's speech encoder (teacher_video.hears)",
            expected=f"the one that the generator was trained with, of width {inputs.states}",
            found="none" if encoder is None else f"one of width {encoder.width}",
            fix="Name the one that belongs to the teacher, or train the teacher again.",
        )
    return hidden_states(encoder, wave, frames)


@torch.no_grad()
def one_shot(
    generator: Wav2Lip, still: np.ndarray, sound: np.ndarray, frames: int, inputs: Inputs, *, batch: int = 32
) -> np.ndarray:
    """Animate one still image: it is both the masked face and the reference face of every frame.

    Least squares draw an uncertain mouth half open, so that a generator moves the lips less than people do. With a
    `gain` above 1 the embedding of the sound is moved away from its mean over the clip by this factor: wider open and
    more firmly closed, in the shapes that the generator has learnt.

    Args:
        generator: in evaluation mode, on any device.
        still: (96, 96, 3) uint8 RGB.
        sound: of the clip; see `sound_for`.
        frames: T, number of frames to make.
        inputs: input format of the generator.
        batch: frames per batch.

    Returns:
        (T, 96, 96, 3) uint8 RGB.
    """
    device = device_of(generator)
    reference = sent(to_tensor(still, bgr=inputs.bgr), device)
    faces = torch.cat([masked(reference), reference])[None]
    faces = faces.contiguous(memory_format=torch.channels_last)
    skips = generator.encode_faces(faces)
    heard = [torch.from_numpy(heard_at(sound, at.numpy(), inputs)) for at in torch.arange(frames).split(batch)]
    embedded = torch.cat([generator.audio_encoder(sent(part, device)) for part in heard])
    if inputs.gain != 1:
        middle = embedded.mean(dim=0)
        embedded = torch.relu(middle + inputs.gain * (embedded - middle))
    made = [generator.decode(part, skips, reference[None]) for part in embedded.split(batch)]
    return to_image(torch.cat(made), bgr=inputs.bgr)


def save_generator(folder: str | Path, generator: Wav2Lip, *, width: float, audio_width: float, inputs: Inputs) -> None:
    """Write the generator and its input format."""
    shape = {"width": width, "audio_width": audio_width, "residual": generator.residual, "states": inputs.states}
    save_weights(folder, generator, {"shape": shape, "inputs": inputs._asdict()})


def load_generator(folder: str | Path) -> tuple[Wav2Lip, Inputs]:
    """Load what `save_generator` wrote: the generator, frozen and in evaluation mode, and its input format."""
    generator, config = load_network(folder, lambda config: Wav2Lip(**config["shape"]), made_by=MADE_BY)
    try:
        inputs = Inputs(**config["inputs"])
    except (KeyError, TypeError) as error:
        where, fix = Path(folder) / "model.json", f"Make it again: {MADE_BY}."
        raise BadInput(where, expected="the input format of the generator", found=str(error), fix=fix) from error
    return generator.to(memory_format=torch.channels_last), inputs  # type: ignore[call-overload]
