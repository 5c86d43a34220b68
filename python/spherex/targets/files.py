"""Catalogues of targets in files: formats, columns and units."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from lsst.resources import ResourcePath

from spherex.errors import CatalogError, first_line
from spherex.votables import open_votable

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table
    from numpy.typing import NDArray

    _Reader = Callable[[str, Collection[str]], Table]


_OTHER_CSV = re.compile(r"^#|[;\t|]")


def read_table(location: str, texts: Collection[str]) -> tuple[Table, bool]:
    """Read the table of a file.

    Parameters
    ----------
    location
        Path or URI, with the extension of the format.
    texts
        Names of columns, in lower case, that stay texts in a format without
        types: a name such as 007 or 1e5 is not a number.

    Returns
    -------
    table
        Columns that parquet can store, with texts as `str`.
    is_typed
        Whether the format has types of columns.

    Raises
    ------
    CatalogError
        If the table cannot be read, or parquet cannot store a column.
    """
    from astropy.table import represent_mixins_as_columns

    try:
        uri = ResourcePath(location, forceAbsolute=True, forceDirectory=False)
        extension = uri.getExtension().lower()
    except Exception as error:
        raise CatalogError(f"{location} is not a path or URI of a file: {first_line(error)}.") from None
    if extension not in EXTENSIONS:
        raise CatalogError(
            f"{location} does not have the extension of a catalogue; there are readers for "
            f"{', '.join(sorted(EXTENSIONS))}."
        )
    name, read = EXTENSIONS[extension]
    try:
        with uri.as_local() as local:
            table = represent_mixins_as_columns(read(local.ospath, texts))
        table.convert_bytestring_to_unicode()
    except FileNotFoundError:
        raise CatalogError(f"there is no file {location}.") from None
    except Exception as error:
        # Readers raise exceptions of many kinds.
        raise CatalogError(f"{location} cannot be read as {name}: {first_line(error)}.") from None
    for column in table.colnames:
        _make_storable(table, column, location)
    return table, read is not _read_csv


def _astropy(form: str) -> _Reader:
    def read(path: str, texts: Collection[str]) -> Table:
        from astropy.table import Table

        return Table.read(path, format=form)

    return read


def _read_votable(path: str, texts: Collection[str]) -> Table:
    from astropy.table import Table

    return Table.read(open_votable(path), format="votable")


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
        raise ValueError(f"it contains {names}: write the one with the targets to a file of its own")
    return Table.read(path, format="fits", hdu=next(iter(found)))


def _read_csv(path: str, texts: Collection[str]) -> Table:
    # Format pyarrow.csv of astropy 8.0 takes 0.1 s for 100,000 rows of ten columns, this 0.6 s. But it reads 007 as 7,
    # identifiers of 20 digits as floating point numbers, and one of two columns with the same name. To read all
    # columns as texts, and convert them as here, it takes the same 0.6 s.
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
            "its first line is a comment, which is not CSV"
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
        # Column by column, because texts take several times the memory of numbers.
        table[key] = made if key.lower() in texts else numbers_if_all_are(made)
    return table


def _read_parquet(path: str, texts: Collection[str]) -> Table:
    import pyarrow.parquet as pq
    from lsst.daf.butler.formatters.parquet import arrow_to_astropy

    # Not read_table, which wraps what is wrong in words that differ between versions.
    table = pq.ParquetFile(path).read()
    for index, field in enumerate(table.schema):
        kind = _storable_kind(field.type)
        if kind is None:
            raise ValueError(f"column {field.name} has values of type {field.type}: remove it")
        if kind != field.type:
            table = table.set_column(index, field.with_type(kind), table.column(index).cast(kind))
    return arrow_to_astropy(table)


def _storable_kind(kind: pa.DataType) -> pa.DataType | None:
    """Return the type with which the Butler's tables store values of a type, or `None`."""
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
"""Texts that Python converts to numbers, but from which other texts would come back."""


def numbers_if_all_are(column: Any) -> Any:
    """Return a column of texts as numbers, or unchanged if a text is not a number.

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
            # As floating point numbers, different identifiers of 20 digits would become equal.
            return column
        except ValueError:
            continue
        numbers = np.zeros(len(column), kind)
        numbers[~mask] = found
        return type(column)(numbers, name=column.name, **({"mask": mask} if mask.any() else {}))
    return column


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken: the name itself, or with a number as astropy's readers add.

    Parameters
    ----------
    name
        The name.
    taken
        Other names.
    """
    numbered = (f"{name}_{number}" for number in range(1, len(taken) + 1))
    return next(candidate for candidate in (name, *numbered) if candidate not in taken)


def _make_storable(table: Table, name: str, location: str) -> None:
    """Convert a column to a type that parquet can store.

    Raises
    ------
    CatalogError
        If there is no such type.
    """
    from astropy.table import Table
    from lsst.daf.butler.formatters.parquet import astropy_to_arrow

    column = table[name]
    if column.dtype.kind == "O":
        # Texts of any length in a VOTable.
        mask = np.ma.getmaskarray(np.ma.asarray(column))
        values = ["" if is_masked else value for value, is_masked in zip(column.tolist(), mask, strict=True)]
        if not all(isinstance(value, str) for value in values):
            raise CatalogError(f"{location}: column {name} has values of any kind or of any number: remove it.")
        attributes = {key: getattr(column, key) for key in ("name", "unit", "description")}
        table[name] = type(column)(values, **attributes, **({"mask": mask} if mask.any() else {}))
    elif not column.dtype.isnative:
        # FITS has another byte order, which parquet does not support.
        table[name] = column.astype(column.dtype.newbyteorder("="))
    try:
        astropy_to_arrow(Table([table[name][:1]], names=[name]))
    except Exception:
        raise CatalogError(
            f"{location}: column {name} has values of type {column.dtype.name}, which parquet does not support: "
            "remove it."
        ) from None


