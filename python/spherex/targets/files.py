"""Tables from files of any of the formats of catalogues."""

from __future__ import annotations

__all__ = ["EXTENSIONS", "CatalogError", "free_name", "numbers_if_all_are", "read_table"]

import csv
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from lsst.resources import ResourcePath

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table

    _Reader = Callable[[str, Collection[str]], Table]

_LONGEST_REASON = 300
_OTHER_CSV = re.compile(r"^#|[;\t|]")


class CatalogError(Exception):
    """A catalogue that cannot be used; the message is for its owner."""


def read_table(location: str, texts: Collection[str]) -> tuple[Table, bool]:
    """Read the table of a file.

    Parameters
    ----------
    location
        Path or URI; the extension tells the format.
    texts
        Names of columns, in lower case, that stay texts where the format does
        not tell: a name such as 007 or 1e5 is no number.

    Returns
    -------
    table : `astropy.table.Table`
        Plain columns that parquet can hold. Texts are not bytes.
    is_typed
        Whether the format tells numbers from texts.

    Raises
    ------
    CatalogError
        If there is no such table.
    """
    from astropy.table import represent_mixins_as_columns

    try:
        uri = ResourcePath(location, forceAbsolute=True, forceDirectory=False)
        extension = uri.getExtension().lower()
    except Exception as error:
        raise CatalogError(f"{location} is no address of a file: {_reason(error)}") from None
    if extension not in EXTENSIONS:
        raise CatalogError(
            f"{location} is no catalogue by its extension; there are readers for {', '.join(sorted(EXTENSIONS))}"
        )
    name, read = EXTENSIONS[extension]
    try:
        with uri.as_local() as local:
            table = represent_mixins_as_columns(read(local.ospath, texts))
        table.convert_bytestring_to_unicode()
    except FileNotFoundError:
        raise CatalogError(f"there is no file {location}") from None
    except Exception as error:
        # Readers fail with all kinds of exceptions.
        raise CatalogError(f"{location} cannot be read as {name}: {_reason(error)}") from None
    for column in table.colnames:
        _make_storable(table, column, location)
    return table, read is not _read_csv


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST_REASON].rstrip(".") or type(error).__name__


def _astropy(form: str) -> _Reader:
    def read(path: str, texts: Collection[str]) -> Table:
        from astropy.table import Table

        return Table.read(path, format=form)

    return read


def _read_fits(path: str, texts: Collection[str]) -> Table:
    from astropy.io import fits
    from astropy.table import Table

    with fits.open(path) as hdus:
        found = {
            number: f"{number} {hdu.name}".strip()
            for number, hdu in enumerate(hdus)
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and not isinstance(hdu, fits.CompImageHDU)
        }
    if len(found) != 1:
        names = f"{len(found)} tables (HDU {', '.join(found.values())})" if found else "no table"
        raise ValueError(f"it has {names}: write the one with the targets into a file of its own")
    return Table.read(path, format="fits", hdu=next(iter(found)))


def _read_csv(path: str, texts: Collection[str]) -> Table:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pv
    from astropy.table import Column, MaskedColumn, Table

    with open(path, encoding="utf-8-sig", newline="") as file:
        header = next((row for row in csv.reader(file) if row), None)
    if header is None:
        raise ValueError("it is empty")
    if len(header) == 1 and (other := _OTHER_CSV.search(header[0])):
        raise ValueError(
            "its first line is a comment, which CSV does not have"
            if other[0] == "#"
            else f"its columns are separated by {other[0]!r}, not by commas"
        )
    read = pv.read_csv(
        path,
        parse_options=pv.ParseOptions(newlines_in_values=True),
        convert_options=pv.ConvertOptions(column_types=dict.fromkeys(header, pa.string())),
    )
    table = Table()
    for name, column in zip(header, read.columns, strict=True):
        values = pc.fill_null(pc.utf8_trim_whitespace(column.cast(pa.string())), "").to_numpy(zero_copy_only=False)
        values, mask = values.astype(str), values == ""
        made = MaskedColumn(values, mask=mask) if mask.any() else Column(values)
        key = free_name(name.strip(), table.colnames)
        # At once, because texts take several times the memory.
        table[key] = made if key.lower() in texts else numbers_if_all_are(made)
    return table


