"""Light of point sources in pixels, against Gaussian PSFs, which are known in closed form."""

import numpy as np
import pytest
from scipy.special import erf

from spherex.image import Psf
from spherex.photometry import Profiles

_WIDTH = 0.8  # pixel


def _samples(side, oversampling, width):
    y, x = np.indices((side, side)) - (side - 1) / 2
    samples = np.exp(-(x**2 + y**2) / 2 / (width * oversampling) ** 2)
    return samples / samples.sum()


def _psf(*, is_effective, widths=(_WIDTH,), centres=((0.0, 0.0),)):
    side, oversampling = (33, 5) if is_effective else (101, 10)
    x, y = np.array(centres).T
    samples = np.stack([_samples(side, oversampling, width) for width in widths])
    return Psf(samples, x=x, y=y, oversampling=oversampling, effective=is_effective)


def _positions(number=50):
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0, 2039, (2, number))
    return x, y, np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)


def _along(pixels, is_effective):
    if is_effective:
        return np.exp(-(pixels**2) / 2 / _WIDTH**2) / np.sqrt(2 * np.pi) / _WIDTH
    upper, lower = ((pixels + half) / np.sqrt(2) / _WIDTH for half in (0.5, -0.5))
    return (erf(upper) - erf(lower)) / 2


@pytest.mark.parametrize(("is_effective", "tolerance"), [(False, 3e-4), (True, 5e-5)])
def test_fractions_are_those_of_the_closed_form(is_effective, tolerance):
    profiles = Profiles(_psf(is_effective=is_effective))
    x, y, column, row = _positions()
    half = profiles.side // 2
    fractions = profiles.at(x, y, column - half, row - half)
    pixels = np.arange(-half, half + 1)
    across = _along(pixels + (column - x)[:, None], is_effective)
    up = _along(pixels + (row - y)[:, None], is_effective)
    # An optical PSF is sampled at 10 points a pixel, as if it were constant in between.
    np.testing.assert_allclose(fractions, up[:, :, None] * across[:, None, :], atol=tolerance)


def test_no_light_of_an_optical_psf_is_lost_wherever_in_the_pixel():
    profiles = Profiles(_psf(is_effective=False))
    x, y, column, row = _positions()
    half = profiles.side // 2
    fractions = profiles.at(x, y, column - half, row - half)
    np.testing.assert_allclose(fractions.sum(axis=(1, 2)), 1, atol=1e-12)
    columns = (column - half)[:, None] + np.arange(profiles.side)
    np.testing.assert_allclose((fractions.sum(axis=1) * columns).sum(axis=1), x, atol=1e-5)


