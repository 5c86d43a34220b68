"""Inputs of a measurement of targets: the image, calibrations and settings."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from astropy import units

from spherex.detectors import FRAME_SHAPE
from spherex.errors import ProductError
from spherex.headers import has_old_gains, version_of
from spherex.image import Psf, check_flag_names
from spherex.photometry import FluxSettings, Profiles

if TYPE_CHECKING:
    from astropy.io.fits import HDUList, Header
    from astropy.nddata import CCDData
    from numpy.typing import NDArray

    from spherex.image import Box, SPHERExImage, Wavelength


@runtime_checkable
class ImageSource(Protocol):
    """Image whose parts can be read.

    Each method raises `spherex.errors.ProductError` if the file is damaged or
    lacks the part. Any other error may pass, such as one of the network.
    """

    def header(self) -> Header:
        """Return the header of the whole image."""

    def read(self, box: Box) -> SPHERExImage:
        """Return a part of the image, without further planes."""

    def profiles(self) -> tuple[Profiles, str]:
        """Return the PSF, and its origin."""

    def wavelength(self) -> Wavelength:
        """Return the wavelength solution of the whole image."""


def read_map(image: CCDData, name: str, unit: units.UnitBase) -> NDArray[np.floating]:
    """Return the values of a calibration with one number for each pixel of the frame.

    Parameters
    ----------
    image
        The calibration.
    name
        Its dataset type, for the message.
    unit
        Unit of the result, and of a calibration without a unit.

    Returns
    -------
    values
        Shape (rows, columns).

    Raises
    ------
    spherex.errors.ProductError
        If the calibration has another shape, or a unit that cannot be
        converted.
    """
    if image.shape != FRAME_SHAPE:
        raise ProductError(f"the calibration {name} has shape {image.shape}, not {FRAME_SHAPE}")
    values = np.asarray(image.data)
    if image.unit in (None, units.dimensionless_unscaled) or image.unit == unit:
        return values
    if not image.unit.is_equivalent(unit):
        raise ProductError(f"the calibration {name} is in {image.unit}, not in {unit or 'numbers without unit'}")
    return values * image.unit.to(unit)


def read_profiles(hdus: HDUList, name: str) -> Profiles:
    """Return the PSF in a calibration ``epsf`` or ``average_psf``.

    Parameters
    ----------
    hdus
        The calibration.
    name
        Its dataset type, for the message.

    Raises
    ------
    spherex.errors.ProductError
        If no HDU has a PSF in a form of the archive, or its zones do not form a
        lattice.
    """
    hdu = next((hdu for hdu in hdus if Psf.is_in(hdu)), None)
    if hdu is None:
        raise ProductError(f"the calibration {name} has no PSF in a form of the archive")
    psf = Psf.from_hdu(hdu, version_of(hdus[0].header))
    try:
        return Profiles(psf)
    except ValueError as error:
        raise ProductError(f"the PSF of the calibration {name} cannot be used: {error}") from error


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration and its dataset ID.

    Parameters
    ----------
    id
        UUID of the dataset.
    value
        See `Calibrations`.
    """

    id: str
    value: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Calibrations:
    """Calibrations of a measurement; `None` where there is none.

    Parameters
    ----------
    wavelengths
        `spherex.image.PlaneWavelengths` or `spherex.image.Wavelength` of the
        frame, in place of the solution of the image.
    solid_angles
        Solid angles of all pixels of the frame (arcsec2), shape (rows,
        columns), in place of the median in the header of the image.
    psf
        `spherex.photometry.Profiles`, in place of the PSF of the image.
    gains
        Factors for images with old gains (`spherex.headers.has_old_gains`),
        shape (rows, columns).
    error_scale
        `spherex.spectra.ErrorScale`, with which errors are multiplied.
    is_psf_spare
        Whether ``psf`` serves only images without a PSF of their own.
    """

    wavelengths: Calibration | None = None
    solid_angles: Calibration | None = None
    psf: Calibration | None = None
    gains: Calibration | None = None
    error_scale: Calibration | None = None
    is_psf_spare: bool = False

    def gains_of(self, version: str | None) -> Calibration | None:
        """Return the gains for an image of a version of the mission's pipeline, `None` where it needs none."""
        return self.gains if has_old_gains(version) else None

    def psf_of(self, source: ImageSource) -> tuple[Profiles, str, str]:
        """Return the PSF for an image, its origin, and the UUID of the calibration, empty where none is used.

        Parameters
        ----------
        source
            The image, see `ImageSource.profiles`.

        Raises
        ------
        spherex.errors.ProductError
            If there is no calibration, and the image has no PSF that can be
            used.
        """
        if self.psf is None:
            return *source.profiles(), ""
        if self.is_psf_spare:
            with contextlib.suppress(ProductError):
                return *source.profiles(), ""
        return self.psf.value, "calibration", self.psf.id


def id_of(calibration: Calibration | None) -> str:
    """Return the UUID of a calibration, empty where there is none."""
    return "" if calibration is None else calibration.id


@dataclasses.dataclass(frozen=True)
class MeasureSettings:
    """Settings of a measurement.

    Parameters
    ----------
    fluxes
        Settings of the photometry.
    bad_flags
        Presets and names of the flags of pixels that are not used. Flags that
        the image does not have are ignored.
    suspect_flags
        The same for pixels that are used only in the core of a bright source,
        if it has the shape of the PSF. A flag that is also among ``bad_flags``
        is suspect.
    doubtful_flags
        The same for pixels that are not used for the background.
    is_barycentric
        Whether to add times at the barycentre of the solar system.

    Raises
    ------
    ValueError
        If no release has a flag of one of these names.
    """

    fluxes: FluxSettings = dataclasses.field(default_factory=FluxSettings)
    bad_flags: tuple[str, ...] = ("fit",)
    suspect_flags: tuple[str, ...] = ("suspect",)
    doubtful_flags: tuple[str, ...] = ("background",)
    is_barycentric: bool = False

    def __post_init__(self) -> None:
        check_flag_names((*self.bad_flags, *self.suspect_flags, *self.doubtful_flags))
