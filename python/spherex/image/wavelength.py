"""Wavelengths and bandwidths of the pixels of an image."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.units import Quantity, UnitBase
from astropy.wcs import WCS

from spherex.archive import CBAND, CWAVE
from spherex.detectors import FRAME_SHAPE
from spherex.errors import ProductError
from spherex.headers import BUNIT, bunit_of

from .wcs import alternative_cards, alternative_wcs

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEY = "W"


WCS_WAVE = "WCS-WAVE"
"""Name of the table of wavelengths and bandwidths at control points."""


class Wavelength:
    """Wavelength solution of an image: its coordinate system W and the table WCS-WAVE.

    Its accuracy is about 1 nm (archive documentation, data products); the
    calibration ``spectral_wcs`` is exact.

    Parameters
    ----------
    header
        Header of the image.
    table
        The table that the header refers to.
    shape
        Shape of the image (rows, columns).

    Raises
    ------
    ValueError
        If the header has no coordinate system W, or the table does not agree
        with it.
    """

    def __init__(self, header: fits.Header, table: fits.BinTableHDU, shape: tuple[int, ...]) -> None:
        named = wavelength_plane(header)
        if named is None:
            raise ValueError("The header has no wavelength solution (no coordinate system W with a table).")
        if named != table.name:
            raise ValueError(f"The wavelength solution is in the table {named}, not in {table.name or 'one unnamed'}.")
        self._cards = alternative_cards(header, _KEY)
        self._table = table
        self._shape = tuple(shape)
        # wcslib would read beyond the end of a table that does not agree with the header, and crash.
        axes = [[str(self._cards.get(f"PS{axis}_{number}{_KEY}", "")).strip() for number in (1, 2)] for axis in (1, 2)]
        (values, x), (same, y) = axes
        order = [self._cards.get(f"PV{axis}_3{_KEY}", 1) for axis in (1, 2)]
        if values != same or order != [1, 2]:
            raise ValueError(f"The wavelength solution is damaged: its axes are in {values} and {same}, as {order}.")
        if missing := [name for name in (values, x, y) if name not in table.columns.names]:
            raise ValueError(f"The table {table.name} of the wavelength solution has no column {', '.join(missing)}.")
        found = table.data[values].shape
        expected = (1, table.data[y].size, table.data[x].size, 2)
        if found != expected or len(table.data) != 1:
            raise ValueError(f"The table {table.name} has {values} of shape {found}, where {expected} was expected.")

    @classmethod
    def from_table(
        cls, table: fits.BinTableHDU, origin: tuple[int, int] = (0, 0), shape: tuple[int, int] = FRAME_SHAPE
    ) -> Self:
        """Return the wavelength solution of a table without an image.

        Parameters
        ----------
        table
            The table WCS-WAVE of an image of the archive. Its control points
            are pixels of the whole frame, from 1.
        origin
            Column and row of the whole frame, from 0, of the first pixel of
            the image.
        shape
            Shape of the image (rows, columns).
        """
        header = fits.Header({f"WCSAXES{_KEY}": 2})
        for axis, start in enumerate(origin, start=1):
            header[f"CTYPE{axis}{_KEY}"] = "WAVE-TAB"
            header[f"CUNIT{axis}{_KEY}"] = "um"
            header[f"CRPIX{axis}{_KEY}"] = 1.0 - start
            header[f"CDELT{axis}{_KEY}"] = 1.0
            header[f"CRVAL{axis}{_KEY}"] = 1.0
            header[f"PS{axis}_0{_KEY}"] = table.name
            header[f"PS{axis}_1{_KEY}"] = "VALUES"
            header[f"PS{axis}_2{_KEY}"] = "XY"[axis - 1]
            header[f"PV{axis}_3{_KEY}"] = axis
        return cls(header, table, shape)

    def __getstate__(self) -> dict[str, Any]:
        # astropy cannot pickle a WCS with look-up tables.
        return {name: value for name, value in vars(self).items() if name != "wcs"}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image (rows, columns)."""
        return self._shape

    @functools.cached_property
    def wcs(self) -> WCS:
        """Coordinate system from pixels to wavelength and bandwidth."""
        return alternative_wcs(self._cards, _KEY, {self._table.name: self._table})

    def at(self, x: Any, y: Any) -> tuple[Quantity, Quantity]:
        """Return central wavelength and bandwidth at positions in the image.

        Parameters
        ----------
        x, y
            Columns and rows in the image, from 0; numbers, or arrays of
            shapes that broadcast.

        Returns
        -------
        wavelength, bandwidth : `astropy.units.Quantity`
            In um, of the common shape of ``x`` and ``y``. Beyond the last
            control point the interpolation is extended by half of the distance
            of the last two, as the -TAB algorithm allows (Greisen et al. 2006,
            A&A 446, 747, section 6); farther out the values are NaN.
        """
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        pixels = np.stack([x.ravel(), y.ravel()], axis=-1)
        world = self.wcs.wcs_pix2world(pixels, 0) if len(pixels) else pixels
        wavelength, bandwidth = (
            Quantity(world[:, axis].reshape(x.shape), self.wcs.wcs.cunit[axis]).to(units.um) for axis in (0, 1)
        )
        return wavelength, bandwidth

    def planes(self) -> tuple[Quantity, Quantity]:
        """Return central wavelength and bandwidth of all pixels.

        Returns
        -------
        wavelength, bandwidth : `astropy.units.Quantity`
            In um, shape (rows, columns).
        """
        rows, columns = np.indices(self._shape, sparse=True)
        return self.at(columns, rows)


