"""Profiles of point sources: the fractions of their flux in the pixels.

`photutils.psf.GriddedPSFModel` evaluates effective PSFs alone, and source by
source. `Profiles` takes a sixth of its time: 10.5 ms against 64 ms for 500
sources of 15 x 15 pixels (CPU time, medians of 9, photutils 3). Both agree with
a Gaussian to 4e-5 of the flux in a pixel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from spherex.image import zone_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spherex.image import Psf


# The influence of a sample on the coefficients of a cubic spline decreases by
# a factor of 3.7 from sample to sample: to 1e-5 over this distance.
_PAD = 9

_SUM_TOLERANCE = 0.02
"""Difference of the sum of a PSF from 1 beyond which all fluxes would be wrong without a sign of it."""


class Profiles:
    """Fractions of the flux of a point source in the pixels around it.

    An optical PSF is integrated over each pixel, with a cubic spline through
    its cumulative sums, so that no light is lost. An effective PSF is a cubic
    spline evaluated at the centre of the pixel, times the square of the
    oversampling. Between the centres of the zones the PSF is interpolated
    bilinearly. Nothing is renormalised.

    Parameters
    ----------
    psf
        PSFs of the zones of a detector.

    Raises
    ------
    ValueError
        If the zones do not form a lattice, or a PSF is smaller than a pixel.
    """

    def __init__(self, psf: Psf) -> None:
        self._psf = psf
        self._step = psf.oversampling
        self._is_effective = psf.effective
        _, rows, columns = psf.samples.shape
        if min(rows, columns) < self._step:
            raise ValueError(f"{rows} x {columns} samples are less than a pixel of {self._step} x {self._step} samples")
        zone_weights(psf.x, psf.y, np.zeros(1), np.zeros(1))
        # Sums of samples that are not numbers are not numbers either.
        with np.errstate(invalid="ignore", over="ignore"):
            sums = psf.samples.sum(axis=(1, 2), dtype=np.float64)
            self._is_sound = np.abs(sums - 1) <= _SUM_TOLERANCE
        self.reach = max(rows, columns) / self._step / 2
        """Largest distance from a source, along x or y, at which the PSF is known (pixels)."""
        # One pixel more on each side covers every position within a pixel.
        self.side = 2 * (math.ceil(self.reach) + 1) + 1
        # A cumulative sum ends at the edge of a sample, half a sample beyond its
        # centre, and the light of a pixel begins at the edge of the pixel.
        lowest = 0.5 * self._step if self._is_effective else self._step - 0.5
        self._start = [(number - 1) / 2 + _PAD - lowest for number in (rows, columns)]
        """Index along y and x of the coefficient with the first phase of the pixel with the source."""
        # Coefficients of the splines by zone, phase and pixel. Memory of zones
        # that are never used is not taken.
        self._table = np.zeros((len(psf.samples), *2 * (self._step + 4,), *2 * (self.side,)))
        self._is_filled = np.zeros(len(psf.samples), bool)

    def nearest_zone(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of the nearest zone, from 1.

        Parameters
        ----------
        x, y
            Pixels of the whole frame, from 0, shape (n,). Of centres at the
            same distance the lowest number counts.
        """
        # On a lattice the nearest of the four zones around a position has the largest weight.
        indices, weights = zone_weights(self._psf.x, self._psf.y, x, y)
        is_nearest = weights == weights.max(axis=1, keepdims=True)
        return np.where(is_nearest, indices, len(self._psf.samples)).min(axis=1).astype(np.int64) + 1

    def is_known(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether the PSF can be used at positions, shape (n,).

        The samples of all zones that have a part in it must be numbers, and sum
        to 1 within 2 %: fluxes would be wrong by the difference.

        Parameters
        ----------
        x, y
            Pixels of the whole frame, from 0, shape (n,).
        """
        indices, weights = zone_weights(self._psf.x, self._psf.y, x, y)
        return (self._is_sound[indices] | (weights == 0)).all(axis=1)

    def at(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        left: NDArray[np.int64],
        bottom: NDArray[np.int64],
        side: int | None = None,
        sources: NDArray[np.intp] | None = None,
    ) -> NDArray[np.float64]:
        """Return the fractions of the flux of sources in squares of pixels.

        Parameters
        ----------
        x, y
            Positions of the sources in pixels of the whole frame, from 0, shape (m,).
        left, bottom
            First column and row of each square, shape (n,).
        side
            Side of the squares (pixels); by default `Profiles.side`.
        sources
            Index of the source of each square, shape (n,); by default there is
            a square for each source.

        Returns
        -------
        fractions
            Shape (n, side, side): square, row, column. NaN where the PSF cannot
            be used, see `is_known`.
        """
        side = self.side if side is None else side
        sources = np.arange(len(x)) if sources is None else sources
        column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
        values = self._around(x, y, column, row)
        # Pixels beyond those of the table are in its margin of zeros.
        half = self.side // 2 + 1
        up, across = (
            (begin[:, None] + np.arange(side) - centre[sources, None]).clip(-half, half) + half
            for begin, centre in ((bottom, row), (left, column))
        )
        light = values[sources[:, None, None], up[:, :, None], across[:, None, :]]
        if not self._is_sound.all():
            light[~self.is_known(x, y)[sources]] = np.nan
        return light

    def _around(
        self, x: NDArray[np.float64], y: NDArray[np.float64], column: NDArray[np.int64], row: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the fractions in the square around a pixel, with a margin of zeros of one pixel.

        A cubic spline is a sum of 4 x 4 coefficients. Their weights depend on
        the position between samples, which is the same in all pixels of a
        source: a pixel is a whole number of samples. So the light of a source
        in all pixels is a sum of 64 rows of the table, 16 for each of four
        zones: the product of a sparse matrix and the table.
        """
        from scipy.sparse import csr_array

        zones, weights = zone_weights(self._psf.x, self._psf.y, x, y)
        for zone in np.unique(zones[~self._is_filled[zones]]).tolist():
            self._fill(zone)
        (up, of_up), (across, of_across) = (
            self._taps(part, start) for part, start in zip((y - row, x - column), self._start, strict=True)
        )
        phases = self._step + 4
        places = ((zones[:, :, None] * phases + up[:, None, :]) * phases)[..., None] + across[:, None, None, :]
        factors = (weights[:, :, None] * of_up[:, None, :])[..., None] * of_across[:, None, None, :]
        table = self._table.reshape(-1, self.side**2)
        # The table is larger than the caches of a processor: sources of one zone follow one another.
        order = np.argsort(zones[:, 0], kind="stable")
        parts = (factors[order].ravel(), places[order].ravel(), 64 * np.arange(len(x) + 1))
        light = np.zeros((len(x), self.side + 2, self.side + 2))
        light[order, 1:-1, 1:-1] = (csr_array(parts, shape=(len(x), len(table))) @ table).reshape(
            -1, self.side, self.side
        )
        return light

    def _taps(self, part: NDArray[np.float64], start: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the four phases of an axis that have a part in the light, and their weights, both of shape (n, 4).

        Parameters
        ----------
        part
            Position of the source from the centre of its pixel, -0.5 to 0.5, shape (n,).
        start
            See ``_start``.
        """
        index = self._step * (0.5 - part) + start % 1
        first = np.floor(index)
        return first.astype(np.int64)[:, None] + np.arange(4), np.stack(_cubic(index - first), axis=-1)

    def _fill(self, zone: int) -> None:
        """Compute the rows of a zone in the table; they stay zeros where its PSF cannot be used."""
        self._is_filled[zone] = True
        if not self._is_sound[zone]:
            return
        samples, step, margin = (
            self._psf.samples[zone].astype(np.float64),
            self._step,
            self._step * (self.side // 2 + 1),
        )
        if self._is_effective:
            coefficients = np.pad(ndimage.spline_filter(np.pad(samples * step**2, _PAD), order=3), margin)
        else:
            sums = np.pad(np.pad(samples, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1), _PAD, mode="edge")
            coefficients = np.pad(ndimage.spline_filter(sums, order=3), margin, mode="edge")
            coefficients = coefficients[step:] - coefficients[:-step]
            coefficients = coefficients[:, step:] - coefficients[:, :-step]
        steps = np.arange(step + 4)[:, None] - 1 + step * (np.arange(self.side) - self.side // 2)
        up, across = (margin + math.floor(start) + steps for start in self._start)
        self._table[zone] = coefficients[up[:, None, :, None], across[None, :, None, :]]


def _cubic(part: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the values of the four cubic B-splines at a fraction of an interval (de Boor 1978, chapter IX)."""
    rest = 1 - part
    return (
        rest**3 / 6,
        2 / 3 - part**2 * (2 - part) / 2,
        2 / 3 - rest**2 * (2 - rest) / 2,
        part**3 / 6,
    )
