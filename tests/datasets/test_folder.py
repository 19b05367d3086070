import json
import logging
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from learn2talk_core.corpus.format import open_corpus, write_corpus
from learn2talk_core.datasets.fixtures_folder import write_folder
from learn2talk_core.datasets.folder import ClipEntry, default_splits, read_folder, split_clips
from learn2talk_core.datasets.settings import guess_dataset
from learn2talk_core.datasets.source import Source
from learn2talk_core.mesh.files import write_mesh
from learn2talk_core.run.errors import BadInput
from tests.datasets.hidden import with_hidden_files
from tests.toy import SIDE, sheet, topology

TOPOLOGY = topology()
LIPS = TOPOLOGY.regions["lips"]


def motion(frames: int, seed: int = 0) -> np.ndarray:
    return sheet() + np.random.default_rng(seed).normal(0, 1e-4, (frames, SIDE * SIDE, 3)).astype(np.float32)


def wave(seconds: float, rate: int = 16000, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).normal(size=(round(seconds * rate), channels)).clip(-3, 3)


def toy_folder(folder: Path, names: list[str], *, frames: int = 25, rate: int = 16000, flat: bool = True) -> Path:
    """FaceFormer's layout: one second of motion at 25 fps per clip."""
    for part in ("vertices_npy", "wav", "templates"):
        (folder / part).mkdir(parents=True)
    for i, name in enumerate(names):
        made = motion(frames, i)
        np.save(folder / "vertices_npy" / f"{name}.npy", made.reshape(frames, -1) if flat else made.astype(np.float64))
        soundfile.write(folder / "wav" / f"{name}.wav", wave(frames / 25, rate), rate)
    (folder / "templates.pkl").write_bytes(pickle.dumps({name.rsplit("_", 1)[0]: sheet() for name in names}, 2))
    write_mesh(folder / "templates" / "face.obj", sheet(), TOPOLOGY.faces)
    (folder / "lips.txt").write_text(" ".join(map(str, LIPS)))
    return folder


def opened(folder: Path, **changes) -> Source:
    return read_folder(folder, **{"fps": 25, "mm_per_unit": 1000, "lips": folder / "lips.txt", **changes})


def stored(folder: Path, source: Source):
    write_corpus(
        folder, source.recordings, topology=source.topology, templates=source.templates,
        train_speakers=source.train_speakers, fps=source.fps, mm_per_unit=source.mm_per_unit, recipe=source.recipe,
    )  # fmt: skip
    return open_corpus(folder)


def test_faceformers_layout(tmp_path):
    names = [f"{who}_{n:02d}" for who in ("ann_lee", "bob") for n in range(1, 8)]
    source = opened(toy_folder(tmp_path / "data", names))
    corpus = stored(tmp_path / "corpus", source)
    assert sorted(clip.id for clip in corpus.clips) == sorted(names)
    assert {clip.speaker for clip in corpus.clips} == {"ann_lee", "bob"}
    assert corpus.train_speakers == ("ann_lee", "bob")
    assert (corpus.fps, corpus.mm_per_unit, corpus.recipe) == (25, 1000, "folder")
    assert Counter(clip.split for clip in corpus.clips) == {"train": 6, "validation": 4, "test_seen": 4}
    clip = next(clip for clip in corpus.clips if clip.id == "bob_03")
    np.testing.assert_array_equal(corpus.vertices(clip), motion(25, names.index("bob_03")))
    assert (clip.frames, clip.samples) == (25, 16000)


def test_three_dimensional_arrays_any_rate_and_stereo(tmp_path):
    data = toy_folder(tmp_path / "data", ["a_1", "a_2", "a_3", "a_4"], flat=False, rate=44100)
    soundfile.write(data / "wav" / "a_1.flac", wave(1, 22050, channels=2), 22050)
    (data / "wav" / "a_1.wav").unlink()
    corpus = stored(tmp_path / "corpus", opened(data))
    assert [(clip.frames, clip.samples) for clip in corpus.clips] == [(25, 16000)] * 4
    assert corpus.vertices(corpus.clips[0]).dtype == np.float32


