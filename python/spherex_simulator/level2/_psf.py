"""Point spread functions of a detector, zone by zone, as they are in the file.

The optical one (Quick Release 2) is a cube of 101 x 101 samples at ten times
the pixels: the light in a pixel is the sum of the samples, or parts of
samples, that the pixel covers. The effective one (Quick Release 3), which
includes the pixel, is a table of 33 x 33 samples at five times the pixels: the
light in a pixel is 25 times its value there, by a cubic spline. The samples
of a zone sum to 1. Between the centres of the zones they are mixed
bilinearly.
"""

from __future__ import annotations

__all__ = ["EFFECTIVE", "OPTICAL", "Lattice", "PsfModel", "Sampling", "psf_model"]

import dataclasses
import functools
import math

import numpy as np
from scipy.ndimage import uniform_filter

from spherex.detectors import DETECTORS, FRAME_SIDE

from .._telescope import PIXEL, psf_sigma, wavelength_of_row

_JITTER = 1.0  # arcsec, of a mean exposure
_BROADENING = 0.05  # of the width, from the middle of a side of the frame to its corner
_ELONGATION = 0.06  # of the variance, at the middle of a side
_HALO_SHARE, _HALO_SIZE = 0.06, 2.0
_FADING = 0.7  # of the half side, where the light begins to fade out


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a point spread function is sampled.

    Parameters
    ----------
    oversampling
        Samples to a pixel.
    samples
        Samples along each axis, odd.
    """

    oversampling: int
    samples: int


OPTICAL = Sampling(10, 101)
"""The cube of Quick Release 2."""

EFFECTIVE = Sampling(5, 33)
"""The table of Quick Release 3."""


@dataclasses.dataclass(frozen=True)
class Lattice:
    """Zones along one axis of the frame.

    Parameters
    ----------
    centres
        Centres of the zones, 0-based pixels.
    widths
        Their widths, pixels.
    """

    centres: np.ndarray
    widths: np.ndarray

    def place(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return between which two centres positions lie, and how far on the way to the second."""
        index = np.interp(position, self.centres, np.arange(len(self.centres)))
        first = np.minimum(index.astype(int), len(self.centres) - 2)
        return first, index - first


@dataclasses.dataclass(frozen=True)
class PsfModel:
    """Point spread function of a detector.

    Parameters
    ----------
    sampling
        How it is sampled.
    x, y
        Zones along the two axes.
    samples
        Shape (zones in y, zones in x, samples in y, samples in x), in the
        precision of the file.
    fwhm
        Median over the zones of the full width at half maximum, arcsec.
    """

    sampling: Sampling
    x: Lattice
    y: Lattice
    samples: np.ndarray
    fwhm: float


@functools.cache
def psf_model(detector: int, effective: bool) -> PsfModel:
    """Return the point spread function of a detector.

    Parameters
    ----------
    detector
        Detector number.
    effective
        Whether the effective one is wanted, not the optical one.
    """
    if effective:
        x, y = (_even_zones(count) for count in ((11, 41) if detector == 3 else (21, 21)))
    else:
        x = y = _archive_zones()
    covariance = _covariance(detector, *np.meshgrid(x.centres, y.centres))
    if effective:
        samples = _effective(covariance)
        covariance = covariance + np.eye(2) / 12
    else:
        samples = _optical(covariance, OPTICAL.samples, OPTICAL.oversampling)
        samples = _normalised(samples, OPTICAL).astype(np.float32)
    sigma = np.linalg.det(covariance) ** 0.25
    fwhm = math.sqrt(8 * math.log(2)) * PIXEL * float(np.median(sigma))
    return PsfModel(EFFECTIVE if effective else OPTICAL, x, y, samples, fwhm)


def _archive_zones() -> Lattice:
    """Return the eleven zones of Quick Release 2, to whose first one a pixel is added."""
    widths = np.full(11, FRAME_SIDE / 11)
    centres = (widths[0] + 1) / 2 + widths[0] * np.arange(11)
    widths[0] += 1
    return Lattice(centres, widths)


def _even_zones(count: int) -> Lattice:
    width = FRAME_SIDE / count
    return Lattice((np.arange(count) + 0.5) * width - 0.5, np.full(count, width))


def _covariance(detector: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return covariances of the core in pixels, with two more axes than the positions."""
    middle = (FRAME_SIDE - 1) / 2
    u, v = x / middle - 1, y / middle - 1
    sigma = psf_sigma(wavelength_of_row(DETECTORS[detector - 1], y, FRAME_SIDE), _JITTER)
    sigma = sigma * (1 + _BROADENING * (u**2 + v**2))
    stretch = _ELONGATION * np.stack([np.stack([u**2 - v**2, 2 * u * v]), np.stack([2 * u * v, v**2 - u**2])])
    shape = np.eye(2) + np.moveaxis(stretch, (0, 1), (-2, -1))
    return sigma[..., np.newaxis, np.newaxis] ** 2 * shape


def _optical(covariance: np.ndarray, count: int, oversampling: int) -> np.ndarray:
    """Return samples of the optical point spread function, not normalised."""
    steps = (np.arange(count) - count // 2) / oversampling
    dy, dx = np.meshgrid(steps, steps, indexing="ij")
    inverse = np.linalg.inv(covariance)[:, :, np.newaxis, np.newaxis]
    distance = inverse[..., 0, 0] * dx**2 + 2 * inverse[..., 0, 1] * dx * dy + inverse[..., 1, 1] * dy**2
    halo = _HALO_SHARE / (1 - _HALO_SHARE) / _HALO_SIZE**2
    return np.exp(-distance / 2) + halo * np.exp(-distance / (2 * _HALO_SIZE**2))


def _effective(covariance: np.ndarray) -> np.ndarray:
    """Return samples of the effective point spread function: the mean over a pixel around each."""
    finer = 3
    cells = EFFECTIVE.oversampling * finer
    count = EFFECTIVE.samples * finer + 2 * cells
    count += 1 - count % 2
    fine = uniform_filter(_optical(covariance, count, cells), size=(1, 1, cells, cells))
    first = count // 2 - EFFECTIVE.samples // 2 * finer
    chosen = slice(first, first + EFFECTIVE.samples * finer, finer)
    return _normalised(fine[:, :, chosen, chosen], EFFECTIVE)


def _normalised(samples: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Let the light fade out towards the border, so that no edge shows in the images."""
    half = sampling.samples // 2
    steps = np.abs(np.arange(sampling.samples) - half) / (half * (1 - _FADING)) - _FADING / (1 - _FADING)
    fading = np.cos(np.pi / 2 * np.clip(steps, 0, 1)) ** 2
    samples = samples * np.outer(fading, fading)
    return samples / samples.sum(axis=(-2, -1), keepdims=True)
