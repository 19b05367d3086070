from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.losses.contrastive import cosine_bce_loss, margin_loss, sync_probability
from learn2talk_core.metrics.lse import lse
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.syncnet3d import (
    SyncNet3DNetwork,
    SyncNet3DTraining,
    harder,
    motion_modes,
    mouth_displacement,
    new_model,
    pair_loss,
    pairs,
    read_windows,
    refuse_collapse,
    restyle,
    revoice,
    sample_motion,
    train_syncnet3d,
    windows_at,
)
from learn2talk_core.training.syncnet3d_check import check_syncnet3d, embed
from tests.toy import toy_corpus

NETWORK = SyncNet3DNetwork(modes=6, width=16, layers=1, heads=2, channels=4, embedding=32)
RECIPE = SyncNet3DTraining(
    steps=100, clips=6, windows=24, learning_rate=5e-3, weight_decay=0.01, margin=1.0, other_clips=0.25, hardness=1.0,
    style=0.1, noise=0.01, pitch=0.05, masked_bands=8, tempo=0.1,
)  # fmt: skip


@dataclass(frozen=True)
class Params:
    name: str = "test"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return toy_corpus(tmp_path_factory.mktemp("toy") / "corpus", clips=16)


def trained(corpus, folder, monkeypatch, role, recipe=RECIPE, seed=0):
    monkeypatch.setenv("DVC_ROOT", str(folder))
    with open_scratch(f"syncnet3d-{role}", Params(), []) as scratch:
        result = train_syncnet3d(
            corpus, read_windows(corpus, "train"), NETWORK, recipe, role, seed=seed, scratch=scratch
        )
        scratch.remove()
    return result


def test_windows_of_a_clip_and_which_of_them_are_speech(corpus):
    windows = read_windows(corpus, "train")[0]
    frames = windows.clip.frames
    assert windows.mel.shape == (frames - 5, 80, 16)
    assert mouth_displacement(corpus, windows.clip).shape == (frames, 32, 3)
    for k, speech in enumerate(windows.speech):
        inside = [any(p.start <= (t + 0.5) / 30 < p.end for p in windows.clip.phonemes) for t in range(k, k + 6)]
        assert speech == (sum(inside) >= 3)


def test_modes_carry_the_motion_strong_ones_first(corpus):
    motion = sample_motion(corpus, corpus.split("train"))
    assert len(motion) == sum(clip.frames for clip in corpus.split("train"))
    modes = motion_modes(motion, 6)
    weights = motion @ modes
    deviation = weights.square().mean(0).sqrt()
    assert deviation[0] == pytest.approx(1, rel=1e-3)
    assert (deviation.diff() <= 1e-6).all()
    back = weights @ torch.linalg.pinv(modes)
    assert (back - motion).square().mean() < 1e-4 * motion.square().mean()
    assert motion_modes(motion, 200).shape == (96, 200)


