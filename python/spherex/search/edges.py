"""Positions near the edges of frames, judged by coordinate systems from headers."""

from __future__ import annotations

__all__ = ["Settlement", "read_exactly", "settle"]

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spherex.geometry.pixels import depths_of, directions_at

from .frames import Frame, Unread, read_frames

if TYPE_CHECKING:
    from lsst.daf.butler import Butler
    from numpy.typing import NDArray

    from .candidates import Candidates
    from .criteria import Criteria

_FEW = 8
"""Number of images of one detector and run whose headers are read without more ado."""

_STEADY = 0.5
"""How far the distortions of a detector may differ between exposures of a run (pixels).

In the samples of Quick Release 1, taken in one month, they do by 0.09.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Settlement:
    """What headers told.

    Parameters
    ----------
    pixels
        Pixels of the whole frame at the position, of shape (n, 2).
    frames
        Coordinate systems of the files that were read, by row.
    problems
        Why files could not be read.
    """

    pixels: NDArray[np.float64]
    frames: dict[int, Frame]
    problems: list[str]


def settle(
    butler: Butler,
    criteria: Criteria,
    candidates: Candidates,
    pixels: NDArray[np.float64],
    rows: NDArray[np.intp],
    *,
    reach: NDArray[np.float64],
    shape: tuple[int, int],
    threads: int,
) -> Settlement:
    """Find the exact pixels of images near whose edges the position is.

    Where there are many of one detector and run, the header of one of them
    gives the distortions of all, and only those are read that are then still
    in doubt. Each run may have been processed with distortions of its own.

    Parameters
    ----------
    butler
        The repository.
    criteria
        Has the position.
    candidates, pixels
        All images, and the pixels that the corners of their frames give.
    rows
        Those that are in doubt.
    reach
        How far from each frame the position may be (pixels).
    shape
        Number of pixels of a frame along x and y.
    threads
        Number of remote files that are read at the same time.

    Returns
    -------
    settlement
        All pixels, those in doubt replaced.
    """
    settlement = Settlement(pixels.copy(), {}, [])
    groups = dict.fromkeys(zip(candidates.detector[rows].tolist(), candidates.runs[rows].tolist(), strict=True))
    for detector, run in groups:
        some = rows[(candidates.detector[rows] == detector) & (candidates.runs[rows] == run)]
        if len(some) > _FEW:
            reference = int(some[len(some) // 2])
            read_exactly(butler, criteria, candidates, [reference], settlement, threads)
            frame = settlement.frames.get(reference)
            if frame is not None:
                others = some[some != reference]
                settlement.pixels[others] = _distorted(frame, candidates.corners[reference], pixels[others], shape)
                depths = depths_of(settlement.pixels[others], shape) + reach[others]
                # What is not a number is in doubt, too.
                some = others[~(np.abs(depths) > _STEADY)]
        read_exactly(butler, criteria, candidates, some.tolist(), settlement, threads)
    return settlement


def read_exactly(
    butler: Butler,
    criteria: Criteria,
    candidates: Candidates,
    rows: Sequence[int],
    settlement: Settlement,
    threads: int,
) -> None:
    """Read the headers of images, and enter into a settlement what they tell."""
    addresses = candidates.take(np.array(rows, np.intp)).addresses(butler)
    for row, frame in zip(rows, read_frames(addresses, threads), strict=True):
        if isinstance(frame, Unread):
            settlement.problems.append(frame)
            continue
        settlement.frames[row] = frame
        (exact,) = frame.pixels_at(np.array([criteria.ra]), np.array([criteria.dec]))
        if np.isfinite(exact).all():
            settlement.pixels[row] = exact


def _distorted(
    frame: Frame, corners: NDArray[np.float64], pixels: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the pixels that the distortions of another exposure make of undistorted ones."""
    x, y, z = directions_at(corners, pixels, shape).T
    return frame.pixels_at(np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(np.clip(z, -1, 1))))
