"""Calibrations that a process keeps from one quantum to the next."""

from __future__ import annotations

__all__ = ["Kept"]

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Kept(Generic[_Value]):
    """The last few values of something that takes long to read.

    Parameters
    ----------
    most
        How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def get(self, key: Hashable, read: Callable[[], _Value]) -> _Value:
        """Return a value, and read it if it is not here.

        Parameters
        ----------
        key
            What identifies it for good, such as the UUID of a dataset.
        read
            Reads it.
        """
        if key not in self._values:
            self._values[key] = read()
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]
