"""Header cards and units that tasks decide by."""

from __future__ import annotations

__all__ = ["DETECTOR", "EXPOSURE_TIME", "exposure_time_of", "is_rate"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.units import UnitBase

EXPOSURE_TIME = "XPOSURE"
DETECTOR = "DETECTOR"


def is_rate(unit: UnitBase) -> bool:
    """Return whether a unit is one per time, such as electron/s, which exposure times do not scale."""
    return any(
        base.physical_type == "time" and power < 0 for base, power in zip(unit.bases, unit.powers, strict=True)
    )


def exposure_time_of(header: Mapping[str, Any], name: str) -> float:
    """Return the exposure time of an image (s).

    Parameters
    ----------
    header
        Header of the image.
    name
        What the image is called in the message.

    Raises
    ------
    ValueError
        If the header has no exposure time that something can be scaled by.
    """
    time = header.get(EXPOSURE_TIME)
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time) or time <= 0:
        raise ValueError(f"The exposure time ({EXPOSURE_TIME}) of the {name} is {time!r}: cannot scale by it.")
    return float(time)
