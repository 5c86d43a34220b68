"""Measurement of all targets in one image: where a target becomes a row with a flux.

`measure_targets` places the targets on the image and reads the pixels around
them. `TargetRows` fills in the columns; the flux itself comes from
`spherex.photometry.measure_fluxes`, which fits all targets of a window.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.units import Quantity, Unit, UnitBase, UnitConversionError

from spherex.detectors import SOLID_ANGLE_TYPE, SPECTRAL_WCS_TYPE
from spherex.errors import CatalogError, HeaderError, ProductError, short_cause
from spherex.headers import exposure_middle, has_old_gains, number_of
from spherex.image import Box, celestial_wcs, chosen_flags, frame_origin
from spherex.photometry import (
    BrightSources,
    CentroidOffset,
    Pixels,
    measure_apertures,
    measure_brightness,
    measure_fluxes,
)

from .inputs import Calibrations, MeasureSettings, id_of
from .placing import barycentric_time, place_targets, plan_windows, positions_at
from .quality import is_good, quality_bits, quality_names, quality_of
from .sources import catalog_of, identity_of, image_source
from .tables import make_plain_table

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.io.fits import Header
    from astropy.table import Table
    from astropy.time import Time
    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from spherex.image import FlagTable, SPHERExImage
    from spherex.photometry import Profiles

    from .inputs import ImageSource
    from .placing import Placed, Window
    from .sources import AnyImage


MICROJANSKY = 1e12 * math.radians(1 / 3600) ** 2
"""Flux density (uJy) of 1 arcsec2 with a surface brightness of 1 MJy/sr: 23.50443."""

_UNIT: UnitBase = Unit("MJy / sr")

_REACH = 8.0
"""Distance beyond which a source has no light (pixels): PSFs of the archive end at 3 to 5 pixels."""

_AIRGLOW = 1.0833
"""Wavelength of the He I line in the atmosphere above the telescope (um)."""

_AIRGLOW_REACH = 0.06
"""Distance from the line beyond which it has no effect (um): more than twice the bandwidth there."""

_STEP = 5.0
"""Half of the distance for the change of the wavelength (pixels)."""

_GAIN_RANGE = (0.5, 2.0)
"""Gains outside of this range are errors: row medians of detector 1 are 0.875 to 0.983, and a few
1e-4 of all pixels are outside.
"""

NO_GAIN = "no gain in this row of the calibration l3_flux_corrections"
"""Reason of targets whose gain is to be corrected, but unknown."""

UNREAD = r"\b(file is gone|cut short|damaged|incomplete|file is empty|not FITS|another size)\b"
"""Regular expression of the reasons of targets on an image whose file could not be read completely.

An intact file that lacks a part, or is in another unit, is none of these.
"""

_MEDIAN_SOLID_ANGLE = "OMEGA_MEDIAN"

_ARCSEC2 = 3600.0**2
"""Square arcseconds of a square degree, the unit of the axes of a celestial WCS."""

_SOLID_ANGLE_RANGE = (0.5, 2.0)
"""Solid angles outside of this range, in units of that of the image's WCS, are errors, such as values in
another unit: medians of genuine images agree to 0.1 %.
"""

_FLUX_COLUMNS = ("flux", "flux_error", "aperture_flux", "aperture_flux_error")
_FITTED_COLUMNS = (
    *_FLUX_COLUMNS,
    "background",
    "background_error",
    "enclosed_fraction",
    "chi2",
    "core_chi2",
    "masked_fraction",
    "surface_brightness",
)
_FLOAT_COLUMNS = (
    *_FITTED_COLUMNS,
    "wavelength",
    "bandwidth",
    "gain_correction",
    "solid_angle",
)
_INTEGER_COLUMNS = ("dof", "core_dof", "flags", "neighbours", "psf_zone")
_TEXT_COLUMNS = (
    "flag_names",
    "background_method",
    "reason",
    "version",
    "wavelength_source",
    "psf_source",
    "solid_angle_source",
)

WavelengthAt = Callable[["NDArray[np.float64]", "NDArray[np.float64]"], tuple[Quantity, Quantity]]
"""Central wavelength and bandwidth at positions (x, y) in the frame."""


def measure_targets(
    image: AnyImage,
    targets: Table | SkyCoord,
    image_ids: Mapping[str, Any] | None = None,
    calibrations: Calibrations | None = None,
    settings: MeasureSettings | None = None,
) -> Table | None:
    """Measure all targets of a catalogue that are in an image.

    If the image lacks a part, such as the PSF, the fluxes are missing and the
    column ``reason`` names the part. Time, position, wavelength and surface
    brightness are measured all the same.

    Parameters
    ----------
    image
        Image in memory, path or URI of a file, or an `ImageSource`. Only the
        pixels around the targets are read.
    targets
        Positions, or a catalogue with the columns name, ra and dec, and
        optionally pmra, pmdec and ref_epoch.
    image_ids
        Values of the columns that identify the image, the same in all rows. By
        default detector and exposure, from the header.
    calibrations
        Calibrations; by default none.
    settings
        Settings of the measurement.

    Returns
    -------
    table
        With the columns of `COLUMNS`, a row for each target on the image in
        the order of the catalogue; `None` if no target is on the image.

    Raises
    ------
    spherex.errors.ProductError
        If the header cannot be read, or has no valid WCS or time.
    spherex.errors.CatalogError
        If the catalogue lacks a column, a column has a wrong unit, a target has
        no valid position or motion, or targets on the image have one name.

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
        return _measure(source, catalog_of(targets), image_ids, calibrations, settings)


