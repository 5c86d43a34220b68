"""Locations of files: URIs, local paths, directories and lists."""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from lsst.resources import ResourcePath

from spherex.errors import first_line
from spherex.votables import open_votable

from .report import IngestReport


def is_path(uri: str) -> bool:
    """Return whether a URI is a local path.

    Parameters
    ----------
    uri
        URI or local path.

    Returns
    -------
    bool
        False for a URI.
    """
    return "://" not in uri


def name_of(uri: str) -> str:
    """Return the name of a file without its directory.

    Parameters
    ----------
    uri
        URI or local path.

    Returns
    -------
    str
        The last part.
    """
    return os.path.basename(uri) if is_path(uri) else ResourcePath(uri).basename()


def resource_path(uri: str) -> ResourcePath:
    """Return the URI of a file.

    Parameters
    ----------
    uri
        URI or absolute path.

    Returns
    -------
    lsst.resources.ResourcePath
        The same as a URI.
    """
    if is_path(uri):
        uri = f"file://{urllib.parse.quote(uri)}"
    return ResourcePath(uri, forceDirectory=False)


_COLUMNS = ("address", "uri", "url", "access_url", "s3_uri", "s3_url", "path", "filename", "cloud_access")
"""Columns that contain URIs; the first one in a table counts."""

_Cell: TypeAlias = tuple[str, Any]
"""Place in a list, and the text there."""


class ListedURI(NamedTuple):
    """URI and its place in a list.

    Parameters
    ----------
    uri
        URI or local path.
    place
        Line or row, both counted from 1.
    """

    uri: str
    place: str


def is_list(location: str) -> bool:
    """Return whether a location is a list of URIs, by its extension.

    Parameters
    ----------
    location
        URI or local path.

    Returns
    -------
    bool
        True for texts (.txt, .list, .lst), parquet tables (.parquet) and
        VOTables (.xml, .vot, .votable), unless it is a directory.
    """
    return _extension(location) in _READERS and not (is_path(location) and os.path.isdir(location))


def read_list(location: str) -> list[ListedURI]:
    """Read a list of URIs.

    Parameters
    ----------
    location
        URI or local path of the list.

    Returns
    -------
    list [ ListedURI ]
        The URIs. Relative ones are taken from the directory of the list.

    Raises
    ------
    ValueError
        Raised if it contains none.
    Exception
        Raised if it cannot be read.
    """
    location = location if not is_path(location) else os.path.abspath(location)
    with resource_path(location).as_local() as local:
        found = [ListedURI(_uri_in(value), place) for place, value in _READERS[_extension(location)](local.ospath)]
    if not found:
        raise ValueError("it contains no URI")
    for uri, place in found:
        if not uri:
            raise ValueError(f"{place} of {len(found)} has no URI")
    return [ListedURI(_resolved(uri, location), place) for uri, place in found]


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
    table = open_votable(path).get_first_table().to_table(use_names_over_ids=True)
    return _rows(table[_column(table.colnames)].tolist())


def _rows(values: Iterable[Any]) -> list[_Cell]:
    return [(f"row {number}", value) for number, value in enumerate(values, start=1)]


def _column(names: Sequence[str]) -> str:
    known = {name.lower(): name for name in names}
    for name in _COLUMNS:
        if name in known:
            return known[name]
    raise ValueError(f"none of its columns ({', '.join(names)}) is one of {', '.join(_COLUMNS)}: rename one")


def _uri_in(value: Any) -> str:
    """Return the URI in a cell; empty if there is none."""
    if isinstance(value, bytes):
        value = value.decode()
    text = "" if value is None else str(value).strip()
    if not text.startswith("{"):
        return text
    # The archive's table of images has JSON for copies in the cloud (cloud_access).
    place = json.loads(text)["aws"]
    return f"s3://{place['bucket_name']}/{urllib.parse.quote(place['key'])}"


def _resolved(uri: str, location: str) -> str:
    if not is_path(uri) or os.path.isabs(uri):
        return uri
    if is_path(location):
        return os.path.join(os.path.dirname(location), uri)
    return str(ResourcePath(location).parent().join(uri, forceDirectory=uri.endswith("/")))


_READERS: dict[str, Callable[[str], Iterable[_Cell]]] = {
    **dict.fromkeys((".txt", ".list", ".lst"), _read_text),
    ".parquet": _read_parquet,
    **dict.fromkeys((".xml", ".vot", ".votable"), _read_votable),
}


def find_files(locations: Iterable[str], pattern: re.Pattern[str], report: IngestReport) -> Iterator[str]:
    """Find the files of locations.

    Parameters
    ----------
    locations
        URIs or local paths of files, of directories, and of lists of URIs.
    pattern
        Regular expression for the names of files, without their directories.
    report
        Report that gets a failure for a location that cannot be searched, a
        named file that does not match, and a location without a file.

    Yields
    ------
    str
        URI or absolute path of a file, each once.
    """
    seen: set[str] = set()
    for location, origin in _named(locations, report):
        part = IngestReport()
        found = 0
        for uri in _search(location, pattern, part):
            found += 1
            if uri not in seen:
                seen.add(uri)
                yield uri
        if not found and not part.failures:
            part.fail(
                location,
                f"no file in it has a name that matches '{pattern.pattern}'; check the directory or use --regex",
            )
        for uri, reason in part.failures:
            report.fail(uri, f"{reason}{origin}")


def _named(locations: Iterable[str], report: IngestReport) -> Iterator[tuple[str, str]]:
    """Yield locations, those in lists too, with a text on their place in the list."""
    for location in locations:
        if not is_list(location):
            yield location, ""
            continue
        try:
            uris = read_list(location)
        except FileNotFoundError:
            report.fail(location, "there is no such file; check its name")
        except Exception as error:
            # Readers of tables raise errors of many kinds.
            report.fail(location, f"it is not a list of URIs ({first_line(error)}); see the documentation")
        else:
            for uri, place in uris:
                yield uri, f" (it is {place} of {location})"


def _search(location: str, pattern: re.Pattern[str], report: IngestReport) -> Iterator[str]:
    """Yield the files of one location."""
    if is_path(location) and not (location.startswith("file:") and not os.path.lexists(location)):
        yield from _search_local(location, pattern, report)
        return
    try:
        resource = ResourcePath(location)
        if resource.isLocal:
            yield from _search_local(resource.ospath, pattern, report)
        elif resource.isdir():
            for root, _, names in resource.walk(pattern):
                for name in names:
                    yield str(root.join(name, forceDirectory=False))
        elif pattern.search(resource.basename()):
            yield str(resource)
        else:
            report.fail(
                location,
                f"its name does not match '{pattern.pattern}'; if it is a directory, end its URI with /, "
                "else rename it or use --regex",
            )
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        report.fail(location, f"it cannot be searched ({first_line(error)}); check the URI and try again")


def _search_local(path: str, pattern: re.Pattern[str], report: IngestReport) -> Iterator[str]:
    """Yield the files of one local location.

    lsst.resources follows links to directories without noticing loops.
    """
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        if not os.path.lexists(path):
            report.fail(path, "there is no such file or directory; check its name")
        elif pattern.search(os.path.basename(path)):
            yield path
        else:
            report.fail(path, f"its name does not match '{pattern.pattern}'; rename it or use --regex")
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
        # A link to itself, for instance, fails when it is opened.
        return False
