"""Header values: numbers, texts, times, versions and units.

Each kind of value has one reader here. The readers take any mapping from
keywords to values, such as `astropy.io.fits.Header`.
"""

from __future__ import annotations

__all__ = [
    "BUNIT",
    "bunit_of",
    "date_written",
    "detector_of",
    "exposure_middle",
    "exposure_times",
    "has_old_gains",
    "has_swapped_zones",
    "number_of",
    "observation_date",
    "tai_nanoseconds",
    "text_of",
    "time_at",
    "time_scale_of",
    "unit_name",
    "unit_of",
    "version_of",
]

import datetime
import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import erfa  # type: ignore[import-untyped]
import numpy as np
from astropy.io.fits import VerifyError
from astropy.time import Time
from astropy.units import Unit, UnitBase
from packaging.version import InvalidVersion, Version

from spherex.errors import HeaderError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


_NUMBERS = (int, float, np.integer, np.floating)


def _value_of(cards: Mapping[str, Any], keyword: str) -> Any:
    """Return the value of a keyword, `None` if it is missing or has no value."""
    try:
        return cards.get(keyword)
    except VerifyError:
        raise HeaderError(f"{keyword} in the header has no valid value") from None


def number_of(
    cards: Mapping[str, Any],
    keyword: str,
    least: float = -math.inf,
    most: float = math.inf,
    where: str = "in the header",
) -> float | None:
    """Return the value of a keyword that must be a finite number.

    Parameters
    ----------
    cards
        Header.
    keyword
        Keyword.
    least, most
        Limits of the value.
    where
        Place of the keyword in the error message.

    Returns
    -------
    value
        `None` if the keyword is missing or has no value.

    Raises
    ------
    HeaderError
        If the value is not a finite number, or is outside the limits.
    """
    try:
        value = cards.get(keyword)
    except VerifyError:
        raise HeaderError(f"{keyword} {where} is not a number") from None
    if type(value) is float and math.isfinite(value) and least <= value <= most:
        # Nearly all values: ingest reads fifty of them from each file.
        return value
    if value is None:
        return None
    if not isinstance(value, _NUMBERS) or isinstance(value, bool) or not math.isfinite(value):
        raise HeaderError(f"{keyword} {where} is not a number: {value!r}")
    if not least <= value <= most:
        limits = f"{least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"
        raise HeaderError(f"{keyword} {where} is {value!r}, not {limits}")
    return float(value)


def text_of(cards: Mapping[str, Any], keyword: str) -> str | None:
    """Return the value of a keyword as a text.

    Parameters
    ----------
    cards
        Header.
    keyword
        Keyword.

    Returns
    -------
    text
        `None` if the keyword is missing or its value is empty.
    """
    value = _value_of(cards, keyword)
    return None if value is None or value == "" else str(value)


def detector_of(cards: Mapping[str, Any], detectors: Sequence[int]) -> int | None:
    """Return the number of the detector.

    Parameters
    ----------
    cards
        Header with DETECTOR, an integer or, in some products, its text.
    detectors
        Numbers of all detectors, in their order.

    Returns
    -------
    detector
        `None` if the keyword is missing or its value is empty.

    Raises
    ------
    HeaderError
        If the value is not the number of a detector.
    """
    value = _value_of(cards, "DETECTOR")
    text = str(value).strip() if isinstance(value, int | np.integer | str) else None
    if value is None or text == "":
        return None
    for detector in detectors:
        if text == str(detector):
            return detector
    raise HeaderError(f"DETECTOR in the header is {value!r}, not {detectors[0]} to {detectors[-1]}")


_MJD_ZERO = 2400000.5
_MJD_1970 = 40587.0
_JD_1970 = _MJD_ZERO + _MJD_1970
_SECONDS_PER_DAY = 86400
_DAY = _SECONDS_PER_DAY * 10**9
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_ONE_DAY = datetime.timedelta(days=1)
_MICROSECOND = 1e-6 / _SECONDS_PER_DAY

# UTC with leap seconds began in 1972; before, it has no simple relation to
# TAI, and no SPHEREx exposure is older. The last day is well before the end of
# time of the Butler.
_FIRST_MJD, _LAST_MJD = 41317.0, 88069.0

_SAME_DATE = 0.005 / _SECONDS_PER_DAY
"""Largest difference of a DATE and an MJD keyword of one time (d); a DATE is
rounded to milliseconds.
"""


def tai_nanoseconds(mjd: ArrayLike, scale: str = "UTC") -> NDArray[np.int64]:
    """Return times in the form that the Butler stores: TAI, ns since 1970.

    Parameters
    ----------
    mjd
        Modified Julian dates (d).
    scale
        Their time scale, UTC or TAI.

    Returns
    -------
    nanoseconds
        Rounded to microseconds, the resolution of a modified Julian date in
        double precision.

    Raises
    ------
    HeaderError
        If the scale is another one.
    """
    _check_scale(scale)
    tai = np.asarray(mjd, float)
    if scale == "UTC":
        with warnings.catch_warnings():
            # Leap seconds are announced half a year ahead. Times of
            # simulations are later than that.
            warnings.simplefilter("ignore", erfa.ErfaWarning)
            _, tai = erfa.utctai(_MJD_ZERO, tai)
    microseconds: NDArray[np.int64] = np.rint((tai - _MJD_1970) * _SECONDS_PER_DAY * 1e6).astype(np.int64)
    return microseconds * 1000


