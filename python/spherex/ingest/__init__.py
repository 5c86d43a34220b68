"""Ingest of files into a Butler repository: one engine, and a translator for each kind of file."""

from __future__ import annotations

__all__ = [
    "CalibrationTranslator",
    "DatasetKey",
    "DatasetKind",
    "DerivedDataset",
    "FILE_REGEX",
    "FITS_REGEX",
    "FileDescription",
    "FileKey",
    "FileStructure",
    "FileTranslator",
    "IngestOptions",
    "IngestReport",
    "Level2Translator",
    "RAW_REGEX",
    "RecordDescription",
    "SimulatedTranslator",
    "Tolerances",
    "ingest",
    "is_ingested",
    "read_structure",
]

from .calibrations import FILE_REGEX, CalibrationTranslator
from .descriptions import (
    DatasetKey,
    DatasetKind,
    DerivedDataset,
    FileDescription,
    FileKey,
    FileStructure,
    FileTranslator,
    RecordDescription,
    Tolerances,
    read_structure,
)
from .engine import IngestOptions, ingest, is_ingested
from .level2 import FITS_REGEX, Level2Translator
from .report import IngestReport
from .simulated import RAW_REGEX, SimulatedTranslator
