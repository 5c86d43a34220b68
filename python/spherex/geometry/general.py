"""Corners of a frame in any projection that astropy knows."""

from __future__ import annotations

__all__ = ["general_corners"]

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .cards import WCS_CARDS, FrameError, number

if TYPE_CHECKING:
    from .corners import Corners


def general_corners(cards: Mapping[str, Any], shape: tuple[int, int], origin: tuple[int, int]) -> Corners:
    """Positions of the outer corners of the corner pixels, by astropy.

    Parameters
    ----------
    cards
        Card values by keyword.
    shape
        Number of pixels of the frame along the first and second FITS axis.
    origin
        Pixels of the frame before the first one of the image.

    Returns
    -------
    tuple [ tuple [ float, float, float ] ]
        ICRS unit vectors of the four corners, going round the frame.

    Raises
    ------
    FrameError
        Raised if astropy cannot place the frame on the sky.
    """
    from astropy.io import fits
    from astropy.wcs import WCS

    for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2"):
        number(cards, key)
    header = fits.Header({"NAXIS": 2, "NAXIS1": shape[0], "NAXIS2": shape[1]})
    header.update({key: cards[key] for key in WCS_CARDS if cards.get(key) is not None})
    edges_x = (0.5, shape[0] + 0.5, shape[0] + 0.5, 0.5)
    edges_y = (0.5, 0.5, shape[1] + 0.5, shape[1] + 0.5)
    with warnings.catch_warnings():
        # What astropy mends on the way is no news to somebody who ingests.
        warnings.simplefilter("ignore")
        try:
            # One-based pixel centres: 0.5 is the outer edge of the first one.
            wcs = WCS(header)
            if not wcs.has_celestial or wcs.naxis != 2:
                raise FrameError("the WCS does not name two celestial axes")
            positions = wcs.pixel_to_world(
                [x - 1.0 - origin[0] for x in edges_x],
                [y - 1.0 - origin[1] for y in edges_y],
            ).icrs
        except FrameError:
            raise
        except Exception as error:
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise FrameError(f"astropy does not understand the WCS: {text}") from error
    corners = tuple(tuple(float(c) for c in xyz) for xyz in positions.cartesian.xyz.value.T)
    if not all(math.isfinite(c) for corner in corners for c in corner):
        raise FrameError("a corner of the frame is not on the sky")
    return corners  # type: ignore[return-value]
