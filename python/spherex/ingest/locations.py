"""Locations of files: URIs, local paths, directories and lists."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lsst.resources import ResourcePath

from spherex.archive import ARCHIVE_URL
from spherex.errors import counted, first_line, listed
from spherex.remote import access_explained
from spherex.repository import is_fatal
from spherex.votables import explain_incompleteness

from .lists import READERS, DiskList, is_fits_list
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
        The last part. For a cutout of the archive's service
        (``ibe/cutout?...&path=...``), that of the frame.
    """
    if is_path(uri):
        return os.path.basename(uri)
    frame = urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query).get("path", [""])[0]
    return os.path.basename(frame) or ResourcePath(uri).basename()


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


_FITS = (".fits", ".fit")
_IBE = "ibe/data/"
"""Start of the URIs in the archive's table of images, relative to the archive."""

_MOST_EXAMPLES = 5


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
    """Return whether a location is a list of URIs.

    Parameters
    ----------
    location
        URI or local path.

    Returns
    -------
    bool
        True for an extension of `spherex.ingest.lists.READERS`, unless it is a
        directory. Of FITS files, only local tables with URIs are lists.
    """
    extension = _extension(location)
    if extension not in READERS or (is_path(location) and os.path.isdir(location)):
        return False
    return extension not in _FITS or (is_path(location) and is_fits_list(location))


def read_list(location: str) -> tuple[DiskList[ListedURI], list[str]]:
    """Read a list of URIs.

    Parameters
    ----------
    location
        URI or local path of the list.

    Returns
    -------
    uris
        The URIs, which need not fit into memory. Relative ones are taken from
        the directory of the list, and those of the archive's tables of images
        from the archive.
    faults
        What is missing in the list: rows without a URI, or rows that the
        service left out.

    Raises
    ------
    ValueError
        Raised if it contains no line or row.
    Exception
        Raised if it cannot be read.
    """
    location = location if not is_path(location) else os.path.abspath(location)
    uris: DiskList[ListedURI] = DiskList()
    number = 0
    examples: list[str] = []
    with access_explained(), resource_path(location).as_local() as local:
        listing = READERS[_extension(location)](local.ospath)
        for place, uri in listing.cells:
            number += 1
            if uri:
                uris.append(ListedURI(_resolved(uri, location), place))
            elif len(examples) < _MOST_EXAMPLES:
                examples.append(place)
    if not number and not listing.incomplete:
        raise ValueError("it contains no URI")
    faults = []
    if listing.incomplete:
        faults.append(explain_incompleteness(listing.incomplete))
    if examples:
        empty = listed(examples, number - len(uris), most=_MOST_EXAMPLES)
        faults.append(f"{empty} of {number} without a URI; complete or remove them")
    return uris, faults


def _extension(location: str) -> str:
    path = location if is_path(location) else urllib.parse.urlsplit(location).path
    return os.path.splitext(path)[1].lower()


def _resolved(uri: str, location: str) -> str:
    if not is_path(uri) or os.path.isabs(uri):
        return uri
    if is_path(location):
        beside = os.path.join(os.path.dirname(location), uri)
        return ARCHIVE_URL + uri if uri.startswith(_IBE) and not os.path.lexists(beside) else beside
    if uri.startswith(_IBE):
        return ARCHIVE_URL + uri
    return str(ResourcePath(location).parent().join(uri, forceDirectory=uri.endswith("/")))


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
    # The database is in memory while it is small, then in a temporary file.
    with contextlib.closing(sqlite3.connect("")) as seen:
        seen.execute("CREATE TABLE seen (uri BLOB PRIMARY KEY) WITHOUT ROWID")
        for location, origin in _named(locations, report):
            part = IngestReport()
            found = 0
            for uri in _search(location, pattern, part):
                found += 1
                # Not all paths are UTF-8.
                text = uri.encode("utf-8", "surrogatepass")
                if seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", (text,)).rowcount:
                    yield uri
            if not found and not part.failures:
                part.fail(
                    location,
                    f"it contains {counted(part.ignored.total(), 'file')}, none with a name of this kind; check the "
                    "directory, or ingest them with the command for them (ingest-level2, ingest-calibrations or "
                    "ingest-simulated) or with --regex"
                    if part.ignored
                    else "it contains no file; check its name",
                )
            report.ignored.update(part.ignored)
            for uri, reason in part.failures:
                report.fail(uri, f"{reason}{origin}")


def _named(locations: Iterable[str], report: IngestReport) -> Iterator[tuple[str, str]]:
    """Yield locations, those in lists too, with a text on their place in the list."""
    for location in locations:
        if not is_list(location):
            yield location, ""
            continue
        try:
            uris, faults = read_list(location)
        except FileNotFoundError:
            report.fail(location, "there is no such file; check its name")
        except Exception as error:
            if is_fatal(error):
                raise
            # Readers of tables raise errors of many kinds.
            report.fail(
                location,
                f"it is not a list of URIs ({first_line(error)}); for a catalogue of sources use butler "
                "register-targets",
            )
        else:
            for fault in faults:
                report.fail(location, fault)
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
            for root, _, names in resource.walk():
                for name in names:
                    if _is_wanted(name, pattern, report):
                        yield str(root.join(name, forceDirectory=False))
        elif pattern.search(name_of(location)):
            yield str(resource)
        else:
            report.fail(
                location,
                "it has no name of this kind of file; if it is a directory, end its URI with /, else rename it or "
                "ingest it with --regex",
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
            hint = "; separate LOCATIONS by blanks, not by commas" if "," in path else ""
            report.fail(path, f"there is no such file or directory; check its name{hint}")
        elif pattern.search(os.path.basename(path)):
            yield path
        else:
            report.fail(path, "it has no name of this kind of file; rename it or ingest it with --regex")
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
                    elif _is_wanted(entry.name, pattern, report):
                        yield entry.path
        except OSError as error:
            report.fail(directory, f"the directory cannot be searched ({error.strerror}); ask its owner, or use chmod")


def _is_wanted(name: str, pattern: re.Pattern[str], report: IngestReport) -> bool:
    """Return whether the name of a file in a directory matches; count it if not."""
    if pattern.search(name):
        return True
    report.ignored["with other names (--regex)" if ".fit" in name.lower() else "not FITS"] += 1
    return False


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself, for instance, fails when it is opened.
        return False
