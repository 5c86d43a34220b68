"""Fluxes of simulated point sources, whose truth is known."""

import dataclasses

import numpy as np
import pytest

from spherex.image import Psf
from spherex.photometry import FluxSettings, Pixels, Profiles, fit_linear, measure_fluxes

_SIDE = 33
_GAIN = 0.01
"""Variance per unit of surface brightness."""
_READ = 0.02
"""Variance of the dark pixel."""
SKY = 1.5
"""Surface brightness between the sources."""
BAD, DOUBTFUL, SUSPECT = 1 << 28, 1 << 29, 1 << 30
"""Bits of flags."""


def gaussian_psf(is_effective=True, width=0.75):
    side, step = (33, 5) if is_effective else (101, 10)
    y, x = np.indices((side, side)) - (side - 1) / 2
    samples = np.exp(-(x**2 + y**2) / 2 / (width * step) ** 2)
    samples /= samples.sum()
    return Psf(samples[None], x=[1020.0], y=[1020.0], oversampling=step, effective=is_effective)


def simulate_field(rng, x, y, flux, shape, psf, *, gradient=(0.0, 0.0), is_measured_variance=True):
    """Return a noisy image; its variance is that of the measured rate, as in the archive."""
    profiles = Profiles(psf)
    light = SKY + gradient[0] * np.arange(shape[1]) + gradient[1] * np.arange(shape[0])[:, None]
    half = profiles.side // 2
    left, bottom = np.rint(x).astype(np.int64) - half, np.rint(y).astype(np.int64) - half
    for share, one, column, row in zip(profiles.at(x, y, left, bottom), flux, left, bottom, strict=True):
        for at_row, at_column in np.ndindex(share.shape):
            if 0 <= row + at_row < shape[0] and 0 <= column + at_column < shape[1]:
                light[row + at_row, column + at_column] += one * share[at_row, at_column]
    counts = rng.poisson(light / _GAIN) * _GAIN
    data = counts + rng.normal(0, np.sqrt(_READ), shape)
    variance = np.maximum(_GAIN * (data if is_measured_variance else light), 0) + _READ
    return Pixels(data, variance, np.zeros(shape, np.int32), (0, 0), BAD, DOUBTFUL, SUSPECT)


def grid_of_places(rng, number):
    columns, rows = np.meshgrid(np.arange(number), np.arange(number))
    x, y = (16 + 33 * plane.ravel() + rng.uniform(-0.5, 0.5, plane.size) for plane in (columns, rows))
    return x, y, (33 * number, 33 * number)


@pytest.mark.parametrize("is_effective", [True, False])
@pytest.mark.parametrize("flux", [3.0, 30.0, 3000.0])
def test_pulls_of_isolated_sources_are_standard(is_effective, flux):
    """1,600 sources of three decades, at all phases: the mean is known to 0.025, the width to 0.02."""
    rng = np.random.default_rng(11)
    x, y, shape = grid_of_places(rng, 40)
    psf = gaussian_psf(is_effective)
    pixels = simulate_field(rng, x, y, np.full(len(x), flux), shape, psf)
    fluxes = measure_fluxes(pixels, x, y, np.arange(len(x)), Profiles(psf))
    assert (fluxes.reason == "").all()
    for measured, error in (
        (fluxes.flux, fluxes.flux_error),
        (fluxes.aperture_flux, fluxes.aperture_flux_error),
        (fluxes.background - SKY + flux, fluxes.background_error),
    ):
        pull = (measured - flux) / error
        assert abs(pull.mean()) < 0.1
        assert 1.4826 * np.median(np.abs(pull - np.median(pull))) == pytest.approx(1, abs=0.1)
    assert (fluxes.chi2 / fluxes.dof).mean() == pytest.approx(1, abs=0.05)
    assert (fluxes.neighbours == 0).all()


@pytest.mark.parametrize("radius", [2.0, 3.0, 4.0])
def test_pulls_of_apertures_are_standard_at_all_radii(radius):
    """The background comes from the same pixels: in a small square it shares much of their noise."""
    rng = np.random.default_rng(11)
    x, y, shape = grid_of_places(rng, 40)
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.full(len(x), 30.0), shape, psf)
    fluxes = measure_fluxes(pixels, x, y, np.arange(len(x)), Profiles(psf), FluxSettings(side=9, aperture=radius))
    pull = (fluxes.aperture_flux - 30) / fluxes.aperture_flux_error
    assert abs(pull.mean()) < 0.1
    # The width of 1,600 pulls is known to 0.018.
    assert pull.std() == pytest.approx(1, abs=0.04)
    assert (fluxes.masked_fraction >= 0).all()


