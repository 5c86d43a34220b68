"""Point spread functions of a detector by zone: the HDU, and the images of sources.

The optical one (Quick Release 2) is a cube of 101 x 101 samples at ten times
the pixels: the light in a pixel is the sum of the samples, or parts of
samples, that the pixel covers. The effective one (Quick Release 3), which
includes the pixel, is a table of 33 x 33 samples at five times the pixels: the
light in a pixel is 25 times its value there, by a cubic spline. The samples
of a zone sum to 1. Between the centres of the zones they are mixed
bilinearly.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from astropy.io import fits
from scipy.ndimage import spline_filter1d, uniform_filter

from spherex.detectors import FRAME_SIDE, PIXEL_SCALE
from spherex.image import Box

from ..headers import make_header
from ..sky import add_stamps
from ..telescope import WavelengthTable, detector_description, psf_sigma, wavelength_of_row
from .releases import Release

_JITTER = 1.0  # arcsec, of a mean exposure
_BROADENING = 0.05  # of the width, from the middle of a side of the frame to its corner
_ELONGATION = 0.06  # of the variance, at the middle of a side
_HALO_SHARE, _HALO_SIZE = 0.06, 2.0
_FADING = 0.7  # of the half side, where the apodization begins


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
        """Return the index of the centre before each position, and the fraction of the way to the next."""
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
        Whether to return the effective one, not the optical one.
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
    fwhm = math.sqrt(8 * math.log(2)) * PIXEL_SCALE * float(np.median(sigma))
    return PsfModel(EFFECTIVE if effective else OPTICAL, x, y, samples, fwhm)


def _archive_zones() -> Lattice:
    """Return the eleven zones of Quick Release 2; the first is a pixel wider."""
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
    sigma = psf_sigma(wavelength_of_row(detector_description(detector), y, FRAME_SIDE), _JITTER)
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
    """Return samples that fall smoothly to 0 at the border, with the sum 1."""
    half = sampling.samples // 2
    steps = np.abs(np.arange(sampling.samples) - half) / (half * (1 - _FADING)) - _FADING / (1 - _FADING)
    fading = np.cos(np.pi / 2 * np.clip(steps, 0, 1)) ** 2
    samples = samples * np.outer(fading, fading)
    return samples / samples.sum(axis=(-2, -1), keepdims=True)


_BATCH = 4096  # sources drawn at once, to bound memory


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Draws point sources on a frame.

    The light in a pixel is linear in the samples. ``terms`` contains it for
    every shift of the point spread function against the pixels by whole
    samples. The image of a source is a weighted sum over some shifts and
    four zones.

    Parameters
    ----------
    model
        The point spread function.
    terms
        Terms, float32, shape (zones in y, zones in x, steps in y, steps in x,
        pixels in y, pixels in x).
    """

    model: PsfModel
    terms: np.ndarray

    @property
    def reach(self) -> int:
        """Pixels on each side of the nearest one that receive light of a source."""
        return self.terms.shape[-1] // 2

    def stamps(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the images of sources of flux 1.

        Parameters
        ----------
        x, y
            Positions in the whole frame, 0-based pixels, one-dimensional.

        Returns
        -------
        stamps : `numpy.ndarray`
            Light in each pixel around the nearest one, shape (sources, pixels
            in y, pixels in x).
        """
        (column, right), (row, up) = self.model.x.place(x), self.model.y.place(y)
        (first_x, weights_x), (first_y, weights_y) = self._steps(x), self._steps(y)
        stamps = np.zeros((len(x), *self.terms.shape[-2:]))
        for zone_y, zone_x in np.ndindex(2, 2):
            share = (up if zone_y else 1 - up) * (right if zone_x else 1 - right)
            for step_y, step_x in np.ndindex(weights_y.shape[1], weights_x.shape[1]):
                terms = self.terms[row + zone_y, column + zone_x, first_y + step_y, first_x + step_x]
                weight = share * weights_y[:, step_y] * weights_x[:, step_x]
                stamps += weight[:, np.newaxis, np.newaxis] * terms
        return stamps

    def add(self, image: np.ndarray, box: Box, x: np.ndarray, y: np.ndarray, flux: np.ndarray) -> None:
        """Add the images of sources, in place.

        Parameters
        ----------
        image
            Light in each pixel of the box, float64.
        box
            The part of the frame.
        x, y
            Positions in the whole frame, 0-based pixels; may lie outside of the box.
        flux
            Fluxes of the sources.
        """
        around = np.arange(-self.reach, self.reach + 1)
        for first in range(0, len(x), _BATCH):
            batch = slice(first, first + _BATCH)
            light = flux[batch, np.newaxis, np.newaxis] * self.stamps(x[batch], y[batch])
            row = (np.floor(y[batch] + 0.5).astype(int) - box.y0)[:, np.newaxis] + around
            column = (np.floor(x[batch] + 0.5).astype(int) - box.x0)[:, np.newaxis] + around
            add_stamps(image, row, column, light)

    def _steps(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first step that sources take part in, and the weights of the steps from there."""
        offset = np.floor(position + 0.5) - position
        # The middle sample lies around the source, so that the edges of the
        # samples, and of the pixels against their nodes, are half a step off.
        step = self.model.sampling.oversampling * (offset + 0.5) + 0.5
        first = np.floor(step).astype(int)
        t = step - first
        return first, np.stack([1 - t, t], axis=1) if self.model.sampling is OPTICAL else _cubic_weights(t)


def _cubic_weights(t: np.ndarray) -> np.ndarray:
    """Return the values of the four cubic B-splines that reach between two nodes."""
    return np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6


@functools.lru_cache(maxsize=6)
def drawing_of(detector: int, effective: bool) -> Drawing:
    """Return the drawing of sources on a detector; see `psf_model`."""
    model = psf_model(detector, effective)
    terms = _effective_terms(model.samples) if effective else _optical_terms(model.samples)
    return Drawing(model, terms)


def _optical_terms(samples: np.ndarray) -> np.ndarray:
    """Return the light between the edges of pixels, for each step from edge to edge of samples."""
    n, count = OPTICAL.oversampling, OPTICAL.samples
    reach = -(-(count + n) // (2 * n))
    below = np.zeros((*samples.shape[:2], count + 1, count + 1))
    below[:, :, 1:, 1:] = samples.astype(float).cumsum(axis=2).cumsum(axis=3)
    first = count // 2 - n + np.arange(n + 2)[:, np.newaxis] + n * np.arange(-reach, reach + 1)
    low, high = np.clip(first, 0, count), np.clip(first + n, 0, count)
    columns = below[:, :, :, high] - below[:, :, :, low]
    return _steps_first(columns[:, :, high] - columns[:, :, low])


def _effective_terms(samples: np.ndarray) -> np.ndarray:
    """Return the coefficients of the splines at pixels, for each step from node to node."""
    n, count = EFFECTIVE.oversampling, EFFECTIVE.samples
    reach = (count // 2 + n // 2) // n
    coefficients = spline_filter1d(spline_filter1d(samples, axis=2, mode="mirror"), axis=3, mode="mirror")
    index = count // 2 - (n + 1) // 2 - 1 + np.arange(n + 4)[:, np.newaxis] + n * np.arange(-reach, reach + 1)
    margin = int(max(-index.min(), index.max() - count + 1))
    padded = np.pad(coefficients, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    columns = padded[:, :, :, index + margin]
    return n**2 * _steps_first(columns[:, :, index + margin])


def _steps_first(terms: np.ndarray) -> np.ndarray:
    """Put the axes (zones, zones, step, pixel, step, pixel) into the order of `Drawing.terms`."""
    return np.ascontiguousarray(terms.transpose(0, 1, 2, 4, 3, 5), dtype=np.float32)


_STARS = 250  # in a zone


def psf_plane(detector: int, release: Release, wavelengths: WavelengthTable) -> fits.ImageHDU | fits.BinTableHDU:
    """Return the HDU PSF or EPSF of a detector; see `psf_model`.

    Parameters
    ----------
    detector
        Detector number.
    release
        Release of the file.
    wavelengths
        Wavelength of each pixel.
    """
    if release.effective_psf:
        return _table(detector, psf_model(detector, True), wavelengths)
    return _cube(detector, release.swapped_zones)


@functools.cache
def _cube_header(detector: int, swapped: bool) -> fits.Header:
    model = psf_model(detector, False)
    step = PIXEL_SCALE / OPTICAL.oversampling
    middle = float(OPTICAL.samples // 2 + 1)
    header = make_header(
        "qr2_psf",
        {
            "DETECTOR": detector,
            "OVERSAMP": OPTICAL.oversampling,
            "CRPIX1": middle,
            "CRPIX2": middle,
            "CDELT1": step,
            "CDELT2": step,
        },
    )
    columns = len(model.x.centres)
    x, y = "YX" if swapped else "XY"
    for number in range(columns * len(model.y.centres)):
        row, column = divmod(number, columns)
        header[f"{x}CTR_{number + 1}"] = (float(model.x.centres[column]), f"{x} center of zone")
        header[f"{y}CTR_{number + 1}"] = (float(model.y.centres[row]), f"{y} center of zone")
        header[f"{x}WID_{number + 1}"] = (float(model.x.widths[column]), f"{x} width of zone")
        header[f"{y}WID_{number + 1}"] = (float(model.y.widths[row]), f"{y} width of zone")
    header.add_comment("PSF zone data defined by x and y centers and x and y zones")
    return header


def _cube(detector: int, swapped: bool) -> fits.ImageHDU:
    samples = psf_model(detector, False).samples
    return fits.ImageHDU(samples.reshape(-1, *samples.shape[-2:]), header=_cube_header(detector, swapped))


def _table(detector: int, model: PsfModel, wavelengths: WavelengthTable) -> fits.BinTableHDU:
    rows, columns = len(model.y.centres), len(model.x.centres)
    bin_y, bin_x = (plane.ravel() for plane in np.indices((rows, columns)))
    samples = model.samples.reshape(rows * columns, -1)
    wavelength, bandwidth = wavelengths.at(model.x.centres[bin_x], model.y.centres[bin_y])
    side = EFFECTIVE.samples
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("BINX", "J", array=bin_x),
            fits.Column("BINY", "J", array=bin_y),
            fits.Column("XCENTER", "E", unit="pixel", array=model.x.centres[bin_x]),
            fits.Column("YCENTER", "E", unit="pixel", array=model.y.centres[bin_y]),
            fits.Column("XWIDTH", "E", unit="pixel", array=model.x.widths[bin_x]),
            fits.Column("YWIDTH", "E", unit="pixel", array=model.y.widths[bin_y]),
            fits.Column("NSTAR", "J", array=np.full(rows * columns, _STARS)),
            fits.Column("NEFF_MEAN", "E", array=1 / (EFFECTIVE.oversampling**2 * (samples**2).sum(axis=1))),
            fits.Column("CWAVE", "E", unit="um", array=wavelength),
            fits.Column("CBAND", "E", unit="um", array=bandwidth),
            fits.Column("EPSF", f"{side * side}D", dim=f"({side},{side})", array=samples),
        ],
        name="EPSF",
    )
    steps = EFFECTIVE.oversampling
    table.header.extend(make_header("qr3_epsf", {"DETECTOR": str(detector), "OVSMPX": steps, "OVSMPY": steps}))
    return table
