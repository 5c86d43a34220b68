"""What the commands do, one function each."""

from __future__ import annotations

__all__ = ["find_images", "ingest_level2", "ingest_simulated"]

from .find_images import find_images
from .ingest_level2 import ingest_level2
from .ingest_simulated import ingest_simulated
