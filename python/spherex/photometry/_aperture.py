"""Fluxes in circular apertures."""

from __future__ import annotations

__all__ = ["aperture_fluxes", "aperture_weights"]

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._fit import Fit
    from ._stamps import Stamps


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
