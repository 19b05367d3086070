"""Time and memory of prediction by every network at its published size, for 5, 10 and 20 s of speech.

    python -m benchmarks.students [--networks NAME …] [--seconds 5 10 20]
        [--codetalker FOLDER] [--selftalk FOLDER] [--meshtalk FOLDER]

CodeTalker is measured twice: as published weights are predicted, and with past frames kept as for students trained
here. A checkout of a network's own code is run as well, on weights of the same kind and the same sound: CodeTalker
1b7cb95, SelfTalk f9b5e0a, MeshTalk 0904602. What these import but do not need here, and what is too old for this
Python, is replaced (`stand_ins`). VOCA's own code needs a TensorFlow of 2019, which this Python cannot run.

The weights are functions of their names (tests/golden/fill.py). VOCA gets DeepSpeech's logits, which are not computed.
Each prediction runs in a process of its own, on one thread: the computing time of the fastest of three, or of one that
takes a minute or more, and the memory that it needs in addition.
"""

import argparse
import json
import subprocess
import sys
import time
import types
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from benchmarks.decode import peak_kilobytes
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.students.codetalker.codec import CodecShape, MotionCodec
from learn2talk_core.models.students.codetalker.network import GROWTH, CodeTalker
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.meshtalk.network import MelSpectrogram, MeshTalk, MeshTalkShape, loud
from learn2talk_core.models.students.selftalk.network import SelfTalk
from learn2talk_core.models.students.student import Student
from learn2talk_core.models.students.voca.network import DEEPSPEECH, STEPS_PER_SECOND, VOCA
from tests.golden.fill import fill_state_dict, waveform

VERTICES, STYLES, FPS = 5023, 8, 30.0  # VOCASET
LIPS = 254  # of SelfTalk
MESHTALK_VERTICES = 6172
FILL = {"gain2": 0.5, "gainN": 1.0, "gains": (), "constants": (r"\.pe$", "mean$", "stddev$", "mask$", r"melspec\.")}
LARGE: dict[str, Any] = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
}  # fmt: skip


def faceformer() -> Student:
    encoder = Wav2Vec2SpeechEncoder.from_numbers()
    return new_faceformer(encoder, VERTICES, STYLES, FPS, width=64, dropout=0.0, alignment="vocaset")


def selftalk() -> Student:
    encoder = Wav2Vec2SpeechEncoder.from_numbers(**LARGE)
    return SelfTalk(VERTICES, STYLES, lip_count=LIPS, units=tuple("abcdefghijklmnopqrstuvwxyz '|-.,"),
                    audio_encoder=encoder, alignment="vocaset")  # fmt: skip


def codetalker() -> CodeTalker:
    shape = CodecShape(VERTICES, 1024, 6, 8, 1536, codes=16, code_width=64, entries=256, projected=False)
    encoder = Wav2Vec2SpeechEncoder.from_numbers()
    return CodeTalker(MotionCodec(shape), STYLES, audio_encoder=encoder, alignment="vocaset")


def codetalker_kept() -> Student:
    """With the shortcut of students trained here: past frames of the codec are kept (`CodeTalker.growth`)."""
    student = codetalker()
    student.growth = GROWTH
    return student


def voca() -> Student:
    return VOCA(VERTICES, STYLES, feature_width=DEEPSPEECH)


def meshtalk() -> Student:
    return MeshTalk(MeshTalkShape(MESHTALK_VERTICES), 1, alignment="pieces", smoothed=0)


BUILD: dict[str, Callable[[], Student]] = {
    "faceformer": faceformer, "selftalk": selftalk, "codetalker": codetalker, "codetalker_kept": codetalker_kept,
    "voca": voca, "meshtalk": meshtalk,
}  # fmt: skip


def prediction(network: str, seconds: float) -> Callable[[], Tensor]:
    """A function that predicts the vertices of `seconds` of speech, sound to displacements."""
    student = BUILD[network]().eval()
    fill_state_dict(student, FILL)
    wave, style = waveform(seconds), torch.eye(student.style_count)[:1]
    if isinstance(student, VOCA):
        logits = torch.randn(round(seconds * STEPS_PER_SECOND), DEEPSPEECH)
        return lambda: student.displacement(student.predict_from_logits(logits, style[0])[None])
    template = np.zeros((student.vertex_count, 3), np.float32)

    def predict() -> Tensor:
        return student.displacement(student.predict_states(wave, FPS, style, int(seconds * FPS), template))

    return predict


