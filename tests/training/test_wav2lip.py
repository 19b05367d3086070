"""Wav2Lip's batches and losses: contents of the batches, and Eq. 1-6 against their closed forms."""

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from learn2talk_core.audio.mel import window_starts
from learn2talk_core.models.lipreader import CROP, LipReader
from learn2talk_core.models.quality_discriminator import QualityDiscriminator
from learn2talk_core.models.sync_expert2d import SyncExpert2D, lower_halves
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, to_tensor
from learn2talk_core.run.seed import generator
from learn2talk_core.run.weights import frozen
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.speaking_face import SpeakingFace
from learn2talk_core.training.wav2lip import (
    ExpertTraining,
    GeneratorTraining,
    discriminator_loss,
    elsewhere,
    expert_batch,
    expert_loss,
    expert_sync_probability,
    generator_batch,
    generator_loss,
    lip_motions,
    listening_batch,
    reading_loss,
    seen_mouths,
    train_audio_encoder,
    train_expert,
    train_generator,
    train_reading,
)
from learn2talk_core.video.talking_video import MOUTH_SIZE, crop, grey

RECIPE = GeneratorTraining(
    width=0.05, audio_width=0.05, audio_steps=2, audio_learning_rate=3e-3, steps=3, batch=1, learning_rate=1e-3,
    residual=False, lead=1, amplitude=0.8,
    still_share=0.5, lip_weight=8.0, sync_weight=0.03, sync_start=0.5, adversarial_weight=0.07,
    reading_steps=2, reading_learning_rate=1e-3, reading_weight=0.1, reading_frames=8,
)  # fmt: skip

LIPS, MOUTH = (30, 50, 66, 86), (18.0, 38.0, 78.0, 98.0)


def small_reader() -> LipReader:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"width": 4, "dim": 8, "heads": 2, "hidden": 8, "encoder_layers": 1, "decoder_layers": 1}
    reader = LipReader(5, kernel=3, normalise="clip", size=44, **shape)
    reader.encoder.embed[0].weight.data *= 100  # else its features hardly depend on what it sees
    return reader


def mean_of(faces: np.ndarray) -> np.ndarray:
    return faces.mean(axis=0, dtype=np.float32)


def numbered_clip(frames: int = 30, first: int = 0, *, hears_states: bool = False) -> SpeakingFace:
    """A clip whose frame t is uniformly grey with value first + t; a mel window that begins at it begins with the same
    value, and its hidden states are the numbers from 2 first on."""
    value = np.arange(first, first + frames)
    faces = np.broadcast_to(value[:, None, None, None], (frames, 96, 96, 3)).astype(np.uint8)
    mel = np.zeros((80, int(3.2 * frames) + 16), np.float32)
    mel[:, window_starts(frames, 25)] = value
    states = np.repeat(np.arange(2 * first, 2 * (first + frames), dtype=np.float16)[:, None], 6, axis=1)
    return SpeakingFace(faces, mel, LIPS, MOUTH, mean_of(faces), states if hears_states else None)


def test_expert_batch_cuts_windows_of_a_clip_that_do_not_overlap():
    clips = [numbered_clip(first=0), numbered_clip(first=100)]
    mels, faces = expert_batch(clips, 12, 4, generator("test"))
    assert mels.shape == (48, 1, 80, 16)
    assert faces.shape == (48, 15, 48, 96)
    heard = mels[:, 0, 0, 0].view(12, 4)
    clip_start = torch.where(heard[:, :1] >= 100, 100.0, 0.0)
    assert ((heard >= clip_start) & (heard < clip_start + 26)).all()  # all windows of a row are of one clip
    for row in heard:
        assert (row.sort().values.diff() >= 5).all()
    seen = faces[:, ::3, 0, 0] * 255 + clip_start.repeat_interleave(4, 0) + 14.5  # minus the mean face
    torch.testing.assert_close(seen, heard.view(48, 1) + torch.arange(5.0))


