"""Stages that import published checkpoints: files of tiny or full size, read by the stage's `main`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learn2talk_core.checkpoints.faceformer import import_student
from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.models.lipreader import load_lipreader, load_units, read_lips
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.models.sync_expert2d import SyncExpert2D, load_expert
from learn2talk_core.models.wav2lip import Wav2Lip, load_generator
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.students import PlainStudent
from learn2talk_core.untrusted.published import export_state
from learn2talk_core.video.talking_video import write_talking_video
from stages import lipreader, predict, speech_encoder, student, teacher
from tests.checkpoints.files import save
from tests.checkpoints.test_faceformer import small as faceformer
from tests.checkpoints.test_lipreader import small as published_reader
from tests.checkpoints.test_wav2vec2 import same, tiny
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


def test_a_wav2vec2_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = changed(speech_encoder, "speech_encoder", checkpoint="weights.pth")
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": export_state(tiny())}, "weights.pth")
    assert speech_encoder.main(params).startswith("imported weights.pth")
    same(speech_encoder.import_wav2vec2(speech_encoder.OUT), tiny())


def test_a_published_faceformer_speaks_in_the_place_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, speaking = taken_over("faceformer.pth"), load_params(predict.Params, "predict")
    monkeypatch.chdir(tmp_path)
    corpus = toy_corpus(tmp_path / "data/corpus")
    faceformer(tmp_path, vertices=SIDE * SIDE, styles=2).rename("faceformer.pth")
    Path("own.pth.config.json").rename("faceformer.pth.config.json")
    assert "imported faceformer.pth: faceformer, 64 vertices, 2 styles" in student.main(params, "faceformer")
    assert report("metrics/students/faceformer.json")["checkpoint"] == "faceformer.pth"
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


def test_a_faceformer_of_another_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = taken_over("own.pth")
    monkeypatch.chdir(tmp_path)
    toy_corpus(tmp_path / "data/corpus")
    for numbers, pattern in (
        ({"vertices": 63, "styles": 2}, "own.pth: expected a face of 64 vertices, found one of 63"),
        ({"vertices": 64, "styles": 8}, "own.pth: expected 2 styles, one per training speaker of the corpus, found 8"),
        ({"vertices": 64, "styles": 2, "period": 25}, "expected weights for 30 frames per second, found for 25"),
    ):
        faceformer(tmp_path, **numbers)
        with pytest.raises(BadInput, match=pattern):
            student.main(params, "faceformer")
    assert not Path("data/models").exists()


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


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two short videos per split, with text, in `data/talking_video`."""
    write_talking_video(tmp_path / "data/talking_video", [film(clip(number, 8, 5200)) for number in range(6)])
    return tmp_path


@pytest.mark.parametrize("role", ["loss", "metric"])
def test_a_published_lip_reader(role: str, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = lipreader.Checkpoints(**{"loss": None, "metric": None, role: "published/model.pth"})
    params = changed(lipreader, "lipreader", checkpoint=names)
    monkeypatch.chdir(video)
    published_reader(video / "published")
    sentence = lipreader.main(params, role)
    assert sentence.startswith("imported published/model.pth; held-out character_error ")
    found = report(f"metrics/lipreader/{role}.json")
    assert found["checkpoint"] == "published/model.pth"
    assert 0 < found["character_error"] < 5
    folder = f"data/models/lipreader/{role}"
    assert load_units(folder)[0] == "<blank>"
    reader, head = load_lipreader(folder)
    assert head is None
    assert read_lips(reader, head, np.zeros((3, 96, 96), np.uint8)).features.shape == (3, 16)
    # the stage's output for one role can be the checkpoint for the other role
    Path(folder).rename("ours")
    other = dataclasses.replace(params, checkpoint=lipreader.Checkpoints(metric="ours", loss=None))
    lipreader.main(other, "metric")
    assert report("metrics/lipreader/metric.json")["character_error"] == found["character_error"]


def test_one_lip_reader_cannot_teach_and_judge(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = changed(lipreader, "lipreader", checkpoint=lipreader.Checkpoints(metric="m.pth", loss="m.pth"))
    monkeypatch.chdir(video)
    with pytest.raises(BadInput, match=r"lipreader\.checkpoint: expected two different readers, .*m\.pth for"):
        lipreader.main(params, "loss")


@pytest.fixture
def official(video: Path) -> Path:
    """Wav2Lip's two files at full size."""
    torch.manual_seed(0)
    save(video / "wav2lip_gan.pth", Wav2Lip().state_dict())
    save(video / "lipsync_expert.pth", SyncExpert2D().state_dict())
    return video


def test_wav2lip_and_its_expert(official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = changed(
        teacher, "teacher", checkpoint="wav2lip_gan.pth", expert_checkpoint="lipsync_expert.pth", threads=1,
        evaluation_clips=1,
    )  # fmt: skip
    monkeypatch.chdir(official)
    teacher.main(params)
    found = report("metrics/teacher.json")
    assert (found["checkpoint"], found["expert_checkpoint"]) == ("wav2lip_gan.pth", "lipsync_expert.pth")
    assert 0 <= found["sync"]["truth"]["cosine"] <= 1
    published = torch.load("wav2lip_gan.pth", weights_only=True)["state_dict"]
    generator, inputs = load_generator(teacher.OUT)
    assert inputs.bgr
    assert torch.equal(generator.output_block[1].weight, published["module.output_block.1.weight"])
    assert load_expert(f"{teacher.OUT}/sync_expert").official
    assert Path("metrics/curves/teacher.csv").read_text() == "step\n0\n"


def test_a_generator_learns_from_the_official_expert(official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = changed(teacher, "teacher", expert_checkpoint="lipsync_expert.pth", threads=1, evaluation_clips=1)
    recipe = dataclasses.replace(
        params.generator, steps=2, batch=1, width=0.05, audio_width=0.05, audio_steps=1, sync_start=0.5
    )
    params = dataclasses.replace(params, generator=recipe)
    monkeypatch.chdir(official)
    teacher.main(params)
    assert load_expert(f"{teacher.OUT}/sync_expert").official
    assert not load_generator(teacher.OUT)[1].bgr


def test_the_loss_gets_the_faces_that_the_official_expert_wants() -> None:
    torch.manual_seed(0)
    faces, mean = torch.rand(2, 3, 5, 96, 96), torch.rand(2, 3, 1, 96, 96)
    seen = SyncExpert2D(0.05, official=True).look(faces, mean)
    assert torch.equal(seen[:, 3:6], faces[:, [2, 1, 0], 1, 48:])  # second frame, BGR, lower half
    ours = SyncExpert2D(0.05).look(faces, mean)
    assert torch.equal(ours[:, 3:6], (faces - mean)[:, :, 1, 48:])
