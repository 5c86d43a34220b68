"""Values of header cards: numbers, texts, units."""

from __future__ import annotations

__all__ = ["number_of", "text_of", "unit_name", "unit_of"]

import functools
import math
from collections.abc import Mapping
from typing import Any

from astropy.nddata import CCDData
from astropy.units import Unit, UnitBase


def number_of(cards: Mapping[str, Any], key: str, least: float = -math.inf, most: float = math.inf) -> float | None:
    """Value of a card that has to be a number.

    Parameters
    ----------
    cards
        Card values by keyword.
    key
        Keyword.
    least, most
        What the value may be.

    Returns
    -------
    float or None
        The value; None if there is no such card.

    Raises
    ------
    ValueError
        Raised if it is not a finite number, or out of range.
    """
    value = cards.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} in the header is not a number: {value!r}")
    if not least <= value <= most:
        limits = f"{least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"
        raise ValueError(f"{key} in the header is {value!r}, not {limits}")
    return float(value)


def text_of(cards: Mapping[str, Any], key: str) -> str | None:
    """Value of a card as a name.

    Parameters
    ----------
    cards
        Card values by keyword.
    key
        Keyword.

    Returns
    -------
    str or None
        The value; None if there is no such card, or it is empty.
    """
    value = cards.get(key)
    return None if value is None or value == "" else str(value)


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
