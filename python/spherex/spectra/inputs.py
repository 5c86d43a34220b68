"""What a measurement of targets is made from."""

from __future__ import annotations

__all__ = ["Calibration", "Calibrations", "ImageSource", "MeasureSettings"]

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

from ..photometry import FluxSettings

if TYPE_CHECKING:
    from astropy.io.fits import Header

    from ..image import Box, SPHERExImage, Wavelength
    from ..photometry import Profiles


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
