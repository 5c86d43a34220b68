"""Measurement of a current by sampling up the ramp.

A pixel is read without being reset, n times at intervals dt, and a straight
line is fitted to the readings. For readings with noise sigma the slope has
the variance (Rauscher et al. 2007, PASP 119, 768, eq. 1, over the time squared)

    12 sigma^2 / (n (n + 1) (n - 1) dt^2)  +  f / t * 6 (n^2 + 1) / (5 n (n + 1))

with the current f and t = (n - 1) dt.
"""

from __future__ import annotations

__all__ = ["EXPOSURE_TIME", "FULL_WELL", "READ_NOISE", "SAMPLES", "SAMPLE_TIME", "Measurement", "measure"]

import dataclasses

import numpy as np

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
        Its variance, of the noise that was added, float32.
    apparent_variance
        Its variance as a pipeline computes it, from the measured current, float32.
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
    # noise of the fit: this gives it the right variance and skewness.
    time = ramps * (samples - 1) * SAMPLE_TIME / excess
    read_variance = 12 * READ_NOISE**2 / SAMPLE_TIME**2 / (ramps * samples * (samples**2 - 1))
    rate = rng.poisson(current * time) / time
    rate += rng.standard_normal(current.shape, dtype=np.float32) * np.sqrt(read_variance)
    variance, apparent = (light / time + read_variance for light in (current, np.maximum(rate, 0)))
    return rate.astype(np.float32), variance.astype(np.float32), apparent.astype(np.float32)
