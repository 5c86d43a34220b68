"""Pixels that contradict a fit, cores of bright stars, saturation and wrong PSFs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from spherex.image import SPHEREX_FLAGS
from spherex.photometry import Fluxes, Pixels, Profiles, fit, measure_fluxes, residuals
from spherex.photometry.residuals import errors_with_profile, profile_errors
from spherex.spectra.quality import is_good, quality_bits, quality_names, quality_of

from .test_photometry import _GAIN, BAD, SUSPECT, gaussian_psf, grid_of_places, simulate_field

_HIT = SPHEREX_FLAGS.bits("TRANSIENT")


def make_stars(flux: float, number: int = 6, seed: int = 5) -> tuple[Pixels, Any, Any]:
    """Return an image of a lattice of equal stars, none of whose pixels is suspect, and their positions."""
    rng = np.random.default_rng(seed)
    x, y, shape = grid_of_places(rng, number)
    pixels = simulate_field(rng, x, y, np.full(len(x), flux), shape, gaussian_psf())
    return pixels, x, y


def measure(pixels: Pixels, x: Any, y: Any, width: float = 0.75) -> Fluxes:
    return measure_fluxes(pixels, x, y, np.arange(len(x)), Profiles(gaussian_psf(width=width)))


def good_of(fluxes: Fluxes) -> Any:
    quality = quality_of(fluxes, SPHEREX_FLAGS) | quality_bits({"NO_FLUX": fluxes.reason != ""}, len(fluxes.flux))
    return is_good(quality)


def near(pixels: Pixels, x: Any, y: Any, radius: float) -> Any:
    """Return the pixels near a star."""
    rows, columns = np.indices(pixels.data.shape)
    return np.hypot(columns - x[:, None, None], rows - y[:, None, None]).min(axis=0) <= radius


@pytest.mark.parametrize("offset", [(1, 0), (-1, -1), (2, 0), (5, -3)])
@pytest.mark.parametrize("flux", [30.0, 300.0])
def test_a_hit_is_rejected_however_bright_it_is(offset: tuple[int, int], flux: float) -> None:
    pixels, x, y = make_stars(flux)
    columns, rows = np.rint(x).astype(int) + offset[0], np.rint(y).astype(int) + offset[1]
    for charge in (300, 3e4):
        hit = dataclasses.replace(pixels, data=pixels.data.copy(), variance=pixels.variance.copy())
        hit.data[rows, columns] += charge
        hit.variance[rows, columns] += _GAIN * charge
        fluxes = measure(hit, x, y)
        # The noise of one pixel in some hundred contradicts a fit, too.
        assert ((fluxes.rejected > 0) == (np.hypot(*offset) < 2.5)).mean() > 0.9
        good = good_of(fluxes)
        assert good.mean() > 0.8
        assert np.abs((fluxes.flux - flux) / fluxes.flux_error)[good].max() < 5


@pytest.mark.parametrize("has_variance", [True, False])
def test_a_bright_core_that_is_suspect_is_used(has_variance: bool) -> None:
    pixels, x, y = make_stars(3000.0)
    is_suspect = near(pixels, x, y, 1.6)
    pixels.flags[is_suspect] = SUSPECT | _HIT
    if not has_variance:
        pixels.variance[is_suspect] = np.nan
    fluxes = measure(pixels, x, y)
    assert fluxes.is_rescued.all()
    assert np.abs((fluxes.flux - 3000) / fluxes.flux_error).max() < 5
    assert good_of(fluxes).all()
    assert set(quality_names(quality_of(fluxes, SPHEREX_FLAGS))) == {"HIT"}
    # Without the knowledge that they are only suspect, the stars are lost.
    lost = measure(dataclasses.replace(pixels, bad=SUSPECT), x, y)
    assert not good_of(lost).any()


@pytest.mark.parametrize("flux", [0.0, 3.0])
@pytest.mark.parametrize("charge", [0.0, 20.0, 500.0])
def test_a_faint_star_below_suspect_hits_is_not_used(flux: float, charge: float) -> None:
    pixels, x, y = make_stars(flux)
    is_suspect = near(pixels, x, y, 1.6)
    pixels.flags[is_suspect] = SUSPECT
    pixels.data[is_suspect] += charge * np.random.default_rng(1).uniform(0, 1, is_suspect.sum())
    fluxes = measure(pixels, x, y)
    assert not fluxes.is_rescued.any()
    assert set(fluxes.reason) == {"too much of the PSF is on pixels that cannot be used"}
    assert not good_of(fluxes).any()


def test_suspect_pixels_without_a_variance_need_others() -> None:
    pixels, x, y = make_stars(3000.0, number=2)
    pixels.flags[:] = SUSPECT
    pixels.variance[:] = np.nan
    fluxes = measure(pixels, x, y)
    assert np.isnan(fluxes.flux).all()
    assert (fluxes.reason != "").all()


@pytest.mark.parametrize("is_flagged", [True, False])
@pytest.mark.parametrize("level", [0.2, 0.4, 0.6])
def test_a_clipped_star_is_marked(level: float, is_flagged: bool) -> None:
    pixels, x, y = make_stars(3000.0)
    top = level * pixels.data.max()
    is_clipped = pixels.data > top
    pixels.data[is_clipped] = top
    pixels.flags[is_clipped] = SUSPECT if is_flagged else 0
    fluxes = measure(pixels, x, y)
    is_right = np.abs((fluxes.flux - 3000) / fluxes.flux_error) < 5
    assert (is_right | ~good_of(fluxes)).all()
    if not is_flagged and level < 0.3:
        assert fluxes.has_plateau.mean() > 0.8


@pytest.mark.parametrize("flux", [3.0, 10.0, 30.0, 100.0, 1000.0])
def test_noise_and_neighbours_are_no_plateau(flux: float) -> None:
    pixels, x, y = make_stars(flux)
    assert not measure(pixels, x, y).has_plateau.any()
    # The light of a brighter neighbour falls into the core.
    rng = np.random.default_rng(6)
    x, y = np.concatenate([x, x + 2]), np.concatenate([y, y])
    pixels = simulate_field(rng, x, y, np.repeat([flux, 3 * flux], len(x) // 2), pixels.data.shape, gaussian_psf())
    assert not measure(pixels, x, y).has_plateau.any()


@pytest.mark.parametrize(
    ("width", "offset", "expected"), [(0.75, 0.0, (0.0, 0.01)), (0.7125, 0.0, (0.03, 0.1)), (0.75, 0.1, (0.12, 0.26))]
)
def test_errors_grow_with_that_of_the_profile(width: float, offset: float, expected: tuple[float, float]) -> None:
    pixels, x, y = make_stars(3000.0)
    fluxes = measure(pixels, x + offset, y, width)
    noise = fluxes.flux / fluxes.signal_to_noise
    eta = profile_errors(fluxes.core_chi2, fluxes.core_dof, fluxes.flux, noise)
    assert expected[0] <= np.median(eta) <= expected[1]
    np.testing.assert_allclose(fluxes.flux_error, np.hypot(noise, 0.3 * eta * fluxes.flux), rtol=1e-3)
    assert np.abs((fluxes.flux - 3000) / fluxes.flux_error).max() < 5
    # With a wrong position two pixels may be equal by chance.
    assert good_of(fluxes).mean() > 0.8


def test_errors_of_profiles_by_hand() -> None:
    # 20 degrees of freedom: noise alone explains 20 + 3 sqrt(40) = 38.97.
    chi2, dof = np.array([38.0, 138.97, 138.97]), np.array([20, 20, 20])
    eta = profile_errors(chi2, dof, np.array([100.0, 100.0, 0.0]), np.ones(3))
    np.testing.assert_allclose(eta, [0, 0.1, 0], atol=1e-4)
    errors = errors_with_profile(np.ones(2), np.full(2, 100.0), np.array([1.0, 0.5]), np.array([0.1, 0.1]))
    # All of the PSF: 0.03 of the flux; half of it: 0.05 of the other half, too.
    np.testing.assert_allclose(errors, [np.sqrt(1 + 3.0**2), np.sqrt(1 + 3.0**2 + 2.5**2)])


def test_more_rounds_change_no_flux(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    pixels, x, y = make_stars(300.0, number=12)
    is_hit = rng.random(pixels.data.shape) < 0.01
    charge = 10 ** rng.uniform(0, 3, is_hit.sum())
    pixels.data[is_hit] += charge
    pixels.variance[is_hit] += 0.01 * charge
    few = measure(pixels, x, y, width=0.72)
    monkeypatch.setattr(residuals, "_MOST_ROUNDS", 30)
    monkeypatch.setattr(fit, "_MOST_ROUNDS", 60)
    many = measure(pixels, x, y, width=0.72)
    assert (few.rejected > 0).sum() > 10
    assert np.abs((few.flux - many.flux) / many.flux_error).max() < 0.1


@pytest.mark.parametrize("damage", ["all pixels are bad", "variance of 0", "no variance", "no data"])
def test_an_image_without_information_has_no_number(damage: str) -> None:
    pixels, x, y = make_stars(300.0, number=2)
    plane, value = {
        "all pixels are bad": (pixels.flags, BAD),
        "variance of 0": (pixels.variance, 0.0),
        "no variance": (pixels.variance, np.nan),
        "no data": (pixels.data, np.nan),
    }[damage]
    plane[:] = value
    fluxes = measure(pixels, x, y)
    for name in ("flux", "flux_error", "aperture_flux", "aperture_flux_error", "background"):
        assert np.isnan(getattr(fluxes, name)).all()
    assert set(fluxes.reason) == {"too much of the PSF is on pixels that cannot be used"}
    assert not good_of(fluxes).any()


@pytest.mark.parametrize("is_effective", [True, False])
def test_a_psf_that_lacks_light_gives_no_flux(is_effective: bool) -> None:
    pixels, x, y = make_stars(300.0, number=2)
    psf = gaussian_psf(is_effective)
    profiles = Profiles(dataclasses.replace(psf, samples=0.9 * psf.samples))
    fluxes = measure_fluxes(pixels, x, y, np.arange(4), profiles)
    assert np.isnan(fluxes.flux).all()
    assert (fluxes.reason != "").all()


def test_neither_order_nor_distant_targets_change_a_measurement() -> None:
    pixels, x, y = make_stars(300.0)
    rng = np.random.default_rng(2)
    pixels.data[rng.random(pixels.data.shape) < 0.01] += 30
    pixels.flags[near(pixels, x[:8], y[:8], 1.6)] = SUSPECT
    order = rng.permutation(len(x))
    every, shuffled, few = (measure(pixels, x[part], y[part]) for part in (np.arange(len(x)), order, np.arange(10)))
    for one, part in ((shuffled, order), (few, np.arange(10))):
        np.testing.assert_allclose(one.flux, every.flux[part], rtol=1e-12)
        np.testing.assert_array_equal(quality_of(one, SPHEREX_FLAGS), quality_of(every, SPHEREX_FLAGS)[part])
        np.testing.assert_array_equal(good_of(one), good_of(every)[part])
