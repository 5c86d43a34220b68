"""Search for images at a position, with their wavelengths."""

from __future__ import annotations

__all__ = [
    "Criteria",
    "FORMATS",
    "FoundImages",
    "degrees_of",
    "find_images",
    "format_text",
    "position_of",
    "timespan_of_dates",
    "write_table",
]

from .criteria import Criteria, degrees_of, position_of, timespan_of_dates
from .engine import FoundImages, find_images
from .table import FORMATS, format_text, write_table
