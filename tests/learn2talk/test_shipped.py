"""The student, faces, SyncNet3D and confidence of this checkout's package, as `pip install` gives them."""

from pathlib import Path

import pytest

import learn2talk
from learn2talk_core.datasets.embedded.packaged import packaged_speech
from learn2talk_core.evaluation.real_speech import gap_mm
from learn2talk_core.metrics.articulation import articulation


def test_the_packaged_student_closes_its_lips_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # without a run of the pipeline
    monkeypatch.delenv("DVC_ROOT", raising=False)
    said = next(each[0] for each in packaged_speech().values() if each[0].split == "test_unseen")
    animation = learn2talk.animate(said.wave())
    found = articulation(gap_mm(animation), animation.fps, said.phonemes)
    assert len(found.closures) >= 3
    assert max(found.closures) < min(found.vowels)

    synchrony = learn2talk.score(animation)
    assert synchrony.mouth_late_ms is not None
    assert abs(synchrony.mouth_late_ms) < 33
    assert synchrony.confidence is not None
    assert synchrony.confidence > 0.5
