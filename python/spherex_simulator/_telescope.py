"""Light that a pixel collects: mirror, filters and point spread function."""

from __future__ import annotations

__all__ = [
    "PIXEL",
    "electron_rate",
    "pixel_solid_angle",
    "psf_sigma",
    "wavelength_of_row",
]

import math
from typing import TypeVar

import numpy as np
from astropy import constants

from spherex.detectors import DetectorDescription

from ._settings import Settings

PIXEL = 6.15
"""Side of a pixel of the real telescope, arcsec."""

_APERTURE = math.pi * 0.1**2  # m2, of a mirror of 20 cm
_EFFICIENCY = 0.4  # electrons for each photon that meets the mirror
_OPTICS_FWHM = 4.5  # arcsec, aberrations and detector
_FWHM_OVER_SIGMA = math.sqrt(8 * math.log(2))

_Real = TypeVar("_Real", float, np.ndarray)


def wavelength_of_row(detector: DetectorDescription, y: _Real, side: int) -> _Real:
    """Return the central wavelength of a row.

    The resolving power is constant, therefore the logarithm of the wavelength
    is linear. It falls with y, as in the real detectors.

    Parameters
    ----------
    detector
        Detector with its filter.
    y
        Row, 0-based; may be fractional.
    side
        Rows of a frame.

    Returns
    -------
    wavelength : `float` or `numpy.ndarray`
        Central wavelength, um.
    """
    return detector.lmax * (detector.lmin / detector.lmax) ** (y / (side - 1))


def electron_rate(flux_density: _Real, detector: DetectorDescription, settings: Settings) -> _Real:
    """Return the photocurrent that light causes.

    Parameters
    ----------
    flux_density
        Flux density at the wavelength of the filter, Jy.
    detector
        Detector with its filter, which passes a band of 1/R of the wavelength.
    settings
        Gives the size of the mirror.

    Returns
    -------
    rate : `float` or `numpy.ndarray`
        Electrons per second, summed over the image of the source.
    """
    photons_per_jansky = 1e-26 / constants.h.si.value * _APERTURE * settings.miniature**2
    return flux_density * (photons_per_jansky * _EFFICIENCY / detector.r)


def pixel_solid_angle(settings: Settings) -> float:
    """Return the solid angle of a pixel, sr."""
    return math.radians(PIXEL / settings.miniature / 3600) ** 2


def psf_sigma(wavelength: _Real, jitter: float) -> _Real:
    """Return the width of a point source.

    Parameters
    ----------
    wavelength
        Wavelength, um.
    jitter
        Motion of the boresight during the exposure, standard deviation, arcsec.

    Returns
    -------
    sigma : `float` or `numpy.ndarray`
        Standard deviation of the Gaussian, before integration over a pixel, pixels.
    """
    diffraction_fwhm = math.degrees(1.03 * 1e-6 / 0.2) * 3600 * wavelength
    variance = (_OPTICS_FWHM**2 + diffraction_fwhm**2) / _FWHM_OVER_SIGMA**2 + jitter**2
    return variance**0.5 / PIXEL
