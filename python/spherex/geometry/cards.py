"""The header cards of a celestial WCS."""

from __future__ import annotations

__all__ = ["MAX_SIP_ORDER", "UNUSUAL_CARDS", "WCS_CARDS", "FrameError", "has_celestial_wcs", "number"]

import math
from collections.abc import Mapping
from typing import Any

MAX_SIP_ORDER = 9
"""Highest polynomial order that the SIP convention allows."""

MAX_PV = 39
"""Highest number of a parameter of a projection, in TPV."""

_AXIS_CARDS = ("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT")

UNUSUAL_CARDS = frozenset(
    [f"PV{i}_{m}" for i in (1, 2) for m in range(5)]
    + ["CROTA1", "CROTA2", "CPDIS1", "CPDIS2", "CQDIS1", "CQDIS2", "D2IMDIS1", "D2IMDIS2"]
)
"""Cards that change a gnomonic projection in ways that only astropy knows."""

WCS_CARDS = frozenset(
    [f"{name}{axis}" for name in _AXIS_CARDS for axis in (1, 2)]
    + [f"{name}{i}_{j}" for name in ("PC", "CD") for i in (1, 2) for j in (1, 2)]
    + ["WCSAXES", "LONPOLE", "LATPOLE", "RADESYS", "EQUINOX", "A_ORDER", "B_ORDER"]
    + [f"PV{i}_{m}" for i in (1, 2) for m in range(MAX_PV + 1)]
    + sorted(UNUSUAL_CARDS)
    + [f"{name}_{p}_{q}" for name in ("A", "B") for p in range(MAX_SIP_ORDER + 1) for q in range(MAX_SIP_ORDER + 1 - p)]
)
"""Every card that takes part in the position of a two-dimensional frame."""


class FrameError(ValueError):
    """The cards of a WCS are incomplete or make no sense."""


def number(cards: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """Value of a card that has to be a finite number.

    Parameters
    ----------
    cards
        Card values by keyword.
    key
        Keyword wanted.
    default
        Value if the card is absent; without one the card has to be there.

    Returns
    -------
    float
        The value.

    Raises
    ------
    FrameError
        Raised if the card is absent without a default, or not a finite number.
    """
    value = cards.get(key, default)
    if type(value) is float and math.isfinite(value):
        return value
    if value is None:
        raise FrameError(f"the WCS is incomplete: {key} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FrameError(f"{key} of the WCS is not a number: {value!r}")
    return float(value)


def has_celestial_wcs(cards: Mapping[str, Any]) -> bool:
    """Whether the cards claim to place the frame on the sky.

    Parameters
    ----------
    cards
        Card values by keyword.

    Returns
    -------
    bool
        False for a header without WCS and for one with plain pixel or linear
        axes; true for any other, complete or not.
    """
    ctypes = [ctype for ctype in (cards.get("CTYPE1"), cards.get("CTYPE2")) if ctype is not None]
    if ctypes:
        return any("-" in str(ctype) for ctype in ctypes)
    return any(cards.get(key) is not None for key in ("CRVAL1", "CRVAL2"))