def test_modes_of_fewer_frames_than_coordinates_are_the_same_and_a_large_corpus_is_sampled(corpus):
    generator = torch.Generator().manual_seed(0)
    motion = torch.randn(40, 96, generator=generator) * torch.linspace(2, 0.1, 96)
    few = motion_modes(motion, 6)
    _, deviation, directions = torch.linalg.svd(motion.double(), full_matrices=False)
    expected = directions[:6].T / (deviation[:6] * deviation[0] / 40).sqrt()
    torch.testing.assert_close(few.abs(), expected.abs().float())
    torch.testing.assert_close(motion_modes(motion.repeat(3, 1), 6), few)  # 120 frames: by the other matrix
    clips = corpus.split("train")
    every = sample_motion(corpus, clips)
    sample = sample_motion(corpus, clips, numbers=every.numel() // 5)
    assert len(sample) == pytest.approx(len(every) / 5, abs=len(clips))
    assert all((every == row).all(1).any() for row in sample)


def test_pairs_against_a_loop():
    owner, position = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([3, 10, 90, 10, 11])
    genuine, weight = pairs(owner, position, farthest=60, other_clips=0.25)
    kinds = {"genuine": [], "shifted": [], "other": [], "too far": []}
    for i in range(5):
        for j in range(5):
            shift = abs(int(position[i] - position[j]))
            same = owner[i] == owner[j]
            kind = ("genuine" if shift == 0 else "shifted" if shift <= 60 else "too far") if same else "other"
            kinds[kind].append((i, j))
            assert genuine[i, j] == (kind == "genuine")
    total = {kind: sum(float(weight[i, j]) for i, j in members) for kind, members in kinds.items()}
    assert total == pytest.approx({"genuine": 1, "shifted": 0.75, "other": 0.25, "too far": 0})
    assert len({float(weight[i, j]) for i, j in kinds["shifted"]}) == 1


def test_pair_loss_is_the_equation_over_all_pairs():
    torch.manual_seed(0)
    mesh, audio = (torch.nn.functional.normalize(torch.rand(5, 7), dim=-1) for _ in range(2))
    genuine, weight = torch.eye(5), torch.rand(5, 5)
    expected = margin_loss(torch.cdist(mesh, audio), genuine, margin=0.7, weight=weight)
    torch.testing.assert_close(pair_loss(mesh @ audio.T, genuine, weight, "metric", 0.7), expected)
    expected = cosine_bce_loss(sync_probability(mesh[:, None], audio), genuine, weight=weight)
    torch.testing.assert_close(pair_loss(mesh @ audio.T, genuine, weight, "loss", 0.7), expected)


def test_nearer_false_pairs_count_more():
    torch.manual_seed(0)
    genuine, weight = torch.eye(3), torch.rand(3, 3)
    weight = genuine / 3 + (1 - genuine) * weight / ((1 - genuine) * weight).sum()
    torch.testing.assert_close(harder(weight, genuine, torch.rand(3, 3), 0.0), weight)
    cosine = torch.zeros(3, 3)
    cosine[0, 1] = 0.4
    hard = harder(weight, genuine, cosine, 5.0)
    assert float(hard[0, 1] / hard[1, 0]) == pytest.approx(float(weight[0, 1] / weight[1, 0]) * np.exp(2), rel=1e-5)
    torch.testing.assert_close(hard.diag(), weight.diag())
    assert float(hard.sum()) == pytest.approx(2)


def test_nothing_is_augmented_when_all_spreads_are_zero():
    plain = replace(RECIPE, style=0.0, noise=0.0, pitch=0.0, masked_bands=0)
    motion, mel = torch.randn(4, 6, 3), torch.randn(4, 80, 16)
    torch.testing.assert_close(restyle(motion, plain), motion)
    torch.testing.assert_close(revoice(mel, torch.zeros(80, 1), plain), mel)


def test_windows_of_another_tempo_against_a_loop() -> None:
    values = torch.randn(40, 3)
    start = torch.tensor([0.0, 7.25, 37.0], dtype=torch.float64)
    found = windows_at(values, start, 6, 1.3)
    assert found.shape == (3, 6, 3)
    for row, first in enumerate(start.tolist()):
        for j in range(6):
            place = min(max(first + 2.5 + 1.3 * (j - 2.5), 0), 39)
            left = int(place)
            expected = values[left] + (place - left) * (values[min(left + 1, 39)] - values[left])
            torch.testing.assert_close(found[row, j], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(windows_at(values, start[:1] + 4, 6, 1.0)[0], values[4:10])


def test_another_voice_stretches_frequencies_and_hides_bands():
    torch.manual_seed(1)
    ramp = torch.arange(80.0)[None, :, None].expand(1, 80, 16)
    stretched = revoice(ramp, torch.zeros(80, 1), replace(RECIPE, pitch=0.2, masked_bands=0))[0, :, 0]
    factor = float(stretched[10] / 10)
    assert factor != pytest.approx(1, abs=0.01)
    torch.testing.assert_close(stretched, (torch.arange(80.0) * factor).clamp(max=79), atol=1e-3, rtol=1e-4)
    hidden = revoice(ramp.expand(50, 80, 16), torch.full((80, 1), -5.0), replace(RECIPE, pitch=0.0, masked_bands=8))
    bands = (hidden[..., 0] == -5).sum(1)
    assert bands.max() <= 8
    assert bands.max() > 3


@pytest.mark.parametrize("role", ["metric", "loss"])
def test_training_finds_lags_that_were_put_in_and_a_static_mouth_is_not_in_sync(corpus, tmp_path, monkeypatch, role):
    model, history = trained(corpus, tmp_path, monkeypatch, role)
    assert history[-1]["loss"] < history[0]["loss"]
    unseen = read_windows(corpus, "test_seen", "validation", "test_unseen")
    found = check_syncnet3d(corpus, model, unseen, unseen, lags=6, seed=0)
    assert found.numbers["auc_shift3_unseen"] > 0.85
    assert found.numbers["lags_unseen"] == 18
    assert found.numbers["lag_within_1_frame"] >= 0.85
    assert sum(row["genuine"] for row in found.histogram) == pytest.approx(1)
    assert [row["shift"] for row in found.shifts] == list(range(1, 16))
    assert found.shifts[0]["auc"] == pytest.approx(found.numbers["auc_shift1_unseen"])
    for windows in unseen:
        motion = mouth_displacement(corpus, windows.clip)
        still, audio = embed(model, torch.zeros_like(motion), windows)
        moving, _ = embed(model, motion, windows)
        assert lse(moving, audio, 30).lse_c > 3 * lse(still, audio, 30, keep=windows.speech).lse_c


def test_same_seed_same_bytes_and_roles_never_share_weights(corpus, tmp_path, monkeypatch):
    short = replace(RECIPE, steps=3)
    first, second, other = (
        trained(corpus, tmp_path, monkeypatch, role, short)[0].state_dict() for role in ("loss", "loss", "metric")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["token.weight"], other["token.weight"])


def test_a_collapsed_network_is_refused(corpus):
    clips = read_windows(corpus, "train")
    model = new_model(corpus, clips, NETWORK, "metric", 0).eval()
    for mlp in (model.mesh_mlp, model.audio_mlp):
        torch.nn.init.normal_(mlp[-1].weight)
        torch.nn.init.zeros_(mlp[-1].bias)
    falling = [{"loss": 1 / (1 + i)} for i in range(100)]
    refuse_collapse(corpus, model, clips, falling, "metric")
    stuck = [{"loss": 0.6931}] * 100
    with pytest.raises(BadInput, match=r"syncnet3d loss: expected a loss below chance level.*0\.6931: it collapsed"):
        refuse_collapse(corpus, model, clips, stuck, "loss")
    refuse_collapse(corpus, model, clips, stuck[:99], "loss")  # too few steps to be checked
    torch.nn.init.zeros_(model.audio_mlp[-1].weight)
    torch.nn.init.ones_(model.audio_mlp[-1].bias)
    with pytest.raises(BadInput, match=r"expected embeddings that differ between windows, found a spread of 0\.0000"):
        refuse_collapse(corpus, model, clips, falling, "metric")


def test_no_clip_long_enough(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with open_scratch("none", Params(), []) as scratch, pytest.raises(BadInput, match=r"clips longer than 0\.2 s"):
        train_syncnet3d(corpus, [], NETWORK, RECIPE, "metric", seed=0, scratch=scratch)


def test_lags_are_those_of_the_sound_against_the_motion():
    """The lag is positive if the sound is late: the sign of `Lse.lag_ms`."""
    rng = np.random.default_rng(0)
    motion = rng.normal(size=(60, 8))
    late = np.concatenate([rng.normal(size=(4, 8)), motion[:-4]])
    assert lse(motion, late, 25).lag_ms == pytest.approx(160, abs=8)
