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

from spherex.remote import obey_no_sign_request

from .containers import CCDDataFormatter, HDUListFormatter
from .images import SPHERExImageDelegate, SPHERExImageFormatter
from .safe import JsonPackagesFormatter, NumpyFormatter, RefusedFormatter, SafeYamlFormatter

# The Butler imports this package in each process that opens a repository.
obey_no_sign_request()
