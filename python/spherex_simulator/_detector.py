"""What is fixed about a simulated detector: dark current and bad pixels."""

from __future__ import annotations

__all__ = ["CHANNELS", "DetectorState", "add_cosmic_rays", "detector_state"]

import dataclasses

import numpy as np

from spherex.image import SPHEREX_FLAGS

from ._ramp import EXPOSURE_TIME
from ._settings import Settings, Stream

CHANNELS = 32
"""Readout channels, vertical stripes of the detector."""

_LEVEL, _LEVEL_SPREAD = 0.10, 0.02
_CHANNEL_SPREAD = 0.04
_PIXEL_SPREAD = 0.01
_GLOW, _GLOW_SIZE = 0.35, 0.2
"""Dark current in electron/s, size in sides of the frame.

Higher than in flight, where it hardly shows, so that the subtraction has
something to do.
"""

_HOT, _COLD, _NONFUNC = 2.5e-3, 1e-3, 5e-4  # share of the pixels
_HOT_MEDIAN, _HOT_SIGMA = 4.0, 1.0  # electron/s, natural logarithm
_COLD_RESPONSE = 0.3
_COSMIC_RAYS = 2e-4  # hits per pixel and exposure
_COSMIC_RAY_CHARGE = 1500.0  # electrons per pixel
_COSMIC_RAY_LENGTH = 2.5  # pixels


@dataclasses.dataclass(frozen=True)
class DetectorState:
    """What is fixed about a detector.

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
    """Let cosmic rays hit an exposure.

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
    hit = np.zeros(image.shape, dtype=bool)
    for _ in range(rng.poisson(_COSMIC_RAYS * image.size)):
        y, x, angle = rng.uniform(0, rows), rng.uniform(0, columns), rng.uniform(0, 2 * np.pi)
        length = rng.exponential(_COSMIC_RAY_LENGTH)
        charge = rng.exponential(_COSMIC_RAY_CHARGE)
        steps = np.arange(0.0, length + 0.5, 0.5)
        track_y = np.floor(y + steps * np.sin(angle)).astype(int)
        track_x = np.floor(x + steps * np.cos(angle)).astype(int)
        inside = (track_y >= 0) & (track_y < rows) & (track_x >= 0) & (track_x < columns)
        track = np.unique(track_y[inside] * columns + track_x[inside])
        image.flat[track] += charge / EXPOSURE_TIME
        hit.flat[track] = True
    return hit
