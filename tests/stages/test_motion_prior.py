"""The stage motion_prior: nothing for most networks, trained or published for CodeTalker, and the student after it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from learn2talk_core.checkpoints.codetalker import export_codetalker
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.models.speech_encoders.loading import save_speech_encoder
from learn2talk_core.models.students.codetalker.codec import CodecShape, MotionCodec, save_codec
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.students import PlainStudent
from learn2talk_core.training.students import codetalker, faceformer, meshtalk, selftalk
from stages import motion_prior, student
from tests.checkpoints.test_codetalker import network
from tests.toy import toy_corpus
from tests.training.students import test_meshtalk as toy_meshtalk
from tests.training.students import test_selftalk as toy_selftalk
from tests.training.students.test_codetalker import PRIOR, RECIPE
from tests.training.test_student import encoder


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> motion_prior.Params:
    """Parameters, in an empty working folder with a corpus; both networks have recipes of a few steps."""
    params = load_params(motion_prior.Params, "motion_prior")
    speaks = load_params(faceformer.NetworkRecipe, "faceformer")
    monkeypatch.chdir(tmp_path)
    toy_corpus(tmp_path / "data" / "corpus")
    Path("data/models/speech_encoder").mkdir(parents=True)
    save_speech_encoder("data/models/speech_encoder", encoder())
    prior = dataclasses.replace(PRIOR, steps=3)
    recipes = {
        "codetalker": dataclasses.replace(RECIPE, prior=prior, steps=2),
        "faceformer": speaks,
        "meshtalk": dataclasses.replace(toy_meshtalk.RECIPE, prior=dataclasses.replace(toy_meshtalk.LATENT, steps=2)),
        "selftalk": toy_selftalk.RECIPE,
    }

    def tiny(_: type, group: str) -> Any:
        return recipes[group]

    for stage in (motion_prior, student):
        monkeypatch.setattr(stage, "load_params", tiny)
    return params


def report(path: str) -> Any:
    return json.loads(Path(path).read_text())


def test_most_networks_need_none(params: motion_prior.Params) -> None:
    assert motion_prior.main(params, "faceformer") == "faceformer needs none"
    assert report("data/models/motion_prior/faceformer/model.json") == {"network": "faceformer", "prior": None}
    assert report("metrics/motion_prior/faceformer.json") == {"network": "faceformer"}


def test_a_codec_is_trained_and_becomes_part_of_the_student(params: motion_prior.Params) -> None:
    motion_prior.main(params, "codetalker")
    assert {"parameters", "perplexity", "motion"} <= set(report("metrics/motion_prior/codetalker.json"))
    one = PlainStudent("codetalker", "weights/none")
    student.main(student.Params(seed=0, frozen_layers=None, students={"mine": one}), "mine")
    model, _ = load_student("data/models/students/mine", made_by="the test")
    codec = codetalker.load_codec("data/models/motion_prior/codetalker", "toy", 64)
    for key, value in codec.state_dict().items():
        torch.testing.assert_close(model.state_dict()[f"autoencoder.{key}"], value)


def test_a_latent_space_hears_the_runs_speech_encoder(params: motion_prior.Params) -> None:
    motion_prior.main(params, "meshtalk")
    assert {"parameters", "reconstruction", "crossing"} <= set(report("metrics/motion_prior/meshtalk.json"))
    prior = meshtalk.load_motion_prior("data/models/motion_prior/meshtalk", open_corpus("data/corpus"))
    assert prior.speech_encoder is not None
    for key, value in encoder().state_dict().items():
        torch.testing.assert_close(prior.speech_encoder.state_dict()[key], value)


def test_what_is_not_read_is_refused(params: motion_prior.Params) -> None:
    text = r"networks\.faceformer: expected weights/none: faceformer learns nothing .*, found w\.pth\. .* students"
    with pytest.raises(BadInput, match=text):
        motion_prior.main(dataclasses.replace(params, networks={"faceformer": "w.pth"}), "faceformer")


def test_a_published_codec_takes_its_place(params: motion_prior.Params, tmp_path: Path) -> None:
    export_codetalker(network(styles=2, vertices=64), tmp_path / "published")
    first, second = (str(tmp_path / "published" / f"stage{stage}.pth.tar") for stage in (1, 2))
    motion_prior.main(dataclasses.replace(params, networks={"codetalker": first}), "codetalker")
    assert report("metrics/motion_prior/codetalker.json")["checkpoint"] == first
    assert codetalker.load_codec("data/models/motion_prior/codetalker", "toy", 64).shape.heads == 8
    with pytest.raises(BadInput, match="expected a file of CodeTalker's stage 1, found one of stage 2"):
        motion_prior.main(dataclasses.replace(params, networks={"codetalker": second}), "codetalker")
    before = Path("data/models/motion_prior/codetalker/model.safetensors").read_bytes()
    for folder in ("published", "own"):  # with both files, and the one that the stage has made
        if folder == "own":
            Path("data/models/motion_prior/codetalker").rename(tmp_path / "own")
        motion_prior.main(dataclasses.replace(params, networks={"codetalker": str(tmp_path / folder)}), "codetalker")
        assert Path("data/models/motion_prior/codetalker/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("network", "about", "said"),
    [
        ("codetalker", {"network": "voca"}, "expected CodeTalker's codec, found a voca"),
        ("codetalker", {"network": "codetalker"}, "expected CodeTalker's codec, found a codetalker"),
        ("codetalker", {}, "expected CodeTalker's codec, found a network"),
        ("selftalk", {"network": "voca"}, "expected a recogniser: .*found a voca.*weights/phoneme_head"),
        ("selftalk", {"frontend": 1}, "expected a recogniser: .*found a network of another kind"),
    ],
)
def test_a_folder_with_another_network_is_refused_by_name(
    network: str, about: dict[str, Any], said: str, params: motion_prior.Params, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/model.json").write_text(json.dumps({**about, "notes": {}}))
    (tmp_path / "other/model.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match=said):
        motion_prior.main(dataclasses.replace(params, networks={network: "other"}), network)
    assert not Path(f"data/models/motion_prior/{network}").exists()


def test_a_codec_for_another_face_is_refused(params: motion_prior.Params, tmp_path: Path) -> None:
    save_codec(tmp_path / "own", MotionCodec(CodecShape(9, 16, 1, 2, 16, 2, 8, 4, projected=True)), recipe="toy")
    with pytest.raises(BadInput, match="own: expected a face of 64 vertices, found one of 9"):
        motion_prior.main(dataclasses.replace(params, networks={"codetalker": "own"}), "codetalker")


def test_selftalk_needs_a_recogniser_and_learns_again_if_it_changes(
    params: motion_prior.Params, tmp_path: Path
) -> None:
    corpus, folder = open_corpus("data/corpus"), "data/models/motion_prior/selftalk"
    assert motion_prior.main(params, "selftalk") == "selftalk needs none"  # an imported student
    with pytest.raises(
        BadInput, match=r"params.yaml: networks.selftalk: expected the recogniser .* weights/phoneme_head"
    ):
        selftalk.load_motion_prior(folder, corpus)

    (tmp_path / "head").mkdir()
    (tmp_path / "head/model.json").write_text('{"network": "phoneme_head"}')
    named = dataclasses.replace(params, networks={"selftalk": "head"})
    assert motion_prior.main(named, "selftalk") == "selftalk learns from head"
    assert report("metrics/motion_prior/selftalk.json") == {"network": "selftalk", "checkpoint": "head"}
    assert selftalk.load_motion_prior(folder, corpus) == "head"
    before = report(f"{folder}/model.json")
    motion_prior.main(named, "selftalk")
    assert report(f"{folder}/model.json") == before
    (tmp_path / "head/model.json").write_text('{"network": "phoneme_head", "width": 2}')
    motion_prior.main(named, "selftalk")
    assert report(f"{folder}/model.json") != before

    hub = dataclasses.replace(params, networks={"selftalk": "jonatasgrosman/wav2vec2-large-xlsr-53-english"})
    with pytest.raises(BadInput, match=r"networks\.selftalk: expected a file or a folder"):
        motion_prior.main(hub, "selftalk")


def test_an_unknown_network_names_the_known_ones(params: motion_prior.Params) -> None:
    known = "codetalker, faceformer, meshtalk, selftalk, voca"
    with pytest.raises(BadInput, match=f"params.yaml: networks: expected one of {known}, found emote"):
        motion_prior.main(params, "emote")
    one = student.Params(seed=0, frozen_layers=None, students={"mine": PlainStudent("emote", "weights/none")})
    with pytest.raises(BadInput, match=f"students.mine.network: expected one of {known}, found emote"):
        student.main(one, "mine")
