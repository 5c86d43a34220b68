"""Measurement of all targets in one image."""

from __future__ import annotations

__all__ = [
    "MICROJANSKY",
    "Calibration",
    "Calibrations",
    "ImageSource",
    "MeasureSettings",
    "failed_table",
    "measure_targets",
    "time_of",
]

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..image import celestial_wcs, frame_origin
from ..instrument.detectors import FRAME_SIDE
from ..photometry import FluxSettings, Pixels, measure_fluxes
from ..targets.motion import positions_at
from .columns import make_table
from .pixel_properties import airglow_slopes, gains_in, needs_gains, solid_angles
from .placing import barycentric_time, place_targets, plan_windows

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import QTable, Table
    from astropy.time import Time
    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from ..image import Box, FlagTable, SPHERExImage, Wavelength
    from ..photometry import Profiles
    from .pixel_properties import WavelengthAt
    from .placing import Placed, Window

MICROJANSKY = 1e12 * math.radians(1 / 3600) ** 2
"""uJy in a pixel of 1 arcsec2 under a surface brightness of 1 MJy/sr: 23.50443."""


class ImageSource(Protocol):
    """An image of which parts can be read."""

    def header(self) -> Header:
        """Return the header of the whole."""

    def read(self, box: Box) -> SPHERExImage:
        """Return a part, without further planes."""

    def profiles(self) -> tuple[Profiles, str]:
        """Return the PSF, and where it comes from."""

    def wavelength(self) -> Wavelength:
        """Return the wavelength solution of the whole."""


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """A calibration and which one it is.

    Parameters
    ----------
    id
        UUID of the dataset.
    value
        What it is.
    """

    id: str
    value: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Calibrations:
    """The calibrations that there are.

    Parameters
    ----------
    wavelengths
        `PlaneWavelengths`, instead of the image's own solution.
    solid_angles
        `PixelMap` in arcsec2, instead of the median that the image tells.
    psf
        `spherex.photometry.Profiles`, instead of those of the image.
    gains
        `PixelMap` of factors for images of the pipeline before version 7.
    """

    wavelengths: Calibration | None = None
    solid_angles: Calibration | None = None
    psf: Calibration | None = None
    gains: Calibration | None = None


@dataclasses.dataclass(frozen=True)
class MeasureSettings:
    """How targets are measured.

    Parameters
    ----------
    fluxes
        How fluxes are measured.
    bad_flags
        Preset, or names of flags, of pixels that are not used.
    doubtful_flags
        Preset, or names of flags, of pixels that are no background.
    is_barycentric
        Whether times at the barycentre are wanted.
    """

    fluxes: FluxSettings = dataclasses.field(default_factory=FluxSettings)
    bad_flags: str | tuple[str, ...] = "fit"
    doubtful_flags: str | tuple[str, ...] = "background"
    is_barycentric: bool = False


