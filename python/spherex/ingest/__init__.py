"""Files into a Butler repository: one engine, a describer for each kind."""

from __future__ import annotations

__all__ = [
    "BatchHook",
    "DatasetKey",
    "DatasetKind",
    "DerivedDataset",
    "Describer",
    "DescriptionError",
    "FileDescription",
    "FileKey",
    "IngestError",
    "IngestOptions",
    "IngestPolicy",
    "IngestReport",
    "RecordDescription",
    "RunChain",
    "ingest",
]

from .batch import BatchHook
from .description import (
    DatasetKey,
    DatasetKind,
    DerivedDataset,
    Describer,
    DescriptionError,
    FileDescription,
    FileKey,
    RecordDescription,
)
from .engine import ingest
from .options import IngestError, IngestOptions
from .policy import IngestPolicy, RunChain
from .report import IngestReport
