"""Fluxes in circular apertures."""

from __future__ import annotations

__all__ = ["aperture_weights"]

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
