"""Files below the locations that a user names."""

from __future__ import annotations

__all__ = ["find_files"]

import os
import re
from collections.abc import Iterable, Iterator

from lsst.resources import ResourcePath

from .addresses import is_path
from .lists import is_list, read_list
from .report import IngestReport


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
