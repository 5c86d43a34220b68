"""Flags of the pixels that the light does not decide on."""

from __future__ import annotations

__all__ = ["fixed_flags"]

import numpy as np

from spherex.detectors import FRAME_SIDE
from spherex.image import Box, FlagTable

from .._detector import DetectorState

_PERSISTENT = 1e-3  # share of the pixels
_FULLY_SAMPLED = 240
_DICHROIC_ROWS = {3: slice(0, 54), 4: slice(FRAME_SIDE - 40, FRAME_SIDE)}


def fixed_flags(
    state: DetectorState, box: Box, detector: int, table: FlagTable, rng: np.random.Generator
) -> np.ndarray:
    """Return the flags that do not depend on the light.

    Parameters
    ----------
    state
        The whole detector. Its HOT, COLD and NONFUNC pixels have the same bits
        in all releases.
    box
        The part of it that is wanted.
    detector
        Detector number.
    table
        Names of the flags.
    rng
        Source of the pixels that remember an earlier exposure.
    """
    flags = state.flags[box.slices].copy()
    rows, columns = flags.shape
    dichroic = np.zeros(FRAME_SIDE, dtype=bool)
    dichroic[_DICHROIC_ROWS.get(detector, slice(0))] = True
    flags[dichroic[box.y0 : box.y1]] |= table.bits("DICHROIC")
    flags[rng.uniform(size=(rows, columns)) < _PERSISTENT] |= table.bits("PERSIST")
    places = np.random.default_rng(detector).integers(0, FRAME_SIDE, (2, _FULLY_SAMPLED))
    y, x = places - [[box.y0], [box.x0]]
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    flags[y[inside], x[inside]] |= table.bits("FULLSAMPLE")
    return flags
