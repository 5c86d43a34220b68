"""What the commands do, one function each."""

from __future__ import annotations

__all__ = ["check_provenance", "decertify_calibrations", "ingest_simulated", "list_calibrations"]

from .check_provenance import check_provenance
from .decertify_calibrations import decertify_calibrations
from .ingest_simulated import ingest_simulated
from .list_calibrations import list_calibrations
