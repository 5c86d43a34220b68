"""The first act of the demo: comparison of dark-subtracted images with the truth, and a picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure

from spherex.detectors import DETECTORS, DetectorDescription
from spherex.image import SPHERExImage

_RADIUS = 3.5  # pixels; contains the image of a star
_ANNULUS = (5.0, 9.0)  # pixels; where the background is measured
_ISOLATION = 6.0  # pixels to the next star that matters
_BRIGHT = 20.0  # electron/s; a star whose noise is below a percent
_FAINT = 0.01  # rate of a neighbour that does not matter, over that of the star

_SIGMAS = 5.0
"""Deviation of a mean, in standard errors, above chance."""

_SCATTER_TOLERANCE = 0.02
_FLUX_TOLERANCE = 0.03
_ENOUGH_STARS = 5  # for a median that is robust against one star with a faint companion


@dataclasses.dataclass(frozen=True)
class ImageCheck:
    """Comparison of an image with the truth.

    A pull is the difference of a pixel and its truth over the standard
    deviation from the variance plane; if image and variance are right,
    pulls have the mean 0 and the scatter 1.

    Parameters
    ----------
    pixels
        Number of compared pixels: without flags except SOURCE.
    mean
        Mean of the pulls.
    scatter
        Standard deviation of the pulls.
    stars
        Number of bright isolated stars.
    flux_ratio
        Median of their measured over their true rates; NaN without stars.
    """

    pixels: int
    mean: float
    scatter: float
    stars: int
    flux_ratio: float

    def complaints(self) -> list[str]:
        """Return a sentence for each disagreement with the truth."""
        if not self.pixels:
            return ["all pixels have flags"]
        complaints = []
        if not abs(self.mean) * self.pixels**0.5 < _SIGMAS:
            complaints.append(f"the mean pull of {self.mean:.4f} is not that of noise")
        if not abs(self.scatter - 1) < _SCATTER_TOLERANCE:
            complaints.append(f"the pulls scatter by {self.scatter:.3f} instead of 1")
        if self.stars >= _ENOUGH_STARS and not abs(self.flux_ratio - 1) < _FLUX_TOLERANCE:
            complaints.append(f"the stars have {self.flux_ratio:.3f} of their true rate")
        return complaints


def check_image(image: SPHERExImage, sky: np.ndarray, sources: Table) -> ImageCheck:
    """Compare a dark-subtracted image with the truth.

    Parameters
    ----------
    image
        Image in electron/s with variance and flags.
    sky
        The image without noise, same shape, electron/s.
    sources
        The sources in it: columns ``x``, ``y`` in pixels and ``rate`` in electron/s.

    Raises
    ------
    ValueError
        If the image lacks variance or flags, or has another shape than ``sky``.
    """
    if image.variance is None or image.flags is None:
        raise ValueError("The image has no variance or no flags.")
    if image.data.shape != sky.shape:
        raise ValueError(f"The image has the shape {image.data.shape}, its truth {sky.shape}.")
    harmless = image.flag_table.bits("SOURCE")
    good = (image.flags & ~harmless == 0) & np.isfinite(image.data)
    if not good.any():
        return ImageCheck(0, np.nan, np.nan, 0, np.nan)
    pulls = (image.data[good] - sky[good]) / np.sqrt(image.variance[good])
    ratios = _flux_ratios(image.data, good, sources)
    return ImageCheck(
        pixels=int(np.count_nonzero(good)),
        mean=float(pulls.mean(dtype=float)),
        scatter=float(pulls.std(dtype=float)),
        stars=len(ratios),
        flux_ratio=float(np.median(ratios)) if ratios else np.nan,
    )


def _flux_ratios(data: np.ndarray, good: np.ndarray, sources: Table) -> list[float]:
    """Return measured over true rates of isolated stars."""
    x, y, rate = (np.asarray(sources[name], dtype=float) for name in ("x", "y", "rate"))
    half = math.ceil(_ANNULUS[1])
    ratios = []
    for star in np.flatnonzero(rate > _BRIGHT):
        row, column = round(y[star]), round(x[star])
        stamp = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        if min(row, column) < half or data[stamp].shape != (2 * half + 1, 2 * half + 1):
            continue
        distance = np.hypot(x - x[star], y - y[star])
        if np.count_nonzero((distance < _ISOLATION) & (rate > _FAINT * rate[star])) > 1:
            continue
        grid_y, grid_x = np.mgrid[stamp]
        radius = np.hypot(grid_x - x[star], grid_y - y[star])
        aperture = radius <= _RADIUS
        if not good[stamp][aperture].all():
            continue
        around = (radius >= _ANNULUS[0]) & (radius <= _ANNULUS[1]) & good[stamp]
        background = np.median(data[stamp][around])
        ratios.append(float((data[stamp][aperture] - background).sum() / rate[star]))
    return ratios


_PAPER, _INK, _DIM, _NO_DATA = "#0b0e14", "#f2efe6", "#9aa3b2", "#3c4658"
_SOFTENING = 0.15  # electron/s, about the dark current: there the stretch turns from linear to logarithmic
_LIMITS = (0.0, 20.0)  # electron/s
_TICKS = (0, 0.1, 0.3, 1, 3, 10, 20)
_NORM = FuncNorm(
    (lambda rate: np.arcsinh(np.asarray(rate) / _SOFTENING), lambda value: np.sinh(np.asarray(value)) * _SOFTENING),
    *_LIMITS,
)

# In inches: panels are square, and the figure is made to measure.
_PANEL, _GAP = 2.4, 0.12
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.55, 0.95, 0.5, 1.35


def draw_before_and_after(
    before: Mapping[int, SPHERExImage], after: Mapping[int, SPHERExImage], path: Path, title: str, subtitle: str
) -> None:
    """Draw the detectors of an exposure in two rows, all with the same stretch.

    Parameters
    ----------
    before, after
        Images in electron/s by detector number.
    path
        PNG file to write.
    title, subtitle
        First lines of the picture.
    """
    count = len(DETECTORS)
    width = _LEFT + count * _PANEL + (count - 1) * _GAP + _RIGHT
    height = _BOTTOM + 2 * _PANEL + _GAP + _TOP
    figure = Figure(figsize=(width, height), dpi=150, facecolor=_PAPER)
    FigureCanvasAgg(figure)

    def axes_at(left: float, bottom: float, right: float, top: float) -> Axes:
        return figure.add_axes((left / width, bottom / height, (right - left) / width, (top - bottom) / height))

    colours = colormaps["inferno"].with_extremes(bad=_NO_DATA)
    upper = height - _TOP
    for column, detector in enumerate(DETECTORS):
        left = _LEFT + column * (_PANEL + _GAP)
        for row, (name, images) in enumerate((("before", before), ("after", after))):
            top = upper - row * (_PANEL + _GAP)
            axes = axes_at(left, top - _PANEL, left + _PANEL, top)
            axes.set(xticks=[], yticks=[], facecolor=_NO_DATA)
            axes.spines[:].set_visible(False)
            if detector.id in images:
                pixels = np.clip(images[detector.id].data, *_LIMITS)
                axes.imshow(pixels, cmap=colours, norm=_NORM, origin="lower", aspect="auto")
            if not column:
                axes.set_ylabel(name, color=_INK, fontsize=14, labelpad=8)
            if not row:
                _name_detector(axes, detector)
    figure.text(_LEFT / width, 1 - 0.38 / height, title, color=_INK, fontsize=18, weight="bold", va="center")
    figure.text(_LEFT / width, 1 - 0.72 / height, subtitle, color=_DIM, fontsize=11, va="center")
    figure.text(
        _LEFT / width,
        0.22 / height,
        "In each detector the wavelength falls from bottom to top. Grey pixels do not function.",
        color=_DIM,
        fontsize=10,
        va="center",
    )
    right = width - _RIGHT + 0.15
    bar = figure.colorbar(
        ScalarMappable(_NORM, colours), cax=axes_at(right, _BOTTOM, right + 0.16, upper), ticks=_TICKS
    )
    bar.ax.set_yticklabels([f"{tick:g}" for tick in _TICKS])
    bar.ax.tick_params(colors=_DIM, labelsize=10, length=0)
    bar.outline.set_visible(False)
    bar.ax.set_ylabel("electron/s", color=_DIM, fontsize=10, rotation=270, labelpad=14)
    figure.savefig(path, facecolor=_PAPER)


def _name_detector(axes: Axes, detector: DetectorDescription) -> None:
    # Colours of the rainbow stand for infrared wavelengths, short ones blue.
    hue = colormaps["turbo"](0.12 + 0.76 * (detector.id - 1) / (len(DETECTORS) - 1))
    axes.plot(
        [0, 1], [1.02, 1.02], color=hue, linewidth=4, solid_capstyle="butt", clip_on=False, transform=axes.transAxes
    )
    axes.text(0.0, 1.055, f"Detector {detector.id}", color=_INK, fontsize=12, transform=axes.transAxes)
    wavelengths = f"{detector.lmin:.2f} – {detector.lmax:.2f} µm"
    axes.text(1.0, 1.055, wavelengths, color=hue, fontsize=11, ha="right", transform=axes.transAxes)
