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

from .descriptions import FileDescription, FileTranslator, RecordDescription, Reprocessing, Tolerances
from .reprocessing import ages_of_images, contradiction, difference

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef, DimensionRecord


def merge(first: Any, second: Any, tolerances: Tolerances, field: str = "") -> Any | None:
    """Return one value for two that differ by rounding or measurement at most.

    Parameters
    ----------
    first, second
        The values, neither of them None.
    tolerances
        Largest differences of equal values.
    field
        Name of their field.

    Returns
    -------
    value
        The smaller one of two numbers, the union of two timespans, one of two
        regions, whatever their order; ``first`` itself where nothing changes.
        None if the values contradict each other.
    """
    if first is second or first == second:
        return first
    if isinstance(first, float) and isinstance(second, float):
        tolerance = tolerances.numbers.get(field, 1e-9)
        return min(first, second) if math.isclose(first, second, rel_tol=1e-9, abs_tol=tolerance) else None
    if isinstance(first, Timespan) and isinstance(second, Timespan):
        (begin, end), (second_begin, second_end) = first.nsec, second.nsec
        if max(abs(begin - second_begin), abs(end - second_end)) >= tolerances.time:
            return None
        return _span(first, second)
    if isinstance(first, ConvexPolygon) and isinstance(second, ConvexPolygon):
        corners = first.getVertices(), second.getVertices()
        if len(corners[0]) != len(corners[1]):
            return None
        if any((ours - theirs).getNorm() >= tolerances.place for ours, theirs in zip(*corners, strict=True)):
            return None
        # Any choice is as good, as long as it is the same in every order. A hull
        # would not do: the place of a pixel follows from four corners only.
        return min(first, second, key=lambda polygon: [tuple(vertex) for vertex in polygon.getVertices()])
    return None


def _span(first: Timespan, second: Timespan) -> Timespan:
    """Return the timespan from the earlier begin to the later end; ``first`` itself where nothing changes."""
    (begin, end), (second_begin, second_end) = first.nsec, second.nsec
    if begin <= second_begin and end >= second_end:
        return first
    return Timespan.model_construct(nsec=(min(begin, second_begin), max(end, second_end)))


_Claim = tuple[int, RecordDescription, Any]
"""Number of a file, the values that it has for a record, and the age of its processing run."""

_UNKNOWN_AGE = (False, ())
"""Age of a run that is not a processing run, as if it were older than all."""

_RecordKey = tuple[Any, ...]


@dataclasses.dataclass(slots=True)
class _Entry:
    """Values of one record, and those in the repository, None for a new one."""

    values: dict[str, Any]
    recorded: Mapping[str, Any] | None = None
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_new(self) -> bool:
        return self.recorded is None

    def change(self, tolerances: Tolerances) -> str:
        """Return in words what has changed since it was recorded; empty if nothing has."""
        recorded = self.recorded or {}
        kinds = set()
        for name, value in self.values.items():
            old = recorded.get(name)
            if value == old:
                continue
            if old is None:
                kinds.add("unknown values filled in")
            elif value is not None and merge(old, value, tolerances, name) is not None:
                kinds.add("values joined with those of another image, equal within tolerances")
            elif isinstance(value, Timespan) and isinstance(old, Timespan) and value.contains(old):
                kinds.add("times widened to those of another processing run")
            else:
                kinds.add("values replaced")
        return ", ".join(sorted(kinds))


