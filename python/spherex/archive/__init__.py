"""Names and identifiers of the public SPHEREx archive, and what they say."""

from __future__ import annotations

__all__ = [
    "CALIBRATION_KINDS",
    "CALIBRATION_REGEX",
    "CBAND",
    "CWAVE",
    "LEVEL2_REGEX",
    "ArchiveNameError",
    "CalibrationContent",
    "CalibrationHDU",
    "CalibrationKind",
    "CalibrationName",
    "CalibrationReference",
    "Level2Name",
    "ObservationId",
    "ProcessingRun",
    "calibration_references",
    "kind_of",
    "time_of_uuid",
]

from ._calibrations import CALIBRATION_KINDS, CBAND, CWAVE, CalibrationContent, CalibrationHDU, CalibrationKind, kind_of
from ._names import CALIBRATION_REGEX, LEVEL2_REGEX, CalibrationName, Level2Name
from ._observation import ArchiveNameError, ObservationId
from ._provenance import CalibrationReference, calibration_references, time_of_uuid
from ._run import ProcessingRun
