"""Search for images at a position, in a repository and in the archive."""

from __future__ import annotations

__all__ = [
    "ARCHIVE_COLLECTIONS",
    "ArchiveImage",
    "ArchiveImages",
    "ArchiveService",
    "Criteria",
    "FORMATS",
    "FoundImages",
    "IMAGE_SERVICE",
    "TABLE_SERVICE",
    "check_radius",
    "cutout",
    "degrees_of",
    "find_images",
    "format_text",
    "position_of",
    "position_of_name",
    "timespan_of_dates",
    "write_table",
]

from .criteria import Criteria, check_radius, degrees_of, position_of, timespan_of_dates
from .engine import FoundImages, cutout, find_images
from .services import (
    ARCHIVE_COLLECTIONS,
    IMAGE_SERVICE,
    TABLE_SERVICE,
    ArchiveImage,
    ArchiveImages,
    ArchiveService,
    position_of_name,
)
from .table import FORMATS, format_text, write_table
