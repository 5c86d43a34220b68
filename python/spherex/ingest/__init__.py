"""Files into a Butler repository: one engine, a describer for each kind."""

from __future__ import annotations

__all__ = [
    "BatchHook",
    "CalibrationDescriber",
    "DatasetKey",
    "DatasetKind",
    "DerivedDataset",
    "Describer",
    "FILE_REGEX",
    "FITS_REGEX",
    "FileDescription",
    "FileKey",
    "IngestOptions",
    "IngestPolicy",
    "IngestReport",
    "Level2Describer",
    "MOVE_REMEDY",
    "RAW_REGEX",
    "RecordDescription",
    "RunChain",
    "SimulatedDescriber",
    "ingest",
]

from .calibrations import FILE_REGEX, CalibrationDescriber
from .descriptions import (
    DatasetKey,
    DatasetKind,
    DerivedDataset,
    Describer,
    FileDescription,
    FileKey,
    IngestPolicy,
    RecordDescription,
    RunChain,
)
from .engine import MOVE_REMEDY, IngestOptions, ingest
from .level2 import FITS_REGEX, Level2Describer
from .report import IngestReport
from .simulated import RAW_REGEX, SimulatedDescriber
from .writer import BatchHook
