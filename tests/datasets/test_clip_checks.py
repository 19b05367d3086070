"""Every planted fault is reported, with the same text for a dataset and for its corpus; clean clips are not."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly
from scipy.spatial.transform import Rotation

from learn2talk_core.corpus.format import Recording
from learn2talk_core.datasets.checks import check_corpus, check_source
from learn2talk_core.datasets.clip_checks import distance, largest_steps
from learn2talk_core.datasets.embedded.generate import CorpusSize, cast_packaged, make_corpus
from learn2talk_core.datasets.fixtures_folder import write_folder
from learn2talk_core.datasets.folder import read_folder
from learn2talk_core.datasets.problem import Problem
from learn2talk_core.datasets.settings import write_source
from learn2talk_core.datasets.source import Source

FPS, SPEAKERS, SENTENCES = 25.0, 2, 7
Clips = list[Recording]
Templates = dict[str, np.ndarray]
Fault = Callable[[Clips, Templates], None]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Two speakers, seven sentences each, in millimetres; clips 0 to 6 are S00's, 7 to 13 S01's."""
    return made(tmp_path_factory.mktemp("own") / "data", SENTENCES)


@pytest.fixture(scope="module")
def clean_and_larger(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """As `clean`, with enough clips to compare the sound of each with the others."""
    return made(tmp_path_factory.mktemp("own") / "data", 12)


def made(folder: Path, sentences: int) -> Source:
    write_folder(folder, 1, speakers=SPEAKERS, sentences=sentences, fps=FPS, table=False)
    source = read_folder(folder, fps=FPS, mm_per_unit=1.0, lips=folder / "lips.txt")
    return dataclasses.replace(source, recordings=list(source.recordings))


def problems_with(clean: Source, fault: Fault | None, only: slice = slice(None)) -> tuple[Source, list[Problem]]:
    clips, templates = list(clean.recordings)[only], dict(clean.templates)
    if fault:
        fault(clips, templates)
    source = dataclasses.replace(clean, recordings=clips, templates=templates)
    return source, check_source(source, "data")[1]


def lines(problems: list[Problem]) -> list[str]:
    return [f"{problem.severity}: {problem.where}: {problem.what}" for problem in problems]


def test_what_is_right_is_left_alone(clean: Source) -> None:
    assert problems_with(clean, None)[1] == []


# --- faults of a clip, planted in the first one of S00


def motion_of_another_speaker(clips: Clips, _: Templates) -> None:
    other = clips[-1]
    clips[0] = dataclasses.replace(clips[0], motion=other.motion, audio=other.audio)
    clips.pop()


def turned_motion_of_another_speaker(clips: Clips, _: Templates) -> None:
    c, s = np.cos(0.05), np.sin(0.05)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)
    motion_of_another_speaker(clips, _)
    clips[0] = dataclasses.replace(clips[0], motion=clips[0].motion @ turn)


def one_vertex_away(clips: Clips, _: Templates) -> None:
    clips[0].motion[20, 77, 1] += 500


def a_frozen_half(clips: Clips, _: Templates) -> None:
    half = len(clips[0].motion) // 2
    clips[0].motion[half:] = clips[0].motion[half]


def motion_twice(clips: Clips, _: Templates) -> None:
    clips[0] = dataclasses.replace(clips[0], motion=clips[1].motion[: len(clips[0].motion)])


def motion_twice_on_another_face(clips: Clips, templates: Templates) -> None:
    motion = clips[-1].motion - templates[clips[-1].speaker] + templates[clips[0].speaker]
    clips[0] = dataclasses.replace(clips[0], motion=motion)


def sound_twice(clips: Clips, _: Templates) -> None:
    clips[0] = dataclasses.replace(clips[0], audio=np.roll(clips[1].audio, 3))


def a_clip_twice(clips: Clips, _: Templates) -> None:
    clips[1] = dataclasses.replace(clips[0], id=clips[1].id)


def mirrored(clips: Clips, _: Templates) -> None:
    clips[0] = dataclasses.replace(clips[0], motion=clips[0].motion * np.array([-1, 1, 1], np.float32))


def clipped(clips: Clips, _: Templates) -> None:
    clips[0] = dataclasses.replace(clips[0], audio=np.clip(4 * clips[0].audio, -1, 1))


