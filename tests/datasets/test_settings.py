import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.datasets.fixtures_folder import write_folder
from learn2talk_core.datasets.settings import Settings, guess_dataset, inside, open_source, write_source
from learn2talk_core.run.errors import BadInput

NOTHING = Settings(
    path="x", recipe=None, fps=None, mm_per_unit=None, axes=None, lips=None, upper_face=None, mouth=None,
    audio_offset_ms=0,
)  # fmt: skip
OWN = dataclasses.replace(NOTHING, fps=25.0, mm_per_unit=1.0, lips="lips.txt")


def test_own_data_becomes_a_corpus(tmp_path):
    write_folder(tmp_path / "own", speakers=3, sentences=2)
    settings = dataclasses.replace(OWN, path=str(tmp_path / "own"))
    write_source(tmp_path / "corpus", open_source("folder", settings))
    corpus = open_corpus(tmp_path / "corpus")
    assert (corpus.recipe, corpus.fps, corpus.mm_per_unit) == ("folder", 25, 1)
    assert {clip.split for clip in corpus.clips} == {"train", "test_seen", "validation", "test_unseen"}
    later = next(iter(open_source("folder", dataclasses.replace(settings, audio_offset_ms=120)).recordings))
    clip = corpus.clips[0]
    np.testing.assert_array_equal(later.motion[: clip.frames - 3], corpus.vertices(clip)[3:])
    np.testing.assert_allclose(later.audio[: clip.samples], corpus.audio(clip), atol=1e-4)


@pytest.mark.parametrize(
    ("dataset", "changes", "text"),
    [
        (
            "folder",
            {"fps": None},
            "corpus.source.fps: expected a value, because the dataset folder needs it, found none",
        ),
        ("folder", {"lips": None}, "corpus.source.lips: expected a value"),
        (
            "folder",
            {"recipe": "metric"},
            "corpus.source.recipe: expected null, because the dataset folder does not take it, ",
        ),
        ("biwi", {}, "corpus.source.recipe: expected a value, because the dataset biwi needs it"),
        (
            "vocaset",
            {"lips": None},
            "corpus.source.fps: expected null, because the dataset vocaset does not take it, found 25",
        ),
    ],
)
def test_settings_that_do_not_belong_are_refused(dataset, changes, text):
    with pytest.raises(BadInput, match=text):
        open_source(dataset, dataclasses.replace(OWN, **changes))


def test_a_relative_path_that_the_copy_of_the_project_lacks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        f"my_data: expected the folder of a dataset, found no such folder: the path is relative to the project, and "
        f"this copy of it, {tmp_path}, does not contain it. Give an absolute path"
    )
    for look in (
        lambda path: open_source("folder", dataclasses.replace(OWN, path=path)),
        lambda path: guess_dataset(Path(path)),
    ):
        with pytest.raises(BadInput, match=re.escape(text)):
            look("my_data")
        with pytest.raises(BadInput, match=r"/my_data: expected .*, found no such folder\. Check the path\.$"):
            look(str(tmp_path / "my_data"))


def test_lists_must_lie_in_the_datasets_folder(tmp_path):
    assert inside(tmp_path, "lists/lips.txt") == f"{tmp_path}/lists/lips.txt"
    assert inside(tmp_path, "FLAME_masks.pkl:lips") == f"{tmp_path}/FLAME_masks.pkl:lips"
    with pytest.raises(BadInput, match=r"expected a file inside the dataset's folder, found one outside. Copy it into"):
        inside(tmp_path, "../lips.txt")


@pytest.mark.parametrize(
    ("files", "dataset"),
    [
        (["data_verts.npy"], "vocaset"),
        (["vertices_npy/FaceTalk_170728_03272_TA_sentence01.npy"], "vocaset"),
        (["faces/F1/e01/frame_001.vl", "rigid_scans/F1.obj"], "biwi"),
        (["vertices_npy/F2_e01.npy"], "biwi"),
        (["vertices_npy/Frank_01.npy"], "folder"),
        (["ann/01/motion.npy"], "folder"),
        ([], "folder"),
    ],
)
def test_datasets_are_recognised(tmp_path: Path, files, dataset):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert guess_dataset(tmp_path) == dataset
