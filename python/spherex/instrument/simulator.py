"""The SPHEREx simulator as an instrument."""

from __future__ import annotations

__all__ = ["SimulatorInstrument"]

from .base import SPHERExInstrument


class SimulatorInstrument(SPHERExInstrument):
    """Source of simulated exposures, numbered from 0."""

    name = "simulator"
    exposure_max = 1_000_000