def clipped_then_softened_and_resampled(clips: Clips, _: Templates) -> None:
    audio = np.clip(3 * resample_poly(clips[0].audio, 11, 8), -1, 1)
    clips[0] = dataclasses.replace(clips[0], audio=0.3 * resample_poly(audio, 8, 11).astype(np.float32))


def another_face(clips: Clips, _: Templates) -> None:
    bulge = np.zeros_like(clips[0].motion)
    bulge[..., 2] = 0.6 * np.abs(clips[0].motion[..., 0])
    clips[0] = dataclasses.replace(clips[0], motion=clips[0].motion + bulge)


WRONG_FACE = "the face fits the template of speaker S01 better than that of S00"


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (motion_of_another_speaker, [f"error: clip S00_01: {WRONG_FACE}"]),
        (turned_motion_of_another_speaker, [f"error: clip S00_01: {WRONG_FACE}"]),
        (one_vertex_away, ["error: clip S00_01: vertex 77 jumps 50"]),
        (a_frozen_half, ["error: clip S00_01: nothing moves from 2."]),
        (motion_twice, ["warning: clip S00_02: has the motion of clip S00_01"]),
        (motion_twice_on_another_face, ["warning: clip S01_08: has the motion of clip S00_01"]),
        (sound_twice, ["warning: clip S00_02: has the sound of clip S00_01"]),
        (a_clip_twice, ["warning: clip S00_02: is a duplicate of clip S00_01"]),
        (mirrored, ["error: clip S00_01: the motion is mirrored, left and right exchanged"]),
        (clipped, ["warning: clip S00_01: clipped sound: many samples at its peak"]),
        (clipped_then_softened_and_resampled, ["warning: clip S00_01: clipped sound: many samples at its peak"]),
        (another_face, ["error: clip S00_01: the upper face differs in shape from the template by "]),
    ],
)
def test_a_fault_of_a_clip(clean: Source, fault: Fault, found: list[str]) -> None:
    untouched = list(clean.recordings)[:8]
    private = dataclasses.replace(clean, recordings=[dataclasses.replace(c, motion=c.motion.copy()) for c in untouched])
    _, problems = problems_with(private, fault)
    doubts = ("motion minus audio", "upper face moves")  # which some of these faults also cause
    said = [line for line in lines(problems) if not any(doubt in line for doubt in doubts)]
    assert [line[: len(start)] for line, start in zip(said, found, strict=True)] == found
    assert all(problem.fix for problem in problems)


# --- faults of speakers and of all clips


def swapped_templates(_: Clips, templates: Templates) -> None:
    templates["S00"], templates["S01"] = templates["S01"], templates["S00"]


def shared_template(_: Clips, templates: Templates) -> None:
    templates["S01"] = templates["S00"]


def backwards(clips: Clips, *names: str) -> None:
    """Reverse the sound of clips or speakers."""
    for i, clip in enumerate(clips):
        if clip.speaker in names or clip.id in names:
            clips[i] = dataclasses.replace(clip, audio=clip.audio[::-1])


def late(clips: Clips, *names: str) -> None:
    """Delay the sound of clips or speakers by 120 ms; its end is cut off."""
    for i, clip in enumerate(clips):
        if clip.speaker in names or clip.id in names:
            silence = np.zeros(round(0.12 * 16_000), np.float32)
            audio = np.concatenate([silence, clip.audio])[: len(clip.audio)]
            clips[i] = dataclasses.replace(clip, audio=audio)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (swapped_templates, "error: clip S01_14: the face fits the template of speaker S00 better than that of S01"),
        (shared_template, "warning: speaker S01: has the template of speaker S00"),
        (
            lambda c, _: backwards(c, "S01"),
            "error: speaker S01: the sound fits the lips better when",
        ),
        (lambda c, _: backwards(c, "S00", "S01"), "error: data: the sound fits the lips better when"),
        (lambda c, _: late(c, "S00", "S01"), "warning: data: lips open 108 ms before the sound"),
    ],
)
def test_a_fault_of_a_speaker(clean: Source, fault: Fault, found: str) -> None:
    _, problems = problems_with(clean, fault)
    assert any(line.startswith(found) for line in lines(problems))
    assert fault in (swapped_templates, shared_template) or len(problems) == 1
    assert all(problem.fix for problem in problems)


# --- sound of single clips


