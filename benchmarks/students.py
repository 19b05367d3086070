"""Time and memory of prediction by every network at its published size, for 5, 10 and 20 s of speech.

    python -m benchmarks.students [--networks NAME …] [--seconds 5 10 20] [--meshtalk FOLDER]

CodeTalker is measured three times: as published weights are predicted, with past frames kept as for students trained
here, and plain, by the loop of its own code (whole prefixes through decoder and codec, to vertices and back). SelfTalk
is measured twice: the animator alone, and plain, with the interpreter that its own code runs as well. Plain ones use
torch's linear maps. A plain CodeTalker of 20 s takes a quarter of an hour.

The weights are functions of their names (tests/golden/fill.py). VOCA gets DeepSpeech's logits, which are not computed.
With `--meshtalk`, a checkout of the reference's code, its own networks are run on the same weights and sound. Each
prediction runs in a process of its own, on one thread: the computing time of the fastest of three, or of one that takes
a minute or more, and the memory that it needs in addition.
"""

import argparse
import json
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.decode import peak_kilobytes
from learn2talk_core.models.linear import Linear
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.students.codetalker.codec import CodecShape, MotionCodec
from learn2talk_core.models.students.codetalker.network import GROWTH, CodeTalker
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.hearing import heard_states
from learn2talk_core.models.students.meshtalk.network import MelSpectrogram, MeshTalk, MeshTalkShape, loud
from learn2talk_core.models.students.selftalk.network import SelfTalk, reading_positions
from learn2talk_core.models.students.student import Student
from learn2talk_core.models.students.voca.network import DEEPSPEECH, STEPS_PER_SECOND, VOCA
from tests.golden.fill import fill_state_dict, waveform
from tests.models.students.codetalker.test_network import naive_codes

VERTICES, STYLES, FPS = 5023, 8, 30.0  # VOCASET
LIPS = 254  # of SelfTalk
MESHTALK_VERTICES = 6172
FILL = {"gain2": 0.5, "gainN": 1.0, "gains": (), "constants": (r"\.pe$", "mean$", "stddev$", "mask$", r"melspec\.")}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
         "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}  # fmt: skip


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
    "faceformer": faceformer, "selftalk": selftalk, "selftalk_plain": selftalk, "codetalker": codetalker,
    "codetalker_kept": codetalker_kept, "codetalker_plain": codetalker, "voca": voca, "meshtalk": meshtalk,
}  # fmt: skip


def prediction(network: str, seconds: float) -> Callable[[], Tensor]:
    """A function that predicts the vertices of `seconds` of speech, sound to displacements."""
    student = BUILD[network]().eval()
    fill_state_dict(student, FILL)
    wave, style = waveform(seconds), torch.eye(student.style_count)[:1]
    if isinstance(student, VOCA):
        logits = torch.randn(round(seconds * STEPS_PER_SECOND), DEEPSPEECH)
        return lambda: student.displacement(student.predict_from_logits(logits, style[0])[None])
    if network.endswith("_plain"):
        by_torch(student)
        if isinstance(student, CodeTalker):
            return lambda: plain_codetalker(student, wave, style)
        if isinstance(student, SelfTalk):
            return lambda: plain_selftalk(student, wave)
    template = np.zeros((student.vertex_count, 3), np.float32)

    def predict() -> Tensor:
        return student.displacement(student.predict_states(wave, FPS, style, int(seconds * FPS), template))

    return predict


def by_torch(student: Student) -> None:
    """Undo `by_onednn`."""
    for module in student.modules():
        if type(module) is Linear:
            module.__class__ = nn.Linear  # type: ignore[assignment]


def plain_codetalker(student: CodeTalker, wave: np.ndarray, style: Tensor) -> Tensor:
    """CodeTalker by the loop of its own code."""
    hidden = heard_states(student.audio_encoder, wave, 0, FPS, "vocaset")
    return student.displacement(student.decode_codes(naive_codes(student, hidden, style)))


def plain_selftalk(student: SelfTalk, wave: np.ndarray) -> Tensor:
    """SelfTalk as its own code predicts: the lips that it moved are read as well."""
    moved = student.displacement(student.states(heard_states(student.audio_encoder, wave, 0, FPS, "vocaset")))
    student.read_lips([moved[0, :, :LIPS]], [reading_positions(moved.shape[1], FPS, "vocaset")])
    return moved


def meshtalk_reference(folder: str, seconds: float) -> Callable[[], Tensor]:
    """The same by the reference's own networks, as its `animate_face.py` uses them.

    Of torchaudio it only needs the mel spectrogram, of pytorch3d nothing here: both are replaced, so that they need not
    be installed.
    """

    class Mel(nn.Module):
        def __init__(self, **_: object) -> None:
            super().__init__()
            self.log = MelSpectrogram()

        def forward(self, wave: Tensor) -> Tensor:
            return self.log(wave.flatten(0, -2)).exp().unflatten(0, wave.shape[:-1])

    for name in ("torchaudio", "torchaudio.transforms", "pytorch3d", "pytorch3d.io"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]  # type: ignore[attr-defined]
    sys.modules["torchaudio.transforms"].MelSpectrogram = Mel  # type: ignore[attr-defined]
    sys.modules["pytorch3d.io"].load_obj = None  # type: ignore[attr-defined]
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


@torch.inference_mode()
def alone(network: str, seconds: float, reference: str | None) -> dict[str, float]:
    """Seconds of one prediction, and the additional memory in MB at its peak."""
    torch.set_num_threads(1)
    predict = meshtalk_reference(reference, seconds) if reference else prediction(network, seconds)
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
    parser.add_argument("--meshtalk", metavar="FOLDER", help="checkout of MeshTalk's own code, to compare with")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.alone:
        print(json.dumps(alone(words.networks[0], words.seconds[0], words.meshtalk)))
        return
    for network in words.networks:
        for seconds in words.seconds:
            own = fresh(network, seconds)
            line = f"{network:16s} {seconds:3g} s of speech: {own['seconds']:7.2f} s, {own['megabytes']:6.0f} MB more"
            if network == "meshtalk" and words.meshtalk:
                other = fresh(network, seconds, "--meshtalk", words.meshtalk)
                line += f"; its own code {other['seconds']:7.2f} s, {other['megabytes']:6.0f} MB"
                line += f" ({other['seconds'] / own['seconds']:.1f} times)"
            print(line, flush=True)


def fresh(network: str, seconds: float, *more: str) -> dict[str, float]:
    """One measurement in a new process."""
    command = [sys.executable, "-m", "benchmarks.students", "--alone", "--networks", network, "--seconds", str(seconds)]
    answer = subprocess.run([*command, *more], check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
