"""Sources of a Level 2 image: reading them from a file, finding and drawing them, and the table with the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Column, Table
from astropy.units import Unit, UnitConversionError
from astropy.wcs import WCS

from spherex.detectors import PIXEL_SCALE
from spherex.errors import UserError
from spherex.image import Box

from ..detector import within
from ..settings import Settings
from ..sky import ZERO_POINT, NamedStars, Stars, locate, stars_around
from ..telescope import WavelengthTable
from .psf import Drawing

_REQUIRED = ("name", "ra", "dec", "flux")
_UNITS = {"ra": "deg", "dec": "deg", "flux": "uJy", "temperature": "K"}


class SourceFileError(UserError):
    """The file of sources cannot be used."""


def read_sources(path: Path) -> NamedStars:
    """Read sources and their spectra.

    Parameters
    ----------
    path
        ECSV table with the columns ``name``, ``ra`` and ``dec`` (ICRS, deg) and
        ``flux``, the flux density at 1.6 um (uJy). An optional column
        ``temperature`` (K) makes the source a black body; where it is masked,
        NaN, 0 or absent the spectrum is a power law of wavelength, with the
        exponent in the optional column ``slope``, 0 by default. Columns without
        a unit are taken to be in these units.

    Raises
    ------
    SourceFileError
        If the file is not such a table.
    OSError
        If the file cannot be read.
    """
    text = path.read_text()
    try:
        table = Table.read(text, format="ascii.ecsv")
    except Exception as error:
        # The reader of tables raises errors of many kinds.
        raise SourceFileError(f"{path} is not an ECSV table: {str(error).splitlines()[0]}") from None
    if missing := [name for name in _REQUIRED if name not in table.colnames]:
        raise SourceFileError(
            f"{path}: column {', '.join(missing)} is missing; the columns are {', '.join(table.colnames)}"
        )
    if not len(table):
        raise SourceFileError(f"{path}: expected at least one row")
    names = np.array([str(name) for name in table["name"]])
    if len(set(names)) < len(names):
        raise SourceFileError(f"{path}: two sources have the same name; make the names unique")
    ra, dec, flux = (_column(path, table, name) for name in ("ra", "dec", "flux"))
    temperature = _column(path, table, "temperature", 0.0)
    slope = _column(path, table, "slope", 0.0)
    for what, wrong in (
        ("an invalid position (expected deg, declination -90 to 90)", ~(np.isfinite(ra) & (np.abs(dec) <= 90))),
        ("a flux that is not positive", ~((flux > 0) & np.isfinite(flux))),
        ("a negative temperature", temperature < 0),
    ):
        if wrong.any():
            raise SourceFileError(f"{path}: {names[np.argmax(wrong)]} has {what}")
    temperature[temperature == 0] = np.inf
    number = np.arange(len(table))
    magnitude = -2.5 * np.log10(flux * 1e-6 / ZERO_POINT)
    return NamedStars(np.zeros_like(number), number, ra, dec, magnitude, temperature, slope, names)


def _column(path: Path, table: Table, name: str, default: float | None = None) -> np.ndarray:
    if name not in table.colnames:
        return np.full(len(table), default)
    column = table[name]
    try:
        values = np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
        if column.unit is not None:
            values = values * Unit(column.unit).to(Unit(_UNITS.get(name, "")))
    except (ValueError, UnitConversionError):
        wanted = f"in {_UNITS[name]}" if name in _UNITS else "numbers without a unit"
        raise SourceFileError(f"{path}: column {name} must be {wanted}") from None
    return values if default is None else np.where(np.isfinite(values), values, default)


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
        Point spread functions of the detector.
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
    inside = within(box, x, y)
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
    """Return a table of sources with these columns, or without rows."""
    columns = values or (np.array([], dtype="U1"), *[np.array([], dtype=float)] * (len(_SOURCE_COLUMNS) - 1))
    return Table(
        [
            Column(column, name, unit=unit, description=text)
            for column, (name, unit, text) in zip(columns, _SOURCE_COLUMNS, strict=True)
        ]
    )


_FAR = 40  # pixels around the box, where the distortion can still be inverted


def sources_near(
    wcs: WCS, box: Box, reach: int, settings: Settings, sources: Sequence[Stars], with_stars: bool
) -> list[tuple[Stars, np.ndarray, np.ndarray]]:
    """Return the sources whose light reaches a box, with their positions.

    Parameters
    ----------
    wcs
        Celestial coordinates of the whole frame.
    box
        The part of the frame.
    reach
        Pixels around the box where a source still adds light to it.
    settings
        Survey whose sky it is.
    sources
        Sources to add to the sky.
    with_stars
        Whether to add the stars of the simulated sky.

    Returns
    -------
    near : `list`
        Groups of sources with x and y, 0-based pixels of the whole frame.
    """
    middle_x, middle_y = (box.x0 + box.x1 - 1) / 2, (box.y0 + box.y1 - 1) / 2
    ra, dec = wcs.all_pix2world(middle_x, middle_y, 0)
    radius = math.hypot(*box.shape) / 2 + 2 * _FAR
    groups: list[Stars] = list(sources)
    if with_stars:
        groups.append(stars_around(float(ra), float(dec), radius * PIXEL_SCALE / 3600, settings))
    found = []
    for stars in groups:
        cosine = _unit(stars.ra, stars.dec) @ _unit(float(ra), float(dec))
        stars = stars[cosine > math.cos(math.radians(radius * PIXEL_SCALE / 3600))]
        found.append(locate(stars, wcs, box, reach, far=_FAR, tolerance=1e-7))
    return found


def _unit(ra: np.ndarray | float, dec: np.ndarray | float) -> np.ndarray:
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
