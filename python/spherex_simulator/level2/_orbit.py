"""Where the spacecraft is."""

from __future__ import annotations

__all__ = ["ground_track", "spacecraft_state"]

import datetime
import math

import numpy as np

_RADIUS = 7024.0  # km
_PERIOD = 5859.0  # s, of a circular orbit of this radius
_INCLINATION = math.radians(97.95)
_EPOCH = datetime.datetime(2025, 12, 21)
_NODE_AT_EPOCH = 0.0  # the plane faces the Sun, which is at a right ascension of 270 deg then
_YEAR = 365.2422 * 86400.0
_ANOMALY = (-25.0, -50.0)  # deg, latitude and longitude of the South Atlantic anomaly


def spacecraft_state(time: datetime.datetime) -> tuple[np.ndarray, np.ndarray]:
    """Return position (km) and velocity (km/s) in geocentric equatorial axes.

    The orbit is circular and its plane follows the Sun.

    Parameters
    ----------
    time
        UTC.
    """
    seconds = (time - _EPOCH).total_seconds()
    node = _NODE_AT_EPOCH + 2 * math.pi * seconds / _YEAR
    along = 2 * math.pi * (seconds % _PERIOD) / _PERIOD
    to_node = np.array([math.cos(node), math.sin(node), 0.0])
    across = np.array(
        [
            -math.sin(node) * math.cos(_INCLINATION),
            math.cos(node) * math.cos(_INCLINATION),
            math.sin(_INCLINATION),
        ]
    )
    speed = _RADIUS * 2 * math.pi / _PERIOD
    position = _RADIUS * (math.cos(along) * to_node + math.sin(along) * across)
    return position, speed * (-math.sin(along) * to_node + math.cos(along) * across)


def ground_track(time: datetime.datetime) -> tuple[float, float, float]:
    """Return what the spacecraft is above.

    Parameters
    ----------
    time
        UTC.

    Returns
    -------
    latitude, longitude, distance : `float`
        Place, and how far the middle of the South Atlantic anomaly is, deg.
    """
    position, _ = spacecraft_state(time)
    latitude = math.asin(position[2] / _RADIUS)
    # Greenwich mean sidereal time to a hundredth of a degree.
    days = (time - datetime.datetime(2000, 1, 1, 12)) / datetime.timedelta(days=1)
    sidereal = 280.46062 + 360.98564737 * days
    longitude = (math.degrees(math.atan2(position[1], position[0])) - sidereal + 180.0) % 360.0 - 180.0
    south, west = (math.radians(angle) for angle in _ANOMALY)
    cosine = math.sin(latitude) * math.sin(south) + math.cos(latitude) * math.cos(south) * math.cos(
        math.radians(longitude) - west
    )
    return math.degrees(latitude), longitude, math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
