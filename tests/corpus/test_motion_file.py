from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.corpus.motion_file import motion_arrays, read_mouth
from learn2talk_core.mesh.files import write_mesh
from learn2talk_core.run.errors import BadInput
from tests.talk import talk
from tests.toy import sheet, toy_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return toy_corpus(tmp_path_factory.mktemp("toy") / "corpus")


MOTION = talk()[1]


def test_every_layout_gives_the_same_mouth(tmp_path: Path, corpus: Corpus) -> None:
    ids = corpus.topology.regions["mouth"]
    layouts = {
        "vertices": MOTION,
        "flat": MOTION.reshape(len(MOTION), -1),
        "mouth": MOTION[:, ids],
        "flat-mouth": MOTION[:, ids].reshape(len(MOTION), -1).astype(np.float64),
    }
    for name, array in layouts.items():
        np.save(tmp_path / f"{name}.npy", array)
        found = read_mouth(tmp_path / f"{name}.npy", corpus, fps=30, template="A")
        np.testing.assert_array_equal(found.vertices, MOTION[:, ids])
        np.testing.assert_array_equal(found.template, corpus.template("A", "mouth"))
        assert (found.fps, found.notes) == (30, ())


def test_npz_says_rate_unit_and_template(tmp_path: Path, corpus: Corpus) -> None:
    ids = corpus.topology.regions["mouth"]
    path = tmp_path / "m.npz"
    for template in ("A", sheet() * 1000):
        np.savez(path, vertices=MOTION * 1000, fps=25, mm_per_unit=1.0, template=template)
        found = read_mouth(path, corpus)
        np.testing.assert_allclose(found.vertices, MOTION[:, ids], rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(found.template, sheet()[ids], rtol=1e-5, atol=1e-8)
        assert found.fps == 25
    assert read_mouth(path, corpus, fps=50).fps == 50


def test_template_from_a_mesh_or_from_the_motion(tmp_path: Path, corpus: Corpus) -> None:
    ids = corpus.topology.regions["mouth"]
    np.save(tmp_path / "m.npy", MOTION)
    write_mesh(tmp_path / "head.obj", sheet(1.05), corpus.topology.faces)
    found = read_mouth(tmp_path / "m.npy", corpus, fps=30, template=tmp_path / "head.obj")
    np.testing.assert_allclose(found.template, sheet(1.05)[ids], atol=1e-7)
    mean = read_mouth(tmp_path / "m.npy", corpus, fps=30)
    np.testing.assert_allclose(mean.template, MOTION[:, ids].mean(axis=0), atol=1e-7)
    assert mean.notes == ("no template: the mean of the motion is used as the resting face (--template)",)


def broken(number: int) -> np.ndarray:
    motion = MOTION.copy()
    motion[number, 30] = np.nan
    return motion


@pytest.mark.parametrize(
    ("array", "options", "said"),
    [
        (
            MOTION[:, :60],
            {},
            r"numbers of shape \(frames, 64, 3\), or \(frames, 32, 3\) for the mouth alone, found float32",
        ),
        (MOTION[0], {}, r"found float32 of shape \(64, 3\)"),
        (MOTION.astype(str), {}, r"found <U\d+ of shape"),
        (MOTION[:0], {}, "expected frames of motion, found none"),
        (broken(11), {}, "frame 11: expected finite positions, found NaN or infinity"),
        (MOTION, {"fps": None}, r"expected a frame rate, found none\. Give --fps"),
        (MOTION, {"fps": 0.0}, "fps: expected a number above 0, found 0.0"),
        (MOTION, {"mm_per_unit": float("nan")}, "mm_per_unit: expected a number above 0, found nan"),
        (MOTION * 1000, {}, r"found \S+ mm at 1000 mm per unit\. --mm-per-unit 1 would fit\."),
        (MOTION, {"mm_per_unit": 1.0}, r"at 1 mm per unit\. --mm-per-unit 1000 would fit\."),
        (MOTION - sheet(), {}, r"Give positions, not displacements, and --mm-per-unit\."),
        (2000 * (MOTION - sheet()), {"mm_per_unit": 1.0}, r"at 1 mm per unit: displacements\. Give"),
        (1000 * (MOTION - sheet()), {}, r"per unit: displacements\. Give positions, not"),
        (1000 * (MOTION - sheet()), {"mm_per_unit": 1.0}, r"at 1 mm per unit: displacements\. Give"),
        (MOTION, {"template": "Z"}, r"--template: expected a speaker \(A, B, C, D …\), or an .obj or .ply, found Z"),
        (MOTION, {"template": "none.obj"}, "none.obj: expected a file, found nothing"),
    ],
)
def test_what_is_refused(tmp_path: Path, corpus: Corpus, array: np.ndarray, options: dict, said: str) -> None:
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(BadInput, match=said):
        read_mouth(tmp_path / "m.npy", corpus, **{"fps": 30.0, **options})


def test_files_that_are_none(tmp_path: Path, corpus: Corpus) -> None:
    (tmp_path / "m.txt").write_text("1")
    with pytest.raises(BadInput, match=r"a name that ends in .npy or .npz, found m.txt"):
        read_mouth(tmp_path / "m.txt", corpus, fps=30)
    with pytest.raises(BadInput, match="expected a file, found nothing"):
        read_mouth(tmp_path / "none.npz", corpus, fps=30)
    np.savez(tmp_path / "m.npz", motion=MOTION)
    with pytest.raises(BadInput, match=r"npz of numbers with vertices, found no vertices \(motion.npy\)"):
        read_mouth(tmp_path / "m.npz", corpus, fps=30)
    np.savez(tmp_path / "m.npz", vertices=MOTION, fps=[25, 30])
    with pytest.raises(BadInput, match=r"m.npz: fps: expected a number above 0, found \[25 30\]"):
        read_mouth(tmp_path / "m.npz", corpus)
    np.savez(tmp_path / "m.npz", vertices=MOTION, fps=25, template=sheet()[:5])
    with pytest.raises(BadInput, match=r"m.npz: template: expected numbers of shape \(64, 3\)"):
        read_mouth(tmp_path / "m.npz", corpus)
    (tmp_path / "m.npz").write_bytes((tmp_path / "m.npz").read_bytes()[:-30])
    with pytest.raises(BadInput, match=r"expected a whole .npz of numbers with vertices, found BadZipFile"):
        read_mouth(tmp_path / "m.npz", corpus)
    np.savez_compressed(tmp_path / "bomb.npz", vertices=np.zeros(20 << 20))
    with pytest.raises(BadInput, match=r"ValueError: .* bytes of contents in a file of"):
        read_mouth(tmp_path / "bomb.npz", corpus)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_vertices_of_an_npz_stay_on_disk_where_they_can(tmp_path: Path, save: Callable) -> None:
    path = tmp_path / "m.npz"
    save(path, faces=np.arange(6).reshape(2, 3), vertices=MOTION, fps=25)
    mapped, read = motion_arrays(path, ("fps", "faces"), mapped=True), motion_arrays(path, ("fps", "faces"))
    assert isinstance(mapped["vertices"], np.memmap) == (save is np.savez)
    assert not isinstance(read["vertices"], np.memmap)
    for arrays in (mapped, read):
        assert set(arrays) == {"vertices", "fps", "faces"}
        np.testing.assert_array_equal(arrays["vertices"], MOTION)
        np.testing.assert_array_equal(arrays["faces"], [[0, 1, 2], [3, 4, 5]])


def test_what_cannot_be_mapped_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    for array in (np.asfortranarray(MOTION), MOTION[:0]):
        np.savez(path, vertices=array)
        np.testing.assert_array_equal(motion_arrays(path, mapped=True)["vertices"], array)
    np.savez(path, vertices=np.array([None]))
    with pytest.raises(
        BadInput, match=r"m.npz: expected a whole .npz of numbers with vertices, found ValueError: an array of object"
    ):
        motion_arrays(path, mapped=True)
    np.savez(path, vertices=MOTION)
    content = path.read_bytes()
    path.write_bytes(content[:2000] + content[3000:])
    with pytest.raises(BadInput, match=r"m.npz: expected a whole .npz of numbers"):
        motion_arrays(path, mapped=True)


def test_a_damaged_npz_is_an_error_or_numbers(tmp_path: Path) -> None:
    path, rng = tmp_path / "m.npz", np.random.default_rng(0)
    np.savez(path, vertices=MOTION[:4], fps=25, faces=np.arange(6).reshape(2, 3))
    whole, refused = path.read_bytes(), 0
    headers = [
        at for at in range(len(whole)) if at < 300 or at > len(whole) - 1200
    ]  # the vertices themselves may have any value
    for _ in range(300):
        content = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.2 else whole)
        for at in rng.choice(headers, 2):
            if at < len(content):
                content[at] = rng.integers(256)
        path.write_bytes(content)
        try:
            found = motion_arrays(path, ("fps", "faces"), mapped=True)["vertices"]
        except BadInput:
            refused += 1
        else:
            assert np.asarray(found).nbytes <= len(whole)
    assert refused > 100


