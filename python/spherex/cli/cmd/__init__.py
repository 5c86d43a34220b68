"""Click definitions of the commands; what they do is in `spherex.cli.script`."""

from __future__ import annotations

__all__ = ["ingest_simulated"]

from .ingest_simulated import ingest_simulated