EXTENSIONS: Mapping[str, tuple[str, _Reader]] = {
    ".ecsv": ("ECSV", _astropy("ascii.ecsv")),
    ".csv": ("CSV", _read_csv),
    ".fits": ("FITS", _read_fits),
    ".fit": ("FITS", _read_fits),
    ".xml": ("VOTable", _read_votable),
    ".vot": ("VOTable", _read_votable),
    ".votable": ("VOTable", _read_votable),
    ".parquet": ("parquet", _read_parquet),
    ".parq": ("parquet", _read_parquet),
}
"""Formats and their readers, by extension."""


_MOST_EXAMPLES = 5


@dataclasses.dataclass(frozen=True)
class _Column:
    """A column of targets, with its usual names in catalogues."""

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
"""Columns of a catalogue of targets, with the units of columns without a unit."""


def read_catalog(location: str, chosen: Mapping[str, str] | None = None) -> Table:
    """Read a catalogue, with our names and units of columns.

    Parameters
    ----------
    location
        Path or URI of an ECSV, CSV, FITS, VOTable or parquet file.
    chosen
        Names of columns in the file, by our names. The default is the usual
        names, in upper or lower case.

    Returns
    -------
    table
        Columns name (text), ra, dec (deg), and pmra (on the sky), pmdec
        (mas/yr) and ref_epoch (Julian year) if the file contains all three;
        then all others. A number is added to other columns with one of our
        names. Masked values become NaN, or an empty name.

    Raises
    ------
    CatalogError
        If the file cannot be read, or a column is missing or cannot be used.
    """
    from astropy.table import Column, Table

    chosen = chosen or {}
    table, is_typed = read_table(
        location, {name.lower() for name in (chosen.get("name"), *COLUMNS["name"].names) if name}
    )
    if not len(table):
        raise CatalogError(f"{location} has no rows.")
    found = {name: _find(table, name, chosen.get(name), location) for name in COLUMNS}
    _check_motion(found, chosen, location)
    used = {name: column for name, column in found.items() if column is not None}
    if found["pmra"] is None:
        used.pop("ref_epoch", None)
    for name, column in used.items():
        if other := next((key for key in used if key != name and used[key] == column), None):
            raise CatalogError(f"{location}: column {column} cannot be {name} and {other}.")
        if table[column].ndim > 1:
            raise CatalogError(f"{location}: column {column} for {name} has more than one value in a row.")
    values = {
        name: _texts(table[column], location) if name == "name" else _numbers(table[column], name, location)
        for name, column in used.items()
    }
    renamed = Table(meta={})
    for name, array in values.items():
        renamed[name] = Column(array, unit=COLUMNS[name].unit)
    for name in table.colnames:
        if name not in used.values():
            key = free_name(name, renamed.colnames)
            renamed[key] = table[name] if is_typed else numbers_if_all_are(table[name])
    return renamed


def _check_motion(found: Mapping[str, str | None], chosen: Mapping[str, str], location: str) -> None:
    has = [name for name in ("pmra", "pmdec", "ref_epoch") if found[name] is not None]
    if not has or len(has) == 3 or (has == ["ref_epoch"] and "ref_epoch" not in chosen):
        return
    missing = [name for name in ("pmra", "pmdec", "ref_epoch") if found[name] is None]
    raise CatalogError(
        f"{location} has {' and '.join(has)}, but not {' and '.join(missing)}: proper motions need pmra, pmdec and "
        "ref_epoch. Choose the columns with --pmra-column, --pmdec-column and --ref-epoch-column, or rename "
        "columns that are not motions."
    )


def _find(table: Table, name: str, chosen: str | None, location: str) -> str | None:
    if chosen is not None:
        if chosen not in table.colnames:
            raise CatalogError(f"{location} has no column {chosen}; it has {', '.join(table.colnames)}.")
        return chosen
    # A column in the case of this list comes before others.
    by_name = {column.lower(): column for column in reversed(table.colnames)}
    by_name |= {column: column for column in table.colnames}
    found = next((by_name[usual] for usual in COLUMNS[name].names if usual in by_name), None)
    if found is None and COLUMNS[name].is_required:
        raise CatalogError(
            f"{location} has no column {name} (also known: {', '.join(COLUMNS[name].names[1:])}); choose one of "
            f"{', '.join(table.colnames)} with --{name}-column."
        )
    return found


def _texts(column: Any, location: str) -> NDArray[np.str_]:
    if column.dtype.kind not in "Uiu":
        raise CatalogError(
            f"{location}: column {column.info.name} for name has values of type {column.dtype.name}: names are "
            "texts or whole numbers."
        )
    values = np.ma.asarray(column)
    texts = np.array([str(value).strip() for value in np.ma.getdata(values).tolist()])
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
            "not numbers."
        )
    given = getattr(column, "unit", None)
    if wanted is None or given is None or given == "":
        return numbers
    try:
        return units.Quantity(numbers, given).to_value(wanted)
    except (TypeError, ValueError, units.UnitConversionError):
        raise CatalogError(
            f"{location}: column {column.info.name} for {name} is in {given}, which astropy does not convert to "
            f"{wanted}."
        ) from None


def _parsed(column: Any, name: str, location: str) -> Iterator[float]:
    """Yield the numbers of texts; NaN for empty and masked ones."""
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
            "numbers."
        )
