"""The generated head motion, and that a short training gives a model that `--head-model` accepts."""

import json
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.animation.head_motion import load_head_model
from learn2talk_core.corpus.phonemes import SILENCE, Phoneme
from learn2talk_core.run.seed import generator
from scripts import train_head_motion as module
from scripts.train_head_motion import DEGREE, FPS, Said, accents, head_track, joined, tracks, train


def said(seed: int = 0, speaker: str = "A", loud: tuple[int, ...] = (4, 11)) -> Said:
    """Twenty vowels of 0.12 s with a T after each; those numbered in `loud` are loud and long. Silent at both ends."""
    phonemes, time = [Phoneme(0.0, 0.4, SILENCE)], 0.4
    rng = np.random.default_rng(seed)
    pieces = [np.zeros(6400)]
    for number in range(20):
        length, level = (0.25, 0.5) if number in loud else (0.12, 0.02)
        phonemes += [Phoneme(time, time + length, "AA"), Phoneme(time + length, time + length + 0.1, "T")]
        pieces += [level * rng.normal(size=round(length * 16000)), 0.005 * rng.normal(size=1600)]
        time += length + 0.1
    pieces.append(np.zeros(8000))
    return Said(speaker, np.concatenate(pieces).clip(-1, 1).astype(np.float32), tuple(phonemes))


def test_accents_are_the_loud_and_long_vowels() -> None:
    one = said()
    loud = module.loudness(one.wave, len(one.wave) * FPS // 16000, FPS)
    found = accents(one.phonemes, loud, 0.1)
    starts = [p for p in one.phonemes if p.end - p.start > 0.2 and p.name == "AA"]
    assert len(found) == len(starts) == 2
    for (time, strength), vowel in zip(found, starts, strict=True):
        assert vowel.start - 0.04 <= time <= vowel.end + 0.08
        assert strength > 1
    assert accents((Phoneme(0, 1, "T"),), loud, 0.5) == []


def test_heads_nod_at_accents_and_at_the_end_and_belong_to_somebody() -> None:
    """Over many random motions, everything that the sound does not determine averages out, and nods remain."""
    one = said()
    drawn = np.stack([head_track(one, generator(seed)) for seed in range(150)])
    pitch = np.degrees(drawn[:, :, 0].mean(axis=0))
    assert drawn.shape == (150, len(one.wave) * FPS // 16000, 6)
    vowels = [p for p in one.phonemes if p.end - p.start > 0.2 and p.name == "AA"]
    near = [pitch[round(p.start * FPS) : round(p.end * FPS) + 3].max() for p in vowels]
    assert min(near) > np.median(pitch) + 0.3
    assert pitch[round(one.phonemes[-1].end * FPS)] > np.median(pitch) + 0.3
    np.testing.assert_allclose(drawn.mean(axis=1), 0, atol=1e-7)
    assert 0.5 * DEGREE < drawn[:, :, :3].std() < 5 * DEGREE
    np.testing.assert_array_equal(head_track(one, generator(3)), drawn[3])
    other = np.stack([head_track(said(speaker="B"), generator(seed)) for seed in range(150)])
    assert not np.allclose(other.std(axis=(0, 1)), drawn.std(axis=(0, 1)), rtol=0.05)


def test_sentences_are_joined_with_pauses() -> None:
    clips = [said(i, "AB"[i % 2]) for i in range(5)]
    found = list(joined(clips, generator(0)))
    assert [one.speaker for one in found] == ["A", "B"]
    assert len(found[0].phonemes) == 3 * len(clips[0].phonemes)
    second = next(p for p in found[0].phonemes[len(clips[0].phonemes) :] if p.name == "AA")
    sound = found[0].wave[round(second.start * 16000) : round(second.end * 16000)]
    first = next(p for p in clips[2].phonemes if p.name == "AA")
    np.testing.assert_array_equal(sound[:1000], clips[2].wave[round(first.start * 16000) :][:1000])


def test_training_lowers_the_error_and_writes_what_animate_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tracks([said(i, "AB"[i % 2]) for i in range(6)], 0, {"A": 0, "B": 1})
    errors: list[float] = []
    plain = module.losses

    def noted(*parts):  # type: ignore[no-untyped-def]
        error, divergence = plain(*parts)
        errors.append(error.item())
        return error, divergence

    monkeypatch.setattr(module, "losses", noted)
    network = train(found, 2, width=1, hearing=3, steps=100, size=16, weight=1e-3, seed=0)
    assert np.mean(errors[-20:]) < 0.9 * np.mean(errors[:20])
    rebuilt = module.rebuilt(network, found[:2], 0)
    assert 0 < rebuilt["rebuilt_rms_degrees"] < 2 * rebuilt["unmoved_rms_degrees"]
    module.enlarge(network, found, 0)
    drawn = np.concatenate([module.drawn(network, one.said.wave, i) for i, one in enumerate(found)])
    taught = np.concatenate([one.motion for one in found])
    assert np.square(drawn[:, :3]).mean() == pytest.approx(np.square(taught[:, :3]).mean(), rel=0.05)
    measured = module.measured(network, found[:2], 0)
    assert set(measured) == {"generator", "drawn", "drawn_from_other_sound"}
    assert measured["generator"]["nod_at_accents_degrees"] > 0
    module.store(tmp_path, network, {"width": 1, "styles": 2}, {"note": "test"})
    loaded = load_head_model(tmp_path)
    for key, value in network.state_dict().items():
        np.testing.assert_allclose(loaded.state_dict()[key], value, rtol=1e-3, atol=1e-4)
    assert json.loads((tmp_path / "model.json").read_text())["about"] == {"note": "test"}
