"""Hot and cold pixels of a dark."""

from __future__ import annotations

import numpy as np
import pytest

from spherex.tasks.clipping import find_deviant_pixels


def test_hot_and_cold_pixels_are_found_on_structure(rng):
    rows, columns = np.mgrid[:200, :160]
    image = 0.35 * np.exp(-((rows / 40) ** 2 + (columns / 40) ** 2))
    image += rng.normal(0, 0.2, 8)[columns // 20]
    image += rng.normal(0, 0.01, image.shape)
    hot = rng.uniform(size=image.shape) < 0.005
    cold = ~hot & (rng.uniform(size=image.shape) < 0.003)
    image[hot] += rng.uniform(0.1, 5, np.count_nonzero(hot))
    image[cold] -= 0.1
    image[:, 33] = np.nan
    good = np.isfinite(image)
    found = find_deviant_pixels(image.astype(np.float32), 6.0, 6.0, 9)
    np.testing.assert_array_equal(found.hot, hot & good)
    np.testing.assert_array_equal(found.cold, cold & good)
    # Noise of the pixel and of the median of nine.
    assert found.sigma == pytest.approx(0.01 * np.sqrt(1 + np.pi / 18), rel=0.1)


def test_pixels_without_value_make_no_others_deviant(rng):
    image = rng.normal(0, 1, (200, 60))
    image[:, 30:] += 100
    for row, column in ((100, 40), (50, 10), (62, 45)):
        image[row : row + 3, column] = image[row + 4 : row + 7, column] = np.nan
    # Alone among them, a hot pixel is one all the same.
    image[120:150, 20] = np.nan
    image[130:133:2, 20] = 1000, 1100
    found = find_deviant_pixels(image, 6.0, 6.0, 9)
    assert np.argwhere(found.hot).tolist() == [[130, 20], [132, 20]]
    assert not found.cold.any()


@pytest.mark.parametrize("part", [0.1, 0.5])
def test_deviant_pixels_are_found_among_many_without_value(rng, part):
    image = rng.normal(0, 1, (300, 150))
    hot = rng.uniform(size=image.shape) < 0.002
    image[hot] += 20
    image[rng.uniform(size=image.shape) < part] = np.nan
    found = find_deviant_pixels(image, 6.0, 6.0, 9)
    np.testing.assert_array_equal(found.hot, hot & np.isfinite(image))
    assert not found.cold.any()
    assert found.sigma == pytest.approx(1, abs=0.1)


def test_pieces_of_a_frame_see_their_neighbours(rng):
    image = rng.normal(0, 1, (200, 60))
    # Bands of six rows, which the median of nine follows, across the border between pieces of 64 rows.
    image[60:66, 20] += 100
    image[62:68, 40] += 100
    found = find_deviant_pixels(image, 6.0, 6.0, 9)
    assert np.argwhere(found.hot | found.cold).tolist() == []


def test_a_frame_without_scatter_has_no_deviant_pixels():
    for value in (1.0, np.nan):
        found = find_deviant_pixels(np.full((60, 50), value, np.float32), 6.0, 6.0, 9)
        assert not found.hot.any()
        assert not found.cold.any()