def test_expert_batch_repeats_windows_of_a_short_clip():
    mels, _ = expert_batch([numbered_clip(6)], 1, 4, generator("test"))
    assert set(mels[:, 0, 0, 0].tolist()) <= {0.0, 1.0}


def test_expert_loss_is_binary_cross_entropy_of_all_pairs_of_a_clip():
    torch.manual_seed(0)
    expert = SyncExpert2D(0.05).eval()
    mels, faces = torch.randn(6, 1, 80, 16), torch.randn(6, 15, 48, 96)
    with torch.no_grad():
        audio, face = expert.audio_encoder(mels).flatten(1), expert.face_encoder(faces).flatten(1)
        genuine, false = [], []
        for clip in ((0, 1, 2), (3, 4, 5)):
            for i in clip:
                for j in clip:
                    p = float(face[i] @ audio[j] / (face[i].norm() * audio[j].norm()))  # Eq. 1
                    (genuine if i == j else false).append(-math.log(p if i == j else 1 - p))
        expected = (sum(genuine) / 6 + sum(false) / 12) / 2
        assert float(expert_loss(expert, mels, faces, 3)) == pytest.approx(expected, rel=1e-4)


def test_generator_batch_masks_the_target_and_takes_a_still_from_another_time():
    clips = [numbered_clip(first=50), numbered_clip(first=100)]
    batch = generator_batch(clips, 40, 5, generator("test"), inputs=Inputs(), still_share=0.5)
    assert batch.heard.shape == (40, 5, 1, 80, 16)
    torch.testing.assert_close(batch.mels, batch.heard[:, 0])
    assert batch.faces.shape == (40, 6, 5, 96, 96)
    torch.testing.assert_close(batch.faces[:, :3, :, :48], batch.target[:, :, :, :48])
    assert (batch.faces[:, :3, :, 48:] == 0).all()
    shown = (batch.target[:, 0, :, 0, 0] * 255).round()
    torch.testing.assert_close(shown, batch.heard[:, :, 0, 0, 0])  # every frame has the window that starts at it
    reference = (batch.faces[:, 3, :, 0, 0] * 255).round()
    assert (reference == reference[:, :1]).all()  # one still for all five frames
    first = (reference[:, 0] == 50) | (reference[:, 0] == 100)
    assert 10 <= first.sum() <= 30
    apart = (reference[:, 0] - shown[:, 0]).abs()
    assert (apart[~first] >= 5).all()


def test_generator_hears_what_was_said_before_and_the_expert_what_begins_at_the_window():
    batch = generator_batch([numbered_clip(40)], 60, 5, generator("test"), inputs=Inputs(lead=2))
    shown = (batch.target[:, 0, :, 0, 0] * 255).round()
    torch.testing.assert_close(batch.heard[:, :, 0, 0, 0], (shown - 2).clamp(min=0))
    torch.testing.assert_close(batch.mels[:, 0, 0, 0], shown[:, 0])


def test_generator_hears_the_hidden_states_around_a_frame():
    """Frame t shows the time t / 25 s, which is that of state 2 t; 8 more are heard on either side."""
    clip = numbered_clip(40, hears_states=True)
    batch = generator_batch([clip], 60, 5, generator("test"), inputs=Inputs(lead=2, states=6))
    assert batch.heard.shape == (60, 5, 1, 17, 6)
    shown = (batch.target[:, 0, :, 0, 0] * 255).round()
    expected = (2 * shown[..., None] + torch.arange(-8, 9)).clamp(0, 79)
    torch.testing.assert_close(batch.heard[:, :, 0, :, 3], expected)
    torch.testing.assert_close(batch.mels[:, 0, 0, 0], shown[:, 0])


def test_reference_is_always_the_first_frame_where_asked_for():
    batch = generator_batch([numbered_clip(first=7)], 10, 1, generator("test"), inputs=Inputs(), still_share=1.0)
    assert batch.target.shape == (10, 3, 1, 96, 96)
    assert ((batch.faces[:, 3:] * 255).round() == 7).all()


