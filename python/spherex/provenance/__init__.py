"""Which data products are no longer what would be made today."""

from .queries import queries_of_images, queries_of_targets
from .stale_spectra import find_stale_spectra
from .stale_spectrum import StaleSpectrum

__all__ = ["StaleSpectrum", "find_stale_spectra", "queries_of_images", "queries_of_targets"]
