"""Coordinate systems of images, from the headers of their files."""

from __future__ import annotations

__all__ = ["Frame", "Unread", "read_files", "read_frame", "read_frames"]

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from astropy.wcs import NoConvergence

from spherex.fits import ProductError
from spherex.fits.hdus import scan_hdus
from spherex.fits.names import IMAGE
from spherex.fits.sources import open_source
from spherex.image import celestial_wcs, frame_origin

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

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
