"""Zones of a detector, each with its own PSF."""

from __future__ import annotations

__all__ = ["ZonePsf", "zone_weights"]

import dataclasses

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


def zone_weights(
    x_centres: np.ndarray, y_centres: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the zones around places and the weights of a linear interpolation.

    Parameters
    ----------
    x_centres, y_centres
        Centres of the zones.
    x, y
        The places, of shape (n,). Beyond the outermost centres these count.

    Returns
    -------
    indices : `numpy.ndarray`
        Indices of four zones for each place, of shape (n, 4).
    weights : `numpy.ndarray`
        Their weights, of the same shape. The sum of four is 1.

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
    (row, of_row), (column, of_column) = _between(rows, y), _between(columns, x)
    return (
        lattice[row[:, :, None], column[:, None, :]].reshape(-1, 4),
        (of_row[:, :, None] * of_column[:, None, :]).reshape(-1, 4),
    )


def _ticks(centres: np.ndarray) -> np.ndarray:
    """Return the different coordinates of a lattice."""
    ordered = np.sort(centres)
    return ordered[np.diff(ordered, prepend=-np.inf) > _SAME_CENTRE]


def _index(ticks: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.searchsorted(ticks, centres + _SAME_CENTRE) - 1


def _between(ticks: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two ticks around each place and their weights, of shape (n, 2)."""
    index = np.interp(places, ticks, np.arange(len(ticks)))
    lower = index.astype(np.intp)
    part = index - lower
    upper = np.minimum(lower + 1, len(ticks) - 1)
    return np.stack([lower, upper], axis=-1), np.stack([1 - part, part], axis=-1)