def measure_targets(
    source: ImageSource,
    targets: Table,
    facts: Mapping[str, Any],
    calibrations: Calibrations | None = None,
    settings: MeasureSettings | None = None,
) -> QTable | None:
    """Measure all targets of a catalogue that are in an image.

    Parameters
    ----------
    source
        The image.
    targets
        The catalogue: name, ra, dec, perhaps pmra, pmdec and ref_epoch.
    facts
        Values of columns that hold for all rows: what identifies the image.
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
    ValueError
        If the image cannot be measured; the message says why.
    """
    calibrations = calibrations or Calibrations()
    settings = settings or MeasureSettings()
    header = source.header()
    wcs = celestial_wcs(header)
    if wcs is None:
        raise ValueError("the image has no celestial coordinates")
    time = time_of(header)
    sky = positions_at(targets, time)
    shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
    placed = place_targets(wcs, sky, shape, settings.fluxes.side)
    rows = np.flatnonzero(placed.is_on_image)
    if not len(rows):
        return None
    found = _Rows(source, header, placed, calibrations, settings)
    for window in plan_windows(placed.x[rows], placed.y[rows], shape, settings.fluxes.side // 2):
        found.measure(window, wcs)
    values = found.values
    chosen = placed.index[rows]
    values["target"] = np.asarray(targets["name"], dtype=str)[chosen]
    values["time"] = time.utc.mjd
    if settings.is_barycentric:
        values["time_barycentric"] = barycentric_time(time, sky[chosen])
    return make_table({**values, **facts}, len(rows))


_FLUXES = ("flux", "flux_error", "aperture_flux", "aperture_flux_error")
_MEASURED = (*_FLUXES, "background", "background_error", "enclosed_fraction", "chi2", "masked_fraction")
_COUNTED = ("dof", "flags", "neighbours")
_TOLD = ("flag_names", "background_method", "reason")


class _Rows:
    """The rows of the targets on an image.

    Parameters
    ----------
    source, header
        The image.
    placed
        The targets in and near it.
    calibrations, settings
        As of `measure_targets`.
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
        at, wavelength_source = self._wavelengths()
        central, bandwidth = at(x, y)
        self._slopes = airglow_slopes(at, central, x, y)
        self._profiles, psf_source = self._psf()
        self.values: dict[str, Any] = {
            "x": x,
            "y": y,
            "wavelength": central.to_value("um"),
            "bandwidth": bandwidth.to_value("um"),
            "wavelength_source": wavelength_source,
            "spectral_wcs_id": _id(calibrations.wavelengths),
            "solid_angle_id": _id(calibrations.solid_angles),
            "psf_source": psf_source,
            "psf_id": _id(calibrations.psf),
            "psf_zone": self._profiles.nearest_zone(x, y),
            "obsid": str(header.get("OBSID", "")),
            **{name: np.full(number, np.nan) for name in (*_MEASURED, "gain_correction", "solid_angle")},
            **{name: np.zeros(number, np.int64) for name in _COUNTED},
            **{name: np.full(number, "", object) for name in _TOLD},
        }

    def _wavelengths(self) -> tuple[WavelengthAt, str]:
        if self._calibrations.wavelengths is not None:
            return self._calibrations.wavelengths.value.at, "spectral_wcs"
        solution, (x0, y0) = self._source.wavelength(), self._origin
        return lambda x, y: solution.at(x - x0, y - y0), "WCS W of the image"

    def _psf(self) -> tuple[Profiles, str]:
        if self._calibrations.psf is not None:
            return self._calibrations.psf.value, "calibration"
        return self._source.profiles()

    def measure(self, window: Window, wcs: WCS) -> None:
        """Fill in the rows of the targets in a part of the image."""
        some = window.members
        rows = self._rows[some]
        box = window.box.shifted(*self._origin)
        image = self._source.read(window.box)
        pixels = _pixels(image, (box.x0, box.y0), self._settings)
        place = (np.rint(self._y[rows]).astype(int) - box.y0, np.rint(self._x[rows]).astype(int) - box.x0)
        values = self.values
        values["gain_correction"][some] = 1.0
        values["version"] = version = image.version or ""
        gains = self._calibrations.gains if needs_gains(version) else None
        values["flux_correction_id"] = _id(gains)
        if gains is not None:
            gain = gains_in(gains.value, box, FRAME_SIDE)
            pixels = dataclasses.replace(pixels, data=pixels.data * gain, variance=pixels.variance * gain**2)
            values["gain_correction"][some] = gain[place]
        fluxes = measure_fluxes(
            pixels, self._x, self._y, rows, self._profiles, self._settings.fluxes, self._slopes[some]
        )
        for name in (*_MEASURED, *_COUNTED, "reason"):
            values[name][some] = getattr(fluxes, name)
        known = self._calibrations.solid_angles
        angle, values["solid_angle_source"] = solid_angles(
            self._header, wcs, None if known is None else known.value.read(box)[place]
        )
        values["solid_angle"][some] = angle
        for name in _FLUXES:
            values[name][some] *= angle * MICROJANSKY
        values["flag_names"][some] = _names(fluxes.flags, image.flag_table)
        method = np.where(np.isfinite(self._slopes[some]).all(axis=1), "constant + slope along wavelength", "constant")
        values["background_method"][some] = np.char.add(method, np.where(fluxes.is_clipped, ", clipped", ""))


def _id(calibration: Calibration | None) -> str:
    return "" if calibration is None else calibration.id


def failed_table(names: NDArray[Any], facts: Mapping[str, Any], reason: str) -> QTable:
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
    return make_table({**facts, "target": names, "reason": reason}, len(names))


def time_of(header: Header) -> Time:
    """Return the middle of an exposure.

    Raises
    ------
    ValueError
        If the header does not tell it.
    """
    from astropy.time import Time

    if "MJD-AVG" in header:
        return Time(float(header["MJD-AVG"]), format="mjd", scale="utc")
    if "MJD-BEG" in header and "MJD-END" in header:
        begin, end = (Time(float(header[name]), format="mjd", scale="utc") for name in ("MJD-BEG", "MJD-END"))
        return begin + (end - begin) / 2
    raise ValueError("the header has no time (MJD-AVG, or MJD-BEG and MJD-END)")


def _pixels(image: SPHERExImage, origin: tuple[int, int], settings: MeasureSettings) -> Pixels:
    if image.variance is None:
        raise ValueError("the image has no variance, so that fluxes would have no errors")
    if image.flag_plane is None:
        raise ValueError("the image has no flags that could tell bad pixels")
    is_bad = image.bad_pixels(settings.bad_flags)
    return Pixels(
        image.data, image.variance, is_bad, image.bad_pixels(settings.doubtful_flags), image.flag_plane.array, origin
    )


def _names(flags: NDArray[np.int64], table: FlagTable) -> list[str]:
    """Return the names of the flags of each target, of which many have the same."""
    names = {value: " ".join(name for name in table if value >> table[name] & 1) for value in set(flags.tolist())}
    return [names[value] for value in flags.tolist()]