@pytest.mark.parametrize("slope", [None, (3.0, -1.0)])
def test_errors_are_those_of_the_noise_that_goes_through(slope):
    """With a variance that does not follow the rate all fluxes are linear in the pixels: each one's share is seen."""
    side = 15
    x, y = np.array([20.2, 22.1, 14.9]), np.array([19.7, 21.0, 25.3])
    psf = gaussian_psf()
    rng = np.random.default_rng(2)
    pixels = simulate_field(rng, x, y, np.array([30.0, 50.0, 10.0]), (40, 40), psf)
    # Pixels that fall with the variance leave it as it is; none contradicts the fit.
    variance = np.full(pixels.data.shape, 0.7)
    variance[rng.uniform(size=variance.shape) < 0.5] = 1.6
    flags = np.where(rng.uniform(size=variance.shape) < 0.05, BAD, 0)
    data = pixels.data - 2 * variance
    slopes = None if slope is None else np.array([slope])
    settings = FluxSettings(side=side, aperture=3.0)
    profiles = Profiles(psf)

    def measure(data):
        changed = dataclasses.replace(pixels, data=data, variance=variance, flags=flags)
        return measure_fluxes(changed, x, y, np.array([0]), profiles, settings, slopes)

    plain = measure(data)
    assert (plain.neighbours[0], plain.rejected[0]) == (2, 0)
    propagated = dict.fromkeys(("flux", "background", "aperture_flux"), 0.0)
    for row, column in np.ndindex(side, side):
        changed = data.copy()
        place = (20 - side // 2 + row, 20 - side // 2 + column)
        changed[place] += 1
        found = measure(changed)
        for name in propagated:
            propagated[name] += variance[place] * (getattr(found, name)[0] - getattr(plain, name)[0]) ** 2
    expected = {name: np.sqrt(one) for name, one in propagated.items()}
    # The light on bad pixels is known as well as the PSF.
    expected["flux"] = np.hypot(expected["flux"], 0.02 * plain.masked_fraction[0] * plain.flux[0])
    for name, one in expected.items():
        assert getattr(plain, f"{name}_error")[0] == pytest.approx(one, rel=1e-6)


def test_weights_from_the_measured_variance_would_have_a_bias():
    """The reason for the smoothed variance."""
    rng = np.random.default_rng(11)
    x, y, shape = grid_of_places(rng, 40)
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.full(len(x), 30.0), shape, psf)
    profiles = Profiles(psf)
    half = 7
    left, bottom = np.rint(x).astype(int) - half, np.rint(y).astype(int) - half
    light = profiles.at(x, y, left, bottom, 15).reshape(len(x), -1)
    stamps = np.stack([pixels.data[b : b + 15, a : a + 15].ravel() for a, b in zip(left, bottom, strict=True)])
    variance = np.stack([pixels.variance[b : b + 15, a : a + 15].ravel() for a, b in zip(left, bottom, strict=True)])
    fit = fit_linear(np.stack([light, np.ones_like(light)], axis=1), stamps, 1 / variance)
    smooth = measure_fluxes(pixels, x, y, np.arange(len(x)), profiles)
    # Pixels that are too faint by chance count more: the sky suffers most.
    assert ((fit.values[:, 1] - SKY) / fit.errors[:, 1]).mean() < -0.3
    assert abs(((smooth.background - SKY) / smooth.background_error).mean()) < 0.08


@pytest.mark.parametrize("distance", [1.0, 2.0, 3.0])
def test_pairs_are_separated(distance):
    rng = np.random.default_rng(3)
    x, y, shape = grid_of_places(rng, 20)
    angle = rng.uniform(0, 2 * np.pi, len(x))
    number = len(x)
    x, y = (np.concatenate([a, a + distance * f(angle)]) for a, f in ((x, np.cos), (y, np.sin)))
    flux = np.repeat([100.0, 300.0], number)
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, flux, shape, psf)
    fluxes = measure_fluxes(pixels, x, y, np.arange(2 * number), Profiles(psf))
    pull = (fluxes.flux - flux) / fluxes.flux_error
    assert abs(pull.mean()) < 0.15
    assert pull.std() == pytest.approx(1, abs=0.1)
    assert (fluxes.neighbours == 1).all()
    alone = measure_fluxes(pixels, x[:number], y[:number], np.arange(number), Profiles(psf))
    # A source that is not listed is a misfit, or its pixels are rejected.
    is_misfit = alone.core_chi2 > 5 * alone.core_dof
    assert (is_misfit | (alone.rejected > 1) | (np.abs(alone.flux - 100) < 5 * alone.flux_error)).all()
    if distance < 3:
        assert (is_misfit | (alone.rejected > 1)).mean() > 0.95


