"""corpus → data/models/syncnet3d/{metric,loss}: SyncNet3D, by Eq. 4 for the metric, by Eq. 5 for the frozen loss.

Trained on the split `train`, threshold chosen on `validation`, reported on the speakers of `test_unseen`.
"""

from dataclasses import dataclass
from functools import partial

import pandas as pd
from joblib import cpu_count

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.models.syncnet3d import config
from learn2talk_core.run import processes
from learn2talk_core.run.config import shared
from learn2talk_core.run.device import run_device
from learn2talk_core.run.files import whole_file, whole_folder, write_json
from learn2talk_core.run.paths import CORPUS, CURVES, METRICS, PLOTS, SYNCNET3D
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import save_weights
from learn2talk_core.run.workers import at_once
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import Scratch, open_scratch
from learn2talk_core.training.syncnet3d import (
    NetworkRole,
    SyncNet3DNetwork,
    SyncNet3DTraining,
    read_windows,
    train_syncnet3d,
)
from learn2talk_core.training.syncnet3d_check import check_syncnet3d

ROLES: tuple[NetworkRole, ...] = ("metric", "loss")


@dataclass(frozen=True)
class Params:
    network: SyncNet3DNetwork
    training: SyncNet3DTraining
    lags_per_clip: int
    seed: int = shared()


def main(params: Params) -> tuple[str, float]:
    """Train both roles at once, each with half of the cores: a second thread makes a step of one hardly faster. On a
    GPU, or in one of several processes, or on one core, one role after the other."""
    open_corpus(CORPUS)
    scratches = [open_scratch(f"syncnet3d-{role}", params, [CORPUS]) for role in ROLES]
    jobs = [partial(train_role, params, role, scratch) for role, scratch in zip(ROLES, scratches, strict=True)]
    if run_device().type == "cpu" and processes.count() == 1 and cpu_count() > 1:
        found, memory = at_once(jobs)
    else:
        found, memory = [job() for job in jobs], 0.0
    for scratch in scratches:  # only now: if a role is killed, the other one, which has ended, does not start anew
        with scratch:
            scratch.remove()
    return f"SyncNet3D on unseen speakers: {'; '.join(found)}", memory


def train_role(params: Params, role: NetworkRole, scratch: Scratch) -> str:
    corpus = open_corpus(CORPUS)
    with scratch:
        clips = read_windows(corpus, "train")
        model, history = train_syncnet3d(
            corpus, clips, params.network, params.training, role, seed=params.seed, scratch=scratch
        )
        with whole_folder(f"{SYNCNET3D}/{role}") as folder:
            save_weights(folder, model, config(model, corpus.recipe))
        write_curve(history, f"{CURVES}/syncnet3d-{role}.csv")
        validation, unseen = read_windows(corpus, "validation"), read_windows(corpus, "test_unseen")
        result = check_syncnet3d(corpus, model, validation, unseen, lags=params.lags_per_clip, seed=params.seed)
        write_json(f"{METRICS}/syncnet3d/{role}.json", result.numbers)
        for name, rows in (("histogram", result.histogram), ("shifts", result.shifts)):
            with whole_file(f"{PLOTS}/syncnet3d-{role}-{name}.csv") as partial_file:
                pd.DataFrame(rows).to_csv(partial_file, index=False, float_format="%.6g")
    found = result.numbers
    return (
        f"{role}, from {len(clips)} clips, AUC {found['auc_shift3_unseen'] or 0:.3f} at 3 frames and more, "
        f"lag within a frame {found.get('lag_within_1_frame') or 0:.1%}"
    )


if __name__ == "__main__":
    run(main, Params)
