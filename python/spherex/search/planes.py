"""Wavelengths of single pixels, from the planes CWAVE and CBAND of a calibration."""

from __future__ import annotations

__all__ = ["pixels_of", "read_pixels"]

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units

from spherex.archive import CBAND, CWAVE
from spherex.fits import ProductError
from spherex.fits.arrays import read_array
from spherex.fits.hdus import scan_hdus
from spherex.fits.names import UNIT_CARD
from spherex.fits.sources import open_source
from spherex.image import Box

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from spherex.fits.hdus import HDUInfo
    from spherex.fits.sources import ByteSource

_PLANES = (CWAVE, CBAND)

_GAP = 64
"""Rows that are read in vain rather than asking a server twice: half a megabyte,
which takes about as long as one more request.
"""


def pixels_of(
    hdus: HDUList, places: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return central wavelengths and bandwidths of pixels, from planes in memory.

    Parameters
    ----------
    hdus
        The calibration.
    places
        0-based x and y inside of the frame, of shape (n, 2), at least one; the
        pixels that they are in are taken.
    shape
        Number of pixels of a frame along x and y.

    Returns
    -------
    wavelength, bandwidth
        In um, of shape (n,); None if the planes are not there.

    Raises
    ------
    ProductError
        Raised if a plane has not the shape of the frame.
    ValueError
        Raised if its unit is none of length.
    """
    if not all(name in hdus for name in _PLANES):
        return None
    x, y = _indices(places)
    values = []
    for name in _PLANES:
        _check_shape(name, hdus[name].shape, shape)
        values.append(_in_um(name, hdus[name].data[y, x], hdus[name].header.get(UNIT_CARD)))
    return values[0], values[1]


def read_pixels(
    address: ResourcePath, places: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Read central wavelengths and bandwidths of pixels, of a file only the rows that have them.

    Parameters
    ----------
    address
        File of the calibration.
    places, shape
        As of `pixels_of`.

    Returns
    -------
    wavelength, bandwidth
        In um, of shape (n,); None if the planes are not there.

    Raises
    ------
    ProductError
        Raised if the file is damaged, or a plane has not the shape of the
        frame.
    ValueError
        Raised if its unit is none of length.
    OSError
        Raised if it cannot be read.
    """
    x, y = _indices(places)
    with open_source(address, sparse=True) as source:
        hdus = {hdu.name: hdu for hdu in scan_hdus(source, last=CBAND)}
        if not all(name in hdus for name in _PLANES):
            return None
        values = []
        for name in _PLANES:
            _check_shape(name, hdus[name].image_shape, shape)
            values.append(_in_um(name, _read(source, hdus[name], x, y), hdus[name].cards.get(UNIT_CARD)))
    return values[0], values[1]


def _indices(places: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    x, y = np.rint(places).astype(np.intp).T
    return x, y


def _check_shape(name: str, found: tuple[int, ...], shape: tuple[int, int]) -> None:
    if tuple(found) != shape[::-1]:
        raise ProductError(
            f"its plane {name} has the shape {tuple(found)}, not that of the frame, {shape[::-1]} (rows, columns)"
        )


def _read(source: ByteSource, hdu: HDUInfo, x: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[Any]:
    """Return pixels; rows that are near to each other are read together."""
    columns = hdu.image_shape[1]
    wanted = np.unique(y)
    pieces = np.split(wanted, np.flatnonzero(np.diff(wanted) > _GAP) + 1)
    values = np.empty(len(x))
    for piece in pieces:
        first, last = int(piece[0]), int(piece[-1])
        rows = read_array(source, hdu, Box(0, columns, first, last + 1))
        is_there = (first <= y) & (y <= last)
        values[is_there] = rows[y[is_there] - first, x[is_there]]
    return values


def _in_um(name: str, values: NDArray[Any], unit: Any) -> NDArray[np.float64]:
    try:
        return units.Quantity(values, unit or "um", dtype=float).to_value(units.um)
    except (TypeError, units.UnitConversionError):
        raise ValueError(f"its plane {name} has the unit {unit!r}, which is none of wavelengths") from None
