"""What the commands do, one function each."""

from __future__ import annotations

__all__ = [
    "check_provenance",
    "decertify_calibrations",
    "find_images",
    "ingest_calibrations",
    "ingest_level2",
    "ingest_simulated",
    "list_calibrations",
    "register_targets",
    "stale_spectra",
]

from .check_provenance import check_provenance
from .decertify_calibrations import decertify_calibrations
from .find_images import find_images
from .ingest_calibrations import ingest_calibrations
from .ingest_level2 import ingest_level2
from .ingest_simulated import ingest_simulated
from .list_calibrations import list_calibrations
from .register_targets import register_targets
from .stale_spectra import stale_spectra