def test_a_head_that_moves_is_taken_off(tmp_path: Path, corpus: Corpus) -> None:
    ids = corpus.topology.regions["mouth"]
    turn = Rotation.from_rotvec(0.3 * np.random.default_rng(0).normal(size=(len(MOTION), 3))).as_matrix()
    shift = np.random.default_rng(1).normal(size=(len(MOTION), 3))
    head = np.concatenate([turn, shift[:, :, None]], axis=2)
    moved = MOTION @ turn.transpose(0, 2, 1) + shift[:, None]
    path = tmp_path / "m.npz"
    np.savez(path, vertices=1000 * moved, fps=30, mm_per_unit=1.0, template="A", head=head * ([1] * 3 + [1000]))
    np.testing.assert_allclose(read_mouth(path, corpus).vertices, MOTION[:, ids], atol=1e-6)
    for wrong, text in (
        (head[:5], r"m\.npz: head: expected finite numbers \(90, 3, 4\), found float64 of shape \(5, 3, 4\)"),
        (np.full_like(head, np.nan), "head: expected finite numbers"),
        (2 * head, "head: expected rotations, found other matrices"),
    ):
        np.savez(path, vertices=moved, fps=30, head=wrong)
        with pytest.raises(BadInput, match=text):
            read_mouth(path, corpus)