def test_lengths_that_disagree_are_trimmed_and_reported(tmp_path, caplog):
    data = toy_folder(tmp_path / "data", ["a_1", "a_2", "a_3"])
    soundfile.write(data / "wav" / "a_2.wav", wave(0.6), 16000)
    with caplog.at_level(logging.WARNING):
        corpus = stored(tmp_path / "corpus", opened(data))
    assert [clip.frames for clip in corpus.clips] == [25, 15, 25]
    assert "clip a_2: motion is 0.400 s longer than audio; trimmed to the common duration" in caplog.text


def test_a_folder_a_clip_with_meshes_or_arrays(tmp_path):
    for speaker in ("ann", "bob"):
        for sentence in ("s1", "s2", "s3", "s10"):
            place = tmp_path / "data" / speaker / sentence
            place.mkdir(parents=True)
            soundfile.write(place / "talk.wav", wave(0.44), 16000)
            made = motion(11)
            if speaker == "ann":
                for t in range(11):  # frame 9 sorts before 10
                    write_mesh(place / f"f{t}.{'ply' if sentence == 's1' else 'obj'}", made[t], TOPOLOGY.faces)
            else:
                np.save(place / "motion.npy", made)
    write_mesh(tmp_path / "data" / "templates" / "ann.ply", sheet(), TOPOLOGY.faces)
    np.save(tmp_path / "data" / "templates" / "bob.npy", sheet(1.1))
    (tmp_path / "data" / "lips.txt").write_text(" ".join(map(str, LIPS)))
    corpus = stored(tmp_path / "corpus", opened(tmp_path / "data"))
    assert [clip.id for clip in corpus.clips] == [f"{w}_{s}" for w in ("ann", "bob") for s in ("s1", "s10", "s2", "s3")]
    for clip in corpus.clips:
        np.testing.assert_allclose(corpus.vertices(clip), motion(11), atol=1e-8)
    np.testing.assert_array_equal(corpus.templates["bob"], sheet(1.1))


