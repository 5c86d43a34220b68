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

from spherex.detectors import CUTOUT_EXTENT, FRAME_SIDE
from spherex.errors import DescriptionError
from spherex.image import Box

from .descriptions import FileDescription, FileTranslator, RecordDescription, Tolerances

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef, DimensionRecord


def merge(one: Any, other: Any, tolerances: Tolerances, field: str = "") -> Any | None:
    """Return one value for two that differ by rounding or measurement at most.

    Parameters
    ----------
    one, other
        The values, neither of them None.
    tolerances
        Largest differences of equal values.
    field
        Name of their field.

    Returns
    -------
    value
        The smaller one of two numbers, the union of two timespans, one of two
        regions, whatever their order; ``one`` itself where nothing changes.
        None if the values contradict each other.
    """
    if one is other or one == other:
        return one
    if isinstance(one, float) and isinstance(other, float):
        tolerance = tolerances.numbers.get(field, 1e-9)
        return min(one, other) if math.isclose(one, other, rel_tol=1e-9, abs_tol=tolerance) else None
    if isinstance(one, Timespan) and isinstance(other, Timespan):
        (begin, end), (other_begin, other_end) = one.nsec, other.nsec
        if max(abs(begin - other_begin), abs(end - other_end)) >= tolerances.time:
            return None
        if begin <= other_begin and end >= other_end:
            return one
        return Timespan.model_construct(nsec=(min(begin, other_begin), max(end, other_end)))
    if isinstance(one, ConvexPolygon) and isinstance(other, ConvexPolygon):
        corners = one.getVertices(), other.getVertices()
        if len(corners[0]) != len(corners[1]):
            return None
        if any((ours - theirs).getNorm() >= tolerances.place for ours, theirs in zip(*corners, strict=True)):
            return None
        # Any choice is as good, as long as it is the same in every order. A hull
        # would not do: the place of a pixel follows from four corners only.
        return min(one, other, key=lambda polygon: [tuple(vertex) for vertex in polygon.getVertices()])
    return None


_Claim = tuple[int, RecordDescription]
"""Number of a file, and the values that it has for a record."""


@dataclasses.dataclass(slots=True)
class _Entry:
    """Values of one record, and whether it has to be written."""

    values: dict[str, Any]
    is_new: bool
    is_changed: bool = False
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)


