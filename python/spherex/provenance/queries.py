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
    detectors: dict[tuple[str, str, int], set[int]] = {}
    for one in filter(lambda one: one.can_be_made, stale):
        for place in one.to_measure:
            key = (str(one.ref.dataId["catalog"]), place.instrument, place.exposure)
            detectors.setdefault(key, set()).add(place.detector)
    by_owner: dict[tuple[str, str], list[str]] = {}
    for (catalog, instrument, exposure), numbers in sorted(detectors.items()):
        numbered = ", ".join(map(str, sorted(numbers)))
        by_owner.setdefault((catalog, instrument), []).append(f"(exposure = {exposure} AND detector IN ({numbered}))")
    parts = [
        f"(catalog = {_quoted(catalog)} AND instrument = {_quoted(instrument)} AND ({' OR '.join(places)}))"
        for (catalog, instrument), places in by_owner.items()
    ]
    return " OR ".join(parts)


def _quoted(text: str) -> str:
    if "'" in text:
        raise ValueError(f"{text!r} has a quotation mark, which a data query cannot have")
    return f"'{text}'"
