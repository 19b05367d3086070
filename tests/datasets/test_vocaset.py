"""The fixtures come from `write_vocaset`; the golden numbers from FaceFormer's own conversion and loader.

tests/golden/vocaset holds every tenth vertex of a synthetic VOCASET, and what `process_voca_data.py` and
`data_loader.py` made of it: normalised sound at 16 kHz, and some coordinates as (frame, vertex, axis) → value.
"""

import logging
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from learn2talk_core.audio.sound import read_sound
from learn2talk_core.checkpoints.faceformer import PUBLISHED
from learn2talk_core.corpus.format import Corpus, open_corpus, write_corpus
from learn2talk_core.corpus.offset import measure_offset
from learn2talk_core.datasets import fixtures
from learn2talk_core.datasets.biwi import TRAIN_SPEAKERS as BIWI_TRAIN
from learn2talk_core.datasets.fixtures_vocaset import write_pickle, write_vocaset
from learn2talk_core.datasets.source import Source
from learn2talk_core.datasets.vocaset import TEST, TRAIN, VALIDATION, read_vocaset, shifted, vocaset_contents
from learn2talk_core.mesh.files import read_mesh, write_mesh
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.pickles import load_array, load_pickle
from tests.datasets.hidden import with_hidden_files
from tests.pickles import chumpy, malicious, python2_array

GOLDEN = Path(__file__).parents[1] / "golden" / "vocaset"
SPEAKERS = (TRAIN[4], TRAIN[0], VALIDATION[0], TEST[0])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four speakers with sentences 1 (which TRAIN[4] lacks) and 21; the folder's name has "wav" in it."""
    folder = tmp_path_factory.mktemp("wav") / "wav_npy"
    write_vocaset(folder, 0, numbers=(1, 21), speakers=SPEAKERS, jobs=1)
    return folder


def corpus_of(source: Source, folder: Path) -> Corpus:
    write_corpus(
        folder,
        source.recordings,
        topology=source.topology,
        templates=source.templates,
        train_speakers=source.train_speakers,
        fps=source.fps,
        mm_per_unit=source.mm_per_unit,
        recipe=source.recipe,
    )
    return open_corpus(folder)


def test_both_layouts_give_the_same_corpus(both: Path, tmp_path: Path) -> None:
    a, b = (corpus_of(read_vocaset(both / layout), tmp_path / layout) for layout in ("distribution", "faceformer"))
    assert [clip.id for clip in a.clips] == [
        f"{TRAIN[0]}_sentence01",
        f"{TRAIN[0]}_sentence21",
        f"{TRAIN[4]}_sentence21",
        f"{VALIDATION[0]}_sentence21",
        f"{TEST[0]}_sentence21",
    ]
    assert [clip.split for clip in a.clips] == ["train", "train", "train", "validation", "test_unseen"]
    assert a.train_speakers == (TRAIN[0], TRAIN[4])
    assert (a.fps, a.mm_per_unit, a.recipe) == (30.0, 1000.0, "vocaset")
    assert a.clips == b.clips
    for clip in a.clips:
        np.testing.assert_array_equal(a.vertices(clip), b.vertices(clip))
        # The layout holds wav files; reading them again rounds at most one step of 16 bits differently.
        np.testing.assert_allclose(a.audio(clip), b.audio(clip), atol=2 / 32768)
    assert a.topology.regions.keys() == b.topology.regions.keys()
    assert len(a.topology.lip_pairs) >= 5


