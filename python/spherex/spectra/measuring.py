"""Measurement of all targets in one image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from astropy.units import Unit, UnitBase, UnitConversionError

from spherex.detectors import FRAME_SIDE, SPECTRAL_WCS_TYPE
from spherex.errors import HeaderError, ProductError
from spherex.headers import exposure_middle, has_old_gains
from spherex.image import BAD_PIXEL_PRESETS, celestial_wcs, frame_origin
from spherex.photometry import Pixels, measure_brightness, measure_fluxes

from .inputs import Calibrations, MeasureSettings, airglow_slopes, gains_in, solid_angles
from .placing import barycentric_time, place_targets, plan_windows, positions_at
from .sources import catalog_of, identity_of, image_source
from .tables import make_plain_table

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.io.fits import Header
    from astropy.table import Table
    from astropy.time import Time
    from astropy.units import Quantity
    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from spherex.image import FlagTable, SPHERExImage
    from spherex.photometry import Profiles

    from .inputs import Calibration, ImageSource, WavelengthAt
    from .placing import Placed, Window
    from .sources import AnyImage


MICROJANSKY = 1e12 * math.radians(1 / 3600) ** 2
"""uJy in a pixel of 1 arcsec2 under a surface brightness of 1 MJy/sr: 23.50443."""

_UNIT: UnitBase = Unit("MJy / sr")

_FLUXES = ("flux", "flux_error", "aperture_flux", "aperture_flux_error")
_MEASURED = (*_FLUXES, "background", "background_error", "enclosed_fraction", "chi2", "masked_fraction")
_KNOWN_ANYHOW = ("wavelength", "bandwidth", "surface_brightness", "gain_correction", "solid_angle")
_COUNTED = ("dof", "flags", "neighbours", "psf_zone")
_TOLD = (
    "flag_names",
    "background_method",
    "reason",
    "version",
    "wavelength_source",
    "psf_source",
    "solid_angle_source",
)

_Read = TypeVar("_Read")


class Rows:
    """The rows of the targets on an image.

    Parameters
    ----------
    source, header
        The image.
    placed
        The targets in and near it.
    calibrations, settings
        As of `spherex.spectra.measure_targets`.

    Attributes
    ----------
    values
        Values of the columns by name, numbers in the column's unit.
    """

    def __init__(
        self,
        source: ImageSource,
        header: Header,
        placed: Placed,
        calibrations: Calibrations,
        settings: MeasureSettings,
    ) -> None:
        self._source, self._header = source, header
        self._calibrations, self._settings = calibrations, settings
        self._origin = (round(frame_origin(header)[0]), round(frame_origin(header)[1]))
        self._x, self._y = placed.x + self._origin[0], placed.y + self._origin[1]
        self._rows = np.flatnonzero(placed.is_on_image)
        number = len(self._rows)
        x, y = self._x[self._rows], self._y[self._rows]
        self.values: dict[str, Any] = {
            "x": x,
            "y": y,
            "spectral_wcs_id": _id(calibrations.wavelengths),
            "solid_angle_id": _id(calibrations.solid_angles),
            "psf_id": _id(calibrations.psf),
            "obsid": str(header.get("OBSID", "")),
            **{name: np.full(number, np.nan) for name in (*_MEASURED, *_KNOWN_ANYHOW)},
            **{name: np.full(number, -1, np.int64) for name in _COUNTED},
            **{name: np.full(number, "", object) for name in _TOLD},
        }
        self._slopes = np.full((number, 2), np.nan)
        self._profiles: Profiles | None = None
        self._find_wavelengths(x, y)
        self._find_psf(x, y)

    def _attempt(self, what: str, read: Callable[[], _Read], some: Any = slice(None)) -> _Read | None:
        """Return what is read of the image; if it cannot be read, `None`, and rows that say why."""
        try:
            return read()
        except ProductError as error:
            self._fail(f"{what}: {' '.join(str(error).split())}", some)
            return None

    def _fail(self, reason: str, some: Any) -> None:
        reasons = self.values["reason"][some]
        self.values["reason"][some] = np.where(reasons == "", reason, reasons)

    def _find_wavelengths(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        if self._calibrations.wavelengths is not None:
            at: WavelengthAt = self._calibrations.wavelengths.value.at
            origin = SPECTRAL_WCS_TYPE
        else:
            solution, (x0, y0) = self._attempt("no wavelength", self._source.wavelength), self._origin
            if solution is None:
                return
            origin = "WCS W of the image"

            def at(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Quantity, Quantity]:
                return solution.at(x - x0, y - y0)

        central, bandwidth = at(x, y)
        self._slopes = airglow_slopes(at, central, x, y)
        self.values["wavelength"], self.values["bandwidth"] = central.to_value("um"), bandwidth.to_value("um")
        self.values["wavelength_source"] = origin
        self._fail("no wavelength at this pixel", ~np.isfinite(self.values["wavelength"]))

    def _find_psf(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        found: tuple[Profiles, str] | None
        if self._calibrations.psf is not None:
            found = (self._calibrations.psf.value, "calibration")
        else:
            found = self._attempt("no PSF", self._source.profiles)
        if found is not None:
            self._profiles, self.values["psf_source"] = found
            self.values["psf_zone"] = self._profiles.nearest_zone(x, y)

    def measure(self, window: Window, wcs: WCS) -> None:
        """Fill in the rows of the targets in a part of the image."""
        some, values = window.members, self.values
        image = self._attempt("no pixels", lambda: self._source.read(window.box), some)
        if image is None:
            return
        rows = self._rows[some]
        box = window.box.shifted(*self._origin)
        place = (np.rint(self._y[rows]).astype(int) - box.y0, np.rint(self._x[rows]).astype(int) - box.x0)
        known = self._calibrations.solid_angles
        values["solid_angle"][some], values["solid_angle_source"][some] = solid_angles(
            self._header, wcs, len(rows), None if known is None else known.value.read(box)[place]
        )
        pixels = self._attempt("no pixels", lambda: _pixels(image, (box.x0, box.y0), self._settings), some)
        if pixels is None:
            return
        values["version"][some] = image.version or ""
        values["gain_correction"][some] = 1.0
        gains = self._calibrations.gains if has_old_gains(image.version) else None
        values["flux_correction_id"] = _id(gains)
        if gains is not None:
            gain = gains_in(gains.value, box, FRAME_SIDE)
            pixels = dataclasses.replace(pixels, data=pixels.data * gain, variance=pixels.variance * gain**2)
            values["gain_correction"][some] = gain[place]
        values["surface_brightness"][some] = measure_brightness(
            pixels, self._x[rows], self._y[rows], self._settings.fluxes.side
        )
        if image.variance is None:
            self._fail("the image has no variance, so that fluxes would have no errors", some)
        if image.flag_plane is None:
            self._fail("the image has no flags that could tell bad pixels", some)
        some = some[values["reason"][some] == ""]
        if self._profiles is not None and len(some):
            self._measure_fluxes(pixels, some, self._profiles, image.flag_table)

    def _measure_fluxes(
        self, pixels: Pixels, some: NDArray[np.intp], profiles: Profiles, flag_table: FlagTable
    ) -> None:
        values, slopes = self.values, self._slopes[some]
        fluxes = self._attempt(
            "no PSF",
            lambda: measure_fluxes(pixels, self._x, self._y, self._rows[some], profiles, self._settings.fluxes, slopes),
            some,
        )
        if fluxes is None:
            return
        for name in (*_MEASURED, "dof", "flags", "neighbours", "reason"):
            values[name][some] = getattr(fluxes, name)
        for name in _FLUXES:
            values[name][some] *= values["solid_angle"][some] * MICROJANSKY
        values["flag_names"][some] = _names(fluxes.flags, flag_table)
        is_sloping = np.isfinite(slopes).all(axis=1) & slopes.any(axis=1)
        method = np.where(is_sloping, "constant + slope along wavelength", "constant")
        values["background_method"][some] = np.char.add(method, np.where(fluxes.is_clipped, ", clipped", ""))


def _id(calibration: Calibration | None) -> str:
    return "" if calibration is None else calibration.id


def _pixels(image: SPHERExImage, origin: tuple[int, int], settings: MeasureSettings) -> Pixels:
    """Return the pixels of an image in MJy/sr; without flags all are good, without variance all weigh the same."""
    try:
        factor = 1.0 if image.unit == _UNIT else image.unit.to(_UNIT)
    except (AttributeError, UnitConversionError):
        raise ProductError(f"the image is in {image.unit or 'no unit'}, not in {_UNIT}") from None
    nothing = np.zeros(image.shape, bool)
    is_bad = is_doubtful = flags = nothing
    if image.flag_plane is not None:
        is_bad, is_doubtful = (_mask(image, names) for names in (settings.bad_flags, settings.doubtful_flags))
        flags = image.flag_plane.array
    variance = np.ones(image.shape) if image.variance is None else image.variance
    data = image.data
    if factor != 1.0:
        data, variance = data * factor, variance * factor**2
    return Pixels(data, variance, is_bad, is_doubtful, flags, origin)


def _mask(image: SPHERExImage, names: tuple[str, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(image.shape, bool)
    for name in names:
        if name in BAD_PIXEL_PRESETS or name in image.flag_table:
            try:
                mask |= image.bad_pixels(name)
            except ValueError as error:
                raise ProductError(str(error)) from error
    return mask


def _names(flags: NDArray[np.int64], table: FlagTable) -> list[str]:
    """Return the names of the flags of each target, of which many have the same."""
    names = {value: " ".join(name for name in table if value >> table[name] & 1) for value in set(flags.tolist())}
    return [names[value] for value in flags.tolist()]


_REACH = 8.0
"""Pixels; the light of no source reaches farther: PSFs of the archive end 3 to 5 pixels away."""


def measure_targets(
    image: AnyImage,
    targets: Table | SkyCoord,
    facts: Mapping[str, Any] | None = None,
    calibrations: Calibrations | None = None,
    settings: MeasureSettings | None = None,
) -> Table | None:
    """Measure all targets of a catalogue that are in an image.

    What is missing in the image costs the fluxes, for the reason that the
    rows tell, but not time, place, wavelength and brightness.

    Parameters
    ----------
    image
        Image in memory, path or URI of a file, or an `ImageSource`. Only the
        surroundings of the targets are read.
    targets
        Positions, or a catalogue with the columns name, ra and dec, and
        perhaps pmra, pmdec and ref_epoch.
    facts
        Values of columns that hold for all rows: what identifies the image.
        By default detector and exposure, from the header.
    calibrations
        The calibrations that there are.
    settings
        How to measure.

    Returns
    -------
    table
        With the columns of `COLUMNS`, a row for each target on the image in
        the order of the catalogue; `None` if there is none.

    Raises
    ------
    spherex.fits.ProductError
        If it is not known where and when the image was taken, or its header
        cannot be read; the message says why.
    spherex.errors.CatalogError
        If the catalogue lacks a column, or one has the wrong unit.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> star = SkyCoord(310.1, 40.16, unit="deg")
    >>> table = spherex.measure_targets("image.fits", star)
    >>> round(float(table["wavelength"][0]), 3), table["flux"].unit
    (0.755, Unit("uJy"))
    """
    with image_source(image) as source:
        return _measure(source, catalog_of(targets), facts, calibrations, settings)


def _measure(
    source: ImageSource,
    targets: Table,
    facts: Mapping[str, Any] | None,
    calibrations: Calibrations | None,
    settings: MeasureSettings | None,
) -> Table | None:
    calibrations = calibrations or Calibrations()
    settings = settings or MeasureSettings()
    header = source.header()
    wcs = _wcs_of(header)
    time = time_of(header)
    sky = positions_at(targets, time)
    shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
    placed = place_targets(wcs, sky, shape, settings.fluxes.side / 2 + _REACH)
    rows = np.flatnonzero(placed.is_on_image)
    if not len(rows):
        return None
    found = Rows(source, header, placed, calibrations, settings)
    for window in plan_windows(placed.x[rows], placed.y[rows], shape, settings.fluxes.side // 2):
        found.measure(window, wcs)
    values = found.values
    chosen = placed.index[rows]
    values["target"] = np.asarray(targets["name"], dtype=str)[chosen]
    values["time"] = time.utc.mjd
    if settings.is_barycentric:
        values["time_barycentric"] = barycentric_time(time, sky[chosen])
    return make_plain_table({**values, **(identity_of(header) if facts is None else facts)}, len(rows))


def _wcs_of(header: Header) -> WCS:
    try:
        wcs = celestial_wcs(header)
    except ValueError as error:
        raise ProductError(f"the celestial coordinates of the image are wrong: {error}") from error
    if wcs is None:
        raise ProductError("the image has no celestial coordinates")
    return wcs


def failed_table(names: NDArray[Any], facts: Mapping[str, Any], reason: str) -> Table:
    """Return rows of targets in an image that could not be measured.

    Parameters
    ----------
    names
        Names of the targets.
    facts
        As of `measure_targets`.
    reason
        Why.
    """
    return make_plain_table({**facts, "target": names, "reason": reason}, len(names))


def time_of(header: Header) -> Time:
    """Return the middle of an exposure.

    Raises
    ------
    spherex.fits.ProductError
        If the header does not tell it.
    """
    try:
        middle = exposure_middle(header)
    except HeaderError as error:
        raise ProductError(f"the header has no time: {error}") from error
    if middle is None:
        raise ProductError("the header has no time (MJD-AVG, or MJD-BEG and MJD-END, or the same with DATE)")
    return middle
