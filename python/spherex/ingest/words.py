"""Numbers in messages."""

from __future__ import annotations

__all__ = ["Remark", "counted"]

from typing import NamedTuple


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
