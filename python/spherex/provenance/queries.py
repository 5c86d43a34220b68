"""Data queries with which pipetask remakes spectra."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lsst.utils.iteration import chunk_iterable

from spherex.errors import UserError

if TYPE_CHECKING:
    from .stale_spectra import StaleSpectrum


_WILD = re.compile(r"['?*\\]")
"""Characters with another meaning in a pattern."""

_MOST_TARGETS, _MOST_EXPOSURES = 800, 400
"""Largest numbers of values in a query. The Butler writes an equality for each; the limit of SQLite is 1000."""


def queries_of_targets(stale: Iterable[StaleSpectrum]) -> list[str]:
    """Return data queries for the targets of spectra that can be remade.

    Each query is for one catalogue, and short enough for SQLite. A text in a
    query cannot contain a quotation mark. Names with quotation marks become
    patterns, which other names may match, too.

    Parameters
    ----------
    stale
        The spectra.

    Raises
    ------
    UserError
        If the name of a catalogue contains a quotation mark.
    """
    by_catalog: dict[str, list[str]] = {}
    for spectrum in stale:
        if spectrum.can_be_remade:
            data_id = spectrum.ref.dataId
            by_catalog.setdefault(str(data_id["catalog"]), []).append(str(data_id["target"]))
    return [
        f"catalog = {_quoted(catalog)} AND {_query_of_names(chunk)}"
        for catalog, targets in sorted(by_catalog.items())
        for chunk in chunk_iterable(sorted(targets), _MOST_TARGETS)
    ]


def queries_of_images(stale: Iterable[StaleSpectrum]) -> list[str]:
    """Return data queries for the images to measure, with their catalogue.

    Each query is for one catalogue and instrument, and short enough for SQLite.

    Parameters
    ----------
    stale
        The spectra.

    Raises
    ------
    UserError
        If the name of a catalogue contains a quotation mark.
    """
    places: dict[tuple[str, str], dict[int, set[int]]] = {}
    for spectrum in stale:
        for place in spectrum.to_measure if spectrum.can_be_remade else ():
            by_exposure = places.setdefault((str(spectrum.ref.dataId["catalog"]), place.instrument), {})
            by_exposure.setdefault(place.exposure, set()).add(place.detector)
    queries = []
    for (catalog, instrument), by_exposure in sorted(places.items()):
        for chunk in chunk_iterable(sorted(by_exposure), _MOST_EXPOSURES):
            by_detector: dict[int, set[int]] = {}
            for exposure in chunk:
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
    for detector, numbers in sorted(exposures.items()):
        alike.setdefault(frozenset(numbers), []).append(detector)
    terms = [f"detector IN {_listed(exposures)}"]
    # The Butler converts a query to an AND of ORs. Another form, such as an OR for each exposure, becomes
    # exponentially longer.
    for same, detectors in alike.items():
        elsewhere = f"detector NOT IN {_listed(detectors)} OR "
        terms.append(f"({elsewhere if len(alike) > 1 else ''}exposure IN {_listed(same)})")
    return " AND ".join(terms)


def _listed(numbers: Iterable[int]) -> str:
    return f"({', '.join(map(str, sorted(numbers)))})"


def _quoted(text: str) -> str:
    if "'" in text:
        raise UserError(f"{text!r} contains a quotation mark, which a data query cannot contain.")
    return f"'{text}'"
