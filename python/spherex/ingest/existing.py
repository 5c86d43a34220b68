"""Comparison of files with the datasets that exist already."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from lsst.daf.butler import CollectionType, MissingDatasetTypeError
from lsst.resources import ResourcePath

from spherex.errors import DescriptionError, ProductError, first_line
from spherex.fits import open_source, scan_hdus
from spherex.repository import recorded_files

from .locations import resource_path

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, DatasetType

    from spherex.fits import ByteSource


_PIECE = 2880
_PIECES = 8
"""Number of samples of the data of each HDU."""
_HEADERS = 15 * _PIECE
"""Bytes that are compared where one of two files is remote: more than the
headers of a Level 2 image up to its first pixels.
"""


DatasetPlace = tuple[str, str, "DataCoordinate"]
"""Name of the dataset type, run and data ID: a repository has at most one dataset there."""


def place_of(ref: DatasetRef) -> DatasetPlace:
    """Return dataset type, run and data ID of a dataset.

    Parameters
    ----------
    ref
        The dataset.
    """
    return ref.datasetType.name, ref.run, ref.dataId


@dataclasses.dataclass(frozen=True, slots=True)
class ExistingDataset:
    """Dataset in the repository, with its file.

    Parameters
    ----------
    ref
        The dataset.
    uri
        URI of the file; None if it was removed (``butler prune-datasets
        --unstore``).
    size
        Size of the file as recorded (bytes); negative if it was not recorded.
    """

    ref: DatasetRef
    uri: ResourcePath | None
    size: int


def find_existing(butler: Butler, refs: Iterable[DatasetRef]) -> dict[DatasetPlace, ExistingDataset]:
    """Find the datasets that are in the repository, by a few queries for all.

    They are found by dataset type, run and data ID, whatever their id is.

    Parameters
    ----------
    butler
        The repository.
    refs
        Datasets to look for.

    Returns
    -------
    dict [ DatasetPlace, ExistingDataset ]
        Existing datasets.
    """
    by_type: dict[DatasetType, list[DatasetRef]] = {}
    for ref in refs:
        by_type.setdefault(ref.datasetType, []).append(ref)
    found: list[DatasetRef] = []
    if by_type:
        runs = set(butler.collections.query("*", collection_types=CollectionType.RUN))
        for dataset_type, group in by_type.items():
            found += _find_datasets(butler, dataset_type, group, runs)
    if not found:
        return {}
    uris = butler.get_many_uris(found, predict=False, allow_missing=True)
    # Recorded sizes are the only cheap sign that a file was changed that the
    # repository merely points to.
    files = recorded_files(butler, list(uris))
    return {
        place_of(ref): ExistingDataset(
            ref,
            uris[ref].primaryURI if ref in uris else None,
            files[ref.id][0].size if ref.id in files else -1,
        )
        for ref in found
    }


def _find_datasets(
    butler: Butler, dataset_type: DatasetType, refs: Collection[DatasetRef], runs: Collection[str]
) -> Iterator[DatasetRef]:
    """Yield the datasets of one type that have the places of given ones."""
    places = {place_of(ref) for ref in refs}
    # In a dry run neither the runs nor the dataset type need to exist.
    searched = sorted({ref.run for ref in refs}.intersection(runs))
    if not searched:
        return
    with butler.query() as query:
        try:
            query = query.join_data_coordinates({ref.dataId for ref in refs})
            found = list(query.datasets(dataset_type.name, searched, find_first=False))
        except MissingDatasetTypeError:
            return
    yield from (ref for ref in found if place_of(ref) in places)


def check_unchanged(uri: str, size: int | None, existing: ExistingDataset) -> None:
    """Check that a file is the one that was ingested, unless that was removed.

    Its size is compared with the recorded one. If it is not the very file that
    the repository has, more is compared: of two local files all headers, and
    of the data of each HDU eight blocks of 2880 bytes, the first and the last
    among them; otherwise the sizes and the first 43200 bytes.

    Parameters
    ----------
    uri
        URI or local path of the file.
    size
        Size of the file (bytes), None if its server does not report it.
    existing
        Dataset of the same place.

    Raises
    ------
    DescriptionError
        Raised if a difference was found, or if that cannot be excluded.
    """
    if size is not None and existing.size >= 0 and size != existing.size:
        raise DescriptionError(f"it has {size} bytes, but the ingested file had {existing.size}")
    given, stored = resource_path(uri), existing.uri
    if stored is None:
        return
    if given.isLocal and stored.isLocal:
        try:
            is_same = os.path.samefile(given.ospath, stored.ospath)
        except OSError:
            raise DescriptionError(
                f"it was ingested before, but its file {stored.ospath} is missing or cannot be reached"
            ) from None
        if not is_same:
            with open_source(given.ospath, sparse=True) as ours, open_source(stored.ospath, sparse=True) as theirs:
                is_same = ours.size == theirs.size and all(
                    ours.read_at(offset, length) == theirs.read_at(offset, length) for offset, length in _places(ours)
                )
        if not is_same:
            raise DescriptionError(f"its content is not that of the ingested file {stored.ospath}")
    elif given != stored:
        try:
            (size, beginning), (stored_size, stored_beginning) = _beginning(given), _beginning(stored)
        except Exception as error:
            # Remote back ends raise errors of many libraries.
            raise DescriptionError(
                f"it cannot be compared with the ingested file {stored} ({first_line(error)})"
            ) from error
        if beginning != stored_beginning or (size != stored_size and None not in (size, stored_size)):
            raise DescriptionError(f"its content is not that of the ingested file {stored}")


def _places(source: ByteSource) -> Iterator[tuple[int, int]]:
    """Yield offsets and sizes of the parts that are compared."""
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
    """Yield evenly spaced blocks, or all if that is less."""
    if size <= _PIECES * _PIECE:
        yield offset, size
        return
    for number in range(_PIECES):
        yield offset + (size - _PIECE) * number // (_PIECES - 1), _PIECE


def _beginning(uri: ResourcePath) -> tuple[int | None, bytes]:
    """Return the size of a file, None if its server does not report it, and its first bytes."""
    with open_source(uri, sparse=True) as source:
        return source.size, source.read_at(0, _HEADERS)
