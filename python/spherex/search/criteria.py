"""Search criteria, and the texts with which users name them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from astropy import units
from lsst.daf.butler import MissingCollectionError

from spherex.calibrations import timespan_between
from spherex.detectors import CALIBRATION_COLLECTION, DETECTORS, LEVEL2_COLLECTION, LEVEL2_TYPE
from spherex.errors import SearchError, did_you_mean
from spherex.numbers import is_sexagesimal, number_of_text, sexagesimal
from spherex.unknown_names import missing_name

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table
    from astropy.time import Time
    from astropy.units import Quantity
    from lsst.daf.butler import Butler, Timespan


_WIDEST = 1.0
"""Largest radius (deg). Distances from a frame are in its pixels, which cover less and
less of the sky with the distance.
"""


def check_radius(radius: float, remedy: str) -> None:
    """Check that a radius is one that images are searched by.

    Parameters
    ----------
    radius
        Radius of a circle (deg).
    remedy
        What to do for wider circles.

    Raises
    ------
    SearchError
        If it is negative or too large.
    """
    if not 0.0 <= radius <= _WIDEST:
        raise SearchError(
            f"the radius is negative or above {_WIDEST:g} degree: {radius:g}. For wider circles {remedy}."
        )


@dataclasses.dataclass(frozen=True)
class Criteria:
    """Criteria for images.

    Parameters
    ----------
    ra, dec
        Position, ICRS (deg); right ascension from -180 to 360.
    radius
        Radius of a circle around the position that images must touch (deg);
        with 0 they must contain the position.
    instrument
        Name of the instrument.
    dataset_type
        Name of the dataset type.
    collections
        Collections to search, one or several; of an image in several
        collections the first one counts.
    detectors
        Detectors; empty for all.
    surveys
        Names of the surveys; empty for all.
    timespan
        Time that exposures must overlap; `None` for any.
    wavelengths
        Shortest and longest central wavelength at the position (um), or at
        the nearest pixel of a frame that only touches the circle; `None` for
        any.
    where
        Further data query.
    calibrations
        Collections of the calibrations, one or several in the order of the
        search; by default that of the mission, if it exists.
    motion
        Proper motion in right ascension (with the factor cos(dec)) and in
        declination (mas/yr), and the Julian year of the position. It is
        applied at the middle of each image; `None` for a position at rest.

    Raises
    ------
    SearchError
        If a value is outside of its limits.
    """

    ra: float
    dec: float
    radius: float = 0.0
    instrument: str = "SPHEREx"
    dataset_type: str = LEVEL2_TYPE
    collections: Sequence[str] | str = (LEVEL2_COLLECTION,)
    detectors: tuple[int, ...] = ()
    surveys: tuple[str, ...] = ()
    timespan: Timespan | None = None
    wavelengths: tuple[float, float] | None = None
    where: str = ""
    calibrations: Sequence[str] | str | None = None
    motion: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        _check_position(self.ra, self.dec)
        check_radius(self.radius, 'use butler query-datasets with --where "... OVERLAPS CIRCLE(ra, dec, radius)"')
        if self.wavelengths is not None and not 0.0 < self.wavelengths[0] <= self.wavelengths[1]:
            raise SearchError(f"{self.wavelengths[0]:g} to {self.wavelengths[1]:g} um is not a range of wavelengths.")

    @classmethod
    def around(
        cls,
        position: SkyCoord,
        radius: Quantity | float | None = None,
        times: Sequence[Time] | Time | None = None,
        wavelengths: Quantity | Sequence[float] | None = None,
        **others: Any,
    ) -> Self:
        """Return criteria from objects of astropy.

        Parameters
        ----------
        position
            One position. With a proper motion it needs an ``obstime``.
        radius
            Radius of the circle, in degrees without a unit; by default 0.
        times
            Begin and end of the time that exposures must overlap.
        wavelengths
            Shortest and longest wavelength, in um without a unit.
        **others
            Other fields.

        Raises
        ------
        SearchError
            If there are several positions, or a value is outside of its limits.
        spherex.errors.CatalogError
            If the position has a proper motion that is not valid or has no
            ``obstime``.
        """
        from astropy.coordinates import SkyCoord

        if not isinstance(position, SkyCoord):
            raise SearchError(f"the position is a {type(position).__name__}, not an astropy.coordinates.SkyCoord.")
        if not position.isscalar:
            raise SearchError(f"images are searched at one position, not at {position.size}.")
        if times is not None:
            others["timespan"] = timespan_of_dates(*times)
        if wavelengths is not None:
            limits = np.ravel(value_in(units.um, wavelengths))
            if len(limits) != 2:
                raise SearchError(f"wavelengths are the shortest and the longest one, not {wavelengths}.")
            shortest, longest = limits
            others["wavelengths"] = (float(shortest), float(longest))
        if radius is not None:
            others["radius"] = float(value_in(units.deg, radius))
        if position.data.differentials:
            from spherex.spectra import MOTION, catalog_of, motions_of

            (motion,) = motions_of(catalog_of(position))
            if motion:
                others["motion"] = tuple(motion[name] for name in MOTION)
        place = position.icrs
        return cls(float(place.ra.deg), float(place.dec.deg), **others)

    def catalog(self, number: int = 1) -> Table:
        """Return the position as a catalogue of equal targets, see `spherex.spectra.catalog_of`.

        Parameters
        ----------
        number
            Number of the targets.
        """
        from astropy.table import Table

        from spherex.spectra import MOTION

        values = {"ra": self.ra, "dec": self.dec, **dict(zip(MOTION, self.motion or (), strict=False))}
        table = Table({"name": np.full(number, "position")})
        for name, value in values.items():
            table[name] = np.full(number, value)
        return table

    def positions_at(self, times: Time) -> SkyCoord:
        """Return where the position is at some times, by its proper motion.

        Parameters
        ----------
        times
            Times, shape (n,).

        Returns
        -------
        positions
            ICRS, shape (n,).
        """
        from spherex.spectra import positions_at

        return positions_at(self.catalog(len(times)), times)


def value_in(unit: units.UnitBase, value: Any) -> Any:
    """Return a value in a unit; a value without a unit is already in it."""
    quantity = units.Quantity(value)
    if quantity.unit == units.dimensionless_unscaled:
        return quantity.value
    try:
        return quantity.to_value(unit)
    except units.UnitConversionError:
        raise SearchError(f"the unit of {value} cannot be converted to {unit}.") from None


_HINT = (
    "use RA DEC in degrees (308.027 38.350), with units (20h32m06.5s 38d21m00s), sexagesimal (20:32:06.5 +38:21:00), "
    "or a name such as J203206+382100"
)


def position_of(arguments: Sequence[str]) -> tuple[float, float]:
    """Return the position in the words of a user.

    Parameters
    ----------
    arguments
        Right ascension and declination, in degrees, with units, or
        sexagesimal with colons or blanks, also as one word with a blank or a
        comma between them; or one name that contains the coordinates. Other names are refused: no server is asked.

    Returns
    -------
    ra, dec
        ICRS (deg).

    Raises
    ------
    SearchError
        If the arguments are not a position, or one outside of the limits.
    """
    text = " ".join(arguments)
    if len(arguments) == 1:
        from astropy.coordinates import jparser

        try:
            position = jparser.to_skycoord(text).icrs
        except ValueError:
            pass
        else:
            return float(position.ra.deg), float(position.dec.deg)
    parts = text.replace(",", " ").split()
    if len(parts) == 6:
        # Hours, minutes, seconds, and degrees, minutes, seconds.
        parts = [" ".join(parts[:3]), " ".join(parts[3:])]
    if len(parts) == 2:
        ra, dec = (
            sexagesimal(part) * degrees if is_sexagesimal(part) else degrees_of(part, text)
            for part, degrees in zip(parts, (15.0, 1.0), strict=True)
        )
        _check_position(ra, dec)
        return ra, dec
    what = "name that contains its coordinates" if len(parts) == 1 else "position"
    raise SearchError(f"{text!r} is not a {what}: {_HINT}.")


def _check_position(ra: float, dec: float) -> None:
    if not -180.0 <= ra <= 360.0:
        raise SearchError(f"the right ascension is not between -180 and 360 degrees: {ra:g}.")
    if not -90.0 <= dec <= 90.0:
        raise SearchError(f"the declination is not between -90 and 90 degrees: {dec:g}.")


def degrees_of(word: str, whole: str | None = None) -> float:
    """Return an angle in degrees.

    Parameters
    ----------
    word
        Number in degrees, or number with a unit that astropy knows.
    whole
        Position with the word, for the message.

    Returns
    -------
    degrees
        The angle (deg).

    Raises
    ------
    SearchError
        If the word is not an angle.
    """
    try:
        degrees = number_of_text(word)
    except ValueError:
        from astropy.coordinates import Angle

        try:
            # Not a number, or infinite: refused below.
            is_special = word.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
            degrees = math.nan if is_special else float(Angle(word).deg)
        except Exception:
            # The parser of astropy raises errors of many kinds.
            if whole is None:
                raise SearchError(f"{word!r} is not an angle; use 0.1 (degrees) or 10arcmin.") from None
            raise SearchError(f"{whole!r} is not a position: {_HINT}.") from None
    if not math.isfinite(degrees):
        raise SearchError(f"{word!r} is not an angle: the number is not finite.")
    return degrees


def timespan_of_dates(begin: str | Time, end: str | Time) -> Timespan:
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
        If a text is not a date, or the end is not after the begin.
    """
    try:
        return timespan_between(begin, end, scale="utc")
    except ValueError as error:
        raise SearchError(f"{error}; dates are in UTC.") from None


