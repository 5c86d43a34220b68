"""Planes that an image carries along without taking part in them."""

from __future__ import annotations

__all__ = ["Plane"]

import copy
from typing import Any

import numpy as np
from astropy.io import fits

from ._box import Box
from ._wcs import shifted_header

_EMPTY_PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")


class Plane:
    """One further plane of a product, such as ZODI, PSF or WCS-WAVE.

    It is parsed when it is first looked at. Until then it is the bytes that
    were in the file, and is written back as such.

    Parameters
    ----------
    hdu
        The FITS extension, or its bytes: header and data, each filled up to
        whole FITS blocks.
    """

    def __init__(self, hdu: fits.ImageHDU | fits.BinTableHDU | fits.CompImageHDU | bytes) -> None:
        self._raw = hdu if isinstance(hdu, bytes) else None
        self._hdu = None if isinstance(hdu, bytes) else hdu

    @property
    def raw(self) -> bytes | None:
        """Bytes of the unopened plane; `None` once it has been looked at."""
        return self._raw

    @property
    def hdu(self) -> Any:
        """The plane as an astropy HDU, with numbers in native byte order."""
        if self._hdu is None:
            hdu = fits.HDUList.fromstring(_EMPTY_PRIMARY + self._raw)[1]
            if isinstance(hdu, fits.ImageHDU) and hdu.data is not None and not hdu.data.dtype.isnative:
                hdu.data = hdu.data.astype(hdu.data.dtype.newbyteorder("="))
            self._hdu = hdu
            self._raw = None
        return self._hdu

    @property
    def header(self) -> fits.Header:
        """Header of the plane."""
        return self.hdu.header

    @property
    def data(self) -> np.ndarray:
        """Pixels or table rows of the plane."""
        return self.hdu.data

    def copy(self) -> Plane:
        """Return an independent copy."""
        return Plane(self._raw if self._raw is not None else self.hdu.copy())

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
        if not self.hdu.is_image or self.hdu.shape != shape:
            return self
        header = shifted_header(self.header, box.x0, box.y0)
        return Plane(fits.ImageHDU(np.array(self.data[box.slices]), header=copy.copy(header)))
