"""Inputs of data products, compared with those of today."""

from __future__ import annotations

__all__ = [
    "OriginReport",
    "StaleSpectrum",
    "check_origins",
    "find_stale_spectra",
    "queries_of_images",
    "queries_of_targets",
]

from .origins import OriginReport, check_origins
from .queries import queries_of_images, queries_of_targets
from .stale_spectra import StaleSpectrum, find_stale_spectra
