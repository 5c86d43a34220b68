"""Dimension records of a batch: known, new, completed, in conflict."""

from __future__ import annotations

__all__ = ["RecordBook"]

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .description import DescriptionError, FileDescription, RecordDescription
from .merging import merge

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DimensionRecord

    from .policy import IngestPolicy


@dataclasses.dataclass(slots=True)
class _Entry:
    """What is known of one record."""

    values: dict[str, Any]
    source: str | None
    """Address of the file that told the values; None for the repository."""

    is_new: bool
    is_changed: bool = False
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)


class RecordBook:
    """Dimension records that the files of a batch know something of.

    A file completes what is unknown so far, and never replaces what is known
    by nothing. What it knows differently is a conflict, unless it differs so
    little that one value can be made of both.

    Parameters
    ----------
    butler
        The repository.
    last_resorts
        Values for fields of new records that no file knows, by element.
    update
        Let files overwrite what differs in the repository.
    policy
        Says how much values may differ.
    """

    def __init__(
        self, butler: Butler, last_resorts: Mapping[str, Mapping[str, Any]], update: bool, policy: IngestPolicy
    ) -> None:
        self._butler = butler
        self._policy = policy
        self._last_resorts = last_resorts
        self._update = update
        self._entries: dict[str, dict[tuple[Any, ...], _Entry]] = {}
        self._key_fields: dict[str, tuple[str, ...]] = {}

    def load(self, descriptions: Iterable[FileDescription]) -> None:
        """Get those records that the repository has, by one query an element.

        Parameters
        ----------
        descriptions
            The files of the batch.
        """
        wanted: dict[str, set[tuple[Any, ...]]] = collections.defaultdict(set)
        for description in descriptions:
            for record in description.records:
                wanted[record.element].add(self._key(record))
        for element, keys in wanted.items():
            entries = self._entries.setdefault(element, {})
            names = self._butler.dimensions[element].schema.names
            for found in self._query(element, keys):
                values = {name: getattr(found, name) for name in names}
                key = tuple(values[name] for name in self._key_fields[element])
                if key in keys:
                    entries[key] = _Entry(values, source=None, is_new=False)

    def _query(self, element: str, keys: set[tuple[Any, ...]]) -> Iterator[DimensionRecord]:
        """Find the records with these keys, and perhaps some more."""
        universe = self._butler.dimensions
        dimensions = list(universe[element].required.names)
        # A query wants governor dimensions, such as the instrument, pinned
        # down one by one.
        pinned = [i for i, name in enumerate(dimensions) if name in universe.governor_dimensions.names]
        parts: dict[tuple[Any, ...], list[tuple[Any, ...]]] = collections.defaultdict(list)
        for key in keys:
            parts[tuple(key[i] for i in pinned)].append(key)
        for governors, part in parts.items():
            data_id = {dimensions[i]: value for i, value in zip(pinned, governors, strict=True)}
            with self._butler.query() as query:
                clauses = [
                    _is_among(getattr(query.expression_factory, name), set(values))
                    for name, values in zip(dimensions, zip(*part, strict=True), strict=True)
                    if name not in data_id
                ]
                yield from query.dimension_records(element).where(data_id, *clauses)

    def _key(self, record: RecordDescription) -> tuple[Any, ...]:
        fields = self._key_fields.get(record.element)
        if fields is None:
            fields = tuple(self._butler.dimensions[record.element].schema.required.names)
            self._key_fields[record.element] = fields
        return tuple([record.values[name] for name in fields])

    def add(self, description: FileDescription, address: str) -> None:
        """Take over what a file knows, all of it or nothing.

        Parameters
        ----------
        description
            What the file knows.
        address
            Where it is.

        Raises
        ------
        DescriptionError
            Raised if the file contradicts the repository or another file.
        """
        changes = []
        for record in description.records:
            key = self._key(record)
            entry = self._entries[record.element].get(key)
            if entry is None:
                entry = _Entry({}, source=address, is_new=True)
                changes.append((record, key, entry, dict(record.values)))
            else:
                changes.append((record, key, entry, self._news(record, entry)))
        for record, key, entry, news in changes:
            if news:
                entry.values.update(news)
                entry.is_changed = not entry.is_new
                entry.source = address
            if record.defaults and not entry.defaults:
                entry.defaults = dict(record.defaults)
            self._entries[record.element][key] = entry

    def _news(self, record: RecordDescription, entry: _Entry) -> dict[str, Any]:
        """Find out what a file adds to a record.

        Raises
        ------
        DescriptionError
            Raised if it contradicts what is known and may not overwrite it.
        """
        known, news = entry.values, {}
        for name, value in record.values.items():
            old = known.get(name)
            if value is None or value is old:
                continue
            merged = value if old is None else merge(old, value, self._policy)
            if merged is None:
                if entry.source is not None or not self._update:
                    raise DescriptionError(self._contradiction(record, name, old, value, entry))
                merged = value
            if merged is not old:
                news[name] = merged
        if not entry.is_new:
            news |= {
                name: value
                for name, value in record.defaults.items()
                if known.get(name) is None and record.values.get(name) is None
            }
        return news

    def _contradiction(self, record: RecordDescription, name: str, old: Any, value: Any, entry: _Entry) -> str:
        owner = ", ".join(f"{field} {record.values[field]!r}" for field in self._key_fields[record.element][1:])
        text = f"{name} of {record.element} ({owner}) is "
        text += "another one " if name == "region" else f"{value} "
        if entry.source is not None:
            return f"{text}than in {entry.source}{'' if name == 'region' else f': {old}'}; one of both is wrong"
        return (
            f"{text}than in the repository{'' if name == 'region' else f': {old}'}; "
            "use --update-records if the file is right"
        )

    def pending(self) -> Iterator[tuple[str, list[DimensionRecord], list[DimensionRecord]]]:
        """List the records to write, elements that others depend on first.

        Yields
        ------
        element : str
            Name of the element.
        new : list [ lsst.daf.butler.DimensionRecord ]
            Records to insert.
        changed : list [ lsst.daf.butler.DimensionRecord ]
            Records to replace.
        """
        for element in self._butler.dimensions.sorted(self._entries):
            entries = self._entries[element.name].values()
            last_resorts = self._last_resorts.get(element.name, {})
            new, changed = [], []
            for entry in entries:
                if entry.is_new:
                    for defaults in (entry.defaults, last_resorts):
                        for name, value in defaults.items():
                            if entry.values.get(name) is None:
                                entry.values[name] = value
                    new.append(element.RecordClass(**entry.values))
                elif entry.is_changed:
                    changed.append(element.RecordClass(**entry.values))
            yield element.name, new, changed


def _is_among(column: Any, values: set[Any]) -> Any:
    """Expression that is true for these values of a column, and perhaps others."""
    if all(isinstance(value, int) for value in values):
        first, last = min(values), max(values)
        if last - first < 2 * len(values):
            # A range is compiled a hundred times faster than a list.
            return column.in_range(first, last + 1)
    return column.in_iterable(sorted(values))
