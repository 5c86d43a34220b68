"""Dimension records of targets."""

from __future__ import annotations

__all__ = ["target_records"]

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.sphgeom import Region

_REACH = 62.0
"""Radius of the region of a target without motion (arcsec): the regions of
images, made of the corners of frames, are good to 10 pixels of 6.15 arcsec.
"""

_MISSION = (2025.0, 2032.0)
"""Years in which SPHEREx may observe: launch, and three times the two years of the prime mission."""

_MILLIARCSEC = 1e-3


def target_records(catalog: str, table: Table) -> Iterator[dict[str, Any]]:
    """Yield the records of a catalogue's targets.

    Parameters
    ----------
    catalog
        Name of the catalogue.
    table
        Columns name, ra, dec, and perhaps pmra, pmdec and ref_epoch.

    Yields
    ------
    record
        For `lsst.daf.butler.registry.Registry.insertDimensionData`, with the region
        in which the target is during the mission.
    """
    names = np.asarray(table["name"], dtype=str).tolist()
    ra, dec = (np.asarray(table[name], dtype=float).tolist() for name in ("ra", "dec"))
    for name, one_ra, one_dec, radius in zip(names, ra, dec, _radii(table), strict=True):
        yield {
            "catalog": catalog,
            "name": name,
            "ra": one_ra,
            "dec": one_dec,
            "region": _circle(one_ra, one_dec, radius),
        }


def _radii(table: Table) -> list[float]:
    """Return the radius of each region in arcsec."""
    radii = np.full(len(table), _REACH)
    if "pmra" in table.colnames:
        pmra, pmdec, epoch = (np.asarray(table[name], dtype=float) for name in ("pmra", "pmdec", "ref_epoch"))
        years = np.max([np.abs(year - epoch) for year in _MISSION], axis=0)
        radii += np.nan_to_num(np.hypot(pmra, pmdec) * years * _MILLIARCSEC)
    return radii.tolist()


def _circle(ra: float, dec: float, radius: float) -> Region:
    from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d

    return Circle(UnitVector3d(LonLat.fromDegrees(ra, dec)), Angle(math.radians(radius / 3600)))
