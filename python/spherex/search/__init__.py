"""Images that contain a position, from what the repository knows of them."""

from __future__ import annotations

__all__ = ["Criteria", "FoundImages", "SearchError", "degrees_of", "find_images", "position_of", "timespan_of_dates"]

from .criteria import Criteria, SearchError
from .engine import FoundImages, find_images
from .position import degrees_of, position_of, timespan_of_dates