def _measure(
    source: ImageSource,
    targets: Table,
    image_ids: Mapping[str, Any] | None,
    calibrations: Calibrations | None,
    settings: MeasureSettings | None,
) -> Table | None:
    calibrations = calibrations or Calibrations()
    settings = settings or MeasureSettings()
    header = source.header()
    shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
    wcs, time, sky = locate_targets(header, targets)
    placed = place_targets(wcs, sky, shape, settings.fluxes.side / 2 + _REACH)
    on_image = np.flatnonzero(placed.is_on_image)
    if not len(on_image):
        return None
    rows = TargetRows(source, header, placed, calibrations, settings)
    for window in plan_windows(placed.x[on_image], placed.y[on_image], shape, settings.fluxes.side // 2):
        rows.measure(window, wcs)
    rows.measure_offset()
    values = rows.values
    values["quality"] |= quality_bits({"NO_FLUX": values["reason"] != ""}, len(on_image))
    values["quality_names"] = quality_names(values["quality"])
    values["good"] = is_good(values["quality"])
    if image_ids is None:
        image_ids = identity_of(header)
    if (scale := calibrations.error_scale) is not None:
        scale.value.apply(values, image_ids.get("detector"), scale.id)
    index = placed.index[on_image]
    names = np.asarray(targets["name"], dtype=str)[index]
    unique, numbers = np.unique(names, return_counts=True)
    if len(unique) < len(names):
        raise CatalogError(
            f"{numbers.max()} targets have the name {unique[numbers.argmax()]}; give each target a name of its own, by "
            "which its rows are found"
        )
    values["target"] = names
    values["time"] = time.utc.mjd
    if settings.is_barycentric:
        values["time_barycentric"] = barycentric_time(time, sky[index])
    return make_plain_table({**values, **image_ids}, len(index))


def locate_targets(header: Header, targets: Table) -> tuple[WCS, Time, SkyCoord]:
    """Return the celestial WCS of an image, its time, and the positions of targets at that time.

    Parameters
    ----------
    header
        Header of the image.
    targets
        A catalogue, see `measure_targets`.

    Raises
    ------
    spherex.errors.ProductError
        If the header has no valid WCS or time.
    """
    try:
        wcs = celestial_wcs(header)
    except ValueError as error:
        raise ProductError(f"the celestial coordinates in the header are not valid: {error}") from error
    if wcs is None:
        raise ProductError("the image has no celestial coordinates")
    try:
        time = exposure_middle(header)
    except HeaderError as error:
        raise ProductError(f"the header has no time: {error}") from error
    if time is None:
        raise ProductError("the header has no time (MJD-AVG, or MJD-BEG and MJD-END, or the same with DATE)")
    return wcs, time, positions_at(targets, time)


def failed_table(names: NDArray[Any], image_ids: Mapping[str, Any], reason: str) -> Table:
    """Return the rows of targets in an image that could not be measured.

    Parameters
    ----------
    names
        Names of the targets.
    image_ids
        See `measure_targets`.
    reason
        Reason of the failure.
    """
    quality = quality_bits({"NO_FLUX": True}, 1)
    marks = {"quality": quality[0], "quality_names": quality_names(quality)[0], "good": False}
    return make_plain_table({**image_ids, **marks, "target": names, "reason": reason}, len(names))


class TargetRows:
    """Rows of the targets on an image.

    Parameters
    ----------
    source, header
        The image.
    placed
        The targets in and near the image.
    calibrations, settings
        See `measure_targets`.

    Attributes
    ----------
    values
        Values of the columns by name, numbers in the unit of the column.
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
        # From here on positions are those in the whole frame. Targets beside
        # the image are neighbours, and have no row.
        self._x, self._y = placed.x + self._origin[0], placed.y + self._origin[1]
        self._on_image = np.flatnonzero(placed.is_on_image)
        number = len(self._on_image)
        x, y = self._x[self._on_image], self._y[self._on_image]
        self.values: dict[str, Any] = {
            "x": x,
            "y": y,
            "spectral_wcs_id": id_of(calibrations.wavelengths),
            "solid_angle_id": id_of(calibrations.solid_angles),
            "psf_id": "",
            "obsid": str(header.get("OBSID", "")),
            **{name: np.full(number, np.nan) for name in _FLOAT_COLUMNS},
            **{name: np.full(number, -1, np.int64) for name in _INTEGER_COLUMNS},
            **{name: np.full(number, "", object) for name in _TEXT_COLUMNS},
            "quality": np.zeros(number, np.int32),
        }
        self._slopes = np.full((number, 2), np.nan)
        self._bright = BrightSources()
        self._profiles: Profiles | None = None
        self._has_psf = np.zeros(number, bool)
        with self._failing("no wavelength"):
            self._measure_wavelengths(x, y)
        with self._failing("no PSF"):
            psf = self._calibrations.psf_of(self._source)
            self._profiles, self.values["psf_source"], self.values["psf_id"] = psf
            self.values["psf_zone"] = self._profiles.nearest_zone(x, y)
            self._has_psf = self._profiles.is_known(x, y)

    @contextlib.contextmanager
    def _failing(self, failure: str, rows: Any = slice(None)) -> Iterator[None]:
        """Write an error of the image into the column ``reason`` instead of raising it."""
        try:
            yield
        except ProductError as error:
            self._add_reason(f"{failure}: {short_cause(error)}", rows)

    def _add_reason(self, reason: str, rows: Any) -> None:
        # The first reason of a row stays.
        reasons = self.values["reason"][rows]
        self.values["reason"][rows] = np.where(reasons == "", reason, reasons)

    def _measure_wavelengths(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        if self._calibrations.wavelengths is not None:
            at: WavelengthAt = self._calibrations.wavelengths.value.at
            origin = SPECTRAL_WCS_TYPE
        else:
            solution, (x0, y0) = self._source.wavelength(), self._origin
            origin = "WCS W of the image"

            def at(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Quantity, Quantity]:
                return solution.at(x - x0, y - y0)

        central, bandwidth = at(x, y)
        self._slopes = airglow_slopes(at, central, x, y)
        self.values["wavelength"], self.values["bandwidth"] = central.to_value("um"), bandwidth.to_value("um")
        self.values["wavelength_source"] = origin
        self._add_reason("no wavelength at this pixel", ~np.isfinite(self.values["wavelength"]))

    def measure(self, window: Window, wcs: WCS) -> None:
        """Fill in the rows of the targets in a window of the image.

        Parameters
        ----------
        window
            The window.
        wcs
            Celestial WCS of the image.
        """
        with self._failing("no pixels", window.members):
            image = self._source.read(window.box)
            self._measure_image(image, window.box.shifted(*self._origin), window.members, wcs)

    def measure_offset(self) -> None:
        """Fill in the offset of the bright targets of all windows, the same for all rows."""
        offset = CentroidOffset() if self._profiles is None else self._bright.offset(self._profiles)
        for axis in ("x", "y"):
            self.values[f"centroid_d{axis}"] = getattr(offset, axis)
            self.values[f"centroid_d{axis}_error"] = getattr(offset, f"{axis}_error")
        self.values["centroids"] = offset.number

    def _measure_image(self, image: SPHERExImage, box: Box, rows: NDArray[np.intp], wcs: WCS) -> None:
        """Fill in rows from a part of the image, whose box is that in the frame."""
        values, calibrations = self.values, self._calibrations
        on_image = self._on_image[rows]
        x, y = self._x[on_image], self._y[on_image]
        # A position on the edge of two pixels may be rounded to the one beside the image.
        column = np.clip(np.rint(x).astype(int), box.x0, box.x1 - 1)
        line = np.clip(np.rint(y).astype(int), box.y0, box.y1 - 1)
        angles = calibrations.solid_angles
        values["solid_angle"][rows], values["solid_angle_source"][rows] = solid_angles(
            self._header, wcs, len(rows), None if angles is None else angles.value[line, column]
        )
        pixels = _pixels(image, (box.x0, box.y0), self._settings)
        version = image.version
        values["version"][rows] = version or ""
        values["gain_correction"][rows] = 1.0
        gains = calibrations.gains_of(version)
        values["flux_correction_id"] = id_of(gains)
        if gains is None and has_old_gains(version):
            values["quality"][rows] |= quality_bits({"UNCORRECTED_GAIN": True}, 1)
        if gains is not None:
            gain = gains_in(gains.value, box)
            pixels = dataclasses.replace(pixels, data=pixels.data * gain, variance=pixels.variance * gain**2)
            values["gain_correction"][rows] = gain[line - box.y0, column - box.x0]
            self._add_reason(NO_GAIN, rows[np.isnan(values["gain_correction"][rows])])
        if image.variance is None:
            self._add_reason("the image has no variance, which the errors of fluxes need", rows)
        if image.flag_plane is None:
            self._add_reason("the image has no flags, which mark bad pixels", rows)
        without = rows[~self._has_psf[rows]]
        if len(without):
            self._add_reason("no PSF: its samples here are not numbers, or do not sum to 1", without)
            values["quality"][without] |= quality_bits({"NO_PSF": True}, 1)
            self._measure_apertures(pixels, without, image)
        has_flux = (values["reason"][rows] == "") & (self._profiles is not None)
        values["surface_brightness"][rows[~has_flux]] = measure_brightness(
            pixels, x[~has_flux], y[~has_flux], self._settings.fluxes.side
        )
        if has_flux.any() and self._profiles is not None:
            self._measure_fluxes(pixels, rows[has_flux], self._profiles, image.flag_table)

    def _measure_apertures(self, pixels: Pixels, rows: NDArray[np.intp], image: SPHERExImage) -> None:
        """Measure what can be measured without a PSF; without a variance there are no errors."""
        values, settings = self.values, self._settings.fluxes
        on_image = self._on_image[rows]
        found = measure_apertures(
            pixels, self._x[on_image], self._y[on_image], settings.side, settings.aperture, settings.core
        )
        to_microjansky = values["solid_angle"][rows] * MICROJANSKY
        values["aperture_flux"][rows], values["background"][rows] = found.flux * to_microjansky, found.background
        values["background_method"][rows] = "median"
        if image.variance is not None:
            values["aperture_flux_error"][rows] = found.error * to_microjansky
            values["background_error"][rows] = found.background_error
        if image.flag_plane is not None:
            values["flags"][rows], values["flag_names"][rows] = found.flags, _names_of(found.flags, image.flag_table)

    def _measure_fluxes(
        self, pixels: Pixels, rows: NDArray[np.intp], profiles: Profiles, flag_table: FlagTable
    ) -> None:
        values, slopes = self.values, self._slopes[rows]
        fluxes = measure_fluxes(
            pixels, self._x, self._y, self._on_image[rows], profiles, self._settings.fluxes, slopes, self._bright
        )
        for name in (*_FITTED_COLUMNS, "dof", "core_dof", "flags", "neighbours", "reason"):
            values[name][rows] = getattr(fluxes, name)
        values["quality"][rows] |= quality_of(fluxes, flag_table)
        # From MJy/sr summed over pixels to uJy.
        for name in _FLUX_COLUMNS:
            values[name][rows] *= values["solid_angle"][rows] * MICROJANSKY
        values["flag_names"][rows] = _names_of(fluxes.flags, flag_table)
        is_sloping = np.isfinite(slopes).all(axis=1) & slopes.any(axis=1)
        method = np.where(is_sloping, "constant + slope along wavelength", "constant")
        values["background_method"][rows] = np.char.add(method, np.where(fluxes.is_clipped, ", clipped", ""))


def _names_of(flags: NDArray[np.int64], flag_table: FlagTable) -> list[str]:
    # Many targets have the same flags.
    by_bit = {bit: name for name, bit in flag_table.items()}
    unnamed = {bit: f"BIT{bit}" for bit in range(32) if bit not in by_bit}
    names = {
        bits: " ".join(name for bit, name in (by_bit | unnamed).items() if bits >> bit & 1)
        for bits in set(flags.tolist())
    }
    return [names[bits] for bits in flags.tolist()]


def _pixels(image: SPHERExImage, origin: tuple[int, int], settings: MeasureSettings) -> Pixels:
    """Return the pixels of an image in MJy/sr.

    Without flags all pixels are good, without variance all weights are equal.
    """
    factor = brightness_factor(image)
    table, flags = image.flag_table, image.flags
    if flags is None:
        flags = np.zeros(image.shape, np.int32)
    else:
        for names in (settings.bad_flags, settings.doubtful_flags):
            if names and not chosen_flags(names, table):
                known = ", ".join(table) or "none"
                raise ProductError(f"the image has none of the flags of {', '.join(names)}; it has {known}")
    variance = np.ones(image.shape) if image.variance is None else image.variance
    data = image.data
    if factor != 1.0:
        data, variance = data * factor, variance * factor**2
    return Pixels(
        data,
        variance,
        flags,
        origin,
        bad=int(table.chosen(settings.bad_flags, but=settings.suspect_flags)),
        doubtful=int(table.chosen(settings.doubtful_flags)),
        suspect=int(table.chosen(settings.suspect_flags)),
    )


def brightness_factor(image: SPHERExImage) -> float:
    """Return the factor from the unit of an image to MJy/sr.

    Raises
    ------
    spherex.errors.ProductError
        If the image has no unit, or another kind of unit.
    """
    try:
        return 1.0 if image.unit == _UNIT else float(image.unit.to(_UNIT))
    except (AttributeError, UnitConversionError):
        raise ProductError(f"the image is in {image.unit or 'no unit'}, not in {_UNIT}") from None


def airglow_slopes(
    at: WavelengthAt, central: Quantity, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the direction in which the background of targets changes with the wavelength.

    Within the few pixels around a target, the background from the airglow line
    is a slope along the gradient of the wavelength.

    Parameters
    ----------
    at
        Wavelengths of the frame.
    central
        Central wavelengths at the targets, shape (n,).
    x, y
        Positions of the targets in the frame (pixels), shape (n,).

    Returns
    -------
    slopes
        Changes of the wavelength along x and y (um in 10 pixels), shape (n, 2);
        NaN for targets far from the line.
    """
    slopes = np.full((len(x), 2), np.nan)
    near = np.flatnonzero(np.abs(central.to_value("um") - _AIRGLOW) < _AIRGLOW_REACH)
    if not len(near):
        return slopes
    for axis, (dx, dy) in enumerate(((_STEP, 0.0), (0.0, _STEP))):
        upper, lower = (at(x[near] + sign * dx, y[near] + sign * dy)[0].to_value("um") for sign in (1, -1))
        slopes[near, axis] = upper - lower
    # At the edge of the frame one of the two wavelengths may be unknown.
    unknown = near[~np.isfinite(slopes[near]).all(axis=1)]
    slopes[unknown] = (0.0, 1.0)
    return slopes


def gains_in(gains: NDArray[np.floating], box: Box) -> NDArray[np.floating]:
    """Return the gain factors of the pixels in a box.

    Parameters
    ----------
    gains
        The calibration l3_flux_corrections, shape (rows, columns) of the
        frame. Values that are not gains are replaced by the median of the
        gains in their row of the frame; NaN in a row without gains.
    box
        The box in the frame.
    """
    rows = gains[box.y0 : box.y1].astype(np.float64)
    least, most = _GAIN_RANGE
    rows[~((rows > least) & (rows < most))] = np.nan
    has_gain = np.isfinite(rows).any(axis=1)
    medians = np.full(len(rows), np.nan)
    medians[has_gain] = np.nanmedian(rows[has_gain], axis=1)
    part = rows[:, box.x0 : box.x1]
    return np.where(np.isfinite(part), part, medians[:, None])


def solid_angles(
    header: Header, wcs: WCS, number: int, calibrated: NDArray[np.floating] | None
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    """Return the solid angles of pixels (arcsec2), and the source of each.

    Parameters
    ----------
    header
        Header of the image.
    wcs
        Its celestial WCS.
    number
        Number of pixels.
    calibrated
        Values of the calibration solid_angle_pixel_map at the pixels
        (arcsec2). Values below half or above twice the scale of the WCS are
        replaced by that of the image.
    """
    # WCS.proj_plane_pixel_area takes forty times as long.
    scale = abs(float(np.linalg.det(wcs.pixel_scale_matrix))) * _ARCSEC2
    least, most = (scale * limit for limit in _SOLID_ANGLE_RANGE)
    angle, source = number_of(header, _MEDIAN_SOLID_ANGLE), f"{_MEDIAN_SOLID_ANGLE} of the image"
    if angle is None or not least < angle < most:
        angle, source = scale, "scale of the image's WCS"
    angles, sources = np.full(number, angle), np.full(number, source, object)
    if calibrated is not None:
        is_known = (calibrated > least) & (calibrated < most)
        angles[is_known], sources[is_known] = calibrated[is_known], SOLID_ANGLE_TYPE
    return angles, sources
