"""What the commands do, one function each."""

from __future__ import annotations

__all__ = ["ingest_simulated"]

from .ingest_simulated import ingest_simulated
