"""MeshTalk (Richard et al. 2021): motion as categories that depend on sound and expression, sampled from sound alone.

1. Latent space: an audio encoder and an expression encoder give logits of 16 categorical variables ("heads") with 128
   classes each per frame; a decoder, a U-Net over vertices, turns a face at rest and the one-hot classes into motion.
2. Context model: predicts the classes, head by head and frame by frame, from sound and the classes before. Without an
   expression to encode, it is what speaks.

Module and key names are those of the three published parts `encoder`, `context_model` and `vertex_unet`.

The reference hears a mel spectrogram, and each frame's audio code is computed from its own second of sound. The audio
encoder's convolutions see exactly that second, 101 columns of 10 ms, so for own training they run once over the whole
clip: 3 columns per frame instead of 101. Published weights keep the reference's pieces of sound (`alignment` "pieces").
Own training can also hear through the speech encoder that the other students have; two layers then make the codes.
"""

from typing import Any, Literal, NamedTuple

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.models.linear import by_onednn, linear
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import new_speech_encoder
from learn2talk_core.models.students.student import Student
from learn2talk_core.run.device import device_of, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.precision import full_precision
from learn2talk_core.run.resample import interpolated_tensor

Listening = Literal["time", "pieces"]
WIDTH = 128  # of the audio, expression and template codes
HOP = 160  # samples from one mel column to the next
COLUMNS_PER_SECOND = SAMPLE_RATE / HOP
CONTEXT = 50  # mel columns on either side of a column's audio code
PIECE = SAMPLE_RATE  # samples of the reference's pieces
LOUDNESS = 0.01  # mean absolute sample that the audio encoder expects
SLOPE = 0.2  # of the leaky ReLUs
STRIP = 4  # heads of the context model that are computed by one matrix product


class MeshTalkShape(NamedTuple):
    """Sizes of a MeshTalk: V vertices, and the latent heads and their classes. Published: 6172, 16, 128."""

    vertices: int
    heads: int = 16
    classes: int = 128


class SoundEncoder(nn.Module):
    """Log-mel spectrogram, then dilated convolutions over 101 columns."""

    def __init__(self) -> None:
        super().__init__()
        self.melspec = MelSpectrogram()
        self.convert_dimensions = nn.Conv1d(80, WIDTH, kernel_size=5)
        self.convs = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, kernel_size=5, dilation=d) for d in (2, 4, 6, 2, 4, 6))
        self.code = nn.Linear(WIDTH, WIDTH)
        for convolution in (self.convert_dimensions, *self.convs):
            nn.init.xavier_uniform_(convolution.weight)
            nn.init.constant_(convolution.bias, 0.01)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel spectrograms (N, 80, C) -> codes (N, C − 100, 128); code c sees the columns c … c + 100."""
        x = F.leaky_relu(self.convert_dimensions(mel), SLOPE)
        for convolution in self.convs:
            y = F.dropout(F.leaky_relu(convolution(x), SLOPE), 0.2, self.training)
            edge = (x.shape[2] - y.shape[2]) // 2
            x = (x[:, :, edge:-edge] + y) / 2
        return self.code(x.transpose(1, 2))

    def of_pieces(self, wave: Tensor, frames_per_second: int = 30) -> Tensor:
        """The codes (T, 128) of a wave (samples,) as the reference computes them: a second of sound for each frame.

        A frame is 16000 // 30 = 533 samples, so that the codes run ahead by 0.6 ms per second of speech.
        """
        step = SAMPLE_RATE // frames_per_second
        edge = (PIECE - step) // 2
        padded = F.pad(wave, (edge, edge))
        count = max(0, -(-(len(padded) - PIECE) // step))
        pieces = padded.as_strided((count, PIECE), (step, 1))
        # 30 pieces at a time: their spectra take 25 MB
        codes = [self(self.melspec(part))[:, 0] for part in pieces.split(30)]
        return torch.cat(codes) if codes else wave.new_empty(0, WIDTH)


class FeatureEncoder(nn.Sequential):
    """Hidden states of a frozen speech encoder (…, H) -> codes (…, 128)."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, WIDTH), nn.LeakyReLU(SLOPE), nn.Linear(WIDTH, WIDTH))


