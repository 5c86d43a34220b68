"""Pixels of an HDU, the whole or only those inside of a box."""

from __future__ import annotations

__all__ = ["DTYPES", "array_header", "hdu_bytes", "read_array"]

import io

import numpy as np
from astropy.io import fits

from ..image import Box
from .errors import ProductError
from .hdus import BLOCK, HDUInfo
from .sources import ByteSource

DTYPES = {
    bitpix: np.dtype(name)
    for bitpix, name in ((8, "u1"), (16, ">i2"), (32, ">i4"), (64, ">i8"), (-32, ">f4"), (-64, ">f8"))
}
"""Type of the numbers that each BITPIX stands for (FITS standard 4.0, table 8)."""

_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")


def read_array(source: ByteSource, hdu: HDUInfo, box: Box | None = None) -> np.ndarray:
    """Read the pixels of an image HDU in native byte order.

    Parameters
    ----------
    source
        The file.
    hdu
        The HDU: plain or compressed.
    box
        Part that is wanted; by default all. Of a plain image in a local file
        only its own bytes are read, of a remote one the rows that it
        touches (one request, as of whole rows anywhere), of a compressed one
        the tiles.

    Returns
    -------
    array : `numpy.ndarray`
        New memory, shape of the image or of the box (rows, columns).

    Raises
    ------
    ProductError
        If the HDU has no pixels or the file ends before.
    ValueError
        If the box lies outside of the image.
    """
    if hdu.kind == "table" or not hdu.shape:
        raise ProductError(f"HDU {hdu.index} ({hdu.name or 'unnamed'}) holds no image")
    if hdu.kind == "compressed" or hdu.scaled:
        return _read_with_astropy(source, hdu, box)
    dtype = DTYPES[hdu.bitpix]
    native = dtype.newbyteorder("=")
    if box is None:
        pixels = np.frombuffer(source.map(hdu.data_offset, hdu.data_size), dtype)
        return pixels.reshape(hdu.shape).astype(native)
    box = box.clipped(hdu.shape[-2:])
    columns = hdu.shape[-1]
    if source.is_local and box.shape[1] < columns:
        cut = np.empty(box.shape, dtype)
        width = box.shape[1] * dtype.itemsize
        for row in range(box.y0, box.y1):
            start = hdu.data_offset + (row * columns + box.x0) * dtype.itemsize
            cut[row - box.y0] = np.frombuffer(_exactly(source, start, width), dtype)
        return cut.astype(native)
    start = hdu.data_offset + box.y0 * columns * dtype.itemsize
    rows = np.frombuffer(source.map(start, box.shape[0] * columns * dtype.itemsize), dtype)
    return rows.reshape(-1, columns)[:, box.x0 : box.x1].astype(native)


def array_header(source: ByteSource, hdu: HDUInfo) -> fits.Header:
    """Return the header of an image HDU, newly read; of a compressed one that of its image."""
    if hdu.kind != "compressed":
        return fits.Header.fromstring(hdu.header_bytes)
    with io.BufferedReader(_Window(source, hdu)) as window, fits.open(window, memmap=False) as hdus:
        return hdus[1].header


def hdu_bytes(source: ByteSource, hdu: HDUInfo) -> bytes:
    """Return an HDU as it is in the file, filled up to whole blocks."""
    length = hdu.data_offset + hdu.data_size - hdu.header_offset
    return bytes(source.map(hdu.header_offset, length)) + b"\0" * (-length % BLOCK)


def _exactly(source: ByteSource, offset: int, nbytes: int) -> bytes:
    content = source.read_at(offset, nbytes)
    if len(content) != nbytes:
        raise ProductError(f"the file is cut short: it ends at byte {offset + len(content)} in its data")
    return content


def _read_with_astropy(source: ByteSource, hdu: HDUInfo, box: Box | None) -> np.ndarray:
    with io.BufferedReader(_Window(source, hdu)) as window, fits.open(window, memmap=False) as hdus:
        if box is None:
            pixels = hdus[1].data
        else:
            pixels = hdus[1].section[box.clipped(hdus[1].shape).slices]
        return np.asarray(pixels).astype(pixels.dtype.newbyteorder("="))


class _Window(io.RawIOBase):
    """A file that consists of an empty primary HDU and one HDU of another file.

    astropy then reads of that HDU only what it needs, also from a remote file.
    """

    def __init__(self, source: ByteSource, hdu: HDUInfo) -> None:
        self._source = source
        self._shift = hdu.header_offset - len(_EMPTY_PRIMARY)
        self._end = hdu.end - self._shift
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._end}[whence]
        self._place = base + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(self._end - self._place, 0))
        if self._place < len(_EMPTY_PRIMARY):
            content = _EMPTY_PRIMARY[self._place : self._place + wanted]
        else:
            content = self._source.read_at(self._place + self._shift, wanted)
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
