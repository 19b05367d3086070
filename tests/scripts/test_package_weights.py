"""Packaging the networks of a finished run of the second pipeline."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file

from learn2talk_core.checkpoints.lipreader import import_reader
from learn2talk_core.checkpoints.pack import content_hash
from learn2talk_core.models.lipreader import load_lipreader
from learn2talk_core.models.phoneme_head import load_recogniser
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.models.sync_expert2d import SyncExpert2D, load_expert, save_expert
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, load_generator, save_generator
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, write_json
from learn2talk_core.run.weights import read_origin, save_weights
from learn2talk_core.video.stills import choose_stills
from learn2talk_core.video.talking_video import open_talking_video, write_talking_video
from scripts import package_weights
from scripts.package_weights import package_weights as package
from scripts.package_weights import still_films
from tests.checkpoints.test_lipreader import small as published_reader
from tests.video.test_talking_video import clip, film


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `dvc repro` leaves in pretraining/, with tiny networks."""
    run = tmp_path / "pretraining"
    torch.manual_seed(0)
    models = run / "data/models"
    for number, role in enumerate(("metric", "loss")):
        reader, config = import_reader(published_reader(tmp_path / role))
        reader["reader"].ctc.ctc_lo.bias.data += number
        save_weights(models / "lipreader" / role, reader, config)
    save_generator(models / "teacher", Wav2Lip(0.05), width=0.05, audio_width=0.05, inputs=Inputs())
    save_expert(models / "teacher/sync_expert", SyncExpert2D(0.05), width=0.05)
    write_talking_video(run / "data/talking_video", [film(clip(number, 8, 5200)) for number in range(12)])
    write_json(run / "metrics/teacher.json", {"mouth": {"amplitude": 0.8}})
    films = {"source": "embedded", "minutes": 0.1, "splits": {"loss": {"speakers": 2}}}
    write_json(run / "metrics/talking_video.json", films)
    (run / "params.yaml").write_text("speech_encoder:\n  checkpoint: ../weights/speech_encoder\n")
    stages = {}
    for name in ("lipreader/metric", "lipreader/loss", "teacher"):
        out = {"path": f"data/models/{name}", "md5": content_hash(models / name)}
        deps = [{"path": "data/talking_video", "md5": "0.dir"}]
        stages[name.replace("/", "@")] = {"deps": deps, "outs": [out]}
    YAML().dump({"schema": "2.0", "stages": stages}, run / "dvc.lock")
    monkeypatch.setattr(package_weights, "TRAINED", ("lipreader/metric", "lipreader/loss", "teacher"))
    return run


def test_every_network_is_packaged_and_can_be_loaded(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "weights"
    package(run, out)
    assert sorted(path.name for path in out.iterdir()) == ["lipreader", "stills", "teacher"]
    for name in ("lipreader/metric", "lipreader/loss", "teacher"):
        about = read_origin(out / name, name.split("/")[0])
        assert about is not None
        assert (about["model"], about["licence"]) == (name, "mit")
        assert f"# {name.replace('/', ', ')}" in (out / name / "README.md").read_text()
        stored = load_file(out / name / "model.safetensors")
        assert {value.dtype for value in stored.values() if value.ndim > 1} == {torch.float16}
    load_lipreader(out / "lipreader/loss")
    load_generator(out / "teacher")
    load_expert(out / "teacher/sync_expert")
    assert choose_stills(["S00"], open_talking_video(out / "stills"), "one")["S00"].image.ndim == 3
    package(run, out)  # again: own folders are replaced


def test_a_network_that_changed_since_the_run(run: Path, tmp_path: Path) -> None:
    (run / "data/models/teacher/model.json").write_text("{}")
    with pytest.raises(BadInput, match=r"expected the model that dvc\.lock describes .*, found another one"):
        package(run, tmp_path / "weights")


def test_weights_that_are_too_large(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(package_weights.MOST_MB, "weights", 0)
    with pytest.raises(BadInput, match=r"weights: expected at most 0 MB, found \d+\.\d MB"):
        package(run, tmp_path / "weights")


def test_stills_are_the_first_frames_of_held_out_faces(run: Path, tmp_path: Path) -> None:
    video = open_talking_video(run / "data/talking_video")
    write_talking_video(tmp_path / "stills", still_films(video))
    stills = open_talking_video(tmp_path / "stills")
    held_out = {clip.speaker: clip for clip in reversed(video.split("validation"))}
    assert {clip.speaker for clip in stills.clips} == set(held_out)
    for still in stills.clips:
        first = held_out[still.speaker]
        assert (still.split, still.frames) == ("validation", 1)
        assert (still.face_box, still.mouth_box) == (first.face_box, first.mouth_box)
        difference = stills.frames(still)[0].astype(int) - video.frames(first)[0]
        assert np.abs(difference).mean() < 2


def test_the_packaged_weights_of_this_checkout_are_complete_and_small() -> None:
    weights = package_weights.ROOT / "weights"
    for file in weights.rglob("learn2talk.json"):
        about = read_origin(file.parent)
        assert about is not None
        assert read_json(file, made_by="git")["licence"]
    package_weights.refuse_larger(weights, package_weights.MOST_MB["weights"])


def test_the_phoneme_head_comes_with_the_encoder_that_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").symlink_to(package_weights.ROOT / "weights")
    places = {"SPEECH_ENCODER": tmp_path / "package/encoder", "PHONEME_HEAD": tmp_path / "package/head"}
    for name, place in places.items():
        monkeypatch.setattr(package_weights, f"PACKAGED_{name}", place)
    experts = "experts: {{speech_encoder: weights/{}, phoneme_head: weights/{}}}"
    (tmp_path / "params.yaml").write_text(experts.format("speech_encoder", "none"))
    package_weights.package_recogniser(tmp_path)
    assert not (tmp_path / "package").exists(), "a run without a phoneme head has none to package"
    (tmp_path / "params.yaml").write_text(experts.format("speech_encoder", "phoneme_head"))
    for _ in range(2):  # what was packaged before is replaced
        package_weights.package_recogniser(tmp_path)
    encoder = load_speech_encoder(places["SPEECH_ENCODER"])
    recogniser = load_recogniser(encoder, places["PHONEME_HEAD"], made_by="this test")
    assert recogniser.head.phonemes
    assert read_origin(places["PHONEME_HEAD"], "phoneme_head")
    (tmp_path / "params.yaml").write_text(experts.format("stills", "phoneme_head"))
    with pytest.raises(BadInput, match=r"stills: expected packaged weights \(learn2talk\.json\), found none"):
        package_weights.package_recogniser(tmp_path)