def test_masked_pixels_and_edges_are_told():
    rng = np.random.default_rng(8)
    x, y = np.array([16.2, -0.4, 30.0, 16.0]), np.array([16.1, 10.0, 40.0, 60.0])
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.full(4, 1000.0), (80, 50), psf)
    pixels.data[16, 17] = np.nan
    pixels.flags[36:45, 26:35] = BAD
    pixels.flags[16, 17] = BAD | 0b101
    pixels.flags[17, 16] = 0b1000
    pixels.flags[16, 9] = 0b10000
    fluxes = measure_fluxes(pixels, x, y, np.arange(4), Profiles(psf))
    assert fluxes.reason[[0, 1, 3]].tolist() == [""] * 3
    assert fluxes.reason[2] == "too much of the PSF is on pixels that cannot be used"
    assert np.isnan(fluxes.flux[2])
    pull = (fluxes.flux - 1000)[[0, 1, 3]] / fluxes.flux_error[[0, 1, 3]]
    assert np.abs(pull).max() < 4
    assert 0.05 < fluxes.masked_fraction[0] < 0.4
    assert 0.3 < fluxes.masked_fraction[1] < 0.5
    assert fluxes.masked_fraction[3] == pytest.approx(0, abs=1e-9)
    # The flags of pixels that were used, and of them alone.
    assert fluxes.flags.tolist()[0] == 0b11000
    assert fluxes.core_flags.tolist()[0] == BAD | 0b1101
    assert fluxes.is_cut.tolist() == [False, True, False, False]
    assert fluxes.enclosed_fraction[0] < fluxes.enclosed_fraction[3] < 1


def test_negative_fluxes_are_kept():
    rng = np.random.default_rng(4)
    x, y, shape = grid_of_places(rng, 10)
    psf = gaussian_psf()
    fluxes = measure_fluxes(simulate_field(rng, x, y, np.zeros(100), shape, psf), x, y, np.arange(100), Profiles(psf))
    assert 30 < (fluxes.flux < 0).sum() < 70


def test_two_sources_in_one_place_are_not_told_apart():
    rng = np.random.default_rng(4)
    x, y = np.array([16.0, 16.0, 60.0]), np.array([16.0, 16.0, 16.0])
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.full(3, 50.0), (33, 80), psf)
    fluxes = measure_fluxes(pixels, x, y, np.arange(3), Profiles(psf))
    assert fluxes.reason.tolist() == ["its pixels do not separate its flux from those of its neighbours"] * 2 + [""]
    assert np.isfinite(fluxes.flux).tolist() == [False, False, True]


@pytest.mark.parametrize("gradient", [(0.05, 0.0), (0.0, 0.05), (0.05, 0.02), (0.01, 0.04)])
def test_a_background_that_changes_along_a_direction(gradient):
    rng = np.random.default_rng(4)
    x, y, shape = grid_of_places(rng, 20)
    psf = gaussian_psf()
    profiles = Profiles(psf)
    wanted = np.arange(len(x))
    pixels = simulate_field(rng, x, y, np.full(len(x), 30.0), shape, psf, gradient=gradient)
    # Only the direction is given, in another unit and with the other sign.
    slopes = np.tile([-4e-3 * gradient[0], -4e-3 * gradient[1]], (len(x), 1))
    fluxes = measure_fluxes(pixels, x, y, wanted, profiles, slopes=slopes)
    pull = (fluxes.flux - 30) / fluxes.flux_error
    assert abs(pull.mean()) < 0.15
    assert pull.std() == pytest.approx(1, abs=0.1)
    background = SKY + gradient[0] * x + gradient[1] * y
    pull = (fluxes.background - background) / fluxes.background_error
    assert abs(pull.mean()) < 0.15
    assert pull.std() == pytest.approx(1, abs=0.1)
    assert (fluxes.chi2 / fluxes.dof).mean() == pytest.approx(1, abs=0.02)
    # Along another direction it does not change.
    across = measure_fluxes(pixels, x, y, wanted, profiles, slopes=slopes[:, ::-1] * [1, -1])
    assert (across.chi2 / across.dof).mean() > 1.02
    # A few pixels of noise are rejected.
    assert (np.abs(across.dof - fluxes.dof) <= 2).all()
    assert (across.dof == fluxes.dof).mean() > 0.9


