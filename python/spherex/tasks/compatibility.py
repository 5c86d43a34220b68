"""Conditions under which images can be subtracted or combined: detector, unit, exposure time.

`spherex.tasks.SubtractTask` and `spherex.tasks.CombineDarkTask` share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spherex.detectors import DETECTOR_IDS
from spherex.headers import detector_of, number_of

if TYPE_CHECKING:
    from astropy.units import UnitBase

    from spherex.image import SPHERExImage


EXPOSURE_TIME = "XPOSURE"
"""Header keyword of the exposure time (s)."""


_FLUXES = ("Jy", "Jy/sr", "W", "W/m2", "W/(m2 sr)", "W/(m2 um)", "W/(m2 um sr)")
"""Units with a power in them, which is an energy per time."""


def check_unit_and_detector(first: SPHERExImage, second: SPHERExImage, first_name: str, second_name: str) -> None:
    """Check that two images have the same unit and come from the same detector.

    Parameters
    ----------
    first, second
        The images. An image without the header keyword DETECTOR fits to any.
    first_name, second_name
        Names of the images in the message.

    Raises
    ------
    ValueError
        If unit or detector differ.
    """
    if first.unit != second.unit:
        raise ValueError(f"Units differ: {first_name} is in {first.unit}, {second_name} in {second.unit}.")
    detectors = [detector_of(image.header, DETECTOR_IDS) for image in (first, second)]
    if None not in detectors and detectors[0] != detectors[1]:
        raise ValueError(
            f"Detectors differ: {first_name} is of detector {detectors[0]}, {second_name} of detector {detectors[1]} "
            "(DETECTOR in the headers)."
        )


def is_rate(unit: UnitBase) -> bool:
    """Return whether a unit is one per time, such as electron/s or MJy/sr; exposure times do not scale rates."""
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
        Name of the image in the message.

    Raises
    ------
    ValueError
        If the header has no positive exposure time.
    """
    time = number_of(header, EXPOSURE_TIME, where=f"(exposure time of the {name})")
    if time is None or time <= 0:
        raise ValueError(f"The exposure time ({EXPOSURE_TIME}) of the {name} is {time!r}: cannot scale by it.")
    return time
