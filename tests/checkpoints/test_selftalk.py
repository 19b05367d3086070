"""SelfTalk's files: made small, as its code saves them, imported, exported and refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.checkpoints import selftalk
from learn2talk_core.checkpoints.exchange import export_checkpoint, import_checkpoint
from learn2talk_core.checkpoints.selftalk import export_selftalk, import_selftalk, import_student
from learn2talk_core.checkpoints.students import Fit
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.corpus.published_speakers import VOCASET
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.selftalk.network import SelfTalk
from learn2talk_core.models.students.selftalk.recogniser import CHARACTERS, TextRecogniser, load_text_recogniser
from learn2talk_core.models.students.student import AudioAlignment
from learn2talk_core.run.errors import BadInput
from tests.checkpoints.test_wav2vec2 import tiny
from tests.golden.fill import waveform
from tests.toy import toy_corpus


def network(alignment: AudioAlignment = "vocaset", vertices: int = 20) -> SelfTalk:
    torch.manual_seed(0)
    model = SelfTalk(
        vertices, 8, lip_count=4, units=CHARACTERS, audio_encoder=tiny(), width=16, lip_width=32, lip_layers=2,
        lip_hidden=24, alignment=alignment,
    )  # fmt: skip
    torch.nn.init.normal_(model.vertice_map_r.weight)
    return model.eval()


def file(tmp_path: Path, alignment: AudioAlignment = "vocaset", **numbers: int) -> Path:
    recogniser = TextRecogniser(tiny(), CHARACTERS)
    export_selftalk(network(alignment, **numbers), recogniser, tmp_path / "own.pth")
    return tmp_path / "own.pth"


@pytest.mark.parametrize("alignment", ["vocaset", "biwi"])
@torch.no_grad()
def test_there_and_back(alignment: AudioAlignment, tmp_path: Path) -> None:
    path = file(tmp_path, alignment)
    state = torch.load(path, weights_only=True)
    assert "lips" not in state
    assert "text_encoder.wav2vec2.encoder.pos_conv_embed.conv.weight_g" in state
    model, speakers, recogniser = import_selftalk(path)
    assert model.alignment == alignment
    assert speakers == selftalk.PUBLISHED[alignment][2]
    assert recogniser is not None
    wave, styles = waveform(1.0), torch.eye(len(speakers))[:2]
    own = network(alignment)
    torch.testing.assert_close(model.predict_states(wave, 30, styles, 40), own.predict_states(wave, 30, styles, 40))
    export_selftalk(model, recogniser, path)
    again = torch.load(path, weights_only=True)
    assert list(again) == list(state)
    assert all(torch.equal(again[key], value) for key, value in state.items())
    assert export_selftalk(model, None, path)[-1].startswith("It has no recogniser: load it with strict=False.")


def test_commands_keep_the_recogniser_apart(tmp_path: Path) -> None:
    path = file(tmp_path)
    with (tmp_path / "FLAME_masks.pkl").open("wb") as masks:
        pickle.dump({"lips": np.array([3, 5, 5, 7]), "nose": np.arange(9)}, masks)
    said = import_checkpoint([str(path), str(tmp_path / "FLAME_masks.pkl")], "selftalk", tmp_path / "imported")
    assert said.startswith("SelfTalk of 20 vertices and 8 styles at 30 frames per second, alignment vocaset")
    student, speakers = load_student(tmp_path / "imported", made_by="the test")
    assert speakers == VOCASET
    assert student.lips.tolist() == [3, 5, 5, 7]
    assert load_text_recogniser(tmp_path / "imported" / "recogniser").units == CHARACTERS
    assert not any(key.startswith("text_encoder") for key in student.state_dict())
    assert len(export_checkpoint(tmp_path / "imported", "selftalk", tmp_path / "back.pth")) == 1  # another encoder
    one, other = (torch.load(p, weights_only=True) for p in (path, tmp_path / "back.pth"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    with pytest.raises(BadInput, match=r"expected a faceformer, found a selftalk. Name another"):
        export_checkpoint(tmp_path / "imported", "faceformer", tmp_path / "no.pth")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path)
    for given, pattern in (
        (Fit(vertices=7), "expected a face of 7 vertices, found one of 20"),
        (Fit(fps=25.0), "expected weights for 25 frames per second, found for 30"),
    ):
        with pytest.raises(BadInput, match=pattern):
            import_selftalk(path, given)
    with (tmp_path / "BIWI_lip.pkl").open("wb") as lips:
        pickle.dump([1, 2, 3], lips)
    with pytest.raises(BadInput, match=r"BIWI_lip.pkl: expected 4 lip vertices of 20, found a list of 3"):
        import_selftalk(path, lips=tmp_path / "BIWI_lip.pkl")
    state = torch.load(path, weights_only=True)
    torch.save({key: value for key, value in state.items() if key != "lip_map.weight"}, tmp_path / "less.pth")
    with pytest.raises(BadInput, match=r"expected the weights of SelfTalk, found no lip_map.weight\. Name SelfTalk's"):
        import_selftalk(tmp_path / "less.pth")
    torch.save({**state, "feat_map.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(BadInput, match=r"found feat_map.weight, which it does not have"):
        import_selftalk(path)


def test_a_folder_of_another_corpus_is_refused(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "corpus")
    with pytest.raises(BadInput, match=r"expected a face of 64 vertices, found one of 20"):
        import_student(file(tmp_path), open_corpus(corpus.folder))
    model, speakers = import_student(file(tmp_path, vertices=64), corpus)
    assert speakers == ("A", "B")  # SelfTalk has no style, so it fits any number of speakers
    assert model.style_count == 2


def test_recognisers_in_the_format_of_transformers(tmp_path: Path) -> None:
    recogniser = TextRecogniser(tiny(), ("<pad>", "|", "a"))
    recogniser.wav2vec2.save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=r"expected a CTC head: lm_head.weight and lm_head.bias, found none"):
        load_text_recogniser(tmp_path)
    from safetensors.torch import save_file

    state = recogniser.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match=r"expected the 3 units of its CTC head, found 33 in the"):
        load_text_recogniser(tmp_path)
    (tmp_path / "vocab.json").write_text('{"|": 1, "<pad>": 0, "a": 2}')
    again = load_text_recogniser(tmp_path)
    assert again.units == ("<pad>", "|", "a")
    wave = waveform(0.5)
    torch.testing.assert_close(again.hear(wave).logits, recogniser.hear(wave).logits)
    (tmp_path / "vocab.json").write_text('{"|": 1, "[PAD]": 2, "a": 0}')  # the blank may have any number
    again = load_text_recogniser(tmp_path)
    assert again.units == ("[PAD]", "a", "|")
    torch.testing.assert_close(again.hear(wave).logits, recogniser.hear(wave).logits[:, [2, 0, 1]])
    (tmp_path / "vocab.json").write_text('{"|": 1, "b": 2, "a": 0}')
    with pytest.raises(BadInput, match=r"expected a unit <pad> or \[PAD\], the blank of CTC, found a, \|, b"):
        load_text_recogniser(tmp_path)
