"""Dimension records of a batch: existing, new, completed, in conflict."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lsst.daf.butler import Timespan
from lsst.sphgeom import ConvexPolygon

from .descriptions import FileDescription, RecordDescription

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DimensionRecord

    from .descriptions import IngestPolicy


def merge(one: Any, other: Any, policy: IngestPolicy, field: str = "") -> Any | None:
    """Make one value of two that differ by rounding or measurement at most.

    Parameters
    ----------
    one, other
        The values, neither of them None.
    policy
        Says how much they may differ.
    field
        Name of the field that they are values of.

    Returns
    -------
    value
        The same whichever is named first, and ``one`` itself where nothing is
        to be changed: of two numbers the smaller one, the union of two
        timespans, one of two regions. None if the values contradict each
        other.
    """
    if one is other or one == other:
        return one
    if isinstance(one, float) and isinstance(other, float):
        tolerance = policy.tolerances.get(field, 1e-9)
        return min(one, other) if math.isclose(one, other, rel_tol=1e-9, abs_tol=tolerance) else None
    if isinstance(one, Timespan) and isinstance(other, Timespan):
        return _merge_times(one, other, policy.same_time)
    if isinstance(one, ConvexPolygon) and isinstance(other, ConvexPolygon):
        return _merge_places(one, other, policy.same_place)
    return None


def _merge_times(one: Timespan, other: Timespan, tolerance: int) -> Timespan | None:
    (begin, end), (other_begin, other_end) = one.nsec, other.nsec
    if abs(begin - other_begin) >= tolerance or abs(end - other_end) >= tolerance:
        return None
    if begin <= other_begin and end >= other_end:
        return one
    return Timespan.model_construct(nsec=(min(begin, other_begin), max(end, other_end)))


def _merge_places(one: ConvexPolygon, other: ConvexPolygon, tolerance: float) -> ConvexPolygon | None:
    ours, theirs = one.getVertices(), other.getVertices()
    if len(ours) != len(theirs) or any((a - b).getNorm() >= tolerance for a, b in zip(ours, theirs, strict=True)):
        return None
    # Any choice is as good, as long as it is the same in every order. A hull
    # would not do: four corners tell where a pixel is, more do not.
    return min(one, other, key=lambda polygon: [tuple(vertex) for vertex in polygon.getVertices()])


_Claim = tuple[int, RecordDescription]
"""Number of a file, and what it knows of a record."""


@dataclasses.dataclass(slots=True)
class _Entry:
    """What is known of one record."""

    values: dict[str, Any]
    is_new: bool
    is_changed: bool = False
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)


class RecordBook:
    """Dimension records that the files of a batch know something of.

    A file completes what is unknown so far, and never replaces what is known
    by nothing. What it knows differently than the repository or another file
    is a conflict, unless it differs so little that one value can be made of
    both. The order of the files never matters.

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
        self._lengths: dict[str, dict[str, int]] = {}
        self._lacking = {
            element: fields.difference(butler.dimensions[element].schema.names)
            for element, fields in policy.optional_fields.items()
        }

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
                    entries[key] = _Entry(values, is_new=False)

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

    def add(self, files: Mapping[int, tuple[str, FileDescription]]) -> dict[int, str]:
        """Take over what files know, of each all or nothing.

        Parameters
        ----------
        files
            Address of each file, and what it knows, by number.

        Returns
        -------
        dict [ int, str ]
            Why files are refused, by their numbers: those that contradict the
            repository, and of the others all that contradict each other,
            because which one is right is not guessed.
        """
        claims: dict[tuple[str, tuple[Any, ...]], list[_Claim]] = {}
        for number, (_, description) in files.items():
            for record in map(self._fitted, description.records):
                claims.setdefault((record.element, self._key(record)), []).append((number, record))
        refused: dict[int, str] = {}
        for (element, key), ones in claims.items():
            for number, record in ones:
                reason = self._objection(record, self._entries[element].get(key))
                if reason is not None:
                    refused.setdefault(number, reason)
        conflicts: dict[int, str] = {}
        for ones in claims.values():
            left = [one for one in ones if one[0] not in refused]
            conflicts = self._conflicts(left, files) | conflicts
        refused |= conflicts
        for (element, key), ones in claims.items():
            records = [record for number, record in ones if number not in refused]
            if records:
                entry = self._entries[element].setdefault(key, _Entry({}, is_new=True))
                self._take_over(records, entry)
        return refused

    def _fitted(self, record: RecordDescription) -> RecordDescription:
        """Return a record without the optional fields that the universe of the repository lacks."""
        lacking = self._lacking.get(record.element)
        if not lacking:
            return record
        values = {name: value for name, value in record.values.items() if name not in lacking}
        return dataclasses.replace(record, values=values)

    def _objection(self, record: RecordDescription, entry: _Entry | None) -> str | None:
        """Why the repository cannot take what a file knows, if it cannot."""
        for name, length in self._lengths_of(record.element).items():
            value = record.values.get(name)
            if value is not None and len(value) > length:
                return (
                    f"{name} of {record.element} has {len(value)} characters, the repository has room for {length}; "
                    "mend the header or leave the file out"
                )
        if entry is None or self._update:
            return None
        for name, value in record.values.items():
            old = entry.values.get(name)
            if value is None or old is None or value is old or merge(old, value, self._policy, name) is not None:
                continue
            return (
                f"{self._contradiction(record, name, value, old)} in the repository; "
                "use --update-records if the file is right"
            )
        return None

    def _lengths_of(self, element: str) -> dict[str, int]:
        """Longest texts that fields of a record can have."""
        if element not in self._lengths:
            columns = self._butler.dimensions[element].schema.all
            self._lengths[element] = {one.name: one.length for one in columns if one.type == "string"}
        return self._lengths[element]

    def _conflicts(self, claims: list[_Claim], files: Mapping[int, tuple[str, FileDescription]]) -> dict[int, str]:
        """Why files cannot be right, all of them, by their numbers."""
        conflicts: dict[int, str] = {}
        for name in claims[0][1].values if len(claims) > 1 else ():
            owners = [
                (record.values[name], number, record)
                for number, record in claims
                if record.values.get(name) is not None
            ]
            if all(value is owners[0][0] or value == owners[0][0] for value, *_ in owners):
                continue
            for one, other in itertools.combinations(owners, 2):
                if merge(one[0], other[0], self._policy, name) is None:
                    for (value, number, record), (theirs, their_number, _) in ((one, other), (other, one)):
                        text = self._contradiction(record, name, value, theirs)
                        conflicts.setdefault(
                            number, f"{text} in {files[their_number][0]}; mend or leave out the one that is wrong"
                        )
        return conflicts

    def _contradiction(self, record: RecordDescription, name: str, value: Any, other: Any) -> str:
        owner = ", ".join(f"{field} {record.values[field]!r}" for field in self._key_fields[record.element][1:])
        text = f"{name} of {record.element} ({owner}) is"
        return f"{text} another one than" if name == "region" else f"{text} {value}, but {other}"

    def _take_over(self, records: Sequence[RecordDescription], entry: _Entry) -> None:
        """Change what is known of a record by what files know, which agree."""
        known, news = entry.values, {}
        for name in records[0].values:
            values = [record.values[name] for record in records if record.values.get(name) is not None]
            old = known.get(name)
            if not values or all(value is old for value in values):
                continue
            if old is not None and all(merge(old, value, self._policy, name) is not None for value in values):
                values.insert(0, old)
            merged = functools.reduce(functools.partial(merge, policy=self._policy, field=name), values)
            if merged is not old:
                news[name] = merged
        if self._update and not entry.is_new:
            news |= {name: None for name in records[0].emptied if known.get(name) is not None}
        defaults = next((record.defaults for record in records if record.defaults), {})
        if entry.is_new:
            entry.defaults = dict(defaults)
        elif all(known.get(name) is None and news.get(name) is None for name in defaults):
            news |= defaults
        if news:
            known.update(news)
            entry.is_changed = not entry.is_new

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
                        if all(entry.values.get(name) is None for name in defaults):
                            entry.values.update(defaults)
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
