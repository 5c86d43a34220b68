"""Keys of caches of datasets, which the quanta of a process share.

In a process there may be several repositories, in notebooks for instance. A
dataset id alone does not stand for a content there: it may have been given by
the user, or follow from the data ID alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


def repository_key(handle: Any) -> Hashable:
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
        memory, the butler; without a butler a key that no other one equals.
    """
    butler = getattr(handle, "butler", None)
    if butler is None:
        return object()
    roots = butler.get_datastore_roots()
    if not any(roots.values()):
        return butler
    return frozenset((name, str(root)) for name, root in roots.items())


def dataset_key(handle: Any, *_: Any) -> Hashable:
    """Return a key for a dataset.

    Parameters
    ----------
    handle
        Handle such as `lsst.daf.butler.DeferredDatasetHandle`.
    *_
        Further arguments of a cached function, which follow from the dataset.
    """
    return repository_key(handle), handle.ref.id