def test_the_phases_of_an_effective_psf_share_its_light():
    """Over all 25 phases the sum is 1 a pixel."""
    profiles = Profiles(_psf(is_effective=True))
    phases = np.arange(5) / 5
    x, y = (plane.ravel() + 100 for plane in np.meshgrid(phases, phases))
    corner = np.full(25, 100 - profiles.side // 2)
    assert profiles.at(x, y, corner, corner).sum() / 25 == pytest.approx(1, abs=1e-9)


def test_a_part_of_the_square_is_the_same_as_the_whole():
    profiles = Profiles(_psf(is_effective=False))
    x, y, column, row = _positions(3)
    half = profiles.side // 2
    whole = profiles.at(x, y, column - half, row - half)
    part = profiles.at(x, y, column - half + 4, row - half + 2, side=6)
    np.testing.assert_allclose(part, whole[:, 2:8, 4:10], atol=1e-12)


def test_squares_beside_a_source_have_its_light_and_those_beyond_have_none():
    profiles = Profiles(_psf(is_effective=True))
    half = profiles.side // 2
    x, y = np.full(3, 50.3), np.full(3, 40.4)
    left, bottom = np.array([50 - half, 52, 51 + half]), np.array([40 - half, 38 - 2 * half, 40])
    whole, beside, beyond = profiles.at(x, y, left, bottom)
    # The square begins 2 columns to the right of the source, and ends 2 rows below it.
    np.testing.assert_array_equal(beside[-half + 1 :, : half - 1], whole[: half - 1, half + 2 :])
    assert beside.any()
    assert not beyond.any()


def test_between_zones_the_psf_is_interpolated_and_beyond_them_it_stays():
    centres = ((100.0, 100.0), (200.0, 100.0), (100.0, 200.0), (200.0, 200.0))
    psf = _psf(is_effective=True, widths=(0.7, 0.8, 0.9, 1.0), centres=centres)
    profiles = Profiles(psf)
    x, y = np.array([125.0, 60.0]), np.array([150.0, 300.0])
    corner_x, corner_y = (place.astype(np.int64) - profiles.side // 2 for place in (x, y))
    found = profiles.at(x, y, corner_x, corner_y)
    middle = profiles.side // 2
    peaks = 25 * np.asarray(psf)[:, 16, 16]
    expected = 0.5 * (0.75 * peaks[0] + 0.25 * peaks[1]) + 0.5 * (0.75 * peaks[2] + 0.25 * peaks[3])
    np.testing.assert_allclose(found[:, middle, middle], [expected, peaks[2]], rtol=1e-6)
    assert profiles.nearest_zone(x, y).tolist() == [1, 3]


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearest_zone_is_that_of_all_centres(order):
    ticks = np.array([100.0, 196.0, 292.0, 392.0])
    centres = [(x, y) for y in ticks for x in ticks][::order]
    profiles = Profiles(_psf(is_effective=True, widths=(0.8,) * 16, centres=centres))
    rng = np.random.default_rng(3)
    # Beyond the outermost centres, anywhere, at centres, and halfway between two or four.
    halves = np.concatenate([ticks, (ticks[1:] + ticks[:-1]) / 2, [-7.0, 500.0]])
    x, y = (plane.ravel() for plane in np.meshgrid(halves, halves))
    x, y = (np.concatenate([some, rng.uniform(0, 500, 2000)]) for some in (x, y))
    x_centres, y_centres = np.array(centres).T
    nearest = np.hypot(x[:, None] - x_centres, y[:, None] - y_centres).argmin(axis=1) + 1
    np.testing.assert_array_equal(profiles.nearest_zone(x, y), nearest)


@pytest.mark.parametrize("is_effective", [True, False])
@pytest.mark.parametrize("damage", [np.nan, np.inf, 1.0])
def test_a_zone_that_cannot_be_used_costs_the_places_where_it_has_a_part(is_effective, damage):
    centres = [(x, y) for y in (100.0, 200.0) for x in (100.0, 200.0, 300.0)]
    psf = _psf(is_effective=is_effective, widths=(0.8,) * 6, centres=centres)
    x, y = np.array([80.0, 199.9, 200.0, 200.1, 300.0, 400.0]), np.array([150.0, 150, 150, 150, 199, 100])
    corners = tuple(np.rint(place).astype(int) - 7 for place in (x, y))
    sound = Profiles(psf).at(x, y, *corners)
    psf.samples[2, 3, 3] += damage
    profiles = Profiles(psf)
    expected = np.array([True, True, True, False, False, False])
    np.testing.assert_array_equal(profiles.is_known(x, y), expected)
    found = profiles.at(x, y, *corners)
    np.testing.assert_array_equal(found[expected], sound[expected])
    assert np.isnan(found[~expected]).all()


@pytest.mark.parametrize("is_effective", [True, False])
def test_numbers_of_samples_may_be_even_and_unequal(is_effective):
    y, x = (np.arange(number) - (number - 1) / 2 for number in (58, 63))
    samples = np.exp(-(y[:, None] ** 2 + x**2) / 2 / (_WIDTH * 8) ** 2)
    psf = Psf((samples / samples.sum())[None], x=[0], y=[0], oversampling=8, effective=is_effective)
    x, y, column, row = _positions()
    pixels = np.arange(-3, 4)
    fractions = Profiles(psf).at(x, y, column - 3, row - 3, side=7)
    across, up = (_along(pixels + (centre - place)[:, None], is_effective) for centre, place in ((column, x), (row, y)))
    np.testing.assert_allclose(fractions, up[:, :, None] * across[:, None, :], atol=1e-3)


def test_samples_of_less_than_a_pixel_are_refused():
    with pytest.raises(ValueError, match="5 x 5 samples are less than a pixel of 6 x 6"):
        Profiles(Psf(np.full((1, 5, 5), 0.04), x=[0], y=[0], oversampling=6, effective=True))
