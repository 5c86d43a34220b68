"""The detectors: fixed pattern, cosmic rays, and the measurement of a current.

A pixel is read without being reset, n times at intervals dt, and a straight
line is fitted to the readings. For readings with noise sigma the slope has
the variance (Rauscher et al. 2007, PASP 119, 768, eq. 1, over the time squared)

    12 sigma^2 / (n (n + 1) (n - 1) dt^2)  +  f / t * 6 (n^2 + 1) / (5 n (n + 1))

with the current f and t = (n - 1) dt.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from spherex.image import SPHEREX_FLAGS, Box

from .settings import Settings, Stream

SAMPLE_TIME = 1.5349
"""Time between two readings of a pixel (TSAMP), s."""

SAMPLES = 75
"""Readings of a pixel in an exposure."""

EXPOSURE_TIME = round((SAMPLES - 1) * SAMPLE_TIME, 4)
"""Time from the first reading to the last (XPOSURE), s."""

READ_NOISE = 12.0
"""Standard deviation of one reading, electrons."""

FULL_WELL = 100_000.0
"""Charge at which the fit of the ramp ends, electrons."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A current as measured.

    Parameters
    ----------
    rate
        Measured current, electron/s, float32.
    variance
        Variance of the noise that was added, float32.
    apparent_variance
        Variance as a pipeline computes it, from the measured current, float32.
    overflow
        Where the ramp had to be cut at the full well.
    """

    rate: np.ndarray
    variance: np.ndarray
    apparent_variance: np.ndarray
    overflow: np.ndarray


def measure(current: np.ndarray, rng: np.random.Generator, ramps: int = 1) -> Measurement:
    """Measure a current, with photon and read noise.

    Parameters
    ----------
    current
        Current, electron/s, not negative.
    rng
        Source of the noise.
    ramps
        Number of exposures whose mean is taken.
    """
    rate, variance, apparent = _fit(current, SAMPLES, ramps, rng)
    overflow = current * EXPOSURE_TIME > FULL_WELL
    bright = current[overflow]
    samples = np.maximum(np.floor(FULL_WELL / SAMPLE_TIME / bright) + 1, 2.0)
    rate[overflow], variance[overflow], apparent[overflow] = _fit(bright, samples, ramps, rng)
    return Measurement(rate, variance, apparent, overflow)


def _fit(
    current: np.ndarray, samples: int | np.ndarray, ramps: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return slope, variance and apparent variance of the fit of a line to a number of samples."""
    excess = 6 * (samples**2 + 1) / (5 * samples * (samples + 1))
    # Photon noise is drawn as counts of a time that is shorter by the excess
    # noise of the fit: the rate then has the right variance and skewness.
    time = ramps * (samples - 1) * SAMPLE_TIME / excess
    read_variance = 12 * READ_NOISE**2 / SAMPLE_TIME**2 / (ramps * samples * (samples**2 - 1))
    rate = rng.poisson(current * time) / time
    rate += rng.standard_normal(current.shape, dtype=np.float32) * np.sqrt(read_variance)
    variance, apparent = (light / time + read_variance for light in (current, np.maximum(rate, 0)))
    return rate.astype(np.float32), variance.astype(np.float32), apparent.astype(np.float32)


CHANNELS = 32
"""Readout channels, vertical stripes of the detector."""

_LEVEL, _LEVEL_SPREAD = 0.10, 0.02
_CHANNEL_SPREAD = 0.04
_PIXEL_SPREAD = 0.01
_GLOW, _GLOW_SIZE = 0.35, 0.2
"""Dark current in electron/s, size in sides of the frame.

Higher than in flight, where it hardly shows, so that the subtraction
matters.
"""

_HOT, _COLD, _NONFUNC = 2.5e-3, 1e-3, 5e-4  # share of the pixels
_HOT_MEDIAN, _HOT_SIGMA = 4.0, 1.0  # electron/s, natural logarithm
_COLD_RESPONSE = 0.3
_COSMIC_RAYS = 2e-4  # hits per pixel and exposure
_COSMIC_RAY_CHARGE = 1500.0  # electrons per pixel
_COSMIC_RAY_LENGTH = 2.5  # pixels


