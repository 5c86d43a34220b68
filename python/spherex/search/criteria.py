"""Search criteria, from what users write."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from astropy import units
from lsst.daf.butler import MissingCollectionError

from spherex.detectors import CALIBRATION_COLLECTION, DETECTORS, LEVEL2_COLLECTION, LEVEL2_TYPE
from spherex.errors import SearchError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.time import Time
    from astropy.units import Quantity
    from lsst.daf.butler import Butler, Timespan


_WIDEST = 1.0
"""Largest radius (deg). Distances from a frame are told in its pixels, which farther
away cover less and less of the sky.
"""


@dataclasses.dataclass(frozen=True)
class Criteria:
    """Images that are looked for.

    Parameters
    ----------
    ra, dec
        Position, ICRS (deg); right ascension from -180 to 360.
    radius
        Radius of a circle round it that an image has to touch (deg); at 0 it
        has to contain the position.
    instrument
        Name of the instrument.
    dataset_type
        Name of the dataset type.
    collections
        Collections to search; of an image that several of them have, the
        first counts.
    detectors
        Numbers of the detectors wanted; all if there are none.
    surveys
        Names of the surveys wanted; all if there are none.
    timespan
        Time that exposures have to overlap; any if it is None.
    wavelengths
        Shortest and longest central wavelength at the position (um), or at
        the nearest pixel of a frame that only touches the circle; any if it
        is None.
    where
        Further condition in the query language of the Butler.
    calibrations
        Collections of the calibrations, in the order of the search; by default
        that of the mission, if it exists.

    Raises
    ------
    SearchError
        Raised if the position is none, the radius is negative or not small,
        or the wavelengths are no range.
    """

    ra: float
    dec: float
    radius: float = 0.0
    instrument: str = "SPHEREx"
    dataset_type: str = LEVEL2_TYPE
    collections: tuple[str, ...] = (LEVEL2_COLLECTION,)
    detectors: tuple[int, ...] = ()
    surveys: tuple[str, ...] = ()
    timespan: Timespan | None = None
    wavelengths: tuple[float, float] | None = None
    where: str = ""
    calibrations: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not -180.0 <= self.ra <= 360.0:
            raise SearchError(f"the right ascension is not between -180 and 360 degrees: {self.ra:g}.")
        if not -90.0 <= self.dec <= 90.0:
            raise SearchError(f"the declination is not between -90 and 90 degrees: {self.dec:g}.")
        if not 0.0 <= self.radius <= _WIDEST:
            raise SearchError(
                f"the radius is negative or above {_WIDEST:g} degree: {self.radius:g}. For wider circles use "
                'butler query-datasets REPO level2 --where "... OVERLAPS CIRCLE(ra, dec, radius)".'
            )
        if self.wavelengths is not None and not 0.0 < self.wavelengths[0] <= self.wavelengths[1]:
            raise SearchError(f"{self.wavelengths[0]:g} to {self.wavelengths[1]:g} um is no range of wavelengths.")

    @classmethod
    def around(
        cls,
        position: SkyCoord,
        radius: Quantity | float | None = None,
        times: Sequence[Time] | Time | None = None,
        wavelengths: Quantity | Sequence[float] | None = None,
        **others: Any,
    ) -> Self:
        """Make criteria of astropy's objects.

        Parameters
        ----------
        position
            One position.
        radius
            Radius of the circle, in degrees where it has no unit; 0 by default.
        times
            Begin and end of the time that exposures have to overlap.
        wavelengths
            Shortest and longest wavelength, in um where they have no unit.
        **others
            Other fields.

        Raises
        ------
        SearchError
            If there are several positions, or one of the values is not possible.
        """
        if not position.isscalar:
            raise SearchError(f"give one position, not {position.size}.")
        if times is not None:
            others["timespan"] = _timespan_between(*times)
        if wavelengths is not None:
            shortest, longest = _value_in(units.um, wavelengths)
            others["wavelengths"] = (float(shortest), float(longest))
        if radius is not None:
            others["radius"] = float(_value_in(units.deg, radius))
        place = position.icrs
        return cls(float(place.ra.deg), float(place.dec.deg), **others)


def _value_in(unit: units.UnitBase, value: Any) -> Any:
    """Return a value in a unit, which is taken for granted where it has none."""
    quantity = units.Quantity(value)
    if quantity.unit == units.dimensionless_unscaled:
        return quantity.value
    try:
        return quantity.to_value(unit)
    except units.UnitConversionError:
        raise SearchError(f"{value} has no unit like {unit}.") from None


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

    times = []
    for date in (begin, end):
        with warnings.catch_warnings():
            # Leap seconds of times to come are not known.
            warnings.simplefilter("ignore")
            try:
                times.append(Time(date.removesuffix("Z"), scale="utc"))
            except ValueError:
                raise SearchError(f"{date!r} is no date; give it as 2025-06-01 or 2025-06-01T12:00:00, UTC.") from None
    return _timespan_between(*times)


def _timespan_between(begin: Time, end: Time) -> Timespan:
    from lsst.daf.butler import Timespan

    with warnings.catch_warnings():
        # Leap seconds of times to come are not known.
        warnings.simplefilter("ignore")
        if end <= begin:
            raise SearchError(f"the end {end} is not after the begin {begin}.")
        return Timespan(begin.tai, end.tai)


_BEYOND = 0.07
"""How far wavelengths may lie outside of the design range of a detector, relatively.

