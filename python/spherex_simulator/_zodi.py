"""The zodiacal light."""

from __future__ import annotations

__all__ = ["zodiacal_intensity", "zodiacal_rate"]

import numpy as np
from astropy.coordinates import BarycentricMeanEcliptic
from astropy.wcs import WCS
from scipy.interpolate import RectBivariateSpline

from spherex.detectors import DetectorDescription

from ._settings import Settings
from ._spectra import black_body
from ._telescope import electron_rate, pixel_solid_angle, wavelength_of_row

_SCATTERED, _SCATTERED_WAVELENGTH, _SUN = 0.042, 1.25, 5800.0
"""Intensity of scattered sunlight at the ecliptic pole, MJy/sr, at a wavelength, um; temperature, K."""

_THERMAL, _THERMAL_WAVELENGTH, _DUST = 0.2, 4.9, 260.0
"""The same of the thermal emission of the dust."""

_DISC_THICKNESS = 0.06
_GRID = 9


def zodiacal_intensity(wavelength: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return the surface brightness of the zodiacal light.

    Sunlight scattered by dust and thermal emission of the dust, in a flat
    layer that is seen under the ecliptic latitude.

    Parameters
    ----------
    wavelength
        Wavelength, um.
    latitude
        Ecliptic latitude, deg.

    Returns
    -------
    intensity : `numpy.ndarray`
        In MJy/sr; shapes are broadcast.
    """
    spectrum = _SCATTERED * black_body(wavelength, _SUN, _SCATTERED_WAVELENGTH)
    spectrum = spectrum + _THERMAL * black_body(wavelength, _DUST, _THERMAL_WAVELENGTH)
    return spectrum / np.sqrt(np.sin(np.radians(latitude)) ** 2 + _DISC_THICKNESS)


def zodiacal_rate(wcs: WCS, detector: DetectorDescription, settings: Settings) -> np.ndarray:
    """Return the rate that the zodiacal light causes in each pixel.

    Parameters
    ----------
    wcs
        Celestial coordinates of the frame.
    detector
        Detector with its filter.
    settings
        The survey.

    Returns
    -------
    rate : `numpy.ndarray`
        In electron/s, shape (side, side).
    """
    nodes = np.linspace(0, settings.side - 1, _GRID)
    y, x = np.meshgrid(nodes, nodes, indexing="ij")
    latitude = wcs.pixel_to_world(x, y).transform_to(BarycentricMeanEcliptic()).lat.deg
    rows = np.arange(settings.side, dtype=float)
    latitude = RectBivariateSpline(nodes, nodes, latitude)(rows, rows)
    wavelength = wavelength_of_row(detector, rows, settings.side)[:, np.newaxis]
    jansky = 1e6 * zodiacal_intensity(wavelength, latitude) * pixel_solid_angle(settings)
    return electron_rate(jansky, detector, settings)
