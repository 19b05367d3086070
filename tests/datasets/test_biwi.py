import logging
import pickle
import shutil
import struct
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learn2talk_core.corpus.format import Corpus, common_duration, open_corpus, write_corpus
from learn2talk_core.datasets import biwi
from learn2talk_core.datasets.biwi import BiwiRecipe, find_sounds, read_biwi, split_of, unit_area
from learn2talk_core.datasets.fixtures_biwi import mask, write_biwi
from learn2talk_core.datasets.settings import guess_dataset
from learn2talk_core.mesh.files import read_mesh
from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.video_file import write_video
from tests.datasets.hidden import with_hidden_files
from tests.mesh.test_area import bumpy

SPEAKERS = ("F2", "M3", "F1")
SENTENCES = (1, 2, 33, 37)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three speakers in both layouts; never changed."""
    root = tmp_path_factory.mktemp("biwi_wav")  # a path with "wav" in it, which FaceFormer's loader would replace
    for layout in ("distribution", "processed"):
        write_biwi(root / layout, 0, layout=layout, speakers=SPEAKERS, sentences=SENTENCES, seconds=0.6)  # type: ignore[arg-type]
    return {"distribution": root / "distribution", "processed": root / "processed"}


@pytest.fixture
def copies(written: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Copies of them that a test may damage."""
    return {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in written.items()}


def corpus_of(folder: Path, out: Path, recipe: BiwiRecipe = "codetalker") -> Corpus:
    source = read_biwi(folder, recipe=recipe)
    write_corpus(out, **{field.name: getattr(source, field.name) for field in fields(source)})
    return open_corpus(out)


def raw_frame(path: Path) -> np.ndarray:
    """Read a `.vl` independently: the last 12 V bytes are the vertices."""
    content = path.read_bytes()
    count = struct.unpack("<I", content[:4])[0]
    return np.array(struct.unpack(f"<{3 * count}f", content[-12 * count :])).reshape(-1, 3)


