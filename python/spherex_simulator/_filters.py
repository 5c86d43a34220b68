"""The wavelength of each pixel as a look-up table in the file."""

from __future__ import annotations

__all__ = ["pixel_cards", "wavelength_cards", "wavelength_table"]

import numpy as np
from astropy.io import fits

from spherex.detectors import DetectorDescription
from spherex.fits import WCS_WAVE

from ._telescope import wavelength_of_row

_CONTROL_POINTS = 13


def pixel_cards() -> list[fits.Card]:
    """Return the cards of the coordinate system A, the pixels of the whole frame."""
    cards: list[tuple[str, int | float | str, str]] = [("WCSAXESA", 2, "Number of coordinate axes")]
    for axis in (1, 2):
        cards += [
            (f"CRPIX{axis}A", 1.0, "Pixel coordinate of reference point"),
            (f"CDELT{axis}A", 1.0, "[pixel] Coordinate increment at reference point"),
            (f"CUNIT{axis}A", "pixel", "Units of coordinate increment and value"),
            (f"CTYPE{axis}A", "LINEAR", "Coordinate type code"),
            (f"CRVAL{axis}A", 0.0, "[pixel] Coordinate value at reference point"),
        ]
    cards.append(("WCSNAMEA", "0-based active pixel coordinates", "Coordinate system title"))
    return [fits.Card(*card) for card in cards]


def wavelength_cards() -> list[fits.Card]:
    """Return the cards of the coordinate system W, which refers to the table."""
    cards: list[tuple[str, int | float | str, str]] = [
        ("WCSAXESW", 2, "Two output axes: wavelength and bandwidth"),
        ("WCSNAMEW", "Approximated per-pixel wavelength and bandwidth", ""),
    ]
    for axis, quantity in ((1, "Wavelength"), (2, "Bandwidth")):
        cards += [
            (f"CNAME{axis}W", quantity, "Name of the output axis"),
            (f"CRPIX{axis}W", 1.0, "Lookup table is in raw FITS coordinates"),
            (f"CDELT{axis}W", 1.0, "[pixel] Lookup table is in raw FITS coordinates"),
            (f"CUNIT{axis}W", "um", f"{quantity} is reported in microns"),
            (f"CTYPE{axis}W", "WAVE-TAB", "Bilinear lookup table, FITS Paper 3, Sect 6.1"),
            (f"CRVAL{axis}W", 1.0, "[pixel] Lookup table is in raw FITS coordinates"),
            (f"PV{axis}_3W", axis, f"Index of {quantity.lower()} in VALUES array"),
            (f"PS{axis}_0W", WCS_WAVE, "Extension with the lookup table"),
            (f"PS{axis}_1W", "VALUES", "Column with values"),
            (f"PS{axis}_2W", "XY"[axis - 1], f"Column with control points in {'XY'[axis - 1]}"),
        ]
    return [fits.Card(*card) for card in cards]


def wavelength_table(detector: DetectorDescription, side: int) -> fits.BinTableHDU:
    """Return the table with wavelength and bandwidth on a grid of pixels.

    Parameters
    ----------
    detector
        Detector with its filter.
    side
        Rows, and columns, of a frame.

    Returns
    -------
    table : `astropy.io.fits.BinTableHDU`
        One row: control points X and Y, 1-based; VALUES of shape (y, x, 2) in um.
    """
    points = np.linspace(1, side, _CONTROL_POINTS).round().astype(np.int32)
    wavelength = wavelength_of_row(detector, points - 1.0, side)
    values = np.stack([wavelength, wavelength / detector.r], axis=-1).astype(np.float32)
    values = np.repeat(values[:, np.newaxis, :], points.size, axis=1)
    n = points.size
    columns = [
        fits.Column("X", f"{n}J", dim=f"({n})", array=points[np.newaxis]),
        fits.Column("Y", f"{n}J", dim=f"({n})", array=points[np.newaxis]),
        fits.Column("VALUES", f"{2 * n * n}E", dim=f"(2,{n},{n})", array=values[np.newaxis]),
    ]
    return fits.BinTableHDU.from_columns(columns, name=WCS_WAVE)
