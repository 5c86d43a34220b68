"""Validity ranges in a CALIBRATION collection.

The Butler refuses to certify a dataset where another one is valid, and leaves
it to the user to make room. Calibrations of the archive have an order, that of
their processing runs. By that order the newer one replaces the older one.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lsst.daf.butler import CollectionType, MissingCollectionError, MissingDatasetTypeError, Timespan

if TYPE_CHECKING:
    import uuid

    from astropy.time import Time
    from lsst.daf.butler import Butler, DataCoordinate, DatasetRef


def timespan_between(begin: str | Time | None, end: str | Time | None, scale: str = "tai") -> Timespan:
    """Return the timespan between two dates.

    Parameters
    ----------
    begin, end
        Times, or dates in ISO 8601; `None` for no limit. The end is exclusive.
    scale
        Time scale of texts, ``tai`` as in ``butler``, or ``utc``.

    Raises
    ------
    ValueError
        If a text is not a date, or the end is not after the begin.
    """
    from astropy.time import Time

    def tai(date: str | Time | None) -> Time | None:
        if date is None:
            return None
        with warnings.catch_warnings():
            # Future leap seconds are unknown.
            warnings.simplefilter("ignore")
            try:
                return (Time(date, scale=scale) if isinstance(date, str) else date).tai
            except ValueError:
                raise ValueError(f"{date!r} is not a date such as 2025-12-18 or 2025-12-18T05:09:34") from None

    first, last = tai(begin), tai(end)
    # The Butler takes a timespan with equal limits for an instant, not for an empty one.
    if first is not None and last is not None and last <= first:
        raise ValueError(f"the end {end} is not after the begin {begin}")
    return Timespan(first, last)


def limits_of(timespan: Timespan) -> tuple[str, str]:
    """Return begin and end of a validity range as texts for `timespan_between`.

    Parameters
    ----------
    timespan
        Validity range.

    Returns
    -------
    begin, end
        Dates in ISO 8601, TAI; a dash for no limit. Of an empty range, as the
        Butler certifies with the end before the begin, both are ``never``.
    """
    if timespan.isEmpty():
        return "never", "never"

    def text(limit: Time | None) -> str:
        return "-" if limit is None else str(limit.tai.isot).rstrip("0").rstrip(".")

    return text(timespan.begin), text(timespan.end)


def range_text(timespan: Timespan) -> str:
    """Return a validity range in words.

    Parameters
    ----------
    timespan
        Validity range.
    """
    begin, end = limits_of(timespan)
    if timespan.isEmpty():
        return begin
    if timespan.begin is None and timespan.end is None:
        return "for all times"
    if timespan.begin is None:
        return f"until {end} (TAI)"
    return f"from {begin} on (TAI)" if timespan.end is None else f"from {begin} to {end} (TAI)"


AgeOf = Callable[[str], Any]
"""Returns a value that sorts runs from the oldest to the newest; `None` for
a run outside of that order.
"""


class CertifiedDataset(NamedTuple):
    """A dataset in a CALIBRATION collection.

    Parameters
    ----------
    ref
        The dataset.
    timespan
        Validity range.
    """

    ref: DatasetRef
    timespan: Timespan


@dataclasses.dataclass(frozen=True)
class CertifiedChange:
    """Conflict of a dataset that is certified with one that was valid before.

    Parameters
    ----------
    ref
        The dataset to certify.
    existing
        A dataset of the same data ID that was valid in a part of the range.
    timespan
        That part.
    is_replaced
        Whether the new dataset replaces the other one; else the other one stays.
    """

    ref: DatasetRef
    existing: DatasetRef
    timespan: Timespan
    is_replaced: bool


def certified_datasets(
    butler: Butler, collection: str, dataset_type: str, data_id: dict[str, Any] | None = None
) -> list[CertifiedDataset]:
    """Return the datasets of a type that are certified in a collection.

    Parameters
    ----------
    butler
        The repository.
    collection
        A CALIBRATION collection; it may not exist yet.
    dataset_type
        Name of the dataset type.
    data_id
        Values that the data IDs must have; by default all data IDs count.

    Returns
    -------
    certified
        By data ID and begin of validity.
    """
    wanted = (data_id or {}).items()
    try:
        found = [
            CertifiedDataset(association.ref, association.timespan)
            for association in butler.registry.queryDatasetAssociations(
                dataset_type, [collection], collectionTypes={CollectionType.CALIBRATION}
            )
            if association.timespan is not None
            and all(association.ref.dataId.get(key) == value for key, value in wanted)
        ]
    except (MissingCollectionError, MissingDatasetTypeError):
        return []
    return sorted(found, key=lambda certified: (certified.ref.dataId, certified.timespan))


def certify_newest(
    butler: Butler, collection: str, refs: Iterable[DatasetRef], timespan: Timespan, age_of: AgeOf
) -> list[CertifiedChange]:
    """Certify datasets, each where no newer one is valid.

    A dataset replaces older ones. Datasets of runs without an age were
    certified by a user for a reason, and stay.

    Parameters
    ----------
    butler
        The repository, writeable.
    collection
        A CALIBRATION collection.
    refs
        Datasets to certify. The newest one of each data ID counts.
    timespan
        Validity range.
    age_of
        Order of the runs.

    Returns
    -------
    changes
        Other datasets in the range, replaced or not. A dataset that was
        certified in all of the range before makes no change.
    """
    changes = []
    for ref in newest_last(refs, age_of):
        with butler.transaction():
            new, free = _plan(ref, _valid_beside(butler, collection, ref), timespan, age_of)
            for change in new:
                if change.is_replaced:
                    butler.registry.decertify(collection, ref.datasetType, change.timespan, dataIds=[ref.dataId])
            for part in free:
                butler.registry.certify(collection, [ref], part)
        changes += new
    return changes


def gaps_of(butler: Butler, collection: str, ref: DatasetRef, timespan: Timespan) -> list[Timespan]:
    """Return the parts of a range in which no dataset of a data ID is valid.

    Parameters
    ----------
    butler
        The repository.
    collection
        A CALIBRATION collection.
    ref
        Dataset with the data ID.
    timespan
        The range.
    """
    return _gaps(_valid_beside(butler, collection, ref), timespan)


class CertifyTrial:
    """Dry run of `certify_newest`, call after call.

    Parameters
    ----------
    butler
        The repository.
    collection
        A CALIBRATION collection; it may not exist yet.
    timespan
        Validity range.
    age_of
        Order of the runs.
    """

    def __init__(self, butler: Butler, collection: str, timespan: Timespan, age_of: AgeOf) -> None:
        self._butler = butler
        self._collection = collection
        self._timespan = timespan
        self._age_of = age_of
        self._valid: dict[tuple[str, DataCoordinate], list[CertifiedDataset]] = {}

    def certify(self, refs: Iterable[DatasetRef]) -> list[CertifiedChange]:
        """Return the changes that `certify_newest` would make.

        Parameters
        ----------
        refs
            Datasets to certify; they may not exist yet.
        """
        changes = []
        for ref in newest_last(refs, self._age_of):
            valid = self._valid_beside(ref)
            new, free = _plan(ref, valid, self._timespan, self._age_of)
            lost = [(change.existing.id, change.timespan) for change in new if change.is_replaced]
            valid[:] = [
                *(CertifiedDataset(old, rest) for old, span in valid for rest in _without(span, old.id, lost)),
                *(CertifiedDataset(ref, part) for part in free),
            ]
            changes += new
        return changes

    def gaps(self, ref: DatasetRef) -> list[Timespan]:
        """Return the parts of the range in which no dataset would be valid, see `gaps_of`.

        Parameters
        ----------
        ref
            Dataset with the data ID.
        """
        return _gaps(self._valid_beside(ref), self._timespan)

    def _valid_beside(self, ref: DatasetRef) -> list[CertifiedDataset]:
        key = (ref.datasetType.name, ref.dataId)
        if key not in self._valid:
            self._valid[key] = _valid_beside(self._butler, self._collection, ref)
        return self._valid[key]


def newest_last(refs: Iterable[DatasetRef], age_of: AgeOf) -> list[DatasetRef]:
    """Sort datasets by type and age, so that the newest replaces the older ones.

    Parameters
    ----------
    refs
        The datasets.
    age_of
        Order of their runs, all of which have an age.
    """
    return sorted(refs, key=lambda ref: (ref.datasetType.name, age_of(ref.run)))


def _valid_beside(butler: Butler, collection: str, ref: DatasetRef) -> list[CertifiedDataset]:
    """Return the datasets that are certified for the data ID of a dataset."""
    return certified_datasets(butler, collection, ref.datasetType.name, dict(ref.dataId.required))


def _plan(
    ref: DatasetRef, valid: Iterable[CertifiedDataset], timespan: Timespan, age_of: AgeOf
) -> tuple[list[CertifiedChange], list[Timespan]]:
    """Return the conflicts of a dataset, and the ranges in which it becomes valid."""
    changes = []
    free = [timespan]
    for existing, span in valid:
        overlap = span.intersection(timespan)
        if overlap.isEmpty():
            continue
        age = age_of(existing.run)
        is_replaced = existing.id != ref.id and age is not None and age < age_of(ref.run)
        if existing.id != ref.id:
            changes.append(CertifiedChange(ref, existing, overlap, is_replaced))
        if not is_replaced:
            free = [rest for part in free for rest in part.difference(overlap)]
    return changes, free


def _gaps(valid: Iterable[CertifiedDataset], timespan: Timespan) -> list[Timespan]:
    gaps = [timespan]
    for _, span in valid:
        gaps = [rest for gap in gaps for rest in gap.difference(span)]
    return gaps


def _without(span: Timespan, id_: uuid.UUID, lost: Iterable[tuple[uuid.UUID, Timespan]]) -> list[Timespan]:
    """Return the validity of a dataset without the ranges that it lost."""
    rests = [span]
    for loser, taken in lost:
        if loser == id_:
            rests = [rest for part in rests for rest in part.difference(taken)]
    return rests


def decertify(
    butler: Butler,
    collection: str,
    dataset_type: str,
    timespan: Timespan,
    data_ids: Sequence[DataCoordinate],
    *,
    dry_run: bool = False,
) -> list[CertifiedDataset]:
    """Decertify datasets in a range of time.

    Parameters
    ----------
    butler
        The repository, writeable.
    collection
        A CALIBRATION collection.
    dataset_type
        Name of the dataset type.
    timespan
        The range. A dataset that is valid beyond it stays valid there.
    data_ids
        Data IDs of the datasets.
    dry_run
        Change nothing.

    Returns
    -------
    decertified
        Datasets that were valid in that range, with their validity before.
    """
    decertified = [
        certified
        for certified in certified_datasets(butler, collection, dataset_type)
        if certified.ref.dataId in data_ids and certified.timespan.overlaps(timespan)
    ]
    if decertified and not dry_run:
        data_ids = [certified.ref.dataId for certified in decertified]
        butler.registry.decertify(collection, dataset_type, timespan, dataIds=data_ids)
    return decertified
