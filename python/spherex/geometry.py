"""Where a detector frame lies on the sky, from header cards alone."""

from __future__ import annotations

__all__ = [
    "Corners",
    "MAX_SIP_ORDER",
    "UNUSUAL_CARDS",
    "WCS_CARDS",
    "boresight_of",
    "corners_of",
    "depths_of",
    "directions_at",
    "frame_corners",
    "general_corners",
    "has_celestial_wcs",
    "number",
    "pixels_at",
    "polygon_of",
]

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import erfa  # type: ignore[import-untyped]
import numpy as np
from lsst.sphgeom import ConvexPolygon, UnitVector3d

from spherex.errors import FrameError, HeaderError
from spherex.headers import number_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


MAX_SIP_ORDER = 9
"""Highest polynomial order that the SIP convention allows."""

MAX_PV = 39
"""Highest number of a parameter of a projection, in TPV."""

_AXIS_CARDS = ("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT")

UNUSUAL_CARDS = frozenset(
    [f"PV{i}_{m}" for i in (1, 2) for m in range(5)]
    + ["CROTA1", "CROTA2", "CPDIS1", "CPDIS2", "CQDIS1", "CQDIS2", "D2IMDIS1", "D2IMDIS2"]
)
"""Cards that change a gnomonic projection in ways that only astropy knows."""

WCS_CARDS = frozenset(
    [f"{name}{axis}" for name in _AXIS_CARDS for axis in (1, 2)]
    + [f"{name}{i}_{j}" for name in ("PC", "CD") for i in (1, 2) for j in (1, 2)]
    + ["WCSAXES", "LONPOLE", "LATPOLE", "RADESYS", "EQUINOX", "A_ORDER", "B_ORDER"]
    + [f"PV{i}_{m}" for i in (1, 2) for m in range(MAX_PV + 1)]
    + sorted(UNUSUAL_CARDS)
    + [f"{name}_{p}_{q}" for name in ("A", "B") for p in range(MAX_SIP_ORDER + 1) for q in range(MAX_SIP_ORDER + 1 - p)]
)
"""Every card that takes part in the position of a two-dimensional frame."""


