"""Values of header cards that become fields of records."""

from __future__ import annotations

__all__ = ["number_of", "text_of"]

import math
from collections.abc import Mapping
from typing import Any


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
