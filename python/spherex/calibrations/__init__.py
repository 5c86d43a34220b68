"""Which calibration is valid when, and which one an image was made with."""

from __future__ import annotations

__all__ = [
    "CalibrationLookup",
    "CertifiedChange",
    "CertifyRehearsal",
    "associations_of",
    "certify_newest",
    "decertify",
    "explain_missing",
    "gaps_of",
    "newest_last",
    "timespan_between",
]

from .lookup import CalibrationLookup, explain_missing
from .validity import (
    CertifiedChange,
    CertifyRehearsal,
    associations_of,
    certify_newest,
    decertify,
    gaps_of,
    newest_last,
    timespan_between,
)