def _read_parquet(path: str, texts: Collection[str]) -> Table:
    import pyarrow.parquet as pq
    from lsst.daf.butler.formatters.parquet import arrow_to_astropy

    table = pq.read_table(path)
    for index, field in enumerate(table.schema):
        kind = _storable_kind(field.type)
        if kind is None:
            raise ValueError(f"column {field.name} has values of type {field.type}: leave it out")
        if kind != field.type:
            table = table.set_column(index, field.with_type(kind), table.column(index).cast(kind))
    return arrow_to_astropy(table)


def _storable_kind(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that the Butler's tables have for values of this one; `None` if there is none."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(kind):
        return _storable_kind(kind.value_type)
    if types.is_decimal(kind):
        return pa.float64()
    if types.is_null(kind) or types.is_temporal(kind) or types.is_large_string(kind) or types.is_binary(kind):
        return pa.string()
    is_simple = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_string(kind)
    is_array = types.is_fixed_size_list(kind) and types.is_primitive(kind.value_type)
    return kind if is_simple or is_array else None


_IDENTIFIER = re.compile(r"[+-]?0\d+|.*_.*")
"""Texts that Python takes for numbers, but that would not come back as they were."""


def numbers_if_all_are(column: Any) -> Any:
    """Return a column of texts as numbers, or as it is if some are none.

    Parameters
    ----------
    column
        `astropy.table.Column` or `astropy.table.MaskedColumn`.
    """
    mask = np.ma.getmaskarray(np.ma.asarray(column))
    texts = np.asarray(column)[~mask]
    if column.dtype.kind != "U" or not len(texts) or any(map(_IDENTIFIER.fullmatch, texts.tolist())):
        return column
    for kind in (np.int64, np.float64):
        try:
            found = texts.astype(kind)
        except OverflowError:
            # As floating point numbers, identifiers of 20 digits would become equal.
            return column
        except ValueError:
            continue
        numbers = np.zeros(len(column), kind)
        numbers[~mask] = found
        return type(column)(numbers, name=column.name, **({"mask": mask} if mask.any() else {}))
    return column


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken: itself, or with a number as astropy's readers add."""
    return next(one for one in (name, *(f"{name}_{n}" for n in range(1, len(taken) + 1))) if one not in taken)


def _make_storable(table: Table, name: str, location: str) -> None:
    """Change a column to what parquet can hold, or complain."""
    from astropy.table import Table
    from lsst.daf.butler.formatters.parquet import astropy_to_arrow

    column = table[name]
    if column.dtype.kind == "O":
        # VOTable has texts of any length so.
        mask = np.ma.getmaskarray(np.ma.asarray(column))
        values = ["" if is_masked else one for one, is_masked in zip(column.tolist(), mask, strict=True)]
        if not all(isinstance(one, str) for one in values):
            raise CatalogError(f"{location}: column {name} has values of any kind or of any number: leave it out")
        table[name] = type(column)(values, **_attributes(column), **({"mask": mask} if mask.any() else {}))
    elif not column.dtype.isnative:
        # FITS has the other byte order, which parquet has not.
        table[name] = column.astype(column.dtype.newbyteorder("="))
    try:
        astropy_to_arrow(Table([table[name][:1]], names=[name]))
    except Exception:
        raise CatalogError(
            f"{location}: column {name} has values of type {column.dtype.name}, which parquet does not have: leave "
            "it out"
        ) from None


def _attributes(column: Any) -> dict[str, Any]:
    return {name: getattr(column, name) for name in ("name", "unit", "description")}


EXTENSIONS: Mapping[str, tuple[str, _Reader]] = {
    ".ecsv": ("ECSV", _astropy("ascii.ecsv")),
    ".csv": ("CSV", _read_csv),
    ".fits": ("FITS", _read_fits),
    ".fit": ("FITS", _read_fits),
    ".xml": ("VOTable", _astropy("votable")),
    ".vot": ("VOTable", _astropy("votable")),
    ".votable": ("VOTable", _astropy("votable")),
    ".parquet": ("parquet", _read_parquet),
    ".parq": ("parquet", _read_parquet),
}
"""Formats and their readers, by extension."""
