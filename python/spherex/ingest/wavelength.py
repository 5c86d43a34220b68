"""The wavelength table of a Level 2 file, read on its own."""

from __future__ import annotations

__all__ = ["load_wavelength_table"]

from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from spherex.fits.errors import ProductError
from spherex.fits.hdus import scan_hdus
from spherex.fits.names import WCS_WAVE
from spherex.fits.sources import open_source
from spherex.instrument import FRAME_SIDE

from .description import DescriptionError

if TYPE_CHECKING:
    from spherex.fits.hdus import HDUInfo
    from spherex.fits.sources import ByteSource

_AXES = ("X", "Y")


def load_wavelength_table(address: str) -> fits.HDUList | None:
    """Read the table of wavelengths if it is that of the whole frame.

    Parameters
    ----------
    address
        Path or URI of a Level 2 file.

    Returns
    -------
    astropy.io.fits.HDUList or None
        An empty primary HDU and the table. None if there is no table, or it
        does not reach from the first to the last row and column of the frame,
        as in some cutouts.

    Raises
    ------
    DescriptionError
        Raised if the file is damaged or out of reach.
    """
    try:
        with open_source(address, sparse=True) as source:
            hdu = scan_hdus(source, last=WCS_WAVE)[-1]
            return _table(source, hdu) if hdu.name == WCS_WAVE else None
    except ProductError as error:
        raise DescriptionError(f"{error}; replace it by a good copy") from None
    except Exception as error:
        # Damaged tables and remote back ends raise errors of many kinds.
        text = str(error).strip() or type(error).__name__
        raise DescriptionError(
            f"its table {WCS_WAVE} cannot be read ({text.splitlines()[0]}); check the file and try again"
        ) from None


def _table(source: ByteSource, hdu: HDUInfo) -> fits.HDUList | None:
    table = fits.BinTableHDU.fromstring(source.read_at(hdu.header_offset, hdu.end - hdu.header_offset))
    points = [np.asarray(table.data[axis]) for axis in _AXES]
    if any(values.min() > 1 or values.max() < FRAME_SIDE for values in points):
        return None
    return fits.HDUList([fits.PrimaryHDU(), table])
