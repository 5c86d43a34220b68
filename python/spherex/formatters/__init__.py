"""Formatters: how the Butler reads and writes the storage classes of configs/storageClasses.yaml."""

from ._astropy import CCDDataFormatter, HDUListFormatter
from ._delegate import SPHERExImageDelegate
from ._image import SPHERExImageFormatter
from ._safe import JsonPackagesFormatter, NumpyFormatter, RefusedFormatter

__all__ = [
    "CCDDataFormatter",
    "HDUListFormatter",
    "JsonPackagesFormatter",
    "NumpyFormatter",
    "RefusedFormatter",
    "SPHERExImageDelegate",
    "SPHERExImageFormatter",
]
