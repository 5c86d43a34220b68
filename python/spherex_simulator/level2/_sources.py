"""Sources of known spectra, from a file."""

from __future__ import annotations

__all__ = ["SourceFileError", "read_sources"]

from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.units import Unit, UnitConversionError

from .._stars import ZERO_POINT, NamedStars

_REQUIRED = ("name", "ra", "dec", "flux")
_UNITS = {"ra": "deg", "dec": "deg", "flux": "uJy", "temperature": "K"}


class SourceFileError(ValueError):
    """The file of sources cannot be used. The message says why."""


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
        raise SourceFileError(f"{path} is no ECSV table: {str(error).splitlines()[0]}") from None
    if missing := [name for name in _REQUIRED if name not in table.colnames]:
        raise SourceFileError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.colnames)}")
    if not len(table):
        raise SourceFileError(f"{path} has no rows")
    names = np.array([str(name) for name in table["name"]])
    if len(set(names)) < len(names):
        raise SourceFileError(f"{path} has two sources of the same name")
    ra, dec, flux = (_column(path, table, name) for name in ("ra", "dec", "flux"))
    temperature = _column(path, table, "temperature", 0.0)
    slope = _column(path, table, "slope", 0.0)
    for what, wrong in (
        ("a position that is none", ~(np.isfinite(ra) & (np.abs(dec) <= 90))),
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
