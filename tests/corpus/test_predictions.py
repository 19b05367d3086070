import json
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.corpus import predictions
from learn2talk_core.corpus.format import Corpus, Recording, open_corpus, write_corpus
from learn2talk_core.corpus.predictions import open_predictions, write_predictions
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput

VERTICES, STATE = 7, 4
LIPS = np.array([1, 2, 5])


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    rng = np.random.default_rng(0)
    topology = Topology(
        faces=np.array([[0, 1, 2]], np.int32),
        regions={"lips": LIPS},
        lip_pairs=np.array([[1, 2]]),
        colours=np.ones((VERTICES, 3), np.float32),
    )
    recordings = [
        Recording(
            f"{speaker}_s1", speaker, "s1", "mama", split, np.zeros(16000, np.float32), np.zeros((30, VERTICES, 3))
        )
        for speaker, split in (("anna", "train"), ("ben", "test_unseen"))
    ]
    write_corpus(
        tmp_path / "corpus",
        recordings,
        topology=topology,
        templates={name: rng.normal(size=(VERTICES, 3)).astype(np.float32) for name in ("anna", "ben")},
        train_speakers=("anna",),
        fps=30.0,
        mm_per_unit=1000.0,
        recipe="test",
    )
    return open_corpus(tmp_path / "corpus")


def test_states_become_vertices(tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "SHARD_BYTES", 200)  # gives several shards
    rng = np.random.default_rng(1)
    basis = rng.normal(size=(STATE, VERTICES, 3)).astype(np.float32)
    bias = rng.normal(size=(VERTICES, 3)).astype(np.float32)
    states = {
        (f"{speaker}_s1", style): rng.normal(size=(frames, STATE)).astype(np.float32)
        for frames, (speaker, style) in enumerate([("anna", "anna"), ("ben", "anna"), ("ben", "carl")], 8)
    }
    with write_predictions(tmp_path / "out", basis, bias) as writer:
        for (clip, style), values in states.items():
            writer.add(clip, style, values)
    found = open_predictions(tmp_path / "out", corpus)
    assert len(list((tmp_path / "out").glob("states-*.npy"))) == 2
    assert found.clips == list(states)
    assert found.styles("ben_s1") == ["anna", "carl"]
    for (clip, style), values in states.items():
        expected = np.zeros((len(values), VERTICES, 3), np.float64)  # the definition, element by element
        for t, v in np.ndindex(len(values), VERTICES):
            expected[t, v] = corpus.template(clip[:-3])[v] + bias[v]
            for k in range(STATE):
                expected[t, v] += values[t, k] * basis[k, v]
        vertices = found.vertices(clip, style)
        assert vertices.dtype == np.float32
        np.testing.assert_allclose(vertices, expected, atol=1e-5)
        np.testing.assert_allclose(found.vertices(clip, style, "lips"), expected[:, LIPS], atol=1e-5)
        np.testing.assert_array_equal(found.states(clip, style), values)
    np.testing.assert_array_equal(found.vertices("anna_s1"), found.vertices("anna_s1", "anna"))


def test_displacements_without_a_basis(tmp_path: Path, corpus: Corpus) -> None:
    displacement = np.random.default_rng(2).normal(size=(5, VERTICES, 3)).astype(np.float32)
    with write_predictions(tmp_path / "out") as writer:
        writer.add("ben_s1", "anna", displacement)
    found = open_predictions(tmp_path / "out", corpus)
    np.testing.assert_array_equal(found.vertices("ben_s1"), corpus.template("ben") + displacement)
    np.testing.assert_array_equal(
        found.vertices("ben_s1", region="lips"), corpus.template("ben", "lips") + displacement[:, LIPS]
    )


def test_same_input_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        with write_predictions(tmp_path / name, np.eye(3, dtype=np.float32)) as writer:
            writer.add("clip", "style", np.arange(6.0).reshape(2, 3))
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["basis.npy", "predictions.json", "states-000.npy"]
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_errors(tmp_path: Path, corpus: Corpus) -> None:
    with pytest.raises(BadInput, match=r"prediction for ben_s1: expected finite numbers, found 1 NaN or infinite"):
        with write_predictions(tmp_path / "out", np.eye(3)) as writer:
            writer.add("ben_s1", "anna", np.array([[0.0, np.nan, 1.0]]))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    with pytest.raises(BadInput, match=r"predictions\.json: expected a file, found nothing.*dvc repro predict"):
        open_predictions(tmp_path / "out", corpus)
    with write_predictions(tmp_path / "out") as writer:
        for style in ("anna", "carl"):
            writer.add("ben_s1", style, np.zeros((2, VERTICES, 3)))
    with pytest.raises(BadInput, match=r"ben_s1: expected one style, or the name of one, found 2 styles: anna, carl"):
        open_predictions(tmp_path / "out", corpus).vertices("ben_s1")
    shard = tmp_path / "out" / "states-000.npy"
    shard.write_bytes(shard.read_bytes()[:150])
    with pytest.raises(BadInput, match=r"states-000\.npy: expected a complete array"):
        open_predictions(tmp_path / "out", corpus)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"clip": "../../x"}, "predictions.json: clip: expected a plain name"),
        ({"style": "/x"}, "predictions.json: style: expected a plain name"),
        ({"shard": "../x"}, r"expected rows with clip, style, shard, start and frames, found \['../x', 0, 3\]"),
        ({"shard": -1}, r"expected rows with clip, style, shard, start and frames, found \[-1, 0, 3\]"),
    ],
)
def test_rows_that_lead_out_of_the_folder(tmp_path: Path, corpus: Corpus, change: dict, text: str) -> None:
    with write_predictions(tmp_path / "p", recipe="test") as writer:
        writer.add("anna_s1", "anna", np.zeros((3, VERTICES, 3)))
    path = tmp_path / "p" / "predictions.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "rows": [{**about["rows"][0], **change}]}))
    with pytest.raises(BadInput, match=text):
        open_predictions(tmp_path / "p", corpus)
