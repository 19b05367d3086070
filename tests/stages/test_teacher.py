"""Evaluation of the teacher, and the choice of its gain."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.models.wav2lip import Inputs, Wav2Lip
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training.speaking_face import SpeakingFace
from learn2talk_core.video.talking_video import VideoClip, open_talking_video, write_talking_video
from stages import teacher
from stages.teacher import HeldOut, expert_sync_scores, held_out, lips_agreement, mean_of, one_shot_of, with_gain
from tests.training.test_wav2lip import LIPS, MOUTH
from tests.training.test_wav2lip import mean_of as mean_face
from tests.video.test_talking_video import clip, film


def test_expert_sync_scores_of_pairs_that_agree():
    face = np.random.default_rng(0).normal(size=(50, 8))
    face /= np.linalg.norm(face, axis=1, keepdims=True)
    scores = expert_sync_scores(face, face, np.ones(50, bool))
    assert scores["cosine"] == pytest.approx(1)
    assert scores["lse_d"] == pytest.approx(0, abs=1e-5)
    assert scores["lse_c"] > 1
    late = expert_sync_scores(face[3:], face[:-3], np.zeros(47, bool))  # no speech: all windows are used
    assert late["lse_d"] == pytest.approx(0, abs=1e-5)
    assert late["distance_at_0"] > 1


def test_mean_of_leaves_out_what_is_not_a_number():
    rows = [{"a": {"b": 1.0, "c": float("nan")}}, {"a": {"b": 2.0, "c": float("nan")}}]
    assert mean_of(rows) == {"a": {"b": 1.5, "c": None}}


@pytest.fixture
def generator() -> Wav2Lip:
    """Brightens the whole face in proportion to the first number of its embedding, as a mouth that opens would."""
    torch.manual_seed(0)
    network = Wav2Lip(0.05, states=6, residual=True).eval()

    def decode(embedding: torch.Tensor, skips: list[torch.Tensor], reference: torch.Tensor) -> torch.Tensor:
        return (reference + embedding[:, :1]).clamp(0, 1)

    network.audio_encoder = torch.nn.Sequential(torch.nn.AvgPool2d((17, 6)), torch.nn.ReLU())
    network.decode = decode  # type: ignore[method-assign, assignment]
    return network


def opening_clip(share: float) -> HeldOut:
    """The generator brightens its face by `share` times as much as the film does."""
    wave = 0.1 + 0.05 * np.sin(np.arange(40) / 3)
    faces = np.broadcast_to((100 + 255 * wave)[:, None, None, None], (40, 96, 96, 3)).round().astype(np.uint8)
    sound = np.repeat((0.1 + share * (wave - 0.1)).repeat(2)[:, None], 6, axis=1).astype(np.float16)
    shown = VideoClip("c", "s", "", "validation", 40, 25_600, (), (0, 0, 96, 96), (20.0, 40.0, 76.0, 96.0))
    face = SpeakingFace(faces, np.zeros((80, 130), np.float32), LIPS, MOUTH, mean_face(faces), sound)
    return HeldOut(shown, faces, face)


def test_gain_is_the_smallest_that_moves_the_lips_far_enough(generator: Wav2Lip) -> None:
    inputs, one = Inputs(states=6), opening_clip(0.9)
    plain = lips_agreement(one, one_shot_of(one, generator, inputs))[1]
    found = with_gain(generator, inputs, [one], 0.8)
    assert found.gain == pytest.approx(np.ceil(10 * 0.8 / plain) / 10)
    assert lips_agreement(one, one_shot_of(one, generator, found))[1] >= 0.8
    assert with_gain(generator, inputs, [one], 0.0).gain == 1.0
    assert with_gain(generator, inputs, [opening_clip(0.05)], 0.8).gain == 1.6  # the largest, although it is not enough


def test_gain_is_chosen_on_other_clips_than_the_teacher_is_judged_on(tmp_path: Path) -> None:
    films = [film(replace(clip(number), split="validation")) for number in range(6)]
    write_talking_video(tmp_path / "video", films)
    tuning, judged = held_out(open_talking_video(tmp_path / "video"), None, 3)
    assert [one.clip.id for one in judged] == ["c0", "c2", "c4"]
    assert [one.clip.id for one in tuning] == ["c1", "c3", "c5"]
    tuning, judged = held_out(open_talking_video(tmp_path / "video"), None, 40)  # not enough for both
    assert [one.clip.id for one in tuning] == [one.clip.id for one in judged] == [f"c{i}" for i in range(6)]


def test_no_clips_to_judge_with_are_refused() -> None:
    params = load_params(teacher.Params, "teacher", "pretraining/params.yaml")
    with pytest.raises(BadInput, match=r"teacher.evaluation_clips: expected 1 or more, found 0"):
        teacher.main(replace(params, evaluation_clips=0))
