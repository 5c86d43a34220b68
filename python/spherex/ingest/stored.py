"""Originals that can be removed because the datastores contain their content."""

from __future__ import annotations

import collections
import contextlib
import filecmp
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from lsst.daf.butler import CollectionType
from lsst.resources import ResourcePath

from spherex.errors import DescriptionError
from spherex.repository import RecordedFile, owners_of, recorded_files

from .locations import resource_path

if TYPE_CHECKING:
    import uuid

    from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, DimensionGroup

_MOST_LINKS = 40
"""Links that follow each other; the limit of Linux."""

_Place = tuple[object, ...]
"""What identifies the name of a file: the directory on its device and the name
in it, or the bucket and the key. Bind mounts and links to directories give a
directory several paths, but one place.
"""


class UnsafeOriginalError(Exception):
    """An original that has to stay. The message gives the reason."""


class StoredOriginals:
    """Check that the content of originals does not depend on the originals.

    Parameters
    ----------
    butler
        The repository.
    """

    def __init__(self, butler: Butler) -> None:
        self._butler = butler
        self._roots = {name: root for name, root in butler.get_datastore_roots().items() if root is not None}
        self._root_places = {_directory(root) for root in self._roots.values()}
        self._are_inside: dict[str, bool] = {}
        self._files: dict[uuid.UUID, list[RecordedFile]] = {}
        self._users: dict[_Place, set[uuid.UUID]] = {}
        self._unknown: dict[DataCoordinate, str] = {}

    def load(self, originals: Sequence[tuple[str, DatasetRef]]) -> None:
        """Get what the repository records of originals and of datasets that may point to them.

        Parameters
        ----------
        originals
            Path or URI of each original, and its dataset.

        Raises
        ------
        IngestError
            Raised if this version of daf_butler does not show it.
        """
        refs = [ref for _, ref in originals]
        datasets = {ref.id: ref for ref in [*refs, *self._with_same_data_ids(refs)]}
        self._files = recorded_files(self._butler, list(datasets.values()))
        self._users = collections.defaultdict(set)
        self._unknown = {}
        for dataset_id, files in self._files.items():
            for file in files:
                uri, _ = self._uri(file)
                try:
                    for place in _places(uri):
                        self._users[place].add(dataset_id)
                except OSError as error:
                    self._unknown[datasets[dataset_id].dataId] = f"{uri} ({error.strerror or error})"
        # Datasets of other data IDs are found by the URI that they record.
        uris = {name: resource_path(location) for location, _ in originals for name in _names(resource_path(location))}
        for name, owners in owners_of(self._butler, uris).items():
            # The check of the original reports that its directory cannot be examined.
            with contextlib.suppress(OSError):
                self._users[_place(uris[name])] |= owners

    def check(self, location: str, ref: DatasetRef) -> None:
        """Check that an original can be removed.

        Parameters
        ----------
        location
            Path or URI of the original, which was loaded.
        ref
            Its dataset.

        Raises
        ------
        UnsafeOriginalError
            Raised if a dataset needs it, or if that cannot be excluded.
        DescriptionError
            Raised if the stored content is another one, or if a file of
            another dataset cannot be examined, which perhaps points to the
            original.
        """
        original = resource_path(location)
        if not location.isprintable():
            raise UnsafeOriginalError("its name contains characters that a list cannot show")
        try:
            if self._is_inside(original.dirname()):
                raise UnsafeOriginalError("it lies in the datastore")
            users = self._users.get(_place(original), set())
            files = self._files.get(ref.id, [])
            if ref.id in users or not files:
                raise UnsafeOriginalError("the repository points to it and has no copy")
            if users:
                raise UnsafeOriginalError("another dataset of the repository points to it")
            if ref.dataId in self._unknown:
                raise DescriptionError(
                    "the repository has another dataset, whose file may be this one: "
                    f"{self._unknown[ref.dataId]}; make that directory readable and run the command again"
                )
            for file in files:
                self._compare(original, file)
        except OSError as error:
            raise UnsafeOriginalError(f"it cannot be examined ({error.strerror or error})") from error

    def _compare(self, original: ResourcePath, file: RecordedFile) -> None:
        """Compare an original with the file of a datastore, byte by byte."""
        stored, is_inside = self._uri(file)
        is_copy = is_inside and not (stored.isLocal and not stat.S_ISREG(os.lstat(stored.ospath).st_mode))
        if not is_copy:
            raise UnsafeOriginalError("the repository points to it and has no copy")
        if original.isLocal and stored.isLocal and os.path.samefile(original.ospath, stored.ospath):
            # Two hard links, unless one name is seen in two ways.
            if os.lstat(original.ospath).st_nlink > 1 or os.path.islink(original.ospath):
                return
            raise UnsafeOriginalError("the repository points to it and has no copy")
        try:
            with original.as_local() as ours, stored.as_local() as theirs:
                is_equal = filecmp.cmp(ours.ospath, theirs.ospath, shallow=False)
        except OSError:
            raise
        except Exception as error:
            # Remote back ends raise errors of many libraries.
            raise UnsafeOriginalError(f"it cannot be compared with the stored file ({type(error).__name__})") from error
        if not is_equal:
            raise DescriptionError(f"its content differs from the stored file {stored}; compare the two")

    def _with_same_data_ids(self, refs: Collection[DatasetRef]) -> list[DatasetRef]:
        """Find the datasets of other runs and types that were perhaps made from the same files."""
        data_ids: dict[DimensionGroup, set[DataCoordinate]] = collections.defaultdict(set)
        for ref in refs:
            data_ids[ref.datasetType.dimensions].add(ref.dataId)
        runs = self._butler.collections.query("*", collection_types=CollectionType.RUN)
        found: list[DatasetRef] = []
        for dataset_type in self._butler.registry.queryDatasetTypes(...):
            wanted = data_ids.get(dataset_type.dimensions)
            if wanted:
                with self._butler.query() as query:
                    found += query.join_data_coordinates(wanted).datasets(dataset_type, runs, find_first=False)
        return found

    def _uri(self, file: RecordedFile) -> tuple[ResourcePath, bool]:
        """Return the URI of a recorded file, and whether it lies in the datastore."""
        uri = ResourcePath(file.path, forceAbsolute=False, forceDirectory=False)
        if uri.isabs():
            return uri, False
        return self._roots[file.datastore].join(file.path, forceDirectory=False), True

    def _is_inside(self, directory: ResourcePath) -> bool:
        """Whether a directory is, or lies below, the root of a datastore."""
        key = str(directory)
        if key not in self._are_inside:
            parent = directory.parent()
            if directory.isLocal:
                parent = ResourcePath(os.path.dirname(os.path.realpath(directory.ospath)), forceDirectory=True)
            self._are_inside[key] = _directory(directory) in self._root_places or (
                parent.path != directory.path and self._is_inside(parent)
            )
        return self._are_inside[key]


