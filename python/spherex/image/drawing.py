"""Pictures of images, with a colour scale, a compass and a scale bar."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units

from .flags import flags_in

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from .spherex_image import SPHERExImage

GREY = "0.62"
"""Colour of pixels without a value, which no colour map of matplotlib for continuous data contains."""

_BARS = {
    **{number: f"{number} arcsec" for number in (1, 2, 5, 10, 20, 30)},
    **{60 * number: f"{number} arcmin" for number in (1, 2, 5, 10, 20, 30)},
    **{3600 * number: f"{number} deg" for number in (1, 2, 5, 10)},
}
"""Lengths of scale bars (arcsec) with their labels."""
_BAR = 0.25
"""Greatest length of the scale bar, as a fraction of the width."""
_ARROW, _LETTER, _CORNER = 22.0, 31.0, 40.0
"""Length of the arrows, distance of their letters, and distance of their feet from the corner (points)."""


@dataclasses.dataclass(frozen=True)
class Compass:
    """Directions on an image, and a scale bar for it.

    Parameters
    ----------
    east, north
        Steps of one pixel in columns and rows, shape (2,).
    bar
        Length of the scale bar (pixels).
    label
        The same on the sky.
    """

    east: NDArray[np.float64]
    north: NDArray[np.float64]
    bar: float
    label: str

    @classmethod
    def of(cls, wcs: WCS, shape: tuple[int, ...]) -> Compass | None:
        """Return the compass of an image, `None` if its middle is not on the sky.

        Parameters
        ----------
        wcs
            Celestial coordinates of the pixels.
        shape
            Rows and columns of the image.
        """
        rows, columns = shape
        inverse = _pixels_per_degree(wcs, (columns - 1) / 2, (rows - 1) / 2)
        if inverse is None:
            return None
        east, north = (direction / np.hypot(*direction) for direction in inverse.T)
        scale = 3600 / float(np.sqrt(np.abs(np.linalg.det(inverse))))
        length = max([number for number in _BARS if number <= _BAR * columns * scale], default=1)
        return cls(east, north, length / scale, _BARS[length])


def draw_image(
    axes: Axes,
    image: SPHERExImage,
    hidden_flags: Iterable[str] = (),
    contrast: float = 0.25,
    colormap: str = "inferno",
) -> tuple[AxesImage, str, int]:
    """Draw an image into axes; pixels without a value are grey.

    Parameters
    ----------
    axes
        Axes, in pixels.
    image
        Image to draw. If it has a celestial WCS, it gets a compass and a scale bar.
    hidden_flags
        Pixels with one of these flags are grey, too. Flags that only other
        images have are ignored.
    contrast
        Contrast of the zscale stretch.
    colormap
        Name of the matplotlib colour map.

    Returns
    -------
    drawn
        For a colour bar.
    extend
        On which sides of the colour bar there are further values: ``neither``,
        ``min``, ``max`` or ``both``.
    hidden
        Number of grey pixels.

    Raises
    ------
    KeyError
        If no image has a flag of that name.
    """
    import matplotlib
    from astropy.visualization import ZScaleInterval

    is_hidden = ~np.isfinite(image.data)
    hidden = flags_in(hidden_flags, () if image.flag_plane is None else image.flag_plane.table)
    if image.flag_plane is not None:
        is_hidden |= image.flag_plane.has(*hidden)
    pixels = np.ma.masked_array(image.data, is_hidden)
    low, high, extend = 0.0, 1.0, "neither"
    if not is_hidden.all():
        low, high = ZScaleInterval(contrast=contrast).get_limits(pixels.compressed())
        extend = ("neither", "min", "max", "both")[int(pixels.min() < low) + 2 * int(pixels.max() > high)]
    colours = matplotlib.colormaps[colormap].with_extremes(bad=GREY)
    drawn = axes.imshow(pixels, origin="lower", cmap=colours, vmin=low, vmax=high)
    # Large frames are resampled: what shows through them is grey, too.
    axes.set_facecolor(GREY)
    if image.wcs is not None and image.wcs.has_celestial:
        add_compass(axes, image.wcs.celestial, image.data.shape)
    return drawn, extend, int(np.count_nonzero(is_hidden))


def add_compass(axes: Axes, wcs: WCS, shape: tuple[int, ...]) -> None:
    """Draw arrows to the north and the east, and a scale bar.

    Parameters
    ----------
    axes
        Axes, in pixels.
    wcs
        Celestial coordinates of the pixels.
    shape
        Rows and columns of the image.
    """
    from matplotlib.patheffects import withStroke

    rows, columns = shape
    compass = Compass.of(wcs, shape)
    if compass is None:
        return
    stroke = [withStroke(linewidth=2.0, foreground="black")]
    outlined: dict[str, Any] = {"color": "white", "path_effects": stroke, "zorder": 5}
    # In points, so that the arrows have the same size on every image; columns and rows have the same scale.
    foot = np.full(2, _CORNER)
    for name, unit in (("E", compass.east), ("N", compass.north)):
        axes.annotate(
            "", tuple(foot + _ARROW * unit), (_CORNER, _CORNER), xycoords="axes points",
            textcoords="axes points", zorder=5,
            arrowprops={
                "arrowstyle": "-|>", "color": "white", "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0,
                "path_effects": stroke,
            },
        )  # fmt: skip
        axes.annotate(
            name, tuple(foot + _LETTER * unit), xycoords="axes points", ha="center", va="center", fontsize=9, **outlined
        )
    right, height = columns * 0.95 - 0.5, rows * 0.07 - 0.5
    left = right - compass.bar
    axes.plot([left, right], [height, height], linewidth=2, solid_capstyle="butt", **outlined)
    axes.text((left + right) / 2, height + 0.02 * rows, compass.label, ha="center", va="bottom", fontsize=9, **outlined)


def _pixels_per_degree(wcs: WCS, x: float, y: float) -> NDArray[np.float64] | None:
    """Return how columns and rows (axis 0) change to the east and to the north (axis 1); `None` off the sky."""
    corner, right, upper = wcs.pixel_to_world([x, x + 1, x], [y, y, y + 1]).icrs
    offsets = [corner.spherical_offsets_to(place) for place in (right, upper)]
    degrees = np.array([[axis.to_value(units.deg) for axis in offset] for offset in offsets]).T
    if not np.isfinite(degrees).all() or np.linalg.det(degrees) == 0:
        return None
    inverse: NDArray[np.float64] = np.linalg.inv(degrees)
    return inverse