def by_hand(frame: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """CodeTalker's recipe on one frame (V, 3), triangle by triangle, as in its MATLAB script."""
    turn = np.array([[1, 0, 0], [0, np.cos(np.pi), -np.sin(np.pi)], [0, np.sin(np.pi), np.cos(np.pi)]])
    frame = frame @ turn
    frame = frame - frame.mean(axis=0)
    area = sum(np.linalg.norm(np.cross(frame[b] - frame[a], frame[c] - frame[a])) / 2 for a, b, c in faces)
    return frame / np.sqrt(area)


def test_the_splits_are_faceformers() -> None:
    every = [(s, f"{e}{n:02d}") for s in biwi.SPEAKERS for e in ("", "e") for n in range(1, 41)]
    count = {name: sum(split_of(*key) == name for key in every) for name in ("train", "validation")}
    assert count == {"train": 192, "validation": 24}
    test_a = [key for key in every if split_of(*key) == "test_seen"]
    assert test_a == [(s, f"e{n}") for s in ("F2", "F3", "F4", "M3", "M4", "M5") for n in (37, 38, 39, 40)]
    test_b = [key for key in every if split_of(*key) == "test_unseen"]
    assert len(test_b) == 32
    assert {s for s, _ in test_b} == {"F1", "F5", "F6", "F7", "F8", "M1", "M2", "M6"}
    assert {split_of("F2", f"{n:02d}") for n in range(1, 41)} == {None}, "F2_37 is neutral: in no split"
    assert [split_of(*key) for key in (("F2", "e00"), ("F2", "e41"), ("F1", "e36"), ("X9", "e01"))] == [None] * 4


def test_codetalkers_recipe_against_its_steps(written: dict[str, Path], tmp_path: Path) -> None:
    corpus = corpus_of(written["distribution"], tmp_path / "corpus")
    assert (corpus.fps, corpus.recipe, corpus.train_speakers) == (25.0, "biwi-codetalker", ("F2", "M3"))
    _, faces = read_mesh(written["distribution"] / "rigid_scans" / "F2.obj")
    np.testing.assert_array_equal(corpus.topology.faces, faces)
    for name in ("M3_e01", "F1_e37"):  # a header of 4 bytes each; F2_e02 has 8
        check_frame(corpus, written["distribution"], name, faces)
    check_frame(corpus, written["distribution"], "F2_e02", faces)
    template, _ = read_mesh(written["distribution"] / "rigid_scans" / "M3.obj")
    np.testing.assert_allclose(corpus.templates["M3"], by_hand(template.astype(np.float64), faces), atol=1e-6)


def check_frame(corpus: Corpus, folder: Path, name: str, faces: np.ndarray) -> None:
    clip = next(clip for clip in corpus.clips if clip.id == name)
    motion = corpus.vertices(clip)
    assert len(motion) == 15, "0.6 s at 25 frames a second"
    raw = raw_frame(folder / "faces" / clip.speaker / clip.sentence / "frame_008.vl")
    np.testing.assert_allclose(motion[7], by_hand(raw, faces), atol=1e-6)


def test_y_is_up_and_z_forward(written: dict[str, Path], tmp_path: Path) -> None:
    for recipe in ("codetalker", "metric"):
        corpus = corpus_of(written["distribution"], tmp_path / recipe, recipe)  # type: ignore[arg-type]
        face = corpus.templates["F2"]
        assert face[corpus.topology.regions["upper_face"], 1].mean() > face[corpus.topology.regions["lips"], 1].mean()
        a, b, c = face[corpus.topology.faces].transpose(1, 0, 2)
        assert np.cross(b - a, c - a).sum(axis=0)[2] > 0, "triangles face forward"


def test_processed_and_distributed_give_the_same_corpus(written: dict[str, Path], tmp_path: Path) -> None:
    made = corpus_of(written["distribution"], tmp_path / "a")
    given_ = corpus_of(written["processed"], tmp_path / "b")
    assert [clip.id for clip in made.clips] == [clip.id for clip in given_.clips]
    assert (made.recipe, made.train_speakers, made.fps) == (given_.recipe, given_.train_speakers, given_.fps)
    for one, other in zip(made.clips, given_.clips, strict=True):
        assert one == other
        np.testing.assert_allclose(made.vertices(one), given_.vertices(other), atol=2e-7)
        np.testing.assert_array_equal(made.audio(one), given_.audio(other))
    for name in ("lips", "mouth", "upper_face"):
        np.testing.assert_array_equal(made.topology.regions[name], given_.topology.regions[name])
    np.testing.assert_array_equal(made.topology.faces, given_.topology.faces)


def test_metric_keeps_true_lengths(written: dict[str, Path], tmp_path: Path) -> None:
    corpus = corpus_of(written["distribution"], tmp_path / "corpus", "metric")
    assert (corpus.recipe, corpus.mm_per_unit) == ("biwi-metric", 1000.0)
    clip = next(clip for clip in corpus.clips if clip.id == "M3_e02")
    raw = raw_frame(written["distribution"] / "faces" / "M3" / "e02" / "frame_010.vl")
    rest, _ = read_mesh(written["distribution"] / "rigid_scans" / "M3.obj")
    np.testing.assert_allclose(corpus.templates["M3"].mean(axis=0), 0, atol=1e-7)
    moved = corpus.displacement(clip)[9] * 1000 * [1, -1, -1]
    np.testing.assert_allclose(moved, raw - rest, atol=2e-4)  # millimetres: only rotated
    np.testing.assert_allclose(np.linalg.norm(corpus.vertices(clip)[9][5] - corpus.vertices(clip)[9][900]) * 1000,
                               np.linalg.norm(raw[5] - raw[900]), atol=2e-4)  # fmt: skip


def test_a_unit_in_millimetres(written: dict[str, Path], copies: dict[str, Path]) -> None:
    _, faces = mask()
    sides = []
    for speaker in SPEAKERS:
        p = read_mesh(written["distribution"] / "rigid_scans" / f"{speaker}.obj")[0][faces].astype(np.float64)
        sides.append(np.sqrt(np.linalg.norm(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), axis=1).sum() / 2))
    source = read_biwi(written["distribution"], recipe="codetalker")
    assert source.mm_per_unit == pytest.approx(np.mean(sides), rel=1e-6)
    assert read_biwi(written["processed"], recipe="codetalker").mm_per_unit == 185
    shutil.copytree(written["distribution"] / "rigid_scans", copies["processed"] / "rigid_scans")
    assert read_biwi(copies["processed"], recipe="codetalker").mm_per_unit == pytest.approx(np.mean(sides), rel=1e-6)


