"""Surface brightness around targets."""

from __future__ import annotations

__all__ = ["measure_brightness"]

from typing import TYPE_CHECKING

import numpy as np

from ._stamps import IN_ONE_GO, cut_stamps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._stamps import Pixels


def measure_brightness(
    pixels: Pixels, x: NDArray[np.float64], y: NDArray[np.float64], side: int
) -> NDArray[np.float64]:
    """Return the median of the good pixels in squares, in the unit of the image; NaN where there is none.

    Parameters
    ----------
    pixels
        The image, or the part of it around the places.
    x, y
        Centres of the squares in pixels of the whole frame, from 0, of shape (n,).
    side
        Pixels along a side, an odd number.
    """
    medians = np.full(len(x), np.nan)
    for begin in range(0, len(x), IN_ONE_GO):
        rows = np.arange(begin, min(begin + IN_ONE_GO, len(x)))
        stamps = cut_stamps(pixels, x[rows], y[rows], side)
        some = stamps.is_good.any(axis=(1, 2))
        good = np.where(stamps.is_good[some], stamps.data[some], np.nan)
        medians[rows[some]] = np.nanmedian(good, axis=(1, 2))
    return medians
