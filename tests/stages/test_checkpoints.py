"""Stages of students and teacher that import published checkpoints, read by the stage's `main`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learn2talk_core.checkpoints.exchange import import_checkpoint
from learn2talk_core.checkpoints.faceformer import import_student
from learn2talk_core.checkpoints.lipreader import import_reader
from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.models.sync_expert2d import SyncExpert2D, load_expert
from learn2talk_core.models.wav2lip import load_generator
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.students import PlainStudent
from learn2talk_core.run.weights import save_weights
from learn2talk_core.video.talking_video import write_talking_video
from stages import predict, student, teacher
from tests.checkpoints.files import save
from tests.checkpoints.test_faceformer import small as faceformer
from tests.checkpoints.test_lipreader import small as published_reader
from tests.checkpoints.test_wav2vec2 import tiny
from tests.toy import SIDE, toy_corpus
from tests.video.test_talking_video import clip, film


def changed(stage: Any, group: str, **values: object) -> Any:
    """The stage's parameters from params.yaml, some replaced; must be called before the working folder changes."""
    return dataclasses.replace(load_params(stage.Params, group), **values)


def taken_over(checkpoint: str) -> Any:
    """Parameters of `student` with a checkpoint for FaceFormer."""
    return changed(student, "student", students={"faceformer": PlainStudent("faceformer", checkpoint)})


def report(path: str) -> Any:
    return json.loads(Path(path).read_text())


def test_a_published_faceformer_speaks_in_the_place_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, speaking = taken_over("published"), load_params(predict.Params, "predict")
    monkeypatch.chdir(tmp_path)
    corpus = toy_corpus(tmp_path / "data/corpus")
    faceformer(tmp_path, vertices=SIDE * SIDE, styles=2)
    import_checkpoint(["own.pth", "own.pth.config.json"], "faceformer", "published", "data/corpus")
    assert "imported published: faceformer, 64 vertices, 2 styles" in student.main(params, "faceformer")
    assert report("metrics/students/faceformer.json")["checkpoint"] == "published"
    model, speakers = load_student("data/models/students/faceformer", made_by="the test")
    assert speakers == ("A", "B")

    own = new_faceformer(tiny(), SIDE * SIDE, 2, corpus.fps, width=8, dropout=0.0)
    save_student("data/models/students/learn2talk", own, fps=corpus.fps, speakers=("A", "B"), recipe="toy")
    predict.main(speaking)
    spoken = open_predictions("data/predicted/faceformer", corpus)
    seen = corpus.split("test_seen")[0]
    states = model.predict_states(corpus.audio(seen), 30, torch.eye(2)[:1], seen.frames)
    np.testing.assert_allclose(spoken.states(seen.id, "A"), states[0].numpy(), atol=1e-6)
    assert len(spoken.states(seen.id, "A")) == seen.frames - 1  # FaceFormer's own count: 35 of the 36 frames of 1.2 s
    assert spoken.vertices(seen.id, "A").std(axis=0).max() > 0.01


def test_a_file_that_dvc_would_not_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, missing = taken_over("own.pth"), taken_over("missing.pth")
    monkeypatch.chdir(tmp_path)
    toy_corpus(tmp_path / "data/corpus")
    faceformer(tmp_path, vertices=SIDE * SIDE, styles=2)
    pattern = (
        r"students\.faceformer\.checkpoint: expected a folder with everything .*, found own\.pth, with own\.pth\.config"
    )
    with pytest.raises(BadInput, match=pattern):
        student.main(params, "faceformer")
    with pytest.raises(BadInput, match=r"expected a file or a folder, found missing\.pth\. Give its path\."):
        student.main(missing, "faceformer")
    assert not Path("data/models").exists()


def test_a_faceformer_of_another_corpus(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "data/corpus")
    for numbers, pattern in (
        ({"vertices": 63, "styles": 2}, "own.pth: expected a face of 64 vertices, found one of 63"),
        ({"vertices": 64, "styles": 8}, "own.pth: expected 2 styles, one per training speaker of the corpus, found 8"),
        ({"vertices": 64, "styles": 2, "period": 25}, "expected weights for 30 frames per second, found for 25"),
    ):
        with pytest.raises(BadInput, match=pattern):
            import_student(faceformer(tmp_path, **numbers), corpus)


