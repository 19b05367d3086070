"""MeshTalk's three files, made from the golden weights, against the reference's record; refusals at small size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.checkpoints.meshtalk import PARTS, export_meshtalk, import_meshtalk, import_student
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.meshtalk.network import MeshTalk, MeshTalkShape, loud
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from tests.golden.fill import Golden, fill_state_dict, waveform
from tests.toy import toy_corpus


def write(model: MeshTalk, folder: Path, **changes: torch.Tensor | None) -> Path:
    """The three files as the reference saves them; `changes`: keys with __ for the dots of part and name."""
    folder.mkdir(exist_ok=True)
    for part in PARTS:
        state = dict(getattr(model, part).state_dict())
        for key, value in changes.items():
            where, _, name = key.replace("__", ".").partition(".")
            if where == part:
                state.pop(name) if value is None else state.update({name: value})
        torch.save(state, folder / f"{part}.pkl")
    return folder


@torch.inference_mode()
def test_published_files_and_their_way_back(tmp_path: Path) -> None:
    golden = Golden("meshtalk", "meshtalk")
    full = MeshTalk(MeshTalkShape(6172), 1)
    for part, fill in (("encoder", "fill"), ("vertex_unet", "fill"), ("context_model", "fill_context_model")):
        fill_state_dict(getattr(full, part), golden.info[fill])
    folder = write(full, tmp_path / "pretrained_models")
    (folder / "neck_mask.txt").write_text("\n".join(["0.5"] + ["0"] * 6171))
    model, speakers = import_meshtalk(folder)
    assert (model.shape, speakers, model.alignment) == (MeshTalkShape(6172), ("any",), "pieces")
    assert model.masks.shape == (1, 6172)
    assert float(model.masks.sum()) == 0.5
    codes = model.encoder.audio_encoder.of_pieces(loud(waveform(2.0)))[None, ::8][:, :7]
    golden.assert_close("audio_code", codes, atol=1e-4)
    np.testing.assert_array_equal(model.context_model.sample(codes[0], None), golden["sample_labels"].dense()[0])
    save_student(tmp_path / "ours", model, fps=30, speakers=speakers)
    again, _ = load_student(tmp_path / "ours", made_by="the test")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    assert export_meshtalk(model, tmp_path / "out") == []
    for part in PARTS:
        written = torch.load(tmp_path / "out" / f"{part}.pkl", weights_only=True)
        assert {key: list(value.shape) for key, value in written.items()} == golden.info["keys"][part]
        assert all(torch.equal(v, getattr(full, part).state_dict()[k]) for k, v in written.items())


def small(vertices: int = 64) -> MeshTalk:
    torch.manual_seed(0)
    return MeshTalk(MeshTalkShape(vertices, 2, 4), 2)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"encoder__fusion_model__mlp__4__bias": None},
            r"encoder\.pkl.*expected the weights of MeshTalk's encoder.*mlp\.4",
        ),
        ({"context_model__other": torch.zeros(1)}, r"context_model\.pkl.*found other, which it does not have"),
        ({"vertex_unet__vertex_bias": torch.zeros(191)}, r"expected the weights of MeshTalk, found 191 coordinates"),
        ({"context_model__logits__mask": torch.ones(8, 128, 1)}, r"expected the published context_model\.logits\.mask"),
        ({"vertex_unet__mean": torch.ones(1, 1, 64, 3)}, r"encoder and vertex_unet with different mean faces"),
        ({"vertex_unet__encoder__2__weight": torch.zeros(128, 255)}, r"encoder\.2\.weight of shape \(128, 255\)"),
        (
            {"context_model__embedding__masked_linear__weight": torch.zeros(100, 8, 1)},
            r"found 192 coordinates, 100 channels",
        ),
        ({"context_model__embedding__masked_linear__weight": None}, r"expected the weights of MeshTalk, found no"),
    ],
)
def test_refusals(changes: dict[str, torch.Tensor | None], expected: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=expected):
        import_meshtalk(write(small(), tmp_path / "m", **changes))


def test_a_missing_part_and_wrong_masks(tmp_path: Path) -> None:
    folder = write(small(), tmp_path / "m")
    for text, found in (
        ("1\n0", "2 numbers"),
        ("2\n" * 64, "numbers outside 0 … 1"),
        ("a\n" * 64, "could not convert"),
    ):
        (folder / "forehead_mask.txt").write_text(text)
        with pytest.raises(BadInput, match=rf"forehead_mask\.txt.*found {found}"):
            import_meshtalk(folder)
    (folder / "forehead_mask.txt").unlink()
    with pytest.raises(
        BadInput, match=r"encoder\.pkl: expected a folder, found a file\. Name the folder with MeshTalk's"
    ):
        import_meshtalk(folder / "encoder.pkl")
    (folder / "context_model.pkl").unlink()
    with pytest.raises(BadInput, match=r"context_model\.pkl.*found nothing"):
        import_meshtalk(folder)


def test_a_student_of_a_run(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "corpus")
    folder = write(small(), tmp_path / "m")
    with pytest.raises(BadInput, match=r"expected a corpus in millimetres.*found 1000 mm per unit \(toy\)"):
        import_student(folder, corpus)
    (corpus.folder / "corpus.json").write_text(
        (corpus.folder / "corpus.json").read_text().replace('"mm_per_unit": 1000', '"mm_per_unit": 1')
    )
    metric = open_corpus(corpus.folder)
    model, speakers = import_student(folder, metric)
    assert speakers == ("A", "B")
    # imported without a corpus, its speakers are not those of this one, which do not change its motion
    model, any_speaker = import_meshtalk(folder)
    save_student(tmp_path / "ours", model, fps=30, speakers=any_speaker)
    again, speakers = import_student(tmp_path / "ours", metric)
    assert (again.style_count, speakers) == (2, ("A", "B"))
    with pytest.raises(BadInput, match=r"expected a corpus in millimetres.*found 1000 mm per unit \(toy\)"):
        import_student(tmp_path / "ours", corpus)
    wave = metric.audio(metric.clips[0])
    states = model.predict_states(wave, 30, torch.eye(2), metric.clips[0].frames, metric.template("A"))
    assert states.shape[2] == 192
    assert abs(states.shape[1] - metric.clips[0].frames) <= 1  # 533 samples per frame
    assert torch.equal(states[0], states[1])
    assert np.isfinite(states.numpy()).all()
    with pytest.raises(BadInput, match=r"expected a face of 64 vertices, found one of 7"):
        import_student(write(small(7), tmp_path / "n"), metric)
    save_student(tmp_path / "ours", small(), fps=30, speakers=("A", "X"), recipe="toy")
    with pytest.raises(BadInput, match=r"expected the training speakers of the corpus, A, B, found A, X"):
        import_student(tmp_path / "ours", metric)
