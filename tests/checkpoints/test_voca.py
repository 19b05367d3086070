"""VOCA's TensorFlow checkpoint, written by the tests, read without TensorFlow."""

from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.checkpoints.exchange import export_checkpoint
from learn2talk_core.checkpoints.voca import export_arrays, export_voca, import_student, import_voca, is_bundle
from learn2talk_core.corpus.published_speakers import VOCASET
from learn2talk_core.models.students.student import save_student
from learn2talk_core.models.students.voca.network import VOCA
from learn2talk_core.run.errors import BadInput
from tests.golden.fill import normal
from tests.models.students.voca.test_network import naive_frame, small
from tests.toy import toy_corpus
from tests.untrusted.bundles import write_bundle

SHAPES = {  # as published, but with 7 vertices
    "SpeechEncoder/batch_norm/beta": (1,), "SpeechEncoder/batch_norm/gamma": (1,),
    "SpeechEncoder/batch_norm/moving_mean": (1,), "SpeechEncoder/batch_norm/moving_variance": (1,),
    "SpeechEncoder/conv1/weights": (3, 1, 37, 32), "SpeechEncoder/conv1/biases": (32,),
    "SpeechEncoder/conv2/weights": (3, 1, 32, 32), "SpeechEncoder/conv2/biases": (32,),
    "SpeechEncoder/conv3/weights": (3, 1, 32, 64), "SpeechEncoder/conv3/biases": (64,),
    "SpeechEncoder/conv4/weights": (3, 1, 64, 64), "SpeechEncoder/conv4/biases": (64,),
    "SpeechEncoder/fc1/weights": (72, 128), "SpeechEncoder/fc1/biases": (128,),
    "SpeechEncoder/fc2/weights": (128, 50), "SpeechEncoder/fc2/biases": (50,),
    "ExpressionLayer/expression_offset/weights": (50, 21), "ExpressionLayer/expression_offset/biases": (21,),
}  # fmt: skip


def published(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    tensors = {f"VOCA/{name}": normal(name, shape, 0.3) for name, shape in SHAPES.items()}
    tensors["VOCA/SpeechEncoder/batch_norm/moving_variance"] = np.array([1.7], np.float32)
    tensors["VOCA/SpeechEncoder/fc1/weights/Adam"] = np.ones((72, 128), np.float32)
    tensors["beta1_power"] = np.array(0.9, np.float32)
    for name, value in changes.items():
        tensors.pop(f"VOCA/{name}") if value is None else tensors.update({f"VOCA/{name}": value})
    return tensors


@torch.no_grad()
def test_published_files_speak_as_the_loops_do(tmp_path: Path) -> None:
    tensors = published()
    index = write_bundle(tmp_path / "gstep_52280.model", tensors)
    model, speakers = import_voca(index)
    assert (speakers, model.vertex_count, model.style_count) == (VOCASET, 7, 8)
    logits, style = normal("logits", (30, 29), 3.0), np.eye(8, dtype=np.float32)[2]
    states = model.predict_from_logits(torch.from_numpy(logits), torch.from_numpy(style))
    found = model.displacement(states[None])[0].flatten(1)
    weights = {name.removeprefix("VOCA/").partition("/")[2]: value for name, value in tensors.items()}
    padded = np.concatenate([np.zeros((8, 29)), logits, np.zeros((8, 29))])
    expected = [naive_frame(weights, padded[t : t + 16], style) for t in range(30)]
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)
    own = export_arrays(model)
    assert set(own) == {name for name in tensors if name.startswith("VOCA/") and not name.endswith("Adam")}
    assert all(np.array_equal(value, tensors[name]) for name, value in own.items())
    save_student(tmp_path / "m", model, fps=60.0, speakers=speakers)
    assert export_checkpoint(tmp_path / "m", "voca", tmp_path / "m.npz") == [
        "Its arrays have the names and axes of the TensorFlow variables of VOCA: assign each by its name."
    ]
    with np.load(tmp_path / "m.npz") as written:
        assert set(written.files) == set(own)
        assert all(np.array_equal(written[name], value) for name, value in own.items())


def test_export_says_that_another_ear_is_needed(tmp_path: Path) -> None:
    (note,) = export_voca(VOCA(7, 8, feature_width=16), tmp_path / "m.npz")[1:]
    assert note == "VOCA's own code hears DeepSpeech's 29 logits, this one 16 features per frame."


def test_refusals(tmp_path: Path) -> None:
    for changes, expected in (
        ({"SpeechEncoder/fc2/biases": None}, r"found no VOCA/SpeechEncoder/fc2/biases"),
        ({"Other/weights": np.zeros(2, np.float32)}, r"found VOCA/Other/weights, which it does not have"),
        ({"SpeechEncoder/conv1/weights": np.zeros((3, 1, 30, 32), np.float32)}, r"29 logits.*convolutions\.0\.weight"),
        (
            {"SpeechEncoder/fc1/weights": np.zeros((70, 128), np.float32)},
            r"expected VOCA with 8 styles, found 6 styles",
        ),
    ):
        index = write_bundle(tmp_path / "m", published(**changes))
        with pytest.raises(BadInput, match=expected):
            import_voca(index)
    assert is_bundle(tmp_path / "m")
    assert not is_bundle(tmp_path / "n.pth")


def test_a_student_of_a_run(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "corpus")
    index = write_bundle(tmp_path / "m", published())
    with pytest.raises(BadInput, match=r"found published weights, which need the logits of DeepSpeech"):
        import_student(index, corpus)
    save_student(tmp_path / "ours", small(2, 64), fps=30, speakers=("A", "B"), recipe="toy")
    model, speakers = import_student(tmp_path / "ours", corpus)
    assert isinstance(model, VOCA)
    assert speakers == ("A", "B")
    for name, words, reason in (
        ("others", {"speakers": ("A", "C")}, "expected the training speakers of the corpus, A, B, found A, C"),
        ("recipe", {"recipe": "biwi"}, "biwi"),
        ("mesh", {"vertices": 63}, "expected a face of 64 vertices, found one of 63"),
    ):
        given = {"speakers": ("A", "B"), "recipe": "toy", "vertices": 64} | words
        student = small(2, given.pop("vertices"))  # type: ignore[arg-type]
        save_student(tmp_path / name, student, fps=30, **given)  # type: ignore[arg-type]
        with pytest.raises(BadInput, match=reason):
            import_student(tmp_path / name, corpus)
