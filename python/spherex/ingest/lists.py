"""Lists of addresses: texts, parquet tables, VOTables."""

from __future__ import annotations

__all__ = ["ListedAddress", "is_list", "read_list"]

import json
import os
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from lsst.resources import ResourcePath

from .addresses import is_path, uri_of

_COLUMNS = ("address", "uri", "url", "access_url", "s3_uri", "s3_url", "path", "filename", "cloud_access")
"""Columns that hold addresses, the first one that a table has counts."""

_Cell: TypeAlias = tuple[str, Any]
"""Place in a list, and what is there."""


class ListedAddress(NamedTuple):
    """An address and where in the list it is.

    Parameters
    ----------
    address
        Path or URI.
    place
        Line or row, both counted from 1.
    """

    address: str
    place: str


def is_list(location: str) -> bool:
    """Whether a location is a list of addresses, by its extension.

    Parameters
    ----------
    location
        Path or URI.

    Returns
    -------
    bool
        True for texts (.txt, .list, .lst), parquet tables (.parquet) and
        VOTables (.xml, .vot, .votable), unless it is a directory.
    """
    return _extension(location) in _READERS and not (is_path(location) and os.path.isdir(location))


def read_list(location: str) -> list[ListedAddress]:
    """Read a list of addresses.

    Parameters
    ----------
    location
        Path or URI of the list.

    Returns
    -------
    list [ ListedAddress ]
        The addresses. Those that are relative are taken from the directory of
        the list.

    Raises
    ------
    ValueError
        Raised if there are none in it.
    Exception
        Raised if it cannot be read.
    """
    location = location if not is_path(location) else os.path.abspath(location)
    with uri_of(location).as_local() as local:
        found = [
            ListedAddress(_address_of(value), place) for place, value in _READERS[_extension(location)](local.ospath)
        ]
    if not found:
        raise ValueError("there is no address in it")
    for address, place in found:
        if not address:
            raise ValueError(f"{place} of {len(found)} has no address")
    return [ListedAddress(_resolved(address, location), place) for address, place in found]


def _extension(location: str) -> str:
    path = location if is_path(location) else urllib.parse.urlsplit(location).path
    return os.path.splitext(path)[1].lower()


def _read_text(path: str) -> list[_Cell]:
    with open(path, encoding="utf-8") as stream:
        lines = [(f"line {number}", line.strip()) for number, line in enumerate(stream, start=1)]
    return [(place, line) for place, line in lines if line and not line.startswith("#")]


def _read_parquet(path: str) -> list[_Cell]:
    import pyarrow.parquet

    column = _column(pyarrow.parquet.read_schema(path).names)
    return _rows(pyarrow.parquet.read_table(path, columns=[column])[column].to_pylist())


def _read_votable(path: str) -> list[_Cell]:
    import warnings

    from astropy.io.votable import parse_single_table

    with warnings.catch_warnings():
        # What a server gets wrong about VOTables is no matter of an ingest.
        warnings.simplefilter("ignore")
        table = parse_single_table(path, verify="ignore").to_table(use_names_over_ids=True)
    return _rows(table[_column(table.colnames)].tolist())


def _rows(values: Iterable[Any]) -> list[_Cell]:
    return [(f"row {number}", value) for number, value in enumerate(values, start=1)]


def _column(names: Sequence[str]) -> str:
    known = {name.lower(): name for name in names}
    for name in _COLUMNS:
        if name in known:
            return known[name]
    raise ValueError(f"none of its columns ({', '.join(names)}) is one of {', '.join(_COLUMNS)}: rename one")


def _address_of(value: Any) -> str:
    """Address in a cell; empty if there is none."""
    if isinstance(value, bytes):
        value = value.decode()
    text = "" if value is None else str(value).strip()
    if not text.startswith("{"):
        return text
    # The archive's table of images says where a copy is by JSON (cloud_access).
    place = json.loads(text)["aws"]
    return f"s3://{place['bucket_name']}/{urllib.parse.quote(place['key'])}"


def _resolved(address: str, location: str) -> str:
    if not is_path(address) or os.path.isabs(address):
        return address
    if is_path(location):
        return os.path.join(os.path.dirname(location), address)
    return str(ResourcePath(location).parent().join(address, forceDirectory=address.endswith("/")))


_READERS: dict[str, Callable[[str], Iterable[_Cell]]] = {
    **dict.fromkeys((".txt", ".list", ".lst"), _read_text),
    ".parquet": _read_parquet,
    **dict.fromkeys((".xml", ".vot", ".votable"), _read_votable),
}