_BEYOND = 0.07
"""Largest distance of wavelengths from the design range of a detector, relative to the limits.

In the samples of Quick Release 1 it is 0.034, in the corners of detector 1.
"""


def check_filters(butler: Butler, criteria: Criteria) -> None:
    """Refuse instruments, detectors and surveys that the repository does not know.

    Otherwise a misspelt name would look like a search that finds no images.

    Parameters
    ----------
    butler
        The repository.
    criteria
        Search criteria.

    Raises
    ------
    SearchError
        If the instrument, a detector or a survey is unknown.
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


def _require(what: str, wanted: tuple[str, ...] | tuple[int, ...], known: list[str] | list[int]) -> None:
    for value in wanted:
        if value not in known:
            listed = ", ".join(map(str, known)) or "none"
            similar = did_you_mean(str(value), map(str, known))
            raise SearchError(f"there is no {what} {value!r}; the repository has {listed}.{similar}")


def _surveys(butler: Butler, instrument: str) -> list[str]:
    """Return the surveys of all exposures.

    The Butler cannot query distinct values of a field. Each survey costs one
    query, for an exposure of a survey other than those before.
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


def detectors_with(shortest: float, longest: float) -> list[int]:
    """Return the detectors that have wavelengths in a range.

    Parameters
    ----------
    shortest, longest
        The range (um).

    Raises
    ------
    SearchError
        If there is none.
    """
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
    return fitting


def detectors_of(criteria: Criteria) -> list[int] | None:
    """Return the detectors that may have the wavelengths.

    Parameters
    ----------
    criteria
        Search criteria.

    Returns
    -------
    detectors
        Their numbers; `None` for all.

    Raises
    ------
    SearchError
        If no detector has such wavelengths.
    """
    if criteria.wavelengths is None:
        return list(criteria.detectors) or None
    fitting = detectors_with(*criteria.wavelengths)
    return [id_ for id_ in fitting if id_ in (criteria.detectors or fitting)]


def calibrations_of(butler: Butler, criteria: Criteria) -> tuple[str, ...]:
    """Return the collections of calibrations to search.

    Parameters
    ----------
    butler
        The repository.
    criteria
        Search criteria.

    Returns
    -------
    collections
        Their names, with the members of chains in place of the chains; empty
        if the criteria name no collection, and the repository does not have
        that of the mission.

    Raises
    ------
    SearchError
        If a named collection does not exist.
    """
    named = criteria.calibrations
    try:
        return tuple(butler.collections.query(named or CALIBRATION_COLLECTION, flatten_chains=True))
    except MissingCollectionError as error:
        if named is None:
            return ()
        raise SearchError(missing_name(butler, error)) from None
