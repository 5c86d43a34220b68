"""Table of the images at a position, and its text and file formats."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy import units
from astropy.table import Column, MaskedColumn, Table

from spherex.headers import time_at

if TYPE_CHECKING:
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from .candidates import Candidates


FORMATS = {".txt": "text", ".ecsv": "ascii.ecsv", ".parquet": "parquet", ".vot": "votable", ".xml": "votable"}
"""Formats of files by extension."""

_DIGITS = {"mjd": 7, "wavelength": 4, "bandwidth": 4, "x": 1, "y": 1, "xy_error": 1}
_NOT_IN_TEXT = ("mjd", "xy_error")


def make_table(
    images: Candidates,
    pixels: NDArray[np.float64],
    errors: NDArray[np.float64],
    wavelength: NDArray[np.float64],
    bandwidth: NDArray[np.float64],
    flags: Sequence[str | None] | None,
    uris: Sequence[ResourcePath] | None,
) -> Table:
    """Return the table of images.

    Parameters
    ----------
    images
        The images, in the order of the table.
    pixels
        0-based x and y in the whole frame at the position, of shape (n, 2).
    errors
        Largest errors of x and y, of shape (n,); 0 where the header was read.
    wavelength, bandwidth
        Values at the position, or at the nearest pixel of a frame beside the
        position, in um; NaN where they are unknown.
    flags
        Names of the flags at the position; `None` for a table without them.
    uris
        URIs of the images; `None` for a table without them.

    Returns
    -------
    table
        Columns with units and descriptions. Unknown values are masked. The
        URIs are in the column ``address``.
    """
    middle = time_at(images.middle, "UTC")
    columns = [
        ("exposure", images.exposure, None, "Exposure id"),
        ("name", images.name.astype(str), None, "Name of the exposure"),
        ("detector", images.detector, None, "Detector number"),
        ("time", middle.isot, None, "Middle of the exposure (UTC)"),
        ("mjd", middle.mjd, units.day, "Middle of the exposure, modified Julian date (UTC)"),
        ("wavelength", wavelength, units.um, "Central wavelength at the position, or at the pixel nearest to it"),
        ("bandwidth", bandwidth, units.um, "Bandwidth at the position, or at the pixel nearest to it"),
        ("x", pixels[:, 0], units.pix, "Column of the position in the whole frame, from 0"),
        ("y", pixels[:, 1], units.pix, "Row of the position in the whole frame, from 0"),
        ("xy_error", errors, units.pix, "Largest error of x and of y; 0 if they come from the header of the file"),
    ]
    if flags is not None:
        texts = np.array([name or "" for name in flags], str)
        columns.append(("flags", np.ma.array(texts, mask=[name is None for name in flags]), None, "Flags of the pixel"))
    if uris is not None:
        columns.append(("address", np.array([str(uri) for uri in uris], str), None, "URI of the file"))
    columns.append(("run", images.runs.astype(str), None, "RUN collection"))
    table = Table()
    for name, values, unit, description in columns:
        if name in ("wavelength", "bandwidth"):
            is_unknown = np.isnan(values)
        else:
            is_unknown = ~images.has_time if name in ("time", "mjd") else np.ma.getmaskarray(values)
        if is_unknown.any():
            table[name] = MaskedColumn(values, mask=is_unknown, unit=unit, description=description)
        else:
            table[name] = Column(np.ma.getdata(values), unit=unit, description=description)
        if name in _DIGITS:
            table[name].format = f".{_DIGITS[name]}f"
    return table


def format_text(table: Table) -> str:
    """Return all rows of a table as lines of text.

    Pixels that are not exact are rounded to what is known of them and marked
    by ``~``.

    Parameters
    ----------
    table
        The table.

    Returns
    -------
    text
        Two lines with names and units, and one for each row.
    """
    shown = []
    # Tables of images that are not in a repository do not have pixels.
    errors = table["xy_error"].tolist() if "xy_error" in table.colnames else []
    # Table.pformat takes 0.27 s for 20,000 images, this 0.07 s. It also adds a line of dashes, and separates columns
    # by one blank.
    for column in (table[name] for name in table.colnames if name not in _NOT_IN_TEXT):
        mask = np.ma.getmaskarray(column).tolist()
        spec = column.format or ""
        values = np.ma.getdata(column).tolist()
        texts = ["--" if hidden else format(value, spec) for value, hidden in zip(values, mask, strict=True)]
        if column.name in ("x", "y"):
            texts = [
                _rounded(value, error) if error else text
                for text, value, error in zip(texts, values, errors, strict=True)
            ]
        cells = [column.name, "" if column.unit is None else str(column.unit), *texts]
        width = max(map(len, cells))
        is_number = column.dtype.kind in "if"
        shown.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*shown, strict=True))


def _rounded(value: float, error: float) -> str:
    digits = -round(math.log10(error))
    # -0.0 is 0.
    return f"~{round(value, digits) + 0.0:.{max(digits, 0)}f}"


def write_table(table: Table, path: Path) -> None:
    """Write a table to a file, as a whole or not at all.

    Parameters
    ----------
    table
        The table.
    path
        File, with an extension of `FORMATS`; an existing file is replaced.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    form = FORMATS[path.suffix]
    part = path.with_name(f".{path.name}.part")
    try:
        if form == "text":
            part.write_text(format_text(table) + "\n")
        else:
            table.write(part, format=form, overwrite=True)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
