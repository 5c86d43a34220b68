"""Fluxes of simulated targets among other sources, whose truth is known."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from spherex.photometry import Profiles, measure_fluxes

from .test_photometry import DOUBTFUL, gaussian_psf, grid_of_places, simulate_field


def check_pulls(fluxes, flux, width=0.1):
    assert (fluxes.reason == "").all()
    pull = (fluxes.flux - flux) / fluxes.flux_error
    assert abs(pull.mean()) < 0.15
    assert pull.std() == pytest.approx(1, abs=width)


@pytest.mark.parametrize("is_effective", [True, False])
@pytest.mark.parametrize("bright", [3000.0, 30000.0])
def test_sources_beside_the_square_are_fitted(is_effective, bright):
    """The square ends at 7.5 pixels, the light of a source 3 to 5 pixels from its centre."""
    rng = np.random.default_rng(3)
    x, y, shape = grid_of_places(rng, 20)
    number = len(x)
    x, y = np.concatenate([x, x + 8.4]), np.concatenate([y, y])
    psf = gaussian_psf(is_effective)
    pixels = simulate_field(rng, x, y, np.repeat([30.0, bright], number), shape, psf)
    fluxes = measure_fluxes(pixels, x, y, np.arange(number), Profiles(psf))
    assert (fluxes.neighbours == 1).all()
    check_pulls(fluxes, 30.0)


@pytest.mark.parametrize("is_effective", [True, False])
def test_all_are_found_whose_light_is_in_the_square(is_effective):
    """With a PSF that is bright up to its edge."""
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 60, (2, 150))
    x[0], y[0] = 30.49, 29.51
    psf = gaussian_psf(is_effective, width=4.0)
    profiles = Profiles(psf)
    corners = np.full(150, 23)
    light = profiles.at(x, y, corners, corners, 15).sum(axis=(1, 2))
    fluxes = measure_fluxes(simulate_field(rng, x, y, x, (60, 60), psf), x, y, np.array([0]), profiles)
    assert fluxes.neighbours[0] == (light[1:] > 1e-4).sum()


@pytest.fixture(scope="module", params=[True, False], ids=["effective", "optical"])
def crowd(request):
    """Return 400 sources of which each has some 40 neighbours, and what is seen of them."""
    rng = np.random.default_rng(6)
    x, y = rng.uniform(20, 83, (2, 400))
    flux = 10 ** rng.uniform(1, 3.5, 400)
    psf = gaussian_psf(request.param)
    return x, y, flux, simulate_field(rng, x, y, flux, (103, 103), psf), psf


def test_pulls_in_a_crowd_are_standard(crowd):
    x, y, flux, pixels, psf = crowd
    fluxes = measure_fluxes(pixels, x, y, np.arange(400), Profiles(psf))
    assert fluxes.neighbours.max() > 40
    check_pulls(fluxes, flux)
    assert (fluxes.chi2 / fluxes.dof).mean() == pytest.approx(1, abs=0.05)


def test_a_crowd_takes_little_memory_and_each_target_is_as_alone(crowd):
    x, y, _, pixels, psf = crowd
    profiles = Profiles(psf)
    alone = measure_fluxes(pixels, x, y, np.array([7, 300]), profiles)
    tracemalloc.start()
    fluxes = measure_fluxes(pixels, x, y, np.arange(400), profiles)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    np.testing.assert_allclose(fluxes.flux[[7, 300]], alone.flux, rtol=1e-9)
    np.testing.assert_allclose(fluxes.aperture_flux_error[[7, 300]], alone.aperture_flux_error, rtol=1e-9)


def test_more_neighbours_than_are_fitted_cost_the_flux_and_are_told():
    rng = np.random.default_rng(6)
    x, y = rng.uniform(34, 46, (2, 150))
    x[0], y[0] = 20.0, 40.0
    x, y = np.append(x, 60.0), np.append(y, 40.0)
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.full(151, 50.0), (80, 80), psf)
    fluxes = measure_fluxes(pixels, x, y, np.array([0, 1, 150]), Profiles(psf))
    assert fluxes.neighbours[1] == 148
    assert fluxes.reason.tolist() == [
        "",
        "148 neighbours have light in its pixels, more than the 100 that are fitted together",
        "",
    ]
    assert np.isfinite(fluxes.flux).tolist() == np.isfinite(fluxes.chi2).tolist() == [True, False, True]


def test_neighbours_in_one_place_cost_their_own_fluxes_alone():
    rng = np.random.default_rng(3)
    x, y, shape = grid_of_places(rng, 20)
    number = len(x)
    x, y = np.concatenate([x, x + 3, x + 3]), np.concatenate([y, y - 1, y - 1])
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.repeat([30.0, 200.0, 500.0], number), shape, psf)
    profiles = Profiles(psf)
    fluxes = measure_fluxes(pixels, x, y, np.arange(number), profiles)
    assert (fluxes.neighbours == 2).all()
    # What is determined are the target, the background, and what the two make together.
    # A few pixels of noise are rejected.
    assert np.median(fluxes.dof) == fluxes.dof.max() == 15**2 - 3
    check_pulls(fluxes, 30.0)
    pull = (fluxes.aperture_flux - 30) / fluxes.aperture_flux_error
    assert pull.std() == pytest.approx(1, abs=0.1)
    pair = measure_fluxes(pixels, x, y, np.array([number, 2 * number]), profiles)
    assert pair.reason.tolist() == ["its pixels do not separate its flux from those of its neighbours"] * 2


def test_doubtful_pixels_are_used_for_neighbours_in_the_square_only():
    rng = np.random.default_rng(3)
    psf = gaussian_psf()
    x, y = np.array([30.0, 35.0, 30.0, 20.8]), np.array([30.0, 30.0, 35.0, 30.0])
    pixels = simulate_field(rng, x, y, np.array([50.0, 500.0, 500.0, 500.0]), (60, 60), psf)
    inside, beside = (
        measure_fluxes(pixels, x[chosen], y[chosen], np.array([0]), Profiles(psf)) for chosen in ([0, 1, 2], [0, 3])
    )
    assert (inside.neighbours[0], beside.neighbours[0]) == (2, 1)
    pixels.flags[28:33, 33:] = DOUBTFUL
    pixels.flags[33:, 28:33] = DOUBTFUL
    pixels.flags[:, :26] = DOUBTFUL
    inside, beside = (
        measure_fluxes(pixels, x[chosen], y[chosen], np.array([0]), Profiles(psf)) for chosen in ([0, 1, 2], [0, 3])
    )
    # Left of column 26 there are 3 columns of 15; of the blocks of 5 x 5 around two neighbours their circles have 21.
    assert inside.dof[0] == 15 * 12 - 2 * (25 - 21) - 4
    # The other neighbour has no light in pixels that are used, and is not fitted.
    assert beside.neighbours[0] == 0
    assert beside.dof[0] == 15 * 12 - 2 * 25 - 2


def test_beside_a_neighbour_whose_psf_cannot_be_used_there_is_no_flux():
    one = gaussian_psf(is_effective=True)
    centres = np.array([0.0, 20.0, 40.0])
    psf = dataclasses.replace(one, samples=np.repeat(one.samples, 3, axis=0), x=centres, y=np.zeros(3))
    x, y = np.array([8.0, 19.0, 24.0, 50.0]), np.full(4, 10.0)
    pixels = simulate_field(np.random.default_rng(1), x, y, np.full(4, 300.0), (21, 61), psf)
    sound = measure_fluxes(pixels, x, y, np.arange(4), Profiles(psf))
    assert (sound.reason == "").all()
    psf.samples[2] *= 0.9
    fluxes = measure_fluxes(pixels, x, y, np.arange(4), Profiles(psf))
    # The second one has the third in its pixels.
    assert np.isfinite(fluxes.flux).tolist() == [True, False, False, False]
    assert fluxes.flux[0] == sound.flux[0]
    assert fluxes.reason[1] == "its pixels do not separate its flux from those of its neighbours"
