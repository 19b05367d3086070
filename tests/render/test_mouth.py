import numpy as np
import pytest
import torch

from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.render.mouth import PUBLISHED_CROP, followed, mouth_view, render_mouth
from learn2talk_core.render.render import BACKGROUND, render
from learn2talk_core.video.landmarks import REFERENCE, similarity, smooth_landmarks
from tests.golden.fill import Golden

# MediaPipe's canonical face (Apache-2.0), millimetres, y up: the means of its points at right eye, left eye, nose and
# mouth (`video.landmarks`), and the width of the mouth, from corner to corner.
CANONICAL = np.array([[-31.82, 26.36], [31.82, 26.36], [0.0, -19.09], [0.0, -43.01]])
CANONICAL_MOUTH = 49.12


def wall(size: float, cells: int) -> tuple[Topology, np.ndarray]:
    """A flat square of `size` mm that faces the camera, with a lip-coloured bar; and its vertices in metres."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, cells + 1), np.linspace(-0.5, 0.5, cells + 1))
    vertices = np.stack([x, y, 0 * x], -1).reshape(-1, 3) * size / 1000
    a = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    b, c, d = a + 1, a + cells + 1, a + cells + 2
    faces = np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)]).astype(np.int32)
    lips = np.nonzero((np.abs(vertices[:, 1]) < 0.008) & (np.abs(vertices[:, 0]) < 0.025))[0]
    colours = np.full((len(vertices), 3), 0.8, np.float32)
    colours[lips] = [0.7, 0.2, 0.2]
    regions = {"lips": lips, "mouth_view": np.nonzero(np.abs(vertices[:, 0]) < 0.03)[0]}
    return Topology(faces, regions, np.zeros((0, 2), np.int64), colours), vertices + np.array([0.1, 0.2, 0.3])


def test_crop_is_85_mm_wide_and_centred_on_the_lips():
    topology, template = wall(200, 50)
    everything = Topology(
        topology.faces,
        {**topology.regions, "mouth_view": np.arange(len(template))},
        topology.lip_pairs,
        topology.colours,
    )
    view = mouth_view(everything, template, mm_per_unit=1000, size=88)
    image = render_mouth(view, torch.tensor(template, dtype=torch.float32)[None])
    assert image.shape == (1, 88, 88)
    lips = image[0] < image[0, 2, 2] * 0.7
    rows, columns = torch.nonzero(lips, as_tuple=True)
    assert float(rows.double().mean()) == pytest.approx(43.5, abs=0.6)
    assert float(columns.double().mean()) == pytest.approx(43.5, abs=0.6)
    assert int(columns.max() - columns.min() + 1) == pytest.approx(50 / 85 * 88, abs=4)


def test_only_the_region_is_drawn_and_units_do_not_matter():
    topology, template = wall(200, 50)
    view = mouth_view(topology, template, mm_per_unit=1000)
    image = render_mouth(view, torch.tensor(template[view.vertex_ids], dtype=torch.float32)[None])
    assert view.faces.max() == len(view.vertex_ids) - 1
    assert image[0, :, :8].unique().numel() == 1  # background
    in_millimetres = mouth_view(topology, template * 1000, mm_per_unit=1)
    again = render_mouth(in_millimetres, torch.tensor(template[view.vertex_ids] * 1000, dtype=torch.float32)[None])
    torch.testing.assert_close(again, image, atol=1e-4, rtol=0)


def test_grey_is_the_grey_of_the_coloured_picture():
    topology, template = wall(200, 50)
    view = mouth_view(topology, template, mm_per_unit=1000, size=40)
    vertices = torch.tensor(template[view.vertex_ids], dtype=torch.float32)[None]
    coloured = render(vertices, view.faces, view.colours, view.camera, 40, 40, background=BACKGROUND)
    torch.testing.assert_close(render_mouth(view, vertices), coloured @ torch.tensor([0.299, 0.587, 0.114]))


def test_gradient_reaches_the_vertices():
    topology, template = wall(200, 50)
    view = mouth_view(topology, template, mm_per_unit=1000)
    vertices = torch.tensor(template[view.vertex_ids], dtype=torch.float32)[None].requires_grad_()
    render_mouth(view, vertices).square().sum().backward()
    assert vertices.grad.isfinite().all()
    assert vertices.grad.abs().max() > 0


@pytest.mark.parametrize("frames", [1, 5, 40])
def test_crops_move_as_those_of_films_do(frames):
    """As `mouth_crops` of a film in which only the lips move."""
    lips = np.random.default_rng(0).normal(size=(frames, 3)).cumsum(axis=0)
    landmarks = np.tile(np.array([[10.0, 20], [30, 20], [20, 30], [20, 40]]), (frames, 1, 1))
    landmarks[:, 3] += lips[:, :2]
    expected = smooth_landmarks(landmarks)[:, 3] - [20, 40]
    found = followed(torch.from_numpy(lips))
    np.testing.assert_allclose(found[:, 0, :2].numpy(), expected, atol=1e-9)
    assert not found[..., 2].any()


def test_a_crop_that_follows_stays_on_lips_that_drift():
    """Lips that all move by a constant step per frame stay in the middle, where a still camera loses them."""
    topology, template = wall(200, 50)
    topology.regions["mouth_view"] = np.arange(len(template))
    drift = np.zeros((30, 1, 3))
    drift[:, 0, 1] = np.linspace(0, -0.03, 30)
    vertices = torch.from_numpy(template[None] + drift)

    def row_of_the_bar(published: bool) -> torch.Tensor:
        image = render_mouth(mouth_view(topology, template, 1000, published=published), vertices)
        dark = (image < 0.6).double()
        return (dark * torch.arange(88.0)[:, None]).sum((1, 2)) / dark.sum((1, 2))

    still, following = row_of_the_bar(False), row_of_the_bar(True)
    assert still[-1] - still[0] == pytest.approx(0.03 / 0.085 * 88, abs=1.5)
    assert (following - 43.5).abs().max() < 1


def millimetres_of_a_training_crop(landmarks: np.ndarray) -> float:
    """What 88 pixels of a face show if its landmarks (4, 2), in mm with y up, are aligned with the reference."""
    scale = np.hypot(*similarity(landmarks * [1, -1])[:, 0])
    return 88 / float(scale)


def test_a_published_reader_sees_as_much_of_the_face_as_in_its_training_crops():
    """The crop of Ma et al.: an aligned face of 256 pixels, 96 of them around the mouth, of these the inner 88."""
    assert millimetres_of_a_training_crop(CANONICAL) == pytest.approx(PUBLISHED_CROP, abs=0.5)
    face = load_face()
    eyes = [face.neutral[face.part[f"{side}_eye"]].mean(0) for side in ("right", "left")]
    lips = face.neutral[face.topology.regions["lips"]]
    mouth = (lips.min(0) + lips.max(0)) / 2
    down = (REFERENCE[3] - REFERENCE[2])[1] / (REFERENCE[3] - REFERENCE[:2].mean(0))[1]
    nose = mouth + down * (np.mean(eyes, axis=0) - mouth)
    embedded = millimetres_of_a_training_crop(1000 * np.array([*eyes, nose, mouth])[:, :2])
    assert embedded == pytest.approx(PUBLISHED_CROP, rel=0.05)  # a smaller head


@pytest.mark.parametrize(("published", "share"), [(True, 0.501), (False, 0.578)])
def test_the_mouth_takes_as_much_of_the_crop_as_that_of_the_mean_face(published: bool, share: float):
    """A bar as wide as the canonical mouth, on a wall: the columns and rows that it fills."""
    mean_face = Golden("landmarks", "crop_mediapipe")["reference_mean_face"].dense()
    width = float(np.linalg.norm(mean_face[54] - mean_face[48])) / 88
    topology, template = wall(200, 400)
    bar = np.abs(template - [0.1, 0.2, 0.3]) < [CANONICAL_MOUTH / 2000, 0.009, 1]
    lips = np.nonzero(bar.all(axis=1))[0]
    everything = Topology(
        topology.faces,
        {"lips": lips, "mouth_view": np.arange(len(template))},
        topology.lip_pairs,
        np.where(bar.all(axis=1)[:, None], 0.1, 0.8).astype(np.float32).repeat(3, axis=1),
    )
    view = mouth_view(everything, template, 1000, published=published)
    (image,) = render_mouth(view, torch.tensor(template, dtype=torch.float32)[None])
    rows, columns = torch.nonzero(image < image.mean() / 2, as_tuple=True)
    found = int(columns.max() - columns.min() + 1) / 88
    assert found == pytest.approx(share, abs=1.5 / 88)
    assert (abs(found - width) < 0.03) == published  # our own readers are trained on a closer view
    for middle in (rows, columns):
        assert float(middle.double().mean()) == pytest.approx(43.5, abs=0.5)
