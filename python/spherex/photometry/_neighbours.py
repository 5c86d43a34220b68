"""Other sources whose light falls into the squares of targets."""

from __future__ import annotations

__all__ = ["MOST_NEIGHBOURS", "batches", "cores_of_neighbours", "find_neighbours", "light_of_neighbours"]

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ._stamps import IN_ONE_GO

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._profiles import Profiles
    from ._stamps import Stamps

MOST_NEIGHBOURS = 100
"""Neighbours that are fitted together with a target; with more of them it has no flux."""

_LEAST_LIGHT = 1e-4  # of a neighbour in the pixels, else it does not matter
_MOST_PAIRS = 8 * IN_ONE_GO  # of targets and neighbours in one go: some ten Mbyte


def find_neighbours(
    x: NDArray[np.float64], y: NDArray[np.float64], wanted: NDArray[np.intp], reach: float
) -> list[NDArray[np.intp]]:
    """Return for each target the other sources in the square around it.

    Parameters
    ----------
    x, y
        Positions of all sources (pixels), of shape (m,).
    wanted
        Indices of the targets, of shape (n,).
    reach
        Half of the side of the square (pixels).
    """
    from scipy.spatial import KDTree

    places = np.stack([x, y], axis=-1)
    near: list[list[int]] = KDTree(places).query_ball_point(places[wanted], reach, p=np.inf, return_sorted=True)
    return [
        np.array([one for one in those if one != target], np.intp) for target, those in zip(wanted, near, strict=True)
    ]


def batches(neighbours: list[NDArray[np.intp]]) -> Iterator[slice]:
    """Split targets into parts that need a bounded memory, each with one target at least."""
    sizes = np.array([1 + len(those) for those in neighbours], np.int64)
    begin = 0
    while begin < len(sizes):
        total = np.cumsum(sizes[begin : begin + IN_ONE_GO])
        end = begin + max(int(np.searchsorted(total, _MOST_PAIRS, side="right")), 1)
        yield slice(begin, end)
        begin = end


def light_of_neighbours(
    stamps: Stamps,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    neighbours: list[NDArray[np.intp]],
    profiles: Profiles,
    used: NDArray[np.bool_],
) -> list[NDArray[np.float64]]:
    """Return for each stamp the light of those neighbours that matter.

    Parameters
    ----------
    stamps
        The squares of the targets.
    x, y
        Positions of all sources (pixels), of shape (m,).
    neighbours
        Indices of the neighbours of each target.
    profiles
        The PSF.
    used
        Which pixels are used, of shape (n, side, side).

    Returns
    -------
    light
        For each target of shape (neighbours that matter, side, side).
    """
    rows, others = _pairs(neighbours)
    found = np.empty((0, stamps.side, stamps.side))
    matters = np.zeros(len(rows), bool)
    if len(rows):
        shares = profiles.at(x[others], y[others], stamps.left[rows], stamps.bottom[rows], stamps.side)
        matters = np.einsum("nij,nij->n", shares, used[rows]) > _LEAST_LIGHT
        found = shares[matters]
    return np.split(found, np.searchsorted(rows[matters], np.arange(1, len(neighbours))))


def cores_of_neighbours(
    stamps: Stamps, x: NDArray[np.float64], y: NDArray[np.float64], neighbours: list[NDArray[np.intp]], radius: float
) -> NDArray[np.bool_]:
    """Return which pixels are near a neighbour that is in the square itself, of shape (n, side, side)."""
    rows, others = _pairs(neighbours)
    column, line = (np.rint(place[others]) - begin[rows] for place, begin in ((x, stamps.left), (y, stamps.bottom)))
    is_inside = (column >= 0) & (column < stamps.side) & (line >= 0) & (line < stamps.side)
    is_core = np.zeros(stamps.data.shape, bool)
    rows, others = rows[is_inside], others[is_inside]
    if len(rows):
        is_near = stamps.distance(x[others], y[others], rows) <= radius
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        is_core[rows[first]] = np.logical_or.reduceat(is_near, first, axis=0)
    return is_core


def _pairs(neighbours: list[NDArray[np.intp]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the numbers of stamps, ascending, and for each one a neighbour."""
    rows = np.repeat(np.arange(len(neighbours)), [len(those) for those in neighbours])
    return rows, np.concatenate([np.empty(0, np.intp), *neighbours])
