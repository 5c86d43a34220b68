"""Catalogues from files."""

from __future__ import annotations

__all__ = ["COLUMNS", "read_catalog"]

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import CatalogError, free_name, numbers_if_all_are, read_table

if TYPE_CHECKING:
    from astropy.table import Table
    from numpy.typing import NDArray

_MOST_EXAMPLES = 5


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
        all others, with a number behind a name that is one of ours. What is
        masked is NaN, or an empty name.

    Raises
    ------
    CatalogError
        If it cannot be read or lacks a column.
    """
    chosen = chosen or {}
    table, is_typed = read_table(
        location, {name.lower() for name in (chosen.get("name"), *COLUMNS["name"].names) if name}
    )
    if not len(table):
        raise CatalogError(f"{location} has no rows")
    found = {name: _find(table, name, chosen.get(name), location) for name in COLUMNS}
    _check_motion(found, chosen, location)
    used = {name: column for name, column in found.items() if column is not None}
    if found["pmra"] is None:
        used.pop("ref_epoch", None)
    for name, column in used.items():
        if other := next((one for one in used if one != name and used[one] == column), None):
            raise CatalogError(f"{location}: column {column} cannot be {name} and {other}")
        if table[column].ndim > 1:
            raise CatalogError(f"{location}: column {column} for {name} has more than one value in a row")
    values = {
        name: _texts(table[column], location) if name == "name" else _numbers(table[column], name, location)
        for name, column in used.items()
    }
    return _renamed(table, values, set(used.values()), is_typed)


def _check_motion(found: Mapping[str, str | None], chosen: Mapping[str, str], location: str) -> None:
    has = [name for name in ("pmra", "pmdec", "ref_epoch") if found[name] is not None]
    if not has or len(has) == 3 or (has == ["ref_epoch"] and "ref_epoch" not in chosen):
        return
    missing = [name for name in ("pmra", "pmdec", "ref_epoch") if found[name] is None]
    raise CatalogError(
        f"{location} has {' and '.join(has)}, but not {' and '.join(missing)}: proper motions need pmra, pmdec and "
        "ref_epoch. Choose the columns with --pmra-column, --pmdec-column and --ref-epoch-column, or rename those "
        "that are not to be used"
    )


def _find(table: Table, name: str, chosen: str | None, location: str) -> str | None:
    if chosen is not None:
        if chosen not in table.colnames:
            raise CatalogError(f"{location} has no column {chosen}; it has {', '.join(table.colnames)}")
        return chosen
    # First as it is written here, then in any case.
    by_name = {column.lower(): column for column in reversed(table.colnames)}
    by_name |= {column: column for column in table.colnames}
    found = next((by_name[one] for one in COLUMNS[name].names if one in by_name), None)
    if found is None and COLUMNS[name].is_required:
        raise CatalogError(
            f"{location} has no column {name} (also known: {', '.join(COLUMNS[name].names[1:])}); choose one of "
            f"{', '.join(table.colnames)} with --{name}-column"
        )
    return found


def _texts(column: Any, location: str) -> NDArray[np.str_]:
    if column.dtype.kind not in "Uiu":
        raise CatalogError(
            f"{location}: column {column.info.name} for name has values of type {column.dtype.name}: names are "
            "texts or whole numbers"
        )
    values = np.ma.asarray(column)
    texts = np.array([str(one).strip() for one in np.ma.getdata(values).tolist()])
    texts[np.ma.getmaskarray(values)] = ""
    return texts


def _numbers(column: Any, name: str, location: str) -> NDArray[np.float64]:
    from astropy import units

    wanted, kind = COLUMNS[name].unit, column.dtype.kind
    if kind == "U":
        numbers = np.array(list(_parsed(column, name, location)))
    elif kind in "fiu":
        numbers = np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
    else:
        raise CatalogError(
            f"{location}: column {column.info.name} for {name} has values of type {column.dtype.name}, which are "
            "no numbers"
        )
    given = getattr(column, "unit", None)
    if wanted is None or given is None or given == "":
        return numbers
    try:
        return units.Quantity(numbers, given).to_value(wanted)
    except (TypeError, ValueError, units.UnitConversionError):
        raise CatalogError(
            f"{location}: column {column.info.name} for {name} is in {given}, which astropy does not convert to "
            f"{wanted}"
        ) from None


def _parsed(column: Any, name: str, location: str) -> Iterator[float]:
    """Yield the numbers of texts; what is empty or masked is NaN."""
    values = np.ma.asarray(column)
    bad = []
    texts = zip(np.ma.getdata(values).tolist(), np.ma.getmaskarray(values).tolist(), strict=True)
    for row, (text, is_masked) in enumerate(texts, start=1):
        number = np.nan
        if not is_masked and text.strip():
            try:
                number = float(text)
            except ValueError:
                bad.append(f"row {row} ({text[:30]})")
        yield number
    if bad:
        more = f" and {len(bad) - _MOST_EXAMPLES} more" if len(bad) > _MOST_EXAMPLES else ""
        raise CatalogError(
            f"{location}: column {column.info.name} for {name} has values that are not decimal numbers in "
            f"{', '.join(bad[:_MOST_EXAMPLES])}{more}; choose another with --{name.replace('_', '-')}-column, or write "
            "numbers"
        )


def _renamed(table: Table, values: Mapping[str, NDArray[Any]], taken: set[str], is_typed: bool) -> Table:
    from astropy.table import Column, Table

    renamed = Table(meta={})
    for name, array in values.items():
        renamed[name] = Column(array, unit=COLUMNS[name].unit)
    for name in table.colnames:
        if name not in taken:
            key = free_name(name, renamed.colnames)
            renamed[key] = table[name] if is_typed else numbers_if_all_are(table[name])
    return renamed
