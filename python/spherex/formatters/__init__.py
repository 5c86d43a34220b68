"""Formatters: how the Butler reads and writes the storage classes of configs/storageClasses.yaml."""

from __future__ import annotations

__all__ = [
    "CCDDataFormatter",
    "HDUListFormatter",
    "JsonPackagesFormatter",
    "NumpyFormatter",
    "RefusedFormatter",
    "SPHERExImageDelegate",
    "SPHERExImageFormatter",
    "SafeYamlFormatter",
]

from .containers import CCDDataFormatter, HDUListFormatter
from .images import SPHERExImageDelegate, SPHERExImageFormatter
from .safe import JsonPackagesFormatter, NumpyFormatter, RefusedFormatter, SafeYamlFormatter
