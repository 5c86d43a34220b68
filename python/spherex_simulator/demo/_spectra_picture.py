"""A picture of measured spectra with the truth."""

from __future__ import annotations

__all__ = ["draw_with_truth"]

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import QTable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spherex.spectra import DOUBTFUL_FLAGS, add_spectrum

from ._spectra import HIT

_WIDTH, _PANEL, _REST = 11.0, 2.7, 1.6  # inches
_TRUTH = "0.15"


def draw_with_truth(spectra: Sequence[tuple[str, QTable]], path: Path, title: str) -> None:
    """Draw spectra one below the other, each with the truth as a line.

    Parameters
    ----------
    spectra
        For each target a text and the spectrum, as `with_truth` returns it.
    path
        PNG file to write.
    title
        First line of the picture.
    """
    figure = Figure(figsize=(_WIDTH, len(spectra) * _PANEL + _REST), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=14, weight="bold")
    panels = figure.subplots(len(spectra), sharex=True, squeeze=False)[:, 0]
    signs: dict[str, Line2D] = {}
    for axes, (text, spectrum) in zip(panels, spectra, strict=True):
        handles = add_spectrum(axes, spectrum, flags=(*DOUBTFUL_FLAGS, HIT))
        order = np.argsort(spectrum["true_wavelength"])
        wavelength, flux = spectrum["true_wavelength"].to_value("um"), spectrum["true_flux"].to_value("uJy")
        # Behind the points, which it would hide.
        (line,) = axes.plot(wavelength[order], flux[order], color=_TRUTH, linewidth=1.3, zorder=1.5, label="truth")
        axes.set_title(text, fontsize=11, loc="left")
        axes.set_ylabel("flux density (µJy)")
        signs |= {str(handle.get_label()): handle for handle in (*handles, line)}
    panels[-1].set_xlabel("wavelength (µm)")
    figure.legend(
        handles=[signs[label] for label in sorted(signs)],
        loc="outside lower center", ncols=len(signs), fontsize=10, frameon=False,
    )  # fmt: skip
    figure.savefig(path)
