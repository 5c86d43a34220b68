"""Pixels of an HDU, the whole or only those inside of a box."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.io import fits

from spherex.errors import ProductError
from spherex.image import Box

from .cards import CARD
from .hdus import BLOCK, HDUInfo
from .sources import ByteSource

DTYPES = {
    bitpix: np.dtype(name)
    for bitpix, name in ((8, "u1"), (16, ">i2"), (32, ">i4"), (64, ">i8"), (-32, ">f4"), (-64, ">f8"))
}
"""Type of the numbers that each BITPIX stands for (FITS standard 4.0, table 8)."""

_REMOTE_READ = 2**18
_WIDE = 0.5
"""Part of a row from which on the whole row is read: one call for all rows is faster than one for each."""

_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")


def read_array(source: ByteSource, hdu: HDUInfo, box: Box | None = None, fill: Any = None) -> np.ndarray:
    """Read the pixels of an image HDU in native byte order.

    Parameters
    ----------
    source
        The file.
    hdu
        The HDU: plain or compressed.
    box
        Part that is wanted; by default all. Of a plain image in a local file
        only its own bytes are read, if it is narrow; else, and of a remote
        one, the rows that it touches (one request); of a compressed one the
        tiles.
    fill
        Value of those pixels of the box that the image does not have; by
        default NaN, of integers 0.

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
    if box is not None:
        inside = box.clipped(hdu.image_shape)
        return box.filled(_read_box(source, hdu, inside), inside, fill)
    if _needs_astropy(hdu):
        return _read_with_astropy(source, hdu, None)
    pixels = np.frombuffer(source.map(hdu.data_offset, hdu.data_size), DTYPES[hdu.bitpix])
    return pixels.reshape(hdu.shape).astype(pixels.dtype.newbyteorder("="))


def _read_box(source: ByteSource, hdu: HDUInfo, box: Box) -> np.ndarray:
    if _needs_astropy(hdu):
        return _read_with_astropy(source, hdu, box)
    dtype = DTYPES[hdu.bitpix]
    native = dtype.newbyteorder("=")
    columns = hdu.shape[-1]
    if source.is_local and box.shape[1] < _WIDE * columns:
        cut = np.empty(box.shape, dtype)
        width = box.shape[1] * dtype.itemsize
        for row in range(box.y0, box.y1):
            start = hdu.data_offset + (row * columns + box.x0) * dtype.itemsize
            cut[row - box.y0] = np.frombuffer(_exactly(source, start, width), dtype)
        return cut.astype(native)
    start = hdu.data_offset + box.y0 * columns * dtype.itemsize
    rows = np.frombuffer(source.map(start, box.shape[0] * columns * dtype.itemsize), dtype)
    return rows.reshape(-1, columns)[:, box.x0 : box.x1].astype(native)


def _needs_astropy(hdu: HDUInfo) -> bool:
    return hdu.kind == "compressed" or hdu.scaled


def array_header(source: ByteSource, hdu: HDUInfo) -> fits.Header:
    """Return the header of an image HDU, newly read; of a compressed one that of its image."""
    if hdu.kind != "compressed":
        return fits.Header.fromstring(hdu.header_bytes)
    with _opened(source, hdu) as hdus:
        return hdus[1].header


def hdu_bytes(source: ByteSource, hdu: HDUInfo) -> bytes:
    """Return an HDU as it is in the file, filled up to whole blocks."""
    length = hdu.data_offset + hdu.data_size - hdu.header_offset
    return filled(bytes(source.map(hdu.header_offset, length)), b"\0")


def filled(content: bytes, fill: bytes) -> bytes:
    """Return bytes filled up to whole FITS blocks."""
    return content + fill * (-len(content) % BLOCK)


def _exactly(source: ByteSource, offset: int, nbytes: int) -> bytes:
    content = source.read_at(offset, nbytes)
    if len(content) != nbytes:
        raise ProductError(f"the file is cut short: it ends at byte {offset + len(content)} in its data")
    return content


def _read_with_astropy(source: ByteSource, hdu: HDUInfo, box: Box | None) -> np.ndarray:
    with _opened(source, hdu) as hdus:
        pixels = hdus[1].data if box is None else hdus[1].section[box.slices]
        return np.asarray(pixels).astype(pixels.dtype.newbyteorder("="))


@contextlib.contextmanager
def _opened(source: ByteSource, hdu: HDUInfo) -> Iterator[fits.HDUList]:
    with io.BufferedReader(_Window(source, hdu)) as window, fits.open(window, memmap=False) as hdus:
        yield hdus


class _Window(io.RawIOBase):
    """A file that consists of an empty primary HDU and one HDU of another file.

    astropy then reads of that HDU only what it needs, also from a remote file.
    """

    def __init__(self, source: ByteSource, hdu: HDUInfo) -> None:
        self._source = source
        self._shift = hdu.header_offset - len(_EMPTY_PRIMARY)
        self._end = hdu.end - self._shift
        # The header is known, and need not be read again.
        self._start = _EMPTY_PRIMARY + filled(hdu.header_bytes + b"END".ljust(CARD), b" ")
        self._place = 0
        # astropy reads one tile after the other; from far away neighbours
        # come together.
        self._ahead = 0 if source.is_local else _REMOTE_READ
        self._chunk, self._chunk_start = b"", 0

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
        if self._place < len(self._start):
            content = self._start[self._place : self._place + wanted]
        else:
            content = self._read(wanted)
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def _read(self, wanted: int) -> bytes:
        """Return up to so many bytes from the present place on, at least one unless at the end."""
        within = self._place - self._chunk_start
        if not 0 <= within < len(self._chunk):
            length = min(max(wanted, self._ahead), self._end - self._place)
            self._chunk, self._chunk_start = self._source.read_at(self._place + self._shift, length), self._place
            within = 0
        return self._chunk[within : within + wanted]