def wavelength_plane(header: Any) -> str | None:
    """Return the name of the table with the wavelength solution, `None` if there is none."""
    name = header.get(f"PS1_0{_KEY}")
    return None if name is None else str(name).strip()


class PlaneWavelengths:
    """Wavelengths and bandwidths of all pixels of the frame, from the calibration ``spectral_wcs``.

    Parameters
    ----------
    central, bandwidth
        Wavelengths and bandwidths with units, of shape (rows, columns).
    """

    def __init__(self, central: Quantity, bandwidth: Quantity) -> None:
        # Of planes in another byte order scipy makes a copy at every call.
        self._planes = tuple(plane.astype(plane.dtype.newbyteorder("="), copy=False) for plane in (central, bandwidth))

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Quantity, Quantity]:
        """Return central wavelength and bandwidth at places, linear between the centres of pixels.

        Parameters
        ----------
        x, y
            Columns and rows of the frame, from 0.
        """
        from scipy.ndimage import map_coordinates

        central, bandwidth = (
            Quantity(map_coordinates(plane.value, [y, x], order=1, mode="nearest", output=float), plane.unit)
            for plane in self._planes
        )
        return central.to(units.um), bandwidth.to(units.um)

    def of_pixels(self, x: NDArray[np.intp], y: NDArray[np.intp]) -> tuple[Quantity, Quantity]:
        """Return central wavelength and bandwidth of pixels.

        Parameters
        ----------
        x, y
            Columns and rows of the frame, from 0, inside of the frame.
        """
        central, bandwidth = (Quantity(plane[y, x], dtype=float).to(units.um) for plane in self._planes)
        return central, bandwidth


def wavelengths_in(hdus: fits.HDUList) -> Wavelength | PlaneWavelengths:
    """Return the wavelengths of the frame from a calibration ``spectral_wcs`` or a wavelength table.

    Parameters
    ----------
    hdus
        HDUs with the planes CWAVE and CBAND, or else with the table WCS-WAVE.

    Raises
    ------
    ProductError
        If there is neither, or a plane cannot be used, see `plane_unit`.
    ValueError
        If the table is damaged.
    """
    if CWAVE in hdus and CBAND in hdus:
        planes = []
        for name in (CWAVE, CBAND):
            unit = plane_unit(name, hdus[name].shape, hdus[name].header)
            planes.append(Quantity(hdus[name].data, unit, copy=False, dtype=None))
        return PlaneWavelengths(*planes)
    if WCS_WAVE in hdus:
        return Wavelength.from_table(hdus[WCS_WAVE])
    raise ProductError(f"no wavelengths: neither planes {CWAVE} and {CBAND} nor a table {WCS_WAVE}")


def plane_unit(name: str, shape: tuple[int, ...], cards: Mapping[str, Any]) -> UnitBase:
    """Return the unit of a plane of wavelengths or bandwidths.

    Parameters
    ----------
    name
        Name of the HDU, for the error message.
    shape
        Shape of the plane, rows first.
    cards
        Header of the plane. Without BUNIT the unit is um.

    Raises
    ------
    ProductError
        If the plane does not have the shape of the frame or a unit of length.
    """
    if tuple(shape) != FRAME_SHAPE:
        raise ProductError(f"plane {name} has shape {tuple(shape)}, not {FRAME_SHAPE} (rows, columns) as the frame")
    unit = bunit_of(cards, f"of plane {name}") or units.um
    if not unit.is_equivalent(units.um):
        raise ProductError(f"{BUNIT} of plane {name} is {str(unit)!r}, which is not a unit of length")
    return unit
