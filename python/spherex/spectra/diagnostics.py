"""What measurements say of their images: whether the PSF and the astrometry are right.

They judge the images, and change no flux and no mark: a measurement is judged
by its own pixels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from spherex.photometry import errors_of_noise, mean_with_scatter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.table import Table
    from numpy.typing import NDArray

_BRIGHT = 100.0
"""Least signal to noise for the misfit of a core."""

_FAINT, _CLEAR = 10.0, 60.0
"""Signal to noise for the ratio of fluxes: brighter targets are weighted as in an aperture."""

_MOST_MASKED = 0.1
_FEWEST = 5
"""Measurements, below which a median says nothing."""

_LARGEST_ETA = 0.03
_LARGEST_DIFFERENCE = 0.01

_LARGEST_OFFSET = 0.1
"""Offset beyond which positions matter (pixels), see doc/quality.md: fluxes are too small by up to 0.4 % there."""

_LOSS = "fluxes are too small then, by 1 to 3 % at 0.2 pixels and by 8 to 22 % at 0.3"

_SIGMAS = 3.0

_MEDIAN_ERROR = math.sqrt(math.pi / 2)
"""Standard deviation of the median of n normal values times sqrt(n)."""

_MAD_ERROR = 1.166
"""Standard deviation of 1.4826 MAD of n standard normal values times sqrt(n) (Rousseeuw and Croux 1993,
JASA 88, 1273, section 1: efficiency 36.74 %).
"""

_RATIO_COLUMNS = (
    "flux",
    "flux_error",
    "aperture_flux",
    "aperture_flux_error",
    "core_chi2",
    "core_dof",
    "masked_fraction",
    "error_scale",
    "aperture_error_scale",
)
_OFFSET_COLUMNS = ("centroid_dx", "centroid_dx_error", "centroid_dy", "centroid_dy_error")

DIAGNOSED_COLUMNS = ("detector", *_RATIO_COLUMNS, *_OFFSET_COLUMNS)
"""Columns that `diagnose_detectors` needs."""


@dataclasses.dataclass(frozen=True)
class Diagnostics:
    """Diagnostics of images, NaN where they are unknown.

    Parameters
    ----------
    psf_over_aperture, psf_over_aperture_error
        Median of the flux by PSF over that in the aperture, of measurements with
        a signal to noise of 10 to 60, and its standard deviation: from the
        scatter, and at least that of the noise. A PSF 5 % too narrow, which
        faint sources do not show in chi2, makes it too small.
    clear
        Number of these measurements; the median is unknown with fewer than five.
    centroid_dx, centroid_dx_error, centroid_dy, centroid_dy_error
        Fitted minus catalogue positions of bright targets along x and y
        (pixels), and the standard deviations; see
        `spherex.photometry.BrightSources.offset`.
    """

    psf_over_aperture: float = np.nan
    psf_over_aperture_error: float = np.nan
    clear: int = 0
    centroid_dx: float = np.nan
    centroid_dx_error: float = np.nan
    centroid_dy: float = np.nan
    centroid_dy_error: float = np.nan

    def known(self) -> dict[str, float]:
        """Return the values that are not NaN, by name."""
        return {name: value for name, value in dataclasses.asdict(self).items() if np.isfinite(value)}

    def _ratio_warnings(self) -> list[str]:
        difference = abs(self.psf_over_aperture - 1)
        # With NaN, all comparisons are false.
        if difference > max(_SIGMAS * self.psf_over_aperture_error, _LARGEST_DIFFERENCE):
            return [
                f"the fluxes of {self.clear} measurements by PSF are {self.psf_over_aperture:.3f} +- "
                f"{self.psf_over_aperture_error:.3f} of those in the aperture"
            ]
        return []

    def _offset_warnings(self) -> list[str]:
        distance, error, is_off = _length_of_offset(
            self.centroid_dx, self.centroid_dx_error, self.centroid_dy, self.centroid_dy_error
        )
        if is_off:
            return [
                f"{distance:.3f} +- {error:.3f} pixels (x {self.centroid_dx:+.3f}, y {self.centroid_dy:+.3f}) from "
                f"their positions in the catalogue ({_LOSS}). Compare frame, epoch and proper motions of the "
                "catalogue, and look for a newer version of the images, with another WCS"
            ]
        return []


@dataclasses.dataclass(frozen=True)
class ImageDiagnostics(Diagnostics):
    """Diagnostics of one image.

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
    centroids
        Number of targets in the mean offset; 0 if there is none.
    """

    eta: float = np.nan
    bright: int = 0
    centroids: int = 0

    def warnings(self) -> list[str]:
        """Return what is wrong with the image, in sentences."""
        found = []
        if self.eta > _LARGEST_ETA:
            found.append(
                f"the cores of {self.bright} bright targets differ from the PSF by {self.eta:.3f} of it (eta, at most "
                f"{_LARGEST_ETA} in a good image): the PSF or the astrometry is wrong"
            )
        found.extend(f"{text}: the PSF is too narrow or too wide" for text in self._ratio_warnings())
        found.extend(f"{self.centroids} bright targets are {text}" for text in self._offset_warnings())
        return found


@dataclasses.dataclass(frozen=True)
class DetectorDiagnostics(Diagnostics):
    """Diagnostics of the images of one detector in the spectrum of a target.

    The ratio of fluxes is that of the target itself, the offset the mean of its images.

    Parameters
    ----------
    detector
        Number of the detector.
    centroid_images
        Number of images with an offset.
    centroid_images_off
        Number of these whose offset is longer than 0.1 pixels and 3 errors.
    """

    detector: int = -1
    centroid_images: int = 0
    centroid_images_off: int = 0

    def warnings(self) -> list[str]:
        """Return what is wrong with the images, in sentences."""
        found = [
            f"{text}: the PSF is wrong, or an unlisted neighbour has light in the aperture"
            for text in self._ratio_warnings()
        ]
        offset = self._offset_warnings()
        found.extend(f"the bright targets of {self.centroid_images} images are {text}" for text in offset)
        if self.centroid_images_off and not offset:
            found.append(
                f"the bright targets of {self.centroid_images_off} of {self.centroid_images} images are more than "
                f"{_LARGEST_OFFSET} pixels from their positions in the catalogue ({_LOSS}): see the columns "
                "centroid_dx and centroid_dy"
            )
        return found


def diagnose(measurements: Table) -> ImageDiagnostics:
    """Return what the measurements in one image say of it.

    Parameters
    ----------
    measurements
        Rows of one image, as `spherex.spectra.measure_targets` returns them.
    """
    signal, chi2, dof, masked = _signals(measurements)
    is_bright = (signal > _BRIGHT) & (masked < _MOST_MASKED) & (dof > 0)
    eta = np.sqrt(np.maximum(chi2 - dof, 0)[is_bright]) / signal[is_bright]
    # All rows of an image have the same offset.
    offset: dict[str, Any] = {name: float(measurements[name][0]) if len(signal) else np.nan for name in _OFFSET_COLUMNS}
    return ImageDiagnostics(
        **_flux_ratio(measurements, signal, masked),
        **offset,
        eta=float(np.median(eta)) if len(eta) >= _FEWEST else np.nan,
        bright=len(eta),
        centroids=int(measurements["centroids"][0]) if len(signal) else 0,
    )


def diagnose_detectors(measurements: Table | Mapping[str, NDArray[Any]]) -> list[DetectorDiagnostics]:
    """Return what the measurements of one target say of its images, for each detector.

    Parameters
    ----------
    measurements
        Columns of a spectrum, or of the rows of a target, without masks.
    """
    detectors = np.asarray(measurements["detector"])
    names = (*_RATIO_COLUMNS, *_OFFSET_COLUMNS)
    found = []
    for detector in np.unique(detectors).tolist():
        rows = {name: np.asarray(measurements[name], float)[detectors == detector] for name in names}
        signal, _, _, masked = _signals(rows)
        dx, dx_error, dy, dy_error = (rows[name] for name in _OFFSET_COLUMNS)
        is_known = np.isfinite(dx + dy) & (dx_error > 0) & (dy_error > 0)
        is_off = _length_of_offset(dx, dx_error, dy, dy_error)[2]
        offset: dict[str, Any] = dict.fromkeys(_OFFSET_COLUMNS, np.nan)
        if is_known.any():
            offset["centroid_dx"], offset["centroid_dx_error"] = mean_with_scatter(dx[is_known], dx_error[is_known])
            offset["centroid_dy"], offset["centroid_dy_error"] = mean_with_scatter(dy[is_known], dy_error[is_known])
        found.append(
            DetectorDiagnostics(
                **_flux_ratio(rows, signal, masked),
                **offset,
                detector=detector,
                centroid_images=int(np.count_nonzero(is_known)),
                centroid_images_off=int(np.count_nonzero(is_known & is_off)),
            )
        )
    return found


def _length_of_offset(dx: Any, dx_error: Any, dy: Any, dy_error: Any) -> tuple[Any, Any, Any]:
    """Return the length of offsets, its error, and whether it is more than 3 errors and 0.1 pixels.

    Parameters
    ----------
    dx, dx_error, dy, dy_error
        Offsets along x and y and their errors (pixels), numbers or of shape (n,).
    """
    length = np.hypot(dx, dy)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(length > 0, np.hypot(dx * dx_error, dy * dy_error) / length, np.hypot(dx_error, dy_error))
    return length, error, length > np.maximum(_SIGMAS * error, _LARGEST_OFFSET)


def _signals(
    measurements: Table | Mapping[str, NDArray[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return signal to noise, core_chi2, core_dof and masked_fraction."""
    columns = ("flux", "flux_error", "core_chi2", "core_dof", "masked_fraction", "error_scale")
    flux, error, chi2, dof, masked, scale = (np.asarray(measurements[name], float) for name in columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = error / np.where(np.isfinite(scale), scale, 1.0)
        # The error contains that of the profile, which is wanted here.
        return flux / errors_of_noise(error, chi2, dof), chi2, dof, masked


def _flux_ratio(
    measurements: Table | Mapping[str, NDArray[Any]], signal: NDArray[np.float64], masked: NDArray[np.float64]
) -> dict[str, Any]:
    """Return psf_over_aperture, its error and the number of measurements by name."""
    columns = ("flux", "aperture_flux", "aperture_flux_error", "aperture_error_scale")
    flux, aperture, aperture_error, scale = (np.asarray(measurements[name], float) for name in columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = flux / aperture
        # The fit has the least variance of all unbiased fluxes, so that its covariance with that in the aperture is
        # its own variance: var(aperture - flux) = var(aperture) - var(flux).
        aperture_variance = (aperture_error / np.where(np.isfinite(scale), scale, 1.0)) ** 2
        variances = np.maximum(aperture_variance - (flux / signal) ** 2, 0) / aperture**2
    # Also those that are not good: with a wrong PSF, no bright target is.
    is_clear = (signal > _FAINT) & (signal < _CLEAR) & (masked < _MOST_MASKED) & np.isfinite(ratios + variances)
    clear = ratios[is_clear]
    median, error, _, _ = robust_statistics(clear if len(clear) >= _FEWEST else clear[:0])
    if np.isfinite(error):
        # A few values may be close together by chance.
        error = max(error, _MEDIAN_ERROR * math.sqrt(np.mean(variances[is_clear]) / len(clear)))
    return {"psf_over_aperture": median, "psf_over_aperture_error": error, "clear": len(clear)}


def robust_statistics(values: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return median and 1.4826 MAD of values, each followed by its standard deviation for normal values.

    With fewer than two values, they are NaN.
    """
    if len(values) < 2:
        return math.nan, math.nan, math.nan, math.nan
    median = float(np.median(values))
    width = 1.4826 * float(np.median(np.abs(values - median)))
    root = math.sqrt(len(values))
    return median, _MEDIAN_ERROR * width / root, width, _MAD_ERROR * width / root
