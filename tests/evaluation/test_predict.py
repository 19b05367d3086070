from pathlib import Path

import numpy as np
import torch

from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.evaluation.predict import Studio, predict_clip, write_motions
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.run.weights import frozen
from tests.toy import toy_corpus
from tests.training.test_student import encoder


def test_a_training_speaker_speaks_in_the_own_style_and_a_stranger_in_all(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "corpus")
    speakers = corpus.train_speakers
    seed_torch(0)
    student = new_faceformer(encoder(), 64, len(speakers), corpus.fps, width=8, dropout=0.0)
    torch.nn.init.normal_(student.vertice_map_r.weight, std=1e-3)
    frozen(student)
    clips = corpus.split("test_seen", "test_unseen")
    studio = Studio(corpus, student, speakers)
    assert write_motions(tmp_path / "predicted", studio, clips, (predict_clip(studio, clip) for clip in clips)) == 3

    found = open_predictions(tmp_path / "predicted", corpus)
    seen, unseen = clips
    assert found.styles(seen.id) == ["A"]
    assert found.styles(unseen.id) == ["A", "B"]
    for clip, style in ((seen, "A"), (unseen, "A"), (unseen, "B")):
        one_hot = torch.eye(2)[[speakers.index(style)]]
        states = student.predict_states(corpus.audio(clip), corpus.fps, one_hot, clip.frames)
        moved = (states[0] @ student.vertice_map_r.weight.T + student.vertice_map_r.bias).reshape(clip.frames, -1, 3)
        expected = corpus.template(clip.speaker) + moved.numpy()
        np.testing.assert_allclose(found.vertices(clip.id, style), expected, atol=1e-6)
    assert not np.allclose(found.states(unseen.id, "A"), found.states(unseen.id, "B"))
