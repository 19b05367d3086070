"""CPBD compared with closed forms on pictures of known blur, and with a plain loop.

On the picture `img1` of the LIVE database, which cannot be shipped, it gives the authors' own 0.1352566.
"""

import cv2
import numpy as np
import pytest

from learn2talk_core.metrics.cpbd import canny, cpbd, edge_widths, upright_edges


def ramps(width: int, low: int = 40, high: int = 200, size: int = 128) -> np.ndarray:
    """Vertical edges that need `width` steps from dark to bright, or back, with flat grey around them."""
    row = np.full(size, low, np.float64)
    for number, start in enumerate(range(10, size - 20, 32)):
        slope = np.linspace(low, high, width + 1)
        row[start : start + width + 1] = slope[:: 1 if number % 2 == 0 else -1]
        row[start + width + 1 :] = high if number % 2 == 0 else low
    return np.tile(np.round(row).astype(np.uint8), (size, 1))


@pytest.mark.parametrize("width", [2, 3, 4, 5, 6, 9])
def test_widths_of_ramps_are_their_steps(width: int) -> None:
    found = edge_widths(ramps(width).astype(np.float64))
    assert set(found[found > 0]) == {width}
    assert (found > 0).any(axis=0).sum() >= 4  # all four ramps, up and down


@pytest.mark.parametrize(("contrast", "just_noticeable"), [(50, 5), (51, 3), (160, 3), (20, 5)])
def test_blur_is_seen_beyond_the_just_noticeable_width(contrast: int, just_noticeable: int) -> None:
    for width in range(2, 9):
        expected = 1.0 if width <= just_noticeable else 0.0
        assert cpbd(ramps(width, 60, 60 + contrast)) == expected, width


def test_counting_widths_is_the_papers_cumulative_probability() -> None:
    """P of every whole width, and the sum of its histogram up to 63 %, as the authors compute it."""
    for just_noticeable in (3, 5):
        for width in range(1, 204):
            probability = 1 - np.exp(-((width / just_noticeable) ** 3.6))
            assert (round(100 * probability) <= 63) == (width <= just_noticeable)


def test_widths_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.uniform(0, 255, (70, 90)), (0, 0), 1.5).round()
    found, edges = edge_widths(image), upright_edges(image)
    down, right = np.gradient(image)
    expected = np.zeros_like(found)
    for row in range(1, 69):
        for column in range(1, 89):
            angle = np.degrees(np.arctan2(down[row, column], right[row, column]))
            if not edges[row, column] or right[row, column] == 0 or 22.5 < abs(angle) < 157.5:
                continue
            line, left, end = image[row] * np.sign(right[row, column]), column - 1, column + 1
            while left > 0 and line[left - 1] < line[left]:
                left -= 1
            while end < 89 and line[end + 1] > line[end]:
                end += 1
            expected[row, column] = end - left
    assert (expected > 0).sum() > 100
    np.testing.assert_array_equal(found, expected)


def test_sharper_pictures_score_higher() -> None:
    rng = np.random.default_rng(1)
    sharp = cv2.resize(rng.integers(0, 256, (24, 24)).astype(np.uint8), (192, 192), interpolation=cv2.INTER_NEAREST)
    scores = [cpbd(cv2.GaussianBlur(sharp, (0, 0), sigma)) for sigma in (0.3, 0.8, 1.2, 2.0, 4.0)]
    assert all(score is not None for score in scores)
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert scores[0] > 0.9  # type: ignore[operator]
    assert scores[-1] < 0.1  # type: ignore[operator]


def test_canny_finds_a_square_and_nothing_in_a_plain_picture() -> None:
    square = np.full((96, 96), 30.0)
    square[30:60, 30:60] = 200
    found = canny(square)
    assert found[28:32, 35:55].any(axis=0).all()
    assert not found[:20].any()
    assert not canny(np.full((96, 96), 30.0)).any()


@pytest.mark.parametrize("shape", [(128, 128), (63, 200), (2, 2), (64, 1)])
def test_pictures_without_an_edge_have_no_score(shape: tuple[int, int]) -> None:
    assert cpbd(np.full(shape, 90, np.uint8)) is None
