"""Hot and cold pixels of a dark."""

from __future__ import annotations

__all__ = ["DeviantPixels", "find_deviant_pixels"]

import dataclasses

import numpy as np

_NORMAL = 1.4826
"""Standard deviation of normal noise over its median absolute deviation."""

_PIECE = 256
"""Rows that are filtered at a time."""

_SAMPLE = 2**18
"""Pixels enough for a median good to a few thousandths of the scatter."""


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
    from scipy.ndimage import median_filter

    good = np.isfinite(image)
    sample = image[:: _stride(image)][good[:: _stride(image)]]
    filling = float(np.median(sample)) if sample.size else 0.0
    residual = np.empty_like(image)
    rows, margin = len(image), window // 2
    # In pieces, as the filter takes its input as a whole.
    for begin in range(0, rows, _PIECE):
        first, last = max(begin - margin, 0), min(begin + _PIECE + margin, rows)
        filled = np.where(good[first:last], image[first:last], filling)
        middle = median_filter(filled, size=(window, 1), mode="reflect")
        residual[begin : begin + _PIECE] = (filled - middle)[begin - first : begin - first + _PIECE]
    residual[~good] = 0
    # A pixel that is itself the median says nothing about the scatter.
    telling = np.abs(residual[:: _stride(image)])
    telling = telling[telling != 0]
    sigma = _NORMAL * float(np.median(telling)) if telling.size else 0.0
    return DeviantPixels(residual > hot * sigma, residual < -cold * sigma, sigma)


def _stride(image: np.ndarray) -> int:
    return max(1, image.size // _SAMPLE)
