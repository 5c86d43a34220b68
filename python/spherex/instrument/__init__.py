"""Instruments of SPHEREx data for the Butler."""

from __future__ import annotations

__all__ = [
    "DETECTORS",
    "DICHROIC_PAIRS",
    "FRAME_SIDE",
    "DetectorDescription",
    "SPHEREx",
    "SPHERExInstrument",
    "SimulatorInstrument",
]

from typing import TYPE_CHECKING, Any

from .detectors import DETECTORS, DICHROIC_PAIRS, FRAME_SIDE, DetectorDescription

if TYPE_CHECKING:
    from .base import SPHERExInstrument
    from .mission import SPHEREx
    from .simulator import SimulatorInstrument


def __getattr__(name: str) -> Any:
    # The table of detectors is wanted without lsst.pipe.base, which takes
    # more than a second to import.
    if name == "SPHERExInstrument":
        from .base import SPHERExInstrument

        return SPHERExInstrument
    if name == "SPHEREx":
        from .mission import SPHEREx

        return SPHEREx
    if name == "SimulatorInstrument":
        from .simulator import SimulatorInstrument

        return SimulatorInstrument
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
