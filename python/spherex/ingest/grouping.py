"""Files that belong together, and files that exclude each other."""

from __future__ import annotations

__all__ = ["Found", "batches", "by_dataset", "is_copy", "is_same_file", "portions"]

import filecmp
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from .addresses import uri_of

if TYPE_CHECKING:
    from .batch import DescribedFile
    from .description import DatasetKey, FileKey

_COPIED_AT_ONCE = 4 * 2**30
"""Bytes that are copied in a transaction, more only if one exposure has more."""

Found = tuple["FileKey", str]
"""A file that was found: where it belongs, and its address."""


def batches(found: list[Found], size: int) -> Iterator[list[Found]]:
    """Cut a sorted list between exposures.

    Parameters
    ----------
    found
        Files, those of an exposure together.
    size
        Largest number of files in a batch, more only if one exposure has more.

    Yields
    ------
    list [ tuple [ FileKey, str ] ]
        Files of whole exposures.
    """
    batch: list[Found] = []
    for _, group in itertools.groupby(found, key=lambda item: item[0].group):
        files = list(group)
        if batch and len(batch) + len(files) > size:
            yield batch
            batch = []
        batch.extend(files)
    if batch:
        yield batch


def portions(
    files: Iterable[DescribedFile], is_copied: Callable[[DescribedFile], bool]
) -> Iterator[list[DescribedFile]]:
    """Cut a batch further where a transaction would copy for very long.

    Parameters
    ----------
    files
        Files, those of an exposure together.
    is_copied
        Whether the bytes of a file are to be copied.

    Yields
    ------
    list [ DescribedFile ]
        Files of whole exposures.
    """
    portion: list[DescribedFile] = []
    size = 0
    for _, group in itertools.groupby(files, key=lambda file: file.group):
        if size > _COPIED_AT_ONCE:
            yield portion
            portion, size = [], 0
        for file in group:
            portion.append(file)
            size += (file.size or 0) if is_copied(file) else 0
    if portion:
        yield portion


def by_dataset(files: Iterable[DescribedFile]) -> dict[DatasetKey, list[DescribedFile]]:
    """Sort files by the dataset that they become.

    Parameters
    ----------
    files
        The files.

    Returns
    -------
    dict [ DatasetKey, list [ DescribedFile ] ]
        Files of each dataset.
    """
    twins: dict[DatasetKey, list[DescribedFile]] = {}
    for file in files:
        twins.setdefault(file.description.dataset, []).append(file)
    return twins


def is_same_file(one: str, other: str) -> bool:
    """Whether two addresses lead to one local file.

    Parameters
    ----------
    one, other
        Paths or URIs.

    Returns
    -------
    bool
        False also if one of them does not exist.
    """
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def is_copy(one: str, other: str) -> bool:
    """Whether two local files have the same bytes.

    Parameters
    ----------
    one, other
        Paths or URIs.

    Returns
    -------
    bool
        False also if one of them is remote or cannot be read.
    """
    ours, theirs = uri_of(one), uri_of(other)
    try:
        return ours.isLocal and theirs.isLocal and filecmp.cmp(ours.ospath, theirs.ospath, shallow=False)
    except OSError:
        return False
