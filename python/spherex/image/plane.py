"""Further planes of a product, which an image keeps as they are in the file."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from astropy.io import fits

from spherex.errors import ProductError, first_line

from .box import Box
from .wcs import shifted_header

_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")


class Plane:
    """Further plane of a product, such as ZODI, PSF or WCS-WAVE.

    The header is parsed at its first access. Until then the plane is written
    back byte by byte.

    Parameters
    ----------
    hdu
        FITS extension, or its bytes: header and data, each filled up to whole
        FITS blocks.
    file_name
        Key of the plane in the image that was read; it differs from EXTNAME if
        the file has several HDUs of one name, or an HDU without a name.
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
        self._is_exposed = False
        self._readonly_hdu: Any = None

    @classmethod
    def from_pixels(cls, cards: bytes, pixels: np.ndarray, file_name: str | None = None) -> Self:
        """Return a plane of pixels with a header that is not parsed yet.

        Parameters
        ----------
        cards
            Bytes of the header's cards, without END.
        pixels
            Pixels in native byte order, not scaled; shape and type agree with
            the cards.
        file_name
            Key of the plane in the image that was read.
        """
        plane = cls(b"", file_name)
        plane._raw, plane._cards, plane._pixels = None, cards, pixels
        return plane

    @property
    def raw(self) -> bytes | None:
        """Bytes of the plane, `None` if it was made of an HDU or pixels, or if `hdu` was accessed."""
        return self._raw

    @property
    def unparsed(self) -> tuple[bytes, np.ndarray] | None:
        """Cards and pixels of a plane, `None` if its header is parsed."""
        if self._cards is None or self._pixels is None:
            return None
        # The caller of `data` may have changed the pixels.
        if not self._is_exposed:
            return self._cards, self._pixels
        header = fits.Header.fromstring(self._cards)
        _remove_checksums(header)
        return "".join(str(card) for card in header.cards).encode("ascii"), self._pixels

    @property
    def readonly_hdu(self) -> Any:
        """The plane as an astropy HDU, not to be changed; the plane is still written back byte by byte.

        Raises
        ------
        ProductError
            If astropy cannot read it.
        """
        if self._hdu is not None:
            return self._hdu
        if self._readonly_hdu is None:
            try:
                if self._cards is not None:
                    self._readonly_hdu = fits.ImageHDU(self._pixels, header=fits.Header.fromstring(self._cards))
                else:
                    self._readonly_hdu = fits.HDUList.fromstring(_EMPTY_PRIMARY + (self._raw or b""))[1]
            except Exception as error:
                # astropy raises errors of many kinds for damaged headers.
                raise ProductError(f"HDU {self.file_name or '(unnamed)'} is damaged ({first_line(error)})") from None
        return self._readonly_hdu

    @property
    def hdu(self) -> Any:
        """The plane as an astropy HDU. Pixels are in native byte order."""
        if self._hdu is None:
            self._hdu = self.readonly_hdu
            # From now on the caller may change the data.
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
        self._is_exposed = True
        return self.hdu.data if self._pixels is None else self._pixels

    def copy(self) -> Plane:
        """Return an independent copy."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Plane:
        clone = Plane(b"" if self._hdu is None else self._hdu.copy(), self.file_name)
        clone._raw, clone._cards, clone._is_exposed = self._raw, self._cards, self._is_exposed
        clone._pixels = None if self._pixels is None else self._pixels.copy()
        return clone

    def cutout(self, box: Box, shape: tuple[int, ...]) -> Plane:
        """Return the part of the plane that belongs to a cut of the image.

        Parameters
        ----------
        box
            Pixels of the cut.
        shape
            Shape of the whole image (rows, columns). A plane of another shape
            (a PSF, a table) belongs to the whole image and is not cut.
        """
        hdu = self.readonly_hdu
        if not hdu.is_image or hdu.shape != shape:
            return self
        header = shifted_header(hdu.header, box)
        _remove_checksums(header)
        return Plane(fits.ImageHDU(np.array(box.cut(hdu.data)), header=header), self.file_name)


def _remove_checksums(header: fits.Header) -> None:
    for keyword in ("CHECKSUM", "DATASUM"):
        header.remove(keyword, ignore_missing=True)
