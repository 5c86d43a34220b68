"""Weighted linear fits of many small squares of pixels at once, and circular apertures."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .stamps import Stamps


_SINGULAR = 1e-8
"""Least eigenvalue of a matrix of normal equations with a diagonal of ones that is still solved.

Two equal sources nearer than 0.001 pixels would have it.
"""

_NO_PART = 1e-4
"""Part of a term in sums of terms that are not solved for, up to which the term is known.

With a signal of a thousand times the noise in such a sum, the term is off by
a tenth of its error.
"""

_LEAST_VARIANCE = 0.5
"""Bound of a smoothed variance, in units of the least one that the pixels have."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """Solutions of linear fits.

    Parameters
    ----------
    values
        Of shape (n, terms). Of terms that the pixels cannot tell apart only
        what they make together is meant; alone they are the smallest possible.
    covariance
        Of shape (n, terms, terms).
    is_known
        Which values mean something alone, of shape (n, terms).
    rank
        Number of what was solved for, the number of terms or fewer, of shape (n,).
    """

    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    is_known: NDArray[np.bool_]
    rank: NDArray[np.int64]

    @property
    def errors(self) -> NDArray[np.float64]:
        """Standard deviations, those of correlated terms included, of shape (n, terms)."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))

    def model(self, design: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of terms of shape (n, pixels, terms)."""
        model: NDArray[np.float64] = (design @ self.values[:, :, None])[:, :, 0]
        return model


def fit_linear(design: NDArray[np.float64], data: NDArray[np.float64], weights: NDArray[np.float64]) -> Fit:
    """Fit a sum of terms to pixels.

    Parameters
    ----------
    design
        The terms, of shape (n, pixels, terms).
    data
        The pixels, of shape (n, pixels).
    weights
        One over the variance, 0 where a pixel does not count, of shape (n, pixels).

    Returns
    -------
    fit
        Nothing is known of rows whose normal equations are no numbers; the
        other rows do not suffer.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        weighted = (design * weights[:, :, None]).transpose(0, 2, 1)
        normal = weighted @ design
        right = (weighted @ data[:, :, None])[:, :, 0]
    is_usable = np.isfinite(normal).all(axis=(1, 2)) & np.isfinite(right).all(axis=1)
    # One such matrix would stop the decomposition of all.
    normal[~is_usable], right[~is_usable] = 0.0, 0.0
    scale = np.sqrt(np.diagonal(normal, axis1=1, axis2=2))
    scale = np.where(scale > 0, scale, 1.0)
    eigenvalues, vectors = np.linalg.eigh(normal / (scale[:, :, None] * scale[:, None, :]))
    is_solved = eigenvalues > _SINGULAR
    scaled = vectors / scale[:, :, None]
    covariance = (scaled * (is_solved / np.where(is_solved, eigenvalues, 1.0))[:, None, :]) @ scaled.transpose(0, 2, 1)
    unsolved = np.sqrt((vectors**2 * ~is_solved[:, None, :]).sum(axis=2))
    return Fit((covariance @ right[:, :, None])[:, :, 0], covariance, unsolved <= _NO_PART, is_solved.sum(axis=1))


def median_variance(variance: NDArray[np.float64], is_good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the median variance of each row for all of its pixels, 1 where none is good; shape (n, pixels)."""
    known = _known(variance, is_good)
    return np.broadcast_to(np.nanmedian(known, axis=1, keepdims=True), variance.shape)


def smooth_variance(
    variance: NDArray[np.float64],
    data: NDArray[np.float64],
    model: NDArray[np.float64],
    is_good: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return a variance without the noise of the pixels that it was computed from.

    The archive's variance grows linearly with the measured rate. Weights from
    it prefer pixels that are too faint by chance, and make fluxes too small
    by about a tenth of their error, which no number of visits averages out.
    Here the part that grows with the rate is taken from the model instead;
    what else differs from pixel to pixel stays.

    Parameters
    ----------
    variance, data
        Of the pixels, of shape (n, pixels).
    model
        What is expected of them.
    is_good
        Where pixels can be used.

    Returns
    -------
    variance
        Positive, of shape (n, pixels).
    """
    least = np.nanmin(_known(variance, is_good), axis=1, keepdims=True)
    number = np.maximum(is_good.sum(axis=1, keepdims=True), 1)
    mean_data = (data * is_good).sum(axis=1, keepdims=True) / number
    mean_variance = (variance * is_good).sum(axis=1, keepdims=True) / number
    apart = (data - mean_data) * is_good
    spread = (apart**2).sum(axis=1, keepdims=True)
    slope = (apart * (variance - mean_variance)).sum(axis=1, keepdims=True) / np.where(spread > 0, spread, 1.0)
    smooth: NDArray[np.float64] = variance - np.maximum(slope, 0) * (data - model)
    return np.maximum(smooth, _LEAST_VARIANCE * least)


def _known(variance: NDArray[np.float64], is_good: NDArray[np.bool_]) -> NDArray[np.float64]:
    known = np.where(is_good, variance, np.nan)
    known[~is_good.any(axis=1)] = 1.0
    return known


def aperture_weights(
    stamps: Stamps, x: NDArray[np.float64], y: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Return which part of each pixel is in a circle.

    Parameters
    ----------
    stamps
        Squares of pixels.
    x, y
        Centres of the circles in pixels of the whole frame, from 0, of shape (n,).
    radius
        Their radius (pixels).

    Returns
    -------
    weights
        0 to 1, of shape (n, side, side).
    """
    from photutils.geometry import circular_overlap_grid

    side = stamps.side
    weights = np.empty(stamps.data.shape)
    edges = zip(stamps.left - 0.5 - x, stamps.bottom - 0.5 - y, strict=True)
    for row, (left, bottom) in enumerate(edges):
        weights[row] = circular_overlap_grid(left, left + side, bottom, bottom + side, side, side, radius, 1, 1)
    return weights


def aperture_fluxes(
    weights: NDArray[np.float64],
    design: NDArray[np.float64],
    data: NDArray[np.float64],
    of_fit: NDArray[np.float64],
    fit: Fit,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the light in apertures that is left after all but the target.

    Parameters
    ----------
    weights
        Which part of each usable pixel is in the aperture, of shape (n, pixels).
    design
        The target's light, and the terms that are subtracted, of shape (n, pixels, terms).
    data
        The pixels, of shape (n, pixels).
    of_fit
        The weights that the fit had, one over the variance, of shape (n, pixels).
    fit
        The fit of ``design`` to ``data``.

    Returns
    -------
    flux, error
        Divided by the fraction in the aperture.
    enclosed
        That fraction.
    """
    others = design[:, :, 1:]
    rest = data - (others @ fit.values[:, 1:, None])[:, :, 0]
    enclosed = (weights * design[:, :, 0]).sum(axis=1)
    # What is subtracted was fitted to pixels of the aperture, too: it takes
    # some of their noise away. The result is linear in the pixels, and this
    # is the factor of each.
    subtracted = (weights[:, None, :] @ others)[:, 0]
    of_terms = (subtracted[:, None, :] @ fit.covariance[:, 1:, :]).transpose(0, 2, 1)
    factors = weights - (design @ of_terms)[:, :, 0] * of_fit
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (factors**2 / of_fit).sum(axis=1, where=of_fit > 0)
        return (weights * rest).sum(axis=1) / enclosed, np.sqrt(variance) / enclosed, enclosed
