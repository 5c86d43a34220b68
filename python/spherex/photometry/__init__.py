"""Fluxes of point sources at positions in arrays of pixels."""

from __future__ import annotations

__all__ = [
    "BrightSources",
    "CentroidOffset",
    "Fit",
    "FluxSettings",
    "Fluxes",
    "Pixels",
    "Profiles",
    "Stamps",
    "cut_stamps",
    "errors_of_noise",
    "fit_linear",
    "mean_with_scatter",
    "measure_apertures",
    "measure_brightness",
    "measure_fluxes",
]

from .apertures import measure_apertures
from .centroids import BrightSources, CentroidOffset, mean_with_scatter
from .fit import Fit, fit_linear
from .fluxes import Fluxes, FluxSettings, measure_fluxes
from .profiles import Profiles
from .residuals import errors_of_noise
from .stamps import Pixels, Stamps, cut_stamps, measure_brightness
