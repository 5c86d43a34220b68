"""Validity of calibrations: look-up, certification and decertification."""

from __future__ import annotations

__all__ = [
    "CalibrationIndex",
    "CalibrationLookup",
    "CertifiedChange",
    "CertifiedDataset",
    "CertifyTrial",
    "NewestCalibrationLookup",
    "certified_datasets",
    "certify_newest",
    "decertify",
    "explain_missing",
    "gaps_of",
    "instant_of",
    "limits_of",
    "middle_of",
    "newest_last",
    "range_text",
    "timespan_between",
]

from .lookup import (
    CalibrationIndex,
    CalibrationLookup,
    NewestCalibrationLookup,
    explain_missing,
    instant_of,
    middle_of,
)
from .validity import (
    CertifiedChange,
    CertifiedDataset,
    CertifyTrial,
    certified_datasets,
    certify_newest,
    decertify,
    gaps_of,
    limits_of,
    newest_last,
    range_text,
    timespan_between,
)