def _names(uri: ResourcePath) -> set[str]:
    """Return the URIs by which a datastore may record a file outside of it."""
    if not uri.isLocal:
        return {str(uri)}
    directory, name = os.path.split(uri.ospath)
    return {str(uri), str(resource_path(os.path.join(os.path.realpath(directory), name)))}


def _places(uri: ResourcePath) -> Iterator[_Place]:
    """Yield the place of a file, and those of all that it links to."""
    yield _place(uri)
    if uri.isLocal:
        path = uri.ospath
        for _ in range(_MOST_LINKS):
            try:
                is_link = stat.S_ISLNK(os.lstat(path).st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return
            if not is_link:
                return
            path = os.path.join(os.path.realpath(os.path.dirname(path)), os.readlink(path))
            yield _place(ResourcePath(path, forceDirectory=False))


def _place(uri: ResourcePath) -> _Place:
    return (*_directory(uri.dirname()), uri.basename())


def _directory(uri: ResourcePath) -> _Place:
    if not uri.isLocal:
        # The profile before an @ says who asks, not where the bucket is.
        return uri.netloc.rpartition("@")[2], uri.path.strip("/")
    try:
        status = os.stat(uri.ospath)
    except (FileNotFoundError, NotADirectoryError):
        return (os.path.realpath(uri.ospath),)
    return status.st_dev, status.st_ino
