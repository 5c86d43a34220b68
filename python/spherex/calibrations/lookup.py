"""Look-up of the calibration that is valid for an exposure."""

from __future__ import annotations

import bisect
import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from lsst.daf.butler import Timespan
from lsst.daf.butler.registry import MissingDatasetTypeError

from spherex.errors import RepositoryError, first_line, listed
from spherex.headers import time_at

if TYPE_CHECKING:
    from lsst.daf.butler import DataCoordinate, DatasetRef, DatasetType
    from lsst.daf.butler.registry import Registry
    from numpy.typing import NDArray


_LOG = logging.getLogger(__name__)
_MOST_LINES = 12
_Nanoseconds = TypeVar("_Nanoseconds", int, "NDArray[np.int64]")


def middle_of(begin: _Nanoseconds, end: _Nanoseconds) -> _Nanoseconds:
    """Return the middle of an exposure, the instant at which its calibrations are looked up.

    Parameters
    ----------
    begin, end
        TAI in nanoseconds, as in `lsst.daf.butler.Timespan.nsec`. Integers:
        astropy times take longer than the look-up, and floating point
        numbers are exact to 256 ns only.
    """
    return begin + (end - begin) // 2


def instant_of(timespan: Timespan | None) -> int | None:
    """Return the middle of the timespan of an exposure (TAI, ns); `None` if the timespan is unknown or empty."""
    if timespan is None or timespan.isEmpty():
        return None
    return middle_of(*timespan.nsec)


class ValidCalibration(NamedTuple):
    """A calibration with the limits of its validity."""

    ref: DatasetRef
    begin: int
    end: int


class _ValidityRanges:
    """Validity ranges of one data ID in one collection; they do not overlap."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, int]] = []

    def add(self, begin: int, end: int, number: int) -> None:
        bisect.insort(self._entries, (begin, end, number))

    def at(self, time: int) -> tuple[int, int, int] | None:
        """Return begin, end and number of the calibration that is valid at an instant."""
        place = bisect.bisect_right(self._entries, time, key=lambda entry: entry[0]) - 1
        return self._entries[place] if place >= 0 and time < self._entries[place][1] else None

    def at_all(self, times: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the numbers of the calibrations that are valid at instants, -1 where there are none."""
        begins, ends, numbers = np.array(self._entries).T
        places = np.searchsorted(begins, times, side="right") - 1
        is_valid = (places >= 0) & (times < ends[places])
        return np.where(is_valid, numbers[places], -1)

    @property
    def last(self) -> int:
        """Number of the calibration that is valid last."""
        return max(self._entries, key=lambda entry: entry[1])[2]


