"""Flags of single pixels of many images."""

from __future__ import annotations

__all__ = ["read_flags"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spherex.fits.arrays import read_array
from spherex.fits.flag_cards import flag_table_of
from spherex.fits.hdus import scan_hdus
from spherex.fits.names import FLAGS
from spherex.fits.sources import open_source
from spherex.image import Box

from .frames import Unread, read_files

if TYPE_CHECKING:
    from lsst.resources import ResourcePath

NONE = "-"
"""Stands for a pixel without flags."""


def read_flags(
    addresses: Sequence[ResourcePath], pixels: Sequence[tuple[int, int]], threads: int
) -> list[str | Unread | None]:
    """Read the flags that one pixel of each image has set.

    Parameters
    ----------
    addresses
        Files of the images.
    pixels
        Column and row of a pixel in each file, 0-based.
    threads
        Number of remote files that are read at the same time.

    Returns
    -------
    names
        Names with commas between them, `NONE` if there are none; None if the
        image has no flags at all; why it cannot be read.
    """
    return read_files(_flags_of, addresses, pixels, threads=threads)


def _flags_of(address: ResourcePath, pixel: tuple[int, int]) -> str | None:
    x, y = pixel
    with open_source(address, sparse=True) as source:
        hdu = next((hdu for hdu in scan_hdus(source, last=FLAGS) if hdu.name == FLAGS), None)
        if hdu is None:
            return None
        ((value,),) = np.asarray(read_array(source, hdu, Box(x, x + 1, y, y + 1))).tolist()
    names = [name for name, bit in flag_table_of(hdu.header_bytes).items() if value >> bit & 1]
    return ",".join(names) or NONE
