"""The truth about the sources of an image."""

from __future__ import annotations

__all__ = ["draw_sources", "source_table"]

import numpy as np
from astropy.table import Column, Table

from spherex.image import Box

from .._stars import Stars
from ._drawing import Drawing
from ._sky import within
from ._wavelength import WavelengthTable

_SOURCE_COLUMNS = (
    ("name", None, "Name, the same in every exposure"),
    ("ra", "deg", "Right ascension, ICRS"),
    ("dec", "deg", "Declination, ICRS"),
    ("x", "pixel", "Column of the centre in this image, 0-based"),
    ("y", "pixel", "Row of the centre in this image, 0-based"),
    ("wavelength", "um", "Central wavelength there"),
    ("bandwidth", "um", "Bandwidth there"),
    ("flux", "uJy", "Flux density at that wavelength"),
)


def draw_sources(
    light: np.ndarray,
    drawing: Drawing,
    wavelengths: WavelengthTable,
    box: Box,
    stars: Stars,
    x: np.ndarray,
    y: np.ndarray,
) -> Table:
    """Add the light of sources to an image.

    Parameters
    ----------
    light
        Light in each pixel of the box, uJy.
    drawing
        What draws.
    wavelengths
        Wavelength of each pixel.
    box
        The part of the frame.
    stars
        The sources.
    x, y
        Their positions, 0-based pixels of the whole frame.

    Returns
    -------
    table : `astropy.table.Table`
        The sources inside of the box.
    """
    wavelength, bandwidth = wavelengths.at(x, y)
    flux = 1e6 * stars.flux_density(wavelength)
    drawing.add(light, box, x, y, flux)
    inside = within(box, x, y, 0)
    return source_table(
        np.array(stars[inside].names, dtype=str),
        stars.ra[inside].round(8),
        stars.dec[inside].round(8),
        (x[inside] - box.x0).round(5),
        (y[inside] - box.y0).round(5),
        wavelength[inside].round(7),
        bandwidth[inside].round(7),
        flux[inside].round(4),
    )


def source_table(*values: np.ndarray) -> Table:
    """Return a table of sources, empty if no columns are given."""
    columns = values or (np.array([], dtype="U1"), *[np.array([], dtype=float)] * (len(_SOURCE_COLUMNS) - 1))
    return Table(
        [
            Column(one, name, unit=unit, description=text)
            for one, (name, unit, text) in zip(columns, _SOURCE_COLUMNS, strict=True)
        ]
    )
