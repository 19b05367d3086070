"""Frames and phonemes of the lip reader's batches, and a training that must learn to distinguish mouths."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.phonemes import PHONEMES, Phoneme
from learn2talk_core.models.lipreader import LipReader
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training import lipreader
from learn2talk_core.training.lipreader import (
    CLASSES,
    TOKENS,
    VOCABULARY,
    LipReaderTraining,
    MouthClip,
    alignment_loss,
    augmented,
    mouth_clips,
    random_lipreader_batch,
    train_lipreader,
)
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.video.talking_video import TalkingVideo, VideoClip


class Still(np.random.Generator):
    """A random generator that returns the middle of every range, so that augmentation changes nothing."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low=0.0, high=1.0, size=None):  # type: ignore[no-untyped-def, override]
        middle = (low + high) / 2 if low < 0 or low == 0.9 else low
        return middle if size is None else np.full(size, middle)

    def random(self, size=None):  # type: ignore[no-untyped-def, override]
        return 1.0


def test_augmentation_in_the_middle_of_its_ranges_is_the_centre_crop() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)
    np.testing.assert_allclose(augmented(frames, Still()), frames[:, 4:92, 4:92] / 255, atol=1 / 255)


def test_augmentation_moves_all_frames_alike() -> None:
    still = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 96, 96), dtype=np.uint8), 6, axis=0)
    views = augmented(still, np.random.default_rng(1))
    assert views.shape == (6, 88, 88)
    np.testing.assert_allclose(views, np.broadcast_to(views[0], views.shape), atol=1e-5)
    assert np.abs(views[0] - still[0, 4:92, 4:92] / 255).mean() > 0.1


def spoken_clip(frames: int) -> MouthClip:
    """A clip whose frame t has the grey value t, with a phoneme every 4 frames (0.16 s)."""
    pictures = np.repeat(np.arange(frames, dtype=np.uint8), 96 * 96).reshape(frames, 96, 96)
    spans = [(i / 25, (i + 4) / 25) for i in range(0, frames - 3, 4)]
    return MouthClip(pictures, tuple(Phoneme(*span, PHONEMES[i % 39]) for i, span in enumerate(spans)))


def test_batch_holds_what_is_said_in_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lipreader, "SPEEDS", (1.0, 1.0))
    clips = [spoken_clip(40), spoken_clip(8)]
    batch = random_lipreader_batch(clips, np.random.default_rng(0), 20, 12)
    assert batch.grey.shape == (20, 12, 88, 88)
    assert set(batch.lengths.tolist()) == {12, 8}
    for row, length in enumerate(batch.lengths.tolist()):
        labels = batch.labels[row]
        assert (labels[length:] == -1).all()
        assert torch.equal(batch.grey[row, length:], torch.zeros(12 - length, 88, 88))
        # a phoneme of 4 frames is a token where at least half of it (its middle) is in the window
        first, last = (int((labels[:length] == label).sum()) for label in (labels[0], labels[length - 1]))
        whole = list(dict.fromkeys(labels[:length].tolist()))
        expected = whole[(first < 2) : len(whole) - (last < 2)]
        assert [t for t in batch.sentences[row] if t not in (labels[0], labels[length - 1])] == [
            t for t in expected if t not in (labels[0], labels[length - 1])
        ]


def test_a_faster_window_shows_and_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """At twice the speed every second frame is seen, with its own label, and the tokens of the whole stretch."""
    monkeypatch.setattr(lipreader, "SPEEDS", (2.0, 2.0))
    monkeypatch.setattr(lipreader, "augmented", lambda frames, rng: frames[:, 4:92, 4:92] / np.float32(255))
    clip = spoken_clip(40)
    batch = random_lipreader_batch([clip], np.random.default_rng(0), 10, 12)
    seen = (batch.grey[:, :, 0, 0] * 255).round().long()
    assert (seen.diff(dim=1) == 2).all()
    assert torch.equal(batch.labels, torch.from_numpy(clip.labels)[seen])
    for row, shown in enumerate(seen):
        assert batch.sentences[row] == clip.tokens(int(shown[0]), int(shown[-1]) + 1)


