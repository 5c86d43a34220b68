"""Positions of targets on the sky and in an image, and the parts of it that are read for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spherex.image import Box

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table
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


def positions_at(targets: Table, time: Time) -> SkyCoord:
    """Return the positions of targets, proper motion applied where it is known.

    Parameters
    ----------
    targets
        Columns ra and dec (ICRS, deg), and perhaps pmra (that on the sky,
        cos(dec) included) and pmdec (mas/yr) with ref_epoch (Julian year).
    time
        One instant.

    Returns
    -------
    positions
        ICRS, in the order of the table.
    """
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    position = SkyCoord(_values(targets, "ra"), _values(targets, "dec"), unit="deg")
    if not {"pmra", "pmdec", "ref_epoch"} <= set(targets.colnames):
        return position
    pmra, pmdec, epoch = (_values(targets, name) for name in ("pmra", "pmdec", "ref_epoch"))
    moves = np.flatnonzero(np.isfinite(pmra) & np.isfinite(pmdec) & np.isfinite(epoch) & ((pmra != 0) | (pmdec != 0)))
    if not len(moves):
        return position
    ra, dec = position.ra.deg.copy(), position.dec.deg.copy()
    unit = units.mas / units.yr
    # Without a distance astropy would assume one at which fast stars outrun
    # light, and remark on it; without radial velocity it does not matter. TDB
    # is within a minute of TCB, and is what astropy uses: others it converts by
    # UTC, with remarks on early and late years.
    moved = SkyCoord(
        position[moves],
        pm_ra_cosdec=pmra[moves] * unit,
        pm_dec=pmdec[moves] * unit,
        distance=np.full(len(moves), 10.0) * units.pc,
        obstime=Time(epoch[moves], format="jyear", scale="tdb"),
    ).apply_space_motion(new_obstime=time)
    ra[moves], dec[moves] = moved.ra.deg, moved.dec.deg
    return SkyCoord(ra, dec, unit="deg")


def _values(table: Table, name: str) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(table[name], dtype=np.float64), np.nan)
