"""Survey pattern, celestial coordinates of the detectors, and orbit of the spacecraft."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math

import numpy as np
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from spherex.detectors import DICHROIC_PAIRS, PIXEL_SCALE

from .detector import EXPOSURE_TIME, SAMPLE_TIME
from .settings import Settings, Stream

CADENCE = 129.0
"""Time from the begin of an exposure to the begin of the next, s."""

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
        """Number of the large slew before the exposure."""
        return self.exposure // SLEWS_TO_A_TARGET

    @functools.cached_property
    def boresight(self) -> tuple[float, float, float]:
        """Right ascension and declination of the boresight and position angle of the y axis, deg."""
        return angles_of(self.attitude[0], self.attitude[2])


def angles_of(direction: np.ndarray, axis: np.ndarray) -> tuple[float, float, float]:
    """Return the celestial coordinates of a direction, and the position angle of an axis there.

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
        Number of the exposure, 0-based.

    Raises
    ------
    ValueError
        If the number is negative.
    """
    if exposure < 0:
        raise ValueError(f"Exposures are numbered from 0, not {exposure}.")
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
    # No leap second was inserted into UTC since 2017, and none is planned: all
    # days have the same length.
    begin = settings.start + datetime.timedelta(seconds=exposure * CADENCE)
    length = datetime.timedelta(seconds=EXPOSURE_TIME + SAMPLE_TIME)
    jitter = max(float(rng.normal(_JITTER, _JITTER_SPREAD)), 0.0)
    return Pointing(exposure, axes, jitter, begin, begin + length / 2, begin + length)


@functools.cache
def ecliptic_axes() -> np.ndarray:
    """Return the axes of ecliptic coordinates as rows of unit vectors in ICRS."""
    axes = SkyCoord([0, 90, 0], [0, 0, 90], unit="deg", frame=BarycentricMeanEcliptic())
    return axes.icrs.cartesian.xyz.value.T


_FIELD_OFFSETS = (-3.82, 0.0, 3.82)
"""Angle from the boresight along x of the three fields side by side, deg."""

_FIELD_SKEWS = (1.09, 0.0, -1.15)
"""Half of the difference from a right angle between the axes of a field, deg.

From the angle between the columns of PCi_j in real Level 2 headers.
"""

_ORDER = 3
_DISTORTION = {
    "A": {
        (0, 0): -0.403527, (0, 1): -3.04907e-4, (0, 2): 1.37052e-6, (0, 3): 5.06811e-11, (1, 0): 3.85936e-4,
        (1, 1): 4.26375e-6, (1, 2): 6.26350e-10, (2, 0): 1.61769e-6, (2, 1): 1.81179e-10, (3, 0): 5.60372e-10,
    },
    "B": {
        (0, 0): -1.25750, (0, 1): 3.13188e-4, (0, 2): 2.02318e-6, (0, 3): 5.05417e-10, (1, 0): 1.23073e-3,
        (1, 1): 7.24117e-7, (1, 2): 1.25591e-10, (2, 0): 6.73358e-6, (2, 1): 6.37069e-10, (3, 0): 8.39646e-11,
    },
}  # fmt: skip
"""Distortion of a full frame, all detectors alike, pixels.

