import json
import pickle

import numpy as np
import pytest
import torch

from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.regions import LIPS, face_colours, hidden_from_front, read_ids, regions_from_lips
from learn2talk_core.mesh.topology import Topology, lip_gap, submesh
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.run.errors import BadInput

FACE = load_face()


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    return len(np.intersect1d(found, true)) / len(np.union1d(found, true))


def moved(frames: int = 60) -> np.ndarray:
    """The neutral face under random weights of all face units."""
    weights = np.random.default_rng(0).uniform(0, 0.4, (frames, len(FACE.unit)))
    return FACE.neutral + np.einsum("tk,kvc->tvc", weights, np.stack(list(FACE.unit.values()))).astype(np.float32)


def true_gap(motion: np.ndarray) -> np.ndarray:
    return lip_gap(motion, FACE.lip_pairs).mean(axis=1)


def test_the_embedded_heads_regions_are_found_from_its_lips():
    regions, pairs = regions_from_lips(FACE.neutral, FACE.faces, FACE.regions["lips"], mm_per_unit=1000)
    for name, least in {"lips": 1.0, "mouth": 0.9, "upper_face": 0.9, "mouth_view": 0.93}.items():
        assert overlap(regions[name], FACE.regions[name]) >= least, name
        assert np.array_equal(regions[name], np.unique(regions[name])), name
        assert regions[name].dtype == np.int64
    assert pairs.shape == FACE.lip_pairs.shape
    motion = moved()
    assert np.corrcoef(lip_gap(motion, pairs).mean(axis=1), true_gap(motion))[0, 1] > 0.999
    assert np.abs(lip_gap(FACE.neutral, pairs)).max() < 1e-3  # the mouth is closed


def test_a_few_picked_points_of_the_lips_are_enough():
    picked = np.random.default_rng(1).choice(FACE.regions["lips"], 24, replace=False)
    regions, pairs = regions_from_lips(FACE.neutral, FACE.faces, picked, mm_per_unit=1000)
    assert overlap(regions["mouth"], FACE.regions["mouth"]) > 0.85
    assert overlap(regions["mouth_view"], FACE.regions["mouth_view"]) > 0.9
    motion = moved()
    assert np.corrcoef(lip_gap(motion, pairs).mean(axis=1), true_gap(motion))[0, 1] > 0.99


def test_a_region_of_mouth_and_chin_still_finds_the_slit_and_centres_the_view():
    x, y, z = FACE.neutral.T
    chin = (np.abs(x) < 0.04) & (y > -0.112) & (y < -0.048) & (z > 0)
    wide = np.flatnonzero(chin & FACE.part["skin"] & (FACE.mask["inside_mouth"] < 0.5))
    regions, pairs = regions_from_lips(FACE.neutral, FACE.faces, wide, mm_per_unit=1000)
    motion = moved()
    assert np.corrcoef(lip_gap(motion, pairs).mean(axis=1), true_gap(motion))[0, 1] > 0.99
    of_lips = mouth_view(FACE.topology, FACE.neutral, 1000).camera.target
    found = Topology(FACE.faces, regions, pairs, FACE.topology.colours)
    assert np.allclose(mouth_view(found, FACE.neutral, 1000).camera.target[:2], of_lips[:2], atol=0.003)


def test_the_view_shows_what_the_hand_made_one_shows():
    regions, pairs = regions_from_lips(FACE.neutral, FACE.faces, FACE.regions["lips"], mm_per_unit=1000)
    found = Topology(FACE.faces, regions, pairs, FACE.topology.colours)
    motion = moved(4)

    def picture(topology: Topology) -> np.ndarray:
        view = mouth_view(topology, FACE.neutral, 1000)
        return render_mouth(view, torch.from_numpy(motion[:, view.vertex_ids])).numpy()

    assert np.abs(picture(found) - picture(FACE.topology)).max(axis=0).mean() < 0.005


def test_unit_and_place_of_the_mesh_do_not_matter():
    lips = FACE.regions["lips"]
    first, pairs = regions_from_lips(FACE.neutral, FACE.faces, lips, mm_per_unit=1000)
    other = (FACE.neutral + np.float32([1, -2, 0.5])) / 0.185
    second, other_pairs = regions_from_lips(other, FACE.faces, lips, mm_per_unit=185)
    for name, ids in first.items():
        assert overlap(second[name], ids) > 0.99, name
    assert np.abs(lip_gap(FACE.neutral, pairs) - lip_gap(FACE.neutral, other_pairs)).max() < 1e-4