def test_a_table_of_clips_decides(tmp_path, caplog):
    data = toy_folder(tmp_path / "data", ["a_1", "a_2", "b_1", "b_2"])
    (data / "clips.csv").write_text(
        "clip, split, text\na_1, train, Hello you.\na_2, test_seen\nb_1,test_unseen\nb_9,train\n"
    )
    with caplog.at_level(logging.WARNING):
        source = opened(data)
    corpus = stored(tmp_path / "corpus", source)
    assert {clip.id: clip.split for clip in corpus.clips} == {"a_1": "train", "a_2": "test_seen", "b_1": "test_unseen"}
    assert corpus.clips[0].text == "Hello you."
    assert source.train_speakers == ("a",)
    assert "the table of clips names clips that do not exist: b_9" in caplog.text
    assert "1 clips are in no split and are left out: b_2" in caplog.text
    (data / "clips.csv").unlink()
    (data / "clips.json").write_text(json.dumps({"a_1": {"split": "train", "speaker": "c", "sentence": "s"}}))
    (data / "templates.pkl").write_bytes(pickle.dumps({"c": sheet()}, 2))
    assert opened(data).train_speakers == ("c",)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("clip,split\na_1,training\n", "a_1: expected one of train, validation, test_seen, test_unseen, found 'train"),
        ("name,split\na_1,train\n", "clips.csv: expected a row for each clip with `clip`, `split` and optionally"),
        ("clip,split\na_1,validation\n", "splits: expected clips for training, found none. Give some clips the split"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, table, text):
    data = toy_folder(tmp_path / "data", ["a_1"])
    (data / "clips.csv").write_text(table)
    with pytest.raises(BadInput, match=text):
        opened(data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_clips_in_the_encodings_that_they_name(tmp_path, encoding):
    data = toy_folder(tmp_path / "data", ["a_1"])
    (data / "Clips.CSV").write_bytes("clip,split,text \r\na_1,train,Grüße 你\r\n".encode(encoding))
    assert next(iter(opened(data).recordings)).text == "Grüße 你"
    (data / "Clips.CSV").unlink()
    (data / "clips.json").write_bytes(json.dumps({"a_1": {"split": "train", "text": "é"}}).encode(encoding))
    assert next(iter(opened(data).recordings)).text == "é"


TABLE = "clip,split,text\na_1,train,Grüße\n"


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (TABLE.encode("latin-1"), r"csv: expected text in UTF-8, found another encoding, perhaps Latin-1: byte 0x"),
        (TABLE.encode("latin-1"), r"byte 0xfc in line 2\. Save it in UTF-8 \(Excel: CSV UTF-8\)"),
        (TABLE.encode("cp1252"), r"csv: expected text in UTF-8, found another encoding"),
        (TABLE.encode("mac-roman"), r"csv: expected text in UTF-8, found another encoding"),
        (TABLE.replace("ü", "u").replace("ß", "s").encode("utf-16-le"), "found another encoding, perhaps UTF-16"),
        (TABLE.encode("utf-16-be"), r"csv: expected text in UTF-8, found another encoding"),
        (TABLE.encode("utf-16")[:-1], r"csv: expected text in UTF-8, found another encoding"),
        (TABLE.replace(",", ";").encode(), r"csv: expected columns separated by commas, found semicolons\. Save it"),
        (TABLE.replace(",", ";").encode("utf-8-sig"), r"csv: expected columns separated by commas, found semicolons"),
        (TABLE.replace(",", " ; ").encode(), r"csv: expected columns separated by commas, found semicolons"),
        (TABLE.replace(",", "\t").encode(), r"csv: expected columns separated by commas, found tabs"),
        (TABLE.replace(",", "\t").encode("utf-16"), r"csv: expected columns separated by commas, found tabs"),
        (TABLE.replace("clip,", '"clip"|').replace(",", "|").encode(), r"separated by commas, found bars"),
        (TABLE.encode() + b"a_2,train,Hello, you\n", r"csv, line 3: expected as many fields as in the first line"),
        (TABLE.encode() + b'a_2,train,"Hello you\na_3,train\n', r"csv, after line 2: expected fields between commas"),
        (b"", r"csv: expected a row for each clip with `clip`, `split`"),
    ],
)  # fmt: skip
def test_tables_in_other_encodings_or_with_other_separators_are_refused(tmp_path, table, text):
    data = toy_folder(tmp_path / "data", ["a_1"])
    (data / "clips.csv").write_bytes(table)
    with pytest.raises(BadInput, match=text):
        opened(data)


@pytest.mark.parametrize("capitals", [True, False])
def test_hidden_files_and_capitals_in_faceformers_layout(tmp_path, caplog, capitals):
    data = toy_folder(tmp_path / "data", [f"{who}_{n}" for who in "ab" for n in range(4)])
    (data / "templates.pkl").unlink()
    for speaker in "ab":
        write_mesh(data / "templates" / f"{speaker}.ply", sheet(), TOPOLOGY.faces)
    for path in list(data.glob("*/*")) if capitals else []:
        path.rename(path.with_suffix(path.suffix.upper()))
    with_hidden_files(data)
    source = opened(data)
    assert sorted(clip.id for clip in source.recordings) == [f"{who}_{n}" for who in "ab" for n in range(4)]
    assert list(source.templates) == ["a", "b"]
    assert "left out" not in caplog.text
    assert guess_dataset(data) == "folder"


