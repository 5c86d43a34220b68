"""Messages on collections, dataset types and catalogues that a repository does not have, and on data queries."""

from __future__ import annotations

__all__ = ["explain_query", "missing_name", "name_of", "remember_name", "unknown_name"]

import re
import weakref
from collections.abc import Iterable

from lsst.daf.butler import Butler, CollectionType

from spherex.archive import CALIBRATION_KINDS, level2_order
from spherex.detectors import (
    CALIBRATION_COLLECTION,
    CHANNEL_SPECTRA_TYPE,
    LEVEL2_COLLECTION,
    LEVEL2_TYPE,
    RAW_TYPE,
    SPECTRA_TYPE,
)
from spherex.errors import did_you_mean, first_line, listed

_NAMES: weakref.WeakKeyDictionary[Butler, str] = weakref.WeakKeyDictionary()


def remember_name(butler: Butler, repo: str) -> None:
    """Keep the name of a repository for `name_of`.

    Parameters
    ----------
    butler
        The repository.
    repo
        Path, URI or label.
    """
    _NAMES[butler] = repo


def name_of(butler: Butler) -> str:
    """Return the name of a repository for commands in messages.

    Parameters
    ----------
    butler
        The repository.

    Returns
    -------
    name
        Path, URI or label that it was opened by; else ``REPO``.
    """
    return _NAMES.get(butler, "REPO")


_COMMANDS = {
    **dict.fromkeys((CALIBRATION_COLLECTION, *CALIBRATION_KINDS), "ingest-calibrations {repo} LOCATIONS"),
    **dict.fromkeys((LEVEL2_COLLECTION, LEVEL2_TYPE), "ingest-level2 {repo} LOCATIONS"),
    RAW_TYPE: "ingest-simulated {repo} LOCATIONS",
    **dict.fromkeys((SPECTRA_TYPE, CHANNEL_SPECTRA_TYPE), "make-spectrum {repo} NAME"),
}
"""Commands that make collections, which have a slash in the name, and dataset types of the mission."""

_UNPINNED = re.compile(r"dependent on (\w+) without constraining it directly")
"""What the Butler reports on a query with the name of a detector, say, and without an instrument."""

_QUOTED = re.compile(r"(collection|dataset type)\b[^']*'([^']+)'", re.IGNORECASE)


def missing_name(butler: Butler, error: Exception) -> str:
    """Return a message on a collection or dataset type that does not exist, with what to do.

    Parameters
    ----------
    butler
        The repository.
    error
        Error of the Butler, which has the name in quotes.
    """
    named = _QUOTED.search(str(error))
    return unknown_name(butler, named[1].lower(), named[2]) if named else f"{first_line(error)}."


def unknown_name(butler: Butler, kind: str, name: str) -> str:
    """Return a message on a name that does not exist, with the command that makes it or a similar name.

    Parameters
    ----------
    butler
        The repository.
    kind
        ``collection``, ``dataset type`` or ``catalogue``.
    name
        The name.
    """
    repo = name_of(butler)
    missing = f"There is no {kind} {name!r} in {repo}."
    if kind == "catalogue":
        known = [record.name for record in butler.query_dimension_records("catalog", explain=False)]
        command = f"Make it by: butler register-targets {repo} {name} FILE"
    elif name == LEVEL2_COLLECTION and (runs := butler.collections.query(f"{name}/*", CollectionType.RUN)):
        newest_first = " ".join(sorted(runs, key=lambda run: level2_order(run) or (), reverse=True))
        return f"{missing} Make the chain from its runs by: butler collection-chain {repo} {name} {newest_first}"
    elif name in _COMMANDS and (kind == "dataset type") == ("/" not in name):
        return f"{missing} Make it by: butler {_COMMANDS[name].format(repo=repo)}"
    elif kind == "collection":
        known = list(butler.collections.query("*"))
        # Of spectra/stars, users type the name of the catalogue.
        if same := sorted(other for other in known if other.endswith(f"/{name}")):
            return f"{missing} Did you mean {' or '.join(map(repr, same[:2]))}?"
        command = f"List those that exist by: butler query-collections {repo}"
    else:
        known = [dataset_type.name for dataset_type in butler.registry.queryDatasetTypes()]
        command = f"List those that exist by: butler query-dataset-types {repo}"
    return missing + (did_you_mean(name, known) or f" {command}")


def explain_query(where: str, error: Exception, catalogs: Iterable[str] = ()) -> str:
    """Return what is wrong with a data query, and a right one where it lacks a catalogue or instrument.

    Parameters
    ----------
    where
        The query.
    error
        Error of the Butler.
    catalogs
        Catalogues to propose.
    """
    unpinned = _UNPINNED.search(str(error))
    if unpinned is None:
        return f"{where!r} is not a query: {first_line(error)}."
    dimension = unpinned[1]
    names = {"instrument": ["SPHEREx"], "catalog": sorted(catalogs)}.get(dimension, [])
    rest = f"({where})" if re.search(r"\bor\b", where, re.IGNORECASE) else where
    query = f"{dimension}='{names[0] if len(names) == 1 else 'NAME'}' AND {rest}"
    several = f", with one of the names {listed(names)}" if len(names) > 1 else ""
    return f'{where!r} lacks the {dimension}: write "{query}"{several}.'
