"""The survey pattern: where the telescope looks during each exposure, and when."""

from __future__ import annotations

__all__ = ["CADENCE", "SLEWS_TO_A_TARGET", "Pointing", "angles_of", "ecliptic_axes", "pointing_of"]

import dataclasses
import datetime
import functools
import math

import numpy as np
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord

from ._ramp import EXPOSURE_TIME, SAMPLE_TIME
from ._settings import Settings, Stream

CADENCE = 129.0
"""Time between the begins of two exposures, s."""

SLEWS_TO_A_TARGET = 4
"""Exposures between two large slews."""

_STEP = 0.1966  # deg between exposures: a source moves on by one spectral channel
_FIRST_LONGITUDE, _FIRST_ANGLE = 324.0, 54.0  # deg, ecliptic longitude and latitude of exposure 0
_DRIFT_PER_CIRCLE = 2.7  # deg: the plane of the orbit follows the Sun
_POINTING_ERROR = 2.0  # arcsec
_JITTER, _JITTER_SPREAD = 1.0, 0.1  # arcsec


@dataclasses.dataclass(frozen=True)
class Pointing:
    """Attitude and time of one exposure.

    Parameters
    ----------
    exposure
        Number of the exposure.
    attitude
        Rows are the unit vectors, ICRS, of the boresight and of the x and y
        axes of the focal plane.
    jitter
        Motion of the boresight during the exposure, standard deviation, arcsec.
    begin, middle, end
        Times of the exposure, UTC.
    """

    exposure: int
    attitude: np.ndarray
    jitter: float
    begin: datetime.datetime
    middle: datetime.datetime
    end: datetime.datetime

    @property
    def name(self) -> str:
        """Name of the observation."""
        return f"sim_{self.exposure:06d}"

    @property
    def target(self) -> int:
        """Number of the large slew that led here."""
        return self.exposure // SLEWS_TO_A_TARGET

    @functools.cached_property
    def boresight(self) -> tuple[float, float, float]:
        """Right ascension and declination of the boresight and position angle of the y axis, deg."""
        return angles_of(self.attitude[0], self.attitude[2])


def angles_of(direction: np.ndarray, axis: np.ndarray) -> tuple[float, float, float]:
    """Return where a direction lies on the sky and how an axis is turned there.

    Parameters
    ----------
    direction
        Unit vector, ICRS.
    axis
        Unit vector perpendicular to it.

    Returns
    -------
    ra, dec, position_angle : `float`
        Coordinates and angle of the axis from north over east, deg.
    """
    x, y, z = direction
    ra, dec = math.atan2(y, x), math.atan2(z, math.hypot(x, y))
    east = np.array([-math.sin(ra), math.cos(ra), 0.0])
    angle = math.atan2(axis @ east, axis @ np.cross(direction, east))
    return math.degrees(ra) % 360.0, math.degrees(dec), math.degrees(angle) % 360.0


def pointing_of(settings: Settings, exposure: int) -> Pointing:
    """Return attitude and time of an exposure.

    The boresight walks along a great circle over both ecliptic poles, by one
    spectral channel an exposure and along the y axis of the focal plane.

    Parameters
    ----------
    settings
        The survey.
    exposure
        Number of the exposure.
    """
    rng = settings.rng(Stream.POINTING, exposure)
    along, across, turn = np.radians(rng.normal(0.0, _POINTING_ERROR, 3) / 3600)
    circle, angle = divmod(_FIRST_ANGLE + exposure * _STEP, 360.0)
    longitude = math.radians(_FIRST_LONGITUDE + circle * _DRIFT_PER_CIRCLE)
    angle = math.radians(angle)
    meridian = np.array([math.cos(longitude), math.sin(longitude), 0.0])
    pole = np.array([0.0, 0.0, 1.0])
    boresight = math.cos(angle + along) * meridian + math.sin(angle + along) * pole
    y_axis = math.cos(angle + along) * pole - math.sin(angle + along) * meridian
    x_axis = np.cross(boresight, y_axis)
    boresight = math.cos(across) * boresight + math.sin(across) * x_axis
    x_axis = np.cross(boresight, y_axis)
    y_axis = math.cos(turn) * y_axis + math.sin(turn) * x_axis
    axes = np.array([boresight, np.cross(boresight, y_axis), y_axis]) @ ecliptic_axes()
    # No second has been inserted into UTC since 2017 and none is foreseen, so
    # that its days are of equal length.
    begin = settings.start + datetime.timedelta(seconds=exposure * CADENCE)
    length = datetime.timedelta(seconds=EXPOSURE_TIME + SAMPLE_TIME)
    jitter = max(float(rng.normal(_JITTER, _JITTER_SPREAD)), 0.0)
    return Pointing(exposure, axes, jitter, begin, begin + length / 2, begin + length)


@functools.cache
def ecliptic_axes() -> np.ndarray:
    """Return the axes of ecliptic coordinates as rows of unit vectors in ICRS."""
    axes = SkyCoord([0, 90, 0], [0, 0, 90], unit="deg", frame=BarycentricMeanEcliptic())
    return axes.icrs.cartesian.xyz.value.T