def test_lips_and_chin_are_marked_and_mirrored_with_the_face():
    clip = dataclasses.replace(numbered_clip(), lips=(10, 50, 40, 86))
    near_lips = generator_batch([clip], 20, 1, generator("test"), inputs=Inputs()).near_lips
    assert near_lips.shape == (20, 1, 1, 96, 96)
    left = torch.zeros(96, 96)
    left[50:, 10:40] = 1
    seen = {tuple(one.flatten().int().tolist()) for one in near_lips[:, 0, 0]}
    assert seen == {tuple(side.flatten().int().tolist()) for side in (left, left.flip(1))}


@pytest.mark.parametrize(("windows", "least"), [(20, 5), (4, 1), (1, 0)])
def test_elsewhere_keeps_away_as_far_as_the_clip_allows(windows, least):
    rng = generator("test")
    for start in range(windows):
        other = elsewhere(start, windows, rng)
        assert 0 <= other < windows
        assert abs(other - start) >= least


def test_generator_loss_is_equation_6():
    torch.manual_seed(0)
    expert, discriminator = SyncExpert2D(0.05).eval(), QualityDiscriminator(0.05)
    batch = generator_batch([numbered_clip()], 3, 5, generator("test"), inputs=Inputs(), still_share=0.5)
    generated = torch.rand_like(batch.target)
    with torch.no_grad():
        reconstruction = float((generated - batch.target).abs().mean())
        probability = expert_sync_probability(*expert(batch.mels, lower_halves(generated - batch.mean)))
        sync = float(-probability.log().mean())
        adversarial = float(-discriminator(generated).log().mean())
        loss, parts = generator_loss(
            generated, batch, expert, discriminator, lip_weight=0.0, sync_weight=0.03, adversarial_weight=0.07
        )
    assert parts["reconstruction"] == pytest.approx(reconstruction)
    assert float(loss) == pytest.approx(0.9 * reconstruction + 0.03 * sync + 0.07 * adversarial, rel=1e-5)
    weights = {"sync_weight": 0.0, "adversarial_weight": 0.0}
    alone, parts = generator_loss(generated, batch, expert, None, lip_weight=0.0, **weights)
    assert float(alone) == pytest.approx(reconstruction)
    assert "sync" not in parts
    lips, _ = generator_loss(generated, batch, expert, None, lip_weight=5.0, **weights)
    left, top, right, _ = numbered_clip().lips
    inside = (generated - batch.target)[..., top:, left:right].square().sum() / generated.numel()
    assert float(lips) == pytest.approx(reconstruction + 5 * float(inside), rel=1e-5)


def test_a_lip_reader_sees_the_generated_mouth_as_in_films():
    rng = np.random.default_rng(0)
    faces = np.stack([cv2.GaussianBlur(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8), (0, 0), 2) for _ in range(3)])
    box = (20.3, 41.2, 75.9, 99.5)
    seen = seen_mouths(to_tensor(faces).transpose(0, 1)[None], torch.tensor([box]))
    edge = (MOUTH_SIZE - CROP) // 2
    in_films = crop(grey(faces), box, MOUTH_SIZE)[:, edge:-edge, edge:-edge]
    np.testing.assert_allclose(seen[0].numpy() * 255, in_films, atol=1.5)  # whose grey values are rounded twice


