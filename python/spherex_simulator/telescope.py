"""The telescope: mirror, filters and point spread function, and the wavelength of each pixel."""

from __future__ import annotations

import dataclasses
import math
from typing import TypeVar

import numpy as np
from astropy import constants
from astropy.io import fits

from spherex.detectors import DETECTORS, PIXEL_SCALE, DetectorDescription
from spherex.fits import WCS_WAVE

from .settings import Settings

_APERTURE = math.pi * 0.1**2  # m2, of a mirror of 20 cm
_EFFICIENCY = 0.4  # electrons for each photon that meets the mirror
_OPTICS_FWHM = 4.5  # arcsec, aberrations and detector
_FWHM_OVER_SIGMA = math.sqrt(8 * math.log(2))

_Real = TypeVar("_Real", float, np.ndarray)


def detector_description(detector: int) -> DetectorDescription:
    """Return a detector with its filter.

    Parameters
    ----------
    detector
        Detector number.

    Raises
    ------
    ValueError
        If the detector does not exist.
    """
    for description in DETECTORS:
        if description.id == detector:
            return description
    raise ValueError(f"Detector {detector} does not exist; SPHEREx has the detectors 1 to {len(DETECTORS)}.")


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
        Determines the size of the mirror.

    Returns
    -------
    rate : `float` or `numpy.ndarray`
        Electrons per second, summed over the image of the source.
    """
    photons_per_jansky = 1e-26 / constants.h.si.value * _APERTURE * settings.miniature**2
    return flux_density * (photons_per_jansky * _EFFICIENCY / detector.r)


def pixel_solid_angle(settings: Settings) -> float:
    """Return the solid angle of a pixel, sr."""
    return math.radians(PIXEL_SCALE / settings.miniature / 3600) ** 2


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
    return variance**0.5 / PIXEL_SCALE


@dataclasses.dataclass(frozen=True)
class WavelengthTable:
    """Wavelength and bandwidth at control points, bilinear between them.

    The table is the truth: a source has the wavelength that a reader of the
    file finds. Therefore it is interpolated here, not by the reader under test.

    Parameters
    ----------
    points
        Columns, and rows, of the control points, 1-based.
    values
        Wavelength and bandwidth, um, float32, shape (y, x, 2).
    """

    points: np.ndarray
    values: np.ndarray

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return wavelength and bandwidth.

        Parameters
        ----------
        x, y
            Position in the whole frame, 0-based. Beyond the outermost
            control points it is extrapolated linearly.
        """
        (column, right), (row, up) = self._place(x), self._place(y)
        values = self.values.astype(float)
        below = (1 - right)[..., np.newaxis] * values[row, column] + right[..., np.newaxis] * values[row, column + 1]
        row = row + 1
        above = (1 - right)[..., np.newaxis] * values[row, column] + right[..., np.newaxis] * values[row, column + 1]
        mixed = (1 - up)[..., np.newaxis] * below + up[..., np.newaxis] * above
        return mixed[..., 0], mixed[..., 1]

    def over(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Return wavelength and bandwidth of all pixels of a frame, bit for bit as `at`.

        Parameters
        ----------
        side
            Rows, and columns, of the frame.
        """
        # Columns and rows lie on a grid: first along the rows of the table, then across.
        index, share = self._place(np.arange(side, dtype=float))
        values, share = self.values.astype(float), share[:, np.newaxis]
        along = (1 - share) * values[:, index] + share * values[:, index + 1]
        share = share[..., np.newaxis]
        mixed = (1 - share) * along[index] + share * along[index + 1]
        return mixed[..., 0], mixed[..., 1]

    def _place(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        zero_based = self.points - 1.0
        index = np.clip(np.searchsorted(zero_based, position, side="right") - 1, 0, len(zero_based) - 2)
        return index, (position - zero_based[index]) / (zero_based[index + 1] - zero_based[index])

    def hdu(self) -> fits.BinTableHDU:
        """Return the table WCS-WAVE of the file."""
        n = len(self.points)
        columns = [
            fits.Column("X", f"{n}J", dim=f"({n})", array=self.points[np.newaxis]),
            fits.Column("Y", f"{n}J", dim=f"({n})", array=self.points[np.newaxis]),
            fits.Column("VALUES", f"{2 * n * n}E", dim=f"(2,{n},{n})", array=self.values[np.newaxis]),
        ]
        return fits.BinTableHDU.from_columns(columns, name=WCS_WAVE)


def wavelength_table(
    detector: DetectorDescription, points: np.ndarray, side: int, *, smile: float = 0.0
) -> WavelengthTable:
    """Return wavelength and bandwidth of a detector.

    Parameters
    ----------
    detector
        Detector with its filter.
    points
        Columns, and rows, of the control points, 1-based, int32.
    side
        Rows, and columns, of a frame.
    smile
        Rows by which a line of equal wavelength bends towards the sides.
    """
    y, x = np.meshgrid(points - 1.0, points - 1.0, indexing="ij")
    rows = y + smile * (2 * x / (side - 1) - 1) ** 2
    wavelength = wavelength_of_row(detector, rows, side)
    values = np.stack([wavelength, wavelength / detector.r], axis=-1).astype(np.float32)
    return WavelengthTable(points, values)