@pytest.mark.parametrize("capitals", [True, False])
def test_hidden_files_and_capitals_in_folders_of_clips(tmp_path, caplog, capitals):
    data = tmp_path / "data"
    for number, name in enumerate(("a/1", "a/2", "b/1", "b/2")):
        (data / name).mkdir(parents=True)
        if number % 2:
            np.save(data / name / "motion.npy", motion(11))
        else:
            for t, frame in enumerate(motion(11)):
                write_mesh(data / name / f"{t}.{'ply' if number else 'obj'}", frame, TOPOLOGY.faces)
        soundfile.write(data / name / "talk.flac", wave(0.44), 16000)
    (data / "templates").mkdir()
    np.save(data / "templates" / "a.npy", sheet())
    write_mesh(data / "templates" / "b.obj", sheet(), TOPOLOGY.faces)
    for path in [path for path in data.rglob("*") if path.is_file() and capitals]:
        path.rename(path.with_suffix(path.suffix.upper()))
    with_hidden_files(data)
    (data / "lips.txt").write_text(" ".join(map(str, LIPS)))
    found = {clip.id: clip for clip in opened(data).recordings}
    assert sorted(found) == ["a_1", "a_2", "b_1", "b_2"]
    for clip in found.values():
        np.testing.assert_allclose(clip.motion, motion(11), atol=1e-8)
    assert "no sound" not in caplog.text + str(sorted(found))


@pytest.mark.parametrize("speakers", [1, 2, 3, 4, 9, 20])
@pytest.mark.parametrize("shared", [True, False])
def test_default_splits_are_disjoint(speakers, shared):
    rows = {
        f"p{s:02d}_{n}": ClipEntry(f"p{s:02d}", f"{n:02d}" if shared else f"{s:02d}-{n:02d}")
        for s in range(speakers)
        for n in range(12)
        if (s, n) != (0, 11)  # one sentence is missing
    }
    found = default_splits(rows)

    def of(field: str, *splits: str) -> set[str]:
        return {getattr(row, field) for row in found.values() if row.split in splits}

    assert not of("sentence", "train") & of("sentence", "validation", "test_seen", "test_unseen")
    assert not of("speaker", "train") & of("speaker", "test_unseen")
    assert of("speaker", "test_seen") <= of("speaker", "train")
    expected = {"train", "validation", "test_seen"} | ({"test_unseen"} if speakers >= 4 else set())
    assert {row.split for row in found.values()} == expected
    if speakers >= 4:
        assert not of("speaker", "train") & of("speaker", "validation")
    assert len(found) > (0.3 if shared else 0.99) * len(rows)


def test_clips_without_partner_are_reported(tmp_path, caplog):
    data = toy_folder(tmp_path / "data", ["a_1", "a_2", "a_3", "a_wav_4"])
    (data / "wav" / "a_2.wav").unlink()
    (data / "vertices_npy" / "a_3.npy").unlink()
    with caplog.at_level(logging.WARNING):
        source = opened(data)
    assert "no sound in wav, left out: a_2" in caplog.text
    assert "no motion in vertices_npy, left out: a_3" in caplog.text
    assert {r.id for r in source.recordings} == {"a_1", "a_wav_4"}


def test_a_refused_clip_does_not_end_the_others(tmp_path):
    data = toy_folder(tmp_path / "data", ["a_1", "a_2", "a_3"])
    np.save(data / "vertices_npy" / "a_2.npy", np.zeros((5, 30), np.float32))
    recordings = iter(opened(data).recordings)
    assert next(recordings).id == "a_1"
    with pytest.raises(
        BadInput, match=r"a_2.npy: expected floats of shape \(frames, 64, 3\) or \(frames, 192\), found f"
    ):
        next(recordings)
    assert next(recordings).id == "a_3"


