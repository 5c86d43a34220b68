"""Removal of originals that are to be moved, and what forbids it."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lsst.resources import ResourcePath

from .locations import uri_of

if TYPE_CHECKING:
    from lsst.daf.butler import Butler


class Mover:
    """Removes originals once the datastore has them, as ``mv`` would.

    Of a link, only the link is removed. What another dataset may need is left
    where it is.

    Parameters
    ----------
    butler
        The repository.
    """

    def __init__(self, butler: Butler) -> None:
        self._butler = butler
        roots = [root for root in butler.get_datastore_roots().values() if root is not None]
        self._roots = [_resolved(root) for root in roots]
        self._owners: dict[str, set[object]] = {}

    def look_up(self, addresses: Iterable[str]) -> None:
        """Find out which of these files are datasets as they are, by one query.

        Parameters
        ----------
        addresses
            Paths or URIs of originals.
        """
        # Only the datastore knows; a search of all datasets would take minutes.
        # Before anything was written, it has no table that could be asked.
        datastore = self._butler._datastore
        find = getattr(datastore, "_refs_associated_with_artifacts", None)
        self._owners = {}
        if find is not None and hasattr(datastore, "_table"):
            self._owners = find({name for address in addresses for name in _names(address)})

    def obstacle(self, address: str, dataset_id: object) -> str | None:
        """Tell what forbids to remove an original.

        Parameters
        ----------
        address
            Path or URI of the original, which `look_up` was asked for.
        dataset_id
            Id of the dataset that it is or becomes.

        Returns
        -------
        str or None
            What forbids it, if anything.
        """
        entry = _entry(uri_of(address))
        if self._is_inside(entry):
            return "it lies in the datastore"
        if any(self._owners.get(name, set()) - {dataset_id} for name in _names(address)):
            return "it is the file of another dataset in the repository"
        if entry.isLocal and not os.access(os.path.dirname(entry.ospath), os.W_OK):
            return "its directory is write-protected"
        return None

    def is_needed(self, address: str, stored: ResourcePath) -> bool:
        """Tell whether the datastore does nothing but point to an original.

        Parameters
        ----------
        address
            Path or URI of the original.
        stored
            Where the datastore has it.

        Returns
        -------
        bool
            True also where that cannot be excluded.
        """
        entry = _entry(uri_of(address))
        if entry == _entry(stored):
            return True
        if not (entry.isLocal and stored.isLocal):
            # One object in a bucket may have two addresses.
            return not self._is_inside(stored)
        is_pointer = os.path.islink(stored.ospath) or not self._is_inside(stored)
        return is_pointer and os.path.realpath(entry.ospath) == os.path.realpath(stored.ospath)

    def remove(self, address: str, stored: ResourcePath, is_fresh: bool) -> str | None:
        """Finish the move of a file that is safe in the datastore.

        Parameters
        ----------
        address
            Path or URI of the original.
        stored
            Where the datastore has it.
        is_fresh
            Whether it was put there just now. Otherwise the two are compared,
            byte by byte.

        Returns
        -------
        str or None
            Why the original was left where it is, if that needs attention.
        """
        try:
            if not is_fresh and not _are_equal(uri_of(address), stored):
                return f"it is not the same as the ingested file {stored}, so it was not removed; compare them"
            uri_of(address).remove()
        except Exception as error:
            # Remote back ends raise errors of many libraries.
            reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
            return f"it was ingested but cannot be removed ({reason.splitlines()[0]}); remove it yourself"
        return None

    def _is_inside(self, uri: ResourcePath) -> bool:
        entry = _entry(uri)
        return any(entry.relative_to(root) is not None for root in self._roots)


def _names(address: str) -> set[str]:
    """Names by which the datastore may know a file outside of it."""
    uri = uri_of(address)
    return {str(uri), str(_entry(uri))}


def _entry(uri: ResourcePath) -> ResourcePath:
    """Address of the entry in its directory, without links on the way to it."""
    return _resolved(uri.dirname()).join(uri.basename(), forceDirectory=False) if uri.isLocal else uri


def _resolved(directory: ResourcePath) -> ResourcePath:
    if not directory.isLocal:
        return directory
    return ResourcePath(os.path.realpath(directory.ospath), forceDirectory=True)


def _are_equal(one: ResourcePath, other: ResourcePath) -> bool:
    with one.as_local() as ours, other.as_local() as theirs:
        is_same = os.path.samefile(ours.ospath, theirs.ospath)
        return is_same or filecmp.cmp(ours.ospath, theirs.ospath, shallow=False)
