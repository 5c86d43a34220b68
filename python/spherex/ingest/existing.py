"""What the repository holds of the files that are to be ingested."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from lsst.resources import ResourcePath

from spherex.errors import ProductError
from spherex.fits import open_source, scan_hdus
from spherex.repository import recorded_files

from .locations import uri_of

if TYPE_CHECKING:
    import uuid

    from lsst.daf.butler import Butler, DatasetRef

    from spherex.fits import ByteSource


_PIECE = 2880
_PIECES = 8
"""Samples of the data of each HDU."""
_HEADERS = 15 * _PIECE
"""Bytes that are compared where one of two files is remote: more than the
headers of a Level 2 image up to its first pixels.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class KnownDataset:
    """A dataset that the datastore has.

    Parameters
    ----------
    uri
        Where its file is.
    size
        Size of its file as recorded (bytes); negative if it was not recorded.
    """

    uri: ResourcePath
    size: int


def find_known(butler: Butler, refs: Collection[DatasetRef]) -> dict[uuid.UUID, KnownDataset]:
    """Find out which datasets are there already, by a few queries for all.

    Parameters
    ----------
    butler
        The repository.
    refs
        Datasets that may be there.

    Returns
    -------
    dict [ uuid.UUID, KnownDataset ]
        Those that are, by dataset id. Datasets without a file (``butler
        prune-datasets --unstore``) are not among them.
    """
    registered = butler.get_many_datasets([ref.id for ref in refs])
    if not registered:
        return {}
    uris = butler.get_many_uris(registered, predict=False, allow_missing=True)
    # Recorded sizes are the only cheap sign that a file was changed that the
    # repository merely points to.
    files = recorded_files(butler, list(uris))
    return {
        ref.id: KnownDataset(uri.primaryURI, files[ref.id][0].size if ref.id in files else -1)
        for ref, uri in uris.items()
        if uri.primaryURI is not None
    }


def change_of(address: str, size: int | None, known: KnownDataset) -> str | None:
    """Find out whether a file is still the one that was ingested.

    Its size is compared with the recorded one. If it is not the very file that
    the repository has, more is compared: of two local files all headers, and
    of the data of each HDU eight blocks of 2880 bytes, the first and the last
    among them; otherwise the sizes and the first 43200 bytes.

    Parameters
    ----------
    address
        Path or URI of the file at hand.
    size
        Its size (bytes), None if its server does not tell.
    known
        The dataset of the same data ID.

    Returns
    -------
    str or None
        How they differ; None if no difference was found.
    """
    if size is not None and known.size >= 0 and size != known.size:
        return f"it has {size} bytes, the ingested file had {known.size}"
    given = uri_of(address)
    if not (given.isLocal and known.uri.isLocal):
        return None if given == known.uri else _remote_change(given, known.uri)
    ours, stored = given.ospath, known.uri.ospath
    try:
        if os.path.samefile(ours, stored):
            return None
    except OSError:
        return f"it is ingested, but the repository's file {stored} is gone or out of reach"
    if not _are_alike(ours, stored):
        return f"its content is not that of the ingested file {stored}"
    return None


def _are_alike(path: str, other: str) -> bool:
    """Whether two local files have the same size, headers and samples of data."""
    with open_source(path, sparse=True) as ours, open_source(other, sparse=True) as theirs:
        return ours.size == theirs.size and all(
            ours.read_at(offset, size) == theirs.read_at(offset, size) for offset, size in _places(ours)
        )


def _places(source: ByteSource) -> Iterator[tuple[int, int]]:
    """Offsets and sizes of what is compared."""
    try:
        hdus = scan_hdus(source)
    except ProductError:
        # Not all that is ingested is FITS.
        yield from _samples(0, source.size or 0)
        return
    for hdu in hdus:
        yield hdu.header_offset, hdu.data_offset - hdu.header_offset
        yield from _samples(hdu.data_offset, hdu.data_size)


def _samples(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Evenly spaced blocks, or all if that is less."""
    if size <= _PIECES * _PIECE:
        yield offset, size
        return
    for number in range(_PIECES):
        yield offset + (size - _PIECE) * number // (_PIECES - 1), _PIECE


def _remote_change(given: ResourcePath, stored: ResourcePath) -> str | None:
    """How the headers of two files differ, one of them remote."""
    try:
        (size, beginning), (stored_size, stored_beginning) = _beginning(given), _beginning(stored)
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        text = str(error).strip() or type(error).__name__
        return f"it cannot be compared with the ingested file {stored} ({text.splitlines()[0]})"
    if beginning == stored_beginning and (size == stored_size or None in (size, stored_size)):
        return None
    return f"its content is not that of the ingested file {stored}"


def _beginning(uri: ResourcePath) -> tuple[int | None, bytes]:
    """Size of a file, if its server tells, and its first bytes."""
    with open_source(uri, sparse=True) as source:
        return source.size, source.read_at(0, _HEADERS)
