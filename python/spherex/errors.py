"""Errors, and words on numbers in messages."""

from __future__ import annotations

__all__ = [
    "ArchiveNameError",
    "CatalogError",
    "DescriptionError",
    "FrameError",
    "IngestError",
    "ProductError",
    "Remark",
    "SearchError",
    "counted",
]

from typing import NamedTuple


class ProductError(ValueError):
    """A file is damaged, cut short, or not the product it should be.

    The message says what is wrong; who knows the file's address adds it.
    """


class Remark(NamedTuple):
    """What is to be said of files, after their number and "of them".

    Parameters
    ----------
    one
        Of one file.
    many
        Of several.
    """

    one: str
    many: str

    def of(self, number: int) -> str:
        """Return it with their number.

        Parameters
        ----------
        number
            How many they are.
        """
        return f"{number} of them {self.one if number == 1 else self.many}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Parameters
    ----------
    number
        How many they are.
    noun
        Word for one of them, of which the plural ends with s.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


class ArchiveNameError(ValueError):
    """Something is not a name or identifier of the archive. The message says what and why."""


class FrameError(ValueError):
    """The cards of a WCS are incomplete or make no sense."""


class DescriptionError(Exception):
    """A file cannot be ingested. The message says why and what to do."""


class IngestError(Exception):
    """An ingest cannot begin or go on. The message is one line for the user."""


class SearchError(Exception):
    """A search cannot be made. The message is one line for the user."""


class CatalogError(Exception):
    """A catalogue that cannot be used; the message is for its owner."""