@pytest.mark.parametrize("layout", ["distribution", "faceformer"])
def test_hidden_files_and_capitals(both: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str) -> None:
    folder = Path(shutil.copytree(both / layout, tmp_path / layout))
    for path in [*folder.glob("wav/*"), *folder.glob("vertices_npy/*")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    caplog.set_level(logging.INFO)
    read_vocaset(both / layout)
    expected, _ = caplog.text.replace(str(both / layout), ""), caplog.clear()
    found = corpus_of(read_vocaset(with_hidden_files(folder)), tmp_path / "found")
    assert [clip.id for clip in found.clips] == [clip.id for clip in read_vocaset(both / layout).recordings]
    assert caplog.text.replace(str(folder), "").startswith(expected)


def test_motion_is_every_second_frame_and_sound_has_16_khz(both: Path, tmp_path: Path) -> None:
    corpus = corpus_of(read_vocaset(both / "faceformer"), tmp_path / "c")
    clip = corpus.clips[0]
    stored = np.load(both / "faceformer" / "vertices_npy" / f"{clip.id}.npy").reshape(
        -1, len(corpus.topology.colours), 3
    )
    np.testing.assert_array_equal(corpus.vertices(clip), stored[::2][: clip.frames])
    samples, rate = soundfile.read(both / "faceformer" / "wav" / f"{clip.id}.wav")
    assert rate == 22_000
    assert abs(clip.samples / 16_000 - len(samples) / rate) < 1 / 30
    assert abs(clip.frames / 30 - len(stored) / 60) < 1 / 30


def test_the_regions_are_flames(both: Path) -> None:
    topology = read_vocaset(both / "distribution").topology
    masks = load_pickle(both / "distribution" / "FLAME_masks.pkl")
    assert len(masks["lips"]) == len(topology.regions["lips"]) + 4  # repeated there, once here: 254 and 250 in FLAME
    np.testing.assert_array_equal(topology.regions["lips"], np.unique(masks["lips"]))
    upper = np.unique(np.concatenate([masks["forehead"], masks["eye_region"]]))
    np.testing.assert_array_equal(topology.regions["upper_face"], upper)


def test_golden_faceformer_conversion_and_loader() -> None:
    contents = vocaset_contents(GOLDEN)
    golden = np.load(GOLDEN / "loader.npz")
    order = {f"{TRAIN[0]}_sentence40": [2, 0, 1, 3]}  # FaceFormer uses the dictionary's order, we the frame numbers
    names = {name.partition(":")[0] for name in golden}
    assert len(names) == 4
    for name in names:
        motion, audio = contents.clips[tuple(name.rsplit("_", 1))]()  # type: ignore[index]
        motion = motion[order.get(name, slice(None))][::2]
        frame, vertex, axis = golden[f"{name}:vertice__index"].T
        assert len(motion) == golden[f"{name}:vertice__frames"]
        np.testing.assert_array_equal(motion[frame, vertex, axis], golden[f"{name}:vertice__value"])
        expected = golden[f"{name}:input_values"]  # resampled by resampy, whose filter differs from SciPy's
        assert len(audio) == len(expected)
        normalised = (audio - audio.mean()) / audio.std()
        assert np.corrcoef(normalised, expected)[0, 1] > 0.9995
    assert contents.unused == ((VALIDATION[0], "sentence20"),)


def test_official_numbers_of_clips(tmp_path: Path) -> None:
    for speaker in (*TRAIN, *VALIDATION, *TEST):
        for number in range(1, 41):
            _empty_clip(tmp_path, f"{speaker}_sentence{number:02d}")
    shutil.copy(GOLDEN / "templates.pkl", tmp_path / "templates.pkl")
    assert len(vocaset_contents(tmp_path).clips) == 480
    for path in tmp_path.glob("*/*"):
        if path.stem in UNPUBLISHED:
            path.unlink()
    contents = vocaset_contents(tmp_path)
    speakers = Counter(speaker for speaker, _ in contents.clips if (speaker, _) not in contents.unused)
    assert sum(speakers[s] for s in TRAIN) == 314
    assert sum(speakers[s] for s in VALIDATION) == 40
    assert sum(speakers[s] for s in TEST) == 39
    assert {"_".join(key) for key in contents.unpublished} == UNPUBLISHED
    assert contents.missing == contents.half == ()


UNPUBLISHED = {
    "FaceTalk_170811_03274_TA_sentence01",
    "FaceTalk_170811_03274_TA_sentence02",
    "FaceTalk_170811_03274_TA_sentence24",
    "FaceTalk_170912_03278_TA_sentence11",
    "FaceTalk_170913_03279_TA_sentence12",
    "FaceTalk_170913_03279_TA_sentence38",
    "FaceTalk_170809_00138_TA_sentence32",
}


def test_order_of_the_one_hot_is_faceformers() -> None:
    assert TRAIN is PUBLISHED["vocaset"][2]
    assert BIWI_TRAIN is PUBLISHED["biwi"][2]
    assert (*TRAIN[:2], "FaceTalk_170811_03275_TA", "FaceTalk_170809_00138_TA") == fixtures.VOCASET
    assert fixtures.BIWI == ("F2", "M3", "F1")
    assert TRAIN[:3] == ("FaceTalk_170728_03272_TA", "FaceTalk_170904_00128_TA", "FaceTalk_170725_00137_TA")
    assert TRAIN[3:6] == ("FaceTalk_170915_00223_TA", "FaceTalk_170811_03274_TA", "FaceTalk_170913_03279_TA")
    assert TRAIN[6:] == ("FaceTalk_170904_03276_TA", "FaceTalk_170912_03278_TA")


def test_what_is_missing_is_named(both: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = _copy(both / "faceformer", tmp_path)
    (folder / "wav" / f"{VALIDATION[0]}_sentence21.wav").unlink()
    (folder / "vertices_npy" / f"{TRAIN[0]}_sentence01.npy").rename(folder / "vertices_npy" / "Anna_wav_x01.npy")
    (folder / "wav" / f"{TRAIN[0]}_sentence01.wav").rename(folder / "wav" / "Anna_wav_x01.wav")
    contents = vocaset_contents(folder)
    assert contents.half == ((VALIDATION[0], "sentence21"),)
    assert contents.unused == (("Anna_wav", "x01"),)
    assert (TRAIN[0], "sentence01") in contents.missing
    assert (TRAIN[4], "sentence01") in contents.unpublished
    assert (TRAIN[4], "sentence01") not in contents.missing
    with caplog.at_level(logging.INFO):
        source = read_vocaset(folder)
    never = next(record for record in caplog.records if "never published" in record.message)
    assert never.levelno == logging.INFO  # nobody can complete these
    assert f"7 sentences were never published: {TRAIN[4]}_sentence01," in never.message
    assert f"published sentences are missing here (a partial download?): {TRAIN[0]}_sentence01," in caplog.text
    assert f"1 sentences have no sound or no motion and are left out: {VALIDATION[0]}_sentence21" in caplog.text
    assert "1 clips belong to no split and are left out: Anna_wav_x01" in caplog.text
    assert f"no clip of the training speakers {TRAIN[1]}, {TRAIN[2]}" in caplog.text
    assert VALIDATION[0] not in source.templates
    assert len(list(source.recordings)) == 3


def test_sound_and_motion_are_trimmed_not_stretched(both: Path, tmp_path: Path) -> None:
    folder = _copy(both / "faceformer", tmp_path)
    wave = folder / "wav" / f"{TRAIN[0]}_sentence01.wav"
    whole = read_sound(wave)
    samples, rate = soundfile.read(wave, dtype="int16")
    soundfile.write(wave, samples[: rate // 2 * 3], rate)  # 1.5 s
    corpus = corpus_of(read_vocaset(folder), tmp_path / "c")
    assert corpus.clips[0].frames == 45
    assert corpus.clips[0].samples == 24_000
    np.testing.assert_allclose(corpus.audio(corpus.clips[0])[:20_000], whole[:20_000], atol=2 / 32768)


@pytest.mark.parametrize("offset_ms", [100.0, -100.0, 12.5, 0.0])
def test_the_offset_moves_the_sound_and_invents_nothing(offset_ms: float) -> None:
    motion = np.arange(120.0)[:, None, None] / 60 * np.ones((1, 2, 3))  # every frame holds its own time
    audio = np.arange(32_000, dtype=np.float32) / 16_000
    moved, sound = shifted(motion, audio, offset_ms / 1000, 60)
    # The sound of time t now coincides with the motion of time t + offset.
    assert moved[0, 0, 0] - sound[0] == pytest.approx(offset_ms / 1000, abs=1 / 16_000)
    assert len(moved) + len(sound) >= 120 + 32_000 - 6 - 1_600


def test_a_known_offset_is_measured_and_undone(tmp_path: Path) -> None:
    write_vocaset(
        tmp_path / "early", 0, numbers=(21,), speakers=SPEAKERS, layouts=["distribution"], audio_lead_ms=100, jobs=1
    )
    write_vocaset(tmp_path / "true", 0, numbers=(21,), speakers=SPEAKERS, layouts=["distribution"], jobs=1)
    folder = tmp_path / "early" / "distribution"
    truth = measure_offset(corpus_of(read_vocaset(tmp_path / "true" / "distribution"), tmp_path / "a"))
    early = measure_offset(corpus_of(read_vocaset(folder), tmp_path / "b"))
    undone = measure_offset(corpus_of(read_vocaset(folder, audio_offset_ms=100), tmp_path / "c"))
    assert abs(truth.lag_ms) < 25
    assert early.lag_ms - truth.lag_ms == pytest.approx(100, abs=6)
    assert undone.lag_ms == pytest.approx(truth.lag_ms, abs=6)


# --- what is wrong with a folder


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected data_verts.npy \(VOCASET as downloaded\) or .* found no such folder"):
        read_vocaset(tmp_path / "x")
    with pytest.raises(BadInput, match=r"found neither. Unpack trainingdata.zip from voca.is.tue.mpg.de"):
        read_vocaset(tmp_path)
    _empty_clip(tmp_path, "me_01")
    shutil.copy(GOLDEN / "templates.pkl", tmp_path)
    with pytest.raises(
        BadInput, match=r"found 1 clips, none of VOCASET's splits. For your own data use dataset: folder"
    ):
        read_vocaset(tmp_path)


def test_the_mesh_and_the_masks_are_asked_for_by_name(both: Path, tmp_path: Path) -> None:
    folder = _copy(both / "faceformer", tmp_path)
    ply = (folder / "templates" / "FLAME_sample.ply").rename(tmp_path / "mesh.ply")
    masks = (folder / "FLAME_masks.pkl").rename(tmp_path / "masks.pkl")
    with pytest.raises(
        BadInput, match=r"expected the triangles of FLAME's mesh, found none of .* Copy FLAME_sample.ply"
    ):
        read_vocaset(folder)
    with pytest.raises(BadInput, match=r"expected the lips of FLAME's mesh, found none of .* Copy FLAME_masks.pkl"):
        read_vocaset(folder, mesh=ply)
    expected = read_vocaset(both / "faceformer").topology
    found = read_vocaset(folder, mesh=ply, lips=masks).topology
    np.testing.assert_array_equal(found.faces, expected.faces)
    only_lips = read_vocaset(folder, mesh=ply, lips=f"{masks}:lips").topology
    np.testing.assert_array_equal(only_lips.regions["lips"], expected.regions["lips"])


def test_triangles_from_flames_model(both: Path, tmp_path: Path) -> None:
    vertices, faces = read_mesh(both / "distribution" / "FLAME_sample.ply")
    model = tmp_path / "generic_model.pkl"
    template = chumpy("Ch", x=python2_array(vertices.astype(np.float64)))
    model.write_bytes(
        b"\x80\x02}(U\x01f" + python2_array(faces.astype(np.uint32)) + b"U\x0av_template" + template + b"u."
    )
    topology = read_vocaset(both / "distribution", mesh=model).topology
    np.testing.assert_array_equal(topology.faces, faces)
    assert topology.faces.dtype == np.int32
    write_pickle(model, {"v_template": vertices})
    with pytest.raises(BadInput, match=r"expected FLAME's model with its triangles f \(9976, 3\), found none"):
        read_vocaset(both / "distribution", mesh=model)


def test_a_mesh_of_another_size_is_refused(both: Path, tmp_path: Path) -> None:
    write_mesh(tmp_path / "other.obj", np.eye(3), np.array([[0, 1, 2]]))
    with pytest.raises(
        BadInput, match=r"expected a mesh with triangles and the templates' \d+ vertices, found 3 vertices"
    ):
        read_vocaset(both / "distribution", mesh=tmp_path / "other.obj")


def test_a_mesh_of_flames_size(tmp_path: Path) -> None:
    write_vocaset(tmp_path / "v", 0, numbers=(21,), speakers=TRAIN[:1], vertices=5023, jobs=1)
    for layout in ("distribution", "faceformer"):
        source = read_vocaset(tmp_path / "v" / layout)
        assert next(iter(source.recordings)).motion.shape[1:] == (5023, 3)
        assert len(source.topology.colours) == 5023


def test_motion_that_was_halved_already_is_refused(both: Path, tmp_path: Path) -> None:
    folder = _copy(both / "faceformer", tmp_path)
    path = folder / "vertices_npy" / f"{TRAIN[0]}_sentence01.npy"
    np.save(path, np.load(path)[::2])
    said = r"sentence01: expected 60 frames of motion per second, about \d+, found \d+ frames for .*Either half"
    with pytest.raises(BadInput, match=said):
        list(read_vocaset(folder).recordings)


def test_rows_that_do_not_belong_to_the_vertices(both: Path, tmp_path: Path) -> None:
    folder = _copy(both / "distribution", tmp_path)
    rows = load_pickle(folder / "subj_seq_to_idx.pkl")
    frames = rows[TRAIN[0]]["sentence01"]
    for change, said in (
        ({0: 10**7}, "expected rows 0 … .* of data_verts.npy, found row 10000000"),
        ({-1: 0}, "expected a dictionary frame → row, found something else"),
        ({10**15: 0}, r"expected \d+ consecutive frames, found frame numbers 0 … 1000000000000000"),
    ):
        rows[TRAIN[0]]["sentence01"] = frames | change
        write_pickle(folder / "subj_seq_to_idx.pkl", rows)
        with pytest.raises(BadInput, match=rf"subj_seq_to_idx.pkl, {TRAIN[0]}_sentence01: {said}"):
            list(read_vocaset(folder).recordings)


def test_a_frame_that_is_missing_does_not_move_the_others(
    both: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _copy(both / "distribution", tmp_path)
    rows = load_pickle(folder / "subj_seq_to_idx.pkl")
    del rows[TRAIN[0]]["sentence01"][20]
    write_pickle(folder / "subj_seq_to_idx.pkl", rows)
    expected, found = (next(iter(read_vocaset(f).recordings)).motion for f in (both / "distribution", folder))
    assert f"{TRAIN[0]}_sentence01: 1 frames are missing and replaced by the ones before them" in caplog.text
    assert len(found) == len(expected)
    assert [t for t in range(len(found)) if (found[t] != expected[t]).any()] == [10]


def test_wrong_contents_are_explained(both: Path, tmp_path: Path) -> None:
    folder = _copy(both / "distribution", tmp_path)
    sounds = load_pickle(folder / "raw_audio_fixed.pkl")
    sounds[TRAIN[0]]["sentence01"]["sample_rate"] = 10**12
    write_pickle(folder / "raw_audio_fixed.pkl", sounds)
    with pytest.raises(BadInput, match=r"expected audio: 16-bit samples .* found int16 .* at 1000000000000"):
        list(read_vocaset(folder).recordings)
    for name in ("subj_seq_to_idx.pkl", "raw_audio_fixed.pkl", "templates.pkl"):
        other = _copy(both / "distribution", tmp_path / name)
        write_pickle(other / name, [1, 2])
        with pytest.raises(BadInput, match=rf"{name}: expected speaker → .*, found a list"):
            read_vocaset(other)
    templates = load_pickle(folder / "templates.pkl")
    del templates[TRAIN[0]]
    write_pickle(folder / "templates.pkl", templates)
    with pytest.raises(BadInput, match=f"expected a template for every speaker, found none for {TRAIN[0]}"):
        read_vocaset(folder)


FILES = ("data_verts.npy", "raw_audio_fixed.pkl", "subj_seq_to_idx.pkl", "templates.pkl", "FLAME_masks.pkl")


def test_malicious_files_are_refused_everywhere(both: Path, tmp_path: Path) -> None:
    folder, marker = _copy(both / "distribution", tmp_path), tmp_path / "executed"
    for name in FILES:
        whole = (folder / name).read_bytes()
        for content in list(malicious(marker).values()):
            (folder / name).write_bytes(content)
            with pytest.raises(BadInput):
                list(read_vocaset(folder).recordings)
        (folder / name).write_bytes(whole)
    with pytest.raises(BadInput):
        read_vocaset(folder, mesh=_written(tmp_path / "flame.pkl", malicious(marker)["os.system"]))
    assert not marker.exists()
    assert len(list(read_vocaset(folder).recordings)) == 5


def test_damaged_files_give_an_error_or_clips(tmp_path: Path) -> None:
    for name in FILES[:4]:
        shutil.copy(GOLDEN / name, tmp_path / name)
    read = refused = 0
    for seed in range(120):
        choose = random.Random(seed)
        name = FILES[seed % 4]
        content = bytearray((GOLDEN / name).read_bytes())
        for _ in range(3):
            place = choose.randrange(min(len(content), 600) if choose.random() < 0.7 else len(content))
            content[place] ^= 1 << choose.randrange(8)
        if choose.random() < 0.2:
            del content[choose.randrange(len(content)) :]
        (tmp_path / name).write_bytes(content)
        try:
            contents = vocaset_contents(tmp_path)
            for read_clip in contents.clips.values():
                motion, audio = read_clip()
                assert motion.ndim == 3
                assert audio.ndim == 1
            read += 1
        except BadInput:
            refused += 1
        shutil.copy(GOLDEN / name, tmp_path / name)
    assert read > 5
    assert refused > 30


def test_the_imitation_is_like_the_real_one(both: Path, tmp_path: Path) -> None:
    folder = both / "distribution"
    assert {path.name for path in folder.iterdir()} == {*FILES, "FLAME_sample.ply"}
    vertices = load_array(folder / "data_verts.npy", mmap=True)
    assert vertices.dtype == np.float32
    entry = load_pickle(folder / "raw_audio_fixed.pkl")[TRAIN[0]]["sentence01"]
    assert entry["audio"].dtype == np.int16
    assert entry["sample_rate"] == 22_000
    rows = load_pickle(folder / "subj_seq_to_idx.pkl")
    assert len(vertices) == sum(len(frames) for sentences in rows.values() for frames in sentences.values())
    assert "sentence01" not in rows[TRAIN[4]]
    assert set(rows[VALIDATION[0]]) == {"sentence21"}
    assert b"numpy.core.multiarray" in (folder / "templates.pkl").read_bytes()
    width = np.ptp(load_pickle(folder / "templates.pkl")[TRAIN[0]][:, 0])
    assert 0.1 < width < 0.3  # metres
    write_vocaset(tmp_path / "again", 0, numbers=(1, 21), speakers=SPEAKERS, jobs=1)
    for path in sorted(both.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(both)).read_bytes(), path


def _copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _empty_clip(folder: Path, stem: str) -> None:
    for kind, suffix in (("vertices_npy", "npy"), ("wav", "wav")):
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / f"{stem}.{suffix}").touch()
