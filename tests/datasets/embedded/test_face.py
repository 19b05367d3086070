import numpy as np

from learn2talk_core.datasets.embedded.face import NOISE_WAVES, REST_GAP, SCAN_NOISE, colours, load_face
from learn2talk_core.datasets.embedded.speakers import make_speakers
from learn2talk_core.mesh.topology import lip_gap, submesh


def test_the_head_is_metric_and_aligned() -> None:
    face = load_face()
    eyes = face.part["left_eye"] | face.part["right_eye"]
    for speaker in make_speakers(6, 0):
        template = face.identity(speaker)
        assert template.shape == (4792, 3)
        assert template.dtype == np.float32
        np.testing.assert_allclose(template[eyes].mean(0), 0, atol=2e-5)
        assert 0.11 < np.ptp(template[face.mask["ears"] > 0.5, 0]) < 0.22  # heads are 14 to 18 cm wide
        assert template[face.part["left_eye"], 0].mean() > 0.02
    assert np.abs(face.identity(speaker) - face.neutral).max() > 0.002


def test_lips_of_identities_are_closed() -> None:
    face = load_face()
    for speaker in make_speakers(20, 0):
        assert lip_gap(face.identity(speaker), face.lip_pairs).max() < REST_GAP + 1e-5


def test_regions() -> None:
    face = load_face()
    sizes = {name: len(ids) for name, ids in face.regions.items()}
    assert sizes["lips"] == 256
    assert 300 < sizes["mouth"] < 600
    assert sizes["mouth_view"] < 2500
    assert set(face.regions["lips"]) < set(face.regions["mouth"]) < set(face.regions["mouth_view"])
    assert not set(face.regions["upper_face"]) & set(face.regions["mouth"])
    assert set(np.nonzero(face.part["tongue"])[0]) < set(face.regions["mouth_view"])
    assert len(submesh(face.faces, face.regions["mouth_view"])) > 3500
    assert set(face.lip_pairs.ravel()) < set(face.regions["lips"])


def test_lip_pairs_face_each_other_symmetrically() -> None:
    face = load_face()
    upper, lower = face.neutral[face.lip_pairs[:, 0]], face.neutral[face.lip_pairs[:, 1]]
    assert np.linalg.norm(upper - lower, axis=1).max() < 0.004
    np.testing.assert_allclose(upper[:, 0], -upper[::-1, 0], atol=1e-5)
    opened = face.neutral + 0.3 * face.unit["jawOpen"]
    assert lip_gap(opened, face.lip_pairs).min() > 0.004


def test_basis_and_noise() -> None:
    face = load_face()
    assert face.basis.shape == (len(face.unit) + NOISE_WAVES, 4792, 3)
    np.testing.assert_array_equal(face.basis[list(face.unit).index("jawOpen")], face.unit["jawOpen"])
    noise = np.random.default_rng(0).normal(size=(200, NOISE_WAVES))
    coefficients = np.concatenate([np.zeros((200, len(face.unit))), noise], axis=1)
    moved = face.vertices(face.neutral, coefficients) - face.neutral
    rms = np.sqrt((moved**2).sum(-1).mean())
    assert abs(rms / SCAN_NOISE - 1) < 0.1


def test_closing_unit_undoes_the_jaw_at_the_lips() -> None:
    face = load_face()
    closed = face.neutral + 0.2 * (face.unit["jawOpen"] + face.unit["mouthClose"])
    assert lip_gap(closed, face.lip_pairs).max() < 0.002


def test_colours() -> None:
    face = load_face()
    drawn = [colours(np.random.default_rng(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 0.05
    for albedo in (*drawn, colours()):
        assert albedo.shape == (4792, 3)
        assert albedo.dtype == np.float32
        assert albedo.min() >= 0
        assert albedo.max() <= 1
        teeth = albedo[face.part["upper_teeth"]].max(0)
        assert teeth.min() > 0.8
