"""Ways of files into the datastore that need more than Butler.ingest."""

from __future__ import annotations

__all__ = ["is_copied", "store"]

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lsst.resources import ResourcePath

from .addresses import uri_of

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, FileDataset


def is_copied(butler: Butler, address: str, transfer: str | None) -> bool:
    """Tell whether a file takes its time to get into the datastore.

    Parameters
    ----------
    butler
        The repository.
    address
        Path or URI.
    transfer
        Transfer mode.

    Returns
    -------
    bool
        Whether its bytes are to be copied.
    """
    if transfer in ("copy", "move"):
        return True
    is_local = uri_of(address).isLocal
    if transfer == "auto" or (transfer is None and is_local):
        roots = butler.get_datastore_roots().values()
        return not (is_local and all(root is not None and root.isLocal for root in roots))
    return False


def store(butler: Butler, datasets: Sequence[FileDataset], transfer: str | None, track_file_attrs: bool) -> None:
    """Ingest files, within a transaction of the caller.

    A file that is to be moved is linked or copied here, and removed by
    `Mover` when the transaction is through: whenever the process
    dies, there is a file to go on with.

    Parameters
    ----------
    butler
        The repository.
    datasets
        The files.
    transfer
        Transfer mode; None for ``direct`` from afar and ``auto`` nearby.
    track_file_attrs
        Record the sizes of the files.
    """
    for mode, part in _parts(butler, datasets, transfer):
        butler.ingest(*part, transfer=mode, record_validation_info=track_file_attrs)


def _parts(
    butler: Butler, datasets: Sequence[FileDataset], transfer: str | None
) -> list[tuple[str, list[FileDataset]]]:
    """Files that can go into one call of `Butler.ingest`, with its mode."""
    if transfer not in ("auto", "move", None):
        return [(transfer, list(datasets))]
    roots = [root for root in butler.get_datastore_roots().values() if root is not None]
    parts: dict[tuple[str, bool], list[FileDataset]] = {}
    for dataset in datasets:
        uri = ResourcePath(dataset.path, forceAbsolute=False, forceDirectory=False)
        mode, is_inside = transfer or ("auto" if uri.isLocal else "direct"), False
        if mode == "auto":
            # A call with files both inside and outside of the datastore would
            # leave those outside where they are.
            is_inside = any(uri.relative_to(root) is not None for root in roots)
        elif mode == "move":
            mode = "hardlink" if _can_link(uri, roots) else "copy"
        parts.setdefault((mode, is_inside), []).append(dataset)
    return [(mode, part) for (mode, _), part in parts.items()]


def _can_link(uri: ResourcePath, roots: list[ResourcePath]) -> bool:
    """Whether a hard link into the datastore is possible and allowed."""
    if not uri.isLocal or len(roots) != 1 or not roots[0].isLocal:
        return False
    if os.path.islink(uri.ospath):
        # What it leads to stays where it is, and may be edited there.
        return False
    status = os.stat(uri.ospath)
    may_link = status.st_uid == os.geteuid() or os.access(uri.ospath, os.R_OK | os.W_OK)
    return may_link and status.st_dev == os.stat(roots[0].ospath).st_dev
