"""Comparison of dark-subtracted images with what the simulation put in."""

from __future__ import annotations

__all__ = ["ImageCheck", "check_image"]

import dataclasses
import math

import numpy as np
from astropy.table import Table

from spherex.image import SPHERExImage

_RADIUS = 3.5  # pixels; holds the whole image of a star
_ANNULUS = (5.0, 9.0)  # pixels; where the sky around a star is measured
_ISOLATION = 6.0  # pixels to the next star that matters
_BRIGHT = 20.0  # electron/s; a star whose noise is below a percent
_FAINT = 0.01  # rate of a neighbour that does not matter, over that of the star

_SIGMAS = 5.0
"""Deviation of a mean, in standard errors, that chance does not bring about."""

_SCATTER_TOLERANCE = 0.02
_FLUX_TOLERANCE = 0.03
_ENOUGH_STARS = 5  # for a median that one star with a faint companion does not decide


@dataclasses.dataclass(frozen=True)
class ImageCheck:
    """How an image compares with the truth.

    A pull is the difference of a pixel and its truth over the standard
    deviation that the variance plane gives; if image and variance are right,
    pulls have the mean 0 and the scatter 1.

    Parameters
    ----------
    pixels
        Pixels compared: those without any flag but SOURCE.
    mean
        Mean of the pulls.
    scatter
        Standard deviation of the pulls.
    stars
        Bright isolated stars that were measured.
    flux_ratio
        Median of their measured over their true rates; NaN without stars.
    """

    pixels: int
    mean: float
    scatter: float
    stars: int
    flux_ratio: float

    def complaints(self) -> list[str]:
        """Return a sentence for each thing that is not as it was put in."""
        if not self.pixels:
            return ["there is no pixel without flags"]
        complaints = []
        if not abs(self.mean) * self.pixels**0.5 < _SIGMAS:
            complaints.append(f"the mean pull of {self.mean:.4f} is not that of noise")
        if not abs(self.scatter - 1) < _SCATTER_TOLERANCE:
            complaints.append(f"the pulls scatter by {self.scatter:.3f} instead of 1")
        if self.stars >= _ENOUGH_STARS and not abs(self.flux_ratio - 1) < _FLUX_TOLERANCE:
            complaints.append(f"the stars have {self.flux_ratio:.3f} of their true rate")
        return complaints


def check_image(image: SPHERExImage, sky: np.ndarray, sources: Table) -> ImageCheck:
    """Compare a dark-subtracted image with the truth.

    Parameters
    ----------
    image
        Image in electron/s with variance and flags.
    sky
        What it would be without noise, same shape, electron/s.
    sources
        The sources in it: columns ``x``, ``y`` in pixels and ``rate`` in electron/s.

    Raises
    ------
    ValueError
        If the image has no variance or flags, or another shape than ``sky``.
    """
    if image.variance is None or image.flags is None:
        raise ValueError("The image has no variance or no flags to compare with.")
    if image.data.shape != sky.shape:
        raise ValueError(f"The image has the shape {image.data.shape}, its truth {sky.shape}.")
    harmless = image.flag_table.bits("SOURCE")
    good = (image.flags & ~harmless == 0) & np.isfinite(image.data)
    if not good.any():
        return ImageCheck(0, np.nan, np.nan, 0, np.nan)
    pulls = (image.data[good] - sky[good]) / np.sqrt(image.variance[good])
    ratios = _flux_ratios(image.data, good, sources)
    return ImageCheck(
        pixels=int(np.count_nonzero(good)),
        mean=float(pulls.mean(dtype=float)),
        scatter=float(pulls.std(dtype=float)),
        stars=len(ratios),
        flux_ratio=float(np.median(ratios)) if ratios else np.nan,
    )


def _flux_ratios(data: np.ndarray, good: np.ndarray, sources: Table) -> list[float]:
    """Return measured over true rates of the stars that can be measured by themselves."""
    x, y, rate = (np.asarray(sources[name], dtype=float) for name in ("x", "y", "rate"))
    half = math.ceil(_ANNULUS[1])
    ratios = []
    for star in np.flatnonzero(rate > _BRIGHT):
        row, column = round(y[star]), round(x[star])
        stamp = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        if min(row, column) < half or data[stamp].shape != (2 * half + 1, 2 * half + 1):
            continue
        distance = np.hypot(x - x[star], y - y[star])
        if np.count_nonzero((distance < _ISOLATION) & (rate > _FAINT * rate[star])) > 1:
            continue
        grid_y, grid_x = np.mgrid[stamp]
        radius = np.hypot(grid_x - x[star], grid_y - y[star])
        aperture = radius <= _RADIUS
        if not good[stamp][aperture].all():
            continue
        around = (radius >= _ANNULUS[0]) & (radius <= _ANNULUS[1]) & good[stamp]
        background = np.median(data[stamp][around])
        ratios.append(float((data[stamp][aperture] - background).sum() / rate[star]))
    return ratios
