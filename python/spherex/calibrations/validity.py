"""Validity ranges in a CALIBRATION collection.

The Butler refuses to certify a dataset where another one is valid already, and
leaves it to its user to make room. Calibrations of the archive have an order,
that of their processing runs, so the newer one can take the place of the older
one by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from lsst.daf.butler import CollectionType, MissingCollectionError, MissingDatasetTypeError, Timespan

if TYPE_CHECKING:
    import uuid

    from lsst.daf.butler import Butler, DataCoordinate, DatasetAssociation, DatasetRef


def timespan_between(begin: str | None, end: str | None) -> Timespan:
    """Make a validity range of what a user gave.

    Parameters
    ----------
    begin, end
        Dates in ISO 8601, TAI as everywhere in ``butler``; `None` for no
        limit. The end is exclusive.

    Raises
    ------
    ValueError
        If one is no date, or the end is not after the begin.
    """
    from astropy.time import Time

    def moment(text: str | None) -> Time | None:
        try:
            return None if text is None else Time(text, scale="tai")
        except ValueError:
            raise ValueError(f"{text!r} is not a date such as 2025-12-18 or 2025-12-18T05:09:34") from None

    first, last = moment(begin), moment(end)
    # A timespan of equal limits is not empty: it is a moment.
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
        Dates in ISO 8601, TAI; a dash for no limit.
    """

    def text(limit: Any) -> str:
        return "-" if limit is None else str(limit.tai.isot).rstrip("0").rstrip(".")

    return text(timespan.begin), text(timespan.end)


_Validity: TypeAlias = "tuple[DatasetRef, Timespan]"
AgeOf = Callable[[str], Any]
"""Returns something that sorts runs from the oldest to the newest; `None` for
a run that has no place in that order.
"""


@dataclasses.dataclass(frozen=True)
class CertifiedChange:
    """What certifying one dataset did to another one.

    Parameters
    ----------
    ref
        The dataset that was to be certified.
    other
        A dataset of the same data ID that was valid in a part of the range.
    timespan
        That part.
    is_replaced
        Whether the other one gave way; else it stayed.
    """

    ref: DatasetRef
    other: DatasetRef
    timespan: Timespan
    is_replaced: bool


def associations_of(
    butler: Butler, collection: str, dataset_type: str, data_id: dict[str, Any] | None = None
) -> list[DatasetAssociation]:
    """Find what is certified in a collection.

    Parameters
    ----------
    butler
        The repository.
    collection
        A CALIBRATION collection; it may not exist yet.
    dataset_type
        Name of the dataset type.
    data_id
        Keys that the data IDs must have; by default all.

    Returns
    -------
    associations : `list` [`lsst.daf.butler.DatasetAssociation`]
        By data ID and begin of validity.
    """
    try:
        found = butler.registry.queryDatasetAssociations(
            dataset_type, [collection], collectionTypes={CollectionType.CALIBRATION}
        )
        wanted = (data_id or {}).items()
        chosen = [one for one in found if all(one.ref.dataId.get(key) == value for key, value in wanted)]
    except (MissingCollectionError, MissingDatasetTypeError):
        return []
    return sorted(chosen, key=lambda one: (one.ref.dataId, one.timespan))


def certify_newest(
    butler: Butler, collection: str, refs: Iterable[DatasetRef], timespan: Timespan, age_of: AgeOf
) -> list[CertifiedChange]:
    """Certify datasets, each where no newer one is valid.

    Where an older one is valid it gives way. Datasets of runs that have no
    age were certified by somebody who knew why: they stay.

    Parameters
    ----------
    butler
        The repository, writeable.
    collection
        A CALIBRATION collection.
    refs
        Datasets to certify. If several are for one data ID the newest counts.
    timespan
        Validity range.
    age_of
        Order of the runs.

    Returns
    -------
    changes : `list` [`CertifiedChange`]
        What gave way, and what did not. Datasets that were certified in all
        of the range before make no change.
    """
    changes = []
    for ref in newest_last(refs, age_of):
        with butler.transaction():
            new, free = _plan(ref, _valid_beside(butler, collection, ref), timespan, age_of)
            for change in new:
                if change.is_replaced:
                    butler.registry.decertify(collection, ref.datasetType, change.timespan, dataIds=[ref.dataId])
            for one in free:
                butler.registry.certify(collection, [ref], one)
        changes += new
    return changes


def gaps_of(butler: Butler, collection: str, ref: DatasetRef, timespan: Timespan) -> list[Timespan]:
    """Return where nothing is valid for the data ID of a dataset.

    Parameters
    ----------
    butler
        The repository.
    collection
        A CALIBRATION collection.
    ref
        The dataset.
    timespan
        Range that is looked at.
    """
    return _gaps(_valid_beside(butler, collection, ref), timespan)


