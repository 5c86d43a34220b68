"""Fluxes of point sources at positions in arrays of pixels."""

from __future__ import annotations

__all__ = [
    "Fit",
    "FluxSettings",
    "Fluxes",
    "Pixels",
    "Profiles",
    "Stamps",
    "cut_stamps",
    "fit_linear",
    "measure_brightness",
    "measure_fluxes",
    "smooth_variance",
]

from .fit import Fit, fit_linear, smooth_variance
from .fluxes import Fluxes, FluxSettings, measure_fluxes
from .profiles import Profiles
from .stamps import Pixels, Stamps, cut_stamps, measure_brightness
