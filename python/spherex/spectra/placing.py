"""Positions of targets on the sky and in an image, and the windows of the image around them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spherex.errors import ProductError
from spherex.image import Box

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table
    from astropy.time import Time
    from astropy.wcs import WCS
    from numpy.typing import NDArray


MOTION = ("pmra", "pmdec", "ref_epoch")
"""Columns of proper motions (mas/yr; pmra with the factor cos(dec)) and the epoch (Julian year) of ra and dec."""

_DISTORTION = 60
"""Largest shift by the SIP polynomials (pixels); in the headers of Quick Release 2 it is 20."""

_PER_READ = 100
"""Number of rows of three planes that take as long as one more read: the time
for the headers of a local file, or for the way to a server.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """Targets in or near an image.

    Parameters
    ----------
    index
        Rows of the targets in the catalogue, ascending, shape (n,).
    x, y
        Positions in the image (pixels, from 0), shape (n,).
    is_on_image
        Whether the image has the pixel, shape (n,). Targets beside the image
        are only neighbours.
    """

    index: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    is_on_image: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """Part of an image, and the targets in it.

    Parameters
    ----------
    box
        Box of the part in the image.
    members
        Indices of the targets.
    """

    box: Box
    members: NDArray[np.intp]


def place_targets(wcs: WCS, sky: SkyCoord, shape: Sequence[int], reach: float) -> Placed:
    """Return the targets that are in an image or near it.

    Parameters
    ----------
    wcs
        Celestial WCS of the image, with SIP.
    sky
        Positions of all targets.
    shape
        Shape of the image, (rows, columns).
    reach
        Largest distance of a target from the image (pixels).

    Raises
    ------
    spherex.errors.ProductError
        If astropy does not know the celestial frame of the WCS, or if its SIP
        polynomials shift pixels by more than 60 pixels.
    """
    height, width = shape
    _check_distortion(wcs, height, width)
    lon, lat = _in_frame_of(wcs, sky)

    def is_near(x: NDArray[np.float64], y: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
        return (x >= -0.5 - margin) & (x < width - 0.5 + margin) & (y >= -0.5 - margin) & (y < height - 0.5 + margin)

    # Far from the image the polynomials are meaningless, so that the first
    # selection is without them. Positions behind the tangent plane are NaN.
    x, y = wcs.wcs_world2pix(lon, lat, 0)
    index = np.flatnonzero(is_near(x, y, reach + _DISTORTION))
    if len(index):
        x, y = wcs.all_world2pix(lon[index], lat[index], 0, tolerance=1e-6, quiet=True)
        near = is_near(x, y, reach)
        index, x, y = index[near], x[near], y[near]
    else:
        x, y = np.empty((2, 0))
    return Placed(index, x, y, is_near(x, y, 0))


def _check_distortion(wcs: WCS, height: int, width: int) -> None:
    """Raise an error if targets on the image could be taken for targets far from it."""
    if wcs.sip is None:
        return
    pixels = np.stack(np.meshgrid([0, width / 2, width - 1], [0, height / 2, height - 1]), axis=-1).reshape(-1, 2)
    shift = float(np.hypot(*(wcs.pix2foc(pixels, 0) - pixels).T).max())
    if not shift <= _DISTORTION:
        raise ProductError(
            f"the SIP polynomials in the header shift pixels by up to {shift:.3g} pixels, more than {_DISTORTION}; "
            "replace the file with an intact copy"
        )


def _in_frame_of(wcs: WCS, sky: SkyCoord) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude (deg) in the celestial frame of an image, which need not be ICRS."""
    from astropy.coordinates import ICRS
    from astropy.wcs.utils import wcs_to_celestial_frame

    try:
        frame = wcs_to_celestial_frame(wcs)
    except ValueError:
        raise ProductError(
            f"astropy does not know the celestial frame of the image, with CTYPE1 {wcs.wcs.ctype[0]!r} and RADESYS "
            f"{wcs.wcs.radesys!r} in the header"
        ) from None
    if not isinstance(frame, ICRS):
        sky = sky.transform_to(frame)
    position = sky.spherical
    return position.lon.deg, position.lat.deg


def plan_windows(x: NDArray[np.float64], y: NDArray[np.float64], shape: Sequence[int], half: int) -> list[Window]:
    """Return the windows of an image to read, so that no row is read twice.

    Files are read by rows. Two windows become one if the rows between them
    take less time than one more read.

    Parameters
    ----------
    x, y
        Positions in the image (pixels), shape (n,), at least one.
    shape
        Shape of the image, (rows, columns).
    half
        Number of pixels to read on each side of a position.
    """
    height, width = shape
    order = np.argsort(y, kind="stable")
    bottom = np.maximum(np.rint(y[order]).astype(np.int64) - half, 0)
    top = np.minimum(np.rint(y[order]).astype(np.int64) + half + 1, height)
    # Sorted by row, a new window begins where a square starts beyond the end of all squares before.
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
    """Return the time at which light from each position reaches the barycentre of the solar system.

    The time is t + r . n / c, with the position r of the Earth from the
    barycentre and the direction n of the target (Eastman, Siverd and Gaudi
    2010, PASP 122, 935, section 2). SPHEREx is 0.02 light seconds from the
    centre of the Earth, which is neglected: so no rotation of the Earth is
    needed, for which `astropy.time.Time.light_travel_time` needs a recent table.

    Parameters
    ----------
    time
        Time of the exposure at the Earth.
    sky
        Positions of the targets, shape (n,).

    Returns
    -------
    times
        TDB as MJD (d), shape (n,).
    """
    from astropy import constants
    from astropy.coordinates import get_body_barycentric

    earth = get_body_barycentric("earth", time, ephemeris="builtin")
    later = earth.dot(sky.icrs.represent_as("unitspherical").to_cartesian()) / constants.c
    values: NDArray[np.float64] = time.tdb.mjd + later.to_value("day")
    return values


def motions_of(targets: Table) -> list[dict[str, float]]:
    """Return the columns `MOTION` of each target that moves, and nothing for the others.

    Parameters
    ----------
    targets
        Table that may have these columns.

    Returns
    -------
    motions
        Values by name, in the order of the table; an empty dictionary where
        the motion is zero or not known.
    """
    motions: list[dict[str, float]] = [{} for _ in range(len(targets))]
    moves, values = _moving(targets)
    for row, motion in zip(moves.tolist(), values.T.tolist(), strict=True):
        motions[row] = dict(zip(MOTION, motion, strict=True))
    return motions


def _moving(targets: Table) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows of the targets that move, shape (n,), and their `MOTION`, shape (3, n)."""
    if not set(MOTION) <= set(targets.colnames):
        return np.empty(0, np.intp), np.empty((len(MOTION), 0))
    values = np.stack([numbers_in(targets, name) for name in MOTION])
    moves = np.flatnonzero(np.isfinite(values).all(axis=0) & (values[:2] != 0).any(axis=0))
    return moves, values[:, moves]


def positions_at(targets: Table, time: Time) -> SkyCoord:
    """Return the positions of targets at a time, with their proper motions where these are known.

    Parameters
    ----------
    targets
        Columns ra and dec (ICRS, deg), and optionally pmra (with the factor
        cos(dec)) and pmdec (mas/yr) with ref_epoch (Julian year).
    time
        The time, or one for each target, shape (n,).

    Returns
    -------
    positions
        ICRS, in the order of the table.
    """
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    position = SkyCoord(numbers_in(targets, "ra"), numbers_in(targets, "dec"), unit="deg")
    moves, (pmra, pmdec, epoch) = _moving(targets)
    if not len(moves):
        return position
    ra, dec = position.ra.deg.copy(), position.dec.deg.copy()
    unit = units.mas / units.yr
    # Without a distance astropy assumes one at which fast stars are faster than
    # light, and warns. Without radial velocity the distance has no effect. The
    # epochs of catalogues are TCB, within a minute of TDB, which astropy uses
    # itself: it converts other scales by UTC, and warns of early and late years.
    moved = SkyCoord(
        position[moves],
        pm_ra_cosdec=pmra * unit,
        pm_dec=pmdec * unit,
        distance=np.full(len(moves), 10.0) * units.pc,
        obstime=Time(epoch, format="jyear", scale="tdb"),
    ).apply_space_motion(new_obstime=time if time.isscalar else time[moves])
    ra[moves], dec[moves] = moved.ra.deg, moved.dec.deg
    return SkyCoord(ra, dec, unit="deg")


def numbers_in(table: Table, name: str) -> NDArray[np.float64]:
    """Return the values of a column, NaN for masked ones."""
    return np.ma.filled(np.ma.asarray(table[name], dtype=np.float64), np.nan)