@dataclasses.dataclass(frozen=True)
class DetectorState:
    """Fixed pattern of a detector.

    Parameters
    ----------
    dark
        Dark current without noise, electron/s; NaN where the pixel does not function.
    response
        Sensitivity to light, 1 for a good pixel; NaN where it does not function.
    flags
        HOT, COLD and NONFUNC pixels, int32.
    """

    dark: np.ndarray
    response: np.ndarray
    flags: np.ndarray


def detector_state(settings: Settings, detector: int) -> DetectorState:
    """Return the fixed pattern of a detector, the same in every exposure.

    Parameters
    ----------
    settings
        The survey.
    detector
        Detector number.
    """
    rng = settings.rng(Stream.DETECTOR, detector)
    side = settings.side
    shape = (side, side)
    level = rng.normal(_LEVEL, _LEVEL_SPREAD)
    channel_level = rng.normal(0.0, _CHANNEL_SPREAD, CHANNELS)
    dark = level + channel_level[np.arange(side) * CHANNELS // side] + np.zeros(shape)
    falling = np.exp(-((np.linspace(0.0, 1.0, side) / _GLOW_SIZE) ** 2))
    for glow_of_rows in (falling, falling[::-1]):
        for glow_of_columns in (falling, falling[::-1]):
            dark += _GLOW * rng.uniform(0.2, 1.0) * np.outer(glow_of_rows, glow_of_columns)
    dark += rng.normal(0.0, _PIXEL_SPREAD, shape)
    np.maximum(dark, 0.0, out=dark)
    response = np.ones(shape)
    flags = np.zeros(shape, dtype=np.int32)
    lot = rng.uniform(size=shape)
    nonfunc = lot < _NONFUNC
    cold = (lot >= _NONFUNC) & (lot < _NONFUNC + _COLD)
    hot = lot > 1 - _HOT
    dark[hot] += rng.lognormal(np.log(_HOT_MEDIAN), _HOT_SIGMA, np.count_nonzero(hot))
    response[cold] = _COLD_RESPONSE
    dark[nonfunc] = response[nonfunc] = np.nan
    for name, pixels in (("HOT", hot), ("COLD", cold), ("NONFUNC", nonfunc)):
        flags[pixels] |= SPHEREX_FLAGS.bits(name)
    return DetectorState(dark, response, flags)


def add_cosmic_rays(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add cosmic rays to an exposure.

    Parameters
    ----------
    image
        Measured rate, electron/s, to which the charge of the hits over the
        exposure time is added in place.
    rng
        Source of positions and charges.

    Returns
    -------
    hit : `numpy.ndarray`
        Boolean, the pixels that were hit.
    """
    rows, columns = image.shape
    frame = Box(0, columns, 0, rows)
    hit = np.zeros(image.shape, dtype=bool)
    for _ in range(rng.poisson(_COSMIC_RAYS * image.size)):
        y, x, angle = rng.uniform(0, rows), rng.uniform(0, columns), rng.uniform(0, 2 * np.pi)
        length = rng.exponential(_COSMIC_RAY_LENGTH)
        charge = rng.exponential(_COSMIC_RAY_CHARGE)
        steps = np.arange(0.0, length + 0.5, 0.5)
        track_y = np.floor(y + steps * np.sin(angle)).astype(int)
        track_x = np.floor(x + steps * np.cos(angle)).astype(int)
        inside = within(frame, track_x, track_y)
        track = np.unique(track_y[inside] * columns + track_x[inside])
        image.flat[track] += charge / EXPOSURE_TIME
        hit.flat[track] = True
    return hit


def within(box: Box, x: np.ndarray, y: np.ndarray, margin: float = 0) -> np.ndarray:
    """Return which positions lie in a box of pixels, or not farther from it than a margin.

    Parameters
    ----------
    box
        The pixels. Each reaches half a pixel to both sides of its centre.
    x, y
        Positions, 0-based pixels.
    margin
        Distance along each axis, pixels.
    """
    low_x, high_x, low_y, high_y = box.x0 - 0.5, box.x1 - 0.5, box.y0 - 0.5, box.y1 - 0.5
    inside_x = (x >= low_x - margin) & (x < high_x + margin)
    return inside_x & (y >= low_y - margin) & (y < high_y + margin)
