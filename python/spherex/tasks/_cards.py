"""Header cards and units that tasks decide by."""

from __future__ import annotations

__all__ = ["DETECTOR", "EXPOSURE_TIME", "detector_of", "exposure_time_of", "is_rate"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.units import UnitBase

EXPOSURE_TIME = "XPOSURE"
DETECTOR = "DETECTOR"

_FLUXES = ("Jy", "Jy/sr", "W", "W/m2", "W/(m2 sr)", "W/(m2 um)", "W/(m2 um sr)")
"""Units that contain a power, which is one per time, too."""


def detector_of(header: Mapping[str, Any]) -> str | None:
    """Return the detector of an image as text, since some headers have it as a number; `None` if they have none."""
    detector = header.get(DETECTOR)
    return None if detector is None else str(detector).strip()


def is_rate(unit: UnitBase) -> bool:
    """Return whether a unit is one per time, such as electron/s or MJy/sr, which exposure times do not scale."""
    is_per_time = any(
        base.physical_type == "time" and power < 0 for base, power in zip(unit.bases, unit.powers, strict=True)
    )
    return is_per_time or any(unit.is_equivalent(flux) for flux in _FLUXES)


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
