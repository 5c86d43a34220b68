"""Data queries that remake spectra."""

from __future__ import annotations

__all__ = ["query_of_images", "query_of_targets"]

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stale_spectrum import StaleSpectrum


def query_of_targets(stale: Iterable[StaleSpectrum]) -> str:
    """Return a data query for the targets of spectra that can be made again.

    Raises
    ------
    ValueError
        If the name of one cannot stand in a query.
    """
    by_catalog: dict[str, list[str]] = {}
    for one in filter(lambda one: one.can_be_made, stale):
        by_catalog.setdefault(str(one.ref.dataId["catalog"]), []).append(str(one.ref.dataId["target"]))
    parts = [
        f"(catalog = {_quoted(catalog)} AND target IN ({', '.join(map(_quoted, sorted(targets)))}))"
        for catalog, targets in sorted(by_catalog.items())
    ]
    return " OR ".join(parts)


def query_of_images(stale: Iterable[StaleSpectrum]) -> str:
    """Return a data query for the images that have to be measured again, and the catalogues.

    Raises
    ------
    ValueError
        If the name of a catalogue cannot stand in a query.
    """
    exposures: dict[tuple[str, str], dict[int, set[int]]] = {}
    for one in filter(lambda one: one.can_be_made, stale):
        for place in one.to_measure:
            by_detector = exposures.setdefault((str(one.ref.dataId["catalog"]), place.instrument), {})
            by_detector.setdefault(place.detector, set()).add(place.exposure)
    parts = [
        f"(catalog = {_quoted(catalog)} AND instrument = {_quoted(instrument)} AND {_query_of_places(by_detector)})"
        for (catalog, instrument), by_detector in sorted(exposures.items())
    ]
    return " OR ".join(parts)


def _query_of_places(exposures: dict[int, set[int]]) -> str:
    """Return a query for the exposures of each detector."""
    alike: dict[frozenset[int], list[int]] = {}
    for detector, those in sorted(exposures.items()):
        alike.setdefault(frozenset(those), []).append(detector)
    terms = [f"detector IN {_listed(exposures)}"]
    # The Butler brings a query into this form, an AND of ORs, where another
    # one, such as an OR for each exposure, becomes exponentially longer.
    for same, detectors in alike.items():
        others = f"detector NOT IN {_listed(detectors)} OR "
        terms.append(f"({others if len(alike) > 1 else ''}exposure IN {_listed(same)})")
    return " AND ".join(terms)


def _listed(numbers: Iterable[int]) -> str:
    return f"({', '.join(map(str, sorted(numbers)))})"


def _quoted(text: str) -> str:
    if "'" in text:
        raise ValueError(f"{text!r} has a quotation mark, which a data query cannot have")
    return f"'{text}'"
