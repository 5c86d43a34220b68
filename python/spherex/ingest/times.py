"""Times in headers."""

from __future__ import annotations

import datetime
import math
import warnings
from typing import TYPE_CHECKING

import erfa  # type: ignore[import-untyped]
from lsst.daf.butler import Timespan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


_MJD_1970 = 40587.0
_MJD_ZERO = 2400000.5
_SECONDS_PER_DAY = 86400
# UTC with leap seconds began in 1972; before, it has no simple relation to
# TAI, and no SPHEREx exposure is older. The end keeps clear of the Butler's
# own end of time.
_FIRST_MJD, _LAST_MJD = 41317.0, 88069.0


def timespan_of(begin: float, end: float, scale: str = "UTC") -> Timespan:
    """Timespan between two dates.

    Parameters
    ----------
    begin
        Begin of the exposure, modified Julian date (d).
    end
        End of the exposure, modified Julian date (d).
    scale
        Time scale of both: UTC or TAI.

    Returns
    -------
    lsst.daf.butler.Timespan
        The timespan, TAI, rounded to microseconds, which is the resolution of
        a modified Julian date in double precision.

    Raises
    ------
    ValueError
        Raised if a date is not a number, far off, or the end is not after the
        begin.
    """
    for mjd in (begin, end):
        if not (math.isfinite(mjd) and _FIRST_MJD <= mjd <= _LAST_MJD):
            raise ValueError(f"{mjd!r} is not a modified Julian date of the years 1972 to 2099")
    if end <= begin:
        raise ValueError(f"the end {end!r} is not after the begin {begin!r}")
    # Two Time objects cost thirty times as much, in each exposure.
    nsec = (_tai_nanoseconds(begin, scale), _tai_nanoseconds(end, scale))
    return Timespan.model_construct(nsec=nsec)


def _tai_nanoseconds(mjd: float, scale: str) -> int:
    if scale == "UTC":
        with warnings.catch_warnings():
            # Leap seconds are announced half a year ahead only; times of
            # simulations beyond that are as good as any.
            warnings.simplefilter("ignore", erfa.ErfaWarning)
            _, mjd = erfa.utctai(_MJD_ZERO, mjd)
    elif scale != "TAI":
        raise ValueError(f"the time scale {scale!r} is neither UTC nor TAI")
    return round((float(mjd) - _MJD_1970) * _SECONDS_PER_DAY * 1e6) * 1000


def observation_date(mjd: float, scale: str = "UTC") -> str:
    """Date of a time as YYYYMMDD.

    Parameters
    ----------
    mjd
        Modified Julian date (d).
    scale
        Its time scale, UTC or TAI.

    Returns
    -------
    str
        Year, month and day, UTC.
    """
    if scale == "TAI":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", erfa.ErfaWarning)
            _, mjd = erfa.taiutc(_MJD_ZERO, mjd)
    day = datetime.date(1970, 1, 1) + datetime.timedelta(days=math.floor(mjd - _MJD_1970))
    return day.isoformat().replace("-", "")


def _mjd_of_iso(value: str) -> float:
    """Read a date of a FITS header.

    Parameters
    ----------
    value
        Date and time in the form of FITS, YYYY-MM-DDThh:mm:ss.sss; that it
        ends in Z or +00:00 is no harm.

    Returns
    -------
    float
        Modified Julian date (d).

    Raises
    ------
    ValueError
        Raised if it is not such a date.
    """
    moment = datetime.datetime.fromisoformat(value)
    if moment.utcoffset():
        raise ValueError("times of FITS have no offset")
    moment = moment.replace(tzinfo=None)
    return _MJD_1970 + (moment - datetime.datetime(1970, 1, 1)) / datetime.timedelta(days=1)


def exposure_times(cards: Mapping[str, Any]) -> tuple[float, float] | None:
    """Begin and end of an exposure from the cards of its header.

    Parameters
    ----------
    cards
        Card values by keyword: MJD-BEG and MJD-END, or else DATE-BEG and
        DATE-END.

    Returns
    -------
    tuple [ float, float ] or None
        Modified Julian dates (d); None if the header tells neither.

    Raises
    ------
    ValueError
        Raised if only one of them is there, or they are no dates.
    """
    for first, last in (("MJD-BEG", "MJD-END"), ("DATE-BEG", "DATE-END")):
        begin, end = cards.get(first), cards.get(last)
        if begin is None and end is None:
            continue
        if begin is None or end is None:
            raise ValueError(f"{last if end is None else first} is missing, {first if end is None else last} is there")
        return mjd_of(first, begin), mjd_of(last, end)
    return None


def mjd_of(key: str, value: Any) -> float:
    """Read the date on a card.

    Parameters
    ----------
    key
        Keyword; one that begins with DATE may have a text.
    value
        Value of the card.

    Returns
    -------
    float
        Modified Julian date (d).

    Raises
    ------
    ValueError
        Raised if it is not a date.
    """
    if key.startswith("DATE") and isinstance(value, str):
        try:
            return _mjd_of_iso(value)
        except ValueError:
            raise ValueError(f"{key} is not a date: {value!r}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} is not a date: {value!r}")
    return float(value)
