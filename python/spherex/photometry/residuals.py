"""What the residuals of a fit say: pixels that contradict it, and errors of the profile.

The limits were chosen with simulated frames (doc/quality.md); `benchmarks/quality.py`
measures what they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .fit import StampFits, converge, fit_stamps, masked_median, variance_line

if TYPE_CHECKING:
    from numpy.typing import NDArray


_LARGEST_RESIDUAL = 4.5
"""Standard deviations beyond which a pixel is rejected."""

_MOST_ROUNDS = 8

_PROFILE_ERROR, _LARGEST_PROFILE_ERROR = 0.03, 0.3
"""Limits of the error of a profile in a pixel, as a fraction. A bright hit would excuse itself with a larger one."""

_LEAST_REST = 1e-3
"""Least share of a pixel in its own residual. A pixel below has no residual to be judged by."""

_MEDIAN_OF_SQUARE = 0.4549
"""Median of the square of a standard normal variable."""

_EXPECTED = 2.0
"""Median square of the residuals, in units of that of noise, that 20 pixels of noise may have."""

_BRIGHT = 3.0
"""Standard deviations of light beyond which a pixel shows the error of a profile."""

_FEWEST_PIXELS = 6
"""Pixels of a core, below which their median says nothing."""

_RESCUED_SIGNAL = 25.0
"""Least ratio of signal to noise with which suspect pixels show the shape of a PSF."""

_RESCUED_CHI2, _RESCUED_SLOPE = 2.0, 0.03
"""Largest chi2 of a pixel of a core with suspect pixels: 2, and the square of 0.03 times the signal to noise."""

_RESCUED_REJECTED = 3
"""Most pixels of a core with suspect pixels that may be rejected: without more of them, hits have any shape."""

_MASKED_TOO_MUCH = 0.95
"""Masked fraction beyond which a flux without the suspect pixels cannot be compared."""

_FLUX_ERROR = 0.03
"""Error of a flux from part of a profile, as a fraction."""

_SHARE_OF_ETA = 0.3
"""Error of a flux, in units of eta."""

_EQUAL, _FAINTER = 2.0, 8.0
"""Differences in a plateau, and of the PSF there (standard deviations)."""


def reject_outliers(fits: StampFits, is_core: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Fit again without the pixels that contradict a fit, such as those hit by particles.

    A pixel contradicts the fit of all other pixels if the difference exceeds
    4.5 standard deviations. With the leverage L of the pixel, its residual r
    and its variance v, that difference is r / (1 - L), and its variance is
    v / (1 - L) + (c f P)^2 (Cook and Weisberg 1982, Residuals and Influence in
    Regression, section 2.2). The term with the flux f and the profile P allows
    for an error c of the profile.

    Parameters
    ----------
    fits
        Fits, which are replaced.
    is_core
        Whether a pixel is in the core of the target, shape (n, pixels).

    Returns
    -------
    rejected
        Number of pixels in the core that were rejected, shape (n,).
    """
    rejected = np.zeros(len(is_core), np.int64)
    rows = changed = np.arange(len(is_core))
    part, core = fits, is_core
    for turn in range(_MOST_ROUNDS):
        excess = _excesses(part, core)
        # A hit pulls the model, so that good pixels of the core have residuals
        # too: of these only the one that is the worst of all is rejected in a round.
        worst = excess.max(axis=1, keepdims=True)
        is_out = (excess > _LARGEST_RESIDUAL) & (~core | (excess == worst))
        has_out = np.flatnonzero(is_out.any(axis=1))
        rows, is_out = rows[has_out], is_out[has_out]
        if turn == 0:
            changed = rows
        if not len(rows):
            break
        part, core = part.take(has_out), core[has_out]
        rejected[rows] += (is_out & core).sum(axis=1)
        part = part.of_pixels(part.used & ~is_out)
        fits.put(rows, part)
    converge(fits, changed)
    return rejected


