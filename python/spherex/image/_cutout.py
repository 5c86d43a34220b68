"""Which part of an image is wanted: a box of pixels, or a place on the sky."""

from __future__ import annotations

__all__ = ["Cutout"]

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, NoConvergence
from astropy.wcs.utils import pixel_to_skycoord, proj_plane_pixel_scales, skycoord_to_pixel

from ._box import Box

_MODES = ("trim", "pad")


@dataclasses.dataclass(frozen=True, eq=False)
class Cutout:
    """A part of an image, as a user asks for it.

    Parameters
    ----------
    box
        Box of pixels. Either it is given, or position and size.
    position
        One place on the sky.
    size
        Angle or number of pixels, for both axes or a pair for rows and
        columns, as in `astropy.nddata.Cutout2D`. Numbers of pixels are at
        least 1. Angles are rounded to whole pixels, at least one: 92.25
        arcsec are 15 pixels, as for IRSA's cutout service.
    mode
        What happens to pixels that the image does not have: ``trim`` leaves
        them away, ``pad`` fills them (NaN; in flags MISSING_DATA; in other
        integers 0).

    Raises
    ------
    ValueError
        If these do not describe one part.
    """

    box: Box | None = None
    position: SkyCoord | None = None
    size: Any = None
    mode: str = "trim"

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ValueError(f"The mode of a cutout is {' or '.join(_MODES)}, not {self.mode!r}.")
        if (self.box is None) == (self.position is None) or (self.position is None) != (self.size is None):
            raise ValueError("A cutout is given by a box of pixels, or by a position and a size.")
        if self.position is not None and not (isinstance(self.position, SkyCoord) and self.position.isscalar):
            raise ValueError(f"The position of a cutout is one SkyCoord, not {self.position!r}.")

    @classmethod
    def of(
        cls,
        box: Box | Sequence[int] | None = None,
        position: SkyCoord | None = None,
        size: Any = None,
        mode: str = "trim",
    ) -> Self:
        """Make a cutout of what a user gave.

        Raises
        ------
        ValueError
            If it does not describe one part.
        """
        return cls(None if box is None else Box.parse(box), position, size, mode)

    def resolve(self, shape: Sequence[int], wcs: Callable[[], WCS | None]) -> Box:
        """Return the pixels of an image that are meant.

        Parameters
        ----------
        shape
            Shape of the image, rows first.
        wcs
            Called for the celestial coordinates of the image if they matter.

        Returns
        -------
        box : `Box`
            Inside of the image, or hanging over its edge if the mode is ``pad``.

        Raises
        ------
        ValueError
            If none of them are in the image, or it has no coordinates.
        """
        box = self._around(shape, wcs()) if self.box is None else self.box
        try:
            inside = box.clipped(shape)
        except ValueError:
            if self.position is None:
                raise
            raise self._outside(shape) from None
        return box if self.mode == "pad" else inside

    def _around(self, shape: Sequence[int], wcs: WCS | None) -> Box:
        if wcs is None:
            raise ValueError("The image has no celestial coordinates; cut it by a box of pixels.")
        position = self.position
        assert position is not None  # noqa: S101 -- checked by __post_init__, unknown to mypy
        scales = proj_plane_pixel_scales(wcs)
        rows, columns = _in_pixels(self.size, scales[::-1])
        # Behind the tangential plane there are no pixels, and far away the
        # polynomial of the distortion may lead to none or to anywhere.
        if not np.isfinite(skycoord_to_pixel(position, wcs, mode="wcs")).all():
            raise self._outside(shape)
        try:
            x, y = (float(one) for one in skycoord_to_pixel(position, wcs))
        except NoConvergence:
            raise self._outside(shape) from None
        if pixel_to_skycoord(x, y, wcs).separation(position).deg > max(scales):
            raise self._outside(shape)
        x0, y0 = math.ceil(x - columns / 2), math.ceil(y - rows / 2)
        return Box(x0, x0 + columns, y0, y0 + rows)

    def _outside(self, shape: Sequence[int]) -> ValueError:
        place = self.position.to_string("decimal", precision=5)  # type: ignore[union-attr]
        return ValueError(
            f"A cutout of {self.size} at {place} deg lies outside of the image of {shape[-2]} rows and "
            f"{shape[-1]} columns."
        )


def _in_pixels(size: Any, scales: Sequence[float]) -> tuple[int, int]:
    """Return rows and columns of a size; the scales are in degrees, in the same order."""
    is_pair = isinstance(size, tuple | list) or getattr(size, "shape", ()) != ()
    sizes = size if is_pair else (size, size)
    try:
        rows, columns = (_length(one, scale) for one, scale in zip(sizes, scales, strict=True))
        return rows, columns
    except (TypeError, ValueError, OverflowError, units.UnitsError):
        raise ValueError(
            "The size of a cutout is one or two angles with a unit (0.01 * units.deg) or numbers of pixels, "
            f"at least 1, not {size!r}."
        ) from None


def _length(size: Any, scale: float) -> int:
    quantity = units.Quantity(size)
    if quantity.unit in (units.dimensionless_unscaled, units.pix):
        pixels = float(quantity.value)
        # It is rather an angle without its unit.
        is_size = pixels >= 1
    else:
        pixels = quantity.to_value(units.deg) / scale
        is_size = pixels > 0
    if not is_size:
        raise ValueError
    return max(round(pixels), 1)
