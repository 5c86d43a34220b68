"""Lists of URIs in the forms in which services, tools and people write them."""

from __future__ import annotations

import csv
import dataclasses
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from spherex.archive import cloud_uri
from spherex.votables import incompleteness, open_votable
from spherex.yamls import check_ecsv, check_fits_comments

if TYPE_CHECKING:
    from astropy.table import Table


COLUMNS = (
    "address",
    "uri",
    "url",
    "access_url",
    "s3_uri",
    "s3_url",
    "path",
    "filename",
    "cloud_access",
)
"""Columns that contain URIs. In each row, the first one with a value counts."""

Cell: TypeAlias = tuple[str, str]
"""Place in a list, counted from 1, and the URI there; an empty text if there is none."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """Content of a list.

    Parameters
    ----------
    cells
        All lines or rows.
    incomplete
        Why rows are missing, according to the service that made the list;
        empty if it does not say so.
    """

    cells: list[Cell]
    incomplete: str = ""


def _text_of(path: str) -> str:
    """Return the text of a file in the encodings that editors and spreadsheets write."""
    with open(path, "rb") as stream:
        content = stream.read()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Any bytes are Latin-1. A path that is not stays unknown.
        return content.decode("latin-1")


_PRINTED = re.compile(r"\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d +\d+ +(.+)")
"""Line of ``s5cmd ls`` and ``aws s3 ls``: date, time, size, and the name."""

_SCHEME = re.compile(r"[a-z][a-z\d+.-]*://", re.IGNORECASE)
_COMMENT = re.compile(r"\s+#")
_ESCAPED = re.compile(r"\\(.)")
_IN_COMMAND = re.compile(
    rf"""(?:^|\s)\#.*  # a comment
    | (["'])(?P<quoted>{_SCHEME.pattern}.*?)\1
    | (?P<bare>{_SCHEME.pattern}(?:\\.|&(?!&)|[^\s"'`;|<>()&\\])+)""",
    re.IGNORECASE | re.VERBOSE,
)
"""URI in a command of a shell, as far as the shell takes it for one word, or a comment."""


def _lines_of(path: str) -> list[tuple[str, str]]:
    """Return the lines of a text that are not blank and not comments, with their places."""
    lines = enumerate(_text_of(path).splitlines(), start=1)
    return [(f"line {n}", line) for n, line in lines if line.strip() and not line.lstrip().startswith("#")]


def _read_lines(path: str) -> Listing:
    lines = _lines_of(path)
    column = _printed_column(lines[0][1]) if lines else None
    if column is not None:
        # A table of find-images or find-archive. The line below the names has the units, and is blank without them.
        units = f"line {int(lines[0][0].split()[1]) + 1}"
        return Listing([(place, line[column].strip()) for place, line in lines[1:] if place != units])
    return Listing([(place, uri) for place, line in lines for uri in _uris_of_line(line.strip())])


def _printed_column(header: str) -> slice | None:
    """Return where the URIs are in the lines of a printed table with this header."""
    names = list(re.finditer(r"\S+(?: \S+)*", header))
    for number, name in enumerate(names):
        if len(names) > 1 and name[0] in COLUMNS:
            return slice(name.start(), names[number + 1].start() if number + 1 < len(names) else None)
    return None


def _uris_of_line(line: str) -> list[str]:
    """Return the URIs in a line of a text; a line without one is a path."""
    if match := _PRINTED.fullmatch(line):
        return [match[1]]
    if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'":
        return [line[1:-1]]
    if _SCHEME.match(line):
        return [_COMMENT.split(line)[0]]
    return _uris_of_command(line) or [line]


def _uris_of_command(line: str) -> list[str]:
    found = (match["quoted"] or _ESCAPED.sub(r"\1", match["bare"] or "") for match in _IN_COMMAND.finditer(line))
    return [uri.rstrip("&") for uri in found if uri]


def _read_script(path: str) -> Listing:
    """Read the commands of a shell script that downloads files, as the archive and people write it."""
    return Listing([(place, uri) for place, line in _lines_of(path) for uri in _uris_of_command(line)])


def _read_csv(path: str) -> Listing:
    from astropy.table import Table

    text = _text_of(path)
    if text.startswith("# %ECSV"):
        return _read_ecsv(path)
    lines = [line.strip("\r\n") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    delimiter = max(",;\t|", key=lines[0].count) if lines else ","
    # Each line by itself: an open quote must not take the lines after it.
    names, *rows = [next(csv.reader([line], delimiter=delimiter, skipinitialspace=True)) for line in lines] or [[]]
    if len(names) == 1:
        rows = [[delimiter.join(row)] for row in rows]
    empty = [""] * len(names)
    rows = [(row + empty)[: len(names)] if len(row) <= len(names) else empty for row in rows]
    columns = [[row[number] for row in rows] for number in range(len(names))]
    return Listing(_rows([Table(columns, names=[name.strip() for name in names], dtype=[object] * len(names))]))


def _read_ecsv(path: str) -> Listing:
    from astropy.table import Table

    text = f"{_text_of(path)}\n"
    check_ecsv(text)
    return Listing(_rows([Table.read(text, format="ascii.ecsv")]))


def _read_ipac(path: str) -> Listing:
    from astropy.table import Table

    return Listing(_rows([Table.read(f"{_text_of(path)}\n", format="ascii.ipac")]))


def _read_fits(path: str) -> Listing:
    from astropy.io import fits
    from astropy.table import Table

    # A map of a file that another process truncates would end this one.
    with fits.open(path, memmap=False) as hdus:
        found = [hdu for hdu in hdus if type(hdu) is fits.BinTableHDU]
        for hdu in found:
            check_fits_comments([*hdu.header.get("COMMENT", ())])
        return Listing(_rows([Table.read(hdu) for hdu in found]))


def _read_parquet(path: str) -> Listing:
    import pyarrow.parquet
    from astropy.table import Table

    names = [name for name in pyarrow.parquet.read_schema(path).names if name.lower() in COLUMNS]
    if not names:
        return Listing(_rows([Table(names=pyarrow.parquet.read_schema(path).names)]))
    values = pyarrow.parquet.read_table(path, columns=names)
    return Listing(_rows([Table({name: values[name].to_pylist() for name in names}, dtype=[object] * len(names))]))


def _read_votable(path: str) -> Listing:
    votable = open_votable(path)
    with warnings.catch_warnings():
        # Units and other properties of columns do not matter here.
        warnings.simplefilter("ignore")
        tables = [table.to_table(use_names_over_ids=True) for table in votable.iter_tables()]
    incomplete = incompleteness(votable)
    if incomplete and not any(len(table) for table in tables):
        return Listing([], incomplete)
    return Listing(_rows(tables), incomplete)


def _rows(tables: Sequence[Table]) -> list[Cell]:
    """Return the rows of the tables with URIs.

    Raises
    ------
    ValueError
        If none of the tables has a column with URIs.
    """
    cells: list[Cell] = []
    has_uris = False
    for table in tables:
        names = {name.lower(): name for name in table.colnames}
        known = [names[name] for name in COLUMNS if name in names]
        if known:
            has_uris = True
            columns = [table[name].tolist() for name in known]
            cells += [(f"row {number}", _first_uri(row)) for number, row in enumerate(zip(*columns, strict=True), 1)]
    if not has_uris:
        found = ", ".join(name for table in tables for name in table.colnames) or "it has no table"
        raise ValueError(f"none of its columns ({found}) is one of {', '.join(COLUMNS)}: rename one")
    return cells


def _first_uri(values: Iterable[Any]) -> str:
    return next(filter(None, map(_uri_in, values)), "")


def _uri_in(value: Any) -> str:
    """Return the URI in a cell; empty if there is none."""
    if isinstance(value, bytes):
        value = value.decode()
    text = "" if value is None else str(value).strip()
    if not text.startswith(("{", "[")):
        return text
    return cloud_uri(text)


READERS: dict[str, Callable[[str], Listing]] = {
    **dict.fromkeys((".txt", ".list", ".lst"), _read_lines),
    ".sh": _read_script,
    **dict.fromkeys((".csv", ".tsv"), _read_csv),
    ".ecsv": _read_ecsv,
    ".tbl": _read_ipac,
    **dict.fromkeys((".fits", ".fit"), _read_fits),
    **dict.fromkeys((".parquet", ".parq"), _read_parquet),
    **dict.fromkeys((".xml", ".vot", ".votable"), _read_votable),
}
"""Readers of local files, by extension. A FITS file is a list if `is_fits_list` says so."""

_SEARCHED = 4 * 2880
"""Bytes at the start of a FITS file in which the header of its first table begins."""

_FITS_COLUMN = re.compile(rb"TTYPE\d+ *= *'(\w+) *'")
_NEVER_FITS = ("path", "filename")
"""Columns that tables of calibrations may have too."""


def is_fits_list(path: str) -> bool:
    """Return whether a local FITS file is a table with URIs, and not an image.

    Parameters
    ----------
    path
        Path of the file.
    """
    try:
        with open(path, "rb") as stream:
            # Images of the archive have no table in front.
            if b"XTENSION= 'BINTABLE'" not in stream.read(_SEARCHED):
                return False
            stream.seek(0)
            names = {name.decode().lower() for name in _FITS_COLUMN.findall(stream.read(16 * _SEARCHED))}
    except OSError:
        return False
    return not names.isdisjoint(set(COLUMNS).difference(_NEVER_FITS))
