"""Units and the names that files give them."""

from __future__ import annotations

__all__ = ["unit_name", "unit_of"]

import functools

from astropy.nddata import CCDData
from astropy.units import Unit, UnitBase


@functools.lru_cache(64)
def unit_of(name: str) -> UnitBase:
    """Return the unit of a BUNIT card.

    Raises
    ------
    ValueError
        If astropy does not know it.
    """
    return Unit(CCDData.known_invalid_fits_unit_strings.get(name, name))


@functools.lru_cache(64)
def unit_name(unit: UnitBase, name: str) -> str:
    """Return a unit as text.

    Parameters
    ----------
    unit
        The unit.
    name
        How the file had it, which is kept if it means the same; may be empty.

    Raises
    ------
    ValueError
        If there is no text from which astropy makes the unit again.
    """
    try:
        if name and unit_of(name) == unit:
            return name
    except ValueError:
        pass
    text = unit.to_string()
    try:
        if unit_of(text) == unit:
            return text
    except ValueError:
        pass
    raise ValueError(f"The unit {text} cannot be read again by astropy; convert the image to another one.")
