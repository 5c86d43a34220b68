"""Clipped means of stacks of images, and pixels that deviate from their column."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

ROBUST_BELOW = 30
"""Number of images from which the standard deviation about the mean is good enough.

One outlier among n values lies at most (n - 1) / sqrt(n) standard deviations
from the mean, k equal outliers at most sqrt((n - k) / k) (Samuelson 1968,
JASA 63, 1522): at 3 sigma none of ten images can be clipped, of thirty images
up to three.
"""

_TILE = 2**19
"""Values that are clipped at a time, so that they stay in the processor's cache."""


@dataclasses.dataclass(frozen=True)
class Clipped:
    """Result of a clipping, each array of shape (rows, columns).

    Parameters
    ----------
    mean
        Mean of the values that are left, float64; NaN without values.
    number
        Number of values that are left, int16.
    squares
        Sum of the squares of their deviations from the mean, float64.
    """

    mean: np.ndarray
    number: np.ndarray
    squares: np.ndarray


def is_robust(spread: str, images: int) -> bool:
    """Return whether to clip by median and median absolute deviation.

    Parameters
    ----------
    spread
        ``mad_std``, ``std`` or ``auto``.
    images
        Number of images.
    """
    return spread == "mad_std" or (spread == "auto" and images < ROBUST_BELOW)


