"""The networks that a run does not train: packaged weights, folders of this project and published files."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from learn2talk_core.checkpoints.exchange import import_checkpoint
from learn2talk_core.checkpoints.pack import write_card
from learn2talk_core.models.lipreader import load_lipreader, load_units, read_lips
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder, save_speech_encoder
from learn2talk_core.models.sync_expert2d import SyncExpert2D, load_expert, save_expert
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, load_generator, save_generator
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import halve_files
from learn2talk_core.untrusted.published import export_state
from stages.experts import EXPERTS, Params, main
from tests.checkpoints.files import save
from tests.checkpoints.test_lipreader import small as published_reader
from tests.checkpoints.test_wav2vec2 import same, tiny


def take(name: str, source: str) -> str:
    """Run the stage for one expert, in the working directory."""
    nothing = {field.name: "weights/none" for field in dataclasses.fields(Params)}
    return main(Params(**{**nothing, name: source}), name)


def report(name: str) -> dict:
    return json.loads(Path(f"metrics/experts/{name}.json").read_text())


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small teacher in `weights/teacher`, as `scripts.package_weights` writes it."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    folder = tmp_path / "weights/teacher"
    save_generator(folder, Wav2Lip(0.05, residual=True), width=0.05, audio_width=0.05, inputs=Inputs(lead=2))
    save_expert(folder / "sync_expert", SyncExpert2D(0.05), width=0.05)
    halve_files(folder)
    metrics = {"training": {"l1": {"generated": 0.01}}}
    write_card(folder, {"model": "teacher", "licence": "mit", "metrics": metrics})
    return folder


def test_packaged_weights_become_float32(packaged: Path) -> None:
    assert take("teacher", "weights/teacher").startswith("weights/teacher, ")
    take("sync_expert", "weights/teacher/sync_expert")
    generator, inputs = load_generator("data/models/teacher")
    assert inputs.lead == 2
    half, whole = load_file(packaged / "model.safetensors"), load_file("data/models/teacher/model.safetensors")
    assert {value.dtype for value in whole.values()} == {torch.float32, torch.int64}
    assert any(value.dtype == torch.float16 for value in half.values())
    assert all(torch.equal(value, half[key].to(value.dtype)) for key, value in whole.items())
    assert not Path("data/models/teacher/learn2talk.json").exists()
    assert not load_expert("data/models/sync_expert").official
    assert report("teacher")["held_out"] == {"l1": {"generated": 0.01}}
    assert report("teacher")["parameters"] == sum(value.numel() for value in generator.parameters())


def test_packaged_weights_that_are_not_what_they_should_be(packaged: Path) -> None:
    with pytest.raises(BadInput, match="weights/teacher: expected a model of the kind lipreader, found teacher"):
        take("lipreader_loss", "weights/teacher")
    (packaged / "model.json").write_text((packaged / "model.json").read_text().replace("2", "3"))
    with pytest.raises(BadInput, match=r"teacher/model\.json: expected the file that learn2talk\.json describes"):
        take("teacher", "weights/teacher")
    (packaged / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"model\.(json|safetensors): expected"):
        take("teacher", "weights/teacher")
    with pytest.raises(BadInput, match=r"experts\.teacher: expected a file or a folder, found weights/other"):
        take("teacher", "weights/other")
    assert not Path("data/models").exists() or not any(Path("data/models").rglob("*.*"))


def test_what_a_run_can_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, expert in EXPERTS.items():
        if expert.optional:
            assert take(name, "weights/none") == "none"
            assert [file.name for file in Path(expert.out).iterdir()] == ["absent.json"]
        else:
            with pytest.raises(BadInput, match=rf"experts\.{name}: expected a checkpoint, found none"):
                take(name, "weights/none")
    assert {name for name, expert in EXPERTS.items() if expert.optional} >= {"sync_expert"}


def test_published_speech_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": export_state(tiny())}, "weights.pth")
    assert take("speech_encoder", "weights.pth").startswith("weights.pth, ")
    assert same(load_speech_encoder("data/models/speech_encoder"), tiny())
    Path("folder").mkdir()
    save_speech_encoder("folder", tiny())
    take("speech_encoder", "folder")
    assert same(load_speech_encoder("data/models/speech_encoder"), tiny())
    assert "held_out" not in report("speech_encoder")
    with pytest.raises(BadInput, match=r"found folder/model\.safetensors, with config\.json beside it\. Make a folder"):
        take("speech_encoder", "folder/model.safetensors")


def test_a_published_lip_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    published_reader(Path("published"))
    with pytest.raises(BadInput, match=r"expected a folder .*, found published/model\.pth, with model\.json"):
        take("lipreader_loss", "published/model.pth")
    import_checkpoint(["published/model.pth"], "lipreader", "reader")
    take("lipreader_loss", "reader")
    assert load_units("data/models/lipreader/loss")[0] == "<blank>"
    reader, head = load_lipreader("data/models/lipreader/loss")
    assert head is None
    assert read_lips(reader, head, np.zeros((3, 96, 96), np.uint8)).features.shape == (3, 16)
    # the output for one role can be the checkpoint for the other
    take("lipreader_metric", "data/models/lipreader/loss")
    assert load_lipreader("data/models/lipreader/metric")[1] is None


def test_wav2lip_and_its_expert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At full size: the published files."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save(tmp_path / "wav2lip_gan.pth", Wav2Lip().state_dict())
    save(tmp_path / "lipsync_expert.pth", SyncExpert2D().state_dict())
    take("teacher", "wav2lip_gan.pth")
    take("sync_expert", "lipsync_expert.pth")
    published = torch.load("wav2lip_gan.pth", weights_only=True)["state_dict"]
    generator, inputs = load_generator("data/models/teacher")
    assert inputs.bgr
    assert torch.equal(generator.output_block[1].weight, published["module.output_block.1.weight"])
    assert load_expert("data/models/sync_expert").official


def test_the_default_parameters_name_packaged_weights() -> None:
    params = load_params(Params, "experts")
    assert {path.split("/")[0] for path in dataclasses.astuple(params)} == {"weights"}
    assert params.lipreader_metric != params.lipreader_loss