def test_a_missing_frame_is_refused(tmp_path):
    place = tmp_path / "data" / "a_1"
    place.mkdir(parents=True)
    soundfile.write(place / "a.wav", wave(1), 16000)
    for t in (1, 2, 4):
        write_mesh(place / f"frame{t}.ply", sheet(), TOPOLOGY.faces)
    np.save(place.parent / "a.npy", sheet())
    (place.parent / "lips.txt").write_text(" ".join(map(str, LIPS)))
    (place.parent / "templates.pkl").write_bytes(pickle.dumps({"a": sheet()}, 2))
    with pytest.raises(BadInput, match=r"frame4.ply: expected frame 3 after frame 2, found frame 4"):
        next(iter(opened(place.parent).recordings))


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(BadInput, match="expected a folder of clips, found no such folder"):
        opened(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        BadInput, match=r"expected vertices_npy/NAME.npy with wav/NAME.wav, or folders with a sound file"
    ):
        opened(tmp_path / "empty")
    data = toy_folder(tmp_path / "data", ["a_1", "b_1"])
    (data / "templates.pkl").write_bytes(pickle.dumps({"a": sheet()}, 2))
    with pytest.raises(
        BadInput, match=r"expected a neutral face of speaker b, found none. Write templates/b.ply, or add"
    ):
        opened(data)
    (data / "templates.pkl").write_bytes(pickle.dumps({"a": sheet(), "b": sheet()[:-1]}, 2))
    with pytest.raises(BadInput, match=r"templates.pkl, b: expected 64 finite vertices, as in the first template"):
        opened(data)
    (data / "templates" / "face.obj").unlink()
    with pytest.raises(BadInput, match=r"templates: expected a mesh, .ply or .obj, with the triangles, found none"):
        opened(data)


def test_lists_of_vertices(tmp_path):
    data = toy_folder(tmp_path / "data", ["a_1"])
    np.save(data / "upper.npy", np.array([3, 1, 1]))
    source = opened(data, upper_face=data / "upper.npy", mouth=data / "lips.txt")
    assert source.topology.regions["upper_face"].tolist() == [1, 3]
    assert source.topology.regions["mouth"].tolist() == LIPS.tolist()
    (data / "many.txt").write_text("1 2 64")
    with pytest.raises(BadInput, match=r"many.txt: expected vertex numbers 0 … 63, found 64"):
        opened(data, lips=data / "many.txt")


def test_axes_and_unit_of_the_files(tmp_path):
    data = toy_folder(tmp_path / "data", ["a_1"])
    right, up, forward = sheet().T * 1000
    stored_so = np.stack([right, -forward, up], -1)  # z up, as in Blender, in millimetres
    np.save(data / "vertices_npy" / "a_1.npy", np.repeat(stored_so[None], 25, 0))
    (data / "templates.pkl").write_bytes(pickle.dumps({"a": stored_so}, 2))
    source = opened(data, axes=("x", "z", "-y"), mm_per_unit=1)
    np.testing.assert_allclose(source.templates["a"], sheet() * 1000, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(next(iter(source.recordings)).motion[3], sheet() * 1000, rtol=1e-6, atol=1e-5)
    with pytest.raises(BadInput, match="expected axes that rotate the mesh, found axes that mirror it"):
        opened(data, axes=("x", "z", "y"))
    with pytest.raises(BadInput, match="expected x, y and z in some order, each optionally with a minus"):
        opened(data, axes=("x", "y", "y"))


def test_no_split_is_needed_of_a_table_that_names_no_clip():
    with pytest.raises(BadInput, match="expected clips for training"):
        split_clips({"a_1": ClipEntry("a", "1")}, {"b_1": {"split": "train"}})


@pytest.mark.parametrize("layout", ["faceformer", "clips"])
def test_the_imitation_is_read(tmp_path, layout):
    write_folder(tmp_path / "data", speakers=3, sentences=2, layout=layout)
    source = opened(tmp_path / "data", mm_per_unit=1)
    first = next(iter(source.recordings))
    assert (first.id, first.split) == ("S00_01", "train")
    assert first.text.endswith((".", "?"))
    assert len(source.topology.lip_pairs) >= 5
    assert 1.5 < len(first.motion) / 25 < 6
    assert abs(len(first.motion) / 25 - len(first.audio) / 16000) < 0.04
    again = tmp_path / "again"
    write_folder(again, speakers=3, sentences=2, layout=layout)
    assert next(iter(opened(again, mm_per_unit=1).recordings)).motion.tobytes() == first.motion.tobytes()
