"""Judging a set of recordings, with motions, recogniser and lags that are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.evaluation import real_speech
from learn2talk_core.evaluation.real_speech import (
    Judged,
    SpokenRecording,
    gap_mm,
    judge_recording,
    judged_json,
    read_set,
    shifted_wave,
    speech_summary,
    table,
    true_motion,
)
from learn2talk_core.mesh.topology import lip_gap
from learn2talk_core.metrics.articulation import articulation
from learn2talk_core.run.errors import BadInput
from tests.evaluation.test_speech_recognition import heard, wave_of
from tests.golden.fill import waveform
from tests.toy_student import toy_animator


def test_the_gap_is_that_of_the_vertices(tmp_path: Path) -> None:
    animator = toy_animator(tmp_path)
    animation = animator.animate(waveform(1.0), style=animator.speakers[0])
    expected = lip_gap(animation.vertices(), animation.topology.lip_pairs).mean(-1) * animation.mm_per_unit
    assert len(animation.topology.lip_pairs) > 0
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(gap_mm(animation), expected, atol=1e-3)


def test_a_recording_is_judged(tmp_path: Path) -> None:
    """Times of the set are used if it has them, else those of the alignment; the recogniser errs in one of three."""
    animator, model = toy_animator(tmp_path), heard(("", 5), ("B", 10), ("AA", 30), ("T", 5))
    wave = waveform(1.0)[: len(wave_of(model))]
    animation = animator.animate(wave, style=animator.speakers[0])
    given = SpokenRecording("a", wave, ("B", "AA", "D"), None)
    found = judge_recording(given, animation, model, None)
    assert (found.edits, found.spoken, found.times) == (1, 3, "aligned")
    assert found.articulation is not None
    aligned = [Phoneme(0.09, 0.29, "B"), Phoneme(0.29, 0.89, "AA")]
    expected = articulation(gap_mm(animation), animation.fps, aligned)
    np.testing.assert_allclose(found.articulation.vowels, expected.vowels, atol=0.5)
    times = (Phoneme(0.1, 0.3, "B"), Phoneme(0.3, 0.9, "AA"))
    found = judge_recording(SpokenRecording("b", wave, ("B", "AA"), times), animation, None, None)
    assert (found.edits, found.times, found.mouth_late_ms, dict(found.shifted)) == (None, "given", None, {})
    assert found.articulation is not None
    np.testing.assert_array_equal(
        found.articulation.vowels, articulation(gap_mm(animation), animation.fps, times).vowels
    )
    assert judge_recording(SpokenRecording("c", wave, ("B",), None), animation, None, None).articulation is None


def test_shifted_sound() -> None:
    """The mouth at time t belongs to the sound at t - late."""
    wave = np.arange(1, 16001, dtype=np.float32)
    late, early = shifted_wave(wave, 100), shifted_wave(wave, -100)
    assert late[0] == wave[1600]
    assert early[1600] == wave[0]
    assert not early[:1600].any()


def test_the_sound_is_shifted_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    animator = toy_animator(tmp_path)
    animation = animator.animate(waveform(1.0), style=animator.speakers[0])

    class Score:
        confidence, frame_ms = 0.9, 100 / 3

        def __init__(self, wave: np.ndarray) -> None:
            self.mouth_late_ms = 1000 - len(wave) / 16  # what a perfect judge finds

    def scored(scorer: Any, wave: np.ndarray, vertices: np.ndarray, *_: object, **words: object) -> Score:
        assert words == {"trim": True}
        assert len(vertices) == len(animation.states)
        if len(wave) == 16000 - 3200:
            raise BadInput("motion", expected="speech", found="none", fix="Speak.")
        return Score(wave)

    monkeypatch.setattr(real_speech, "score_motion", scored)
    scorer = type("Scorer", (), {"corpus": animator.corpus})
    found = judge_recording(SpokenRecording("a", animation.wave, ("B",), None), animation, None, scorer)
    assert found.mouth_late_ms == 0
    assert found.shifted == {-200: (-200.0, 0.9), -100: (-100.0, 0.9), 100: (100.0, 0.9), 200: (None, None)}
    assert speech_summary([found])["shifts_found"] == 0.75
    assert speech_summary([found])["shifts_found_with_verdict"] == 0.75


def judged(name: str, **changes: Any) -> Judged:
    usual = {"edits": 2, "spoken": 10, "times": "given", "articulation": None, "jitter": 0.2, "acceleration": 0.8,
             "mouth_late_ms": 10.0, "confidence": 0.4, "frame_ms": 100 / 3,
             "shifted": {100: (115.0, 0.9), -100: (-10.0, 0.9), 200: (205.0, 0.2)}}  # fmt: skip
    return Judged(name, **{**usual, **changes})


def test_the_summary_weighs_by_what_was_counted() -> None:
    two = [judged("a"), judged("b", edits=0, spoken=30, jitter=0.6, mouth_late_ms=50.0, shifted={100: (140.0, 0.8)})]
    found = speech_summary(two)
    assert found["phoneme_error"] == pytest.approx(2 / 40)
    assert found["jitter"] == pytest.approx(0.4)
    assert found["lag_within_frame"] == 0.5
    assert found["shifts_found"] == pytest.approx(3 / 4)  # one of the first recording's is 120 ms away
    assert found["shifts_found_with_verdict"] == pytest.approx(2 / 4)
    assert found["acceleration_over_speed"] == pytest.approx(0.8)
    assert speech_summary([judged("a", edits=None, jitter=None, mouth_late_ms=None)])["phoneme_error"] is None
    assert "| all | 0.05 | 0 | 0 | — |" in table(two)
    assert "| a | 0.20 |" in table(two)
    written = json.loads(json.dumps(judged_json(two, model="toy")))
    assert written["model"] == "toy"
    assert written["recordings"][0]["shifted"]["100"] == [115.0, 0.9]


def test_the_true_motion_is_measured_as_the_recordings_are(tmp_path: Path) -> None:
    corpus = toy_animator(tmp_path).corpus
    assert corpus is not None
    clips = corpus.split("test_seen", "test_unseen")
    found = true_motion(corpus)
    ratios = []
    for clip in clips:
        upper, lower = (corpus.vertices(clip)[:, ids, 1] for ids in corpus.topology.lip_pairs.T)
        gap = corpus.mm_per_unit * (upper - lower).mean(axis=1)
        ratios.append(np.abs(gap[2:] - 2 * gap[1:-1] + gap[:-2]).mean() / np.abs(gap[1:] - gap[:-1]).mean())
    assert found["clips"] == len(clips)
    assert found["acceleration_over_speed"] == pytest.approx(np.mean(ratios), rel=1e-4)
    last = table([judged("a")], found).splitlines()[-1]
    assert last.startswith("| true motion of the corpus | — |")
    assert f"| {np.mean(ratios):.2f} | — |" in last


def test_a_set_is_read_and_refused(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", waveform(1.0))
    entry = {"id": "a", "wav": "a.wav", "text": "b", "phonemes": ["B"]}
    timed = {"id": "b", "wav": "a.wav", "phonemes_with_times": [[0.1, 0.2, "B"], [0.2, 0.3, "IY"]]}
    (tmp_path / "set.json").write_text(json.dumps([entry, timed]))
    one, two = read_set(tmp_path)
    assert (one.names, one.phonemes, len(one.wave)) == (("B",), None, 16000)
    assert two.names == ("B", "IY")
    assert two.phonemes == (Phoneme(0.1, 0.2, "B"), Phoneme(0.2, 0.3, "IY"))
    for content, pattern in (
        ({}, r"set.json: expected a list of recordings, found dict"),
        ([{"id": "a"}], r"expected an id and a wav for each recording"),
        ([{"id": "a", "wav": "a.wav"}], r"set.json: a: expected phonemes, or phonemes_with_times"),
        ([{**entry, "phonemes": ["B0"]}], r"expected ARPAbet phonemes without stress, found 'B0'"),
        ([{**entry, "phonemes": []}], r"expected ARPAbet phonemes without stress, found none"),
        ([{**timed, "phonemes_with_times": [[0.3, 0.2, "B"]]}], r"expected times that begin before they end"),
        ([{**timed, "phonemes_with_times": [[0.3, "B"]]}], r"expected phonemes, or phonemes_with_times"),
        ([{**entry, "wav": "../a.wav"}], r"expected a plain name without path separators"),
        ([{**entry, "wav": "b.wav"}], r"b.wav"),
    ):
        (tmp_path / "set.json").write_text(json.dumps(content))
        with pytest.raises(BadInput, match=pattern):
            read_set(tmp_path)
    with pytest.raises(BadInput, match=r"none.set.json"):
        read_set(tmp_path / "none")
