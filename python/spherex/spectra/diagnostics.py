"""What the measurements in one image say of the image: whether its PSF and its astrometry are right.

They judge the image, and change no flux and no mark: a measurement is judged
by its own pixels.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from spherex.photometry import errors_of_noise

from .injecting import robust_statistics

if TYPE_CHECKING:
    from astropy.table import Table

_BRIGHT = 100.0
"""Least signal to noise for the misfit of a core."""

_FAINT, _CLEAR = 10.0, 60.0
"""Signal to noise for the ratio of fluxes: brighter targets are weighted as in an aperture."""

_MOST_MASKED = 0.1
_FEWEST = 5
"""Measurements, below which a median says nothing."""

_LARGEST_ETA = 0.03
_LARGEST_DIFFERENCE = 0.01
_SIGMAS = 3.0


@dataclasses.dataclass(frozen=True)
class ImageDiagnostics:
    """Diagnostics of one image; NaN where there are too few bright targets.

    Parameters
    ----------
    eta
        Error of PSF and position in units of the PSF: the median of
        sqrt(max(core_chi2 - core_dof, 0)) / (signal to noise) over targets with
        a signal to noise above 100. It is 0 to 0.009 in good images, 0.05 to
        0.09 with a PSF 5 % too narrow, and 0.14 to 0.20 with positions off by
        0.1 pixel.
    bright
        Number of these targets.
    psf_over_aperture, psf_over_aperture_error
        Median of the flux by PSF over that in the aperture, of targets with
        a signal to noise of 10 to 60, and its standard deviation. A PSF 5 %
        too narrow, which faint sources do not show in chi2, makes it too small.
    clear
        Number of these targets.
    """

    eta: float
    bright: int
    psf_over_aperture: float
    psf_over_aperture_error: float
    clear: int

    def warnings(self) -> list[str]:
        """Return what is wrong with the image, in sentences."""
        found = []
        if self.eta > _LARGEST_ETA:
            found.append(
                f"the cores of {self.bright} bright targets differ from the PSF by {self.eta:.3f} of it (eta, at most "
                f"{_LARGEST_ETA} in a good image): the PSF or the astrometry is wrong"
            )
        difference = abs(self.psf_over_aperture - 1)
        if difference > max(_SIGMAS * self.psf_over_aperture_error, _LARGEST_DIFFERENCE):
            found.append(
                f"the fluxes of {self.clear} targets by PSF are {self.psf_over_aperture:.3f} +- "
                f"{self.psf_over_aperture_error:.3f} of those in the aperture: the PSF is too narrow or too wide"
            )
        return found


def diagnose(measurements: Table) -> ImageDiagnostics:
    """Return what the measurements in one image say of it.

    Parameters
    ----------
    measurements
        Rows of one image, as `spherex.spectra.measure_targets` returns them.
    """
    columns = ("flux", "flux_error", "aperture_flux", "core_chi2", "core_dof", "masked_fraction")
    flux, error, aperture, chi2, dof, masked = (np.asarray(measurements[name], float) for name in columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.asarray(measurements["error_scale"], float)
        error = error / np.where(np.isfinite(scale), scale, 1.0)
        # The error contains that of the profile, which is wanted here.
        signal = flux / errors_of_noise(error, chi2, dof)
        ratios = flux / aperture
        is_bright = (signal > _BRIGHT) & (masked < _MOST_MASKED) & (dof > 0)
    eta = np.sqrt(np.maximum(chi2 - dof, 0)[is_bright]) / signal[is_bright]
    # Also those that are not good: with a wrong PSF, no bright target is.
    is_clear = (signal > _FAINT) & (signal < _CLEAR) & (masked < _MOST_MASKED) & np.isfinite(ratios)
    clear = ratios[is_clear]
    median, median_error, _, _ = robust_statistics(clear if len(clear) >= _FEWEST else clear[:0])
    return ImageDiagnostics(
        float(np.median(eta)) if len(eta) >= _FEWEST else np.nan,
        len(eta),
        median,
        median_error,
        len(clear),
    )
