"""Where a detector frame lies on the sky, from header cards alone."""

from __future__ import annotations

__all__ = ["WCS_CARDS", "FrameError", "boresight_of", "frame_corners", "polygon_of"]

from .boresight import boresight_of
from .cards import WCS_CARDS, FrameError
from .corners import frame_corners
from .regions import polygon_of
