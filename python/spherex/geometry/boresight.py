"""The planned pointing of the telescope, from ecliptic to equatorial."""

from __future__ import annotations

__all__ = ["boresight_of"]

import functools
import math
from typing import Any

import erfa  # type: ignore[import-untyped]

_J2000 = 2451545.0


def boresight_of(longitude: float, latitude: float, angle: float) -> tuple[float, float, float]:
    """Turn a pointing in ecliptic coordinates to equatorial ones.

    Parameters
    ----------
    longitude, latitude
        Ecliptic position (deg), mean equinox and ecliptic of J2000. That those
        are meant by SPS_ELON and SPS_ELAT follows from images before and after
        the telescope turned round by 180 degrees: in these coordinates their
        detectors lie at the same distance from the boresight, in those of date
        the distances differ by half a degree.
    angle
        Position angle there of an axis of the focal plane, east of ecliptic
        north (deg).

    Returns
    -------
    tuple [ float, float, float ]
        Right ascension and declination in ICRS, and the position angle of the
        axis east of equatorial north, 0 to 360 (deg).
    """
    matrix = _matrix()
    lon, lat = math.radians(longitude), math.radians(latitude)
    ecliptic = (math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat))
    x, y, z = (sum(matrix[row][axis] * ecliptic[row] for row in range(3)) for axis in range(3))
    ra, dec = math.atan2(y, x), math.atan2(z, math.hypot(x, y))
    pole = matrix[2]
    east = math.cos(ra) * pole[1] - math.sin(ra) * pole[0]
    north = math.cos(dec) * pole[2] - math.sin(dec) * (math.cos(ra) * pole[0] + math.sin(ra) * pole[1])
    roll = angle + math.degrees(math.atan2(east, north))
    return math.degrees(ra) % 360.0, math.degrees(dec), roll % 360.0


@functools.cache
def _matrix() -> Any:
    """Rotation from ICRS to the ecliptic of J2000."""
    return erfa.ecm06(_J2000, 0.0).tolist()
