"""Pixels of many frames from their corners on the sky.

Great circles are straight lines in a gnomonic projection, whatever its centre.
A frame without distortions is therefore a plane seen from the centre of the
sphere: its pixels (x, y, 1) and directions on the sky differ by a 3 x 3 matrix
alone, which the four corners determine.
"""

from __future__ import annotations

__all__ = ["corners_of", "depths_of", "directions_at", "pixels_at"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lsst.sphgeom import ConvexPolygon
    from numpy.typing import NDArray

# `ConvexPolygon` sorts its vertices counterclockwise as seen from outside. The
# frames of SPHEREx run clockwise (DETCOORD is 'sky': x to the west where y is
# to the north), so that it turns the order of `frame_corners` round.
_ORDER = (1, 0, 3, 2)


def corners_of(regions: Sequence[ConvexPolygon]) -> NDArray[np.float64]:
    """Return the corners of frames from the regions that `polygon_of` has made of them.

    Parameters
    ----------
    regions
        Regions of frames whose x axis is clockwise of the y axis on the sky,
        as those of SPHEREx are.

    Returns
    -------
    corners
        Unit vectors, of shape (number of regions, 4, 3), in the order of
        `frame_corners`.

    Raises
    ------
    ValueError
        Raised if a region has not four corners.
    """
    vertices = [region.getVertices() for region in regions]
    if any(len(four) != 4 for four in vertices):
        raise ValueError("a region is no frame: it has not four corners")
    flat = [c for four in vertices for v in four for c in (v.x(), v.y(), v.z())]
    return np.array(flat, float).reshape(-1, 4, 3)[:, _ORDER]


def pixels_at(
    corners: NDArray[np.float64], direction: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the pixels of frames that look in a direction.

    Parameters
    ----------
    corners
        Unit vectors of the outer corners of the frames, of shape (n, 4, 3).
    direction
        Unit vector, less than 90 degrees from each frame.
    shape
        Number of pixels along x and y.

    Returns
    -------
    pixels
        0-based x and y of each frame, of shape (n, 2), also where they are
        outside of it. Distortions are not known here: all but what they do to
        the corners is left out, up to 8 pixels in the frames of SPHEREx.
    """
    places = np.linalg.solve(_matrices(corners), direction[:, np.newaxis])[..., 0]
    # The frame begins at the outer edge of the first pixel.
    return places[:, :2] / places[:, 2:] * shape - 0.5


def directions_at(
    corners: NDArray[np.float64], pixels: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the directions of pixels of one frame, the inverse of `pixels_at`.

    Parameters
    ----------
    corners
        Unit vectors of its outer corners, of shape (4, 3).
    pixels
        0-based x and y, of shape (n, 2).
    shape
        Number of pixels along x and y.

    Returns
    -------
    directions
        Unit vectors, of shape (n, 3).
    """
    places = np.column_stack([(pixels + 0.5) / shape, np.ones(len(pixels))])
    directions = places @ _matrices(corners[np.newaxis])[0].T
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def depths_of(pixels: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return how far from the edges of a frame pixels are.

    Parameters
    ----------
    pixels
        0-based x and y, of shape (n, 2).
    shape
        Number of pixels along x and y.

    Returns
    -------
    depths
        Distance from the nearest edge in pixels, of shape (n,); negative
        outside of the frame.
    """
    beyond = np.abs(pixels - (np.array(shape) - 1) / 2) - np.array(shape) / 2
    outside = np.hypot(*np.maximum(beyond, 0.0).T)
    return np.where(outside > 0, -outside, -beyond.max(axis=1))


def _matrices(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrices from places on frames, (0, 0) to (1, 1), to directions."""
    first, second, third, fourth = np.moveaxis(corners, 1, 0)
    sides = np.stack([second, fourth, -first], axis=-1)
    scales = np.linalg.solve(sides, third[..., np.newaxis])
    origin = scales[:, 2] * first
    return np.stack([scales[:, 0] * second - origin, scales[:, 1] * fourth - origin, origin], axis=-1)
