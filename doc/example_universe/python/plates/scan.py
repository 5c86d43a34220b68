"""The digitized plate in memory."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass
class Scan:
    """A digitized plate.

    Parameters
    ----------
    density
        Photographic density, shape (rows, columns), no unit.
    step
        Size of a pixel on the plate (um).
    """

    density: np.ndarray
    step: float