class CalibrationIndex:
    """Calibrations of one dataset type in collections, by data ID and instant.

    The collections are read once, when the index is made. They are searched
    in their order, with the members of chains in place of the chains, and the
    first one with a valid calibration wins. A calibration in a CALIBRATION
    collection is valid from the begin of its range until just before the end;
    one in a RUN or TAGGED collection is always valid.

    Parameters
    ----------
    registry
        Registry of the repository.
    dataset_type
        Name of the dataset type; without such a dataset type the index is
        empty.
    collections
        Names of the collections, in the order of the search.

    Raises
    ------
    lsst.daf.butler.MissingCollectionError
        If a collection does not exist.

    Attributes
    ----------
    refs : `list` [`lsst.daf.butler.DatasetRef`]
        All calibrations in the collections.
    """

    def __init__(self, registry: Registry, dataset_type: str, collections: Sequence[str]) -> None:
        self.refs: list[DatasetRef] = []
        self._keys: tuple[str, ...] = ()
        order = list(registry.queryCollections(collections, flattenChains=True))
        found: dict[tuple[object, ...], dict[str, _ValidityRanges]] = {}
        try:
            for association in registry.queryDatasetAssociations(dataset_type, collections, flattenChains=True):
                ref = association.ref
                ranges = found.setdefault(ref.dataId.required_values, {}).setdefault(
                    association.collection, _ValidityRanges()
                )
                timespan = Timespan(None, None) if association.timespan is None else association.timespan
                ranges.add(*timespan.nsec, len(self.refs))
                self.refs.append(ref)
                self._keys = tuple(ref.dimensions.required)
        except MissingDatasetTypeError:
            pass
        self._ranges = {
            values: [by_collection[name] for name in order if name in by_collection]
            for values, by_collection in found.items()
        }

    def find(self, data_id: DataCoordinate, time: int) -> ValidCalibration | None:
        """Return the calibration that is valid at an instant.

        Parameters
        ----------
        data_id
            Data ID with the dimensions of the dataset type.
        time
            The instant, see `middle_of`.
        """
        for ranges in self._of(data_id):
            if (found := ranges.at(time)) is not None:
                begin, end, number = found
                return ValidCalibration(self.refs[number], begin, end)
        return None

    def find_all(self, instrument: str, detectors: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the calibrations that are valid for exposures of one instrument.

        Parameters
        ----------
        instrument
            Name of the instrument.
        detectors
            Detector of each exposure, of shape (n,).
        times
            Instant of each exposure, see `middle_of`, of shape (n,).

        Returns
        -------
        numbers
            Places in `refs`, -1 where no calibration is valid, of shape (n,).

        Raises
        ------
        RepositoryError
            If calibrations have other dimensions than instrument and detector.
        """
        numbers = np.full(len(times), -1, np.intp)
        if not self.refs:
            return numbers
        for detector in np.unique(detectors).tolist():
            rows = np.flatnonzero(detectors == detector)
            for ranges in self._of({"instrument": instrument, "detector": detector}):
                numbers[rows] = ranges.at_all(times[rows])
                rows = rows[numbers[rows] < 0]
        return numbers

    @functools.cached_property
    def newest(self) -> list[DatasetRef]:
        """For each data ID, the calibration that is valid last in the first collection that has any."""
        return [self.refs[by_collection[0].last] for by_collection in self._ranges.values()]

    def _of(self, data_id: DataCoordinate | Mapping[str, object]) -> list[_ValidityRanges]:
        try:
            values = tuple([data_id[key] for key in self._keys])
        except KeyError as error:
            # The index has keys only if it has calibrations.
            raise RepositoryError(
                f"the dataset type {self.refs[0].datasetType.name!r} of the repository has the dimensions "
                f"{', '.join(self._keys)}: calibrations cannot be looked up without a value for {first_line(error)}; "
                "name collections without such calibrations by --calibrations."
            ) from None
        return self._ranges.get(values, [])


class MissingCalibration(NamedTuple):
    """A quantum for which no calibration was found.

    Parameters
    ----------
    data_id
        Data ID of the quantum.
    time
        Instant of the look-up, see `middle_of`; `None` if the repository does
        not know the timespan of the exposure.
    dataset_type
        Name of the dataset type.
    collections
        Collections that were searched, as the user named them.
    """

    data_id: DataCoordinate
    time: int | None
    dataset_type: str
    collections: tuple[str, ...]


class CalibrationLookup:
    """Look-up of the calibration that is valid at the middle of an exposure, for quantum graphs.

    An instance is the ``lookupFunction`` of a prerequisite connection. The
    look-up of pipe_base requires one calibration for the whole exposure, and
    raises if the validity changes during an exposure. At the middle at most
    one calibration of a collection is valid.

    The collections are read once for a graph: the code that builds a graph
    calls `finish` at its end.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._search: tuple[object, ...] | None = None
        self._index: CalibrationIndex | None = None
        self._asked: set[DataCoordinate] = set()
        self._missing: list[MissingCalibration] = []

    def __call__(
        self, dataset_type: DatasetType, registry: Registry, data_id: DataCoordinate, collections: Sequence[str]
    ) -> list[DatasetRef]:
        """Return the calibration for a quantum, or an empty list.

        See `lsst.pipe.base.connectionTypes.PrerequisiteInput`.
        """
        index = self._index_for(dataset_type, registry, data_id, collections)
        if not data_id.hasRecords():
            data_id = registry.expandDataId(data_id)
        timespan = data_id.timespan
        time = instant_of(timespan)
        if timespan is not None and time is not None and (found := index.find(data_id, time)) is not None:
            begin, end = timespan.nsec
            if begin < found.begin or end > found.end:
                _LOG.warning(
                    "The validity of %s changes during exposure %d of detector %d; that of its middle is used.",
                    dataset_type.name,
                    data_id["exposure"],
                    data_id["detector"],
                )
            return [found.ref]
        self._missing.append(MissingCalibration(data_id, time, dataset_type.name, tuple(collections)))
        return []

    def _index_for(
        self, dataset_type: DatasetType, registry: Registry, data_id: DataCoordinate, collections: Sequence[str]
    ) -> CalibrationIndex:
        search = (dataset_type, tuple(collections))
        # A graph looks up each quantum once. The same quantum again belongs to another graph, after one that failed
        # before `finish`.
        if self._index is None or self._search != search or data_id in self._asked:
            self._reset()
            self._index = CalibrationIndex(registry, dataset_type.name, collections)
            self._search = search
        self._asked.add(data_id)
        return self._index

    def finish(self) -> list[MissingCalibration]:
        """Forget the collections, and return the quanta for which no calibration was found."""
        missing = self._missing
        self._reset()
        return missing


class NewestCalibrationLookup(CalibrationLookup):
    """Look-up of the calibration that is valid last, for quantum graphs.

    It serves quanta of many exposures, such as a spectrum. They have no
    instant at which to look, and all of them need the same calibration.
    """

    def __call__(
        self, dataset_type: DatasetType, registry: Registry, data_id: DataCoordinate, collections: Sequence[str]
    ) -> list[DatasetRef]:
        """Return a calibration for each instrument.

        See `lsst.pipe.base.connectionTypes.PrerequisiteInput`.
        """
        return self._index_for(dataset_type, registry, data_id, collections).newest


def explain_missing(missing: Iterable[MissingCalibration]) -> str:
    """Return a message for the user on missing calibrations, with one line for each detector.

    Parameters
    ----------
    missing
        Quanta without calibration, at least one.
    """
    by_detector: dict[tuple[object, bool], list[MissingCalibration]] = {}
    for quantum in missing:
        by_detector.setdefault((quantum.data_id["detector"], quantum.time is None), []).append(quantum)
    lines = []
    for _, quanta in sorted(by_detector.items()):
        times = [quantum.time for quantum in quanta if quantum.time is not None]
        first = min(quanta, key=lambda quantum: quantum.time or 0)
        exposures = f"exposure {listed([first.data_id['exposure']], len(quanta))}"
        where = f"detector {first.data_id['detector']}, {exposures}"
        if not times:
            lines.append(
                f"No {first.dataset_type} can be chosen for {where}: the repository does not know the time of the "
                "exposure. Ingest it again with --update-records, from files whose headers contain the time."
            )
            continue
        limits = time_at([min(times), max(times)])
        limits.precision = 6
        begin, end = limits.isot
        lines.append(
            f"No {first.dataset_type} for {where}, is valid at {begin if begin == end else f'{begin} to {end}'} (TAI, "
            f"middle of the exposure) in {', '.join(first.collections)}. Certify one, and name its collection with "
            f"-i: butler certify-calibrations REPO RUN CALIBRATION_COLLECTION {first.dataset_type} --begin-date BEGIN "
            "--end-date END"
        )
    return "\n".join(lines[:_MOST_LINES] + ([f"... and {len(lines) - _MOST_LINES} more"] * (len(lines) > _MOST_LINES)))
