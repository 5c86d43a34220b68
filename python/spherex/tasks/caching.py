"""Caches of datasets, which the quanta of a process share.

In a process there may be several repositories, in notebooks for instance. A
dataset id alone does not stand for a content there: it may have been given by
the user, or follow from the data ID alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

from cachetools import LRUCache

_Value = TypeVar("_Value")
_Key = tuple[Hashable | None, Any]


class DatasetCache(LRUCache[_Key, _Value]):
    """Cache of what was read from datasets, those that were used last.

    It does not store what was read through a handle without a butler: nothing
    shows that another handle is for the same dataset.
    """

    def __setitem__(self, key: _Key, value: _Value, *args: Any) -> None:
        """Store a value, unless its repository is `None`."""
        if key[0] is not None:
            super().__setitem__(key, value, *args)


def repository_key(handle: Any) -> Hashable | None:
    """Return a key for the repository of a dataset.

    Parameters
    ----------
    handle
        Handle such as `lsst.daf.butler.DeferredDatasetHandle`.

    Returns
    -------
    key
        Names and roots of the datastores, which are cheap to find and the same
        for the butlers of all quanta. Where there is no root, such as in
        memory, the butler; `None` without a butler, as for
        `lsst.pipe.base.InMemoryDatasetHandle`.
    """
    butler = getattr(handle, "butler", None)
    if butler is None:
        return None
    roots = butler.get_datastore_roots()
    if not any(roots.values()):
        return butler
    return frozenset((name, str(root)) for name, root in roots.items())


def dataset_key(handle: Any, *_: Any) -> _Key:
    """Return a key of `DatasetCache` for a dataset.

    Parameters
    ----------
    handle
        Handle such as `lsst.daf.butler.DeferredDatasetHandle`.
    *_
        Further arguments of a cached function, which follow from the dataset.

    Returns
    -------
    repository, id
        See `repository_key`, and the UUID of the dataset; a handle without a
        butler does not have one.
    """
    repository = repository_key(handle)
    return repository, None if repository is None else handle.ref.id
