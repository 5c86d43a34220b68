"""Which data products are no longer what would be made today."""

from .stale_spectra import StaleSpectrum, find_stale_spectra, query_of_images, query_of_targets

__all__ = ["StaleSpectrum", "find_stale_spectra", "query_of_images", "query_of_targets"]
