import json

import pandas as pd
import pytest

from learn2talk_core.models.syncnet3d import load_syncnet3d
from learn2talk_core.training.syncnet3d import SyncNet3DNetwork, SyncNet3DTraining
from stages.syncnet3d import Params, main
from tests.toy import toy_corpus


@pytest.mark.parametrize("role", ["metric", "loss"])
def test_stage_at_tiny_size(tmp_path, monkeypatch, role):
    monkeypatch.chdir(tmp_path)
    toy_corpus(tmp_path / "data" / "corpus")
    recipe = SyncNet3DTraining(
        steps=2, clips=2, windows=4, learning_rate=1e-3, weight_decay=0.0, margin=1.0, other_clips=0.0, hardness=5.0,
        style=0.1, noise=0.01, pitch=0.1, masked_bands=4,
    )  # fmt: skip
    network = SyncNet3DNetwork(modes=3, width=8, layers=1, heads=2, channels=2, embedding=8)
    made = main(Params(network=network, training=recipe, lags_per_clip=1, seed=0), role)
    assert made.startswith("SyncNet3D from 4 clips; unseen speakers: AUC 0.")
    assert load_syncnet3d(f"data/models/syncnet3d/{role}").shape.non_negative == (role == "loss")
    numbers = json.loads((tmp_path / f"metrics/syncnet3d/{role}.json").read_text())
    assert {"auc_shift1_unseen", "auc_shift2_unseen", "auc_shift3_unseen", "lag_within_1_frame"} <= set(numbers)
    assert list(pd.read_csv(f"metrics/plots/syncnet3d-{role}-histogram.csv")) == ["distance", "genuine", "false"]
    assert list(pd.read_csv(f"metrics/plots/syncnet3d-{role}-shifts.csv")) == ["shift", "auc", "accuracy"]
    assert len(pd.read_csv(f"metrics/curves/syncnet3d-{role}.csv")) == 2
    assert not list((tmp_path / ".scratch").glob("*"))
