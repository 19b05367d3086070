"""A small untrained student of every network, for the toy corpus, and speech for it."""

import torch

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.students.codetalker.codec import CodecShape, MotionCodec
from learn2talk_core.models.students.codetalker.network import CodeTalker
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.meshtalk.network import MeshTalk, MeshTalkShape
from learn2talk_core.models.students.selftalk.network import SelfTalk
from learn2talk_core.models.students.student import Student
from learn2talk_core.models.students.voca.network import VOCA
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.run.weights import frozen
from tests.training.test_student import encoder


def toy_network(network: str, corpus: Corpus) -> Student:
    """An untrained student that moves every vertex by about a millimetre."""
    vertices, styles, speech = len(corpus.topology.colours), len(corpus.train_speakers), encoder()
    seed_torch(0)
    student: Student
    if network == "faceformer":
        student = new_faceformer(speech, vertices, styles, corpus.fps, width=8, dropout=0.0)
        last = student.vertice_map_r
    elif network == "selftalk":
        student = SelfTalk(vertices, styles, lip_count=16, units=("", "P", "AA"), audio_encoder=speech, width=8,
                           lip_width=8, lip_heads=2, lip_layers=1, lip_hidden=16)  # fmt: skip
        student.lips.copy_(torch.from_numpy(corpus.topology.regions["lips"]))
        last = student.vertice_map_r
    elif network == "codetalker":
        codec = MotionCodec(CodecShape(vertices, 12, 1, 2, 24, codes=4, code_width=3, entries=20, projected=True))
        student = CodeTalker(codec, styles, audio_encoder=speech, width=16, layers=1, period=round(corpus.fps))
        last = codec.decoder.vertice_map_reverse
    elif network == "voca":
        student = VOCA(vertices, styles, feature_width=16, speech_encoder=speech)
        last = student.expression_offset
    else:
        assert network == "meshtalk"
        student = MeshTalk(MeshTalkShape(vertices, 2, 4), styles)
        rest = torch.from_numpy(corpus.templates["A"])
        student.normalise_by(rest, torch.full_like(rest, 1e-3))
        last = None
    if last is not None:
        torch.nn.init.normal_(last.weight, std=1e-3)
    frozen(student)
    return student
