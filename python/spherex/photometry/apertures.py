"""Fluxes in circular apertures."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from .fit import masked_median
from .stamps import BATCH_SIZE, Stamps, cut_stamps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .fit import Fit
    from .stamps import Pixels


_FEWEST_PIXELS = 5
"""Pixels of a background, below which their median is not used."""

_OF_MEDIAN = 1.2533
"""Standard deviation of a median, in units of that of a mean: the square root of pi / 2."""


@dataclasses.dataclass(frozen=True, eq=False)
class ApertureFluxes:
    """Measurements without a PSF, all of shape (n,), in the unit of the image times pixels.

    Parameters
    ----------
    flux, error
        Of all light in the aperture; NaN if one of its pixels cannot be used,
        or without a background.
    background, background_error
        Median of the pixels around, in the unit of the image.
    flags
        Flags of the pixels in the aperture, joined by OR.
    """

    flux: NDArray[np.float64]
    error: NDArray[np.float64]
    background: NDArray[np.float64]
    background_error: NDArray[np.float64]
    flags: NDArray[np.int64]


def measure_apertures(
    pixels: Pixels,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    side: int,
    radius: float,
    core: float,
) -> ApertureFluxes:
    """Measure fluxes in apertures where no PSF is known.

    Parameters
    ----------
    pixels
        The image, or the part of it around the targets.
    x, y
        Positions in pixels of the whole frame, from 0, shape (n,).
    side
        Side of the square of pixels with the background (pixels), odd.
    radius
        Radius of the aperture (pixels).
    core
        Radius around a target without pixels of the background (pixels).
    """
    blank = np.full((4, len(x)), np.nan)
    found = ApertureFluxes(blank[0], blank[1], blank[2], blank[3], np.zeros(len(x), np.int64))
    for begin in range(0, len(x), BATCH_SIZE):
        rows = np.arange(begin, min(begin + BATCH_SIZE, len(x)))
        stamps = cut_stamps(pixels, x[rows], y[rows], side)
        shape = (len(rows), -1)
        weights = aperture_weights(stamps, x[rows], y[rows], radius).reshape(shape)
        data, variance, flags, is_good = (
            getattr(stamps, name).reshape(shape) for name in ("data", "variance", "flags", "is_good")
        )
        is_core = stamps.is_within(core, x[rows], y[rows]).reshape(shape)
        around = is_good & ~stamps.is_doubtful.reshape(shape) & ~is_core & (weights == 0)
        number = around.sum(axis=1)
        has_background = number >= _FEWEST_PIXELS
        median = np.where(has_background, masked_median(data, around), np.nan)
        mean_variance = np.where(around, variance, 0.0).sum(axis=1) / np.maximum(number, 1)
        error = np.where(has_background, _OF_MEDIAN * np.sqrt(mean_variance / np.maximum(number, 1)), np.nan)
        is_whole = (is_good | (weights == 0)).all(axis=1)
        light = np.where(weights > 0, weights * (data - median[:, None]), 0.0).sum(axis=1)
        noise = (weights**2 * variance).sum(axis=1) + (weights.sum(axis=1) * error) ** 2
        found.flux[rows], found.error[rows] = (np.where(is_whole, part, np.nan) for part in (light, np.sqrt(noise)))
        found.background[rows], found.background_error[rows] = median, error
        found.flags[rows] = np.bitwise_or.reduce(np.where(weights > 0, flags, 0), axis=1)
    return found


def aperture_weights(
    stamps: Stamps, x: NDArray[np.float64], y: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Return the part of each pixel inside of a circle.

    Parameters
    ----------
    stamps
        Stamps.
    x, y
        Centres of the circles in pixels of the whole frame, from 0, shape (n,).
    radius
        Radius of the circles (pixels).

    Returns
    -------
    weights
        0 to 1, shape (n, side, side).
    """
    from photutils.geometry import circular_overlap_grid

    # The centre of a circle is in the middle pixel of its stamp.
    side = min(2 * math.ceil(radius) + 1, stamps.side)
    margin = (stamps.side - side) // 2
    weights = np.zeros(stamps.data.shape)
    inner = weights[:, margin : margin + side, margin : margin + side]
    edges = zip(stamps.left + margin - 0.5 - x, stamps.bottom + margin - 0.5 - y, strict=True)
    for row, (left, bottom) in enumerate(edges):
        inner[row] = circular_overlap_grid(left, left + side, bottom, bottom + side, side, side, radius, 1, 1)
    return weights


def aperture_fluxes(
    weights: NDArray[np.float64],
    design: NDArray[np.float64],
    data: NDArray[np.float64],
    of_fit: NDArray[np.float64],
    fit: Fit,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the fluxes in apertures after subtraction of all terms but the target.

    Parameters
    ----------
    weights
        Part of each usable pixel inside of the aperture, shape (n, pixels).
    design
        Profile of the target, and the terms to subtract, shape (n, terms, pixels).
    data
        Pixels, shape (n, pixels).
    of_fit
        Weights of the fit, one over the variance, shape (n, pixels).
    fit
        Fit of ``design`` to ``data``.

    Returns
    -------
    flux, error
        Divided by the enclosed fraction, shape (n,); NaN where it is not positive.
    enclosed
        Fraction of the target's flux in the aperture, shape (n,).
    """
    columns = np.flatnonzero(weights.any(axis=0))
    part, terms = weights.take(columns, axis=1), design.take(columns, axis=2)
    others = terms[:, 1:]
    rest = data.take(columns, axis=1) - (fit.values[:, None, 1:] @ others)[:, 0]
    enclosed = (part * terms[:, 0]).sum(axis=1)
    # The subtracted terms were fitted to pixels of the aperture too, and take
    # away some of their noise. The flux is a linear function of the pixels d:
    # f = (a - S C D W) d, with the aperture a, the weights of the fit W, the
    # design D, the columns C of the covariance for the subtracted terms, and
    # their sums S in the aperture. These are the factors of the pixels.
    subtracted = (others @ part[:, :, None]).transpose(0, 2, 1)
    factors = weights - (subtracted @ fit.covariance[:, 1:, :] @ design)[:, 0] * of_fit
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (factors**2 / of_fit).sum(axis=1, where=of_fit > 0)
        seen = np.where(enclosed > 0, enclosed, np.nan)
        return (part * rest).sum(axis=1) / seen, np.sqrt(variance) / seen, enclosed