class DimensionRecords:
    """Dimension records that the files of a batch have values for.

    A file fills in unknown values, and never replaces a known value by None.
    Different values of a file and the repository, or of two files, are a
    conflict, unless they differ by less than the tolerance. The order of the
    files never matters.

    Parameters
    ----------
    butler
        The repository.
    translator
        Translator of the files, with tolerances, fallbacks and optional fields.
    update
        Let files overwrite values of the repository.
    """

    def __init__(self, butler: Butler, translator: FileTranslator, update: bool) -> None:
        self._butler = butler
        self._tolerances = translator.tolerances
        self._fallbacks = translator.fallbacks
        self._update = update
        self._entries: dict[str, dict[tuple[Any, ...], _Entry]] = {}
        self._key_fields: dict[str, tuple[str, ...]] = {}
        self._lengths: dict[str, dict[str, int]] = {}
        self._lacking = {
            element: fields.difference(butler.dimensions[element].schema.names)
            for element, fields in translator.optional_fields.items()
        }

    def load(self, descriptions: Iterable[FileDescription]) -> None:
        """Get the records of the repository, by one query for each element.

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
        """Take over the values of files, of each file all or nothing.

        Parameters
        ----------
        files
            URI and description of each file, by number.

        Returns
        -------
        dict [ int, str ]
            Reasons to refuse files, by their numbers. Refused are files that
            contradict the repository, and of the others all that contradict
            each other: the right one is not guessed.
        """
        claims: dict[tuple[str, tuple[Any, ...]], list[_Claim]] = {}
        for number, (_, description) in files.items():
            for record in map(self._fitted, description.records):
                claims.setdefault((record.element, self._key(record)), []).append((number, record))
        refused: dict[int, str] = {}
        for (element, key), of_record in claims.items():
            for number, record in of_record:
                try:
                    self._check(record, self._entries[element].get(key))
                except DescriptionError as error:
                    refused.setdefault(number, str(error))
        conflicts: dict[int, str] = {}
        for of_record in claims.values():
            left = [claim for claim in of_record if claim[0] not in refused]
            conflicts = self._conflicts(left, files) | conflicts
        refused |= conflicts
        for (element, key), of_record in claims.items():
            records = [record for number, record in of_record if number not in refused]
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

    def _check(self, record: RecordDescription, entry: _Entry | None) -> None:
        """Check that the repository can take the values of a file."""
        for name, length in self._lengths_of(record.element).items():
            value = record.values.get(name)
            if value is not None and len(value) > length:
                raise DescriptionError(
                    f"{name} of {record.element} has {len(value)} characters, the repository has room for {length}; "
                    "fix the header or leave the file out"
                )
        if entry is None or self._update:
            return
        for name, value in record.values.items():
            old = entry.values.get(name)
            if value is None or old is None or value is old or merge(old, value, self._tolerances, name) is not None:
                continue
            raise DescriptionError(
                f"{self._contradiction(record, name, value, old)} in the repository; "
                "use --update-records if the file is right"
            )

    def _lengths_of(self, element: str) -> dict[str, int]:
        """Return the lengths of the text columns of an element."""
        if element not in self._lengths:
            columns = self._butler.dimensions[element].schema.all
            self._lengths[element] = {column.name: column.length for column in columns if column.type == "string"}
        return self._lengths[element]

    def _conflicts(self, claims: list[_Claim], files: Mapping[int, tuple[str, FileDescription]]) -> dict[int, str]:
        """Return the contradictions between files, by their numbers."""
        conflicts: dict[int, str] = {}
        for name in claims[0][1].values if len(claims) > 1 else ():
            values = [record.values.get(name) for _, record in claims]
            # Most detectors of an exposure agree: found at the speed of C.
            if values.count(values[0]) == len(values):
                continue
            owners = [
                (record.values[name], number, record)
                for number, record in claims
                if record.values.get(name) is not None
            ]
            if all(value is owners[0][0] or value == owners[0][0] for value, *_ in owners):
                continue
            for one, other in itertools.combinations(owners, 2):
                if merge(one[0], other[0], self._tolerances, name) is None:
                    for (value, number, record), (theirs, their_number, _) in ((one, other), (other, one)):
                        text = self._contradiction(record, name, value, theirs)
                        conflicts.setdefault(
                            number, f"{text} in {files[their_number][0]}; fix or leave out the wrong one"
                        )
        return conflicts

    def _contradiction(self, record: RecordDescription, name: str, value: Any, other: Any) -> str:
        owner = ", ".join(f"{field} {record.values[field]!r}" for field in self._key_fields[record.element][1:])
        text = f"{name} of {record.element} ({owner}) is"
        return f"{text} different from that" if name == "region" else f"{text} {value}, but {other}"

    def _take_over(self, records: Sequence[RecordDescription], entry: _Entry) -> None:
        """Change the values of a record by those of files, which agree."""
        current, changes = entry.values, {}
        for name in records[0].values:
            values = [record.values.get(name) for record in records]
            if values.count(values[0]) == len(values):
                del values[1:]
            values = [value for value in values if value is not None]
            old = current.get(name)
            if not values or all(value is old for value in values):
                continue
            if old is not None and all(merge(old, value, self._tolerances, name) is not None for value in values):
                values.insert(0, old)
            merged = functools.reduce(functools.partial(merge, tolerances=self._tolerances, field=name), values)
            if merged is not old:
                changes[name] = merged
        if self._update and not entry.is_new:
            changes |= {name: None for name in records[0].cleared if current.get(name) is not None}
        defaults = next((record.defaults for record in records if record.defaults), {})
        if entry.is_new:
            entry.defaults = dict(defaults)
        elif all(current.get(name) is None and changes.get(name) is None for name in defaults):
            changes |= defaults
        if changes:
            current.update(changes)
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
            fallbacks = self._fallbacks.get(element.name, {})
            new, changed = [], []
            for entry in entries:
                if entry.is_new:
                    for defaults in (entry.defaults, fallbacks):
                        if all(entry.values.get(name) is None for name in defaults):
                            entry.values.update(defaults)
                    new.append(element.RecordClass(**entry.values))
                elif entry.is_changed:
                    changed.append(element.RecordClass(**entry.values))
            yield element.name, new, changed


def write_extents(butler: Butler, extents: Mapping[DatasetRef, Box | None]) -> None:
    """Record which pixels of the frame cutouts contain, within a transaction of the caller.

    Parameters
    ----------
    butler
        The repository. Without the element `CUTOUT_EXTENT` in its universe
        nothing is recorded.
    extents
        Pixels of each image; None for a whole frame, which does not need a
        record, unless a cutout had its id before.
    """
    images = {ref: box for ref, box in extents.items() if "exposure" in ref.dimensions}
    if not images or CUTOUT_EXTENT not in butler.dimensions.elements.names:
        return
    known: dict[str, tuple[int, ...]] = {}
    exposures = {ref.dataId["exposure"] for ref in images}
    for instrument in {ref.dataId["instrument"] for ref in images}:
        with butler.query() as query:
            among = _is_among(query.expression_factory.exposure, exposures)
            records = query.dimension_records(CUTOUT_EXTENT).where(among, instrument=instrument)
            known.update({record.cutout: (record.x0, record.x1, record.y0, record.y1) for record in records})
    new, changed = [], []
    for ref, box in images.items():
        id_ = ref.id.hex
        if box is None:
            if id_ not in known:
                continue
            box = Box(0, FRAME_SIDE, 0, FRAME_SIDE)
        limits = dataclasses.asdict(box)
        if known.get(id_) != tuple(limits.values()):
            data_id = ref.dataId.required
            new.append({**data_id, "id": id_})
            changed.append({**data_id, "cutout": id_, **limits})
    if changed:
        butler.registry.insertDimensionData("cutout", *new, skip_existing=True)
        butler.registry.insertDimensionData(CUTOUT_EXTENT, *changed, replace=True)


def _is_among(column: Any, values: set[Any]) -> Any:
    """Return an expression that is true for these values of a column, and perhaps others."""
    if all(isinstance(value, int) for value in values):
        first, last = min(values), max(values)
        if last - first < 2 * len(values):
            # A range is compiled a hundred times faster than a list.
            return column.in_range(first, last + 1)
    return column.in_iterable(sorted(values))
