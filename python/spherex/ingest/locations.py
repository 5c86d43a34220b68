"""Files below the locations that a user names: paths, URIs, directories, lists."""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from lsst.resources import ResourcePath

from .report import IngestReport


def is_path(address: str) -> bool:
    """Whether an address is a path.

    Parameters
    ----------
    address
        Path or URI.

    Returns
    -------
    bool
        False for a URI.
    """
    return "://" not in address


def name_of(address: str) -> str:
    """Name of a file without its directory.

    Parameters
    ----------
    address
        Path or URI.

    Returns
    -------
    str
        The last part.
    """
    return os.path.basename(address) if is_path(address) else ResourcePath(address).basename()


def uri_of(address: str) -> ResourcePath:
    """URI of a file.

    Parameters
    ----------
    address
        Absolute path or URI.

    Returns
    -------
    lsst.resources.ResourcePath
        The same as a URI.
    """
    if is_path(address):
        address = f"file://{urllib.parse.quote(address)}"
    return ResourcePath(address, forceDirectory=False)


_COLUMNS = ("address", "uri", "url", "access_url", "s3_uri", "s3_url", "path", "filename", "cloud_access")
"""Columns that hold addresses, the first one that a table has counts."""

_Cell: TypeAlias = tuple[str, Any]
"""Place in a list, and what is there."""


class ListedAddress(NamedTuple):
    """An address and where in the list it is.

    Parameters
    ----------
    address
        Path or URI.
    place
        Line or row, both counted from 1.
    """

    address: str
    place: str


def is_list(location: str) -> bool:
    """Whether a location is a list of addresses, by its extension.

    Parameters
    ----------
    location
        Path or URI.

    Returns
    -------
    bool
        True for texts (.txt, .list, .lst), parquet tables (.parquet) and
        VOTables (.xml, .vot, .votable), unless it is a directory.
    """
    return _extension(location) in _READERS and not (is_path(location) and os.path.isdir(location))


def read_list(location: str) -> list[ListedAddress]:
    """Read a list of addresses.

    Parameters
    ----------
    location
        Path or URI of the list.

    Returns
    -------
    list [ ListedAddress ]
        The addresses. Those that are relative are taken from the directory of
        the list.

    Raises
    ------
    ValueError
        Raised if there are none in it.
    Exception
        Raised if it cannot be read.
    """
    location = location if not is_path(location) else os.path.abspath(location)
    with uri_of(location).as_local() as local:
        found = [
            ListedAddress(_address_of(value), place) for place, value in _READERS[_extension(location)](local.ospath)
        ]
    if not found:
        raise ValueError("there is no address in it")
    for address, place in found:
        if not address:
            raise ValueError(f"{place} of {len(found)} has no address")
    return [ListedAddress(_resolved(address, location), place) for address, place in found]


def _extension(location: str) -> str:
    path = location if is_path(location) else urllib.parse.urlsplit(location).path
    return os.path.splitext(path)[1].lower()


def _read_text(path: str) -> list[_Cell]:
    with open(path, encoding="utf-8") as stream:
        lines = [(f"line {number}", line.strip()) for number, line in enumerate(stream, start=1)]
    return [(place, line) for place, line in lines if line and not line.startswith("#")]


def _read_parquet(path: str) -> list[_Cell]:
    import pyarrow.parquet

    column = _column(pyarrow.parquet.read_schema(path).names)
    return _rows(pyarrow.parquet.read_table(path, columns=[column])[column].to_pylist())


def _read_votable(path: str) -> list[_Cell]:
    import warnings

    from astropy.io.votable import parse_single_table

    with warnings.catch_warnings():
        # What a server gets wrong about VOTables is no matter of an ingest.
        warnings.simplefilter("ignore")
        table = parse_single_table(path, verify="ignore").to_table(use_names_over_ids=True)
    return _rows(table[_column(table.colnames)].tolist())


def _rows(values: Iterable[Any]) -> list[_Cell]:
    return [(f"row {number}", value) for number, value in enumerate(values, start=1)]


def _column(names: Sequence[str]) -> str:
    known = {name.lower(): name for name in names}
    for name in _COLUMNS:
        if name in known:
            return known[name]
    raise ValueError(f"none of its columns ({', '.join(names)}) is one of {', '.join(_COLUMNS)}: rename one")


