"""Celestial coordinates of the detectors."""

from __future__ import annotations

__all__ = ["celestial_cards", "celestial_wcs"]

import functools
import math

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from spherex.detectors import DICHROIC_PAIRS

from ._pointing import Pointing, angles_of
from ._settings import Settings
from ._telescope import PIXEL

_FIELD_OFFSETS = (-3.82, 0.0, 3.82)
"""Angle from the boresight along x of the three fields side by side, deg."""

_FIELD_SKEWS = (1.09, 0.0, -1.15)
"""Half of what is missing to a right angle between the axes of a field, deg.

As the angle between the columns of PCi_j in real Level 2 headers.
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

That of level2_2025W20_2D_0420_3D6 of Quick Release 1, to six digits.
"""


def celestial_cards(pointing: Pointing, detector: int, settings: Settings) -> list[fits.Card]:
    """Return the cards of the celestial coordinates (TAN-SIP) of a frame.

    Parameters
    ----------
    pointing
        Attitude of the exposure.
    detector
        Detector number. The two of a dichroic pair see the same sky.
    settings
        The survey.
    """
    field = next(index for index, pair in enumerate(DICHROIC_PAIRS) if detector in pair)
    offset, skew = math.radians(_FIELD_OFFSETS[field]), math.radians(_FIELD_SKEWS[field])
    boresight, x_axis, y_axis = pointing.attitude
    centre = math.cos(offset) * boresight + math.sin(offset) * x_axis
    ra, dec, angle = angles_of(centre, y_axis)
    y_angle = math.radians(angle) + skew
    x_angle = math.radians(angle - 90.0) - skew
    scale = PIXEL / settings.miniature / 3600
    middle = (settings.side + 1) / 2
    cards: list[tuple[str, float | int | str, str]] = [
        ("RADESYS", "ICRS", "Equatorial coordinate system"),
        ("WCSAXES", 2, "Number of coordinate axes"),
        ("CRPIX1", middle, "Pixel coordinate of reference point"),
        ("CRPIX2", middle, "Pixel coordinate of reference point"),
        ("PC1_1", scale * math.sin(x_angle), "Coordinate transformation matrix element"),
        ("PC1_2", scale * math.sin(y_angle), "Coordinate transformation matrix element"),
        ("PC2_1", scale * math.cos(x_angle), "Coordinate transformation matrix element"),
        ("PC2_2", scale * math.cos(y_angle), "Coordinate transformation matrix element"),
        ("CDELT1", 1.0, "[deg] Coordinate increment at reference point"),
        ("CDELT2", 1.0, "[deg] Coordinate increment at reference point"),
        ("CUNIT1", "deg", "Units of coordinate increment and value"),
        ("CUNIT2", "deg", "Units of coordinate increment and value"),
        ("CTYPE1", "RA---TAN-SIP", "TAN (gnomonic) projection + SIP distortions"),
        ("CTYPE2", "DEC--TAN-SIP", "TAN (gnomonic) projection + SIP distortions"),
        ("CRVAL1", ra, "[deg] Coordinate value at reference point"),
        ("CRVAL2", dec, "[deg] Coordinate value at reference point"),
        ("LONPOLE", 180.0, "[deg] Native longitude of celestial pole"),
        ("LATPOLE", dec, "[deg] Native latitude of celestial pole"),
    ]
    return [_card(*card) for card in cards] + _distortion_cards(settings.side, settings.miniature)


def celestial_wcs(pointing: Pointing, detector: int, settings: Settings) -> WCS:
    """Return the celestial coordinates of a frame; see `celestial_cards`."""
    return WCS(fits.Header(celestial_cards(pointing, detector, settings)), naxis=2)


@functools.lru_cache(maxsize=1)
def _distortion_cards(side: int, miniature: float) -> list[fits.Card]:
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
    cards = []
    for axis in coefficients:
        direction = "sky to detector" if axis in ("AP", "BP") else "detector to sky"
        cards.append(fits.Card(f"{axis}_ORDER", _ORDER, f"SIP polynomial order, {direction}"))
        for (p, q), value in coefficients[axis].items():
            cards.append(_card(f"{axis}_{p}_{q}", value, "SIP distortion coefficient"))
    return cards


def _card(keyword: str, value: float | int | str, comment: str) -> fits.Card:
    # Twelve digits fit into a card, so that the file has the same coordinates
    # as the simulation, and on every machine.
    return fits.Card(keyword, float(f"{value:.12g}") if isinstance(value, float) else value, comment)
