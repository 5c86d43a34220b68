"""Pixels of images at a position, from the headers of their files."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from astropy.wcs import NoConvergence

from spherex.errors import ProductError
from spherex.fits import IMAGE, open_source, scan_hdus
from spherex.geometry import depths_of, directions_at
from spherex.image import celestial_wcs, frame_origin

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from lsst.daf.butler import Butler
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from .candidates import Candidates
    from .criteria import Criteria


Answer = TypeVar("Answer")


class Unread(str):
    """Why a file cannot be read."""


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """Where the pixels of a file look.

    Parameters
    ----------
    wcs
        Celestial coordinates of the pixels of the file.
    origin
        0-based x and y in the whole frame of the first pixel of the file.
    shape
        Number of pixels of the file along x and y.
    """

    wcs: WCS
    origin: tuple[float, float]
    shape: tuple[int, int]

    def pixels_at(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return pixels of the whole frame at positions.

        Parameters
        ----------
        ra, dec
            Positions, ICRS (deg), of shape (n,).

        Returns
        -------
        pixels
            0-based x and y, of shape (n, 2); NaN where the distortions cannot
            be inverted, far outside of the frame.
        """
        try:
            x, y = self.wcs.world_to_pixel_values(ra, dec)
        except NoConvergence as error:
            best = np.array(error.best_solution)
            bad = np.zeros(len(best), bool)
            for rows in (error.divergent, error.slow_conv):
                if rows is not None:
                    bad[rows] = True
            best[bad] = np.nan
            x, y = best.T
        return np.column_stack([x, y]) + self.origin


def read_frame(address: ResourcePath) -> Frame:
    """Read the coordinate system of an image; of a remote file a few ranges.

    Raises
    ------
    ProductError
        Raised if the file is damaged or has no celestial coordinates.
    OSError
        Raised if it cannot be read.
    """
    with open_source(address, sparse=True) as source:
        hdu = next((hdu for hdu in scan_hdus(source, last=IMAGE) if hdu.name == IMAGE), None)
    if hdu is None:
        raise ProductError(f"it has no HDU {IMAGE}")
    wcs = celestial_wcs(hdu.header)
    if wcs is None:
        raise ProductError("its header has no celestial coordinate system")
    rows, columns = hdu.image_shape
    return Frame(wcs, frame_origin(hdu.header), (columns, rows))


def read_frames(addresses: Sequence[ResourcePath], threads: int) -> list[Frame | Unread]:
    """Read the coordinate systems of images.

    Parameters
    ----------
    addresses
        Files.
    threads
        Number of remote files that are read at the same time.

    Returns
    -------
    frames
        For each file its frame, or why it cannot be read.
    """
    return read_files(read_frame, addresses, threads=threads)


def read_files(
    read: Callable[..., Answer], addresses: Sequence[ResourcePath], *more: Sequence[Any], threads: int
) -> list[Answer | Unread]:
    """Read something of many files.

    Parameters
    ----------
    read
        Reads it; gets the address of a file and the further arguments.
    addresses
        Files.
    more
        Sequences of further arguments, one for each file.
    threads
        Number of remote files that are read at the same time.

    Returns
    -------
    answers
        What was read of each file, or why it cannot be read.
    """
    work = functools.partial(_tried, read)
    # Local files cost processor time, of which threads have no more.
    if threads == 1 or all(address.isLocal for address in addresses):
        return list(map(work, addresses, *more))
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, addresses, *more))


def _tried(read: Callable[..., Answer], address: ResourcePath, *arguments: Any) -> Answer | Unread:
    try:
        return read(address, *arguments)
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        text = str(error).strip() or type(error).__name__
        return Unread(f"{address} cannot be read: {text.splitlines()[0]}")


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