def test_a_mask_without_a_cavity():
    kept = np.flatnonzero(FACE.part["skin"] & (FACE.mask["inside_mouth"] < 0.5) & (FACE.neutral[:, 2] > -0.02))
    faces, lips = submesh(FACE.faces, kept), np.searchsorted(kept, FACE.regions["lips"])
    regions, pairs = regions_from_lips(FACE.neutral[kept], faces, lips, mm_per_unit=1000)
    assert overlap(kept[regions["mouth"]], FACE.regions["mouth"]) > 0.9
    motion = moved()
    assert np.corrcoef(lip_gap(motion[:, kept], pairs).mean(axis=1), true_gap(motion))[0, 1] > 0.999


def test_a_mesh_whose_lips_are_one_surface_has_no_pairs():
    x, y = np.meshgrid(np.linspace(-40, 40, 21), np.linspace(-40, 40, 21))
    sheet = np.stack([x, y, -0.01 * x**2], -1).reshape(-1, 3)
    grid = np.arange(21 * 21).reshape(21, 21)
    a, b, c, d = (part.ravel() for part in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    lips = np.flatnonzero((np.abs(sheet[:, 0]) < 25) & (np.abs(sheet[:, 1]) < 12))
    regions, pairs = regions_from_lips(sheet, faces, lips, mm_per_unit=1)
    assert pairs.shape == (0, 2)
    assert set(lips) < set(regions["mouth"])


def test_wrong_units_and_wrong_numbers_are_refused():
    lips = FACE.regions["lips"]
    with pytest.raises(BadInput, match=r"lips: expected a region 20 to 130 mm wide along x, found 0.045 mm"):
        regions_from_lips(FACE.neutral, FACE.faces, lips, mm_per_unit=1)
    with pytest.raises(BadInput, match=r"lips: expected vertex numbers 0 … 4791, found 5 … 4792"):
        regions_from_lips(FACE.neutral, FACE.faces, np.array([5, 4792]), mm_per_unit=1000)
    with pytest.raises(BadInput, match="found none"):
        regions_from_lips(FACE.neutral, FACE.faces, np.array([], int), mm_per_unit=1000)


def test_what_lies_behind_the_face_is_hidden():
    ids = np.flatnonzero(FACE.part["tongue"])
    assert hidden_from_front(FACE.neutral * 1000, FACE.faces, ids).all()
    nose = np.array([FACE.neutral[:, 2].argmax()])
    assert not hidden_from_front(FACE.neutral * 1000, FACE.faces, nose).any()


def test_colours_tell_skin_lips_and_the_inside_apart():
    regions, _ = regions_from_lips(FACE.neutral, FACE.faces, FACE.regions["lips"], mm_per_unit=1000)
    colours = face_colours(FACE.neutral, FACE.faces, regions, mm_per_unit=1000)
    assert (colours.shape, colours.dtype) == (FACE.neutral.shape, np.float32)
    brightness = colours.mean(axis=1)
    cavity = np.flatnonzero(FACE.part["tongue"] & (FACE.neutral[:, 2] > -0.03))
    forehead = FACE.regions["upper_face"]
    assert brightness[cavity].max() < brightness[regions["lips"]].min() < brightness[forehead].min()


def test_lips_are_coloured_when_the_list_holds_the_chin():
    x, y, z = FACE.neutral.T
    chin = (np.abs(x) < 0.04) & (y > -0.112) & (y < -0.048) & (z > 0)
    wide = np.flatnonzero(chin & FACE.part["skin"] & (FACE.mask["inside_mouth"] < 0.5))
    regions, _ = regions_from_lips(FACE.neutral, FACE.faces, wide, mm_per_unit=1000)
    colours = face_colours(FACE.neutral, FACE.faces, regions, mm_per_unit=1000)
    found = np.flatnonzero((colours == np.float32(LIPS)).all(axis=1))
    true = FACE.regions["lips"]
    assert len(np.intersect1d(found, true)) > 0.7 * len(true)
    away = np.linalg.norm(FACE.neutral[found, None, :2] - FACE.neutral[None, true, :2], axis=2).min(axis=1)
    assert away.max() < 0.005


@pytest.mark.parametrize("content", ["3, 1, 2, 1", "3 1\n2\t1\n", "3,1,2,1,"])
def test_lists_in_text_keep_order_and_repetitions(tmp_path, content):
    (tmp_path / "lve.txt").write_text(content)
    assert read_ids(tmp_path / "lve.txt").tolist() == [3, 1, 2, 1]
    assert read_ids(tmp_path / "lve.txt").dtype == np.int64


def test_lists_in_arrays_json_and_masks(tmp_path):
    np.save(tmp_path / "ids.npy", np.array([4.0, 2.0]))
    np.save(tmp_path / "mask.npy", np.array([False, True, True]))
    (tmp_path / "ids.json").write_text(json.dumps([7, 8]))
    (tmp_path / "FLAME_masks.pkl").write_bytes(pickle.dumps({"lips": np.array([5, 6, 6]), "nose": np.array([1])}, 2))
    assert read_ids(tmp_path / "ids.npy").tolist() == [4, 2]
    assert read_ids(tmp_path / "mask.npy").tolist() == [1, 2]
    assert read_ids(tmp_path / "ids.json").tolist() == [7, 8]
    assert read_ids(f"{tmp_path}/FLAME_masks.pkl:lips").tolist() == [5, 6, 6]
    (tmp_path / "masks.PKL").write_bytes((tmp_path / "FLAME_masks.pkl").read_bytes())
    assert read_ids(f"{tmp_path}/masks.PKL:lips").tolist() == [5, 6, 6]
    with pytest.raises(BadInput, match=r"masks.PKL: expected one of the masks lips, nose, found ''\. Write .*PKL:NAME"):
        read_ids(tmp_path / "masks.PKL")
    with pytest.raises(BadInput, match=r"FLAME_masks.pkl: expected one of the masks lips, nose, found 'lip'. Write "):
        read_ids(f"{tmp_path}/FLAME_masks.pkl:lip")


NUMBERS = "Write one list of whole numbers, counted from 0, or of true and false."


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[1, 1e400]", "the number inf"),
        ("[1, 1e300]", "the number 1e+300"),
        ("[1, -Infinity]", "the number -inf"),
        ("[NaN]", "the number nan"),
        ("[1, -1]", "the number -1"),
        ("[1, 2.5]", "the number 2.5"),
        ("[4294967296]", "the number 4294967296"),
        ("[1" + 200 * "0" + "]", "the number of 665 bits"),
        ("[1, true]", "a list with a bool among numbers in it"),
        ('["1", 2]', "a list with a str in it"),
        ("[[1], [2]]", "a list with a list in it"),
        ('{"a": 1}', "1 values of type object"),
        ("[]", "0 values of type float64"),
        ("null", "1 values of type object"),
    ],
)
def test_numbers_that_number_no_vertex_are_refused(tmp_path, content, found):
    (tmp_path / "lips.json").write_text(content)
    with pytest.raises(BadInput) as refused:
        read_ids(tmp_path / "lips.json")
    assert f"expected a list of vertex numbers, found {found}. {NUMBERS}" in str(refused.value)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, np.inf], "the number inf"),
        ([1, 1e300], "the number 1e+300"),
        ([np.nan, 2], "the number nan"),
        ([1, -2], "the number -2"),
        ([0.5], "the number 0.5"),
        ([1 + 2j], "1 values of type complex128"),
        (["1"], "1 values of type <U1"),
        (np.array([2**64 - 1], np.uint64), "the number 18446744073709551615"),
    ],
)
def test_arrays_of_numbers_that_number_no_vertex_are_refused(tmp_path, values, found):
    np.save(tmp_path / "lips.npy", np.array(values))
    (tmp_path / "masks.pkl").write_bytes(pickle.dumps({"lips": np.array(values)}))
    for path in (tmp_path / "lips.npy", f"{tmp_path / 'masks.pkl'}:lips"):
        with pytest.raises(BadInput) as refused:
            read_ids(path)
        assert f"expected a list of vertex numbers, found {found}. {NUMBERS}" in str(refused.value)


