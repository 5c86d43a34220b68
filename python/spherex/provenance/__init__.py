"""Inputs of data products, compared with those of today."""

from __future__ import annotations

__all__ = [
    "OriginReport",
    "Place",
    "StaleSpectrum",
    "check_origins",
    "compare_spectra",
    "queries_of_images",
    "queries_of_numbers",
    "queries_of_patches",
]

from .inputs import Place
from .origins import OriginReport, check_origins
from .queries import queries_of_images, queries_of_numbers, queries_of_patches
from .stale_spectra import StaleSpectrum, compare_spectra
