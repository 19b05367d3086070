"""The packaged speech, and the motion that is made for it."""

from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.datasets.embedded import packaged
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.datasets.embedded.face_motion import move_face
from learn2talk_core.datasets.embedded.packaged import PACKAGED, packaged_speech
from learn2talk_core.datasets.embedded.parts import packaged_parts
from learn2talk_core.datasets.embedded.speakers import make_speaker
from learn2talk_core.metrics.articulation import articulation, pooled
from learn2talk_core.run.errors import BadInput


def test_it_holds_the_parts_that_the_script_speaks() -> None:
    speech = packaged_speech()
    parts = packaged_parts()
    assert list(speech) == [part.voice.id for part in parts]
    for part, said in zip(parts, speech.values(), strict=True):
        assert tuple(one.text for one in said) == part.texts
        assert {(one.split, one.voice, one.female) for one in said} == {
            (part.split, part.voice.name, part.voice.female)
        }
    assert PACKAGED.stat().st_size < 12e6
    assert sum(one.samples for said in speech.values() for one in said) / 16_000 > 20 * 60


def test_all_of_it_sounds_where_phonemes_are() -> None:
    for said in packaged_speech().values():
        for one in said[::7]:
            power = np.square(one.wave())
            spoken = power[round(one.phonemes[0].start * 16_000) : round(one.phonemes[-1].end * 16_000)]
            around = power[: round((one.phonemes[0].start - 0.05) * 16_000)]
            assert spoken.mean() > 300 * around.mean(), one.text
            assert 0.4 < np.sqrt(power.max()) < 0.62
            assert one.samples % 3200 == 0


@pytest.mark.parametrize("fps", [25, 30])
def test_lips_close_at_every_p_b_m_and_open_at_open_vowels(fps: int) -> None:
    face = load_face()
    ids = face.lip_pairs.ravel()
    clips = []
    for name, said in packaged_speech().items():
        speaker = make_speaker(name, 0, female=said[0].female)
        template, basis = face.identity(speaker)[ids], face.basis[:, ids]
        for i, one in enumerate(said[:14]):
            rng = np.random.default_rng([0, speaker.seed, i])
            moved = template + np.tensordot(move_face(speaker, one.wave(), one.phonemes, fps, 1.0, rng), basis, 1)
            gap = (moved[:, ::2, 1] - moved[:, 1::2, 1]).mean(1) * 1000
            clips.append(articulation(gap, fps, one.phonemes))
    found = pooled(clips).scores()
    assert found["closures"] > 500
    assert found["vowels"] > 400
    assert found["closed"] >= 0.99
    assert found["wrongly_closed"] <= 0.05
    assert found["contrast_mm"] > 7
    assert found["auc"] > 0.99


def test_a_damaged_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "speech.parquet"
    damaged.write_bytes(PACKAGED.read_bytes()[:100_000])
    monkeypatch.setattr(packaged, "PACKAGED", damaged)
    expected = r"speech.parquet: expected a parquet file, found a damaged .* Make it again: git checkout or reinstall"
    with pytest.raises(BadInput, match=expected):
        packaged_speech()
