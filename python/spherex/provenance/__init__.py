"""Which data products are no longer what would be made today."""

from .queries import query_of_images, query_of_targets
from .stale_spectra import find_stale_spectra
from .stale_spectrum import StaleSpectrum

__all__ = ["StaleSpectrum", "find_stale_spectra", "query_of_images", "query_of_targets"]