class MelSpectrogram(nn.Module):
    """Log of the mel power spectrogram: 80 HTK bands up to 8 kHz, FFT of 2048, Hann window of 800, hop of 160 samples.

    Its two constants have torchaudio's names, under which they are in published files.
    """

    def __init__(self) -> None:
        super().__init__()
        filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=2048, n_mels=80, fmin=0.0, htk=True, norm=None)
        self.spectrogram, self.mel_scale = nn.Module(), nn.Module()
        self.spectrogram.register_buffer("window", torch.hann_window(800))
        self.mel_scale.register_buffer("fb", torch.from_numpy(np.ascontiguousarray(filters.T, dtype=np.float32)))

    def forward(self, wave: Tensor) -> Tensor:
        """Waves (N, samples) -> (N, 80, 1 + samples // 160); column c is centred on sample 160 c."""
        window, filters = self.spectrogram.get_buffer("window"), self.mel_scale.get_buffer("fb")
        spectrum = torch.stft(wave, 2048, HOP, 800, window, center=True, pad_mode="reflect", return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return (filters.T @ power).clamp(min=1e-10).log()


class ExpressionEncoder(nn.Module):
    """Meshes → codes; causal in time."""

    mean: Tensor
    stddev: Tensor

    def __init__(self, vertices: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 1, vertices, 3))
        self.register_buffer("stddev", torch.ones(1, 1, vertices, 3))
        self.layers = nn.ModuleList((nn.Linear(3 * vertices, 256), nn.Linear(256, WIDTH)))
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.code = nn.Linear(WIDTH, WIDTH)

    def forward(self, meshes: Tensor) -> Tensor:
        """Vertices (B, T, V, 3) -> codes (B, T, 128)."""
        x = ((meshes - self.mean) / self.stddev).flatten(2)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
        return self.code(recurrent(self.lstm, x))


