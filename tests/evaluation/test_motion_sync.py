"""`learn2talk score` from files to sentences, on motions whose lag is known."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from learn2talk.cli import main
from learn2talk_core.animation.animation import Animation
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.evaluation.lag_confidence import Calibration, confidence, load_calibration, save_calibration
from learn2talk_core.evaluation.motion_sync import (
    Scorer,
    SyncScore,
    mesh_embeddings,
    open_scorer,
    score_animation,
    score_files,
    score_motion,
    verdict,
    window_loudness,
)
from learn2talk_core.export.vertices import write_npz
from learn2talk_core.metrics.lse import lse
from learn2talk_core.models.sync_expert2d import SyncExpert2D
from learn2talk_core.models.syncnet3d import SyncNet3D, audio_windows, config
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import save_weights
from learn2talk_core.video.video_file import write_video
from scripts import calibrate_score
from tests.talk import talk, trained
from tests.toy import FPS, sheet

FRAME = 1000 / FPS


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a toy corpus, a SyncNet3D trained on it, and its calibration."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        corpus, syncnet = trained(folder, patch)
    words = ["--corpus", str(corpus.folder), "--syncnet", str(syncnet), "--out", str(folder / "c.json")]
    calibrate_score.main([*words, "--lags", "12"])
    return folder


@pytest.fixture(scope="module")
def scorer(project: Path) -> Scorer:
    return open_scorer(project / "syncnet", project / "corpus", project / "c.json")


def judged(scorer: Scorer, late_ms: float = 0.0, **how: float) -> SyncScore:
    wave, motion = talk(late_ms, **how)
    ids = scorer.corpus.topology.regions["mouth"]
    return score_motion(scorer, wave, motion[:, ids], sheet()[ids], how.get("fps", FPS))


@pytest.mark.parametrize("late", [-300.0, -67.0, 0.0, 50.0, 233.0])
@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_known_lags_are_found_with_their_sign(scorer: Scorer, late: float, fps: float) -> None:
    found = judged(scorer, late, fps=fps)
    assert found.mouth_late_ms == pytest.approx(late, abs=FRAME)
    assert found.seconds == pytest.approx(3.0, abs=0.1)
    assert found.confidence is not None
    assert found.confidence > 0.5
    assert found.shifts_ms[np.nanargmin(found.distances)] == pytest.approx(late, abs=FRAME)


def test_lse_is_that_of_the_result_table(scorer: Scorer) -> None:
    wave, motion = talk(40.0)
    ids = scorer.corpus.topology.regions["mouth"]
    with torch.no_grad():
        mesh = scorer.syncnet.embed_mesh(torch.from_numpy(motion[:, ids] - sheet()[ids])[None])[0].numpy()
        audio = scorer.syncnet.embed_audio(torch.from_numpy(audio_windows(wave, FPS))).numpy()
    table, found = lse(mesh, audio, FPS), judged(scorer, 40.0)
    assert (found.lse_d, found.lse_c) == pytest.approx((table.lse_d, table.lse_c), abs=1e-5)


def test_a_mouth_that_speaks_something_else_has_no_lag(scorer: Scorer) -> None:
    ids = scorer.corpus.topology.regions["mouth"]
    sure = []
    for seed in range(6):
        wave, _ = talk(seed=50 + seed)
        _, motion = talk(seed=90 + seed)
        sure.append(score_motion(scorer, wave, motion[:, ids], sheet()[ids], FPS).confidence)
    right = [judged(scorer, 30.0, seed=seed).confidence for seed in range(6)]
    assert np.mean(sure) < np.mean(right) - 0.3
    still = np.repeat(sheet()[None, ids], 90, axis=0)
    found = score_motion(scorer, talk()[0], still, sheet()[ids], FPS)
    assert found.confidence is not None
    assert found.confidence < 0.5
    assert verdict(found).startswith("the lag is uncertain (best guess: the mouth is ")


def test_a_moving_head_changes_no_score(scorer: Scorer, project: Path, tmp_path: Path) -> None:
    """In memory and by files; the same motion as an animation whose states are its own frames."""
    wave, motion = talk(60.0)
    still = Animation(
        states=np.eye(len(motion), dtype=np.float32),
        basis=motion - sheet(),
        offset=np.zeros_like(sheet()),
        template=sheet(),
        fps=FPS,
        mm_per_unit=1000,
        topology=scorer.corpus.topology,
        wave=wave,
    )
    pose = np.random.default_rng(0).normal(0, 0.1, (len(motion), 6)).astype(np.float32)
    moved = replace(still, pose=pose, pivot=np.array([0, -0.1, -0.1], np.float32))
    expected, found = judged(scorer, 60.0), score_animation(moved, scorer)
    assert (found.lse_d, found.lse_c) == pytest.approx((expected.lse_d, expected.lse_c), abs=1e-5)
    assert found.mouth_late_ms == pytest.approx(expected.mouth_late_ms, abs=0.1)
    write_npz(tmp_path / "a", moved)
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    by_file = score_files(tmp_path / "a.wav", tmp_path / "a.npz", scorer)
    assert by_file.lse_d == pytest.approx(expected.lse_d, abs=1e-4)
    other = replace(moved, topology=replace(moved.topology, faces=moved.topology.faces[1:]))
    with pytest.raises(BadInput, match=r"animation: expected the mesh of .*, found another one, of 64 vertices"):
        score_animation(other, scorer)


@pytest.mark.parametrize("kind", ["noise", "music"])
def test_what_is_no_speech_has_no_lag(scorer: Scorer, kind: str) -> None:
    ids = scorer.corpus.topology.regions["mouth"]
    time = np.arange(48000) / 16000
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6))
    sounds = {
        "noise": 0.2 * np.random.default_rng(3).normal(size=48000),
        "music": 0.1 * (1.5 - np.cos(4 * np.pi * time)) * tones,
    }
    found = score_motion(scorer, sounds[kind].clip(-1, 1).astype(np.float32), talk()[1][:, ids], sheet()[ids], FPS)
    assert found.confidence is not None
    assert found.confidence < 0.5


def test_the_curve_shows_where_the_lag_changes(scorer: Scorer) -> None:
    wave, early = talk(-100.0, seconds=9.0)
    late = talk(200.0, seconds=9.0)[1]
    ids = scorer.corpus.topology.regions["mouth"]
    motion = np.concatenate([early[:135], late[135:]])[:, ids]
    rows = score_motion(scorer, wave, motion, sheet()[ids], FPS).curve
    assert [row["time_s"] for row in rows[:2]] == pytest.approx([1.083, 1.35], abs=0.02)
    before = [row["mouth_late_ms"] for row in rows if row["time_s"] < 3.4]
    after = [row["mouth_late_ms"] for row in rows if row["time_s"] > 5.7]
    assert np.median(before) == pytest.approx(-100, abs=FRAME)
    assert np.median(after) == pytest.approx(200, abs=FRAME)


def test_silence_between_words_has_no_lag_of_its_own(scorer: Scorer) -> None:
    wave, motion = talk(80.0, seconds=9.0)
    wave[3 * 16000 : 6 * 16000] = 0
    ids = scorer.corpus.topology.regions["mouth"]
    found = score_motion(scorer, wave, motion[:, ids], sheet()[ids], FPS)
    assert found.mouth_late_ms == pytest.approx(80, abs=FRAME)
    quiet = [row for row in found.curve if 4.3 < row["time_s"] < 4.7]
    assert quiet
    assert all(row["mouth_late_ms"] is row["confidence"] is None and row["speech"] == 0 for row in quiet)


def test_what_training_did_not_have_is_said(scorer: Scorer) -> None:
    wave, motion = talk()
    ids = scorer.corpus.topology.regions["mouth"]
    assert not [text for text in judged(scorer).outside if "mouth moves" in text or "across" in text]
    small = score_motion(scorer, wave, sheet()[ids] + 0.02 * (motion[:, ids] - sheet()[ids]), sheet()[ids], FPS)
    assert any(text.startswith("the mouth moves by ") and ", in training " in text for text in small.outside)
    faint = score_motion(scorer, 0.003 * wave, motion[:, ids], sheet()[ids], FPS)
    assert any("dB of full scale, in training" in text for text in faint.outside)
    moved = score_motion(scorer, wave, motion[:, ids] + np.float32(0.03), sheet()[ids], FPS)
    assert any("the mouth rests" in text for text in moved.outside)
    large = score_motion(scorer, wave, 1.5 * motion[:, ids], 1.5 * sheet()[ids], FPS)
    assert any("mm across" in text for text in large.outside)


@pytest.mark.parametrize(
    ("seconds", "motion_seconds", "said"),
    [
        (0.8, 0.8, r"expected at least 1 s of motion with its sound, found 0\.80 s\. Join"),
        (0.1, 0.1, r"found 0\.10 s"),
        (3.0, 2.0, r"expected motion and sound of the same length, found 2\.00 s of motion at 30 frames a second and "
         r"3\.00 s of sound\. To compare only their common duration from the start: --trim"),
        (3.6, 3.0, r"At 25 frames a second they would be equal \(--fps\)\. To compare"),
    ],
)  # fmt: skip
def test_lengths_that_do_not_do(scorer: Scorer, seconds: float, motion_seconds: float, said: str) -> None:
    ids = scorer.corpus.topology.regions["mouth"]
    wave, motion = talk(seconds=seconds)[0], talk(seconds=motion_seconds)[1]
    with pytest.raises(BadInput, match=said):
        score_motion(scorer, wave, motion[:, ids], sheet()[ids], FPS)


def test_small_differences_are_cut_and_said(scorer: Scorer) -> None:
    ids = scorer.corpus.topology.regions["mouth"]
    wave, motion = talk(100.0)[0], talk(100.0)[1][:80]
    found = score_motion(scorer, wave, motion[:, ids], sheet()[ids], FPS)
    assert "2.67 s of motion at 30 frames a second and 3.00 s of sound: the longer one was trimmed" in found.notes
    assert found.mouth_late_ms == pytest.approx(100, abs=FRAME)
    half = score_motion(scorer, wave, motion[:40, ids], sheet()[ids], FPS, trim=True)
    assert half.seconds < 1.4


def test_sound_without_speech(scorer: Scorer) -> None:
    ids = scorer.corpus.topology.regions["mouth"]
    wave, motion = talk()
    wave[:] = 0
    wave[-100:] = 0.5  # a click at the end, where no complete window remains
    with pytest.raises(BadInput, match=r"expected speech, found \d windows of sound that is loud enough"):
        score_motion(scorer, wave, motion[:, ids], sheet()[ids], FPS)


def test_long_clips_are_embedded_in_pieces(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = scorer.corpus.topology.regions["mouth"]
    displacement = talk()[1][:, ids] - sheet()[ids]
    whole = mesh_embeddings(scorer.syncnet, displacement)
    monkeypatch.setattr("learn2talk_core.evaluation.motion_sync.BATCH", 17)
    np.testing.assert_allclose(mesh_embeddings(scorer.syncnet, displacement), whole, atol=1e-5)
    assert mesh_embeddings(scorer.syncnet, displacement[:5]).shape == (0, 32)


def test_loudness_by_hand() -> None:
    wave = np.zeros(16000, np.float32)
    wave[8000:] = 0.1
    level = window_loudness(wave, 30)
    assert len(level) == 30
    assert level[0] == pytest.approx(-100)
    assert level[15] == pytest.approx(-20)
    assert level[12] == pytest.approx(-20 + 10 * np.log10(0.5))  # half of it


def test_sentences() -> None:
    empty = np.zeros(0)
    plain = SyncScore(3.0, 0.5, 0.6, 67.3, 0.97, FRAME, empty, empty, [], (), ())
    assert verdict(plain) == "the mouth is 67 ms late, confidence 0.97"
    assert verdict(replace(plain, mouth_late_ms=-67.3, confidence=None)) == "the mouth is 67 ms early"
    in_sync = "in sync: the mouth is 3 ms late, less than half a frame, confidence 0.97"
    assert verdict(replace(plain, mouth_late_ms=3.0)) == in_sync
    unsure = "the lag is uncertain (best guess: the mouth is 67 ms late, confidence 0.20)"
    assert verdict(replace(plain, confidence=0.2)) == unsure
    assert verdict(replace(plain, mouth_late_ms=None)) == "too little speech to measure a lag"


def test_only_the_judge_of_this_corpus_may_judge(project: Path, scorer: Scorer, tmp_path: Path) -> None:
    other = SyncNet3D(replace(scorer.syncnet.shape, non_negative=True))
    save_weights(tmp_path / "loss", other, config(other, "toy"))
    with pytest.raises(BadInput, match="expected the SyncNet3D of the metric, found the one of the loss"):
        open_scorer(tmp_path / "loss", project / "corpus")
    other = SyncNet3D(replace(scorer.syncnet.shape, vertices=20))
    save_weights(tmp_path / "small", other, config(other, "toy"))
    with pytest.raises(BadInput, match="a network for 32 vertices of the mouth, found one for 20"):
        open_scorer(tmp_path / "small", project / "corpus")
    save_weights(tmp_path / "other", scorer.syncnet, config(scorer.syncnet, "biwi-metric"))
    with pytest.raises(BadInput, match="found one for biwi-metric"):
        open_scorer(tmp_path / "other", project / "corpus")


def test_a_calibration_of_something_else(project: Path, tmp_path: Path) -> None:
    without = open_scorer(project / "syncnet", project / "corpus")  # the package's is for the embedded corpus
    assert without.calibration is None
    assert judged(without).confidence is None
    assert judged(without).notes[0].startswith("no confidence: calibrated for embedded, not toy")
    with pytest.raises(BadInput, match="expected a calibration for toy, found one for embedded"):
        save_calibration(tmp_path / "c.json", load_calibration())
        open_scorer(project / "syncnet", project / "corpus", tmp_path / "c.json")
    known = load_calibration(project / "c.json")
    save_calibration(tmp_path / "c.json", replace(known, network="0" * 64))
    retrained = open_scorer(project / "syncnet", project / "corpus", tmp_path / "c.json")
    assert retrained.notes == ("the confidence was calibrated for other weights of the same network",)


def test_the_calibration_says_where_it_comes_from(project: Path) -> None:
    found = load_calibration(project / "c.json")
    assert isinstance(found, Calibration)
    assert found.recipe == "toy"
    assert found.about["command"] == "python -m scripts.calibrate_score --lags 12 --seed 0"
    assert found.about["fitted_on"]["split"] == "validation"
    assert found.about["reliability"]["cases"] > 50
    assert len(found.network) == 64


def test_recordings_of_people_take_part_in_the_calibration(project: Path, tmp_path: Path) -> None:
    """Six pairs whose mouths move less than those of the corpus: without them their lags are thought to be unclear."""
    for number in range(6):
        wave, motion = talk(0.0, seconds=4.0, seed=50 + number)
        rest = sheet()
        quieter = rest + 0.4 * (motion - rest) + 1.5e-4 * np.random.default_rng(number).normal(size=motion.shape)
        soundfile.write(tmp_path / f"p{number}.wav", wave, 16000)
        about = {"fps": FPS, "template": "A", "mm_per_unit": 1000}
        np.savez(tmp_path / f"p{number}.npz", vertices=quieter.astype(np.float32), **about)
    words = ["--corpus", str(project / "corpus"), "--syncnet", str(project / "syncnet"), "--lags", "12"]
    calibrate_score.main([*words, "--pairs", str(tmp_path), "--out", str(tmp_path / "c.json")])
    plain, with_people = load_calibration(project / "c.json"), load_calibration(tmp_path / "c.json")
    assert with_people.about["fitted_on"]["cases"] > plain.about["fitted_on"]["cases"]
    assert [scale.about["fitted_on"]["recordings"] for scale in (plain, with_people)] == [0, 3]
    assert with_people.about["command"].endswith(f" --lags 12 --seed 0 --pairs {tmp_path.name}")
    assert with_people.about["reliability_on_recordings"]["cases"] > 20
    corpus = open_corpus(project / "corpus")
    before = Scorer(corpus, open_scorer(project / "syncnet", project / "corpus").syncnet, plain)
    people = calibrate_score.recorded(corpus, [str(tmp_path)], None, None)[1::2]
    tried, right = calibrate_score.try_lags(before, people, 12, 0)
    stated = [np.array([confidence(scale, found) for found in tried]) for scale in (plain, with_people)]
    brier = [np.mean((one - right) ** 2) for one in stated]
    assert brier[1] <= brier[0] + 1e-3


def test_sounds_that_are_moved_for_the_calibration_have_the_lag_they_should(scorer: Scorer) -> None:
    corpus = scorer.corpus
    clip = max(corpus.clips, key=lambda clip: clip.frames)
    for late in (-7.0, -2.5, 0.0, 1.25, 6.0):
        wave, mouth = calibrate_score.shifted(FPS, calibrate_score.in_sync(corpus, clip), late)
        original = corpus.audio(clip)
        first = round((corpus.vertices(clip, "mouth") == mouth[0]).all(axis=(1, 2)).argmax())
        places = np.lib.stride_tricks.sliding_window_view(original, 20)
        cut = np.flatnonzero((places == wave[:20]).all(axis=1))[0] / 16000 * FPS
        assert cut - first == pytest.approx(late, abs=0.01)
        assert abs(len(wave) / 16000 - len(mouth) / FPS) < 1e-3


def write_pair(folder: Path, name: str, late_ms: float, **how: float) -> None:
    wave, motion = talk(late_ms, **how)
    soundfile.write(folder / f"{name}.wav", wave, 16000)
    np.savez(folder / f"{name}.npz", vertices=motion, fps=how.get("fps", FPS), template="A")


def command(project: Path, *words: str) -> list[str]:
    own = ["--corpus", str(project / "corpus"), "--syncnet", str(project / "syncnet")]
    return ["score", *words, *own, "--calibration", str(project / "c.json")]


def test_one_pair_by_the_command(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wave, motion = talk(100.0)
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    np.save(tmp_path / "m.npy", motion.reshape(len(motion), -1))
    pair = ["--audio", str(tmp_path / "a.wav"), "--motion", str(tmp_path / "m.npy")]
    out = ["--out", str(tmp_path / "out")]
    assert main(command(project, *pair, "--fps", "30", "--template", "A", *out)) == 0
    said = capsys.readouterr().out
    assert said.startswith("m: the mouth is ")
    assert " ms late, confidence 0." in said or " ms late, confidence 1." in said
    with open(tmp_path / "out/m.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["mouth_late_ms"]) == pytest.approx(100, abs=FRAME)
    assert (tmp_path / "out/m.png").read_bytes().startswith(b"\x89PNG")
    assert main(command(project, *pair)) == 1
    assert "m: not scored: " in (error := capsys.readouterr().err)
    assert "expected a frame rate, found none. Give --fps" in error
    assert main(["score"]) == 1
    assert "score: expected something to score, found nothing. Give --audio" in capsys.readouterr().err
    assert main(["score", "--audio", "a.wav"]) == 1
    assert "expected one --audio for each --motion, found 1 sounds and 0 motions" in capsys.readouterr().err


def test_a_folder_with_bad_ones_among_good_ones(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_pair(data, "a", 0.0)
    write_pair(data, "b", -150.0, fps=25.0)
    write_pair(data, "c", 0.0)
    soundfile.write(data / "c.wav", np.zeros(48000), 16000)
    write_pair(data, "d", 0.0)
    (data / "d.wav").write_text("not a sound")
    assert main(command(project, str(data), "--csv", str(tmp_path / "scores.csv"))) == 1
    error = capsys.readouterr().err
    assert "c.wav: expected speech, found silence" in error
    assert "d: not scored: " in error
    with open(tmp_path / "scores.csv") as file:
        rows = {row["pair"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["a", "b", "c", "d"]
    assert float(rows["a"]["mouth_late_ms"]) == pytest.approx(0, abs=FRAME)
    assert float(rows["b"]["mouth_late_ms"]) == pytest.approx(-150, abs=FRAME)
    assert rows["c"]["mouth_late_ms"] == ""
    assert "silence" in rows["c"]["error"]
    assert rows["a"]["error"] == ""


def test_nothing_is_written_of_a_pair_that_fails(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path, "a", 0.0)
    (tmp_path / "a.npz").write_bytes(b"PK")
    assert main(command(project, str(tmp_path), "--out", str(tmp_path / "out"))) == 1
    assert "expected a whole .npz of numbers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_video_goes_to_the_2d_expert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_weights("data/models/sync_expert", SyncExpert2D(width=0.05), {"width": 0.05})
    frames = np.random.default_rng(0).integers(0, 256, (30, 128, 128, 3)).astype(np.uint8)
    write_video("film.mp4", frames, 25, talk(seconds=1.2)[0])
    assert main(["score", "film.mp4", "--crops", "--csv", "s.csv"]) == 0
    assert "film.mp4: the mouth is " in capsys.readouterr().out
    with open("s.csv") as file:
        row = next(csv.DictReader(file))
    assert float(row["mouth_late_ms"]) % 40 == 0
    assert row["seconds"] == "1.2"
    assert row["confidence"] == ""
    Path("film.mp4").write_bytes(Path("film.mp4").read_bytes()[:200])
    assert main(["score", "film.mp4", "--crops"]) == 1
    assert "film.mp4: not scored: film.mp4: expected a complete video that ffmpeg can read" in capsys.readouterr().err
