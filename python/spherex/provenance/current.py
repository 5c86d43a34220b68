"""What a repository would give a pipeline today."""

from __future__ import annotations

__all__ = ["CurrentCalibrations", "Place", "current_images", "nanoseconds_of"]

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from lsst.daf.butler import MissingDatasetTypeError

from spherex.calibrations import associations_of

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DataCoordinate
    from numpy.typing import ArrayLike, NDArray

_DAY = 86_400 * 10**9
_JD_1970 = 2440587.5


class Place(NamedTuple):
    """Data ID of an image."""

    instrument: str
    exposure: int
    detector: int

    @classmethod
    def of(cls, data_id: DataCoordinate) -> Self:
        """Return that part of a data ID."""
        return cls(str(data_id["instrument"]), int(data_id["exposure"]), int(data_id["detector"]))


def current_images(
    butler: Butler, dataset_type: str, chain: str, catalog: str, targets: Sequence[str], where: str = ""
) -> dict[str, dict[Place, uuid.UUID]]:
    """Find the images that contain targets, the newest of each.

    Parameters
    ----------
    butler
        The repository.
    dataset_type
        Name of the dataset type of the images.
    chain
        Collection with them.
    catalog, targets
        Names of the catalogue and of targets.
    where
        Expression that chooses among the images.

    Returns
    -------
    images
        For each target, ids of the images whose region overlaps its own.
    """
    found: dict[str, dict[Place, uuid.UUID]] = {target: {} for target in targets}
    with butler.query() as query:
        query = query.where({"catalog": catalog}, "target IN (:targets)", bind={"targets": list(targets)})
        if where:
            query = query.where(where)
        try:
            newest = {Place.of(ref.dataId): ref.id for ref in query.datasets(dataset_type, chain, find_first=True)}
            # A search for the first dataset would give each image to one of its targets only.
            pairs = query.join_dataset_search(dataset_type, chain).data_ids(["target", "exposure", "detector"])
            for data_id in pairs:
                place = Place.of(data_id)
                found[str(data_id["target"])][place] = newest[place]
        except MissingDatasetTypeError:
            return found
    return found


def nanoseconds_of(mjd: ArrayLike) -> NDArray[np.float64]:
    """Return times (UTC, MJD) as `lsst.daf.butler.Timespan.nsec` has them: TAI, nanoseconds since 1970.

    Times that are not known are NaN.
    """
    from astropy.time import Time

    given = np.asarray(mjd, float)
    is_known = np.isfinite(given)
    time = Time(np.where(is_known, given, 0.0), format="mjd", scale="utc").tai
    return np.where(is_known, (time.jd1 - _JD_1970) * _DAY + time.jd2 * _DAY, np.nan)


class CurrentCalibrations:
    """The calibrations that a collection has.

    Parameters
    ----------
    butler
        The repository.
    collection
        A CALIBRATION collection, or a chain of them, of which the first one
        that has a calibration counts. It need not be there as long as nobody
        asks for a calibration.
    """

    def __init__(self, butler: Butler, collection: str) -> None:
        self._butler = butler
        self._collection = collection
        self._known: dict[str, list[tuple[Mapping[str, object], int, int, uuid.UUID]]] = {}

    def ids_at(
        self, dataset_type: str, instrument: str, detector: ArrayLike, time: NDArray[np.float64]
    ) -> NDArray[np.object_]:
        """Return the ids of what is valid.

        Parameters
        ----------
        dataset_type
            Name of the dataset type.
        instrument
            Name of the instrument.
        detector
            Detectors, shape (n,); types without a detector hold for all.
        time
            Times, as `nanoseconds_of` returns them, shape (n,).

        Returns
        -------
        ids
            `None` where nothing is valid, shape (n,).
        """
        detector = np.asarray(detector)
        ids = np.full(len(detector), None, object)
        # What comes first in the search is written last.
        for data_id, begin, end, one in reversed(self._of(dataset_type)):
            if data_id["instrument"] == instrument:
                is_valid = (time >= begin) & (time < end)
                if "detector" in data_id:
                    is_valid &= detector == data_id["detector"]
                ids[is_valid] = one
        return ids

    def _of(self, dataset_type: str) -> list[tuple[Mapping[str, object], int, int, uuid.UUID]]:
        if dataset_type not in self._known:
            self._known[dataset_type] = [
                (dict(one.ref.dataId.required), *one.timespan.nsec, one.ref.id)
                for collection in self._butler.collections.query(self._collection, flatten_chains=True)
                for one in associations_of(self._butler, collection, dataset_type)
                if one.timespan is not None
            ]
        return self._known[dataset_type]
