"""Lists of URIs in the forms in which services, tools and people write them, and lists too long for the memory."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import os
import pickle
import re
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

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
        All lines or rows, which are read in passing. An error may come after
        the first ones.
    incomplete
        Why rows are missing, according to the service that made the list;
        empty if it does not say so.
    """

    cells: Iterable[Cell]
    incomplete: str = ""


Item = TypeVar("Item")

_BLOCK = 1000
"""Items that are written and read together."""


class DiskList(Generic[Item]):
    """Sequence that keeps its items, except the last ones, in a temporary file.

    Items must be such that `pickle` can write them. The file has no name, and
    vanishes with the object or the process.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._blocks = 0
        self._last: list[Item] = []

    def append(self, item: Item) -> None:
        """Add an item at the end.

        Parameters
        ----------
        item
            The item.

        Raises
        ------
        OSError
            Raised if the disk is full.
        """
        self._last.append(item)
        if len(self._last) == _BLOCK:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            self._file.seek(0, os.SEEK_END)
            pickle.dump(self._last, self._file)
            self._blocks += 1
            self._last = []

    def extend(self, items: Iterable[Item]) -> None:
        """Add items at the end, see `append`."""
        for item in items:
            self.append(item)

    def __len__(self) -> int:
        return self._blocks * _BLOCK + len(self._last)

    def __iter__(self) -> Iterator[Item]:
        if self._file is not None:
            offset = 0
            for _ in range(self._blocks):
                # There may be other iterators, at other places.
                self._file.seek(offset)
                block = pickle.load(self._file)
                offset = self._file.tell()
                yield from block
        yield from self._last


def _encoding_of(path: str) -> str:
    """Return the encoding of a text, one of those that editors and spreadsheets write."""
    with open(path, "rb") as stream:
        if stream.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
    try:
        with open(path, encoding="utf-8-sig") as text:
            while text.read(2**20):
                pass
    except UnicodeDecodeError:
        # Any bytes are Latin-1. A path that is not stays unknown.
        return "latin-1"
    return "utf-8-sig"


def _text_of(path: str) -> str:
    with open(path, encoding=_encoding_of(path)) as stream:
        return stream.read()


def _split_lines(path: str) -> Iterator[str]:
    """Yield the lines of a text."""
    with open(path, encoding=_encoding_of(path)) as stream:
        for line in stream:
            # Other characters than line feeds end a line, too.
            yield from line.splitlines()


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


def _lines_of(path: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a text that are not blank and not comments, with their places."""
    for number, line in enumerate(_split_lines(path), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield f"line {number}", line


def _read_lines(path: str) -> Listing:
    lines = _lines_of(path)
    first = [*itertools.islice(lines, 1)]
    column = _printed_column(first[0][1]) if first else None
    if column is not None:
        # A table of find-images or find-archive. The line below the names has the units, and is blank without them.
        units = f"line {int(first[0][0].split()[1]) + 1}"
        return Listing((place, line[column].strip()) for place, line in lines if place != units)
    return Listing((place, uri) for place, line in itertools.chain(first, lines) for uri in _uris_of_line(line.strip()))


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
    return Listing((place, uri) for place, line in _lines_of(path) for uri in _uris_of_command(line))


_PIECE = 1000
"""Rows of a table that are read together."""


def _read_csv(path: str) -> Listing:
    lines = _split_lines(path)
    first = next(lines, "")
    if first.startswith("# %ECSV"):
        return _read_ecsv(path)
    return Listing(_rows([_csv_pieces(itertools.chain([first], lines))]))


def _csv_pieces(text: Iterable[str]) -> Iterator[Table]:
    """Yield the table of a text, given by its lines, in pieces, at least one of them."""
    from astropy.table import Table

    lines = (line.strip("\r\n") for line in text if line.strip() and not line.startswith("#"))
    header = next(lines, "")
    delimiter = max(",;\t|", key=header.count)
    names = _csv_row(header, delimiter)
    empty = [""] * len(names)
    is_first = True
    while (rows := [_csv_row(line, delimiter) for line in itertools.islice(lines, _PIECE)]) or is_first:
        if len(names) == 1:
            rows = [[delimiter.join(row)] for row in rows]
        rows = [(row + empty)[: len(names)] if len(row) <= len(names) else empty for row in rows]
        columns = [[row[number] for row in rows] for number in range(len(names))]
        yield Table(columns, names=[name.strip() for name in names], dtype=[object] * len(names))
        is_first = False


def _csv_row(line: str, delimiter: str) -> list[str]:
    # Each line by itself: an open quote must not take the lines after it.
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])


def _read_ecsv(path: str) -> Listing:
    from astropy.table import Table

    text = f"{_text_of(path)}\n"
    check_ecsv(text)
    return Listing(_rows([[Table.read(text, format="ascii.ecsv")]]))


def _read_ipac(path: str) -> Listing:
    from astropy.table import Table

    return Listing(_rows([[Table.read(f"{_text_of(path)}\n", format="ascii.ipac")]]))


def _read_fits(path: str) -> Listing:
    from astropy.io import fits
    from astropy.table import Table

    # A map of a file that another process truncates would end this one.
    with fits.open(path, memmap=False) as hdus:
        found = [hdu for hdu in hdus if type(hdu) is fits.BinTableHDU]
        for hdu in found:
            check_fits_comments([*hdu.header.get("COMMENT", ())])
        return Listing(_rows([[Table.read(hdu)] for hdu in found]))


def _read_parquet(path: str) -> Listing:
    return Listing(_rows([_parquet_pieces(path)]))


def _parquet_pieces(path: str) -> Iterator[Table]:
    """Yield the columns with URIs in pieces, at least one of them; those of a table without URIs as they are."""
    import pyarrow.parquet
    from astropy.table import Table

    # Without a buffer, it reads whole columns of a group of rows.
    with pyarrow.parquet.ParquetFile(path, buffer_size=2**20) as file:
        names = [name for name in file.schema_arrow.names if name.lower() in COLUMNS]
        yield Table(names=names or file.schema_arrow.names, dtype=[object] * len(names) if names else None)
        for batch in file.iter_batches(_PIECE, columns=names) if names else ():
            yield Table({name: batch[name].to_pylist() for name in names}, dtype=[object] * len(names))


def _read_votable(path: str) -> Listing:
    votable = open_votable(path)
    with warnings.catch_warnings():
        # Units and other properties of columns do not matter here.
        warnings.simplefilter("ignore")
        tables = [table.to_table(use_names_over_ids=True) for table in votable.iter_tables()]
    incomplete = incompleteness(votable)
    if incomplete and not any(len(table) for table in tables):
        return Listing([], incomplete)
    return Listing(_rows([[table] for table in tables]), incomplete)


def _rows(tables: Iterable[Iterable[Table]]) -> Iterator[Cell]:
    """Yield the rows of the tables with URIs, each of them given in pieces.

    Raises
    ------
    ValueError
        Raised at the end if none of the tables has a column with URIs.
    """
    found: list[str] = []
    has_uris = False
    for table in tables:
        number = 0
        for piece in table:
            names = {name.lower(): name for name in piece.colnames}
            known = [names[name] for name in COLUMNS if name in names]
            if not known:
                found += piece.colnames
                # Its other pieces have the same columns.
                break
            has_uris = True
            for row in zip(*(piece[name].tolist() for name in known), strict=True):
                number += 1
                yield f"row {number}", _first_uri(row)
    if not has_uris:
        raise ValueError(
            f"none of its columns ({', '.join(found) or 'it has no table'}) is one of {', '.join(COLUMNS)}: rename one"
        )


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
