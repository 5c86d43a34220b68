"""Catalogues from files."""

from __future__ import annotations

__all__ = ["COLUMNS", "CatalogError", "read_catalog"]

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lsst.resources import ResourcePath

if TYPE_CHECKING:
    from astropy.table import Table
    from numpy.typing import NDArray

_FORMATS = {
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".fits": "fits",
    ".fit": "fits",
    ".xml": "votable",
    ".vot": "votable",
    ".votable": "votable",
    ".parquet": "parquet",
    ".parq": "parquet",
}


class CatalogError(Exception):
    """A catalogue that cannot be used; the message is for its owner."""


@dataclasses.dataclass(frozen=True)
class _Column:
    """A column that we need, and how catalogues call it."""

    names: tuple[str, ...]
    unit: str | None
    is_required: bool


COLUMNS: Mapping[str, _Column] = {
    "name": _Column(("name", "target", "target_name", "main_id", "source_id", "designation", "id"), None, True),
    "ra": _Column(("ra", "raj2000", "ra_icrs", "raicrs", "_raj2000"), "deg", True),
    "dec": _Column(("dec", "dej2000", "decj2000", "de_icrs", "deicrs", "_dej2000"), "deg", True),
    "pmra": _Column(("pmra", "pm_ra", "pm_ra_cosdec", "pmra_cosdec"), "mas / yr", False),
    "pmdec": _Column(("pmdec", "pm_dec", "pmde"), "mas / yr", False),
    "ref_epoch": _Column(("ref_epoch", "epoch", "refepoch"), None, False),
}
"""Columns of a catalogue of targets. Where a unit is not told, it is this one."""


def read_catalog(location: str, chosen: Mapping[str, str] | None = None) -> Table:
    """Read a catalogue and give its columns our names and units.

    Parameters
    ----------
    location
        Path or URI of an ECSV, CSV, FITS, VOTable or parquet file.
    chosen
        Names of columns in the file, by our names. By default they are found
        by the usual names, in any case.

    Returns
    -------
    table : `astropy.table.Table`
        Columns name (text), ra, dec (deg), and pmra, pmdec (mas/yr, that on
        the sky) and ref_epoch (Julian year) if the file has all three; then
        all others, without change. What is not a number is NaN.

    Raises
    ------
    CatalogError
        If it cannot be read or lacks a column.
    """
    table = _read(location)
    if not len(table):
        raise CatalogError(f"{location} has no rows")
    found = {name: _find(table, name, (chosen or {}).get(name), location) for name in COLUMNS}
    motion = [name for name in ("pmra", "pmdec", "ref_epoch") if found[name] is not None]
    if 0 < len(motion) < 3 and motion != ["ref_epoch"]:
        raise CatalogError(
            f"{location} has {' and '.join(motion)} only: proper motions need pmra, pmdec and ref_epoch; choose the "
            "columns with --pmra-column, --pmdec-column and --ref-epoch-column"
        )
    values = {
        name: _texts(table[column]) if name == "name" else _numbers(table[column], name, location)
        for name, column in found.items()
        if column is not None and (COLUMNS[name].is_required or len(motion) == 3)
    }
    return _renamed(table, values, {column for column in found.values() if column is not None})


def _read(location: str) -> Table:
    from astropy.table import Table

    uri = ResourcePath(location, forceAbsolute=True, forceDirectory=False)
    form = _FORMATS.get(uri.getExtension().lower())
    if form is None:
        raise CatalogError(
            f"{location} is no catalogue by its extension; there are readers for {', '.join(sorted(_FORMATS))}"
        )
    try:
        with uri.as_local() as local:
            if form == "parquet":
                return _parquet(Path(local.ospath))
            # Numbers of 64 bits as names must not become floats.
            return Table.read(local.ospath, format=form)
    except FileNotFoundError:
        raise CatalogError(f"there is no file {location}") from None
    except Exception as error:
        # Readers fail with all kinds of exceptions.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CatalogError(f"{location} cannot be read as {form.removeprefix('ascii.')}: {reason}") from None


def _parquet(path: Path) -> Table:
    import pyarrow.parquet as pq
    from lsst.daf.butler.formatters.parquet import arrow_to_astropy

    return arrow_to_astropy(pq.read_table(path))


def _find(table: Table, name: str, chosen: str | None, location: str) -> str | None:
    if chosen is not None:
        if chosen not in table.colnames:
            raise CatalogError(f"{location} has no column {chosen}; it has {', '.join(table.colnames)}")
        return chosen
    by_name = {column.lower(): column for column in reversed(table.colnames)}
    found = next((by_name[one] for one in COLUMNS[name].names if one in by_name), None)
    if found is None and COLUMNS[name].is_required:
        raise CatalogError(
            f"{location} has no column {name} (also known: {', '.join(COLUMNS[name].names[1:])}); choose one of "
            f"{', '.join(table.colnames)} with --{name}-column"
        )
    return found


def _texts(column: Any) -> NDArray[np.str_]:
    filled = np.ma.filled(np.ma.asarray(column), "" if column.dtype.kind in "USO" else -1)
    if filled.dtype.kind == "S":
        filled = np.char.decode(filled, "utf-8")
    texts = np.array([str(one).strip() for one in filled.tolist()])
    texts[np.ma.getmaskarray(np.ma.asarray(column))] = ""
    return texts


def _numbers(column: Any, name: str, location: str) -> NDArray[np.float64]:
    from astropy import units

    wanted = COLUMNS[name].unit
    try:
        numbers: NDArray[np.float64] = np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
    except (TypeError, ValueError):
        raise CatalogError(
            f"{location}: column {column.info.name} for {name} has values that are not numbers"
        ) from None
    given = getattr(column, "unit", None)
    if wanted is None or given is None or given == "":
        return numbers
    try:
        return units.Quantity(numbers, given).to_value(wanted)
    except (TypeError, ValueError, units.UnitConversionError):
        raise CatalogError(f"{location}: column {column.info.name} for {name} is in {given}, not in {wanted}") from None


def _renamed(table: Table, values: Mapping[str, NDArray[Any]], taken: set[str]) -> Table:
    from astropy.table import Column, Table

    renamed = Table(meta={})
    for name, array in values.items():
        renamed[name] = Column(array, unit=COLUMNS[name].unit)
    for name in table.colnames:
        if name not in taken and name not in renamed.colnames:
            column = table[name]
            # FITS has the other byte order, which parquet has not.
            renamed[name] = column if column.dtype.isnative else column.astype(column.dtype.newbyteorder("="))
    return renamed
