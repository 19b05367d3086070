"""FaceFormer's files, made from the golden weights, compared with the reference's recorded predictions."""

import json
from pathlib import Path

import pytest
import torch

from learn2talk_core.checkpoints.faceformer import PUBLISHED, export_faceformer, import_faceformer
from learn2talk_core.checkpoints.students import Fit
from learn2talk_core.models.students.faceformer.network import FaceFormer, new_faceformer
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from tests.checkpoints.files import golden_state
from tests.checkpoints.test_wav2vec2 import tiny
from tests.golden.fill import Golden, normal, waveform


@torch.inference_mode()
def speaks_as_the_reference(golden: Golden, model: FaceFormer, frames: int) -> None:
    states = model.predict_states(waveform(2.0), model.period, torch.eye(model.obj_vector.in_features)[2:3], 60)
    assert states.shape[1] == frames
    template = torch.from_numpy(normal("template", (1, model.vertice_map_r.out_features), 0.1))
    vertices = model.displacement(states).flatten(2) + template
    golden.assert_close("predict", vertices)


@pytest.mark.parametrize(("dataset", "frames"), [("vocaset", 59), ("BIWI", 49)])
def test_published_files_and_their_way_back(dataset: str, frames: int, tmp_path: Path) -> None:
    golden = Golden("faceformer", dataset)
    state = golden_state(golden)
    path = tmp_path / f"{dataset}.pth"
    torch.save(state, path)
    model, speakers = import_faceformer(path)
    assert speakers == tuple(golden.info["config"]["train_subjects"].split())
    assert model.alignment == dataset.lower()
    assert model.audio_encoder.config.num_attention_heads == 12
    speaks_as_the_reference(golden, model, frames)
    path.unlink()
    assert export_faceformer(model, path) == []
    written = torch.load(path, weights_only=True)
    assert {key: list(value.shape) for key, value in written.items()} == golden.info["keys"]
    assert all(torch.equal(written[key], value) for key, value in state.items())


@torch.no_grad()
def test_our_folder_keeps_the_alignment(tmp_path: Path) -> None:
    model, speakers = import_faceformer(small(tmp_path, period=25), Fit("abc"))
    save_student(tmp_path / "ours", model, fps=25, speakers=speakers, recipe="toy")
    again, _ = load_student(tmp_path / "ours", made_by="the test")
    assert (again.alignment, again.audio_rate) == ("biwi", 2)
    wave, styles = waveform(1.0), torch.eye(3)
    assert again.predict_states(wave, 25, styles, 25).shape == (3, 24, 16)
    torch.testing.assert_close(
        again.predict_states(wave, 25, styles, 25), model.predict_states(wave, 25, styles, 25), atol=0, rtol=0
    )


def small(tmp_path: Path, *, vertices: int = 5, styles: int = 3, period: int = 30) -> Path:
    """A file as FaceFormer's code saves it, but with a small speech encoder, which needs a configuration."""
    torch.manual_seed(0)
    model = new_faceformer(tiny(), vertices, styles, period, width=16, dropout=0.0, alignment="vocaset")
    torch.nn.init.normal_(model.vertice_map_r.weight)
    export_faceformer(model, tmp_path / "own.pth")
    return tmp_path / "own.pth"


def test_a_corpus_that_fits(tmp_path: Path) -> None:
    path = small(tmp_path)
    model, speakers = import_faceformer(path, Fit(("c", "a", "b"), vertices=5, fps=30))
    assert speakers == ("c", "a", "b")
    assert model.audio_encoder.config.hidden_size == 32
    # the position table is constant and may be missing
    state = torch.load(path, weights_only=True)
    del state["PPE.pe"]
    torch.save(state, path)
    assert torch.equal(import_faceformer(path, Fit(("c", "a", "b")))[0].PPE.pe, model.PPE.pe)


def test_published_order_of_speakers_wins(tmp_path: Path) -> None:
    names = PUBLISHED["vocaset"][2]
    path = small(tmp_path, styles=8)
    assert import_faceformer(path, Fit(names[::-1]))[1] == names
    assert import_faceformer(path)[1] == names
    other = tuple("hgfedcba")
    assert import_faceformer(path, Fit(other))[1] == other


def test_a_corpus_that_does_not_fit(tmp_path: Path) -> None:
    path = small(tmp_path)
    for given, pattern in (
        (Fit("abcd"), "expected 4 styles, one per training speaker of the corpus, found 3. Use it on"),
        (Fit("abc", vertices=7), "expected a face of 7 vertices, found one of 5"),
        (Fit("abc", fps=25.0), "expected weights for 25 frames per second, found for 30"),
        (Fit(), "expected 8 styles, as published, found 3. Name its corpus"),
    ):
        with pytest.raises(BadInput, match=pattern):
            import_faceformer(path, given)
    with pytest.raises(BadInput, match=r"expected a period of 25 \(BIWI\) or 30 frames \(VOCASET\), found 20"):
        import_faceformer(small(tmp_path, period=20), Fit("abc"))


def test_another_network(tmp_path: Path) -> None:
    torch.save({"encoder.vertice_mapping.0.weight": torch.zeros(4, 15)}, tmp_path / "codetalker.pth")
    with pytest.raises(BadInput, match=r"expected the weights of FaceFormer, found no vertice_map_r.weight\. Name F"):
        import_faceformer(tmp_path / "codetalker.pth")
    path = small(tmp_path)
    state = torch.load(path, weights_only=True)
    state["lip_map.weight"] = torch.zeros(2, 2)
    torch.save(state, path)
    with pytest.raises(BadInput, match=r"found lip_map.weight, which it does not have"):
        import_faceformer(path, Fit("abc"))


def test_an_export_replaces_no_configuration_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "l2t.pth.config.json").write_text("mine")
    model = new_faceformer(tiny(), 5, 2, 25.0, width=16, dropout=0.0)
    with pytest.raises(BadInput, match=r"config\.json: expected the file that learn2talk export-checkpoint wrote"):
        export_faceformer(model, tmp_path / "l2t.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["l2t.pth.config.json"]


def test_what_the_export_of_our_own_says(tmp_path: Path) -> None:
    model = new_faceformer(tiny(do_stable_layer_norm=True), 5, 2, 25.0, width=16, dropout=0.0)
    notes = export_faceformer(model, tmp_path / "l2t.pth")
    assert "not wav2vec2-base: build Wav2Vec2Model from l2t.pth.config.json" in notes[0]
    assert "at the times of the motion frames" in notes[1]
    assert json.loads((tmp_path / "l2t.pth.config.json").read_text())["do_stable_layer_norm"]
    assert "audio_encoder.encoder.pos_conv_embed.conv.weight_g" in torch.load(tmp_path / "l2t.pth", weights_only=True)
    again, _ = import_faceformer(tmp_path / "l2t.pth", Fit("ab", fps=25))
    assert again.audio_encoder.config.do_stable_layer_norm
    wave, styles = waveform(1.0), torch.eye(2)
    again.alignment, again.audio_rate = "time", 1  # the reference's format cannot store these
    with torch.no_grad():
        torch.testing.assert_close(
            again.predict_states(wave, 25, styles, 25), model.eval().predict_states(wave, 25, styles, 25)
        )
