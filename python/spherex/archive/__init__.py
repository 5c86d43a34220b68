"""Names, identifiers and calibration products of the public SPHEREx archive."""

from __future__ import annotations

__all__ = [
    "ARCHIVE_URL",
    "CALIBRATION_KINDS",
    "CBAND",
    "CWAVE",
    "CalibrationContent",
    "CalibrationHDU",
    "CalibrationKind",
    "CalibrationName",
    "CalibrationReference",
    "Level2Name",
    "Level2NameParts",
    "ObservationId",
    "ProcessingRun",
    "age_of_run",
    "calibration_references",
    "cloud_uri",
    "kind_of",
    "level2_order",
    "level2_parent",
    "mirror_uri",
    "time_of_uuid",
]

from .names import (
    ARCHIVE_URL,
    CalibrationName,
    Level2Name,
    Level2NameParts,
    ObservationId,
    ProcessingRun,
    age_of_run,
    cloud_uri,
    level2_order,
    level2_parent,
    mirror_uri,
)
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
