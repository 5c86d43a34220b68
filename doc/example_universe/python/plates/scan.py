"""The digitized plate in memory."""

from __future__ import annotations

import dataclasses

import numpy as np
from astropy.io import fits


@dataclasses.dataclass
class Scan:
    """A digitized plate.

    Parameters
    ----------
    density
        Photographic density, shape (rows, columns), no unit.
    step
        Size of a pixel on the plate (um).
    header
        Further cards of the file.
    """

    density: np.ndarray
    step: float
    header: fits.Header = dataclasses.field(default_factory=fits.Header)
