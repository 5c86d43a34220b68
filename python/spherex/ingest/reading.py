"""Headers of many files."""

from __future__ import annotations

__all__ = ["FileStructure", "read_structure", "read_structures"]

import concurrent.futures
import dataclasses
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
    size
        Size of the file in bytes, None if its server does not tell.
    hdus
        HDUs in the order of the file.
    """

    size: int | None
    hdus: list[HDUInfo]


def read_structure(address: str) -> FileStructure | DescriptionError:
    """Read the headers of a file and check that its data are all there.

    Parameters
    ----------
    address
        Local path or URI.

    Returns
    -------
    FileStructure or DescriptionError
        The structure, or why there is none: the reader may be in another
        thread than the one that has to report it.
    """
    try:
        with open_source(address, sparse=True) as source:
            return FileStructure(source.size, scan_hdus(source))
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


def read_structures(addresses: Iterable[str], threads: int) -> Iterator[FileStructure | DescriptionError]:
    """Read the headers of many files, in their order.

    Parameters
    ----------
    addresses
        Local paths or URIs.
    threads
        Number of files that are read at the same time. More than one is
        slower where files are in memory or on a fast disk, and faster where
        each of them has to be waited for.

    Yields
    ------
    FileStructure or DescriptionError
        What `read_structure` returns.
    """
    if threads == 1:
        yield from map(read_structure, addresses)
        return
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        yield from pool.map(read_structure, addresses)
