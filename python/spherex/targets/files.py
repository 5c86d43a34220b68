"""Tables of the files of catalogues: formats, and types that parquet can store."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import os
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from lsst.resources import ResourcePath

from spherex.errors import CatalogError, did_you_mean, first_line
from spherex.numbers import is_number
from spherex.votables import explain_incompleteness, incompleteness, open_votable
from spherex.yamls import check_ecsv, check_fits_comments, check_table_yaml

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table


_SEPARATORS = (",", ";", "\t")
"""Separators of columns; without one of them columns are separated by blanks."""

_GZIP = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True)
class CatalogFile:
    """Content of the file of a catalogue.

    Parameters
    ----------
    table
        All its columns.
    is_typed
        Whether the format has types of columns.
    incomplete
        Message that rows are missing, according to the service that made the
        file; empty if it does not say so.
    """

    table: Table
    is_typed: bool = True
    incomplete: str = ""


def read_table(location: str, texts: Collection[str]) -> CatalogFile:
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
    content
        With columns that parquet can store, and texts as `str`. Coordinates
        are two columns, in degrees, ICRS: ``<name>.ra`` and ``<name>.dec``.

    Raises
    ------
    CatalogError
        If the table cannot be read, or parquet cannot store a column.
    """
    from astropy.table import represent_mixins_as_columns
    from astropy.units import UnitsWarning

    uri = check_file_name(location)
    name, read = EXTENSIONS[uri.getExtension().lower().removesuffix(".gz")]
    try:
        with uri.as_local() as local, warnings.catch_warnings():
            # A unit that is needed is checked where it is used.
            warnings.simplefilter("ignore", UnitsWarning)
            content = read(local.ospath, texts)
        table = represent_mixins_as_columns(_in_icrs(content.table))
        table.convert_bytestring_to_unicode()
    except FileNotFoundError:
        raise CatalogError(_missing(location)) from None
    except Exception as error:
        # Readers raise exceptions of many kinds.
        raise CatalogError(f"{location} cannot be read as {name}: {first_line(error)}.") from None
    for column in table.colnames:
        _make_storable(table, column, location)
    return dataclasses.replace(content, table=table)


def check_file_name(location: str) -> ResourcePath:
    """Return the URI of the file of a catalogue.

    Parameters
    ----------
    location
        Path or URI.

    Raises
    ------
    CatalogError
        If it does not have the extension of a catalogue.
    """
    try:
        uri = ResourcePath(location, forceAbsolute=True, forceDirectory=False)
        extension = uri.getExtension().lower()
    except Exception as error:
        raise CatalogError(f"{location} is not a path or URI of a file: {first_line(error)}.") from None
    if extension.removesuffix(".gz") in EXTENSIONS:
        return uri
    if uri.isLocal and not os.path.exists(uri.ospath):
        raise CatalogError(_missing(location))
    raise CatalogError(
        f"{location} does not have the extension of a catalogue; there are readers for "
        f"{', '.join(sorted(EXTENSIONS))}, also with .gz."
    )


def _missing(location: str) -> str:
    """Return a message on a file that does not exist, with similar names of its directory."""
    names = _names_beside(location)
    return f"there is no file {location}.{did_you_mean(os.path.basename(location), names)}"


def _names_beside(location: str) -> list[str]:
    directory = os.path.dirname(location) or "."
    return os.listdir(directory) if os.path.isdir(directory) else []


def similar_files(location: str) -> str:
    """Return a question for the files of catalogues that resemble a path without its extension.

    Parameters
    ----------
    location
        Path without an extension.

    Returns
    -------
    question
        As `spherex.errors.did_you_mean` returns it.
    """
    stem = os.path.basename(location)
    names = [name for name in _names_beside(location) if is_catalog_file(name)]
    similar = [repr(name) for name in sorted(names) if did_you_mean(stem, [name.partition(".")[0]])]
    return f" Did you mean {' or '.join(similar[:2])}?" if similar else ""


