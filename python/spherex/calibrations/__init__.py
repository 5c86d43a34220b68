"""Which calibration is valid when, and which one an image was made with."""

from __future__ import annotations

__all__ = [
    "CertifiedChange",
    "CertifyRehearsal",
    "associations_of",
    "certify_newest",
    "decertify",
    "gaps_of",
    "newest_last",
    "timespan_between",
]

from .dates import timespan_between
from .validity import (
    CertifiedChange,
    CertifyRehearsal,
    associations_of,
    certify_newest,
    decertify,
    gaps_of,
    newest_last,
)