def test_a_slope_without_a_direction_is_none_and_stops_no_other_target():
    rng = np.random.default_rng(4)
    x, y, shape = grid_of_places(rng, 2)
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.full(4, 30.0), shape, psf, gradient=(0.05, 0.0))
    slopes = np.array([[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1.0, 0.0]])
    found = measure_fluxes(pixels, x, y, np.arange(4), Profiles(psf), slopes=slopes)
    constant = measure_fluxes(pixels, x, y, np.arange(4), Profiles(psf))
    assert (found.reason == "").all()
    np.testing.assert_array_equal(found.flux[:3], constant.flux[:3])
    assert (constant.dof - found.dof).tolist() == [0, 0, 0, 1]


def test_rounding_errors_of_a_source_on_other_pixels_are_no_term() -> None:
    rng = np.random.default_rng(20261128)
    y, x = np.indices((9, 9)).reshape(2, 81) - 4
    light = np.exp(-(x**2 + y**2) / 2)
    beside = np.exp(-((x - 5) ** 2 + (y - 5) ** 2))
    used = beside < 1e-4
    data = (10 * light + 1 + rng.normal(0, 0.1, 81))[None]
    weights = np.where(used, 100.0, 0.0)[None]
    alone = fit_linear(np.stack([light, np.ones(81)])[None], data, weights)
    for errors in (1e-16 * rng.normal(size=81), 1e-16 * light, np.zeros(81)):
        design = np.stack([light, np.ones(81), np.where(used, errors, beside)])[None]
        fit = fit_linear(design, data, weights)
        np.testing.assert_allclose(fit.values[0, :2], alone.values[0], rtol=1e-12)
        np.testing.assert_allclose(fit.errors[0, :2], alone.errors[0], rtol=1e-12)
        assert fit.is_known.tolist() == [[True, True, False]]
        assert fit.rank.tolist() == [2]


def test_a_row_without_normal_equations_does_not_stop_the_others():
    rng = np.random.default_rng(4)
    design, data = rng.normal(size=(3, 2, 20)), rng.normal(size=(3, 20))
    weights = np.ones((3, 20))
    alone = fit_linear(design[:1], data[:1], weights[:1])
    design[1, 0, 3] = np.nan
    weights[2, 5] = np.inf
    fit = fit_linear(design, data, weights)
    np.testing.assert_array_equal(fit.values[0], alone.values[0])
    np.testing.assert_array_equal(fit.covariance[0], alone.covariance[0])
    assert fit.is_known.all(axis=1).tolist() == [True, False, False]
    assert not fit.is_known[1:].any()
    assert fit.rank.tolist() == [2, 0, 0]


def test_doubtful_background_is_left_out_or_clipped_but_never_the_core():
    rng = np.random.default_rng(4)
    x, y = np.array([16.0]), np.array([16.0])
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.array([500.0]), (33, 33), psf)
    pixels.data[10:12, 10:12] += 300  # an unknown source
    pixels.flags[9:13, 9:13] = DOUBTFUL
    pixels.flags[15:18, 15:18] = DOUBTFUL
    fluxes = measure_fluxes(pixels, x, y, np.arange(1), Profiles(psf))
    assert not fluxes.is_clipped[0]
    assert abs(fluxes.flux[0] - 500) < 4 * fluxes.flux_error[0]
    pixels.flags[:] = DOUBTFUL
    clipped = measure_fluxes(pixels, x, y, np.arange(1), Profiles(psf))
    assert clipped.is_clipped[0]
    assert abs(clipped.flux[0] - 500) < 4 * clipped.flux_error[0]


