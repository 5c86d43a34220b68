"""Data queries with which pipetask remakes spectra."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lsst.utils.iteration import chunk_iterable

from spherex.errors import UserError

if TYPE_CHECKING:
    from .stale_spectra import StaleSpectrum


_MOST_PATCHES, _MOST_EXPOSURES = 800, 400
"""Largest numbers of values in a query. The Butler writes an equality for each; the limit of SQLite is 1000."""


def queries_of_patches(stale: Iterable[StaleSpectrum]) -> list[str]:
    """Return data queries for the patches of spectra.

    Each query is for one catalogue, and short enough for SQLite.

    Parameters
    ----------
    stale
        The spectra.

    Raises
    ------
    UserError
        If the name of a catalogue contains a quotation mark.
    """
    by_catalog: dict[str, set[int]] = {}
    for spectrum in stale:
        by_catalog.setdefault(str(spectrum.ref.dataId["catalog"]), set()).update(spectrum.patches)
    return [query for name, numbers in sorted(by_catalog.items()) for query in queries_of_numbers(name, numbers)]


def queries_of_numbers(catalog: str, patches: Iterable[int]) -> list[str]:
    """Return data queries for patches of a catalogue, each short enough for SQLite.

    Parameters
    ----------
    catalog
        Name of the catalogue.
    patches
        Numbers of the patches.

    Raises
    ------
    UserError
        If the name of the catalogue contains a quotation mark.
    """
    return [
        f"catalog = {_quoted(catalog)} AND patch IN {_listed(chunk)}"
        for chunk in chunk_iterable(sorted(patches), _MOST_PATCHES)
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
        for place in spectrum.to_measure:
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
