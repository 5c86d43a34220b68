"""What errors of the Butler and the system mean for the user of an ingest."""

from __future__ import annotations

__all__ = ["explain", "is_fatal"]

import errno
from collections.abc import Iterator

from lsst.daf.butler.registry import ConflictingDefinitionError

from .description import DescriptionError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_BY_ERRNO = {
    **dict.fromkeys(_NO_SPACE, "there is no space left; make room and give the same command again"),
    errno.EROFS: "the file system of the repository is read-only; ask its owner",
    errno.EXDEV: "it is on another file system than the repository, where no hard link reaches; use --transfer copy",
    errno.EPERM: "the file system does not allow it; use --transfer copy",
    errno.EACCES: "no permission; ask the owner of the file or of the repository",
    errno.ENOENT: "it has vanished since its header was read; check it and give the same command again",
}

_BY_DATABASE_TEXT = {
    "disk is full": _BY_ERRNO[errno.ENOSPC],
    "disk I/O error": "the disk of the database does not work or is full; check it and give the same command again",
    "readonly database": "the database of the repository is read-only; ask its owner",
    "database is locked": "another process writes to the repository; give the same command again when it is done",
    "UNIQUE constraint": "another record has the same name or number; check the names and ids in the header",
}

_FATAL_TEXTS = ("disk is full", "disk I/O error", "readonly database", "database is locked")


def is_fatal(error: BaseException) -> bool:
    """Whether no other file can succeed after this.

    Parameters
    ----------
    error
        Raised while something was written.

    Returns
    -------
    bool
        True for full disks, read-only media and databases out of reach.
    """
    return any(
        (isinstance(one, OSError) and one.errno in (*_NO_SPACE, errno.EROFS))
        or any(text in str(one) for text in _FATAL_TEXTS)
        for one in _chain(error)
    )


def explain(error: BaseException, apart_option: str = "--output-run") -> str:
    """One line for the user.

    Parameters
    ----------
    error
        Raised while something was written.
    apart_option
        Option that keeps datasets of equal data ID apart.

    Returns
    -------
    str
        What was wrong and what to do about it.
    """
    if isinstance(error, DescriptionError):
        return str(error)
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _BY_ERRNO:
            return _BY_ERRNO[one.errno]
        if isinstance(one, NotImplementedError) and "Transfer mode" in str(one):
            return "the datastore takes no files by that --transfer; use --transfer copy or auto"
        if isinstance(one, FileNotFoundError):
            return _BY_ERRNO[errno.ENOENT]
        for text, meaning in _BY_DATABASE_TEXT.items():
            if text in str(one):
                return meaning
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, ConflictingDefinitionError):
        return f"it contradicts what the repository has ({first}); choose another {apart_option}"
    return f"{type(error).__name__}: {first}; nothing of it was ingested"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
