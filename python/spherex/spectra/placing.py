"""Where targets are in an image, and which parts of it are read for them."""

from __future__ import annotations

__all__ = ["Placed", "Window", "barycentric_time", "place_targets", "plan_windows"]

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..image import Box

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.time import Time
    from astropy.wcs import WCS
    from numpy.typing import NDArray

_DISTORTION = 60
"""How far the SIP polynomials may move a source (pixels); in the headers of Quick Release 2 they do by up to 20."""

_PER_READ = 100
"""Rows of three planes that take about as long as one more read: of a local
file that is the reading of headers, of a remote one the way to the server.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """Targets in or near an image.

    Parameters
    ----------
    index
        Their rows in the catalogue, ascending, of shape (n,).
    x, y
        Column and row in the image, from 0.
    is_on_image
        Whether the image has the pixel; the others are neighbours.
    """

    index: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    is_on_image: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """A part of an image and the targets in it.

    Parameters
    ----------
    box
        The part.
    members
        Indices of the targets.
    """

    box: Box
    members: NDArray[np.intp]


def place_targets(wcs: WCS, sky: SkyCoord, shape: Sequence[int], reach: float) -> Placed:
    """Find the targets that are in an image or next to it.

    Parameters
    ----------
    wcs
        Full coordinates of the image, SIP included.
    sky
        Positions of all targets.
    shape
        Rows and columns of the image.
    reach
        Distance from the image up to which targets count (pixels).
    """
    height, width = shape

    def is_near(x: NDArray[np.float64], y: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
        return (x >= -0.5 - margin) & (x < width - 0.5 + margin) & (y >= -0.5 - margin) & (y < height - 0.5 + margin)

    # Far away the polynomials lead anywhere: first without them. Behind the
    # tangential plane there are no pixels at all, that gives NaN.
    x, y = wcs.wcs_world2pix(sky.ra.deg, sky.dec.deg, 0)
    index = np.flatnonzero(is_near(x, y, reach + _DISTORTION))
    if len(index):
        x, y = wcs.all_world2pix(sky.ra.deg[index], sky.dec.deg[index], 0, tolerance=1e-6, quiet=True)
        near = is_near(x, y, reach)
        index, x, y = index[near], x[near], y[near]
    else:
        x, y = np.empty((2, 0))
    return Placed(index, x, y, is_near(x, y, 0))


def plan_windows(x: NDArray[np.float64], y: NDArray[np.float64], shape: Sequence[int], half: int) -> list[Window]:
    """Return the parts of an image to read, so that no row is read twice.

    Files are read by rows, so that only these matter. Rows in between are
    read where that is faster than reading twice, up to all.

    Parameters
    ----------
    x, y
        Places in the image, at least one.
    shape
        Rows and columns of the image.
    half
        Pixels that are wanted on each side of a place.
    """
    height, width = shape
    order = np.argsort(y, kind="stable")
    bottom = np.maximum(np.rint(y[order]).astype(np.int64) - half, 0)
    top = np.minimum(np.rint(y[order]).astype(np.int64) + half + 1, height)
    # Sorted by row, a gap begins where one starts beyond the end of all before.
    breaks = np.flatnonzero(bottom[1:] > np.maximum.accumulate(top)[:-1] + _PER_READ) + 1
    groups = np.split(np.arange(len(order)), breaks)
    windows = []
    for group in groups:
        members = np.sort(order[group])
        columns = np.rint(x[members]).astype(np.int64)
        box = Box(
            max(int(columns.min()) - half, 0),
            min(int(columns.max()) + half + 1, width),
            int(bottom[group].min()),
            int(top[group].max()),
        )
        windows.append(Window(box, members))
    return windows


def barycentric_time(time: Time, sky: SkyCoord) -> NDArray[np.float64]:
    """Return a time at the barycentre of the solar system, TDB as MJD, for each position.

    The observer is taken for one at the centre of the Earth, from which
    SPHEREx is 0.02 light seconds away. So no rotation of the Earth is needed,
    for which `astropy.time.Time.light_travel_time` would want a table of the
    last weeks.
    """
    from astropy import constants
    from astropy.coordinates import get_body_barycentric

    earth = get_body_barycentric("earth", time, ephemeris="builtin")
    later = earth.dot(sky.icrs.represent_as("unitspherical").to_cartesian()) / constants.c
    values: NDArray[np.float64] = time.tdb.mjd + later.to_value("day")
    return values