def test_alignment_loss_is_that_of_phonemes_and_of_visemes() -> None:
    logits = torch.zeros(1, 3, CLASSES)
    labels = torch.tensor([[TOKENS["P"], 0, -1]])
    loss = alignment_loss(logits, labels)
    # 3 of 40 classes look like P, only silence looks like silence
    expected = -(2 * np.log(1 / 40) + np.log(3 / 40) + np.log(1 / 40)) / 4
    assert float(loss) == pytest.approx(expected)


def test_tokens_are_the_phonemes_counted_from_one() -> None:
    clip = MouthClip(np.zeros((10, 96, 96), np.uint8), (Phoneme(0.0, 0.12, "M"), Phoneme(0.12, 0.4, "AA")))
    assert clip.tokens() == [TOKENS["M"], TOKENS["AA"]]
    assert clip.tokens(2, 10) == [TOKENS["AA"]]  # M's middle is at frame 1.5
    assert (TOKENS["AA"], TOKENS["ZH"], VOCABULARY) == (1, 39, 41)


def test_clips_without_phonemes_and_splits_without_clips_are_refused() -> None:
    clip = VideoClip("a", "V0", "hello", "loss", 5, 3200, (), (0, 0, 96, 96), (0.0, 0.0, 96.0, 96.0))
    video = TalkingVideo(Path("films"), (clip,), ())
    with pytest.raises(BadInput, match="films, clip a: expected phonemes with times, found none"):
        mouth_clips(video, "loss")
    with pytest.raises(BadInput, match="films: expected clips of the split 'metric', found none"):
        mouth_clips(video, "metric")


RECIPE = LipReaderTraining(
    steps=150, batch=4, window=0.5, learning_rate=3e-3, weight_decay=0.0, ctc_weight=0.5, smoothing=0.0,
    alignment_weight=1.0,
)  # fmt: skip


def open_and_shut(seed: int) -> MouthClip:
    """A dark disc for AA, none for M, 5 frames each."""
    open_ = np.random.default_rng(seed).permutation(np.arange(8) % 2)
    y, x = np.mgrid[:96, :96] - 47.5
    shapes = np.stack([np.full((96, 96), 180), np.where(x**2 + 4 * y**2 < 900, 20, 180)]).astype(np.uint8)
    phonemes = tuple(Phoneme(i / 5, (i + 1) / 5, "AA" if o else "M") for i, o in enumerate(open_))
    return MouthClip(shapes[np.repeat(open_, 5)], phonemes)


def reader() -> LipReader:
    torch.manual_seed(0)
    return LipReader(
        VOCABULARY, width=4, dim=16, heads=2, hidden=32, encoder_layers=1, decoder_layers=1, kernel=3,
        dropout=0.0, normalise="clip", size=22,
    )  # fmt: skip


def test_training_learns_open_from_shut_and_repeats_itself(tmp_path) -> None:
    clips = [open_and_shut(seed) for seed in range(4)]

    def trained(name: str) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
        with Scratch(tmp_path / name) as scratch:
            model, history = train_lipreader(reader(), clips, RECIPE, seed=3, scratch=scratch, description="test")
        assert not model.training
        return model.state_dict(), history

    state, history = trained("a")
    assert history[0]["frame_accuracy"] < 0.3
    assert np.mean([row["frame_accuracy"] for row in history[-10:]]) > 0.8
    again, _ = trained("b")
    assert all(torch.equal(state[key], again[key]) for key in state)


def test_a_clip_shorter_than_the_window_is_enough(tmp_path) -> None:
    clip = dataclasses.replace(open_and_shut(0), frames=open_and_shut(0).frames[:1], phonemes=())
    with Scratch(tmp_path) as scratch:
        recipe = dataclasses.replace(RECIPE, steps=2)
        _, history = train_lipreader(reader(), [clip], recipe, seed=0, scratch=scratch, description="test")
    assert [row["step"] for row in history] == [0, 1]
    assert history[-1]["loss"] == pytest.approx(history[-1]["ctc_attention"] + history[-1]["alignment"])
