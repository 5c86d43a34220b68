"""Errors that a user can fix, and counted nouns for messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

__all__ = [
    "MOST_NAMES",
    "ArchiveNameError",
    "CatalogError",
    "DescriptionError",
    "FileNameError",
    "FrameError",
    "HeaderError",
    "IngestError",
    "NoRepositoryError",
    "ProductError",
    "ReadOnlyError",
    "RemoteError",
    "RepositoryError",
    "SearchError",
    "UserError",
    "counted",
    "did_you_mean",
    "first_line",
    "is_without_credentials",
    "short_cause",
    "without_secrets",
]


class UserError(Exception):
    """Error that the user can fix.

    The message is one line: what is wrong and where, what was expected, and
    what to do. Commands print it without a traceback.

    Examples
    --------
    >>> import spherex
    >>> try:
    ...     image = spherex.read("notes.txt")
    ... except spherex.UserError as error:
    ...     print(type(error).__name__)
    ProductError
    """

    def __str__(self) -> str:
        return without_secrets(super().__str__())


class ProductError(UserError, ValueError):
    """A file is damaged, truncated, or not the product that was expected.

    The code that knows the URI of the file puts it in front of the message.
    """


class ArchiveNameError(UserError, ValueError):
    """A text is not a name or an identifier of the archive."""


class FileNameError(UserError, ValueError):
    """A name cannot be a part of the names of files.

    The message continues "the name". The code that knows the kind of name
    puts it in front.
    """


class HeaderError(ProductError):
    """A header keyword is missing, or its value cannot be used."""


class FrameError(HeaderError):
    """The WCS keywords of a header are incomplete or contradictory."""


class DescriptionError(UserError):
    """A file cannot be ingested."""


class RemoteError(UserError, OSError):
    """A server cannot be asked for a file."""


class RepositoryError(UserError):
    """A repository cannot be opened, read or written, or does not fit."""


class NoRepositoryError(RepositoryError):
    """A path or URI is not that of a repository."""


class ReadOnlyError(RepositoryError):
    """A repository may not be written."""


class IngestError(UserError):
    """An ingest cannot start or continue."""


class SearchError(UserError):
    """A search cannot be made."""


class CatalogError(UserError):
    """A catalogue cannot be used."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "2 files".

    Parameters
    ----------
    number
        Number.
    noun
        Noun in the singular, whose plural ends with s.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(items: Sequence[object], total: int | None = None, *, most: int = 5, separator: str = ", ") -> str:
    """Return the first items of a list, and the number of the others.

    Parameters
    ----------
    items
        The items, or as many of them as are known.
    total
        Number of all; by default the items are all.
    most
        Number of items to name.
    separator
        Text between them.

    Examples
    --------
    >>> from spherex.errors import listed
    >>> listed("abcdefg", most=3)
    'a, b, c and 4 more'
    """
    others = (len(items) if total is None else total) - min(len(items), most)
    return separator.join(map(str, items[:most])) + (f" and {others} more" if others else "")


MOST_NAMES = 20_000
"""Largest number of names to compare with an unknown one, which takes a second."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question for the names that resemble an unknown one, with a blank before it.

    Parameters
    ----------
    name
        Name that is not known.
    known
        Names that are.

    Returns
    -------
    question
        Empty if none of them is similar.

    Examples
    --------
    >>> from spherex.errors import did_you_mean
    >>> did_you_mean("Strs", ["stars", "galaxies"])
    " Did you mean 'stars'?"
    """
    by_key = {other.casefold(): other for other in known}
    similar = difflib.get_close_matches(name.casefold(), by_key, n=2)
    return f" Did you mean {' or '.join(repr(by_key[key]) for key in similar)}?" if similar else ""


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error, without its full stop.

    Parameters
    ----------
    error
        The error. The name of its type stands for an empty message. One of
        botocore that does not say what to do gets a message of ours.
    """
    if is_without_credentials(error):
        return (
            "there are no AWS credentials; for a public bucket, such as the archive's, set AWS_NO_SIGN_REQUEST=YES in "
            "the environment"
        )
    # A KeyError quotes its message.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    return without_secrets(text.splitlines()[0].removesuffix(".")) if text else type(error).__name__


def short_cause(error: BaseException) -> str:
    """Return what is wrong in a few words, which are the same for all files with the same fault.

    Parameters
    ----------
    error
        The error. The message of its innermost cause that is one of this
        package does not name the file. Messages begin with what is wrong; what
        follows a colon, a semicolon or a bracket are the details.

    Examples
    --------
    >>> from spherex.errors import ProductError, short_cause
    >>> short_cause(ProductError("the file is cut short: it ends at byte 20000"))
    'the file is cut short'
    """
    while isinstance(error.__cause__, UserError):
        error = error.__cause__
    return _DETAILS.split(" ".join(str(error).split()), maxsplit=1)[0].removesuffix(".") or type(error).__name__


def is_without_credentials(error: BaseException) -> bool:
    """Return whether an error of botocore means that it found no credentials.

    Parameters
    ----------
    error
        The error.
    """
    # By name, because botocore takes long to import.
    return type(error).__name__ == "NoCredentialsError"


_DETAILS = re.compile(r"[:;] | \(")
_PASSWORD = re.compile(r"(?<=://)([^\s/?#@:]*):[^\s/?#@]*@")
_SIGNATURE = re.compile(
    r"(?<=[?&])((?:x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|signature|sig"
    r"|[\w-]*(?:token|password|passwd|secret|api_?key))=)[^\s&#;,'\"]*",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Return a text without the passwords and signatures of the URIs in it.

    Parameters
    ----------
    text
        Message or URI.
    """
    if "://" not in text:
        return text
    return _SIGNATURE.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))
