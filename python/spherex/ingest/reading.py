"""Headers of many files."""

from __future__ import annotations

__all__ = ["FileStructure", "read_structure", "read_structures"]

import concurrent.futures
import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from spherex.fits.errors import ProductError
from spherex.fits.hdus import scan_hdus
from spherex.fits.sources import open_source

from .description import DescriptionError

if TYPE_CHECKING:
    from spherex.fits.hdus import HDUInfo


@dataclasses.dataclass(frozen=True, slots=True)
class FileStructure:
    """The HDUs of a file.

    Parameters
    ----------
    address
        Path or URI.
    size
        Size of the file in bytes, None if its server does not tell.
    hdus
        HDUs in the order of the file.
    """

    address: str
    size: int | None
    hdus: list[HDUInfo]


def read_structure(address: str, last: str | None = None) -> FileStructure | DescriptionError:
    """Read the headers of a file and check that its data are all there.

    Parameters
    ----------
    address
        Local path or URI.
    last
        HDU up to which a remote file is read; by default all are.

    Returns
    -------
    FileStructure or DescriptionError
        The structure, or why there is none: the reader may be in another
        thread than the one that has to report it.
    """
    try:
        with open_source(address, sparse=True) as source:
            return FileStructure(address, source.size, scan_hdus(source, last=None if source.is_local else last))
    except ProductError as error:
        return DescriptionError(f"{error}; replace it by a good copy")
    except FileNotFoundError:
        return DescriptionError("the file does not exist; check its name")
    except PermissionError:
        return DescriptionError("no permission to read it; ask its owner or use chmod")
    except IsADirectoryError:
        return DescriptionError("it is a directory, not a file; name a file")
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        text = str(error).strip() or type(error).__name__
        return DescriptionError(f"it cannot be read ({text.splitlines()[0]}); check the address and try again")


def read_structures(
    addresses: Iterable[str], threads: int, last: str | None = None
) -> Iterator[FileStructure | DescriptionError]:
    """Read the headers of many files, in their order.

    Parameters
    ----------
    addresses
        Local paths or URIs.
    threads
        Number of files that are read at the same time. More than one is
        slower where files are in memory or on a fast disk, and faster where
        each of them has to be waited for.
    last
        HDU up to which remote files are read; by default all are.

    Yields
    ------
    FileStructure or DescriptionError
        What `read_structure` returns.
    """
    read = functools.partial(read_structure, last=last)
    if threads == 1:
        yield from map(read, addresses)
        return
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        yield from pool.map(read, addresses)
