"""Planes that an image carries along without taking part in them."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from astropy.io import fits

from .box import Box
from .wcs import shifted_header

_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")


class Plane:
    """One further plane of a product, such as ZODI, PSF or WCS-WAVE.

    Its header is parsed when it is first looked at. Until then the plane is
    written back as it came, card by card.

    Parameters
    ----------
    hdu
        The FITS extension, or its bytes: header and data, each filled up to
        whole FITS blocks.
    file_name
        Key under which the plane was read; the file may have several HDUs of
        one name, or without a name.
    """

    def __init__(
        self,
        hdu: fits.ImageHDU | fits.BinTableHDU | fits.CompImageHDU | bytes,
        file_name: str | None = None,
    ) -> None:
        self.file_name = file_name
        self._raw = hdu if isinstance(hdu, bytes) else None
        self._hdu = None if isinstance(hdu, bytes) else hdu
        self._cards: bytes | None = None
        self._pixels: np.ndarray | None = None
        self._shown = False
        self._readonly_hdu: Any = None

    @classmethod
    def from_pixels(cls, cards: bytes, pixels: np.ndarray, file_name: str | None = None) -> Self:
        """Return a plane of pixels whose header is not parsed yet.

        Parameters
        ----------
        cards
            Bytes of the header's cards, without END.
        pixels
            Pixels in native byte order, of the shape and type that the cards
            tell, not scaled.
        file_name
            Key under which the plane was read.
        """
        plane = cls(b"", file_name)
        plane._raw, plane._cards, plane._pixels = None, cards, pixels
        return plane

    @property
    def raw(self) -> bytes | None:
        """Bytes of the unopened plane, `None` if there are none to be had."""
        return self._raw

    @property
    def unparsed(self) -> tuple[bytes, np.ndarray] | None:
        """Cards and pixels of a plane whose header nobody has looked at."""
        if self._cards is None or self._pixels is None:
            return None
        # Who has the pixels may have changed them.
        return (_without_checksums(self._cards) if self._shown else self._cards), self._pixels

    @property
    def readonly_hdu(self) -> Any:
        """The plane as an astropy HDU that must not be changed: the plane is still written back as it came."""
        if self._hdu is not None:
            return self._hdu
        if self._readonly_hdu is None:
            if self._cards is not None:
                self._readonly_hdu = fits.ImageHDU(self._pixels, header=fits.Header.fromstring(self._cards))
            else:
                self._readonly_hdu = fits.HDUList.fromstring(_EMPTY_PRIMARY + (self._raw or b""))[1]
        return self._readonly_hdu

    @property
    def hdu(self) -> Any:
        """The plane as an astropy HDU. Pixels are in native byte order."""
        if self._hdu is None:
            self._hdu = self.readonly_hdu
            # What the file summed up may be changed from now on.
            _remove_checksums(self._hdu.header)
            self._raw = self._cards = self._pixels = self._readonly_hdu = None
        return self._hdu

    @property
    def header(self) -> fits.Header:
        """Header of the plane."""
        return self.hdu.header

    @property
    def data(self) -> np.ndarray:
        """Pixels or table rows of the plane."""
        self._shown = True
        return self.hdu.data if self._pixels is None else self._pixels

    def copy(self) -> Plane:
        """Return an independent copy."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Plane:
        clone = Plane(b"" if self._hdu is None else self._hdu.copy(), self.file_name)
        clone._raw, clone._cards, clone._shown = self._raw, self._cards, self._shown
        clone._pixels = None if self._pixels is None else self._pixels.copy()
        return clone

    def cutout(self, box: Box, shape: tuple[int, ...]) -> Plane:
        """Return the part of the plane that belongs to a cut of the image.

        Parameters
        ----------
        box
            The cut.
        shape
            Shape of the whole image. A plane of another shape (a PSF, a
            table) belongs to the image as a whole and is returned as it is.
        """
        hdu = self.readonly_hdu
        if not hdu.is_image or hdu.shape != shape:
            return self
        header = shifted_header(hdu.header, box)
        _remove_checksums(header)
        return Plane(fits.ImageHDU(np.array(box.cut(hdu.data)), header=header), self.file_name)


def _without_checksums(cards: bytes) -> bytes:
    header = fits.Header.fromstring(cards)
    _remove_checksums(header)
    return "".join(str(card) for card in header.cards).encode("ascii")


def _remove_checksums(header: fits.Header) -> None:
    for keyword in ("CHECKSUM", "DATASUM"):
        header.remove(keyword, ignore_missing=True)