def _in_icrs(table: Table) -> Table:
    """Convert columns of coordinates to right ascension and declination, ICRS."""
    from astropy.coordinates import SkyCoord

    for name in table.colnames:
        if isinstance(table[name], SkyCoord):
            position = table[name].icrs
            table[name] = SkyCoord(position.ra, position.dec)
    return table


def _read_ecsv(path: str, texts: Collection[str]) -> CatalogFile:
    from astropy.table import Table

    # With a line break, astropy takes the text for content, and not for a path.
    text = f"{_text_of(_content_of(path))}\n"
    check_ecsv(text)
    return CatalogFile(Table.read(text, format="ascii.ecsv"))


def _content_of(path: str) -> bytes:
    """Return the content of a file, decompressed."""
    with open(path, "rb") as file:
        content = file.read()
    return gzip.decompress(content) if content.startswith(_GZIP) else content


def _text_of(content: bytes) -> str:
    """Return the text of a file, without the mark that some editors put in front."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} is not UTF-8 (byte 0x{content[error.start]:02x}): convert the file, such as by "
            "iconv -f latin1 -t utf-8"
        ) from None


def _read_ipac(path: str, texts: Collection[str]) -> CatalogFile:
    from astropy.table import Table

    return CatalogFile(Table.read(path, format="ascii.ipac", guess=False))


def _read_votable(path: str, texts: Collection[str]) -> CatalogFile:
    from astropy.table import Table

    votable = open_votable(path)
    reason = incompleteness(votable)
    incomplete = explain_incompleteness(reason) if reason else ""
    if incomplete and not any(len(table.array) for table in votable.iter_tables()):
        raise ValueError(incomplete)
    return CatalogFile(Table.read(votable, format="votable"), incomplete=incomplete)


def _read_fits(path: str, texts: Collection[str]) -> CatalogFile:
    from astropy.io import fits
    from astropy.table import Table

    # A map of a file that another process truncates would end this one.
    with fits.open(path, memmap=False) as hdus:
        found = {
            f"{number} {hdu.name}".strip(): hdu
            for number, hdu in enumerate(hdus)
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and not isinstance(hdu, fits.CompImageHDU)
        }
        if len(found) != 1:
            names = f"{len(found)} tables (HDU {', '.join(found)})" if found else "no table"
            raise ValueError(f"it contains {names}: write the one with the targets to a file of its own")
        hdu = next(iter(found.values()))
        check_fits_comments([*hdu.header.get("COMMENT", ())])
        return CatalogFile(Table.read(hdu, format="fits"))


def _read_text(path: str, texts: Collection[str]) -> CatalogFile:
    """Read a text table: columns separated by commas, semicolons, tabs or blanks, or ECSV or IPAC by its beginning."""
    from astropy.table import Table

    content = _content_of(path)
    if content.startswith(b"# %ECSV"):
        return _read_ecsv(path, texts)
    if content.startswith((b"|", b"\\")):
        return _read_ipac(path, texts)
    content = _from_header(_text_of(content).encode())
    first = content.partition(b"\n")[0].decode()
    separator = max(_SEPARATORS, key=lambda one: len(_fields(first, one)))
    if len(_fields(first, separator)) == 1 and len(first.split()) > 1:
        columns = _columns_of_blanks(content.decode())
    else:
        columns = _columns_of_csv(content, separator)
    table = Table()
    for name, column in columns:
        key = free_name(name.strip(), table.colnames)
        # Column by column, because texts take several times the memory of numbers.
        table[key] = column if plain_name(key) in texts else numbers_if_all_are(column)
    return CatalogFile(table, is_typed=False)


def _from_header(content: bytes) -> bytes:
    """Return a text table without the comments before its names of columns.

    The names may be the last comment, in front of a first line with numbers.
    """
    comment = b""
    while content.startswith((b"#", b"\n", b"\r")):
        line, _, content = content.partition(b"\n")
        comment = line.strip() or comment
    first = content.partition(b"\n")[0].decode()
    if not first.strip():
        raise ValueError("it is empty")
    for separator in (*_SEPARATORS, None):
        names = _fields(comment.decode().lstrip("#"), separator)
        fields = _fields(first, separator)
        if len(names) == len(fields) > 1 and any(map(is_number, fields)) and not any(map(is_number, names)):
            return comment.lstrip(b"#").lstrip() + b"\n" + content
    return content


def _fields(line: str, separator: str | None) -> list[str]:
    return line.split() if separator is None else next(csv.reader([line], delimiter=separator), [])


def _columns_of_csv(content: bytes, separator: str) -> Iterator[tuple[str, Any]]:
    # Format pyarrow.csv of astropy 8.0 takes 0.1 s for 100,000 rows of ten columns, this 0.6 s. But it reads 007 as 7,
    # identifiers of 20 digits as floating point numbers, and one of two columns with the same name. To read all
    # columns as texts, and convert them as here, it takes the same 0.6 s.
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pv
    from astropy.table import Column, MaskedColumn

    header = next(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=separator))
    read = pv.read_csv(
        pa.BufferReader(content),
        parse_options=pv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=pv.ConvertOptions(column_types=dict.fromkeys(header, pa.string())),
    )
    for name, column in zip(header, read.columns, strict=True):
        values = pc.fill_null(pc.utf8_trim_whitespace(column.cast(pa.string())), "").to_numpy(zero_copy_only=False)
        values, mask = values.astype(str), values == ""
        yield name, MaskedColumn(values, mask=mask) if mask.any() else Column(values)


def _columns_of_blanks(content: str) -> Iterator[tuple[str, Any]]:
    from astropy.io import ascii

    texts = {"*": [ascii.convert_numpy(str)]}
    empty = [("", "")]
    table = ascii.read(content, format="basic", guess=False, fast_reader=False, converters=texts, fill_values=empty)
    return ((name, table[name]) for name in table.colnames)


def _read_parquet(path: str, texts: Collection[str]) -> CatalogFile:
    import pyarrow.parquet as pq
    from lsst.daf.butler.formatters.parquet import arrow_to_astropy

    # Not read_table, which wraps what is wrong in words that differ between versions.
    table = pq.ParquetFile(path).read()
    check_table_yaml((table.schema.metadata or {}).get(b"table_meta_yaml", b"").decode().split("\n"))
    for index, field in enumerate(table.schema):
        kind = _storable_kind(field.type)
        if kind is None:
            raise ValueError(f"column {field.name} has values of type {field.type}: remove it")
        if kind != field.type:
            table = table.set_column(index, field.with_type(kind), table.column(index).cast(kind))
    return CatalogFile(arrow_to_astropy(table))


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


_IDENTIFIER = re.compile(r"[+-]?0\d+|.*[^ -^`-~].*")
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


def plain_name(column: str) -> str:
    """Return the name of a column in lower case, with underscores in place of blanks and hyphens.

    Parameters
    ----------
    column
        The name.
    """
    return re.sub(r"[\s-]+", "_", column.strip().lower())


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


EXTENSIONS: Mapping[str, tuple[str, Callable[[str, Collection[str]], CatalogFile]]] = {
    ".ecsv": ("ECSV", _read_ecsv),
    ".csv": ("CSV", _read_text),
    ".tsv": ("a text table", _read_text),
    ".txt": ("a text table", _read_text),
    ".tbl": ("an IPAC table", _read_ipac),
    ".fits": ("FITS", _read_fits),
    ".fit": ("FITS", _read_fits),
    ".xml": ("VOTable", _read_votable),
    ".vot": ("VOTable", _read_votable),
    ".votable": ("VOTable", _read_votable),
    ".parquet": ("parquet", _read_parquet),
    ".parq": ("parquet", _read_parquet),
}
"""Formats and their readers, by extension."""


def is_catalog_file(location: str) -> bool:
    """Return whether a path or URI has the extension of a catalogue.

    Parameters
    ----------
    location
        Path or URI.
    """
    return location.lower().removesuffix(".gz").endswith(tuple(EXTENSIONS))