def test_templates_that_are_not_in_millimetres(copies: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    path = copies["distribution"] / "rigid_scans" / "F2.obj"
    lines = [line.split() for line in path.read_text().splitlines()]
    metres = [f"v {' '.join(str(float(n) / 1000) for n in f[1:])}" if f[0] == "v" else " ".join(f) for f in lines]
    path.write_text("\n".join(metres))
    read_biwi(copies["distribution"], recipe="codetalker")
    assert "√area of templates is {'F2': 0.1" in caplog.text
    assert "Are these millimetres?" in caplog.text


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.tuples(*3 * [st.floats(-5, 5)]))
def test_unit_area_forgets_scale_and_place(scale: float, shift: tuple[float, float, float]) -> None:
    vertices, faces = bumpy()
    raw = vertices.astype(np.float32)
    moved = (scale * (vertices + np.array(shift))).astype(np.float32)
    once = unit_area(raw.copy(), faces)
    np.testing.assert_allclose(unit_area(moved, faces), once, atol=2e-6)
    np.testing.assert_allclose(
        unit_area((once * [1, -1, -1]).astype(np.float32), faces), once, atol=1e-6
    )  # a second time


def test_neutral_sentences_do_not_enter(written: dict[str, Path], tmp_path: Path) -> None:
    for layout, extra in (("distribution", "faces/F2/37"), ("processed", "vertices_npy/F2_37.npy")):
        assert (written[layout] / extra).exists()
        corpus = corpus_of(written[layout], tmp_path / layout)
        assert [(clip.id, clip.split) for clip in corpus.clips] == [
            ("F2_e01", "train"), ("F2_e02", "train"), ("F2_e33", "validation"), ("F2_e37", "test_seen"),
            ("M3_e01", "train"), ("M3_e02", "train"), ("M3_e33", "validation"), ("M3_e37", "test_seen"),
            ("F1_e37", "test_unseen"),
        ]  # fmt: skip


def test_the_sound_of_e37_is_not_that_of_37(written: dict[str, Path]) -> None:
    for layout, name in (("distribution", "audio/F2_e37_cut.wav"), ("processed", "wav/F2_e37.wav")):
        assert find_sounds(written[layout])["F2", "e37"] == written[layout] / name
        assert find_sounds(written[layout])["F2", "37"] != written[layout] / name


