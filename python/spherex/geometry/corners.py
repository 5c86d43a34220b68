"""Outer corners of a detector frame on the sky.

SPHEREx images use the gnomonic projection with SIP distortions, which is
evaluated here by hand: building a WCS object costs fifty times as much, and an
ingest does it for every file. All other projections are left to astropy.
"""

from __future__ import annotations

__all__ = ["Corners", "frame_corners"]

import functools
import math
from collections.abc import Mapping
from typing import Any

from .cards import MAX_SIP_ORDER, UNUSUAL_CARDS, FrameError, has_celestial_wcs, number

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
        from .general import general_corners

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