class DimensionRecords:
    """Dimension records that the files of a batch have values for.

    A file fills in unknown values, and never replaces a known value by None.
    Different values of a file and the repository, or of two files, are a
    conflict, unless they differ by less than the tolerance. Between processing
    runs only what identifies the exposure can be in conflict. The timespan
    spans all files of all runs; all other values are those of the newest run.
    The order of the files never matters.

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
        self._translator = translator
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
        self._ages: dict[tuple[int, int | None], set[Any]] | None = None
        self.differing: dict[int, tuple[str, ...]] = {}
        """Fields of files that differ from those of other runs, by number of the file."""
        self.outlasting: dict[int, tuple[str, ...]] = {}
        """Fields of files that differ from records without images, by number of the file."""

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
                    entries[key] = _Entry(dict(values), values)

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
        claims: dict[tuple[str, _RecordKey], list[_Claim]] = {}
        for number, (_, description) in files.items():
            age = self._age_of(description.dataset.run)
            for record in map(self._fitted, description.records):
                claims.setdefault((record.element, self._key(record)), []).append((number, record, age))
        refused: dict[int, str] = {}
        for (element, key), of_record in claims.items():
            for number, record, age in of_record:
                try:
                    self._check(record, self._entries[element].get(key), age)
                except DescriptionError as error:
                    refused.setdefault(number, str(error))
        conflicts: dict[int, str] = {}
        for of_record in claims.values():
            left = [claim for claim in of_record if claim[0] not in refused]
            conflicts = self._conflicts(left, files) | conflicts
        refused |= conflicts
        for (element, key), of_record in claims.items():
            good = [claim for claim in of_record if claim[0] not in refused]
            if good:
                self._take_over(good, self._entries[element].setdefault(key, _Entry({})))
        return refused

    def _fitted(self, record: RecordDescription) -> RecordDescription:
        """Return a record without the optional fields that the universe of the repository lacks."""
        lacking = self._lacking.get(record.element)
        if not lacking:
            return record
        values = {name: value for name, value in record.values.items() if name not in lacking}
        return dataclasses.replace(record, values=values)

    def _check(self, record: RecordDescription, entry: _Entry | None, age: Any) -> None:
        """Check that the repository can take the values of a file."""
        for name, length in self._lengths_of(record.element).items():
            value = record.values.get(name)
            if value is not None and len(value) > length:
                raise DescriptionError(
                    f"{name} of {record.element} has {len(value)} characters, but the repository stores at most "
                    f"{length}; fix the header or leave the file out"
                )
        if entry is None or not _differs(record.values, entry.values):
            return
        rule = self._translator.reprocessing
        ages = self._recorded_ages(record) if rule is not None else set()
        if rule is not None and age != max(ages, default=None):
            self._check_identity(record, entry, has_images=bool(ages), is_older=bool(ages) and age < max(ages))
            return
        for name, value in record.values.items() if not self._update else ():
            old = entry.values.get(name)
            if value is None or old is None or value is old or merge(old, value, self._tolerances, name) is not None:
                continue
            if rule is not None and len(ages) > 1 and _can_span(value, old, rule):
                # Times of an older run may have widened it.
                continue
            raise DescriptionError(
                f"{self._contradiction(record, name, value, old)} in the repository; "
                "use --update-records if the file is right"
            )

    def _check_identity(self, record: RecordDescription, entry: _Entry, has_images: bool, is_older: bool) -> None:
        """Check that a file of another processing run, or one after all others were removed, is of the exposure."""
        rule = self._translator.reprocessing
        name = None if rule is None else contradiction(record.values, entry.values, rule)
        if name is None or (self._update and not is_older):
            return
        text = self._contradiction(record, name, record.values[name], entry.values[name])
        remedy = "leave it out" if is_older else "use --update-records if the file is right"
        origin = "another processing run" if has_images else "files that were removed"
        raise DescriptionError(f"{text} in the repository, from {origin}; {remedy}")

    def _age_of(self, run: str) -> tuple[bool, Any]:
        """Return a key that sorts all runs from the oldest to the newest; the same for all without reprocessing."""
        age = None if self._translator.reprocessing is None else self._translator.age_of(run)
        return _UNKNOWN_AGE if age is None else (True, age)

    def _recorded_ages(self, record: RecordDescription) -> set[Any]:
        """Return the ages of the runs with an image of a recorded exposure."""
        if self._ages is None:
            # Only a batch that differs from the repository costs a query.
            exposures = (entry.values["id"] for entry in self._entries["exposure"].values() if not entry.is_new)
            self._ages = ages_of_images(self._butler, self._translator, exposures, self._age_of)
        exposure = record.values["id" if record.element == "exposure" else "exposure"]
        return self._ages.get((exposure, record.values.get("detector")), set())

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
            values = [record.values.get(name) for _, record, _ in claims]
            # Most detectors of an exposure agree: found at the speed of C.
            if values.count(values[0]) == len(values):
                continue
            owners = [claim for claim in claims if claim[1].values.get(name) is not None]
            first = owners[0][1].values[name]
            if all(record.values[name] is first or record.values[name] == first for _, record, _ in owners):
                continue
            for pair in itertools.combinations(owners, 2):
                if self._is_conflict(name, *pair):
                    for (number, record, _), (their_number, theirs, _) in (pair, pair[::-1]):
                        text = self._contradiction(record, name, record.values[name], theirs.values[name])
                        conflicts.setdefault(
                            number, f"{text} in {files[their_number][0]}; fix or leave out the wrong one"
                        )
        return conflicts

    def _is_conflict(self, name: str, claim: _Claim, their_claim: _Claim) -> bool:
        """Return whether two files contradict each other by a field."""
        (_, record, age), (_, theirs, their_age) = claim, their_claim
        if age == their_age or self._translator.reprocessing is None:
            return merge(record.values[name], theirs.values[name], self._tolerances, name) is None
        return contradiction(record.values, theirs.values, self._translator.reprocessing) == name

    def _contradiction(self, record: RecordDescription, name: str, value: Any, reference: Any) -> str:
        owner = ", ".join(f"{field} {record.values[field]!r}" for field in self._key_fields[record.element][1:])
        return f"{name} of {record.element} ({owner}) {difference(value, reference)}"

    def _take_over(self, claims: Sequence[_Claim], entry: _Entry) -> None:
        """Change the values of a record by those of files, which agree: those of the newest run, then of others."""
        if not self._update and all(
            not record.defaults and record.values.items() <= entry.values.items() for _, record, _ in claims
        ):
            return
        groups: dict[Any, list[RecordDescription]] = {}
        for _, record, age in claims:
            groups.setdefault(age, []).append(record)
        is_known = all(not _differs(record.values, entry.values) for _, record, _ in claims)
        if len(groups) == 1 and (is_known or self._translator.reprocessing is None):
            for records in groups.values():
                self._merge(records, entry)
            return
        recorded = None if entry.is_new else max(self._recorded_ages(claims[0][1]), default=None)
        newest = max(groups)
        for age in sorted(groups, reverse=True):
            old = dict(entry.values)
            is_newest = age == newest and (recorded is None or age >= recorded)
            if not is_newest or not entry.is_new and age != recorded:
                for number, record, its in claims:
                    if its == age and (fields := self._differing_fields(record, entry)):
                        # Without images of the exposure, the record is what removed files have left.
                        is_left = is_newest and recorded is None
                        differing = self.outlasting if is_left else self.differing
                        differing[number] = differing.get(number, ()) + fields
            if is_newest:
                self._merge(groups[age], entry, is_replaced=age != recorded)
                if recorded is not None and (age != recorded or not self._update):
                    self._widen(entry, [old])
            else:
                self._fill(groups[age], entry)
                self._widen(entry, [record.values for record in groups[age]])

    def _differing_fields(self, record: RecordDescription, entry: _Entry) -> tuple[str, ...]:
        """Return the fields of a file that are not those of a record, except times: the record spans them."""
        fields = []
        for name, value in record.values.items():
            old = entry.values.get(name)
            if value is None or old is None or value == old or isinstance(value, Timespan):
                continue
            # A number of the record may be that of another detector.
            if not isinstance(value, float) or merge(old, value, self._tolerances, name) is None:
                fields.append(name)
        return tuple(fields)

    def _widen(self, entry: _Entry, others: Iterable[Mapping[str, Any]]) -> None:
        """Let the timespans of a record span those of other processing runs, too."""
        rule = self._translator.reprocessing
        for name, value in entry.values.items():
            if rule is None or not isinstance(value, Timespan):
                continue
            span = value
            for other in others:
                if (theirs := other.get(name)) is not None and _can_span(theirs, value, rule):
                    span = _span(span, theirs)
            if span is not value:
                entry.values[name] = span

    def _fill(self, records: Sequence[RecordDescription], entry: _Entry) -> None:
        """Fill in unknown values from the files of an older run."""
        unknown = {name for name in records[0].values if entry.values.get(name) is None}
        self._merge(
            [
                dataclasses.replace(record, values={name: record.values.get(name) for name in unknown})
                for record in records
            ],
            entry,
        )

    def _merge(self, records: Sequence[RecordDescription], entry: _Entry, is_replaced: bool = False) -> None:
        """Change the values of a record by those of files of one run, merged with the old ones or instead of them."""
        current, changes = entry.values, {}
        for name in records[0].values:
            values = [record.values.get(name) for record in records]
            if values.count(values[0]) == len(values):
                del values[1:]
            values = [value for value in values if value is not None]
            old = current.get(name)
            if not values or all(value is old for value in values):
                continue
            if (
                old is not None
                and not is_replaced
                and all(merge(old, value, self._tolerances, name) is not None for value in values)
            ):
                values.insert(0, old)
            merged = functools.reduce(functools.partial(merge, tolerances=self._tolerances, field=name), values)
            if merged is not old and merged != old:
                changes[name] = merged
        if self._update and not entry.is_new:
            changes |= {name: None for name in records[0].cleared if current.get(name) is not None}
        defaults = next((record.defaults for record in records if record.defaults), {})
        if entry.is_new:
            entry.defaults = dict(defaults)
        elif all(current.get(name) is None and changes.get(name) is None for name in defaults):
            changes |= defaults
        current.update(changes)

    def pending(self) -> Iterator[tuple[str, list[DimensionRecord], list[tuple[DimensionRecord, str]]]]:
        """List the records to write, elements that others depend on first.

        Yields
        ------
        element : str
            Name of the element.
        new : list [ lsst.daf.butler.DimensionRecord ]
            Records to insert.
        changed : list [ tuple [ lsst.daf.butler.DimensionRecord, str ] ]
            Records to replace, and in words what has changed.
        """
        for element in self._butler.dimensions.sorted(self._entries):
            entries = self._entries[element.name].values()
            fallbacks = self._fallbacks.get(element.name, {})
            new: list[DimensionRecord] = []
            changed: list[tuple[DimensionRecord, str]] = []
            for entry in entries:
                if entry.is_new:
                    for defaults in (entry.defaults, fallbacks):
                        if all(entry.values.get(name) is None for name in defaults):
                            entry.values.update(defaults)
                    new.append(element.RecordClass(**entry.values))
                elif what := entry.change(self._tolerances):
                    changed.append((element.RecordClass(**entry.values), what))
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


def _differs(values: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Return whether a known value differs from a known other one."""
    # Nearly always all are known and equal, which is found at the speed of C.
    return not values.items() <= others.items() and any(
        value is not None and (theirs := others.get(name)) is not None and value is not theirs and value != theirs
        for name, value in values.items()
    )


def _can_span(value: Any, other: Any, rule: Reprocessing) -> bool:
    """Return whether two values are timespans that processing runs of one exposure may have."""
    return isinstance(value, Timespan) and contradiction({"": value}, {"": other}, rule) is None


def _is_among(column: Any, values: set[Any]) -> Any:
    """Return an expression that is true for these values of a column, and perhaps others."""
    if all(isinstance(value, int) for value in values):
        first, last = min(values), max(values)
        if last - first < 2 * len(values):
            # A range is compiled a hundred times faster than a list.
            return column.in_range(first, last + 1)
    return column.in_iterable(sorted(values))