@pytest.mark.parametrize("layout", ["distribution", "processed"])
def test_hidden_files_and_capitals(
    written: dict[str, Path], copies: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str
) -> None:
    folder = copies[layout]
    for path in [path for name in ("rigid_scans", "audio", "wav", "vertices_npy") for path in folder.glob(f"{name}/*")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    found = corpus_of(with_hidden_files(folder), tmp_path / "found")
    assert "not of BIWI's speakers (use" not in caplog.text
    assert found.clips == corpus_of(written[layout], tmp_path / "expected").clips
    assert set(find_sounds(folder)) == set(find_sounds(written[layout]))
    assert guess_dataset(folder) == "biwi"


def test_where_sounds_lie(tmp_path: Path) -> None:
    for name in ("videos/F2_e01.flv", "audio/F2_e01.wav", "audio/F2_e01_cut.wav", "videos/F3_e02.flv",
                 "audio/M1/M1_e03.wav", "audio/M2/04.wav", "wav/M3_e05.wav", "audio/M3_e05_cut.wav",
                 "wav/wave_e01.wav", "wav/F2_e01_old.wav", "wav/AF2_e09.wav"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = {f"{s}_{e}": path.relative_to(tmp_path).as_posix() for (s, e), path in find_sounds(tmp_path).items()}
    assert found == {
        "F2_e01": "audio/F2_e01_cut.wav", "F3_e02": "videos/F3_e02.flv", "M1_e03": "audio/M1/M1_e03.wav",
        "M2_04": "audio/M2/04.wav", "M3_e05": "wav/M3_e05.wav",
    }  # fmt: skip


def test_names_with_wav_in_them_are_named_not_dropped(
    copies: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = copies["processed"]
    shutil.copy(folder / "vertices_npy" / "F2_e01.npy", folder / "vertices_npy" / "wavy_e01.npy")
    shutil.copy(folder / "wav" / "F2_e01.wav", folder / "wav" / "wavy_e01.wav")
    source = read_biwi(folder, recipe="codetalker")
    assert "not of BIWI's speakers (use dataset: folder for them): 1 of 11 sequences: wavy_e01" in caplog.text
    assert [recording.id for recording in source.recordings][:2] == ["F2_e01", "F2_e02"]


def test_what_is_missing_is_named(copies: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = copies["distribution"]
    (folder / "audio" / "M3_e02_cut.wav").unlink()
    with caplog.at_level(logging.INFO, "learn2talk"):
        source = read_biwi(folder, recipe="codetalker")
    assert "no motion for 263 of 272 sequences: F2_e03, F2_e04" in caplog.text
    assert "motion but no sound, therefore left out: 1 of 272 sequences: M3_e02" in caplog.text
    assert "1 sequences are neutral or in no split and are left out" in caplog.text
    assert "the style one-hot covers only F2, M3, not all training speakers" in caplog.text
    assert "BIWI-Test-A: 2 sequences, 30 frames; the published one has 24 and 3879" in caplog.text
    assert "M3_e02" not in [recording.id for recording in source.recordings]


def test_the_checksum_of_test_a(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "learn2talk"):
        biwi.report_test_a(3879, 24)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "24 sequences, 3879 frames, as published" in caplog.text
    biwi.report_test_a(3878, 24)
    biwi.report_test_a(3879, 23)
    assert [record.levelname for record in caplog.records][1:] == ["WARNING", "WARNING"]


def test_archives_give_the_same_as_folders(written: dict[str, Path], tmp_path: Path) -> None:
    write_biwi(tmp_path / "packed", 0, speakers=SPEAKERS, sentences=SENTENCES, seconds=0.6, packed=True)
    assert (tmp_path / "packed" / "faces" / "F2" / "e01.tar").is_file()
    assert not (tmp_path / "packed" / "faces" / "F2" / "e01").exists()
    folders, archives = (read_biwi(f, recipe="metric") for f in (written["distribution"], tmp_path / "packed"))
    for one, other in zip(folders.recordings, archives.recordings, strict=True):
        assert one.id == other.id
        np.testing.assert_array_equal(one.motion, other.motion)
        np.testing.assert_array_equal(one.audio, other.audio)


def test_sound_from_a_video(copies: dict[str, Path]) -> None:
    folder = copies["distribution"]
    wave = (0.3 * np.sin(np.arange(9600) / 20)).astype(np.float32)
    (folder / "audio" / "F2_e01_cut.wav").unlink()
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "F2_e01.mp4", np.zeros((15, 32, 32, 3), np.uint8), 25, wave)
    first = next(iter(read_biwi(folder, recipe="metric").recordings))
    assert first.id == "F2_e01"
    assert np.abs(first.audio).max() > 0.2
    write_video(folder / "videos" / "F2_e01.mp4", np.zeros((15, 32, 32, 3), np.uint8), 25)
    with pytest.raises(BadInput, match=r"F2_e01\.mp4: expected a sound track, found none\. Add the sound as a wav"):
        next(iter(read_biwi(folder, recipe="metric").recordings))


@pytest.mark.parametrize(("offset", "frames", "samples"), [(80.0, 2, 0), (-80.0, 0, 1280), (50.0, 2, 480)])
def test_sound_that_is_moved(written: dict[str, Path], offset: float, frames: int, samples: int) -> None:
    plain = next(iter(read_biwi(written["processed"], recipe="codetalker").recordings))
    moved = next(iter(read_biwi(written["processed"], recipe="codetalker", audio_offset_ms=offset).recordings))
    np.testing.assert_array_equal(moved.motion, plain.motion[frames:])
    np.testing.assert_array_equal(moved.audio, plain.audio[samples:])


def test_sound_longer_than_motion_is_trimmed_not_stretched(copies: dict[str, Path], tmp_path: Path) -> None:
    folder = copies["processed"]
    motion = np.load(folder / "vertices_npy" / "F2_e01.npy")
    np.save(folder / "vertices_npy" / "F2_e01.npy", motion[:9])
    corpus = corpus_of(folder, tmp_path / "corpus")
    clip = corpus.clips[0]
    assert (clip.frames, clip.samples) == common_duration(9, 9600, 25) == (9, 5760)
    np.testing.assert_allclose(corpus.vertices(clip).reshape(9, -1), motion[:9], atol=1e-7)


def test_regions_are_the_published_lists(written: dict[str, Path], tmp_path: Path) -> None:
    source = read_biwi(written["distribution"], recipe="codetalker")
    for name, regions in (("lve", ("lips", "mouth")), ("fdd", ("upper_face",))):
        text = (written["distribution"] / "regions" / f"{name}.txt").read_text()
        for region in regions:
            assert source.topology.regions[region].tolist() == sorted(int(word) for word in text.split(", "))
    lists = shutil.copytree(written["distribution"] / "regions", tmp_path / "elsewhere")
    (lists / "fdd.txt").write_text("7\n3\n3\n")
    again = read_biwi(written["distribution"], recipe="codetalker", regions=lists)
    assert again.topology.regions["upper_face"].tolist() == [3, 7]
    assert {"mouth_view"} < set(again.topology.regions)
    gap = source.templates["F2"][source.topology.lip_pairs][..., 1] * source.mm_per_unit
    assert len(gap) >= 3
    assert (np.abs(gap[:, 0] - gap[:, 1]) < 3).all(), "lips of a face at rest lie within 3 mm of each other"


def test_regions_that_are_missing_or_of_another_mesh(copies: dict[str, Path]) -> None:
    folder = copies["distribution"]
    for name in ("lve", "fdd"):
        kept = (folder / "regions" / f"{name}.txt").read_text()
        (folder / "regions" / f"{name}.txt").write_text(kept + ", 23339")
        with pytest.raises(BadInput, match=rf"{name}\.txt: expected vertex numbers 0 … 2471, found 23339\."):
            read_biwi(folder, recipe="codetalker")
        (folder / "regions" / f"{name}.txt").unlink()
        with pytest.raises(
            BadInput, match=rf"regions/{name}\.txt: expected CodeTalker's list .* Copy BIWI/regions/{name}"
        ):
            read_biwi(folder, recipe="codetalker")
        (folder / "regions" / f"{name}.txt").write_text(kept)


def test_processed_motion_of_another_recipe(copies: dict[str, Path]) -> None:
    folder = copies["processed"]
    with pytest.raises(BadInput, match="for the recipe metric, found vertices_npy, which does not keep the size"):
        read_biwi(folder, recipe="metric")
    path = folder / "vertices_npy" / "F2_e01.npy"
    motion = np.load(path)
    for frame, change in ((4, 1.02), (0, 0.5)):  # one frame of another size; all frames
        other = motion.copy()
        other[frame : frame + 1 if frame else None] *= change
        np.save(path, other)
        with pytest.raises(BadInput, match=rf"F2_e01\.npy, frame {frame}: expected a face of area 1 .*another recipe"):
            list(read_biwi(folder, recipe="codetalker").recordings)
    np.save(path, motion + 0.01)
    with pytest.raises(BadInput, match=r"F2_e01\.npy, frame 0: .* around \[0\.01, 0\.01, 0\.01\]"):
        list(read_biwi(folder, recipe="codetalker").recordings)
    templates = pickle.loads((folder / "templates.pkl").read_bytes())
    (folder / "templates.pkl").write_bytes(pickle.dumps({**templates, "M3": 200 * templates["M3"]}))
    with pytest.raises(BadInput, match=r"templates\.pkl, M3, frame 0: expected a face of area 1"):
        read_biwi(folder, recipe="codetalker")


def test_recipes_have_names(written: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="recipe: expected codetalker or metric, found 'minmax'"):
        read_biwi(written["distribution"], recipe="minmax")  # type: ignore[arg-type]


def test_files_of_another_mesh(copies: dict[str, Path]) -> None:
    folder = copies["distribution"]
    frame = folder / "faces" / "F2" / "e01" / "frame_003.vl"
    frame.write_bytes(struct.pack("<I6f", 2, 1, 2, 3, 4, 5, 6))
    with pytest.raises(BadInput, match=r"frame_003\.vl: expected 2472 vertices, as in the template, found 2\."):
        list(read_biwi(folder, recipe="codetalker").recordings)
    scan = folder / "rigid_scans" / "M3.obj"
    scan.write_text(scan.read_text().replace("f 1/1", "v 1 2 3\nf 1/1", 1))
    with pytest.raises(BadInput, match=r"M3\.obj: expected 2472 vertices, as in the other files, found 2473\..*23370"):
        read_biwi(folder, recipe="codetalker")
    npy = copies["processed"] / "vertices_npy" / "F2_e01.npy"
    np.save(npy, np.zeros((4, 70110)))
    with pytest.raises(BadInput, match=r"F2_e01\.npy: expected 2472 vertices, as in the other files, found 23370\."):
        list(read_biwi(copies["processed"], recipe="codetalker").recordings)


def test_half_a_dataset(copies: dict[str, Path], tmp_path: Path) -> None:
    folder = copies["distribution"]
    (folder / "rigid_scans" / "M3.obj").unlink()
    with pytest.raises(BadInput, match="expected a template of M3, found none"):
        read_biwi(folder, recipe="codetalker")
    shutil.rmtree(folder / "rigid_scans")
    with pytest.raises(BadInput, match=r"rigid_scans: expected templates F1\.obj … M6\.obj, found none"):
        read_biwi(folder, recipe="codetalker")
    (copies["processed"] / "BIWI.ply").unlink()
    with pytest.raises(BadInput, match=r"BIWI\.ply: expected the mesh of BIWI, found nothing"):
        read_biwi(copies["processed"], recipe="codetalker")
    with pytest.raises(BadInput, match="expected the folder of BIWI, found no such folder"):
        read_biwi(tmp_path / "nowhere", recipe="codetalker")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "faces01.tgz").touch()
    with pytest.raises(BadInput, match=r"found faces01\.tgz\. Unpack them first: tar xzf faces01\.tgz"):
        read_biwi(tmp_path / "packed", recipe="codetalker")
    shutil.rmtree(copies["processed"] / "wav")
    with pytest.raises(BadInput, match=r"BIWI\.ply|expected sentences e01 … e32 of F2, F3"):
        read_biwi(copies["processed"], recipe="codetalker")


def test_no_training_sentence(copies: dict[str, Path]) -> None:
    for path in (copies["processed"] / "wav").glob("*_e0*.wav"):
        path.unlink()
    with pytest.raises(BadInput, match=r"expected sentences e01 … e32 of F2, F3, F4, M3, M4, M5, found none of them"):
        read_biwi(copies["processed"], recipe="codetalker")


def test_templates_that_are_not_templates(copies: dict[str, Path]) -> None:
    (copies["processed"] / "templates.pkl").write_bytes(pickle.dumps(["F2"]))
    with pytest.raises(BadInput, match=r"templates\.pkl: expected {speaker: array of vertices}, found a list"):
        read_biwi(copies["processed"], recipe="codetalker")


def test_the_imitation_repeats_itself(written: dict[str, Path], tmp_path: Path) -> None:
    write_biwi(tmp_path / "again", 0, speakers=SPEAKERS, sentences=SENTENCES, seconds=0.6)
    files = sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(written["distribution"]) for p in written["distribution"].rglob("*") if p.is_file()
    )
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (written["distribution"] / file).read_bytes(), file
    sizes = {(tmp_path / "again" / "faces" / "F2" / e / "frame_001.vl").stat().st_size for e in ("e01", "e02")}
    assert sizes == {4 + 12 * 2472, 8 + 12 * 2472}, "both headers"
