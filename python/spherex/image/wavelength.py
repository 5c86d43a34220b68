"""Wavelengths and bandwidths of the pixels of an image."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.units import Quantity, UnitBase
from astropy.wcs import WCS

from spherex.archive import CBAND, CWAVE
from spherex.detectors import FRAME_SHAPE
from spherex.errors import HeaderError, ProductError, first_line
from spherex.headers import BUNIT, bunit_of, number_of, unit_of

from .wcs import check_same_origin, frame_origin

if TYPE_CHECKING:
    from numpy.typing import NDArray

WCS_WAVE = "WCS-WAVE"
"""Name of the table of wavelengths and bandwidths at control points."""

WAVELENGTH_KEY = "W"
"""Letter of the coordinate system of wavelength and bandwidth."""

_TABULAR = "WAVE-TAB"
_FIXED = {
    f"WCSAXES{WAVELENGTH_KEY}": 2,
    **{f"PV{axis}_{number}{WAVELENGTH_KEY}": 1 for axis in (1, 2) for number in (1, 2)},
    **{f"{name}{i}_{j}{WAVELENGTH_KEY}": float(i == j) for name in ("PC", "CD") for i in (1, 2) for j in (1, 2)},
    **{f"CROTA{axis}{WAVELENGTH_KEY}": 0.0 for axis in (1, 2)},
}
"""Cards of the coordinate system W that may be left out, and their only value."""

_TABLE = f"PS1_0{WAVELENGTH_KEY}"
_KEYWORDS = (
    _TABLE,
    f"PS2_0{WAVELENGTH_KEY}",
    *(f"{name}{WAVELENGTH_KEY}" for i in (1, 2) for name in (f"PS{i}_1", f"PS{i}_2", f"PV{i}_3")),
    *(f"{name}{i}{WAVELENGTH_KEY}" for i in (1, 2) for name in ("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT")),
    *_FIXED,
)
"""All cards of the coordinate system W that are read."""

_LONGEST = 1e6
"""Largest absolute value of a pixel coordinate in a wavelength solution."""

_LONGEST_WAVELENGTH = 100.0
"""Largest wavelength or bandwidth of a control point, um; the longest of the detectors is 5."""

_REPR_STEPS = 33
"""Most columns and rows at which the range of wavelengths is looked up for `repr`."""

_AXES = (1, 2)


@dataclasses.dataclass(frozen=True)
class WavelengthAxes:
    """Cards of a coordinate system W, checked.

    wcslib reads beyond the end of a table that does not agree with its cards,
    and frees memory twice: the process is aborted. It gets the values of this
    class alone, never the cards of a file.

    Parameters
    ----------
    table
        EXTNAME of the table with the control points.
    values
        Column of the wavelengths and bandwidths.
    ticks
        Columns of the control points on the axes x and y.
    crpix, crval, cdelt
        Reference pixel, its coordinate and the step, for x and y.
    scale
        Units of wavelength and bandwidth, um.
    """

    table: str
    values: str
    ticks: tuple[str, str]
    crpix: tuple[float, float]
    crval: tuple[float, float] = (1.0, 1.0)
    cdelt: tuple[float, float] = (1.0, 1.0)
    scale: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def of_table(cls, name: str, origin: tuple[float, float] = (0.0, 0.0)) -> Self:
        """Return the coordinate system of a table of the archive.

        Parameters
        ----------
        name
            EXTNAME of the table.
        origin
            Column and row of the whole frame, from 0, of the first pixel.
        """
        return cls(name, "VALUES", ("X", "Y"), (1.0 - origin[0], 1.0 - origin[1]))

    @property
    def origin(self) -> tuple[float, float]:
        """Column and row of the whole frame, from 0, of the first pixel of the image."""
        x, y = (
            value - 1 + (1 - pixel) * step
            for pixel, value, step in zip(self.crpix, self.crval, self.cdelt, strict=True)
        )
        return x, y

    @classmethod
    def of_cards(cls, cards: Mapping[str, Any]) -> WavelengthAxes | None:
        """Return the coordinate system W of a header, `None` if it has none with a table.

        Parameters
        ----------
        cards
            Header of the image.

        Raises
        ------
        HeaderError
            If the cards do not describe two axes with one table of wavelengths
            and bandwidths.
        """
        if cards.get(_TABLE) is None:
            return None
        # Images of a run are nearly all alike, and ingest checks thousands.
        try:
            return _axes_of(*[cards.get(keyword) for keyword in _KEYWORDS])
        except fits.VerifyError as error:
            raise HeaderError(f"the wavelength solution is damaged: {first_line(error)}") from None

    def header(self) -> fits.Header:
        """Return the cards."""
        header = fits.Header({f"WCSAXES{WAVELENGTH_KEY}": 2})
        for number, axis in enumerate(_AXES):
            header[f"CTYPE{axis}{WAVELENGTH_KEY}"] = _TABULAR
            header[f"CUNIT{axis}{WAVELENGTH_KEY}"] = "um"
            header[f"CRPIX{axis}{WAVELENGTH_KEY}"] = self.crpix[number]
            header[f"CDELT{axis}{WAVELENGTH_KEY}"] = self.cdelt[number]
            header[f"CRVAL{axis}{WAVELENGTH_KEY}"] = self.crval[number]
            header[f"PS{axis}_0{WAVELENGTH_KEY}"] = self.table
            header[f"PS{axis}_1{WAVELENGTH_KEY}"] = self.values
            header[f"PS{axis}_2{WAVELENGTH_KEY}"] = self.ticks[number]
            header[f"PV{axis}_3{WAVELENGTH_KEY}"] = axis
        return header


@functools.lru_cache(64, typed=True)
def _axes_of(*found: Any) -> WavelengthAxes:
    """Return the coordinate system W, of the values of `_KEYWORDS`; see `WavelengthAxes.of_cards`."""
    cards: dict[str, Any] = {
        keyword: value for keyword, value in zip(_KEYWORDS, found, strict=True) if value is not None
    }
    table = str(cards[_TABLE]).strip()
    columns = [[_text(cards, f"PS{axis}_{number}") for number in _AXES] for axis in _AXES]
    (values, x), (same, y) = columns
    order = [cards.get(f"PV{axis}_3{WAVELENGTH_KEY}", 1) for axis in _AXES]
    if not values or not x or not y or values != same or order != [1, 2]:
        raise HeaderError(f"the wavelength solution is damaged: its axes are in {values} and {same}, as {order}")
    if len({values, x, y}) < 3:
        raise HeaderError(f"the wavelength solution is damaged: its columns are {values}, {x} and {y}")
    _check_fixed(cards, table)
    cdelt = _coordinates(cards, "CDELT", 1.0)
    if not all(cdelt):
        raise HeaderError("the wavelength solution is damaged: CDELT of its axes is 0")
    crpix, crval = _coordinates(cards, "CRPIX", 0.0), _coordinates(cards, "CRVAL", 0.0)
    return WavelengthAxes(table, values, (x, y), crpix, crval, cdelt, _scale(cards))


def _text(cards: Mapping[str, Any], keyword: str) -> str:
    return str(cards.get(f"{keyword}{WAVELENGTH_KEY}", "")).strip()


def _coordinates(cards: Mapping[str, Any], name: str, default: float) -> tuple[float, float]:
    x, y = (number_of(cards, f"{name}{axis}{WAVELENGTH_KEY}", -_LONGEST, _LONGEST) for axis in _AXES)
    return default if x is None else x, default if y is None else y


def _check_fixed(cards: Mapping[str, Any], table: str) -> None:
    """Check the cards of system W that can have one value only."""
    same = {f"PS2_0{WAVELENGTH_KEY}": table, f"CTYPE1{WAVELENGTH_KEY}": _TABULAR, f"CTYPE2{WAVELENGTH_KEY}": _TABULAR}
    fixed: dict[str, Any] = {keyword: value for keyword, value in _FIXED.items() if keyword in cards}
    for keyword, expected in (same | fixed).items():
        value = cards.get(keyword)
        found = value.strip() if isinstance(value, str) else value
        if isinstance(found, bool) or found != expected:
            raise HeaderError(f"the wavelength solution is damaged: {keyword} is {found!r}, not {expected!r}")


def _scale(cards: Mapping[str, Any]) -> tuple[float, float]:
    scale = []
    for axis in _AXES:
        name = _text(cards, f"CUNIT{axis}") or "um"
        try:
            scale.append(float(unit_of(name).to(units.um)))
        except (ValueError, TypeError):
            raise HeaderError(
                f"the wavelength solution is damaged: CUNIT{axis}{WAVELENGTH_KEY} is {name!r}, not a length"
            ) from None
    return scale[0], scale[1]


@dataclasses.dataclass(frozen=True, eq=False)
class ControlPoints:
    """Control points of a table of wavelengths and bandwidths, checked.

    Parameters
    ----------
    x, y
        Pixels of the whole frame, from 1, shapes (columns,) and (rows,).
    values
        Wavelength and bandwidth, um, shape (rows, columns, 2).
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def of_row(cls, row: Mapping[str, Any], axes: WavelengthAxes) -> Self:
        """Return the control points of a table.

        Parameters
        ----------
        row
            Values of the columns in the only row of the table.
        axes
            Coordinate system with the names of the columns.

        Raises
        ------
        ProductError
            If a column is missing, shapes do not agree, a number is not finite
            or not that of a wavelength, or the pixels do not rise.
        """
        name, values, ticks = axes.table, axes.values, axes.ticks
        if missing := [column for column in (values, *ticks) if column not in row]:
            raise ProductError(f"the table {name} of the wavelength solution has no column {', '.join(missing)}")
        arrays = [np.asarray(row[column]) for column in (*ticks, values)]
        for column, array in zip((*ticks, values), arrays, strict=True):
            if array.dtype.kind not in "iuf" or np.ma.is_masked(row[column]):
                raise ProductError(f"the table {name} has no numbers in column {column}")
        # The conversion of a signalling NaN warns.
        with np.errstate(invalid="ignore"):
            x, y, grid = (array.astype(np.float64) for array in arrays)
        x, y = np.atleast_1d(x), np.atleast_1d(y)
        expected = (y.size, x.size, 2)
        if x.ndim != 1 or y.ndim != 1 or min(x.size, y.size) < 2 or grid.shape != expected:
            raise ProductError(f"the table {name} has {values} of shape {grid.shape}, where {expected} was expected")
        for column, ascending in zip(ticks, (x, y), strict=True):
            # A comparison with NaN is false.
            if not (np.abs(ascending) <= _LONGEST).all() or not (np.diff(ascending) > 0).all():
                raise ProductError(f"the control points in column {column} of the table {name} do not rise")
        if axes.scale != (1.0, 1.0):
            grid = grid * axes.scale
        if not ((grid > 0) & (grid <= _LONGEST_WAVELENGTH)).all():
            raise ProductError(f"the table {name} has numbers in {values} that are not wavelengths in um")
        return cls(x, y, grid)

    def covers(self, side: int) -> bool:
        """Return whether the control points reach from the first to the last row and column of a frame."""
        return all(ticks[0] <= 1 and ticks[-1] >= side for ticks in (self.x, self.y))

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return wavelengths and bandwidths at a lattice of pixels.

        Parameters
        ----------
        x, y
            Columns and rows of the whole frame, from 1, shapes (columns,) and
            (rows,). Beyond the control points the value at the last applies.

        Returns
        -------
        values
            um, shape (rows, columns, 2).
        """
        values = self.values
        for axis, (ticks, places) in enumerate(((self.y, y), (self.x, x))):
            index = np.interp(places, ticks, np.arange(len(ticks)))
            lower = np.minimum(index.astype(np.intp), len(ticks) - 2)
            part = (index - lower).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            values = values.take(lower, axis) * (1 - part) + values.take(lower + 1, axis) * part
        return values

    def hdu(self) -> fits.BinTableHDU:
        """Return the table for wcslib, with the columns X, Y and VALUES."""
        shape = ",".join(str(size) for size in reversed(self.values.shape))
        return fits.BinTableHDU.from_columns(
            [
                fits.Column("X", f"{self.x.size}D", array=self.x[np.newaxis]),
                fits.Column("Y", f"{self.y.size}D", array=self.y[np.newaxis]),
                fits.Column("VALUES", f"{self.values.size}D", dim=f"({shape})", array=self.values[np.newaxis]),
            ],
            name=WCS_WAVE,
        )


def row_of(table: fits.BinTableHDU) -> dict[str, Any]:
    """Return the columns of the only row of a table.

    Raises
    ------
    ProductError
        If the table does not have one row, or astropy cannot read it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VerifyWarning)
            rows = table.data
            if rows is None or len(rows) != 1:
                raise ProductError(f"the table {table.name} has {0 if rows is None else len(rows)} rows, not 1")
            return {name: rows[name][0] for name in table.columns.names}
    except ProductError:
        raise
    except Exception as error:
        # astropy raises errors of many kinds for damaged tables.
        raise ProductError(f"the table {table.name} is damaged ({first_line(error)})") from None


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
    ProductError
        If the header has no coordinate system W, or it or the table is damaged,
        or they do not agree.
    """

    def __init__(self, header: fits.Header, table: fits.BinTableHDU, shape: tuple[int, ...]) -> None:
        axes = WavelengthAxes.of_cards(header)
        if axes is None:
            raise ProductError("the header has no wavelength solution (no coordinate system W with a table)")
        if axes.table != table.name:
            raise ProductError(
                f"the wavelength solution is in the table {axes.table}, not in {table.name or 'one unnamed'}"
            )
        if header.get("CRPIX1A") is not None or header.get("CRPIX2A") is not None:
            check_same_origin(axes.origin, frame_origin(header), WAVELENGTH_KEY)
        self._axes = axes
        self._points = ControlPoints.of_row(row_of(table), axes)
        self._shape = tuple(shape)

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
        return cls(WavelengthAxes.of_table(table.name, origin).header(), table, shape)

    def __getstate__(self) -> dict[str, Any]:
        # astropy cannot pickle a WCS with look-up tables.
        return {name: value for name, value in vars(self).items() if name != "wcs"}

    def __repr__(self) -> str:
        y, x = (np.linspace(0, length - 1, min(length, _REPR_STEPS)) for length in self._shape)
        wavelength, _ = self.at(x, y[:, np.newaxis])
        known = wavelength[np.isfinite(wavelength)].to_value(units.um)
        text = f"{known.min():.3f} to {known.max():.3f} um" if known.size else "unknown"
        return f"<{type(self).__name__}: {text}, shape {self._shape}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image (rows, columns)."""
        return self._shape

    @functools.cached_property
    def wcs(self) -> WCS:
        """Coordinate system from pixels to wavelength and bandwidth."""
        header = dataclasses.replace(self._axes, table=WCS_WAVE, values="VALUES", ticks=("X", "Y")).header()
        return WCS(header, fobj=fits.HDUList([fits.PrimaryHDU(), self._points.hdu()]), key=WAVELENGTH_KEY)

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
    name = header.get(_TABLE)
    return None if name is None else str(name).strip()


class PlaneWavelengths:
    """Wavelengths and bandwidths of all pixels of the frame, from the calibration ``spectral_wcs``.

    Parameters
    ----------
    central, bandwidth
        Wavelengths and bandwidths with units, of shape (rows, columns). Values
        that are not positive or above 100 um become NaN.
    """

    def __init__(self, central: Quantity, bandwidth: Quantity) -> None:
        self._planes = tuple(map(_without_others, (central, bandwidth)))

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


def _without_others(plane: Quantity) -> Quantity:
    """Return a plane in which values that are not wavelengths are NaN, so that nothing is interpolated with them."""
    # Of planes in another byte order scipy makes a copy at every call.
    native = plane.astype(plane.dtype.newbyteorder("="), copy=False)
    longest = (_LONGEST_WAVELENGTH * units.um).to_value(plane.unit)
    is_wavelength = (native.value > 0) & (native.value <= longest)
    if is_wavelength.all():
        return native
    return Quantity(np.where(is_wavelength, native.value, np.nan), native.unit, dtype=None)


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
