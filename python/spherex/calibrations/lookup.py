"""Which calibration belongs to an exposure."""

from __future__ import annotations

import bisect
import dataclasses
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lsst.daf.butler import Timespan
from lsst.daf.butler.registry import MissingDatasetTypeError

if TYPE_CHECKING:
    from lsst.daf.butler import DataCoordinate, DatasetRef, DatasetType
    from lsst.daf.butler.registry import Registry


_LOG = logging.getLogger(__name__)
_MOST_LINES = 12


@dataclasses.dataclass(frozen=True)
class MissingCalibration:
    """A quantum for which no calibration was found.

    Parameters
    ----------
    data_id
        Data ID of the quantum.
    time
        Instant that it was looked for, TAI in nanoseconds as in
        `lsst.daf.butler.Timespan.nsec`; `None` if that of the exposure is not known.
    dataset_type
        Name of the dataset type.
    collections
        Collections that were searched, as the user gave them.
    """

    data_id: DataCoordinate
    time: int | None
    dataset_type: str
    collections: tuple[str, ...]


class _Validity:
    """Validity ranges of one collection for one data ID, which do not overlap."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, DatasetRef]] = []

    def add(self, timespan: Timespan | None, ref: DatasetRef) -> None:
        begin, end = (Timespan(None, None) if timespan is None else timespan).nsec
        bisect.insort(self._entries, (begin, end, ref))

    def at(self, time: int) -> tuple[int, int, DatasetRef] | None:
        """Return what is valid at an instant, with its range."""
        place = bisect.bisect_right(self._entries, time, key=lambda entry: entry[0]) - 1
        return self._entries[place] if place >= 0 and time < self._entries[place][1] else None


class CalibrationLookup:
    """Finds the calibration that is valid at the middle of an exposure.

    It is a ``lookupFunction`` of a prerequisite connection. That of pipe_base
    wants one calibration for the whole exposure and gives up the graph if
    there are two, as for an exposure during which one calibration takes over
    from another. At its middle there is never more than one. Collections are
    searched in their order, and the first one that has a calibration wins; one
    in a RUN or TAGGED collection is valid at all times.

    What the collections have is read once for a graph: whoever builds graphs
    calls `finish` after each.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._search: tuple[object, ...] | None = None
        self._asked: set[DataCoordinate] = set()
        self._known: dict[tuple[object, ...], list[_Validity]] = {}
        self._missing: list[MissingCalibration] = []

    def __call__(
        self, dataset_type: DatasetType, registry: Registry, data_id: DataCoordinate, collections: Sequence[str]
    ) -> list[DatasetRef]:
        """Return the calibration for a quantum, or nothing.

        See `lsst.pipe.base.connectionTypes.PrerequisiteInput`.
        """
        search = (dataset_type, tuple(collections))
        # A graph asks once for each quantum. Who asks again builds another
        # one, after an attempt that failed before it came to finish.
        if self._search != search or data_id in self._asked:
            self._reset()
            self._known = _read(dataset_type, registry, collections)
            self._search = search
        self._asked.add(data_id)
        if not data_id.hasRecords():
            data_id = registry.expandDataId(data_id)
        timespan, time = data_id.timespan, None
        if timespan is not None and not timespan.isEmpty():
            # As integers: astropy times would take longer than all of the rest.
            begin, end = timespan.nsec
            time = (begin + end) // 2
            for validity in self._known.get(data_id.subset(dataset_type.dimensions).required_values, ()):
                if (found := validity.at(time)) is not None:
                    first, last, ref = found
                    if begin < first or end > last:
                        _LOG.warning(
                            "The validity of %s changes during exposure %d of detector %d; that of its middle is used.",
                            dataset_type.name,
                            data_id["exposure"],
                            data_id["detector"],
                        )
                    return [ref]
        self._missing.append(MissingCalibration(data_id, time, dataset_type.name, tuple(collections)))
        return []

    def finish(self) -> list[MissingCalibration]:
        """Forget what was read, and return the quanta for which nothing was found."""
        missing = self._missing
        self._reset()
        return missing


def _read(
    dataset_type: DatasetType, registry: Registry, collections: Sequence[str]
) -> dict[tuple[object, ...], list[_Validity]]:
    """Return what collections have for each data ID, in the order of the search."""
    order = list(registry.queryCollections(collections, flattenChains=True))
    known: dict[tuple[object, ...], dict[str, _Validity]] = {}
    try:
        for association in registry.queryDatasetAssociations(dataset_type.name, collections, flattenChains=True):
            by_collection = known.setdefault(association.ref.dataId.required_values, {})
            validity = by_collection.setdefault(association.collection, _Validity())
            validity.add(association.timespan, association.ref)
    except MissingDatasetTypeError:
        return {}
    return {
        values: [by_collection[name] for name in order if name in by_collection]
        for values, by_collection in known.items()
    }


def explain_missing(missing: Iterable[MissingCalibration]) -> str:
    """Return what a user has to know and do, one line for each detector.

    Parameters
    ----------
    missing
        Quanta without calibration, at least one.
    """
    by_detector: dict[tuple[object, bool], list[MissingCalibration]] = {}
    for one in missing:
        by_detector.setdefault((one.data_id["detector"], one.time is None), []).append(one)
    lines = [_line(those) for _, those in sorted(by_detector.items())]
    return "\n".join(lines[:_MOST_LINES] + ([f"... and {len(lines) - _MOST_LINES} more"] * (len(lines) > _MOST_LINES)))


def _line(missing: list[MissingCalibration]) -> str:
    first = min(missing, key=lambda one: one.time or 0)
    exposures = f"exposure {first.data_id['exposure']}"
    if len(missing) > 1:
        exposures += f" and {len(missing) - 1} more"
    where = f"detector {first.data_id['detector']}, {exposures}"
    if first.time is None:
        return (
            f"No {first.dataset_type} can be chosen for {where}: the repository does not know the time of the "
            "exposure. Ingest it again with --update-records from files that tell it."
        )
    last = max(one.time or 0 for one in missing)
    times = _iso(first.time) if last == first.time else f"{_iso(first.time)} to {_iso(last)}"
    return (
        f"No {first.dataset_type} for {where}, is valid at {times} (TAI, middle of the exposure) in "
        f"{', '.join(first.collections)}. Certify one, and name its collection with -i: butler certify-calibrations "
        f"REPO RUN CALIBRATION_COLLECTION {first.dataset_type} --begin-date BEGIN --end-date END"
    )


def _iso(nanoseconds: int) -> str:
    from lsst.daf.butler.time_utils import TimeConverter

    return TimeConverter().nsec_to_astropy(nanoseconds).tai.isot
