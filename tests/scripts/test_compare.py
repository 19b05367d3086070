"""The comparison of networks, whole, at tiny size: a toy corpus, untrained experts."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from learn2talk_core.models.lipreader import LipReader, with_head
from learn2talk_core.models.speech_encoders.loading import save_speech_encoder
from learn2talk_core.models.syncnet3d import config
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import save_weights
from scripts import compare
from tests.toy import toy_corpus
from tests.training.test_student import encoder, syncnet

ROOT = Path(__file__).parents[2]
READER = {"vocabulary": 41, "width": 2, "dim": 8, "heads": 2, "hidden": 16, "encoder_layers": 1, "decoder_layers": 1,
          "kernel": 3, "size": 44, "normalise": "clip"}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `dvc repro` leaves it, with recipes of a few steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    corpus = toy_corpus(tmp_path / "data/corpus")
    (tmp_path / "data/models/speech_encoder").mkdir(parents=True)
    save_speech_encoder("data/models/speech_encoder", encoder())
    for role in ("metric", "loss"):
        save_weights(f"data/models/syncnet3d/{role}", syncnet(corpus), config(syncnet(corpus), "toy"))
    save_weights("data/models/lipreader/metric", with_head(LipReader(**READER), 40), {"reader": READER, "classes": 40})
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    params |= {"lambda1": 0.3, "lambda2": 0.0}
    params["voca"] |= {"batch": 2, "vertex_stride": 1}
    params["meshtalk"] |= {"batch": 2, "vertex_stride": 1}
    params["meshtalk"]["prior"] |= {"steps": 3, "batch": 2, "heads": 2, "classes": 4, "frames": 8}
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    fixed = ["--clips", "6", "--jobs", "1", "--docs", "docs", "--seeds", "0", "1"]
    monkeypatch.setattr("sys.argv", ["compare", *fixed, *words])
    compare.main()


def test_it_trains_judges_and_writes_the_page(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "--networks", "voca", "meshtalk")
    text = (project / "docs/comparison.md").read_text()
    for row in ("VOCA", "VOCA, with Learn2Talk's losses", "MeshTalk", "MeshTalk, without smoothing"):
        assert text.count(f"| {row} | ") == 7, row  # three tables for each of two tests, and the costs
    assert "2 seeds, 6 clips drawn" in text
    (shown,) = re.findall(r"LRP % \|\n.*\n\| VOCA \| .* \| .* \| \**([\d.]+) \[", text.split("## Seen")[0])
    assert 0 < float(shown) <= 100
    assert (project / "docs/comparison.png").stat().st_size > 1000
    assert (project / "out/compare/side_by_side.mp4").stat().st_size > 1000

    def result(name: str, seed: int = 0) -> dict:
        return json.loads((project / f"out/compare/{name}-seed{seed}/result.json").read_text())

    plain, taught = result("voca"), result("voca-with-Learn2Talk's-losses")
    assert plain["final"]["step"] == 2  # 6 clips, 2 in a batch: 3 steps
    assert "sync" not in plain["final"]
    assert "sync" in taught["final"]
    assert {row["row"] for row in plain["clips"]["unseen"]} == {"student"}
    smooth, raw = result("meshtalk"), result("meshtalk-without-smoothing")
    assert smooth["prior_seconds"] == raw["prior_seconds"] > 0  # one latent space for both
    assert result("meshtalk", 1)["prior_seconds"] != smooth["prior_seconds"]
    assert "styles" not in smooth["rows"]["unseen"]["student"]  # predicted once: it has no styles

    # what is finished is not made again
    monkeypatch.setattr(compare.stage, "train_taught_student", None)
    run(monkeypatch, "--networks", "voca", "meshtalk")
    assert (project / "docs/comparison.md").read_text() == text


def test_an_unknown_network_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"expected one of .*meshtalk.*voca, found wav2lip"):
        run(monkeypatch, "--networks", "wav2lip")