In the samples of Quick Release 1 it is 0.034 at most, in the corners of detector 1.
"""


def check_filters(butler: Butler, criteria: Criteria) -> None:
    """Refuse names and numbers that the repository does not have.

    Without it a slip of the pen would look like a search that finds nothing.

    Parameters
    ----------
    butler
        The repository.
    criteria
        What is looked for.

    Raises
    ------
    SearchError
        Raised if instrument, a detector or a survey is not known.
    """
    instrument = criteria.instrument
    with butler.query() as query:
        instruments = sorted(record.name for record in query.dimension_records("instrument"))
        _require("instrument", (instrument,), instruments)
        if criteria.detectors:
            records = query.dimension_records("detector").where(instrument=instrument)
            _require("detector", criteria.detectors, sorted(record.id for record in records))
    if criteria.surveys:
        _require("survey", criteria.surveys, _surveys(butler, instrument))


def _require(what: str, wanted: tuple[str, ...] | tuple[int, ...], there: list[str] | list[int]) -> None:
    for one in wanted:
        if one not in there:
            known = ", ".join(map(str, there)) or "none"
            raise SearchError(f"there is no {what} {one!r}; the repository has {known}.")


def _surveys(butler: Butler, instrument: str) -> list[str]:
    """Return the surveys of all exposures.

    The Butler has no distinct values of a field: each survey costs a query
    for one exposure of none of those before.
    """
    surveys: list[str] = []
    while True:
        with butler.query() as query:
            of = query.expression_factory
            query = query.where(of.not_(of.exposure.survey.is_null), instrument=instrument)
            if surveys:
                query = query.where(of.not_(of.exposure.survey.in_iterable(surveys)))
            found = [record.survey for record in query.dimension_records("exposure").limit(1)]
        if not found:
            return sorted(surveys)
        surveys += found


def detectors_of(criteria: Criteria) -> list[int] | None:
    """Return the detectors that may have what is looked for.

    Parameters
    ----------
    criteria
        What is looked for.

    Returns
    -------
    detectors
        Their numbers; None if all may.

    Raises
    ------
    SearchError
        Raised if no detector at all has such wavelengths.
    """
    if criteria.wavelengths is None:
        return list(criteria.detectors) or None
    shortest, longest = criteria.wavelengths
    fitting = [
        detector.id
        for detector in DETECTORS
        if detector.lmin * (1 - _BEYOND) <= longest and shortest <= detector.lmax * (1 + _BEYOND)
    ]
    if not fitting:
        raise SearchError(
            f"no detector has wavelengths from {shortest:g} to {longest:g} um; wavelengths are in um, and those of "
            f"the detectors go from {DETECTORS[0].lmin:g} to {DETECTORS[-1].lmax:g}."
        )
    return [id_ for id_ in fitting if id_ in (criteria.detectors or fitting)]


def calibrations_of(butler: Butler, criteria: Criteria) -> tuple[str, ...]:
    """Return the collections of calibrations to search.

    Parameters
    ----------
    butler
        The repository.
    criteria
        What is looked for.

    Returns
    -------
    collections
        Their names; none if the criteria name none, and the repository does
        not have the collection of the mission.

    Raises
    ------
    SearchError
        Raised if the criteria name a collection that does not exist.
    """
    named = criteria.calibrations
    try:
        return tuple(butler.collections.query(named or CALIBRATION_COLLECTION, flatten_chains=True))
    except MissingCollectionError as error:
        if named is None:
            return ()
        raise SearchError(f"{str(error).splitlines()[0]} Name collections by --calibrations.") from None
