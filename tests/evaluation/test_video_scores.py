"""Scores of 2D videos: SyncNet's published numbers from end to end, and bad videos among good ones."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk.cli import main
from learn2talk_core.evaluation.video_scores import VideoJudges, load_video_judges, score_videos, video_records
from learn2talk_core.metrics.cpbd import cpbd
from learn2talk_core.metrics.frechet import frechet_distance
from learn2talk_core.metrics.lse import lse
from learn2talk_core.models.lipreader import LipReader
from learn2talk_core.models.sync_expert2d import SyncExpert2D, audio_embeddings, face_embeddings
from learn2talk_core.models.syncnet2d import SyncNet
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import save_weights
from learn2talk_core.video.face_crops import landmarks_of_box, landmarks_of_crop
from learn2talk_core.video.footage import Film, Footage
from learn2talk_core.video.talking_video import VideoClip, write_talking_video
from learn2talk_core.video.video_file import encode_video, write_video
from tests.golden.fill import Golden, fill_state_dict, uniform, waveform
from tests.models.onnx_file import write_mean_colour


@pytest.fixture(scope="module")
def expert() -> SyncExpert2D:
    torch.manual_seed(0)
    return SyncExpert2D(width=0.05).eval()


@pytest.fixture
def folder(tmp_path: Path, expert: SyncExpert2D, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with its own expert, in which commands are run."""
    save_weights(tmp_path / "data/models/sync_expert", expert, {"width": 0.05})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def talking(seed: int, count: int = 12, size: int = 128) -> np.ndarray:
    """Frames with sharp edges, in part of which the content changes."""
    rng = np.random.default_rng(seed)
    still = rng.integers(0, 256, (8, 8, 3))
    found = np.repeat(still[None], count, axis=0)
    found[:, 5:7, 3:5] = rng.integers(0, 256, (count, 2, 2, 3))
    return np.kron(found, np.ones((1, size // 8, size // 8, 1), int)).astype(np.uint8)


def film(name: str, frames: np.ndarray, audio: np.ndarray | None) -> Film:
    """A film in memory whose whole frame is SyncNet's crop."""
    points = np.repeat(landmarks_of_crop(*frames.shape[1:3])[None], len(frames), axis=0)

    def mouths() -> Iterator[np.ndarray]:
        return iter(frames[:, :96, :96, 1])

    footage = Footage(lambda: iter(frames), points, lambda: iter(frames), mouths, audio)
    return Film(name, Path(name).stem, lambda: iter(frames), lambda: footage)


def test_published_scores_are_the_references() -> None:
    golden = Golden("syncnet", "network")
    network = SyncNet()
    fill_state_dict(network, golden.info["fill"])
    blocks = np.floor(uniform("syncnet-blocks", (40, 28, 28, 3)) * 256).astype(np.uint8)
    faces = np.kron(blocks, np.ones((1, 8, 8, 1), np.uint8))[..., ::-1]
    wave = np.round(waveform(1.6).astype(np.float64) * 32767) / 32768
    table = score_videos([film("golden", faces, wave)], VideoJudges(network.eval()))
    (row,) = table.rows
    assert row["lse_d"] == pytest.approx(golden.info["lse_d"], abs=1e-4)
    assert row["lse_c"] == pytest.approx(golden.info["lse_c"], abs=1e-4)
    assert row["offset"] == golden.info["offset"]
    assert row["lse_d_unpadded"] < row["lse_d"] * 1.5
    assert row["lse_d_unpadded"] != row["lse_d"]
    assert table.protocol["lse_d"]["protocol"].startswith("lse/syncnet_v2: ")
    assert "zero padding" in table.protocol["lse_d"]["protocol"]
    assert table.protocol["lse_d_unpadded"]["protocol"].startswith("lse/syncnet_v2/no-padding")


def test_own_expert_sees_the_faces_of_a_corpus(folder: Path, expert: SyncExpert2D) -> None:
    """The same scores as from the corpus's own face boxes."""
    from learn2talk_core.audio.mel import mel_spectrogram, mel_windows, window_starts
    from learn2talk_core.video.footage import films_of
    from learn2talk_core.video.talking_video import open_talking_video

    clip = VideoClip("c", "s", "", "loss", 20, 12800, (), (16, 16, 112, 112), (30.0, 40.0, 90.0, 100.0))
    write_talking_video(folder / "corpus", [(clip, encode_video(talking(0, 20), 25), waveform(0.8))])
    corpus = open_talking_video(folder / "corpus")
    mels = mel_windows(mel_spectrogram(corpus.audio(clip)), window_starts(20, 25))
    expected = lse(face_embeddings(expert, corpus.faces(clip)), audio_embeddings(expert, mels[:16]), 25)
    films = films_of([folder / "corpus"], lambda: pytest.fail("no face had to be looked for"))
    table = score_videos(films, load_video_judges())
    assert table.rows[0]["lse_d"] == pytest.approx(expected.lse_d, abs=2e-3)
    assert table.rows[0]["lse_c"] == pytest.approx(expected.lse_c, abs=2e-3)
    assert table.rows[0]["offset"] == expected.offset
    assert table.rows[0].keys().isdisjoint({"lse_d_unpadded", "fid", "csim"})
    assert "not comparable with SyncNet" in table.protocol["lse_d"]["protocol"]
    assert table.absent.keys() == {"FID", "CSIM"}


def test_bad_videos_are_named_and_the_others_scored(expert: SyncExpert2D) -> None:
    def broken() -> Footage:
        raise BadInput("b.mp4, frame 3", expected="one face", found="no face", fix="Cut it.")

    voice = waveform(0.5)
    films = [
        film("a", talking(0), voice),
        Film("b", "b", lambda: iter(()), broken),
        film("c", talking(1), None),
        film("d", talking(2, count=5), voice),
        film("e", talking(3), voice),
    ]
    table = score_videos(films, VideoJudges(expert), every=3)
    assert [row["video"] for row in table.rows] == ["a", "e"]
    assert [(problem["video"], problem["error"].split(".")[0]) for problem in table.problems] == [
        ("b", "b"),
        ("c", "c: expected a sound track, found none"),
        ("d", "d: expected more than 5 frames with sound, found 5"),
    ]
    assert "frame 3: expected one face, found no face" in table.problems[0]["error"]
    assert table.mean["videos"] == 2
    assert table.mean["frames"] == 24
    for key in ("lse_d", "lse_c", "cpbd"):
        assert table.mean[key] == pytest.approx((table.rows[0][key] + table.rows[1][key]) / 2)
    greys = [np.dot(frame, [0.299, 0.587, 0.114]).round().astype(np.uint8) for frame in talking(0)[::3]]
    assert table.rows[0]["cpbd"] == pytest.approx(np.mean([cpbd(grey) for grey in greys]), abs=0.02)
    assert [row["video"] for row in video_records(table)] == ["a", "e", "mean"]
    assert score_videos(films[1:2], VideoJudges(expert)).rows == []


def test_distance_of_sets_and_identity(tmp_path: Path, expert: SyncExpert2D) -> None:
    write_mean_colour(tmp_path / "mean.onnx")
    torch.manual_seed(0)
    reader = LipReader(5, width=2, dim=16, heads=2, hidden=16, encoder_layers=1, decoder_layers=1, kernel=3).eval()
    judges = VideoJudges(expert, reader=reader, embed=load_arcface_of(tmp_path), recogniser="mean")
    voice = waveform(0.5)
    films = [film("a", talking(0), voice), film("b", talking(1), voice)]
    table = score_videos(films, judges, reference=films, every=2)
    assert table.mean["mouth_distance"] == pytest.approx(0, abs=1e-6)
    assert table.mean["pictures"] == table.mean["reference_pictures"] == 12
    assert table.mean["csim"] == pytest.approx(1)
    assert "fid" not in table.mean
    assert table.protocol["mouth_distance"]["name"] != "FID"
    assert table.protocol["mouth_distance"]["protocol"].endswith("not FID")
    assert table.protocol["csim"]["protocol"].startswith("csim/mean: ")
    assert list(table.absent) == ["FID"]

    still = film("a", np.full((1, 128, 128, 3), [255, 0, 127], np.uint8), None)
    others = [still, film("b", talking(1)[:, :, ::-1], None)]
    table = score_videos(films, judges, reference=others, every=2)
    seen, true = (torch.cat([mouth_features(reader, each) for each in sets]).numpy() for sets in (films, others))
    assert table.mean["mouth_distance"] == pytest.approx(frechet_distance(seen, true), rel=1e-4)
    assert table.mean["reference_pictures"] == 7
    assert -1 < table.rows[0]["csim"] < 0.9
    table = score_videos(films, judges, reference=others[:1])
    assert [row["video"] for row in table.rows] == ["a"]
    assert "mouth_distance" not in table.mean  # one still has no spread
    assert "b: expected a true face of the same name in --reference, found none" in table.problems[0]["error"]


def mouth_features(reader: LipReader, each: Film) -> torch.Tensor:
    mouths = torch.from_numpy(np.stack(list(each.open().mouths())))[None].float() / 255
    with torch.inference_mode():
        return reader.features(mouths, "frontend")[0, ::2]


def load_arcface_of(folder: Path) -> object:
    from learn2talk_core.models.arcface import load_arcface

    return load_arcface(folder / "mean.onnx")


class MeanColour(torch.nn.Module):
    """A replacement for Inception with three features."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


def test_fid_is_of_whole_pictures_of_all_videos(expert: SyncExpert2D) -> None:
    """FID needs no face in the reference videos; videos that cannot be scored are not part of the set."""

    def no_face() -> Footage:
        raise BadInput("r", expected="one face", found="no face", fix="Cut it.")

    voice = waveform(0.5)
    films = [film("a", talking(0), voice), film("silent", talking(9), None), film("b", talking(1), voice)]
    reference = [Film("r", "r", lambda: iter(talking(4, count=7)), no_face)]
    table = score_videos(films, VideoJudges(expert, inception=MeanColour()), reference=reference, every=1)  # type: ignore[arg-type]
    seen = np.concatenate([talking(0), talking(1)]).mean(axis=(1, 2)) / 255
    true = talking(4, count=7).mean(axis=(1, 2)) / 255
    assert table.mean["fid"] == pytest.approx(frechet_distance(seen, true), rel=1e-4)
    assert (table.mean["pictures"], table.mean["reference_pictures"]) == (24, 7)
    assert "inception-2015-12-05" in table.protocol["fid"]["protocol"]
    assert "every frame" in table.protocol["fid"]["protocol"]
    assert list(table.absent) == ["CSIM"]
    assert "fid" not in table.rows[0]


def test_bad_reference_videos_are_named_and_the_others_used(expert: SyncExpert2D) -> None:
    def torn() -> Iterator[np.ndarray]:
        raise BadInput("r.mp4", expected="a video", found="a part of one", fix="Copy it again.")

    films = [film("a", talking(0), waveform(0.5))]
    real = film("real", talking(4), None)
    bad = Film("bad", "bad", torn, real.open)
    judges = VideoJudges(expert, inception=MeanColour())  # type: ignore[arg-type]
    table = score_videos(films, judges, reference=[bad, real], every=1)
    assert [problem["video"] for problem in table.problems] == ["reference bad"]
    assert table.mean["fid"] == score_videos(films, judges, reference=[real], every=1).mean["fid"]
    table = score_videos(films, judges, reference=[bad])
    assert "fid" not in table.mean
    assert table.absent["FID"] == "a video that can be scored and two pictures or more in --reference"
    assert table.rows[0]["lse_d"] > 0


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video("good/one.mp4", talking(0), 25, waveform(0.5))
    write_video("good/two.mp4", talking(1), 25, waveform(0.5))
    assert main(["score-video", "good", "--crops", "--csv", "out/t.csv", "--json", "out/t.json"]) == 0
    printed = capsys.readouterr().out
    assert "good/one.mp4" in printed
    assert "LSE-D: lse/own-expert" in printed
    assert "FID: not computed, needs its Inception (--inception) and real videos (--reference)" in printed
    with open("out/t.csv") as file:
        rows = list(csv.DictReader(file))
    written = json.loads(Path("out/t.json").read_text())
    assert [row["video"] for row in rows] == ["good/one.mp4", "good/two.mp4", "mean"]
    assert float(rows[0]["lse_d"]) == pytest.approx(written["rows"][0]["lse_d"])
    assert float(rows[2]["cpbd"]) == pytest.approx(written["mean"]["cpbd"])
    assert written["problems"] == []

    write_video("bad/silent.mp4", talking(0), 25)
    Path("bad/torn.mp4").write_bytes(Path("good/one.mp4").read_bytes()[:900])
    words = ["score-video", "bad", "good/one.mp4", "nowhere.mp4", "--crops", "--json", "out/b.json"]
    assert main(words) == 1
    out, errors = capsys.readouterr()
    assert "good/one.mp4" in out
    assert "bad/silent.mp4: not scored: bad/silent.mp4: expected a sound track, found none" in errors
    assert "bad/torn.mp4: not scored: bad/torn.mp4: expected a complete video that ffmpeg can read" in errors
    assert "nowhere.mp4: not scored: nowhere.mp4: expected a video file, found no such file" in errors
    assert len(json.loads(Path("out/b.json").read_text())["problems"]) == 3


def test_command_says_what_is_wrong_with_its_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video("one.mp4", talking(0), 25, waveform(0.5))
    assert main(["score-video", "one.mp4", "--every", "0"]) == 1
    assert "--every: expected at least 1, found 0" in capsys.readouterr().err
    torch.save({"a": torch.zeros(1)}, "w.model")
    assert main(["score-video", "one.mp4", "--crops", "--syncnet", "w.model"]) == 1
    assert "w.model: expected the weights of SyncNet, found no " in capsys.readouterr().err
    assert main(["score-video", "one.mp4", "--crops", "--inception", "w.model"]) == 1
    assert "the weights of FID's Inception" in capsys.readouterr().err


def test_without_any_expert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["score-video", "one.mp4"]) == 1
    assert "Make it first: dvc repro teacher, or give the published one with --syncnet" in capsys.readouterr().err


def test_mean_face_fits_both_ways() -> None:
    """A face box inside SyncNet's crop: brows to chin in its upper half, the mouth above its middle line."""
    points = landmarks_of_crop(224, 224)
    assert 50 < points[:2, 1].mean() < 80
    assert 100 < points[3, 1] < 150
    boxed = landmarks_of_box((0, 0, 96, 96))
    scale = np.linalg.norm(boxed[1] - boxed[0]) / np.linalg.norm(points[1] - points[0])
    np.testing.assert_allclose(boxed - boxed[0], (points - points[0]) * scale, atol=1e-6)
