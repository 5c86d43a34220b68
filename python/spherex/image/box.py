"""Boxes of pixels, and cutouts around positions on the sky."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from astropy import units
from astropy.coordinates import RadialDifferential, SkyCoord
from astropy.wcs import WCS, NoConvergence
from astropy.wcs.utils import pixel_to_skycoord, proj_plane_pixel_scales, skycoord_to_pixel


@dataclasses.dataclass(frozen=True)
class Box:
    """Rectangle of pixels, counted from 0, with exclusive upper limits.

    Parameters
    ----------
    x0, x1
        Columns from ``x0`` up to but not including ``x1``.
    y0, y1
        Rows from ``y0`` up to but not including ``y1``.

    Raises
    ------
    ValueError
        If the rectangle is empty.

    Examples
    --------
    >>> import spherex
    >>> box = spherex.Box(x0=10, x1=30, y0=0, y1=5)
    >>> box.shape
    (5, 20)
    """

    x0: int
    x1: int
    y0: int
    y1: int

    def __post_init__(self) -> None:
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise ValueError(f"{self} is empty: the upper limits are exclusive and must exceed the lower ones.")

    @classmethod
    def parse(cls, value: Box | Sequence[int]) -> Box:
        """Return a box from the argument of a user.

        Parameters
        ----------
        value
            Box, or four integers x0, x1, y0, y1.

        Raises
        ------
        ValueError
            If ``value`` is something else.
        """
        if isinstance(value, cls):
            return value
        try:
            x0, x1, y0, y1 = (operator.index(limit) for limit in value)  # type: ignore[union-attr]
        except (TypeError, ValueError):
            raise ValueError(f"A box is four integers (x0, x1, y0, y1), not {value!r}.") from None
        return cls(x0, x1, y0, y1)

    @classmethod
    def from_slices(cls, item: object, shape: tuple[int, ...]) -> Box:
        """Return a box from an index expression.

        Parameters
        ----------
        item
            Index in ``image[...]``.
        shape
            Shape of the image (rows, columns).

        Raises
        ------
        IndexError
            If ``item`` does not consist of slices with step 1.
        """
        items = item if isinstance(item, tuple) else (item,)
        items = items + (slice(None),) * (2 - len(items))
        if len(items) != 2 or not all(isinstance(axis, slice) and axis.step in (None, 1) for axis in items):
            raise IndexError(
                f"An image is cut by one or two slices with step 1, not by {item!r}; use .data for other indices."
            )
        (y0, y1, _), (x0, x1, _) = (axis.indices(size) for axis, size in zip(items, shape, strict=True))
        return cls(x0, x1, y0, y1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the box."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Slices of the rows and columns of an array in the box."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def shifted(self, columns: int, rows: int) -> Box:
        """Return the box moved by columns and rows."""
        return Box(self.x0 + columns, self.x1 + columns, self.y0 + rows, self.y1 + rows)

    def overlaps(self, shape: Sequence[int]) -> bool:
        """Return whether the box has pixels in an image of a shape (rows, columns)."""
        rows, columns = shape[-2:]
        return self.x0 < columns and self.y0 < rows and self.x1 > 0 and self.y1 > 0

    def clipped(self, shape: Sequence[int]) -> Box:
        """Return the part of the box inside of an image.

        Parameters
        ----------
        shape
            Shape of the image (rows, columns).

        Raises
        ------
        ValueError
            If the box lies outside of the image.
        """
        rows, columns = shape[-2:]
        if not self.overlaps(shape):
            raise ValueError(f"{self} lies outside of the image of {rows} rows and {columns} columns.")
        return Box(max(self.x0, 0), min(self.x1, columns), max(self.y0, 0), min(self.y1, rows))

    def cut(self, pixels: np.ndarray, fill: Any = None) -> np.ndarray:
        """Return the box of an array: a view, or new memory if the box extends over the edge.

        Parameters
        ----------
        pixels
            Array of shape (rows, columns).
        fill
            Value of the pixels outside of the array; see `filled`.

        Raises
        ------
        ValueError
            If the box lies outside of the array.
        """
        inside = self.clipped(pixels.shape)
        return self.filled(pixels[inside.slices], inside, fill)

    def filled(self, part: np.ndarray, inside: Box, fill: Any = None) -> np.ndarray:
        """Return all pixels of the box from those of a smaller box.

        Parameters
        ----------
        part
            Pixels of the smaller box.
        inside
            The smaller box, inside of this one.
        fill
            Value of the other pixels; by default NaN, of integers 0.
        """
        if inside == self:
            return part
        if fill is None:
            fill = np.nan if part.dtype.kind in "fc" else 0
        whole = np.full(self.shape, fill, part.dtype)
        whole[inside.y0 - self.y0 : inside.y1 - self.y0, inside.x0 - self.x0 : inside.x1 - self.x0] = part
        return whole


_MODES = ("trim", "pad")


@dataclasses.dataclass(frozen=True, eq=False)
class Cutout:
    """Part of an image: a box of pixels, or a size around a position.

    Parameters
    ----------
    box
        Box of pixels; excludes ``position`` and ``size``.
    position
        Scalar position on the sky at the time of the image, without proper
        motion.
    size
        Angle or number of pixels, for both axes or as a pair (rows, columns),
        as in `astropy.nddata.Cutout2D`. A number of pixels is at least 1.
        Angles are rounded to whole pixels, at least one: 92.25 arcsec are 15
        pixels, as in IRSA's cutout service.
    mode
        Treatment of pixels outside of the image: ``trim`` omits them, ``pad``
        fills them (NaN; in flags MISSING_DATA; in other integers 0).

    Raises
    ------
    ValueError
        If the arguments do not describe a part.
    """

    box: Box | None = None
    position: SkyCoord | None = None
    size: Any = None
    mode: str = "trim"

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ValueError(f"The mode of a cutout is {' or '.join(_MODES)}, not {self.mode!r}.")
        if (self.box is None) == (self.position is None) or (self.position is None) != (self.size is None):
            raise ValueError("A cutout is described by a box of pixels, or by a position and a size.")
        if self.position is not None and not (isinstance(self.position, SkyCoord) and self.position.isscalar):
            raise ValueError(f"The position of a cutout is a scalar SkyCoord, not {self.position!r}.")
        if self.position is not None and proper_motion(self.position) is not None:
            raise ValueError(
                "The position of a cutout is that at the time of the image, but this one has a proper motion: move it "
                "by position.apply_space_motion(new_obstime=...), and make a SkyCoord of its ra and dec. "
                "spherex.cutout does so itself."
            )

    @classmethod
    def of(
        cls,
        box: Box | Sequence[int] | None = None,
        position: SkyCoord | None = None,
        size: Any = None,
        mode: str = "trim",
    ) -> Self:
        """Return a cutout from the arguments of a user.

        Raises
        ------
        ValueError
            If the arguments do not describe a part.
        """
        return cls(None if box is None else Box.parse(box), position, size, mode)

    def resolve(self, shape: Sequence[int], wcs: Callable[[], WCS | None]) -> Box:
        """Return the pixels of the part in an image.

        Parameters
        ----------
        shape
            Shape of the image (rows, columns).
        wcs
            Function that returns the celestial coordinates of the image; called only for a position.

        Returns
        -------
        box : `Box`
            Inside of the image, or extending over its edge if the mode is ``pad``.

        Raises
        ------
        ValueError
            If no pixel of the part is in the image, or the image has no coordinates.
        """
        box = self._around(self._place(), shape, wcs()) if self.box is None else self.box
        inside = box.clipped(shape)
        return box if self.mode == "pad" else inside

    def _place(self) -> SkyCoord:
        """Return the position without a radial velocity: with one, but no distance, astropy transforms no frame."""
        frame = self.position.frame  # type: ignore[union-attr]
        return SkyCoord(frame.realize_frame(frame.data.without_differentials()))

    def _around(self, position: Any, shape: Sequence[int], wcs: WCS | None) -> Box:
        """Return the box of the size of the cutout around a position; it overlaps with the image."""
        if wcs is None:
            raise ValueError("The image has no celestial coordinates; cut it by a box of pixels.")
        outside = (
            f"A cutout of {self.size} at {position.to_string('decimal', precision=5)} deg lies outside of the image "
            f"of {shape[-2]} rows and {shape[-1]} columns."
        )
        scales = proj_plane_pixel_scales(wcs)
        rows, columns = _in_pixels(self.size, scales[::-1])
        # A position behind the tangential plane has no pixel. Far from the
        # image the polynomial of the distortion does not converge, or leads to
        # a wrong pixel.
        if not np.isfinite(skycoord_to_pixel(position, wcs, mode="wcs")).all():
            raise ValueError(outside)
        try:
            x, y = map(float, skycoord_to_pixel(position, wcs))
        except NoConvergence:
            raise ValueError(outside) from None
        if pixel_to_skycoord(x, y, wcs).separation(position).deg > max(scales):
            raise ValueError(outside)
        x0, y0 = math.ceil(x - columns / 2), math.ceil(y - rows / 2)
        box = Box(x0, x0 + columns, y0, y0 + rows)
        if not box.overlaps(shape):
            raise ValueError(outside)
        return box


_SLOWEST = 1e-6
"""Proper motion (mas/yr) below which a position is at rest: what rotations of radial velocities leave is less."""


def proper_motion(positions: SkyCoord) -> np.ndarray | None:
    """Return the proper motions of positions.

    Parameters
    ----------
    positions
        Positions of any shape.

    Returns
    -------
    motions
        To the east (with the factor cos(dec)) and to the north, ICRS (mas/yr),
        shape (2, ...); `None` if no position moves on the sky.
    """
    velocities = positions.data.differentials.get("s")
    if velocities is None or isinstance(velocities, RadialDifferential):
        return None
    icrs = positions.icrs
    motions = np.stack([pm.to_value("mas/yr") for pm in (icrs.pm_ra_cosdec, icrs.pm_dec)])
    return motions if np.any(np.abs(motions) > _SLOWEST) else None


def _in_pixels(size: Any, scales: Sequence[float]) -> tuple[int, int]:
    """Return rows and columns of a size; the scales are in degrees, in the same order."""
    is_pair = isinstance(size, tuple | list) or getattr(size, "shape", ()) != ()
    sizes = size if is_pair else (size, size)
    try:
        lengths = []
        for length, scale in zip(sizes, scales, strict=True):
            quantity = units.Quantity(length)
            if quantity.unit in (units.dimensionless_unscaled, units.pix):
                pixels = float(quantity.value)
                # Less than a pixel is an angle without its unit.
                is_size = pixels >= 1
            else:
                pixels = quantity.to_value(units.deg) / scale
                is_size = pixels > 0
            if not is_size:
                raise ValueError
            lengths.append(max(round(pixels), 1))
        rows, columns = lengths
        return rows, columns
    except (TypeError, ValueError, OverflowError, units.UnitsError):
        raise ValueError(
            "The size of a cutout is one or two angles with a unit (0.01 * units.deg) or numbers of pixels, "
            f"at least 1, not {size!r}."
        ) from None
