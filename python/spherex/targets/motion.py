"""Where targets are at a time."""

from __future__ import annotations

__all__ = ["positions_at"]

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table
    from astropy.time import Time
    from numpy.typing import NDArray


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
