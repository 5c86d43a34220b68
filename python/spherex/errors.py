"""Errors that a user can fix, and counted nouns for messages."""

from __future__ import annotations

__all__ = [
    "ArchiveNameError",
    "CatalogError",
    "DescriptionError",
    "FrameError",
    "HeaderError",
    "IngestError",
    "ProductError",
    "RepositoryError",
    "SearchError",
    "UserError",
    "counted",
    "first_line",
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


class ProductError(UserError, ValueError):
    """A file is damaged, truncated, or not the product that was expected.

    The code that knows the URI of the file puts it in front of the message.
    """


class ArchiveNameError(UserError, ValueError):
    """A text is not a name or an identifier of the archive."""


class HeaderError(ProductError):
    """A header keyword is missing, or its value cannot be used."""


class FrameError(HeaderError):
    """The WCS keywords of a header are incomplete or contradictory."""


class DescriptionError(UserError):
    """A file cannot be ingested."""


class RepositoryError(UserError):
    """A repository cannot be opened, read or written, or does not fit."""


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


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error, without its full stop.

    Parameters
    ----------
    error
        The error. The name of its type stands for an empty message.
    """
    # A KeyError quotes its message.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    return text.splitlines()[0].removesuffix(".") if text else type(error).__name__
