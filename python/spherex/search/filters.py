"""Filters of a search: what detectors and the repository can meet."""

from __future__ import annotations

__all__ = ["check_filters", "detectors_of"]

from typing import TYPE_CHECKING

from spherex.instrument import DETECTORS

from .criteria import SearchError

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .criteria import Criteria

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