As in level2_2025W20_2D_0420_3D6 of Quick Release 1, to six digits.
"""


def celestial_values(pointing: Pointing, detector: int, settings: Settings) -> dict[str, str | int | float]:
    """Return the celestial coordinates (TAN-SIP) of a frame as values of header cards.

    Parameters
    ----------
    pointing
        Attitude of the exposure.
    detector
        Detector number. The two of a dichroic pair see the same sky.
    settings
        The survey.

    Returns
    -------
    values : `dict`
        Values by keyword.
    """
    field = next(index for index, pair in enumerate(DICHROIC_PAIRS) if detector in pair)
    offset, skew = math.radians(_FIELD_OFFSETS[field]), math.radians(_FIELD_SKEWS[field])
    boresight, x_axis, y_axis = pointing.attitude
    centre = math.cos(offset) * boresight + math.sin(offset) * x_axis
    ra, dec, angle = angles_of(centre, y_axis)
    y_angle = math.radians(angle) + skew
    x_angle = math.radians(angle - 90.0) - skew
    scale = PIXEL_SCALE / settings.miniature / 3600
    middle = (settings.side + 1) / 2
    values: dict[str, str | int | float] = {
        "RADESYS": "ICRS",
        "WCSAXES": 2,
        "CRPIX1": middle,
        "CRPIX2": middle,
        "PC1_1": _rounded(scale * math.sin(x_angle)),
        "PC1_2": _rounded(scale * math.sin(y_angle)),
        "PC2_1": _rounded(scale * math.cos(x_angle)),
        "PC2_2": _rounded(scale * math.cos(y_angle)),
        "CDELT1": 1.0,
        "CDELT2": 1.0,
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CTYPE1": "RA---TAN-SIP",
        "CTYPE2": "DEC--TAN-SIP",
        "CRVAL1": _rounded(ra),
        "CRVAL2": _rounded(dec),
        "LONPOLE": 180.0,
        "LATPOLE": _rounded(dec),
    }
    return values | _distortion_values(settings.side, settings.miniature)


def celestial_wcs(pointing: Pointing, detector: int, settings: Settings) -> WCS:
    """Return the celestial coordinates of a frame; see `celestial_values`."""
    return WCS(fits.Header(celestial_values(pointing, detector, settings)), naxis=2)


@functools.lru_cache(maxsize=1)
def _distortion_values(side: int, miniature: float) -> dict[str, int | float]:
    coefficients = {
        axis: {powers: value * miniature ** (1 - sum(powers)) for powers, value in full.items()}
        for axis, full in _DISTORTION.items()
    }
    grid = np.linspace(-side / 2, side / 2, 21)
    x, y = (plane.ravel() for plane in np.meshgrid(grid, grid))
    x_straight = x + sum(value * x**p * y**q for (p, q), value in coefficients["A"].items())
    y_straight = y + sum(value * x**p * y**q for (p, q), value in coefficients["B"].items())
    powers = list(coefficients["A"])
    # Columns of equal size keep the least-squares problem well conditioned.
    terms = np.stack([(x_straight / side) ** p * (y_straight / side) ** q for p, q in powers], axis=1)
    for axis, shift in (("AP", x - x_straight), ("BP", y - y_straight)):
        solution = np.linalg.lstsq(terms, shift)[0]
        coefficients[axis] = {
            (p, q): float(value) / side ** (p + q) for (p, q), value in zip(powers, solution, strict=True)
        }
    values: dict[str, int | float] = {}
    for axis in coefficients:
        values[f"{axis}_ORDER"] = _ORDER
        values |= {f"{axis}_{p}_{q}": _rounded(value) for (p, q), value in coefficients[axis].items()}
    return values


def _rounded(value: float) -> float:
    # Twelve digits fit into a card, so that the file has the same coordinates
    # as the simulation, and on every machine.
    return float(f"{value:.12g}")


_ORBIT_RADIUS = 7024.0  # km
_ORBIT_PERIOD = 5859.0  # s, of a circular orbit of this radius
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
    along = 2 * math.pi * (seconds % _ORBIT_PERIOD) / _ORBIT_PERIOD
    to_node = np.array([math.cos(node), math.sin(node), 0.0])
    across = np.array(
        [
            -math.sin(node) * math.cos(_INCLINATION),
            math.cos(node) * math.cos(_INCLINATION),
            math.sin(_INCLINATION),
        ]
    )
    speed = _ORBIT_RADIUS * 2 * math.pi / _ORBIT_PERIOD
    position = _ORBIT_RADIUS * (math.cos(along) * to_node + math.sin(along) * across)
    return position, speed * (-math.sin(along) * to_node + math.cos(along) * across)


def ground_track(time: datetime.datetime) -> tuple[float, float, float]:
    """Return the point on the ground below the spacecraft.

    Parameters
    ----------
    time
        UTC.

    Returns
    -------
    latitude, longitude, distance : `float`
        Coordinates, and angular distance from the middle of the South Atlantic
        anomaly, deg.
    """
    position, _ = spacecraft_state(time)
    latitude = math.asin(position[2] / _ORBIT_RADIUS)
    # Greenwich mean sidereal time to a hundredth of a degree.
    days = (time - datetime.datetime(2000, 1, 1, 12)) / datetime.timedelta(days=1)
    sidereal = 280.46062 + 360.98564737 * days
    longitude = (math.degrees(math.atan2(position[1], position[0])) - sidereal + 180.0) % 360.0 - 180.0
    south, west = (math.radians(angle) for angle in _ANOMALY)
    cosine = math.sin(latitude) * math.sin(south) + math.cos(latitude) * math.cos(south) * math.cos(
        math.radians(longitude) - west
    )
    return math.degrees(latitude), longitude, math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