def sound_of_another(clips: Clips, number: int) -> None:
    """The sound of a clip that is then left out."""
    clips[number] = dataclasses.replace(clips[number], audio=np.resize(clips[-1].audio, len(clips[number].audio)))
    clips.pop()


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda c, i: backwards(c, c[i].id), "error: clip {}: the sound fits the lips better when it is reversed"),
        (lambda c, i: late(c, c[i].id), "warning: clip {}: the sound is 1[0-4]0 ms late against the lips"),
        (sound_of_another, "warning: clip {}: the sound does not fit the lips, compared with all clips"),
    ],
)
def test_the_sound_of_a_clip(clean_and_larger: Source, fault: Callable[[Clips, int], None], found: str) -> None:
    assert problems_with(clean_and_larger, None)[1] == []
    _, problems = problems_with(clean_and_larger, lambda clips, _: fault(clips, 3))
    assert len(problems) == 1
    assert re.match(found.format(list(clean_and_larger.recordings)[3].id), lines(problems)[0])
    assert problems[0].fix


def test_one_of_three_speakers_late(tmp_path: Path) -> None:
    write_folder(tmp_path, 2, speakers=3, sentences=6, fps=FPS, table=False)
    source = read_folder(tmp_path, fps=FPS, mm_per_unit=1.0, lips=tmp_path / "lips.txt")
    _, problems = problems_with(source, lambda clips, _: late(clips, "S01"))
    assert [problem.where for problem in problems] == ["speaker S01"]
    assert re.fullmatch(
        r"the sound is (8|9|10|11)\d? ms late against the lips, compared with all clips", problems[0].what
    )


def test_faults_are_found_in_a_corpus_too(clean: Source, tmp_path: Path) -> None:
    def several(clips: Clips, _: Templates) -> None:
        clips[:] = [dataclasses.replace(clip, motion=clip.motion.copy()) for clip in clips[:8]]
        frozen, jumping, mirrored_one, own = clips[:4]
        half = len(frozen.motion) // 2
        frozen.motion[half:] = frozen.motion[half]
        jumping.motion[20, 77, 1] += 500
        mirrored_one.motion[..., 0] *= -1
        clips[3] = dataclasses.replace(own, audio=np.clip(4 * own.audio, -1, 1))
        clips[5] = dataclasses.replace(clips[4], id=clips[5].id)

    source, problems = problems_with(clean, several)
    write_source(tmp_path / "corpus", source)
    _, again = check_corpus(tmp_path / "corpus")
    assert len(problems) == 5
    assert set(lines(problems)) <= set(lines(again))
    named = {problem.where for problem in again if problem.severity != "note"}
    assert {name for name in named if "clip" in name} == {f"clip S00_0{number}" for number in (1, 2, 3, 4, 6)}


def test_a_corpus_of_coefficients_is_left_alone(tmp_path: Path) -> None:
    size = CorpusSize(
        train_speakers=1, validation_speakers=1, unseen_speakers=0,
        train_sentences=2, seen_test_sentences=1, other_sentences=1,
    )  # fmt: skip
    make_corpus(tmp_path / "corpus", cast_packaged(size, 3), 3, 1.0, jobs=1)
    assert check_corpus(tmp_path / "corpus")[1] == []


# --- the measures


def test_distance_is_of_shapes_laid_on_each_other() -> None:
    rng = np.random.default_rng(0)
    shape, (turn, _) = rng.normal(size=(50, 3)), np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    assert distance(shape, shape @ turn + 3) == pytest.approx(0, abs=1e-6)
    assert distance(shape, shape * [-1, 1, 1]) > 1
    noise = 0.01 * rng.normal(size=shape.shape)
    by_search = min(
        np.sqrt(np.square((shape - shape.mean(0)) @ Rotation.from_rotvec(v).as_matrix() - noisy).sum(1).mean())
        for noisy in [shape + noise - (shape + noise).mean(0)]
        for v in 0.003 * rng.normal(size=(2000, 3))
    )
    assert distance(shape, shape + noise) == pytest.approx(by_search, rel=0.01)
    assert distance(shape, shape + noise) <= by_search


def test_largest_steps() -> None:
    motion = np.random.default_rng(0).normal(size=(9, 5, 3))
    naive = [max(np.linalg.norm(motion[t + 1, v] - motion[t, v]) for v in range(5)) for t in range(8)]
    np.testing.assert_allclose(largest_steps(motion), naive)
    assert len(largest_steps(motion[:1])) == 0
