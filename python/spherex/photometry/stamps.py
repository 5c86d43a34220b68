"""Squares of pixels around targets, and the brightness in them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Number = TypeVar("_Number", bound=np.generic)


IN_ONE_GO = 256
"""Squares that are worked on at once: some ten Mbyte."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels of an image, or of a part of it, all of shape (rows, columns).

    Parameters
    ----------
    data
        Surface brightness.
    variance
        Its variance, in the square of the unit.
    is_bad
        Where a pixel must not be used.
    is_doubtful
        Where a pixel must not be used as background: it may hold the light of
        other sources, or of a particle.
    flags
        Flags of the file.
    origin
        Column and row of the whole frame where the part begins.
    """

    data: NDArray[np.floating]
    variance: NDArray[np.floating]
    is_bad: NDArray[np.bool_]
    is_doubtful: NDArray[np.bool_]
    flags: NDArray[np.integer]
    origin: tuple[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Stamps:
    """Squares of pixels, all of shape (n, side, side), rows first.

    Parameters
    ----------
    data, variance
        As of `Pixels`; 0 and 1 where a pixel cannot be used.
    is_good
        Where a pixel can be used.
    is_doubtful, flags
        As of `Pixels`.
    left, bottom
        First column and row of each in the whole frame, of shape (n,).
    """

    data: NDArray[np.float64]
    variance: NDArray[np.float64]
    is_good: NDArray[np.bool_]
    is_doubtful: NDArray[np.bool_]
    flags: NDArray[np.int64]
    left: NDArray[np.int64]
    bottom: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.data)

    @property
    def side(self) -> int:
        """Pixels along a side."""
        return self.data.shape[1]

    def distance(
        self, x: NDArray[np.float64], y: NDArray[np.float64], rows: NDArray[np.intp] | slice = slice(None)
    ) -> NDArray[np.float64]:
        """Return the distances of the pixels from a place for each stamp, in pixels of the whole frame.

        Parameters
        ----------
        x, y
            The places, of shape (k,).
        rows
            The stamp of each place; by default place and stamp have the same number.
        """
        across = self.left[rows, None] + np.arange(self.side) - x[:, None]
        up = self.bottom[rows, None] + np.arange(self.side) - y[:, None]
        return np.hypot(up[:, :, None], across[:, None, :])


def cut_stamps(pixels: Pixels, x: NDArray[np.float64], y: NDArray[np.float64], side: int) -> Stamps:
    """Cut squares around places.

    Parameters
    ----------
    pixels
        The image.
    x, y
        The places in pixels of the whole frame, from 0, of shape (n,).
    side
        Pixels along a side, an odd number. What hangs over the edge of the
        image cannot be used.
    """
    half = side // 2
    left, bottom = (np.rint(place).astype(np.int64) - half for place in (x, y))
    steps = np.arange(side)
    columns = (left - pixels.origin[0])[:, None] + steps
    rows = (bottom - pixels.origin[1])[:, None] + steps
    height, width = pixels.data.shape
    is_inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    is_whole = is_inside.all(axis=(1, 2))

    def cut(plane: NDArray[_Number]) -> NDArray[_Number]:
        """Return the squares in a plane; what hangs over its edge is anything."""
        squares = np.empty(is_inside.shape, plane.dtype)
        if is_whole.any():
            # Several times as fast as to look up each pixel.
            windows = np.lib.stride_tricks.sliding_window_view(plane, (side, side))
            squares[is_whole] = windows[rows[is_whole, 0], columns[is_whole, 0]]
        cropped = ~is_whole
        near = (rows[cropped].clip(0, height - 1)[:, :, None], columns[cropped].clip(0, width - 1)[:, None, :])
        squares[cropped] = plane[near]
        return squares

    data = cut(pixels.data).astype(np.float64)
    variance = cut(pixels.variance).astype(np.float64)
    is_good = is_inside & ~cut(pixels.is_bad) & np.isfinite(data) & np.isfinite(variance) & (variance > 0)
    return Stamps(
        data=np.where(is_good, data, 0.0),
        variance=np.where(is_good, variance, 1.0),
        is_good=is_good,
        is_doubtful=cut(pixels.is_doubtful),
        flags=np.where(is_inside, cut(pixels.flags), 0).astype(np.int64),
        left=left,
        bottom=bottom,
    )


def measure_brightness(
    pixels: Pixels, x: NDArray[np.float64], y: NDArray[np.float64], side: int
) -> NDArray[np.float64]:
    """Return the median of the good pixels in squares, in the unit of the image; NaN where there is none.

    Parameters
    ----------
    pixels
        The image, or the part of it around the places.
    x, y
        Centres of the squares in pixels of the whole frame, from 0, of shape (n,).
    side
        Pixels along a side, an odd number.
    """
    medians = np.full(len(x), np.nan)
    for begin in range(0, len(x), IN_ONE_GO):
        rows = np.arange(begin, min(begin + IN_ONE_GO, len(x)))
        stamps = cut_stamps(pixels, x[rows], y[rows], side)
        some = stamps.is_good.any(axis=(1, 2))
        good = np.where(stamps.is_good[some], stamps.data[some], np.nan)
        medians[rows[some]] = np.nanmedian(good, axis=(1, 2))
    return medians
