"""Wavelength tables that were read with the headers of a file.

Ingest checks the table of each file. astropy takes 2 ms to open one, which is
more than all the rest of a file, so plain columns of numbers are read here.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from astropy.io import fits

from spherex.image import WCS_WAVE, ControlPoints, WavelengthAxes, row_of

from .arrays import filled
from .cards import CARD, Cards
from .hdus import IMAGE, HDUInfo

_PLAIN = re.compile(r"(\d*)([JED]) *$")
_DTYPES: dict[str, np.dtype[Any]] = {"J": np.dtype(">i4"), "E": np.dtype(">f4"), "D": np.dtype(">f8")}
_SIZES = re.compile(r"\( *\d+(?: *, *\d+)* *\) *$")
_ARCHIVE = WavelengthAxes.of_table(WCS_WAVE)


def control_points_in(hdus: Iterable[HDUInfo]) -> ControlPoints | None:
    """Return the control points of the wavelength table of a file, checked.

    Parameters
    ----------
    hdus
        HDUs of the file, the table with its data.

    Returns
    -------
    points
        The same object for the same table; `None` if the table was not read.

    Raises
    ------
    ProductError
        If the table is damaged, or does not agree with the header of the image.
    """
    found = {hdu.name: hdu for hdu in hdus}
    table, image = found.get(WCS_WAVE), found.get(IMAGE)
    if table is None or table.data is None:
        return None
    axes = None if image is None else image.wavelength_axes
    if axes is None or axes.table != WCS_WAVE:
        axes = _ARCHIVE
    return _points_of(table.header_bytes, table.data, axes)


# Whole frames of a detector and run have the same table.
@functools.lru_cache(64)
def _points_of(header: bytes, data: bytes, axes: WavelengthAxes) -> ControlPoints:
    row = _plain_row(Cards(header), data)
    if row is None:
        content = filled(header + b"END".ljust(CARD), b" ") + filled(data, b"\0")
        row = row_of(fits.BinTableHDU.fromstring(content))
    return ControlPoints.of_row(row, axes)


def _plain_row(cards: Cards, data: bytes) -> dict[str, Any] | None:
    """Return the columns of a table of one row, `None` if they are not plain numbers."""
    row: dict[str, Any] = {}
    place = 0
    if cards.integer("NAXIS2") != 1 or cards.integer("PCOUNT", 0):
        return None
    for number in range(1, cards.integer("TFIELDS") + 1):
        form = _PLAIN.match(str(cards.get(f"TFORM{number}")))
        if form is None or any(f"{name}{number}" in cards for name in ("TSCAL", "TZERO", "TNULL")):
            return None
        dtype, size = _DTYPES[form[2]], int(form[1] or 1)
        values = np.frombuffer(data, dtype, size, place)
        place += values.nbytes
        sizes = cards.get(f"TDIM{number}")
        if sizes is not None:
            if not _SIZES.match(str(sizes)):
                return None
            shape = tuple(int(length) for length in reversed(str(sizes).strip(" ()").split(",")))
            if math.prod(shape) != size:
                return None
            values = values.reshape(shape)
        row[str(cards.get(f"TTYPE{number}", "")).strip()] = values
    return row
