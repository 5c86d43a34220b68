"""Inputs of a measurement of targets: the image, calibrations and settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from astropy import units
from astropy.units import Quantity

from spherex.detectors import SOLID_ANGLE_TYPE
from spherex.image import Box
from spherex.photometry import FluxSettings

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from spherex.image import SPHERExImage, Wavelength
    from spherex.photometry import Profiles


_AIRGLOW = 1.0833
"""Wavelength of the line of He I in the air above the telescope (um)."""

_AIRGLOW_REACH = 0.06
"""Distance from it beyond which it does not matter (um): more than twice the bandwidth there."""

_STEP = 5.0
"""Pixels over which the change of the wavelength is taken."""

_GAIN_RANGE = (0.5, 2.0)
"""Gains outside of it are errors (spectrophotometry.md, C2)."""

_MEDIAN_SOLID_ANGLE = "OMEGA_MEDIAN"

WavelengthAt = Callable[["NDArray[np.float64]", "NDArray[np.float64]"], tuple[Quantity, Quantity]]
"""Central wavelength and bandwidth at pixels of the whole frame, from 0."""


class PixelMap(Protocol):
    """A calibration with one number for each pixel of the frame."""

    def read(self, box: Box) -> NDArray[np.floating]:
        """Return a part of it."""


def airglow_slopes(
    at: WavelengthAt, central: Quantity, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return along which direction the background changes with the wavelength.

    The line of the airglow is, within the few pixels around a target, a slope
    along the direction in which the wavelength changes.

    Parameters
    ----------
    at
        Wavelengths of the frame.
    central
        Those of the targets.
    x, y
        Where these are, pixels of the frame.

    Returns
    -------
    slopes
        Changes of the wavelength along x and y, of shape (n, 2); NaN for
        targets far from the line.
    """
    slopes = np.full((len(x), 2), np.nan)
    near = np.flatnonzero(np.abs(central.to_value(units.um) - _AIRGLOW) < _AIRGLOW_REACH)
    if not len(near):
        return slopes
    for axis, (dx, dy) in enumerate(((_STEP, 0.0), (0.0, _STEP))):
        upper, lower = (at(x[near] + sign * dx, y[near] + sign * dy)[0].to_value(units.um) for sign in (1, -1))
        slopes[near, axis] = upper - lower
    # At the edge of the frame one of the two may be unknown.
    lost = near[~np.isfinite(slopes[near]).all(axis=1)]
    slopes[lost] = (0.0, 1.0)
    return slopes


def gains_in(gains: PixelMap, box: Box, width: int) -> NDArray[np.floating]:
    """Return factors for the pixels of a part of the frame.

    Parameters
    ----------
    gains
        The calibration l3_flux_corrections.
    box
        The part, in pixels of the frame.
    width
        Columns of the frame. What is no gain is replaced by the median of
        its row, of which all is read for that.
    """
    rows = gains.read(Box(0, width, box.y0, box.y1)).astype(np.float64)
    least, most = _GAIN_RANGE
    rows[~((rows > least) & (rows < most))] = np.nan
    has_any = np.isfinite(rows).any(axis=1)
    medians = np.ones(len(rows))
    medians[has_any] = np.nanmedian(rows[has_any], axis=1)
    part = rows[:, box.x0 : box.x1]
    return np.where(np.isfinite(part), part, medians[:, None])


def solid_angles(
    header: Header, wcs: WCS, number: int, gained: NDArray[np.floating] | None
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    """Return the solid angles of pixels (arcsec2) and where each comes from.

    Parameters
    ----------
    header
        Header of the image.
    wcs
        Its coordinates.
    number
        Number of pixels.
    gained
        Those of the calibration solid_angle_pixel_map (arcsec2), if there is
        one. What is no solid angle there is taken from the image.
    """
    if _MEDIAN_SOLID_ANGLE in header:
        angle, source = float(header[_MEDIAN_SOLID_ANGLE]), f"{_MEDIAN_SOLID_ANGLE} of the image"
    else:
        angle, source = float(wcs.proj_plane_pixel_area().to_value(units.arcsec**2)), "scale of the image's WCS"
    angles, sources = np.full(number, angle), np.full(number, source, object)
    if gained is not None:
        is_known = np.isfinite(gained) & (gained > 0)
        angles[is_known], sources[is_known] = gained[is_known], SOLID_ANGLE_TYPE
    return angles, sources


@runtime_checkable
class ImageSource(Protocol):
    """An image of which parts can be read.

    Each method raises a `spherex.fits.ProductError` if the file is damaged or
    lacks what is asked for. Other errors are none of the file: it may be read
    another time.
    """

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
        `spherex.image.PlaneWavelengths`, instead of the image's own solution.
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
        Presets and names of flags of pixels that are not used; those that an
        image does not have are passed over.
    doubtful_flags
        The same of pixels that are no background.
    is_barycentric
        Whether times at the barycentre are wanted.
    """

    fluxes: FluxSettings = dataclasses.field(default_factory=FluxSettings)
    bad_flags: tuple[str, ...] = ("fit",)
    doubtful_flags: tuple[str, ...] = ("background",)
    is_barycentric: bool = False
