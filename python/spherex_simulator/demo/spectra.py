"""The second act of the demo: comparison of spectra with the truth, and a picture of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from astropy.table import QTable, Table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spherex.archive import Level2Name
from spherex.detectors import DETECTORS
from spherex.errors import UserError
from spherex.spectra import add_residuals, add_spectrum, unmasked

_SIGMAS = 5.0
"""Deviation, in standard errors, above chance."""

_MOST_FAILED = 0.05
_MOST_MARKED = 0.03
"""Fractions of the measurements; the simulation has one or two per cent of the first, and less of the second."""

_WAVELENGTH_TOLERANCE = 0.01
"""As a fraction of the bandwidth."""

Place: TypeAlias = tuple[str, int, str]
"""Name of the observation, detector, and target."""

Truth: TypeAlias = Mapping[Place, tuple[float, float]]
"""Flux density (uJy) and wavelength (um) in each image."""


class TruthError(UserError):
    """The truth is missing."""


@dataclasses.dataclass(frozen=True)
class SpectrumCheck:
    """Comparison of a spectrum with the truth.

    A pull is the difference of a flux and its truth over the standard
    deviation in the spectrum; if both are right, pulls have the mean 0
    and the scatter 1. Measurements that are not good have none.

    Parameters
    ----------
    images
        Number of images that show the target.
    missing
        Number of these images that are missing in the spectrum.
    failed
        Number of rows without a flux.
    marked
        Number of rows with a flux that are not good.
    detectors
        Number of detectors with a pull.
    signal
        Median of the true fluxes over their standard deviations.
    mean, scatter, largest
        Mean, standard deviation and largest absolute value of the pulls; NaN without any.
    wavelength_error
        Largest difference from the true wavelength, as a fraction of the bandwidth.
    """

    images: int
    missing: int
    failed: int
    marked: int
    detectors: int
    signal: float
    mean: float
    scatter: float
    largest: float
    wavelength_error: float

    @property
    def pulls(self) -> int:
        """Number of pulls."""
        return self.images - self.missing - self.failed - self.marked

    def complaints(self) -> list[str]:
        """Return a sentence for each disagreement with the truth.

        Were errors normal and right, the mean of n pulls would have the
        standard error 1 / sqrt(n), and their standard deviation 1 / sqrt(2 n).
        """
        complaints = []
        if self.missing:
            complaints.append(f"{self.missing} of {self.images} images that show it are not in the spectrum")
        if self.failed > _MOST_FAILED * self.images:
            complaints.append(f"{self.failed} of {self.images} measurements failed")
        if self.marked > _MOST_MARKED * self.images:
            complaints.append(f"{self.marked} of {self.images} measurements are marked as not good")
        if self.detectors < len(DETECTORS):
            complaints.append(f"only {self.detectors} of {len(DETECTORS)} detectors have measured it")
        if not self.pulls:
            return [*complaints, "the spectrum has no flux to compare"]
        if not abs(self.mean) * self.pulls**0.5 < _SIGMAS:
            complaints.append(f"the mean pull of {self.mean:.3f} is not that of noise")
        if not abs(self.scatter - 1) * (2 * self.pulls) ** 0.5 < _SIGMAS:
            complaints.append(f"the pulls scatter by {self.scatter:.3f} instead of 1")
        if not self.largest < _SIGMAS:
            complaints.append(f"a flux is {self.largest:.1f} standard deviations from the truth")
        if not self.wavelength_error < _WAVELENGTH_TOLERANCE:
            complaints.append(f"a wavelength is wrong by {self.wavelength_error:.3f} of the bandwidth")
        return complaints


def read_truth(files: Path) -> Truth:
    """Read what simulated Level 2 images contain.

    Parameters
    ----------
    files
        Output directory of `spherex-simulate --product level2`.

    Raises
    ------
    TruthError
        If tables with the truth are missing.
    """
    truth: dict[Place, tuple[float, float]] = {}
    for path in sorted(files.glob("*/truth/**/truth_level2_*.ecsv")):
        table = Table.read(path, format="ascii.ecsv")
        name = Level2Name.parse(table.meta["image"])
        place = str(name.observation), name.detector
        for target, flux, wavelength in table["name", "flux", "wavelength"].iterrows():
            truth[*place, str(target)] = float(flux), float(wavelength)
    if not truth:
        raise TruthError(
            f"{files} does not contain tables truth_level2_*.ecsv: use the output directory of spherex-simulate."
        )
    return truth


def with_truth(spectrum: QTable, truth: Truth) -> QTable:
    """Return a spectrum with the columns ``true_flux`` and ``true_wavelength``.

    Parameters
    ----------
    spectrum
        Measurements of one target, as `spherex.spectra.gather_spectrum` returns them.
    truth
        Truth about the images.

    Raises
    ------
    TruthError
        If the truth about an image or the target in it is not known.
    """
    table = unmasked(spectrum)
    columns = (table[name].tolist() for name in ("obsid", "detector", "target"))
    places = list(zip(*columns, strict=True))
    for place in places:
        if place not in truth:
            raise TruthError("The simulated files do not contain the truth about {2} in {0}D{1}.".format(*place))
    flux, wavelength = np.array([truth[place] for place in places], dtype=float).reshape(-1, 2).T
    table["true_flux"] = flux * table["flux"].unit
    table["true_wavelength"] = wavelength * table["wavelength"].unit
    return table


def check_spectrum(spectrum: QTable, truth: Truth, target: str) -> SpectrumCheck:
    """Compare a spectrum with the truth.

    Parameters
    ----------
    spectrum, truth
        As for `with_truth`.
    target
        Name of the target.

    Raises
    ------
    TruthError
        If the truth about an image or the target in it is not known.
    """
    table = with_truth(spectrum, truth)
    images = sum(place[2] == target for place in truth)
    flux, error, true = (table[name].to_value("uJy") for name in ("flux", "flux_error", "true_flux"))
    has_flux = np.asarray(table["reason"]) == ""
    used = has_flux & np.asarray(table["good"])
    pulls = (flux - true)[used] / error[used]
    offset = np.abs(table["wavelength"] - table["true_wavelength"]) / table["bandwidth"]
    return SpectrumCheck(
        images=images,
        missing=images - len(table),
        failed=int(np.count_nonzero(~has_flux)),
        marked=int(np.count_nonzero(has_flux & ~used)),
        detectors=len(np.unique(table["detector"][used])),
        signal=float(np.median(true[used] / error[used])) if used.any() else np.nan,
        mean=float(pulls.mean()) if used.any() else np.nan,
        scatter=float(pulls.std()) if used.any() else np.nan,
        largest=float(np.abs(pulls).max()) if used.any() else np.nan,
        wavelength_error=float(offset.to_value("")[used].max()) if used.any() else np.nan,
    )


_WIDTH, _PANEL, _REST = 11.0, 4.0, 1.2  # inches
_TRUTH = "0.15"


def draw_with_truth(spectra: Sequence[tuple[str, QTable]], path: Path, title: str) -> None:
    """Draw spectra one below the other, each with the truth as a line, and the differences from it.

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
    panels = figure.subplots(2 * len(spectra), sharex=True, height_ratios=(2.6, 1.2) * len(spectra))
    signs: dict[str, Line2D] = {}
    for axes, lower, (text, spectrum) in zip(panels[::2], panels[1::2], spectra, strict=True):
        handles = add_spectrum(axes, spectrum)
        order = np.argsort(spectrum["true_wavelength"])
        wavelength, flux = spectrum["true_wavelength"].to_value("um"), spectrum["true_flux"].to_value("uJy")
        # Behind the points, which it would hide.
        (line,) = axes.plot(wavelength[order], flux[order], color=_TRUTH, linewidth=1.3, zorder=1.5, label="truth")
        add_residuals(lower, spectrum, spectrum["true_flux"].to_value("uJy"), "truth")
        axes.set_title(text, fontsize=11, loc="left")
        signs |= {str(handle.get_label()): handle for handle in (*handles, line)}
    panels[-1].set_xlabel("wavelength (µm)")
    figure.legend(
        handles=[signs[label] for label in sorted(signs)],
        loc="outside lower center", ncols=len(signs), fontsize=10, frameon=False,
    )  # fmt: skip
    figure.savefig(path)
