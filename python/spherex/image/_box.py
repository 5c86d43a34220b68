"""Rectangles of pixels."""

from __future__ import annotations

__all__ = ["Box"]

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle of pixels, 0-based, with exclusive upper limits.

    Parameters
    ----------
    x0, x1
        Columns from ``x0`` up to but not including ``x1``.
    y0, y1
        Rows from ``y0`` up to but not including ``y1``.

    Raises
    ------
    ValueError
        If the rectangle is empty.
    """

    x0: int
    x1: int
    y0: int
    y1: int

    def __post_init__(self) -> None:
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise ValueError(f"{self} is empty: the upper limits are exclusive and must exceed the lower ones.")

    @classmethod
    def parse(cls, value: Box | Sequence[int]) -> Box:
        """Make a box of what a user gave.

        Parameters
        ----------
        value
            A box or the four integers x0, x1, y0, y1.

        Raises
        ------
        ValueError
            If ``value`` is neither.
        """
        if isinstance(value, cls):
            return value
        try:
            x0, x1, y0, y1 = (operator.index(limit) for limit in value)  # type: ignore[union-attr]
        except (TypeError, ValueError):
            raise ValueError(f"A box is four integers (x0, x1, y0, y1), not {value!r}.") from None
        return cls(x0, x1, y0, y1)

    @classmethod
    def from_slices(cls, item: object, shape: tuple[int, ...]) -> Box:
        """Make a box of an index expression.

        Parameters
        ----------
        item
            What stands between the brackets of ``image[...]``.
        shape
            Shape of the image, rows first.

        Raises
        ------
        IndexError
            If ``item`` is not made of slices with step 1.
        """
        items = item if isinstance(item, tuple) else (item,)
        items = items + (slice(None),) * (2 - len(items))
        if len(items) != 2 or not all(isinstance(one, slice) and one.step in (None, 1) for one in items):
            raise IndexError(f"An image is cut by up to two slices of step 1, not by {item!r}; use .data for the rest.")
        (y0, y1, _), (x0, x1, _) = (one.indices(size) for one, size in zip(items, shape, strict=True))
        return cls(x0, x1, y0, y1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the box."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index expression that cuts the box from an array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def shifted(self, columns: int, rows: int) -> Box:
        """Return the box moved by columns and rows."""
        return Box(self.x0 + columns, self.x1 + columns, self.y0 + rows, self.y1 + rows)

    def clipped(self, shape: Sequence[int]) -> Box:
        """Return the part of the box inside of an image.

        Parameters
        ----------
        shape
            Shape of the image, rows first.

        Raises
        ------
        ValueError
            If the box lies outside of the image.
        """
        rows, columns = shape[-2:]
        if self.x0 >= columns or self.y0 >= rows or self.x1 <= 0 or self.y1 <= 0:
            raise ValueError(f"{self} lies outside of the image of {rows} rows and {columns} columns.")
        return Box(max(self.x0, 0), min(self.x1, columns), max(self.y0, 0), min(self.y1, rows))

    def cut(self, pixels: np.ndarray, fill: Any = None) -> np.ndarray:
        """Return the box of an array: a view, or new memory where it hangs over the edge.

        Parameters
        ----------
        pixels
            Pixels, shape (rows, columns).
        fill
            Value of pixels outside; see `filled`.

        Raises
        ------
        ValueError
            If the box lies outside of the array.
        """
        inside = self.clipped(pixels.shape)
        return self.filled(pixels[inside.slices], inside, fill)

    def filled(self, part: np.ndarray, inside: Box, fill: Any = None) -> np.ndarray:
        """Return all pixels of the box, of which some are known.

        Parameters
        ----------
        part
            The pixels that are known.
        inside
            Where they are: a box inside of this one.
        fill
            Value of the others; by default NaN, of integers 0.
        """
        if inside == self:
            return part
        if fill is None:
            fill = np.nan if part.dtype.kind in "fc" else 0
        whole = np.full(self.shape, fill, part.dtype)
        whole[inside.y0 - self.y0 : inside.y1 - self.y0, inside.x0 - self.x0 : inside.x1 - self.x0] = part
        return whole
