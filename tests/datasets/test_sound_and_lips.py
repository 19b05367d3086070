from collections.abc import Callable, Sequence

import numpy as np
import pytest

from learn2talk_core.corpus.format import Recording
from learn2talk_core.datasets.fixtures_folder import write_folder
from learn2talk_core.datasets.folder import read_folder
from learn2talk_core.datasets.sound_and_lips import (
    ENOUGH,
    LIMIT,
    REACH,
    SPACING,
    Misfit,
    SoundAndLips,
    _context,
    _correlations,
    misfits,
    sound_and_lips,
)
from learn2talk_core.mesh.topology import Topology

FPS = 25.0
Clips = list[SoundAndLips | None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Topology, list[Recording], Clips]:
    folder = tmp_path_factory.mktemp("own") / "data"
    write_folder(folder, 1, speakers=2, sentences=12, fps=FPS, table=False)
    source = read_folder(folder, fps=FPS, mm_per_unit=1.0, lips=folder / "lips.txt")
    clips = list(source.recordings)
    return source.topology, clips, [sound_and_lips(source.topology, clip.motion, clip.audio, FPS) for clip in clips]


def test_clips_that_are_right(data: tuple[Topology, list[Recording], Clips]) -> None:
    assert misfits(data[2]) == {}


def delayed(clips: Sequence[Recording], number: int) -> np.ndarray:
    audio = clips[number].audio
    return np.concatenate([np.zeros(1920, np.float32), audio])[: len(audio)]


def sound_of_another(clips: Sequence[Recording], number: int) -> np.ndarray:
    return np.resize(clips[(number + 7) % len(clips)].audio, len(clips[number].audio))


@pytest.mark.parametrize(
    ("sound", "kind", "at_least"),
    [
        (lambda clips, number: clips[number].audio[::-1], "reversed", 22),
        (delayed, "shifted", 20),
        (sound_of_another, "other", 6),
    ],
)
def test_planted_faults(
    data: tuple[Topology, list[Recording], Clips],
    sound: Callable[[Sequence[Recording], int], np.ndarray],
    kind: str,
    at_least: int,
) -> None:
    """Each of the 24 clips is wrong in turn: most are found, and no other clip is."""
    topology, clips, known = data
    found = []
    for number, clip in enumerate(clips):
        wrong = sound_and_lips(topology, clip.motion, sound(clips, number), FPS)
        reported = misfits([*known[:number], wrong, *known[number + 1 :]])
        assert set(reported) <= {number}
        late_ms = 120 if kind == "shifted" else 0
        found += [misfit for misfit in reported.values() if misfit.kind == kind and abs(misfit.late_ms - late_ms) <= 40]
    assert len(found) >= at_least


def test_too_few_clips(data: tuple[Topology, list[Recording], Clips]) -> None:
    topology, clips, known = data
    wrong = sound_and_lips(topology, clips[0].motion, clips[0].audio[::-1], FPS)
    assert misfits([wrong, *known[1:ENOUGH]]) == {0: Misfit("reversed")}
    assert misfits([wrong, *known[1 : ENOUGH - 1], None, None]) == {}


def test_sound_that_has_nothing_to_do_with_the_lips(data: tuple[Topology, list[Recording], Clips]) -> None:
    rng = np.random.default_rng(0)
    noise = [
        None if clip is None else SoundAndLips(*(rng.normal(size=(2, 200, 20))), clip.lips[:200]) for clip in data[2]
    ]
    assert misfits([clip for clip in noise if clip is not None and len(clip.lips) == 200]) == {}


def test_a_short_clip(data: tuple[Topology, list[Recording], Clips]) -> None:
    topology, clips, _ = data
    assert sound_and_lips(topology, clips[0].motion[:30], clips[0].audio, FPS) is None
    assert sound_and_lips(topology, clips[0].motion, clips[0].audio[:19_000], FPS) is None
    assert sound_and_lips(topology, clips[0].motion[:0], clips[0].audio, FPS) is None


def test_context_by_a_loop() -> None:
    mel = np.random.default_rng(1).normal(size=(40, 3))
    naive = np.zeros((40, 3, 2 * REACH + 1))
    for i in range(40):
        for k in range(-REACH, REACH + 1):
            naive[i, :, k + REACH] = mel[min(max(i + SPACING * k, 0), 39)]
    np.testing.assert_array_equal(_context(mel), naive.reshape(40, -1))


def test_correlations_by_a_loop() -> None:
    predicted, lips = np.random.default_rng(2).normal(size=(2, 80, 4))
    naive = []
    for lag in range(-LIMIT, LIMIT + 1):
        pairs = [(predicted[t - lag], lips[t]) for t in range(80) if 0 <= t - lag < 80]
        a, b = (np.array(side) - np.mean(side, axis=0) for side in zip(*pairs, strict=True))
        naive.append(np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)))
    np.testing.assert_allclose(_correlations(predicted, lips), naive)