def stand_ins(**modules: dict[str, Any]) -> None:
    """Modules that a reference imports, with the names that it takes from them; `__` stands for a dot."""
    for name, content in modules.items():
        module = types.ModuleType(name.replace("__", "."))
        vars(module).update(content)
        sys.modules[module.__name__] = module


def wav2vec2_of(config: transformers.Wav2Vec2Config) -> Callable[..., nn.Module]:
    """What takes the place of `from_pretrained` of a class of wav2vec 2.0: weights of the same size, without a file.

    The references ask for the attention weights, which torch's fused attention does not give.
    """

    def from_pretrained(cls: type[nn.Module], _: str) -> nn.Module:
        config._attn_implementation = "eager"
        return cls(config)

    return classmethod(from_pretrained)  # type: ignore[return-value]


def codetalker_reference(folder: str, seconds: float) -> Callable[[], Tensor]:
    """A prediction by CodeTalker's own code, with the sizes of its `config/vocaset/stage2.yaml`."""

    class Rearrange(nn.Module):
        """The two patterns of einops that it uses."""

        def __init__(self, pattern: str, **sizes: int) -> None:
            super().__init__()
            self.heads = sizes.get("h")

        def forward(self, x: Tensor) -> Tensor:
            if self.heads is None:  # b h n d -> b n (h d)
                return x.transpose(1, 2).flatten(2)
            return x.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # b n (qkv h d) -> qkv b h n d

    stand_ins(einops={}, einops__layers={}, einops__layers__torch={"Rearrange": Rearrange}, six={"string_types": str})
    sys.path.insert(0, folder)
    import models.lib.wav2vec as hearing  # type: ignore[import-not-found]
    from models.stage1_vocaset import VQAutoEncoder  # type: ignore[import-not-found]
    from models.stage2 import CodeTalker as Reference  # type: ignore[import-not-found]

    hearing.Wav2Vec2Model.from_pretrained = wav2vec2_of(transformers.Wav2Vec2Config())
    args = argparse.Namespace(
        dataset="vocaset", feature_dim=1024, vertice_dim=3 * VERTICES, in_dim=3 * VERTICES, period=30, n_head=4,
        num_layers=6, hidden_size=1024, num_hidden_layers=6, num_attention_heads=8, intermediate_size=1536,
        window_size=1, quant_factor=0, face_quan_num=16, zquant_dim=64, n_embed=256, neg=0.2, INaffine=False,
        autoencoder="stage1_vocaset", train_subjects=" ".join(map(str, range(STYLES))), device="cpu",
        wav2vec2model_path="", vqvae_pretrained_path="",
    )  # fmt: skip
    codec, load = VQAutoEncoder(args).state_dict(), torch.load
    torch.load = lambda *_, **__: {"state_dict": codec}
    model = Reference(args).eval()
    torch.load = load
    # a later transformers returns two values here
    model.audio_encoder.feature_projection.register_forward_hook(lambda *called: called[2][0])
    fill_state_dict(model, FILL)
    sound, template = torch.from_numpy(waveform(seconds))[None], torch.zeros(1, 3 * VERTICES)
    return lambda: model.predict(sound, template, torch.eye(STYLES)[:1])


def selftalk_reference(folder: str, seconds: float) -> Callable[[], Tensor]:
    """A prediction by SelfTalk's own code, with the sizes for VOCASET; it reads the lips as well."""
    sys.path.insert(0, folder)
    import SelfTalk as reference  # type: ignore[import-not-found]

    config = transformers.Wav2Vec2Config(**LARGE, vocab_size=33)
    for network in (reference.Wav2Vec2Model, reference.Wav2Vec2ForCTC):
        network.from_pretrained = wav2vec2_of(config)
    reference.pickle = types.SimpleNamespace(load=lambda *_, **__: {"lips": np.arange(LIPS)})
    reference.open = lambda *_: nullcontext()
    args = argparse.Namespace(dataset="vocaset", feature_dim=512, vertice_dim=3 * VERTICES, period=30, device="cpu")
    model = reference.SelfTalk(args).eval()
    fill_state_dict(model, FILL)
    sound, template = torch.from_numpy(waveform(seconds))[None], torch.zeros(1, 3 * VERTICES)
    return lambda: model.predict(sound, template)[0]


