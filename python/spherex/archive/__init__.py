"""Names and identifiers of the public SPHEREx archive, and what they say."""

from __future__ import annotations

__all__ = [
    "CALIBRATION_REGEX",
    "LEVEL2_REGEX",
    "ArchiveNameError",
    "CalibrationName",
    "CalibrationReference",
    "Level2Name",
    "ObservationId",
    "ProcessingRun",
    "calibration_references",
    "time_of_uuid",
]

from ._names import CALIBRATION_REGEX, LEVEL2_REGEX, CalibrationName, Level2Name
from ._observation import ArchiveNameError, ObservationId
from ._provenance import CalibrationReference, calibration_references, time_of_uuid
from ._run import ProcessingRun
