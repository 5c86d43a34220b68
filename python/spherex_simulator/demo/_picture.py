"""A picture of one exposure before and after the dark subtraction."""

from __future__ import annotations

__all__ = ["draw_before_and_after"]

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure

from spherex.detectors import DETECTORS, DetectorDescription
from spherex.image import SPHERExImage

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
