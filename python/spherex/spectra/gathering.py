"""From the measurements in single images to the spectrum of a target."""

from __future__ import annotations

__all__ = ["FAILED", "OFF_FRAME", "UNPLACED", "gather_spectrum"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import COLUMNS, SpectrumColumn, make_table, values_of

if TYPE_CHECKING:
    from astropy.table import QTable, Table
    from numpy.typing import NDArray

FAILED = "failed"
"""Key in the metadata of a spectrum: number of images without a flux."""

OFF_FRAME = "off_frame"
"""Key in the metadata of a spectrum: exposures and detectors whose image has
the target in its region, but not on its frame.
"""

UNPLACED = "unplaced"
"""Key in the metadata of a spectrum: failed measurements without wavelength."""

_TOLD_OF_UNPLACED = ("exposure", "detector", "obsid", "image_id", "image_run", "reason")
_ORDER = ("image_id", "exposure", "detector", "wavelength")
"""Columns that sort the rows, the last one first. Images have one row each, so
that the order does not depend on that of the inputs.
"""


def gather_spectrum(tables: Sequence[Table], meta: Mapping[str, Any] | None = None) -> QTable:
    """Join the measurements of one target, by wavelength.

    Rows that failed stay, if their wavelength is known. Without it they have
    no place on the axis of a spectrum, and readers such as specutils refuse
    the whole of it; they are told in the metadata, under `UNPLACED`.

    Parameters
    ----------
    tables
        Rows of the target in the tables of single images, of the columns
        that `make_table` makes. Columns that are missing are blank.
    meta
        What else holds for the spectrum as a whole.

    Returns
    -------
    spectrum
        A row for each image; metadata with the numbers of images and of
        those that failed.
    """
    values = {column.name: _joined(tables, column) for column in COLUMNS}
    length = len(values["wavelength"])
    has_failed = values["reason"] != ""
    is_placed = np.isfinite(values["wavelength"])
    order = np.lexsort([values[name] for name in _ORDER])
    unplaced = [{name: values[name][row].item() for name in _TOLD_OF_UNPLACED} for row in order if not is_placed[row]]
    order = order[is_placed[order]]
    facts = {"images": length, FAILED: int(np.count_nonzero(has_failed)), UNPLACED: unplaced}
    return make_table({name: column[order] for name, column in values.items()}, len(order), {**(meta or {}), **facts})


def _joined(tables: Sequence[Table], column: SpectrumColumn) -> NDArray[Any]:
    parts = [values_of(table, column) for table in tables]
    return np.concatenate(parts) if parts else np.empty(0, np.int64 if column.dtype is int else column.dtype)