def number(cards: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """Value of a card that has to be a finite number.

    Parameters
    ----------
    cards
        Card values by keyword.
    key
        Keyword wanted.
    default
        Value if the card is absent; without one the card has to be there.

    Returns
    -------
    float
        The value.

    Raises
    ------
    FrameError
        Raised if the card is absent without a default, or not a finite number.
    """
    try:
        value = number_of(cards, key, where="of the WCS")
    except HeaderError as error:
        raise FrameError(str(error)) from None
    value = default if value is None else value
    if value is None:
        raise FrameError(f"the WCS is incomplete: {key} is missing")
    return value


def has_celestial_wcs(cards: Mapping[str, Any]) -> bool:
    """Whether the cards claim to place the frame on the sky.

    Parameters
    ----------
    cards
        Card values by keyword.

    Returns
    -------
    bool
        False for a header without WCS and for one with plain pixel or linear
        axes; true for any other, complete or not.
    """
    ctypes = [ctype for ctype in (cards.get("CTYPE1"), cards.get("CTYPE2")) if ctype is not None]
    if ctypes:
        return any("-" in str(ctype) for ctype in ctypes)
    return any(cards.get(key) is not None for key in ("CRVAL1", "CRVAL2"))


def general_corners(cards: Mapping[str, Any], shape: tuple[int, int], origin: tuple[int, int]) -> Corners:
    """Positions of the outer corners of the corner pixels, by astropy.

    Parameters
    ----------
    cards
        Card values by keyword.
    shape
        Number of pixels of the frame along the first and second FITS axis.
    origin
        Pixels of the frame before the first one of the image.

    Returns
    -------
    tuple [ tuple [ float, float, float ] ]
        ICRS unit vectors of the four corners, going round the frame.

    Raises
    ------
    FrameError
        Raised if astropy cannot place the frame on the sky.
    """
    from astropy.io import fits
    from astropy.wcs import WCS

    for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2"):
        number(cards, key)
    header = fits.Header({"NAXIS": 2, "NAXIS1": shape[0], "NAXIS2": shape[1]})
    header.update({key: cards[key] for key in WCS_CARDS if cards.get(key) is not None})
    edges_x = (0.5, shape[0] + 0.5, shape[0] + 0.5, 0.5)
    edges_y = (0.5, 0.5, shape[1] + 0.5, shape[1] + 0.5)
    with warnings.catch_warnings():
        # What astropy mends on the way is no news to somebody who ingests.
        warnings.simplefilter("ignore")
        try:
            # One-based pixel centres: 0.5 is the outer edge of the first one.
            wcs = WCS(header)
            if not wcs.has_celestial or wcs.naxis != 2:
                raise FrameError("the WCS does not name two celestial axes")
            positions = wcs.pixel_to_world(
                [x - 1.0 - origin[0] for x in edges_x],
                [y - 1.0 - origin[1] for y in edges_y],
            ).icrs
        except FrameError:
            raise
        except Exception as error:
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise FrameError(f"astropy does not understand the WCS: {text}") from error
    corners = tuple(tuple(float(c) for c in xyz) for xyz in positions.cartesian.xyz.value.T)
    if not all(math.isfinite(c) for corner in corners for c in corner):
        raise FrameError("a corner of the frame is not on the sky")
    return corners  # type: ignore[return-value]


_CD_CARDS = ("CD1_1", "CD1_2", "CD2_1", "CD2_2")
_PC_CARDS = ("PC1_1", "PC1_2", "PC2_1", "PC2_2")

Corners = tuple[tuple[float, float, float], ...]
"""Unit vectors (x, y, z) in ICRS."""


def frame_corners(cards: Mapping[str, Any], shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> Corners | None:
    """Positions of the outer corners of the corner pixels.

    Parameters
    ----------
    cards
        Card values by keyword, at least those of `WCS_CARDS` that the header
        has.
    shape
        Number of pixels of the frame along the first and second FITS axis.
    origin
        Pixels of the frame before the first one of the image that the cards
        belong to, along both axes: not zero if that is a cutout.

    Returns
    -------
    tuple [ tuple [ float, float, float ] ] or None
        ICRS unit vectors of the four corners, going round the frame, or None
        if the header has no celestial WCS.

    Raises
    ------
    FrameError
        Raised if cards of the WCS are missing, are not finite numbers or
        cannot be inverted.
    """
    if not has_celestial_wcs(cards):
        return None
    for key in ("CTYPE1", "CTYPE2"):
        if cards.get(key) is None:
            raise FrameError(f"the WCS is incomplete: {key} is missing")
    if not _is_tan(cards):
        return general_corners(cards, shape, origin)
    return _tan_corners(cards, shape, origin)


def _is_tan(cards: Mapping[str, Any]) -> bool:
    """Whether `_tan_corners` knows everything that these cards may say."""
    return (
        str(cards["CTYPE1"]).strip() in ("RA---TAN-SIP", "RA---TAN")
        and str(cards["CTYPE2"]).strip() in ("DEC--TAN-SIP", "DEC--TAN")
        and str(cards.get("RADESYS", "ICRS")).strip() == "ICRS"
        and all(str(cards.get(key, "deg")).strip() in ("deg", "") for key in ("CUNIT1", "CUNIT2"))
        and (cards.get("RADESYS") is not None or cards.get("EQUINOX", 2000.0) == 2000.0)
        and cards.get("WCSAXES", 2) == 2
        and all(cards.get(key) is None for key in UNUSUAL_CARDS)
        and not (_has_any(cards, _CD_CARDS) and _has_any(cards, _PC_CARDS))
        # The SIP convention has no such orders; astropy then ignores the terms.
        and not {cards.get("A_ORDER"), cards.get("B_ORDER")} & {0, 1}
    )


def _has_any(cards: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    return any(cards.get(key) is not None for key in keys)


def _tan_corners(cards: Mapping[str, Any], shape: tuple[int, int], origin: tuple[int, int]) -> Corners:
    """Evaluate the gnomonic projection with SIP at the four corners."""
    crpix1, crpix2 = number(cards, "CRPIX1") + origin[0], number(cards, "CRPIX2") + origin[1]
    m11, m12, m21, m22 = _linear_matrix(cards)
    pole = _Pole(number(cards, "CRVAL1"), number(cards, "CRVAL2"), cards)
    a_terms, b_terms = _sip_terms(cards, "A"), _sip_terms(cards, "B")
    if (a_terms is None) != (b_terms is None):
        raise FrameError(f"the WCS is incomplete: {'A' if a_terms is None else 'B'}_ORDER is missing")
    # FITS counts pixel centres from 1, so that the frame begins at 0.5.
    left, right = 0.5 - crpix1, shape[0] + 0.5 - crpix1
    bottom, top = 0.5 - crpix2, shape[1] + 0.5 - crpix2
    corners = []
    for u, v in ((left, bottom), (right, bottom), (right, top), (left, top)):
        f = u + sum([c * u**p * v**q for p, q, c in a_terms or ()])
        g = v + sum([c * u**p * v**q for p, q, c in b_terms or ()])
        corners.append(pole.direction(m11 * f + m12 * g, m21 * f + m22 * g))
    return tuple(corners)


def _linear_matrix(cards: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Degrees per pixel, row by row."""
    if _has_any(cards, _CD_CARDS):
        m11, m12, m21, m22 = (number(cards, key, 0.0) for key in _CD_CARDS)
    else:
        cdelt1, cdelt2 = number(cards, "CDELT1", 1.0), number(cards, "CDELT2", 1.0)
        m11, m12 = cdelt1 * number(cards, "PC1_1", 1.0), cdelt1 * number(cards, "PC1_2", 0.0)
        m21, m22 = cdelt2 * number(cards, "PC2_1", 0.0), cdelt2 * number(cards, "PC2_2", 1.0)
    if m11 * m22 == m12 * m21:
        raise FrameError("the matrix of the WCS is singular")
    return m11, m12, m21, m22


def _sip_terms(cards: Mapping[str, Any], name: str) -> list[tuple[int, int, float]] | None:
    """Exponents and coefficients of a SIP polynomial, A or B; None without one."""
    order = cards.get(f"{name}_ORDER")
    if order is None:
        return None
    if not isinstance(order, int) or not 0 <= order <= MAX_SIP_ORDER:
        raise FrameError(f"{name}_ORDER of the WCS is not a number from 0 to {MAX_SIP_ORDER}: {order!r}")
    present = [(p, q, key) for p, q, key in _sip_keys(name, order) if cards.get(key) is not None]
    return [(p, q, number(cards, key)) for p, q, key in present]


@functools.cache
def _sip_keys(name: str, order: int) -> tuple[tuple[int, int, str], ...]:
    return tuple([(p, q, f"{name}_{p}_{q}") for p in range(order + 1) for q in range(order + 1 - p)])


class _Pole:
    """Reference point of a zenithal projection and the directions at it."""

    def __init__(self, ra: float, dec: float, cards: Mapping[str, Any]):
        if not -90.0 <= dec <= 90.0:
            raise FrameError(f"CRVAL2 of the WCS is not a declination: {dec!r}")
        lonpole = math.radians(number(cards, "LONPOLE", 180.0 if dec < 90.0 else 0.0))
        cos_ra, sin_ra = math.cos(math.radians(ra)), math.sin(math.radians(ra))
        cos_dec, sin_dec = math.cos(math.radians(dec)), math.sin(math.radians(dec))
        self._sin_lonpole, self._cos_lonpole = math.sin(lonpole), math.cos(lonpole)
        self._centre = (cos_dec * cos_ra, cos_dec * sin_ra, sin_dec)
        self._east = (-sin_ra, cos_ra)
        self._north = (-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec)

    def direction(self, x: float, y: float) -> tuple[float, float, float]:
        """Return the unit vector at the gnomonic plane coordinates x and y in degrees."""
        x, y = math.radians(x), math.radians(y)
        xi = -self._cos_lonpole * x - self._sin_lonpole * y
        eta = self._sin_lonpole * x - self._cos_lonpole * y
        vx = self._centre[0] + xi * self._east[0] + eta * self._north[0]
        vy = self._centre[1] + xi * self._east[1] + eta * self._north[1]
        vz = self._centre[2] + eta * self._north[2]
        length = math.sqrt(vx * vx + vy * vy + vz * vz)
        return vx / length, vy / length, vz / length


def polygon_of(corners: Corners) -> ConvexPolygon:
    """Convex region between the corners of a frame.

    Parameters
    ----------
    corners
        Unit vectors (x, y, z), ICRS.

    Returns
    -------
    lsst.sphgeom.ConvexPolygon
        The region; its sides are great circles.
    """
    return ConvexPolygon([UnitVector3d(*corner) for corner in corners])


# `ConvexPolygon` sorts its vertices counterclockwise as seen from outside. The
# frames of SPHEREx run clockwise (DETCOORD is 'sky': x to the west where y is
# to the north), so that it turns the order of `frame_corners` round.
_ORDER = (1, 0, 3, 2)


def corners_of(regions: Sequence[ConvexPolygon]) -> NDArray[np.float64]:
    """Return the corners of frames from the regions that `polygon_of` has made of them.

    Parameters
    ----------
    regions
        Regions of frames whose x axis is clockwise of the y axis on the sky,
        as those of SPHEREx are.

    Returns
    -------
    corners
        Unit vectors, of shape (number of regions, 4, 3), in the order of
        `frame_corners`.

    Raises
    ------
    ValueError
        Raised if a region has not four corners.
    """
    vertices = [region.getVertices() for region in regions]
    if any(len(four) != 4 for four in vertices):
        raise ValueError("a region is no frame: it has not four corners")
    flat = [c for four in vertices for v in four for c in (v.x(), v.y(), v.z())]
    return np.array(flat, float).reshape(-1, 4, 3)[:, _ORDER]


def pixels_at(
    corners: NDArray[np.float64], direction: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the pixels of frames that look in a direction.

    Parameters
    ----------
    corners
        Unit vectors of the outer corners of the frames, of shape (n, 4, 3).
    direction
        Unit vector, less than 90 degrees from each frame.
    shape
        Number of pixels along x and y.

    Returns
    -------
    pixels
        0-based x and y of each frame, of shape (n, 2), also where they are
        outside of it. Distortions are not known here: all but what they do to
        the corners is left out, up to 8 pixels in the frames of SPHEREx.
    """
    places = np.linalg.solve(_matrices(corners), direction[:, np.newaxis])[..., 0]
    # The frame begins at the outer edge of the first pixel.
    return places[:, :2] / places[:, 2:] * shape - 0.5


def directions_at(
    corners: NDArray[np.float64], pixels: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the directions of pixels of one frame, the inverse of `pixels_at`.

    Parameters
    ----------
    corners
        Unit vectors of its outer corners, of shape (4, 3).
    pixels
        0-based x and y, of shape (n, 2).
    shape
        Number of pixels along x and y.

    Returns
    -------
    directions
        Unit vectors, of shape (n, 3).
    """
    places = np.column_stack([(pixels + 0.5) / shape, np.ones(len(pixels))])
    directions = places @ _matrices(corners[np.newaxis])[0].T
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def depths_of(pixels: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return how far from the edges of a frame pixels are.

    Parameters
    ----------
    pixels
        0-based x and y, of shape (n, 2).
    shape
        Number of pixels along x and y.

    Returns
    -------
    depths
        Distance from the nearest edge in pixels, of shape (n,); negative
        outside of the frame.
    """
    beyond = np.abs(pixels - (np.array(shape) - 1) / 2) - np.array(shape) / 2
    outside = np.hypot(*np.maximum(beyond, 0.0).T)
    return np.where(outside > 0, -outside, -beyond.max(axis=1))


def _matrices(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrices from places on frames, (0, 0) to (1, 1), to directions."""
    first, second, third, fourth = np.moveaxis(corners, 1, 0)
    sides = np.stack([second, fourth, -first], axis=-1)
    scales = np.linalg.solve(sides, third[..., np.newaxis])
    origin = scales[:, 2] * first
    return np.stack([scales[:, 0] * second - origin, scales[:, 1] * fourth - origin, origin], axis=-1)


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
