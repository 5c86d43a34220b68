"""Names and identifiers of the public SPHEREx archive, and what they say."""

from __future__ import annotations

__all__ = [
    "CALIBRATION_KINDS",
    "CALIBRATION_REGEX",
    "CBAND",
    "CWAVE",
    "CalibrationContent",
    "CalibrationHDU",
    "CalibrationKind",
    "CalibrationName",
    "CalibrationReference",
    "LEVEL2_REGEX",
    "Level2Name",
    "ObservationId",
    "ProcessingRun",
    "calibration_references",
    "kind_of",
    "time_of_uuid",
]

from .names import CALIBRATION_REGEX, LEVEL2_REGEX, CalibrationName, Level2Name, ObservationId, ProcessingRun
from .products import (
    CALIBRATION_KINDS,
    CBAND,
    CWAVE,
    CalibrationContent,
    CalibrationHDU,
    CalibrationKind,
    CalibrationReference,
    calibration_references,
    kind_of,
    time_of_uuid,
)