def test_reading_loss_is_the_distance_of_a_lip_readers_features():
    reader = frozen(small_reader())
    clip = dataclasses.replace(numbered_clip(), mouth=(10.0, 40.0, 60.0, 90.0))
    batch = generator_batch([clip], 2, 12, generator("test"), inputs=Inputs())
    generated = torch.rand(batch.target.shape, requires_grad=True)
    loss = reading_loss(reader, generated, batch)
    expected = []
    for one in range(2):
        made, true = (
            reader.features(seen_mouths(faces[one : one + 1], batch.mouths[one : one + 1]), "encoder")[0]
            for faces in (generated.detach(), batch.target)
        )
        expected += [1 - float(a @ b / (a.norm() * b.norm())) for a, b in zip(made, true, strict=True)]
    assert float(loss.detach()) == pytest.approx(np.mean(expected), rel=1e-4)
    assert float(reading_loss(reader, batch.target, batch)) == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert generated.grad is not None
    each_pixel = generated.grad.abs().sum(dim=(0, 1, 2))
    assert each_pixel[45:85, 40:56].min() > 0  # in the mouth's box and in the mirrored one
    assert each_pixel[:39].max() == 0


def test_a_window_that_is_longer_than_the_clip_repeats_its_last_frame():
    batch = generator_batch([numbered_clip(6)], 4, 9, generator("test"), inputs=Inputs())
    shown = (batch.target[:, 0, :, 0, 0] * 255).round()
    assert shown.tolist() == [[0, 1, 2, 3, 4, 5, 5, 5, 5]] * 4


def test_mouth_boxes_are_mirrored_with_the_face():
    clip = dataclasses.replace(numbered_clip(), mouth=(10.0, 40.0, 60.0, 90.0))
    mouths = generator_batch([clip], 20, 1, generator("test"), inputs=Inputs()).mouths
    assert {tuple(one) for one in mouths.tolist()} == {(10, 40, 60, 90), (36, 40, 86, 90)}


def test_reading_starts_from_the_generator_and_leaves_its_statistics(tmp_path):
    clips = [numbered_clip(12, first, hears_states=True) for first in (0, 100)]

    def trained(name: str) -> tuple[Wav2Lip, list[dict[str, float]]]:
        torch.manual_seed(0)
        network = Wav2Lip(0.05, audio_width=0.05, states=6)
        with Scratch(tmp_path / name) as scratch:
            history = train_reading(clips, network, small_reader(), RECIPE, seed=1, scratch=scratch)
        return network, history

    network, history = trained("a")
    assert not network.training
    assert len(history) == RECIPE.reading_steps
    for row in history:
        assert row["loss"] == pytest.approx(row["reconstruction"] + 0.1 * row["reading"], rel=1e-5)
    torch.manual_seed(0)
    before = Wav2Lip(0.05, audio_width=0.05, states=6)
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), before.buffers(), strict=True))
    moved = [not torch.equal(a, b) for a, b in zip(network.parameters(), before.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    again, _ = trained("b")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_lip_motions_are_components_of_the_pixels_in_the_lips_box():
    rng = np.random.default_rng(0)
    shapes = rng.integers(0, 40, (2, 36, 36, 3))
    weights = [rng.uniform(0, 2, (30, 2)) for _ in range(3)]
    clips = []
    for weight in weights:
        weight[0] = 0
        faces = rng.integers(0, 255, (30, 96, 96, 3), dtype=np.uint8)  # what lies outside the box does not matter
        faces[:, 50:86, 30:66] = (50 + np.einsum("tk,khwc->thwc", weight, shapes)).round()
        clips.append(SpeakingFace(faces, np.zeros((80, 100), np.float32), LIPS, MOUTH, mean_of(faces)))
    motions = lip_motions(clips)
    assert [m.shape for m in motions] == [(30, 32)] * 3
    assert all((m[0] == 0).all() for m in motions)
    together = np.concatenate(motions)
    assert np.sqrt((together[:, 0] ** 2).mean()) == pytest.approx(1, rel=1e-4)
    assert (together[:, 2:] ** 2).sum() < 1e-3 * (together**2).sum()  # two shapes, and rounding
    fitted, *_ = np.linalg.lstsq(together[:, :2], np.concatenate(weights), rcond=None)
    np.testing.assert_allclose(together[:, :2] @ fitted, np.concatenate(weights), atol=0.05)


def test_the_audio_encoder_hears_a_window_and_is_asked_for_the_motion_around_its_frame():
    clips = [numbered_clip(30), numbered_clip(30, 100)]
    motions = [clip.faces[:, 0, 0, :1].astype(np.float32).repeat(32, axis=1) for clip in clips]
    mels, moved = listening_batch(clips, motions, Inputs(lead=2), generator("test"))
    assert mels.shape == (256, 1, 80, 16)
    assert moved.shape == (256, 3, 32)
    first = mels[:, 0, 0, 0]
    start = torch.where(first >= 100, 100, 0)
    inside = first > start  # the first windows are also used for the frames before them
    frame = (first - start + 2)[inside]
    around = torch.stack([(frame + at).clamp(max=29) for at in (-1, 0, 1)], 1) + start[inside, None]
    torch.testing.assert_close(moved[inside][..., 0], around)


@pytest.mark.parametrize("hears_states", [False, True])
def test_the_audio_encoder_learns_how_lips_move_and_the_generator_starts_with_it(tmp_path, hears_states):
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 4, 40), 5)
    mel = np.zeros((80, 640), np.float32)
    faces = np.zeros((200, 96, 96, 3), np.uint8)
    for at, label in enumerate(labels):
        mel[20 * label : 20 * label + 20, int(3.2 * at) : int(3.2 * (at + 1))] = 2
        faces[at, 50:86, 30 : 30 + 9 * label] = 200
    states = np.eye(4, dtype=np.float16)[labels.repeat(2)] if hears_states else None
    clips = [SpeakingFace(faces, mel, LIPS, MOUTH, mean_of(faces), states)]
    with Scratch(tmp_path / "encoder") as scratch:
        encoder, history = train_audio_encoder(
            clips, dataclasses.replace(RECIPE, lead=2, audio_steps=40), seed=0, scratch=scratch
        )
    assert history[0]["explained"] < 0.1
    assert history[-1]["explained"] > 0.4
    with Scratch(tmp_path / "generator") as scratch, pytest.raises(RuntimeError, match="size mismatch"):
        other = dataclasses.replace(RECIPE, audio_width=0.1)
        train_generator(clips, SyncExpert2D(0.05), encoder, other, seed=0, scratch=scratch)


