"""Zones of a detector, each with its own PSF."""

from __future__ import annotations

__all__ = ["ZonePsf", "bilinear_weights"]

import dataclasses
from collections.abc import Iterator

import numpy as np

# Centres of one column of zones differ by rounding.
_SAME_CENTRE = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class ZonePsf:
    """The PSF at one place.

    The fraction of a star's flux in a detector pixel is, if the PSF is
    optical, the sum of the ``oversampling**2`` samples in the pixel; if it
    is effective, that is already convolved with the pixel,
    ``oversampling**2`` times the sample at the centre of the pixel.

    Parameters
    ----------
    array
        Samples, shape (rows, columns), centred on the middle one; not to be
        changed.
    oversampling
        Samples per detector pixel along an axis.
    effective
        Whether the PSF is convolved with the pixel.
    zone
        Number of the zone, from 1, as planes and table rows count; `None` if
        the PSF was interpolated between zones.
    distance
        Distance from the centre of that zone, or the nearest one, in pixels.
    """

    array: np.ndarray = dataclasses.field(repr=False)
    oversampling: int
    effective: bool
    zone: int | None
    distance: float

    @property
    def normalisation(self) -> float:
        """Sum of the samples: 1 if they hold all of the flux. Nothing is renormalised."""
        return float(self.array.sum(dtype=np.float64))


def bilinear_weights(x_centres: np.ndarray, y_centres: np.ndarray, x: float, y: float) -> Iterator[tuple[int, float]]:
    """Return the zones around a place and the weight of each.

    Parameters
    ----------
    x_centres, y_centres
        Centres of the zones.
    x, y
        The place. Beyond the outermost centres these count.

    Yields
    ------
    zone : `int`
        Index of a zone.
    weight : `float`
        Its weight, more than 0. The sum of all is 1.

    Raises
    ------
    ValueError
        If the centres form no lattice.
    """
    columns, rows = _ticks(x_centres), _ticks(y_centres)
    lattice = np.full((len(rows), len(columns)), -1)
    lattice[_index(rows, y_centres), _index(columns, x_centres)] = np.arange(len(x_centres))
    if lattice.size != len(x_centres) or (lattice < 0).any():
        raise ValueError("The zones of the PSF form no lattice; take the PSF of the nearest one.")
    for row, of_row in _between(rows, y):
        for column, of_column in _between(columns, x):
            yield int(lattice[row, column]), of_row * of_column


def _ticks(centres: np.ndarray) -> np.ndarray:
    """Return the different coordinates of a lattice."""
    ordered = np.sort(centres)
    return ordered[np.diff(ordered, prepend=-np.inf) > _SAME_CENTRE]


def _index(ticks: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.searchsorted(ticks, centres + _SAME_CENTRE) - 1


def _between(ticks: np.ndarray, place: float) -> list[tuple[int, float]]:
    """Return the one or two ticks around a place and their weights."""
    index = float(np.interp(place, ticks, np.arange(len(ticks))))
    lower, part = int(index), index % 1
    return [(lower, 1 - part), (lower + 1, part)] if part else [(lower, 1.0)]