def _excesses(fits: StampFits, is_core: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the difference of each used pixel from the fit of all others, in standard deviations."""
    rest = np.maximum(1 - fits.leverages(), _LEAST_REST)
    residuals = fits.residuals()
    light = np.abs(fits.design[:, 0] * fits.fit.values[:, :1])
    # The error of this profile: that which explains half of the pixels in the
    # core. A constant would reject the cores of all stars where the astrometry
    # is off by a tenth of a pixel.
    columns = np.flatnonzero(is_core.any(axis=0))
    light_there, variance, rest_there, residuals_there = (
        plane.take(columns, axis=1) for plane in (light, fits.variance, rest, residuals)
    )
    counted = (fits.used & is_core).take(columns, axis=1) & (light_there > _BRIGHT * np.sqrt(variance))
    error = np.full((len(light), 1), _PROFILE_ERROR)
    rows = np.flatnonzero(counted.sum(axis=1) >= _FEWEST_PIXELS)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = residuals_there**2 / rest_there**2 / _MEDIAN_OF_SQUARE - _EXPECTED * variance / rest_there
        squares /= light_there**2
    median = masked_median(squares[rows], counted[rows])
    error[rows, 0] = np.sqrt(np.clip(median, _PROFILE_ERROR**2, _LARGEST_PROFILE_ERROR**2))
    # (v + (1 - L) (c f P)^2) (1 - L), in the memory of the light.
    light *= error
    light *= light
    light *= rest
    light += fits.variance
    light *= rest
    excess = np.abs(residuals, out=residuals)
    excess /= np.sqrt(light, out=light)
    excess[~(fits.used & np.isfinite(excess))] = 0.0
    return excess


def has_plateau(fits: StampFits, is_core: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether the core is flat where the PSF is not, shape (n,).

    A star that is clipped at the saturation of the detector looks so: a pixel
    is within 2 standard deviations of that with most light, where the PSF
    differs by more than 8.
    """
    counted = fits.used & is_core
    profile = np.where(counted, fits.design[:, 0], 0.0)
    rows, top = np.arange(len(profile)), profile.argmax(axis=1)
    # What is left without the background and the neighbours.
    value = fits.residuals() + fits.design[:, 0] * fits.fit.values[:, :1]
    most, largest = value[rows, top][:, None], profile[rows, top][:, None]
    noise = np.sqrt(fits.variance + fits.variance[rows, top][:, None])
    expected = most * (1 - profile / np.where(largest > 0, largest, 1.0))
    is_flat = counted & (np.abs(most - value) < _EQUAL * noise) & (expected > _FAINTER * noise)
    return is_flat.any(axis=1)


def core_misfits(fits: StampFits, is_core: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return chi2 of the used pixels in the cores, and their number less one, both of shape (n,).

    All pixels of a stamp dilute what is wrong in the few of the core.
    """
    counted = fits.used & is_core
    chi2: NDArray[np.float64] = np.where(counted, fits.residuals() ** 2 / fits.variance, 0.0).sum(axis=1)
    return chi2, np.maximum(counted.sum(axis=1) - 1, 0)


def rescue_cores(
    fits: StampFits,
    rows: NDArray[np.intp],
    added: NDArray[np.bool_],
    has_variance: NDArray[np.bool_],
    is_core: NDArray[np.bool_],
    whole: NDArray[np.float64],
    least_fraction: float,
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Fit again with the suspect pixels of the core, where these have the shape of the PSF.

    The archive flags the cores of bright stars as hit by particles, though
    they are good. Hits and saturated stars lack the shape of the PSF.

    Parameters
    ----------
    fits
        Fits without suspect pixels. Those that are better with them are replaced.
    rows
        Fits to try, shape (k,).
    added
        The suspect pixels of their cores, shape (k, pixels).
    has_variance
        Whether a pixel has a variance, shape (k, pixels).
    is_core
        Whether a pixel is in the core, shape (k, pixels).
    whole
        Light of the whole profile in pixels of an infinite image, shape (k,).
    least_fraction
        Least fraction of the profile on used pixels.

    Returns
    -------
    rescued
        The fits that were replaced, a part of ``rows``, shape (j,).
    rejected
        Number of pixels rejected from their cores, shape (j,).
    """
    # A variance can follow from other pixels only.
    has_noise = fits.used[rows].any(axis=1) | (has_variance | ~added).all(axis=1)
    rows, whole = rows[has_noise], whole[has_noise]
    added, has_variance, is_core = (part[has_noise] for part in (added, has_variance, is_core))
    before = fits.take(rows)
    given = _with_all_variances(before, has_variance)
    trial = fit_stamps(before.design, before.data, given, before.used | added)
    rejected = reject_outliers(trial, is_core)
    flux, error = trial.fit.values[:, 0], trial.fit.errors[:, 0]
    flux_before, error_before = before.fit.values[:, 0], before.fit.errors[:, 0]
    fraction, fraction_before = trial.fractions(whole), before.fractions(whole)
    chi2, dof = core_misfits(trial, is_core)
    # With NaN, all comparisons are false.
    is_better = (flux > _RESCUED_SIGNAL * error) & (rejected <= _RESCUED_REJECTED)
    is_better &= fraction >= np.maximum(least_fraction, fraction_before)
    is_better &= chi2 * error**2 < dof * (_RESCUED_CHI2 * error**2 + (_RESCUED_SLOPE * flux) ** 2)
    is_better &= (fraction_before < 1 - _MASKED_TOO_MUCH) | (
        np.abs(flux - flux_before) <= 5 * np.hypot(error_before, _FLUX_ERROR * flux)
    )
    fits.put(rows[is_better], trial.take(is_better))
    return rows[is_better], rejected[is_better]


def _with_all_variances(fits: StampFits, has_variance: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the variance of the pixels, from a straight line through the used ones where there is none.

    The archive has no variance (NaN) for some flagged pixels.
    """
    mean_data, mean_variance, slope = variance_line(fits.given, fits.data, fits.used)
    line = mean_variance + np.maximum(slope * (fits.data - mean_data), 0.0)
    return np.where(has_variance, fits.given, line)


def profile_errors(
    chi2: NDArray[np.float64], dof: NDArray[np.int64], flux: NDArray[np.float64], error: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return eta, the error of the profile in units of the profile, that the misfit of the core shows.

    Where noise explains chi2, eta is 0. A PSF 5 % too narrow has 0.05 to 0.09,
    a position off by 0.1 pixel 0.14 to 0.20.

    Parameters
    ----------
    chi2, dof
        Misfits of the cores, see `core_misfits`, shape (n,).
    flux, error
        Fluxes and their errors from noise, shape (n,).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.sqrt(_significant(chi2, dof)) * error / np.abs(flux)
    # A flux of zero shows no error of the profile.
    return np.where(np.isfinite(eta), eta, 0.0)


def _significant(chi2: NDArray[np.float64], dof: NDArray[np.floating | np.integer]) -> NDArray[np.float64]:
    """Return the part of chi2 that noise does not explain."""
    return np.maximum(chi2 - dof - 3 * np.sqrt(2.0 * dof), 0)


def errors_of_noise(
    error: NDArray[np.float64], chi2: NDArray[np.float64], dof: NDArray[np.floating | np.integer]
) -> NDArray[np.float64]:
    """Return errors without the error of the profile: the inverse of `errors_with_profile` without masked pixels.

    Parameters
    ----------
    error
        Errors of fluxes, shape (n,).
    chi2, dof
        Misfits of the cores, see `core_misfits`, shape (n,).
    """
    return error / np.sqrt(1 + _SHARE_OF_ETA**2 * _significant(chi2, dof))


def errors_with_profile(
    error: NDArray[np.float64], flux: NDArray[np.float64], fraction: NDArray[np.float64], eta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return errors of fluxes that contain the error of the profile.

    To the error e from noise, two parts are added: one for the share 1 - F of
    the profile that was not seen, and one for all of it:
    e^2 + (max(0.02, eta / 2) (1 - F) f)^2 + (0.3 eta f)^2.

    Parameters
    ----------
    error, flux
        Errors from noise, and fluxes f, shape (n,).
    fraction
        Fraction F of the profile on used pixels, shape (n,).
    eta
        See `profile_errors`, shape (n,).
    """
    unseen = np.maximum(0.02, eta / 2) * np.maximum(1 - fraction, 0) * flux
    return np.sqrt(error**2 + unseen**2 + (_SHARE_OF_ETA * eta * flux) ** 2)