def test_a_folder_of_ours_for_another_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = taken_over("ours")
    monkeypatch.chdir(tmp_path)
    corpus = toy_corpus(tmp_path / "data/corpus")
    model = new_faceformer(tiny(), SIDE * SIDE, 2, corpus.fps, width=8, dropout=0.0)
    save_student("ours", model, fps=corpus.fps, speakers=("A", "C"), recipe="toy")
    with pytest.raises(BadInput, match=r"expected the training speakers of the corpus, A, B, found A, C. Use it on"):
        student.main(params, "faceformer")
    save_student("ours", model, fps=corpus.fps, speakers=("B", "A"), recipe="biwi-metric")
    with pytest.raises(BadInput, match="expected a model for toy, found for biwi-metric"):
        student.main(params, "faceformer")
    save_student("ours", model, fps=corpus.fps, speakers=("B", "A"), recipe="toy")
    student.main(params, "faceformer")
    assert load_student("data/models/students/faceformer", made_by="the test")[1] == ("B", "A")  # the model's own order


@pytest.mark.parametrize(("mm", "fits"), [(1000.0, True), (1.0, False)])
def test_published_weights_move_in_their_own_unit(
    mm: float, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face of VOCASET's 5023 vertices in millimetres would hardly move."""
    monkeypatch.setitem(import_student.__globals__["PUBLISHED"], "vocaset", (30, SIDE * SIDE, ("A", "B")))
    corpus = dataclasses.replace(toy_corpus(tmp_path / "corpus"), mm_per_unit=mm)
    path = faceformer(tmp_path, vertices=SIDE * SIDE, styles=2)
    if fits:
        assert import_student(path, corpus)[1] == ("A", "B")
    else:
        with pytest.raises(BadInput, match=r"expected a corpus of 1000 to 1000 mm per unit, .*, found 1 mm \(toy\)"):
            import_student(path, corpus)


def test_a_generator_learns_from_the_official_expert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = load_params(teacher.Params, "teacher", "pretraining/params.yaml")
    recipe = dataclasses.replace(
        params.generator,
        steps=2, batch=1, width=0.05, audio_width=0.05, audio_steps=1, sync_start=0.5,
        reading_steps=1, reading_frames=5,
    )  # fmt: skip
    params = dataclasses.replace(
        params, expert_checkpoint="lipsync_expert.pth", hears="mel", threads=1, evaluation_clips=1, generator=recipe
    )
    monkeypatch.chdir(tmp_path)
    write_talking_video("data/talking_video", [film(clip(number, 8, 5200)) for number in range(6)])
    for folder in (teacher.READER, teacher.READING_EXPERT):
        save_weights(folder, *import_reader(published_reader(tmp_path / "published")))
    torch.manual_seed(0)
    save(tmp_path / "lipsync_expert.pth", SyncExpert2D().state_dict())
    teacher.main(params)
    assert load_expert(f"{teacher.OUT}/sync_expert").official
    assert not load_generator(teacher.OUT)[1].bgr
    for part in ("teacher", "teacher_expert"):
        assert Path(f"{teacher.CURVES}/{part}.csv").is_file()  # DVC misses none


def test_the_loss_gets_the_faces_that_the_official_expert_wants() -> None:
    torch.manual_seed(0)
    faces, mean = torch.rand(2, 3, 5, 96, 96), torch.rand(2, 3, 1, 96, 96)
    seen = SyncExpert2D(0.05, official=True).look(faces, mean)
    assert torch.equal(seen[:, 3:6], faces[:, [2, 1, 0], 1, 48:])  # second frame, BGR, lower half
    ours = SyncExpert2D(0.05).look(faces, mean)
    assert torch.equal(ours[:, 3:6], (faces - mean)[:, :, 1, 48:])
