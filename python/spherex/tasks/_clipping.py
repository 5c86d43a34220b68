"""Mean of many images without what lies far off."""

from __future__ import annotations

__all__ = ["ROBUST_BELOW", "Clipped", "clip", "is_robust"]

import dataclasses
import math
import warnings

import numpy as np

ROBUST_BELOW = 30
"""Number of images from which the plain standard deviation is good enough.

One value of n, however far off, lies at most (n - 1) / sqrt(n) standard
deviations from the mean, k equal ones at most sqrt((n - k) / k): of ten
images none can be clipped at 3 sigma, of thirty up to three can.
"""

_MEAN_DEVIATION = math.sqrt(math.pi / 2)
"""Standard deviation of normal noise over its mean absolute deviation."""

# Pixels and what astropy makes of them should stay in the processor's cache.
_TILE = 2**19


@dataclasses.dataclass(frozen=True)
class Clipped:
    """Result of a clipping, each array of shape (rows, columns).

    Parameters
    ----------
    mean
        Mean of the values that are left, float64; NaN where there are none.
    number
        How many are left, int16.
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
    """Clip and average.

    Parameters
    ----------
    pixels
        Values, shape (images, rows, columns), NaN where there is none. Those
        that are clipped become NaN.
    sigma
        Standard deviations from the centre beyond which values are clipped.
    iterations
        Greatest number of times that this is done, where it is not robust.
    robust
        Whether centre and standard deviation are median and median absolute
        deviation, else mean and standard deviation. Where more than half of
        the values are equal their median absolute deviation is zero and says
        nothing of the others; the mean absolute deviation takes its place,
        but nothing less than ``grain``.
    grain
        Distance of the values that there can be, 0 if they are not rounded.
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

        before = values.copy() if self.robust else None
        with warnings.catch_warnings():
            # Pixels without a value are part of the plan.
            warnings.simplefilter("ignore", AstropyUserWarning)
            sigma_clip(
                values,
                sigma=self.sigma,
                # Once is enough with a median, which hardly feels what is far
                # off; again and again would eat up the good ones of a few.
                maxiters=1 if self.robust else self.iterations,
                cenfunc="median" if self.robust else "mean",
                stdfunc="mad_std" if self.robust else "std",
                axis=0,
                masked=False,
                copy=False,
            )
        good = np.isfinite(values)
        if before is not None:
            self._clip_equals(values, before, good)
        number = np.count_nonzero(good, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.add.reduce(values, axis=0, dtype=np.float64, where=good) / number
        deviation = np.where(good, values - mean.astype(values.dtype), 0)
        return mean, number, np.einsum("i...,i...->...", deviation, deviation)

    def _clip_equals(self, values: np.ndarray, before: np.ndarray, good: np.ndarray) -> None:
        """Clip again, in place, where all that is left is equal."""
        lowest = np.min(values, axis=0, where=good, initial=np.inf)
        was_good = np.isfinite(before)
        is_equal = (lowest == np.max(values, axis=0, where=good, initial=-np.inf)) & (was_good & ~good).any(axis=0)
        if not is_equal.any():
            return
        chosen, known = before[:, is_equal], was_good[:, is_equal]
        deviation = np.where(known, np.abs(chosen - lowest[is_equal]), 0)
        spread = np.maximum(_MEAN_DEVIATION * deviation.sum(axis=0) / known.sum(axis=0), self.grain)
        chosen[deviation > self.sigma * spread] = np.nan
        values[:, is_equal], good[:, is_equal] = chosen, np.isfinite(chosen)

    def clip_suspects(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do the same by mean and standard deviation, which tell at once where nothing will be clipped."""
        number = np.full(values.shape[1:], len(values))
        mean = np.add.reduce(values, axis=0, dtype=np.float64) / len(values)
        deviation = values - mean.astype(values.dtype)
        squares = np.einsum("i...,i...->...", deviation, deviation)
        farthest = np.maximum(deviation.max(axis=0), -deviation.min(axis=0))
        # Where a value is missing, nothing compares. The margin makes up for
        # rounding: who is suspected for nothing is not clipped.
        suspects = ~(farthest**2 <= (0.999 * self.sigma) ** 2 * squares / len(values))
        if suspects.any():
            chosen = values[:, suspects]
            mean[suspects], number[suspects], squares[suspects] = self.clip_all(chosen)
            values[:, suspects] = chosen
        return mean, number, squares