def test_a_list_of_truth_values_gives_the_numbers_of_the_true_ones(tmp_path):
    (tmp_path / "ids.json").write_text("[false, true, true]")
    assert read_ids(tmp_path / "ids.json").tolist() == [1, 2]


def test_masks_whose_lists_share_their_parts_are_refused(tmp_path):
    """Forty nested lists, each of which contains the next one twice."""
    mask: list = [1]
    for _ in range(40):
        mask = [mask, mask]
    (tmp_path / "masks.pkl").write_bytes(pickle.dumps({"lips": mask}))
    with pytest.raises(BadInput, match="found one that expands far beyond its size"):
        read_ids(f"{tmp_path}/masks.pkl:lips")
    (tmp_path / "masks.pkl").write_bytes(pickle.dumps({"lips": [[1], "a"], "nose": complex(1)}))
    for name, found in (("lips", "a list with a list in it"), ("nose", "1 values of type complex128")):
        with pytest.raises(BadInput, match=f"found {found}"):
            read_ids(f"{tmp_path}/masks.pkl:{name}")


@pytest.mark.parametrize("content", ["", "1, x", "-3 4", "1.5 2", "1" + 30 * "0", 5000 * "9"])
def test_what_is_no_list_of_numbers_is_refused(tmp_path, content):
    (tmp_path / "lips.txt").write_text(content)
    with pytest.raises(BadInput, match=r"lips.txt: expected a list of vertex numbers, found"):
        read_ids(tmp_path / "lips.txt")
    with pytest.raises(BadInput, match="expected a file, found nothing"):
        read_ids(tmp_path / "none.txt")
