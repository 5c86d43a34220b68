"""Positions, angles and times as users write them."""

from __future__ import annotations

__all__ = ["degrees_of", "position_of", "timespan_of_dates"]

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .criteria import SearchError

if TYPE_CHECKING:
    from lsst.daf.butler import Timespan

_HINT = "give RA DEC in degrees (308.027 38.350), with units (20h32m06.5s 38d21m00s), or a name such as J203206+382100"


def position_of(words: Sequence[str]) -> tuple[float, float]:
    """Return the position that a user has named.

    Parameters
    ----------
    words
        Right ascension and declination, in degrees where no unit is given,
        also as one word with a blank or a comma between them; or one name that
        contains the coordinates. No other name is known: nothing is asked of
        a server.

    Returns
    -------
    ra, dec
        ICRS (deg). Whether they are in their ranges, `Criteria` checks.

    Raises
    ------
    SearchError
        Raised if it is no position.
    """
    text = " ".join(words)
    if len(words) == 1:
        named = _position_in_name(text)
        if named is not None:
            return named
        words = text.replace(",", " ").split()
    if len(words) == 2:
        ra, dec = (degrees_of(word.strip(","), text) for word in words)
        return ra, dec
    what = "name that tells its coordinates" if len(words) == 1 else "position"
    raise SearchError(f"{text!r} is no {what}: {_HINT}.")


def _position_in_name(name: str) -> tuple[float, float] | None:
    """Return the position that a name contains, None if there is none."""
    from astropy.coordinates import jparser

    try:
        position = jparser.to_skycoord(name).icrs
    except ValueError:
        return None
    return float(position.ra.deg), float(position.dec.deg)


def degrees_of(word: str, whole: str | None = None) -> float:
    """Return an angle in degrees.

    Parameters
    ----------
    word
        Number in degrees, or with a unit that astropy knows.
    whole
        What the user has written, for the message.

    Returns
    -------
    degrees
        The angle (deg).

    Raises
    ------
    SearchError
        Raised if it is no angle.
    """
    try:
        degrees = float(word)
    except ValueError:
        from astropy.coordinates import Angle

        try:
            degrees = float(Angle(word).deg)
        except Exception:
            # The parser of astropy raises errors of many kinds.
            if whole is None:
                raise SearchError(f"{word!r} is no angle; give 0.1 (degrees) or 10arcmin.") from None
            raise SearchError(f"{whole!r} is no position: {_HINT}.") from None
    if not math.isfinite(degrees):
        raise SearchError(f"{word!r} is no angle: it is not finite.")
    return degrees


def timespan_of_dates(begin: str, end: str) -> Timespan:
    """Return the time between two dates.

    Parameters
    ----------
    begin, end
        Dates with or without a time of day, ISO 8601, UTC.

    Returns
    -------
    timespan
        The timespan.

    Raises
    ------
    SearchError
        Raised if one is no date, or the end is not after the begin.
    """
    from astropy.time import Time
    from lsst.daf.butler import Timespan

    times = []
    for date in (begin, end):
        with warnings.catch_warnings():
            # Leap seconds of times to come are not known.
            warnings.simplefilter("ignore")
            try:
                times.append(Time(date.removesuffix("Z"), scale="utc").tai)
            except ValueError:
                raise SearchError(f"{date!r} is no date; give it as 2025-06-01 or 2025-06-01T12:00:00, UTC.") from None
    if times[1] <= times[0]:
        raise SearchError(f"the end {end} is not after the begin {begin}.")
    return Timespan(*times)
