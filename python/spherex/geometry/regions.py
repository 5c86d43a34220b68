"""Regions of the sky for the Butler."""

from __future__ import annotations

__all__ = ["polygon_of"]

from typing import TYPE_CHECKING

from lsst.sphgeom import ConvexPolygon, UnitVector3d

if TYPE_CHECKING:
    from .corners import Corners


def polygon_of(corners: Corners) -> ConvexPolygon:
    """Convex region between the corners of a frame.

    Parameters
    ----------
    corners
        Unit vectors (x, y, z), ICRS.

    Returns
    -------
    lsst.sphgeom.ConvexPolygon
        The region; its sides are great circles.
    """
    return ConvexPolygon([UnitVector3d(*corner) for corner in corners])
