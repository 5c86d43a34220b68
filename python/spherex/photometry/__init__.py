"""Fluxes of point sources in images; knows no Butler."""

from ._brightness import measure_brightness
from ._fit import Fit, fit_linear, smooth_variance
from ._measuring import Fluxes, FluxSettings, measure_fluxes
from ._profiles import Profiles
from ._stamps import Pixels, Stamps, cut_stamps

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