def _address_of(value: Any) -> str:
    """Address in a cell; empty if there is none."""
    if isinstance(value, bytes):
        value = value.decode()
    text = "" if value is None else str(value).strip()
    if not text.startswith("{"):
        return text
    # The archive's table of images says where a copy is by JSON (cloud_access).
    place = json.loads(text)["aws"]
    return f"s3://{place['bucket_name']}/{urllib.parse.quote(place['key'])}"


def _resolved(address: str, location: str) -> str:
    if not is_path(address) or os.path.isabs(address):
        return address
    if is_path(location):
        return os.path.join(os.path.dirname(location), address)
    return str(ResourcePath(location).parent().join(address, forceDirectory=address.endswith("/")))


_READERS: dict[str, Callable[[str], Iterable[_Cell]]] = {
    **dict.fromkeys((".txt", ".list", ".lst"), _read_text),
    ".parquet": _read_parquet,
    **dict.fromkeys((".xml", ".vot", ".votable"), _read_votable),
}


def find_files(locations: Iterable[str], pattern: re.Pattern[str], report: IngestReport) -> Iterator[str]:
    """Find files in directories, and pass on those that are named.

    Parameters
    ----------
    locations
        Paths or URIs of files, of directories, and of lists of such addresses.
    pattern
        Searched for in the names of files, without their directories.
    report
        Gets a failure for whatever cannot be searched, for named files that do
        not match, and for locations without a file.

    Yields
    ------
    str
        Absolute path or URI of a file, each once.
    """
    seen: set[str] = set()
    for location, origin in _named(locations, report):
        part = IngestReport()
        found = 0
        for address in _search(location, pattern, part):
            found += 1
            if address not in seen:
                seen.add(address)
                yield address
        if not found and not part.failures:
            part.fail(
                location,
                f"no file in it has a name that matches '{pattern.pattern}'; check the directory or give --regex",
            )
        for address, reason in part.failures:
            report.fail(address, f"{reason}{origin}")


def _named(locations: Iterable[str], report: IngestReport) -> Iterator[tuple[str, str]]:
    """Locations, and those in lists, with words on where in the list they are."""
    for location in locations:
        if not is_list(location):
            yield location, ""
            continue
        try:
            addresses = read_list(location)
        except FileNotFoundError:
            report.fail(location, "there is no such file; check its name")
        except Exception as error:
            # Readers of tables raise errors of many kinds.
            text = str(error).strip() or type(error).__name__
            report.fail(location, f"it is no list of addresses ({text.splitlines()[0]}); see the documentation")
        else:
            for address, place in addresses:
                yield address, f" (it is {place} of {location})"


def _search(location: str, pattern: re.Pattern[str], report: IngestReport) -> Iterator[str]:
    """Files of one location."""
    if is_path(location) and not (location.startswith("file:") and not os.path.lexists(location)):
        yield from _search_local(location, pattern, report)
        return
    try:
        uri = ResourcePath(location)
        if uri.isLocal:
            yield from _search_local(uri.ospath, pattern, report)
        elif uri.isdir():
            for root, _, names in uri.walk(pattern):
                for name in names:
                    yield str(root.join(name, forceDirectory=False))
        elif pattern.search(uri.basename()):
            yield str(uri)
        else:
            report.fail(
                location,
                f"its name does not match '{pattern.pattern}'; if it is a directory, let its address end in /, "
                "else rename it or give --regex",
            )
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        text = str(error).strip() or type(error).__name__
        report.fail(location, f"it cannot be searched ({text.splitlines()[0]}); check the address and try again")


def _search_local(path: str, pattern: re.Pattern[str], report: IngestReport) -> Iterator[str]:
    """Files of one local location.

    lsst.resources follows links to directories without noticing loops.
    """
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        if not os.path.lexists(path):
            report.fail(path, "there is no such file or directory; check its name")
        elif pattern.search(os.path.basename(path)):
            yield path
        else:
            report.fail(path, _mismatch(pattern))
        return
    visited: set[tuple[int, int]] = set()
    waiting = [path]
    while waiting:
        directory = waiting.pop()
        try:
            status = os.stat(directory)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                for entry in entries:
                    if _is_directory(entry):
                        waiting.append(entry.path)
                    elif pattern.search(entry.name):
                        yield entry.path
        except OSError as error:
            report.fail(directory, f"the directory cannot be searched ({error.strerror}); ask its owner or use chmod")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself, for instance: whoever opens it will say so.
        return False


def _mismatch(pattern: re.Pattern[str]) -> str:
    return f"its name does not match '{pattern.pattern}'; rename it or give --regex"
