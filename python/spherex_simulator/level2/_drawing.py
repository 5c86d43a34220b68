"""Images of point sources, drawn with the point spread function of the file."""

from __future__ import annotations

__all__ = ["Drawing", "drawing_of"]

import dataclasses
import functools

import numpy as np
from scipy.ndimage import spline_filter1d

from spherex.image import Box

from ._psf import EFFECTIVE, OPTICAL, PsfModel, psf_model

_BATCH = 4096  # sources drawn at once, to bound memory


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Draws point sources on a frame.

    What falls into a pixel is linear in the samples. For every step of a
    sample by which the point spread function can be shifted against the
    pixels, the terms for all pixels around a source stand ready; a source is
    a mixture of those of some steps and of four zones.

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
        """Pixels to each side of the nearest one into which a source shines."""
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
        rows, columns = image.shape
        for first in range(0, len(x), _BATCH):
            batch = slice(first, first + _BATCH)
            light = flux[batch, np.newaxis, np.newaxis] * self.stamps(x[batch], y[batch])
            row = (np.floor(y[batch] + 0.5).astype(int) - box.y0)[:, np.newaxis] + around
            column = (np.floor(x[batch] + 0.5).astype(int) - box.x0)[:, np.newaxis] + around
            light *= ((row >= 0) & (row < rows))[:, :, np.newaxis] & ((column >= 0) & (column < columns))[:, np.newaxis]
            place = (
                np.clip(row, 0, rows - 1)[:, :, np.newaxis] * columns + np.clip(column, 0, columns - 1)[:, np.newaxis]
            )
            image += np.bincount(place.ravel(), light.ravel(), image.size).reshape(image.shape)

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
    """Return what draws sources on a detector; see `psf_model`."""
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