def _check_scale(scale: str) -> None:
    if scale not in ("UTC", "TAI"):
        raise HeaderError(f"the time scale {scale!r} is neither UTC nor TAI")


def time_at(nanoseconds: ArrayLike, scale: str = "TAI") -> Time:
    """Return times of the Butler as astropy times, the inverse of `tai_nanoseconds`.

    Parameters
    ----------
    nanoseconds
        Times, TAI, ns since 1970.
    scale
        Time scale of the result, UTC or TAI.
    """
    nanoseconds = np.asarray(nanoseconds, np.int64)
    time = Time(nanoseconds // _DAY + _JD_1970, nanoseconds % _DAY / _DAY, format="jd", scale="tai")
    return _in_utc(time) if scale == "UTC" else time


def _in_utc(time: Time) -> Time:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", erfa.ErfaWarning)
        return time.utc


@functools.lru_cache(64)
def observation_date(nanoseconds: int) -> str:
    """Return the date of a time as YYYYMMDD, UTC.

    Parameters
    ----------
    nanoseconds
        Time, TAI, ns since 1970.
    """
    day, rest = divmod(nanoseconds, _DAY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", erfa.ErfaWarning)
        first, second = erfa.taiutc(day + _JD_1970, rest / _DAY)
    # Midnight may come out as the last 1e-17 of the day before.
    days = math.floor(float(first) - _JD_1970 + float(second) + _MICROSECOND / 2)
    return f"{_EPOCH + days * _ONE_DAY:%Y%m%d}"


def exposure_times(cards: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return begin and end of an exposure.

    Parameters
    ----------
    cards
        Header with MJD-BEG and MJD-END, or DATE-BEG and DATE-END, in the time
        scale TIMESYS (UTC by default, or TAI).

    Returns
    -------
    begin, end
        TAI, ns since 1970; `None` if the header has neither.

    Raises
    ------
    HeaderError
        If one of the two is missing, a value is not a date, the end is not
        after the begin, MJD-AVG is not between them, an MJD and a DATE keyword
        of one time differ, or the time scale is another one.
    """
    begin, end = _mjd_of(cards, "BEG"), _mjd_of(cards, "END")
    if begin is None and end is None:
        return None
    if begin is None or end is None:
        missing, present = ("BEG", "END") if begin is None else ("END", "BEG")
        raise HeaderError(f"MJD-{missing} is missing, but MJD-{present} or DATE-{present} is there")
    if end <= begin:
        raise HeaderError(f"the end {end!r} is not after the begin {begin!r}")
    middle = _mjd_of(cards, "AVG")
    if middle is not None and not begin - _SAME_DATE <= middle <= end + _SAME_DATE:
        raise HeaderError(f"the middle {middle!r} is not between the begin {begin!r} and the end {end!r}")
    return _nanoseconds(begin, end, time_scale_of(cards))


def exposure_middle(cards: Mapping[str, Any]) -> Time | None:
    """Return the middle of an exposure.

    Parameters
    ----------
    cards
        Header with MJD-AVG or DATE-AVG, or with the keywords of
        `exposure_times`.

    Returns
    -------
    time
        UTC; `None` if the header has none of these.

    Raises
    ------
    HeaderError
        As for `exposure_times`.
    """
    limits = exposure_times(cards)
    # A DATE is less exact than MJD-BEG and MJD-END.
    has_limits = limits is not None and all(cards.get(f"MJD-{name}") is not None for name in ("BEG", "END"))
    middle = None if has_limits and cards.get("MJD-AVG") is None else _mjd_of(cards, "AVG")
    if middle is not None:
        scale = time_scale_of(cards)
        _check_scale(scale)
        return _in_utc(Time(middle, format="mjd", scale=scale.lower()))
    return None if limits is None else time_at(sum(limits) // 2, "UTC")


def _mjd_of(cards: Mapping[str, Any], name: str) -> float | None:
    """Return the modified Julian date in MJD-``name``, or else in DATE-``name``; both must agree."""
    return _mjd(name, _value_of(cards, f"MJD-{name}"), _value_of(cards, f"DATE-{name}"))


# The detectors of an exposure share its times. Types count: True equals 1.
@functools.lru_cache(64, typed=True)
def _mjd(name: str, number: Any, text: Any) -> float | None:
    if isinstance(number, bool) or not isinstance(number, int | float | None):
        raise HeaderError(f"MJD-{name} is not a date: {number!r}")
    from_text = None if text is None else _MJD_1970 + (_moment(f"DATE-{name}", text) - _EPOCH) / _ONE_DAY
    mjd = from_text if number is None else float(number)
    if mjd is None:
        return None
    if not (math.isfinite(mjd) and _FIRST_MJD <= mjd <= _LAST_MJD):
        raise HeaderError(f"{mjd!r} is not a modified Julian date of the years 1972 to 2099")
    if from_text is not None and abs(from_text - mjd) >= _SAME_DATE:
        raise HeaderError(f"DATE-{name} in the header is {text}, but MJD-{name} is {number}")
    return mjd


def _moment(keyword: str, text: Any) -> datetime.datetime:
    """Return the time in YYYY-MM-DDThh:mm:ss.sss, as if it were UTC; a time zone of zero is allowed."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise HeaderError(f"{keyword} is not a date: {text!r}") from None
    if moment.utcoffset():
        raise HeaderError(f"{keyword} is not a date without a time zone: {text!r}")
    return moment.replace(tzinfo=datetime.UTC)


def date_written(cards: Mapping[str, Any]) -> datetime.datetime | None:
    """Return when a file was written.

    Parameters
    ----------
    cards
        Header with DATE, which is UTC (FITS standard 4.0, section 4.4.2.1).

    Returns
    -------
    time
        UTC, of a date without a time the end of the day; `None` if the header
        does not have a DATE.

    Raises
    ------
    HeaderError
        If DATE is not a date.
    """
    text = text_of(cards, "DATE")
    if text is None:
        return None
    moment = _moment("DATE", text)
    return moment if "T" in text else moment + _ONE_DAY


def time_scale_of(cards: Mapping[str, Any]) -> str:
    """Return the time scale of a header in upper case.

    Parameters
    ----------
    cards
        Header with TIMESYS; UTC by default.
    """
    return str(_value_of(cards, "TIMESYS") or "UTC").strip().upper()


@functools.lru_cache(64)
def _nanoseconds(begin: float, end: float, scale: str) -> tuple[int, int]:
    # The detectors of an exposure share its times.
    first, last = tai_nanoseconds([begin, end], scale).tolist()
    return first, last


_ZONES_FIXED = (6, 5, 6)
"""First version that writes the centres of PSF zones in the right order
(https://irsa.ipac.caltech.edu/data/SPHEREx/docs/psfhdrerr.html).
"""

_ZONES_FIX = "psffix"
"""Local part of versions before that whose files were corrected afterwards."""

_NEW_GAINS = (7,)
"""First version with the new gains (Quick Release 3, Explanatory Supplement)."""


def version_of(*headers: Mapping[str, Any]) -> str | None:
    """Return the version of the mission's pipeline that made a file.

    Parameters
    ----------
    *headers
        Headers of the file, that of PRIMARY first. The first VERSION counts.

    Returns
    -------
    version
        `None` if no header has one.
    """
    return next((text for header in headers if (text := text_of(header, "VERSION")) is not None), None)


def has_swapped_zones(version: str | None) -> bool | None:
    """Return whether files of a version have x and y of the PSF zones swapped.

    Parameters
    ----------
    version
        VERSION of the file.

    Returns
    -------
    is_swapped
        `None` if the version is unknown.
    """
    release, local = _parsed(version)
    return None if release is None else release < _ZONES_FIXED and _ZONES_FIX not in local


def has_old_gains(version: str | None) -> bool:
    """Return whether images of a version have the gains that ``l3_flux_corrections`` corrects.

    Parameters
    ----------
    version
        VERSION of the file. An unknown one does not claim the new gains, and
        counts as old.
    """
    release, _ = _parsed(version)
    return release is None or release < _NEW_GAINS


@functools.lru_cache(64)
def _parsed(version: str | None) -> tuple[tuple[int, ...] | None, str]:
    """Return the numbers of a version, `None` if it is unknown, and its local part, which has no fixed form."""
    public, _, local = str(version or "").strip().partition("+")
    try:
        return Version(public).release, local
    except InvalidVersion:
        return None, local


BUNIT = "BUNIT"
"""Keyword of the unit of the pixels."""


def bunit_of(cards: Mapping[str, Any], where: str = "in the header") -> UnitBase | None:
    """Return the unit of the pixels.

    Parameters
    ----------
    cards
        Header with BUNIT.
    where
        Place of the keyword in the error message.

    Returns
    -------
    unit
        `None` if BUNIT is missing or empty.

    Raises
    ------
    HeaderError
        If astropy does not know the unit.
    """
    name = str(_value_of(cards, BUNIT) or "").strip()
    try:
        return unit_of(name) if name else None
    except ValueError:
        raise HeaderError(f"{BUNIT} {where} is {name!r}, which is not a unit that astropy knows") from None


@functools.lru_cache(64)
def unit_of(name: str) -> UnitBase:
    """Return the unit with a name.

    Raises
    ------
    ValueError
        If astropy does not know it.
    """
    # Tasks and commands import this module, and have no use for images at import.
    from astropy.nddata import CCDData

    return Unit(CCDData.known_invalid_fits_unit_strings.get(name, name))


@functools.lru_cache(64)
def unit_name(unit: UnitBase, name: str) -> str:
    """Return the text for the BUNIT of a unit.

    Parameters
    ----------
    unit
        Unit.
    name
        BUNIT of the file that was read, which is kept if it means the same
        unit; may be empty.

    Raises
    ------
    ValueError
        If astropy cannot read back any text for the unit.
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