class CertifyRehearsal:
    """Tells what `certify_newest` would do, call after call, and changes nothing.

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
        self._valid: dict[tuple[str, DataCoordinate], list[_Validity]] = {}

    def certify(self, refs: Iterable[DatasetRef]) -> list[CertifiedChange]:
        """Return what would give way to datasets, and what would not.

        Parameters
        ----------
        refs
            Datasets that would be certified; they may not exist yet.
        """
        changes = []
        for ref in newest_last(refs, self._age_of):
            valid = self._valid_beside(ref)
            new, free = _plan(ref, valid, self._timespan, self._age_of)
            lost = [(change.other.id, change.timespan) for change in new if change.is_replaced]
            valid[:] = [
                *((known, rest) for known, span in valid for rest in _without(span, known.id, lost)),
                *((ref, one) for one in free),
            ]
            changes += new
        return changes

    def gaps(self, ref: DatasetRef) -> list[Timespan]:
        """Return where nothing would be valid for the data ID of a dataset, see `gaps_of`.

        Parameters
        ----------
        ref
            The dataset.
        """
        return _gaps(self._valid_beside(ref), self._timespan)

    def _valid_beside(self, ref: DatasetRef) -> list[_Validity]:
        key = ref.datasetType.name, ref.dataId
        if key not in self._valid:
            self._valid[key] = _valid_beside(self._butler, self._collection, ref)
        return self._valid[key]


def newest_last(refs: Iterable[DatasetRef], age_of: AgeOf) -> list[DatasetRef]:
    """Sort datasets by type and age, so that the newest takes from the older ones.

    Parameters
    ----------
    refs
        The datasets.
    age_of
        Order of their runs, all of which have an age.
    """
    return sorted(refs, key=lambda ref: (ref.datasetType.name, age_of(ref.run)))


def _valid_beside(butler: Butler, collection: str, ref: DatasetRef) -> list[_Validity]:
    """Return what is certified for the data ID of a dataset, and when."""
    found = associations_of(butler, collection, ref.datasetType.name, dict(ref.dataId.required))
    return [(known.ref, known.timespan) for known in found if known.timespan is not None]


def _plan(
    ref: DatasetRef, valid: Iterable[_Validity], timespan: Timespan, age_of: AgeOf
) -> tuple[list[CertifiedChange], list[Timespan]]:
    """Tell what is to give way to a dataset or stays, and when the dataset is to become valid."""
    changes = []
    free = [timespan]
    for known, span in valid:
        overlap = span.intersection(timespan)
        if overlap.isEmpty():
            continue
        age = age_of(known.run)
        is_replaced = known.id != ref.id and age is not None and age < age_of(ref.run)
        if known.id != ref.id:
            changes.append(CertifiedChange(ref, known, overlap, is_replaced))
        if not is_replaced:
            free = [rest for one in free for rest in one.difference(overlap)]
    return changes, free


def _gaps(valid: Iterable[_Validity], timespan: Timespan) -> list[Timespan]:
    gaps = [timespan]
    for _, span in valid:
        gaps = [rest for one in gaps for rest in one.difference(span)]
    return gaps


def _without(span: Timespan, id_: uuid.UUID, lost: Iterable[tuple[uuid.UUID, Timespan]]) -> list[Timespan]:
    """Return what is left of the validity of a dataset when some ranges are taken from it."""
    rests = [span]
    for loser, taken in lost:
        if loser == id_:
            rests = [rest for one in rests for rest in one.difference(taken)]
    return rests


def decertify(
    butler: Butler,
    collection: str,
    dataset_type: str,
    timespan: Timespan,
    data_ids: Sequence[DataCoordinate],
    *,
    dry_run: bool = False,
) -> list[DatasetAssociation]:
    """Take datasets out of a range of time.

    Parameters
    ----------
    butler
        The repository, writeable.
    collection
        A CALIBRATION collection.
    dataset_type
        Name of the dataset type.
    timespan
        Range from which they are taken. A dataset that is valid beyond it
        stays valid there.
    data_ids
        Data IDs concerned.
    dry_run
        Change nothing.

    Returns
    -------
    taken : `list` [`lsst.daf.butler.DatasetAssociation`]
        What was valid in that range, with its validity before.
    """
    taken = [
        known
        for known in associations_of(butler, collection, dataset_type)
        if known.ref.dataId in data_ids and known.timespan is not None and known.timespan.overlaps(timespan)
    ]
    if taken and not dry_run:
        butler.registry.decertify(collection, dataset_type, timespan, dataIds=[known.ref.dataId for known in taken])
    return taken
