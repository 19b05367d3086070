import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.models.lipreader import LipReader, with_head
from learn2talk_core.models.syncnet3d import Shape, SyncNet3D, config, window_frames
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.resample import resample_frames
from learn2talk_core.run.weights import save_weights
from learn2talk_core.teacher.features import open_teacher_features
from scripts import sweep
from scripts.sweep import recipes_of
from tests.toy import toy_corpus


def test_all_combinations_of_the_values_of_a_recipe() -> None:
    assert recipes_of("voca", []) == [{}]
    assert recipes_of("voca", ["learning_rate=0.001,0.003", "batch=4"]) == [
        {"learning_rate": 0.001, "batch": 4},
        {"learning_rate": 0.003, "batch": 4},
    ]


def test_values_of_what_is_learnt_first() -> None:
    first, second = recipes_of("meshtalk", ["prior.learning_rate=0.001,0.003", "batch=4"])
    assert (first, second) == ({"prior.learning_rate": 0.001, "batch": 4}, {"prior.learning_rate": 0.003, "batch": 4})
    plain, recipe = sweep.changed_recipe("meshtalk", {}), sweep.changed_recipe("meshtalk", second)
    assert (recipe.batch, recipe.prior.learning_rate) == (4, 0.003)
    assert dataclasses.replace(recipe, batch=plain.batch, prior=plain.prior) == plain
    assert dataclasses.replace(recipe.prior, learning_rate=plain.prior.learning_rate) == plain.prior


@pytest.mark.parametrize("text", ["speed=1", "learning_rate", "batch=0.5", "vertex_loss=sum", "smoothing=1"])
def test_what_is_no_number_of_the_recipe(text: str) -> None:
    expected = "values of vertex_stride, steps, batch, learning_rate" if text.startswith("smo") else "learning_rate"
    network = "meshtalk" if text.startswith("smo") else "voca"
    with pytest.raises(BadInput, match=rf"--vary: expected .*{expected}.* found {text}\."):
        recipes_of(network, [text])


def test_features_of_the_true_motion_are_those_of_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = toy_corpus(tmp_path / "corpus")
    syncnet = SyncNet3D(Shape(
        vertices=len(corpus.topology.regions["mouth"]), window=window_frames(corpus.fps), modes=4, width=8, layers=1,
        heads=2, channels=2, embedding=8, non_negative=False,
    ))  # fmt: skip
    save_weights(tmp_path / "syncnet", syncnet, config(syncnet))
    shape = {"vocabulary": 41, "width": 2, "dim": 8, "heads": 2, "hidden": 16, "encoder_layers": 1, "decoder_layers": 1,
             "kernel": 3, "size": 44, "normalise": "clip"}  # fmt: skip
    reader, classes = LipReader(**shape).eval(), 1 + len(PHONEMES)
    both = with_head(reader, classes)
    save_weights(tmp_path / "reader", both, {"reader": shape, "classes": classes})
    monkeypatch.setattr(sweep.stage, "SYNCNET3D", str(tmp_path / "syncnet"))
    monkeypatch.setattr(sweep.stage, "LIPREADER", str(tmp_path / "reader"))

    sweep.write_true_features(corpus, tmp_path / "truth")

    written = open_teacher_features(tmp_path / "truth")
    clips = corpus.split("train")
    assert written.clips == tuple(clip.id for clip in clips)
    for clip in clips:
        view = mouth_view(corpus.topology, corpus.template(clip.speaker), corpus.mm_per_unit)
        region = corpus.topology.regions["mouth_view"]
        motion = resample_frames(corpus.vertices(clip)[:, region], corpus.fps, written.fps)
        with torch.no_grad():
            expected = reader.features(render_mouth(view, torch.from_numpy(motion))[None], "encoder")[0].numpy()
        np.testing.assert_allclose(written.features(clip.id), expected, rtol=2e-3, atol=2e-3)  # stored as float16


def test_a_folder_without_features_is_refused_before_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["--arms", "0.5,0.3", "--teacher", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["sweep", *words])
    with pytest.raises(BadInput, match=r"nothing.*expected"):
        sweep.main()
    assert not (tmp_path / "out").exists()


def test_a_plain_arm_has_no_loss_besides_its_papers() -> None:
    params = dataclasses.replace(
        load_params(sweep.stage.Params, "taught_student"), lambda_closure=0.1, lambda_phoneme=0.2
    )
    plain, taught = (sweep.taught_params(params, weight, 0.0, 3) for weight in (0.0, 0.5))
    assert (plain.lambda1, plain.lambda_closure, plain.lambda_phoneme, plain.seed) == (0, 0, 0, 3)
    assert (taught.lambda1, taught.lambda_closure, taught.lambda_phoneme) == (0.5, 0.1, 0.2)
