"""Hot and cold pixels of a dark."""

from __future__ import annotations

__all__ = ["DeviantPixels", "find_deviant_pixels"]

import dataclasses

import numpy as np

_NORMAL = 1.4826
"""Standard deviation of normal noise over its median absolute deviation."""

_PIECE = 64
"""Rows that are filtered at a time, so that little memory is needed."""

_SAMPLED = 8
"""Pieces of the frame, spread over it, that the scatter is estimated from."""


@dataclasses.dataclass(frozen=True)
class DeviantPixels:
    """Pixels that differ from their neighbours.

    Parameters
    ----------
    hot, cold
        Boolean, shape (rows, columns).
    sigma
        Robust standard deviation of the pixels about their neighbours over
        the whole frame, in the unit of the image.
    """

    hot: np.ndarray
    cold: np.ndarray
    sigma: float


def find_deviant_pixels(image: np.ndarray, hot: float, cold: float, window: int) -> DeviantPixels:
    """Find pixels far above or below the others.

    Each pixel is compared with the median of those above and below it in its
    column. So neither the glow of the electronics nor the steps between readout
    channels, which run along the columns, are taken for hot pixels.

    Parameters
    ----------
    image
        Pixels, shape (rows, columns); those that are not finite are neither
        hot nor cold.
    hot, cold
        Thresholds in robust standard deviations.
    window
        Number of pixels of a column that the median is taken of.
    """
    pieces = range(0, len(image), _PIECE)
    parts = [_residual(image, begin, window) for begin in pieces[:: max(1, len(pieces) // _SAMPLED)]]
    # A pixel that is itself the median says nothing about the scatter.
    telling = [np.abs(part[np.isfinite(part) & (part != 0)]) for part in parts]
    scatter = np.concatenate(telling)
    sigma = _NORMAL * float(np.median(scatter)) if scatter.size else 0.0
    found = DeviantPixels(np.empty(image.shape, bool), np.empty(image.shape, bool), sigma)
    for begin in pieces:
        rows = slice(begin, begin + _PIECE)
        residual = _residual(image, begin, window)
        found.hot[rows] = residual > hot * sigma
        found.cold[rows] = residual < -cold * sigma
    return found


def _residual(image: np.ndarray, begin: int, window: int) -> np.ndarray:
    """Return some rows of an image less the medians of their columns there; NaN where the image is not finite."""
    from scipy.ndimage import median_filter

    first = max(begin - window // 2, 0)
    part = image[first : begin + _PIECE + window // 2]
    good = np.isfinite(part)
    # The filter knows no NaN: the median of the column stands in for it.
    mixed = good.any(axis=0) & ~good.all(axis=0)
    medians = np.zeros(part.shape[1], part.dtype)
    medians[mixed] = np.nanmedian(np.where(good, part, np.nan)[:, mixed], axis=0)
    filled = np.where(good, part, medians)
    residual = np.where(good, filled - median_filter(filled, size=(window, 1), mode="reflect"), np.nan)
    return residual[begin - first : begin - first + _PIECE]
