"""Validity ranges as a user gives them."""

from __future__ import annotations

__all__ = ["timespan_between"]

from lsst.daf.butler import Timespan


def timespan_between(begin: str | None, end: str | None) -> Timespan:
    """Make a validity range of what a user gave.

    Parameters
    ----------
    begin, end
        Dates in ISO 8601, TAI as everywhere in ``butler``; `None` for no
        limit. The end is exclusive.

    Raises
    ------
    ValueError
        If one is no date, or the end is not after the begin.
    """
    from astropy.time import Time

    def moment(text: str | None) -> Time | None:
        try:
            return None if text is None else Time(text, scale="tai")
        except ValueError:
            raise ValueError(f"{text!r} is not a date such as 2025-12-18 or 2025-12-18T05:09:34") from None

    first, last = moment(begin), moment(end)
    # A timespan of equal limits is not empty: it is a moment.
    if first is not None and last is not None and last <= first:
        raise ValueError(f"the end {end} is not after the begin {begin}")
    return Timespan(first, last)