def recurrent(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """`lstm(x)[0]`; on the CPU in float32 even under autocast, because torch has no LSTM in bfloat16 for processors
    without AVX-512."""
    if x.device.type != "cpu":
        return lstm(x)[0]
    with full_precision(), torch.autocast("cpu", enabled=False):
        return lstm(x.float())[0]


class FusionModel(nn.Module):
    """Codes of expression and sound → log-probabilities of the classes."""

    def __init__(self, shape: MeshTalkShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.mlp = nn.Sequential(
            nn.Linear(2 * WIDTH, 256), nn.LeakyReLU(SLOPE), nn.Linear(256, 256), nn.LeakyReLU(SLOPE),
            nn.Linear(256, shape.heads * shape.classes),
        )  # fmt: skip

    def forward(self, expression: Tensor, audio: Tensor) -> Tensor:
        """(B, T, 128) each -> (B, T, heads, classes)."""
        logits = self.mlp(torch.cat((expression, audio), dim=-1))
        return logits.float().unflatten(-1, (self.heads, -1)).log_softmax(-1)


class MultimodalEncoder(nn.Module):
    """The encoder of the latent space; `feature_width` is that of the speech features, None for mel spectrograms."""

    def __init__(self, shape: MeshTalkShape, feature_width: int | None) -> None:
        super().__init__()
        self.audio_encoder = SoundEncoder() if feature_width is None else FeatureEncoder(feature_width)
        self.expression_encoder = ExpressionEncoder(shape.vertices)
        self.fusion_model = FusionModel(shape)


class VertexUnet(nn.Module):
    """The decoder of the latent space: a face at rest and one-hot classes → its motion; causal in time."""

    mean: Tensor
    stddev: Tensor

    def __init__(self, shape: MeshTalkShape) -> None:
        super().__init__()
        size = 3 * shape.vertices
        self.register_buffer("mean", torch.zeros(1, 1, shape.vertices, 3))
        self.register_buffer("stddev", torch.ones(1, 1, shape.vertices, 3))
        self.vertex_bias = nn.Parameter(torch.zeros(size))
        self.encoder = nn.ModuleList((nn.Linear(size, 512), nn.Linear(512, 256), nn.Linear(256, WIDTH)))
        self.fusion = nn.Linear(shape.heads * shape.classes + WIDTH, WIDTH)
        self.temporal = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.decoder = nn.ModuleList((nn.Linear(WIDTH, 256), nn.Linear(256, 512), nn.Linear(512, size)))

    def hidden(self, template: Tensor, one_hot: Tensor) -> Tensor:
        """Faces at rest (B, V, 3) and classes (B, T, heads, classes) -> the last hidden layer (B, T, 512)."""
        x = ((template[:, None] - self.mean) / self.stddev).flatten(2)
        skips = []
        for layer in self.encoder:
            x = F.leaky_relu(layer(x), SLOPE)
            skips.append(x)
        x = self.fusion(torch.cat((x.expand(-1, one_hot.shape[1], -1), one_hot.flatten(2)), dim=-1))
        x = recurrent(self.temporal, F.leaky_relu(x, SLOPE))
        for layer, skip in zip(self.decoder[:2], (skips[1], skips[0]), strict=True):
            x = skip + F.leaky_relu(layer(x), SLOPE)
        return x

    def moved(self, hidden: Tensor, region: Tensor | None = None) -> Tensor:
        """Hidden layer (B, T, 512) -> displacements (B, T, n, 3) of the vertices `region` (n,), or of all.

        The face at rest is added to what the last layer gives, so that this is the displacement.
        """
        last = self.decoder[2]
        assert isinstance(last, nn.Linear)
        weight, bias, offset = (x.unflatten(0, (-1, 3)) for x in (last.weight, last.bias, self.vertex_bias))
        stddev = self.stddev
        if region is not None:
            weight, bias, offset, stddev = weight[region], bias[region], offset[region], stddev[:, :, region]
        x = F.leaky_relu(linear(hidden, weight.flatten(0, 1), bias.flatten()), SLOPE)
        return (x.unflatten(-1, (-1, 3)) + offset) * stddev

    def forward(self, template: Tensor, one_hot: Tensor) -> Tensor:
        """Displacements (B, T, V, 3); arguments as `hidden`."""
        return self.moved(self.hidden(template, one_hot))


class ContextLayer(nn.Module):
    """One layer of the context model: (B, T, heads · wide) -> (B, T, heads · narrow).

    Head h of frame t sees the heads before h of its frame (`masked_linear`), all heads of two earlier frames, t − 1 and
    t − 1 − dilation (`historic`), and the frame's audio code (`unmasked_linear`).

    Args:
        heads, wide, narrow: heads, input and output channels of a head.
        dilation: 0 for a layer that sees its own frame only.
    """

    mask: Tensor

    def __init__(self, heads: int, wide: int, narrow: int, dilation: int) -> None:
        super().__init__()
        self.heads, self.wide, self.narrow, self.dilation = heads, wide, narrow, dilation
        before = torch.ones(heads, heads).tril(-1)
        self.register_buffer("mask", before.repeat_interleave(narrow, 0).repeat_interleave(wide, 1)[..., None])
        self.unmasked_linear = nn.Conv1d(WIDTH, heads * narrow, 1)
        self.masked_linear = nn.Conv1d(heads * wide, heads * narrow, 1)
        if dilation:
            self.historic = nn.Conv1d(heads * wide, heads * narrow, 2, dilation=dilation)

    def masked(self) -> tuple[Tensor, Tensor]:
        """Weight (heads · narrow, heads · wide) and bias of `masked_linear`, zero where a head may not look."""
        assert self.masked_linear.bias is not None
        return (self.masked_linear.weight * self.mask)[..., 0], self.masked_linear.bias

    def forward(self, context: Tensor, audio: Tensor | None) -> Tensor:
        """Context (B, T, heads · wide), audio codes (B, T, 128); convolutions as matrix products, which are faster."""
        weight, bias = self.masked()
        strips = []
        for first in range(0, self.heads, STRIP):  # what the last head of a strip may not see is not multiplied
            last = min(first + STRIP, self.heads)
            rows, seen = slice(first * self.narrow, last * self.narrow), slice(0, (last - 1) * self.wide)
            strips.append(linear(context[..., seen], weight[rows, seen], bias[rows]))
        y = torch.cat(strips, dim=-1)
        if audio is not None:
            y = y + linear(audio, self.unmasked_linear.weight[..., 0], self.unmasked_linear.bias)
        if self.dilation:
            frames, span = context.shape[1], self.dilation + 1
            padded = F.pad(context, (0, 0, span, 0))
            taps = torch.cat((padded[:, :frames], padded[:, span - 1 : -1]), dim=-1)
            y = y + linear(taps, self.historic.weight.transpose(1, 2).flatten(1), self.historic.bias)
        return y


class ContextModel(nn.Module):
    """p(class of head h of frame t | sound, classes before): MeshTalk, Eq. 8."""

    def __init__(self, shape: MeshTalkShape, hidden: int = 64) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = ContextLayer(shape.heads, shape.classes, hidden, 0)
        self.context_layers = nn.ModuleList(ContextLayer(shape.heads, hidden, hidden, d) for d in (1, 2, 4, 8))
        self.logits = ContextLayer(shape.heads, hidden, shape.classes, 0)

    def forward(self, labels: Tensor, audio: Tensor) -> Tensor:
        """True classes (B, T, heads) and audio codes (B, T, 128) -> log-probabilities (B, T, heads, classes)."""
        heads, classes = self.shape.heads, self.shape.classes
        rows = (labels + classes * torch.arange(heads, device=labels.device)).flatten(0, 1)
        # the product with one-hot classes is a sum of columns
        weight, bias = self.embedding.masked()
        x = (F.embedding_bag(rows, weight.T.contiguous(), mode="sum") + bias).unflatten(0, labels.shape[:2])
        for layer in self.context_layers:
            x = F.leaky_relu(layer(x, audio), SLOPE)
        return self.logits(x, None).float().unflatten(-1, (heads, classes)).log_softmax(-1)

    @torch.no_grad()
    def sample(self, audio: Tensor, generator: torch.Generator | None) -> Tensor:
        """Classes (T, heads) for audio codes (T, 128), drawn with Gumbel noise from `generator`; None takes the most
        probable class at each step.

        Six layers in a row each see only earlier heads, so a class reaches its own frame's heads from the sixth after
        it. Six heads are therefore drawn at once, and each layer computes the heads that their logits need. What
        earlier frames and the sound contribute is computed once per frame.
        """
        heads, classes = self.shape.heads, self.shape.classes
        layers = [*self.context_layers]
        (embed, first_bias), (last, last_bias) = self.embedding.masked(), self.logits.masked()
        weights = [*(layer.masked()[0] for layer in layers), last]
        columns = embed.T.contiguous()  # the embedding of one-hot classes is a sum of columns
        hidden, depth = columns.shape[1] // heads, len(layers) + 2
        heard = [layer.unmasked_linear(audio.T).T + layer.masked_linear.bias + layer.historic.bias for layer in layers]
        historic = [
            [(1 + layer.dilation * (1 - tap), layer.historic.weight[..., tap].contiguous()) for tap in (0, 1)]
            for layer in layers
        ]
        inputs = [audio.new_zeros(len(audio), heads * hidden) for _ in weights]  # of each layer and of the logits
        labels = torch.zeros(len(audio), heads, dtype=torch.long, device=audio.device)
        for t in range(len(audio)):
            noise = None if generator is None else sent(gumbel_noise((heads, classes), generator), audio.device)
            base = [known[t].clone() for known in heard]
            for values, taps, given in zip(base, historic, inputs, strict=False):
                for distance, weight in taps:
                    if t >= distance:
                        values += weight @ given[t - distance]
            embedded = first_bias.clone()
            for first in range(0, heads + depth - 1, depth):  # the last round completes the inputs for later frames
                for level, given in enumerate(inputs):
                    end = min(heads, first + level + 1)
                    own, before = (
                        slice(max(0, first + level + 1 - depth) * hidden, end * hidden),
                        slice(0, end * hidden),
                    )
                    if level == 0:
                        given[t, own] = embedded[own]
                    else:
                        x = base[level - 1][own] + weights[level - 1][own, before] @ inputs[level - 1][t, before]
                        given[t, own] = F.leaky_relu(x, SLOPE)
                if first < heads:
                    end = min(heads, first + depth)
                    rows, before = slice(first * classes, end * classes), slice(0, end * hidden)
                    logits = last_bias[rows] + weights[-1][rows, before] @ inputs[-1][t, before]
                    logits = logits.view(-1, classes)
                    drawn = (logits if noise is None else logits + noise[first:end]).argmax(-1)
                    labels[t, first:end] = drawn
                    embedded += columns[drawn + classes * torch.arange(first, end, device=drawn.device)].sum(0)
        return labels


def gumbel_noise(
    shape: torch.Size | tuple[int, ...], generator: torch.Generator | None = None, device: torch.device | None = None
) -> Tensor:
    """Noise g on `device` with which argmax(log p + g) draws from p; a `generator` must be of this device."""
    uniform = torch.rand(shape, generator=generator, device=device).clamp(min=1e-10)
    return -(-uniform.log()).clamp(min=1e-10).log()


def one_hot_classes(logprobs: Tensor, noise: Tensor | None = None) -> Tensor:
    """One-hot classes (…, classes) whose gradient is that of the softmax, by Gumbel-softmax with temperature 1.

    Args:
        logprobs: (…, classes).
        noise: Gumbel noise of the same shape; None takes the most probable class.
    """
    soft = (logprobs if noise is None else logprobs + noise.to(logprobs)).softmax(-1)
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard - soft.detach() + soft


class MeshTalk(Student):
    """The three parts as a student. It has no speaking styles: the face at rest is its only input besides the sound.

    Args:
        shape: sizes.
        style_count: number of training speakers; the result does not depend on the style.
        speech_encoder: the frozen encoder through which it hears; None: the mel spectrogram, as in the reference.
        alignment: of the mel spectrogram, "time" or, for published weights, "pieces" (see `SoundEncoder.of_pieces`).
        smoothed: number of masks (see `masks`).
        smoothing: smooth the motion where the masks say, as the reference does after prediction.
        seed: seed of the sampling.

    Attributes:
        masks: (M, V) share of the smoothed motion in each vertex; the reference has two, forehead and neck.
    """

    network = "meshtalk"
    has_styles = False
    not_streamed = "one that has no affine last layer, so that a frame is all vertices instead of a few numbers"
    masks: Tensor

    def __init__(
        self,
        shape: MeshTalkShape,
        style_count: int,
        *,
        speech_encoder: SpeechEncoder | None = None,
        alignment: Listening = "time",
        smoothed: int = 1,
        smoothing: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.alignment, self.smoothing, self.seed = shape, alignment, smoothing, seed
        self._style_count = style_count
        self.speech_encoder = None if speech_encoder is None else speech_encoder.requires_grad_(False)
        self.encoder = MultimodalEncoder(shape, None if speech_encoder is None else speech_encoder.width)
        self.context_model = ContextModel(shape)
        self.vertex_unet = VertexUnet(shape)
        self.register_buffer("masks", torch.zeros(smoothed, shape.vertices))
        by_onednn(self)

    @property
    def vertex_count(self) -> int:
        return self.shape.vertices

    @property
    def style_count(self) -> int:
        return self._style_count

    def settings(self) -> dict[str, Any]:
        return {
            "vertex_count": self.shape.vertices,
            "heads": self.shape.heads,
            "classes": self.shape.classes,
            "alignment": self.alignment,
            "smoothed": len(self.masks),
            "smoothing": self.smoothing,
            "seed": self.seed,
            "speech_encoder": None if self.speech_encoder is None else self.speech_encoder.settings(),
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "MeshTalk":
        numbers = settings.get("speech_encoder")
        return cls(
            MeshTalkShape(settings["vertex_count"], settings["heads"], settings["classes"]), settings["style_count"],
            speech_encoder=None if numbers is None else new_speech_encoder(numbers, "the student's model.json"),
            alignment=settings["alignment"], smoothed=settings["smoothed"], smoothing=settings["smoothing"],
            seed=settings["seed"],
        )  # fmt: skip

    def displacement(self, states: Tensor, region: Tensor | None = None) -> Tensor:
        """See `Student.displacement`. Predicted states are displacements; in training they are the decoder's last
        hidden layer, from which a region is computed alone."""
        if states.shape[-1] == 3 * self.shape.vertices:
            return super().displacement(states, region)
        return self.vertex_unet.moved(states, region)

    @torch.no_grad()
    def normalise_by(self, mean: Tensor, stddev: Tensor) -> None:
        """Set mean and standard deviation of the vertices' positions, (V, 3) each."""
        for part in (self.encoder.expression_encoder, self.vertex_unet):
            part.mean.copy_(mean)
            part.stddev.copy_(stddev)

    @torch.no_grad()
    def scale_motion(self, unit: float) -> None:
        """Convert input and output from `unit`s to the unit of the corpus."""
        for part in (self.encoder.expression_encoder, self.vertex_unet):
            part.mean.mul_(unit)
            part.stddev.mul_(unit)

    def audio_codes(self, wave: np.ndarray, frames: int, fps: float) -> Tensor:
        """Audio codes (T, 128) of a clip (samples,); T is `frames`, or fewer for published weights."""
        sound = self.encoder.audio_encoder
        if self.alignment == "pieces" and isinstance(sound, SoundEncoder):
            return sound.of_pieces(sent(loud(wave), device_of(self)), round(fps))[:frames]
        return self.window_codes(self.heard(wave, frames, fps), 0, frames, fps)

    @torch.no_grad()
    def heard(self, wave: np.ndarray, frames: int, fps: float) -> Tensor:
        """What the audio encoder is given of a clip of T frames: the speech encoder's hidden states (T, H), or the
        log-mel spectrogram (80, C), whose column 50 is at the clip's start."""
        if self.speech_encoder is not None:
            return self.speech_encoder.listen(wave, frames, fps)
        columns = int((frames - 1) / fps * COLUMNS_PER_SECOND) + 2 + 2 * CONTEXT
        length = (columns + 2) * HOP  # the last column's window ends 2.5 hops after its centre
        padded = F.pad(sent(loud(wave), device_of(self)), (CONTEXT * HOP, max(0, length - CONTEXT * HOP - len(wave))))
        sound = self.encoder.audio_encoder
        assert isinstance(sound, SoundEncoder)
        return sound.melspec(padded[None, :length])[0, :, :columns]

    def window_codes(self, heard: Tensor, first: int, frames: int, fps: float) -> Tensor:
        """Audio codes (`frames`, 128) of a window of a clip that begins at frame `first`; `heard` is of the clip."""
        if self.speech_encoder is not None:
            return self.encoder.audio_encoder(heard[first : first + frames])
        rate = COLUMNS_PER_SECOND / fps
        at, width = int(first * rate), int(frames * rate) + 2 + 2 * CONTEXT
        mel = heard[:, at : at + width]
        # the last window of a clip may lack a column that no frame needs
        mel = F.pad(mel, (0, width - mel.shape[1]), mode="replicate")
        codes = self.encoder.audio_encoder(mel[None])[0]
        column = first * rate - at + torch.arange(frames, dtype=torch.float64, device=codes.device) * rate
        return interpolated_tensor(codes, column)

    @torch.no_grad()
    def predict_states(
        self, wave: np.ndarray, fps: float, styles: Tensor, frames: int, template: np.ndarray | None = None
    ) -> Tensor:
        """See `Student.predict_states`: displacements (B, T, 3V), the same for all styles, smoothed if `smoothing`."""
        if template is None:
            raise BadInput("meshtalk", expected="the face at rest", found="none", fix="Give a template.")
        audio = self.audio_codes(wave, frames, fps)
        labels = self.context_model.sample(audio, torch.Generator().manual_seed(self.seed))
        one_hot = F.one_hot(labels, self.shape.classes).to(audio.dtype)
        face = sent(torch.from_numpy(np.ascontiguousarray(template, dtype=np.float32)), audio.device)
        moved = self.vertex_unet(face[None], one_hot[None])[0]
        if self.smoothing:
            moved = smoothed_motion(moved, self.masks)
        return moved.flatten(1).expand(len(styles), -1, -1)


def loud(wave: np.ndarray) -> Tensor:
    """A wave (samples,) with the mean absolute value that the audio encoder expects; silence stays silent."""
    sound = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
    return sound * (LOUDNESS / sound.abs().mean().clamp(min=1e-8))


def smoothed_motion(motion: Tensor, masks: Tensor, radius: int = 4, sigma: float = 2.0) -> Tensor:
    """Motion (T, V, 3) with the vertices of each mask (M, V) smoothed in time by a Gaussian of 2 · `radius` + 1 frames;
    the first and last frame are repeated beyond the ends."""
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights = sent((weights / weights.sum()).to(motion.dtype), motion.device)
    for mask in masks:
        chosen = mask.nonzero()[:, 0]
        part = motion[:, chosen]
        padded = torch.cat((part[:1].expand(radius, -1, -1), part, part[-1:].expand(radius, -1, -1)))
        smooth = sum(weight * padded[i : i + len(part)] for i, weight in enumerate(weights))
        motion = motion.clone()
        motion[:, chosen] = torch.lerp(part, smooth, mask[chosen, None])
    return motion