def clip(pixels: np.ndarray, sigma: float, iterations: int, robust: bool, grain: float = 0.0) -> Clipped:
    """Clip the values of each pixel, and average the others.

    Parameters
    ----------
    pixels
        Values, shape (images, rows, columns), NaN where missing. Clipped
        values become NaN.
    sigma
        Standard deviations from the centre beyond which values are clipped.
    iterations
        Largest number of iterations if ``robust`` is not set.
    robust
        Whether centre and standard deviation are median and scaled median
        absolute deviation. By default they are mean and standard deviation.
    grain
        Distance between neighbouring values if they are rounded, else 0. It
        is the least robust standard deviation: if more than half of the
        values are equal the deviation is 0, and all others would be clipped.
    """
    images, rows, columns = pixels.shape
    shape = rows, columns
    result = Clipped(np.empty(shape), np.empty(shape, np.int16), np.empty(shape))
    step = max(1, _TILE // (images * columns))
    for begin in range(0, rows, step):
        tile = pixels[:, begin : begin + step]
        flat = _Columns(sigma, iterations, robust, grain)
        outcome = flat.clip_all(tile) if robust else flat.clip_suspects(tile)
        for array, part in zip((result.mean, result.number, result.squares), outcome, strict=True):
            array[begin : begin + step] = part
    return result


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Clipping along the first axis of an array."""

    sigma: float
    iterations: int
    robust: bool
    grain: float

    def clip_all(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Clip in place; return mean, number and sum of squares of what is left."""
        from astropy.stats import sigma_clip
        from astropy.utils.exceptions import AstropyUserWarning

        before = values.copy() if self.robust and self.grain else None
        with warnings.catch_warnings():
            # Pixels without any value are allowed.
            warnings.simplefilter("ignore", AstropyUserWarning)
            sigma_clip(
                values,
                sigma=self.sigma,
                # Outliers hardly change a median, so that one iteration is
                # enough. More would clip the good values of a few images.
                maxiters=1 if self.robust else self.iterations,
                cenfunc="median" if self.robust else "mean",
                stdfunc="mad_std" if self.robust else "std",
                axis=0,
                masked=False,
                copy=False,
            )
        if before is not None:
            self._restore_rounded(values, before)
        good = np.isfinite(values)
        number = np.count_nonzero(good, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.add.reduce(values, axis=0, dtype=np.float64, where=good) / number
        deviation = np.where(good, values - mean.astype(values.dtype), 0)
        return mean, number, np.einsum("i...,i...->...", deviation, deviation)

    def _restore_rounded(self, values: np.ndarray, before: np.ndarray) -> None:
        """Restore, in place, clipped values with ``abs(value - median) <= sigma * grain``."""
        clipped = np.isfinite(before) & ~np.isfinite(values)
        changed = clipped.any(axis=0)
        centre = np.nanmedian(before[:, changed], axis=0)
        near = clipped[:, changed] & (np.abs(before[:, changed] - centre) <= self.sigma * self.grain)
        values[:, changed] = np.where(near, before[:, changed], values[:, changed])

    def clip_suspects(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do the same by mean and standard deviation, only for pixels with a value beyond sigma."""
        number = np.full(values.shape[1:], len(values))
        mean = np.add.reduce(values, axis=0, dtype=np.float64) / len(values)
        deviation = values - mean.astype(values.dtype)
        squares = np.einsum("i...,i...->...", deviation, deviation)
        farthest = np.maximum(deviation.max(axis=0), -deviation.min(axis=0))
        # Pixels with a missing value have NaN here and are suspects, too. The
        # margin allows for rounding; a suspect without an outlier stays as it is.
        suspects = ~(farthest**2 <= (0.999 * self.sigma) ** 2 * squares / len(values))
        if suspects.any():
            chosen = values[:, suspects]
            mean[suspects], number[suspects], squares[suspects] = self.clip_all(chosen)
            values[:, suspects] = chosen
        return mean, number, squares


_PIECE = 64
"""Rows that are filtered at a time, so that little memory is needed."""

_SAMPLED = 8
"""Number of pieces, spread over the frame, for the estimate of the scatter."""


@dataclasses.dataclass(frozen=True)
class DeviantPixels:
    """Pixels that differ from their neighbours.

    Parameters
    ----------
    hot, cold
        Boolean, shape (rows, columns).
    sigma
        Robust standard deviation of the pixels about their neighbours over
        the whole frame, in the unit of the image.
    """

    hot: np.ndarray
    cold: np.ndarray
    sigma: float


def find_deviant_pixels(image: np.ndarray, hot: float, cold: float, window: int) -> DeviantPixels:
    """Find pixels far above or below their neighbours.

    Each pixel is compared with the median of the pixels above and below it in
    its column. Neither the glow of the electronics nor the steps between
    readout channels, which are parallel to the columns, change this difference.

    Parameters
    ----------
    image
        Pixels, shape (rows, columns). Pixels that are not finite are neither
        hot nor cold.
    hot, cold
        Thresholds in robust standard deviations.
    window
        Number of pixels of a column in each median.
    """
    from astropy.stats import mad_std

    pieces = range(0, len(image), _PIECE)
    parts = (_residual(image, begin, window) for begin in pieces[:: max(1, len(pieces) // _SAMPLED)])
    # The residual of a pixel that is the median itself is 0, whatever the scatter.
    sample = np.concatenate([part[np.isfinite(part) & (part != 0)] for part in parts])
    sigma = float(mad_std(sample)) if sample.size else 0.0
    del sample
    found = DeviantPixels(np.empty(image.shape, bool), np.empty(image.shape, bool), sigma)
    for begin in pieces:
        rows = slice(begin, begin + _PIECE)
        residual = _residual(image, begin, window)
        found.hot[rows] = residual > hot * sigma
        found.cold[rows] = residual < -cold * sigma
    return found


def _residual(image: np.ndarray, begin: int, window: int) -> np.ndarray:
    """Return rows of an image minus the running median of their columns; NaN where the image is not finite."""
    from scipy.ndimage import median_filter

    first = max(begin - window // 2, 0)
    part = image[first : begin + _PIECE + window // 2]
    good = np.isfinite(part)
    # The filter does not support NaN: the median of the column replaces it.
    mixed = good.any(axis=0) & ~good.all(axis=0)
    medians = np.zeros(part.shape[1], part.dtype)
    medians[mixed] = np.nanmedian(np.where(good, part, np.nan)[:, mixed], axis=0)
    filled = np.where(good, part, medians)
    residual = np.where(good, filled - median_filter(filled, size=(window, 1), mode="reflect"), np.nan)
    return residual[begin - first : begin - first + _PIECE]
