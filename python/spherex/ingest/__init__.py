"""Files into a Butler repository: one engine, a describer for each kind."""

from __future__ import annotations

__all__ = [
    "DatasetKey",
    "Describer",
    "DescriptionError",
    "FileDescription",
    "FileKey",
    "IngestError",
    "IngestOptions",
    "IngestReport",
    "RecordDescription",
    "ingest",
]

from .description import (
    DatasetKey,
    Describer,
    DescriptionError,
    FileDescription,
    FileKey,
    RecordDescription,
)
from .engine import ingest
from .options import IngestError, IngestOptions
from .report import IngestReport