def test_discriminator_loss_is_equation_5():
    torch.manual_seed(0)
    discriminator = QualityDiscriminator(0.05)
    real, false = torch.rand(2, 3, 5, 96, 96), torch.rand(2, 3, 5, 96, 96)
    with torch.no_grad():
        expected = -discriminator(real).log().mean() - (1 - discriminator(false)).log().mean()
        torch.testing.assert_close(discriminator_loss(discriminator, real, false), expected)


@pytest.mark.parametrize("hears_states", [False, True])
def test_training_moves_every_weight_and_repeats_itself(tmp_path, hears_states):
    clips = [numbered_clip(12, first, hears_states=hears_states) for first in (0, 100)]

    def trained(name: str) -> tuple[SyncExpert2D, Wav2Lip, list[dict[str, float]]]:
        folder = tmp_path / name
        with Scratch(folder / "1") as first, Scratch(folder / "2") as listening, Scratch(folder / "3") as second:
            expert, _ = train_expert(clips, ExpertTraining(0.05, 2, 2, 2, 1e-3), seed=1, scratch=first)
            encoder, _ = train_audio_encoder(clips, RECIPE, seed=1, scratch=listening)
            network, history = train_generator(clips, expert, encoder, RECIPE, seed=1, scratch=second)
        return expert, network, history

    expert, network, history = trained("a")
    assert not network.training
    assert ["sync" in row for row in history] == [False, False, True]  # it begins half-way
    assert all({"reconstruction", "adversarial", "discriminator"} <= set(row) for row in history)
    again_expert, again, _ = trained("b")
    for one, other in [(expert, again_expert), (network, again)]:
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key
