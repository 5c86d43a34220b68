"""Data queries that remake spectra."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lsst.utils.iteration import chunk_iterable

if TYPE_CHECKING:
    from .stale_spectra import StaleSpectrum


_WILD = re.compile(r"['?*\\]")
"""What cannot stand for itself in a pattern."""

_MOST_TARGETS, _MOST_EXPOSURES = 800, 400
"""Values in a query. SQLite's limit is 1000: the Butler makes an equality of each."""


def queries_of_targets(stale: Iterable[StaleSpectrum]) -> list[str]:
    """Return data queries for the targets of spectra that can be made again.

    Each is for one catalogue, and short enough for SQLite. Of names with a
    quotation mark, which no text in a query can have, it has a pattern, which
    other names may match, too.

    Raises
    ------
    ValueError
        If the name of a catalogue cannot stand in a query.
    """
    by_catalog: dict[str, list[str]] = {}
    for one in filter(lambda one: one.can_be_made, stale):
        by_catalog.setdefault(str(one.ref.dataId["catalog"]), []).append(str(one.ref.dataId["target"]))
    return [
        f"catalog = {_quoted(catalog)} AND {_query_of_names(some)}"
        for catalog, targets in sorted(by_catalog.items())
        for some in chunk_iterable(sorted(targets), _MOST_TARGETS)
    ]


def queries_of_images(stale: Iterable[StaleSpectrum]) -> list[str]:
    """Return data queries for the images that have to be measured again, with their catalogue.

    Each is for one catalogue and instrument, and short enough for SQLite.

    Raises
    ------
    ValueError
        If the name of a catalogue cannot stand in a query.
    """
    places: dict[tuple[str, str], dict[int, set[int]]] = {}
    for one in filter(lambda one: one.can_be_made, stale):
        for place in one.to_measure:
            by_exposure = places.setdefault((str(one.ref.dataId["catalog"]), place.instrument), {})
            by_exposure.setdefault(place.exposure, set()).add(place.detector)
    queries = []
    for (catalog, instrument), by_exposure in sorted(places.items()):
        for some in chunk_iterable(sorted(by_exposure), _MOST_EXPOSURES):
            by_detector: dict[int, set[int]] = {}
            for exposure in some:
                for detector in by_exposure[exposure]:
                    by_detector.setdefault(detector, set()).add(exposure)
            known = f"catalog = {_quoted(catalog)} AND instrument = {_quoted(instrument)}"
            queries.append(f"{known} AND {_query_of_places(by_detector)}")
    return queries


def _query_of_names(names: Iterable[str]) -> str:
    plain, patterns = [], []
    for name in names:
        if "'" in name:
            patterns.append(f"GLOB(target, {_quoted(_WILD.sub('?', name))})")
        else:
            plain.append(_quoted(name))
    terms = [f"target IN ({', '.join(plain)})"] * bool(plain) + patterns
    return terms[0] if len(terms) == 1 else f"({' OR '.join(terms)})"


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