def meshtalk_reference(folder: str, seconds: float) -> Callable[[], Tensor]:
    """A prediction by MeshTalk's own networks, as its `animate_face.py` uses them. Of torchaudio they need the mel
    spectrogram, of pytorch3d nothing here."""

    class Mel(nn.Module):
        def __init__(self, **_: object) -> None:
            super().__init__()
            self.log = MelSpectrogram()

        def forward(self, wave: Tensor) -> Tensor:
            return self.log(wave.flatten(0, -2)).exp().unflatten(0, wave.shape[:-1])

    transforms = {"MelSpectrogram": Mel}
    stand_ins(torchaudio={"transforms": types.SimpleNamespace(**transforms)}, torchaudio__transforms=transforms)
    stand_ins(pytorch3d={}, pytorch3d__io={"load_obj": None})
    sys.path.insert(0, folder)
    from models.context_model import ContextModel  # type: ignore[import-not-found]
    from models.encoders import MultimodalEncoder  # type: ignore[import-not-found]
    from models.vertex_unet import VertexUnet  # type: ignore[import-not-found]
    from utils.helpers import audio_chunking  # type: ignore[import-not-found]

    sizes = {"classes": 128, "heads": 16}
    parts = [
        MultimodalEncoder(**sizes, n_vertices=MESHTALK_VERTICES),
        ContextModel(**sizes),
        VertexUnet(**sizes, n_vertices=MESHTALK_VERTICES),
    ]
    for part in parts:
        fill_state_dict(part.eval(), FILL)
    encoder, context, decoder = parts
    wave, template = loud(waveform(seconds))[None], torch.zeros(1, 1, MESHTALK_VERTICES, 3)

    def predict() -> Tensor:
        codes = encoder.audio_encoder(audio_chunking(wave)[None])["code"]
        one_hot = context.sample(codes)["one_hot"]
        return decoder(template.expand(-1, one_hot.shape[1], -1, -1).contiguous(), one_hot)["geom"]

    return predict


REFERENCE = {"codetalker": codetalker_reference, "selftalk": selftalk_reference, "meshtalk": meshtalk_reference}


@torch.inference_mode()
def alone(network: str, seconds: float, reference: str) -> dict[str, float]:
    """Seconds of one prediction, and the additional memory in MB at its peak."""
    torch.set_num_threads(1)
    predict = REFERENCE[network](reference, seconds) if reference else prediction(network, seconds)
    torch.manual_seed(0)
    times, grown = [], []
    for _ in range(3):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the peak memory
        before, start = peak_kilobytes(), time.process_time()
        predict()
        times.append(time.process_time() - start)
        grown.append(peak_kilobytes() - before)
        if times[-1] > 60:
            break
    return {"seconds": min(times), "megabytes": grown[0] / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=BUILD, default=list(BUILD))
    parser.add_argument("--seconds", nargs="+", type=float, default=[5, 10, 20])
    for network in REFERENCE:
        parser.add_argument(f"--{network}", metavar="FOLDER", help="checkout of its own code, to compare with")
    parser.add_argument("--alone", metavar="FOLDER", nargs="?", const="", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.alone is not None:
        print(json.dumps(alone(words.networks[0], words.seconds[0], words.alone)))
        return
    for network in words.networks:
        for seconds in words.seconds:
            own = fresh(network, seconds)
            line = f"{network:16s} {seconds:3g} s of speech: {own['seconds']:7.2f} s, {own['megabytes']:6.0f} MB more"
            if network in REFERENCE and (folder := getattr(words, network)):
                other = fresh(network, seconds, folder)
                line += f"; its own code {other['seconds']:7.2f} s, {other['megabytes']:6.0f} MB"
                line += f" ({other['seconds'] / own['seconds']:.1f} times)"
            print(line, flush=True)


def fresh(network: str, seconds: float, reference: str = "") -> dict[str, float]:
    """One measurement in a new process; `reference`: the folder of its own code, to measure that."""
    command = [sys.executable, "-m", "benchmarks.students", "--networks", network, "--seconds", str(seconds)]
    answer = subprocess.run([*command, f"--alone={reference}"], check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