def test_a_part_of_the_image_gives_the_same():
    rng = np.random.default_rng(4)
    x, y = np.array([40.0, 45.0]), np.array([40.0, 41.0])
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.array([500.0, 20.0]), (80, 80), psf)
    planes = {name: getattr(pixels, name)[20:60, 30:60] for name in ("data", "variance", "flags")}
    part = dataclasses.replace(pixels, **planes, origin=(30, 20))
    whole, cut = (measure_fluxes(one, x, y, np.arange(2), Profiles(psf)) for one in (pixels, part))
    np.testing.assert_array_equal(whole.flux, cut.flux)
    np.testing.assert_array_equal(whole.background_error, cut.background_error)


def test_settings_are_honoured():
    rng = np.random.default_rng(4)
    x, y = np.array([40.0]), np.array([40.0])
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.array([500.0]), (80, 80), psf)
    wide = measure_fluxes(pixels, x, y, np.arange(1), Profiles(psf), FluxSettings(side=21, aperture=3.0))
    narrow = measure_fluxes(pixels, x, y, np.arange(1), Profiles(psf), FluxSettings(side=11, aperture=1.5))
    assert wide.dof[0] == 21**2 - 2
    assert narrow.dof[0] == 11**2 - 2
    assert narrow.enclosed_fraction[0] < 0.9 < wide.enclosed_fraction[0]
    assert wide.background_error[0] < narrow.background_error[0]


def test_clipped_stars_have_a_plateau_and_crowded_ones_have_none():
    rng = np.random.default_rng(5)
    x, y, shape = grid_of_places(rng, 20)
    number = len(x)
    x, y = np.concatenate([x, x + 2.0]), np.concatenate([y, y - 1.0])
    psf = gaussian_psf(width=1.0)
    pixels = simulate_field(rng, x, y, np.repeat([100.0, 300.0], number), shape, psf)
    assert not measure_fluxes(pixels, x, y, np.arange(2 * number), Profiles(psf)).has_plateau.any()
    x, y = x[:number], y[:number]
    pixels = simulate_field(rng, x, y, np.full(number, 1000.0), shape, psf)
    pixels.data[pixels.data > 60] = 60 + rng.normal(0, 0.1, (pixels.data > 60).sum())
    assert measure_fluxes(pixels, x, y, np.arange(number), Profiles(psf)).has_plateau.mean() > 0.9


@pytest.mark.parametrize("side", [7, 15])
@pytest.mark.parametrize("flux", [30.0, 1e6])
@pytest.mark.parametrize("variance", [1e-30, 1e-3 * _READ])
def test_a_variance_far_below_that_of_the_sky_is_none(side, flux, variance):
    """Else this pixel would be the flux, with an error of nearly zero."""
    rng = np.random.default_rng(8)
    x, y = np.array([16.1]), np.array([15.8])
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.array([flux]), (33, 33), psf)

    def measure(of_peak):
        changed = pixels.variance.copy()
        changed[16, 16] = of_peak
        return measure_fluxes(
            dataclasses.replace(pixels, variance=changed), x, y, np.array([0]), Profiles(psf), FluxSettings(side=side)
        )

    found, without, plain = measure(variance), measure(np.nan), measure(pixels.variance[16, 16])
    assert found.flux_error > plain.flux_error
    for name in ("flux", "flux_error", "masked_fraction", "dof"):
        np.testing.assert_array_equal(getattr(found, name), getattr(without, name))
    assert plain.masked_fraction < 1e-6
    # The sky around a bright star has little noise, and stays.
    assert plain.dof >= side**2 - 8


def test_an_aperture_without_light_of_the_psf_has_no_flux():
    """An error would be negative."""
    rng = np.random.default_rng(8)
    x, y = np.array([16.1]), np.array([15.8])
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.array([30.0]), (33, 33), psf)
    ring = 3 / psf.samples[0].size - 2 * psf.samples
    profiles = Profiles(dataclasses.replace(psf, samples=ring))
    found = measure_fluxes(pixels, x, y, np.array([0]), profiles)
    assert found.enclosed_fraction < 0
    assert np.isnan([found.aperture_flux, found.aperture_flux_error]).all()


def test_bit_31_is_not_a_sign():
    rng = np.random.default_rng(8)
    x, y = np.array([16.1]), np.array([15.8])
    psf = gaussian_psf()
    pixels = simulate_field(rng, x, y, np.array([30.0]), (33, 33), psf)
    pixels.flags[16, 16] = -(2**31) + 1
    found = measure_fluxes(pixels, x, y, np.array([0]), Profiles(psf))
    assert found.flags.tolist() == found.core_flags.tolist() == [2**31 + 1]
