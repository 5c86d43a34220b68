"""What the commands do, one function each."""

from __future__ import annotations

__all__ = ["find_images", "ingest_simulated"]

from .find_images import find_images
from .ingest_simulated import ingest_simulated
