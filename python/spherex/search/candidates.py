"""Images that may contain a position, from one query of the registry."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from lsst.daf.butler import (
    DataCoordinate,
    DatasetRef,
    MissingCollectionError,
    MissingDatasetTypeError,
)
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d

from spherex.calibrations import middle_of
from spherex.detectors import CUTOUT_EXTENT, FRAME_SHAPE, PIXEL_SCALE
from spherex.errors import SearchError
from spherex.geometry import corners_of
from spherex.repository import data_query_errors
from spherex.unknown_names import missing_name

from .criteria import check_filters, detectors_of

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetType
    from lsst.daf.butler.queries import Query
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from .criteria import Criteria


MARGIN = 12.0
"""Largest distance of the edge of a frame from the side of its region (pixels).

In the samples of Quick Release 1 it is 7.8, because of the distortions of the
optics, which are similar in all exposures.
"""

_SIDES = ("exposure_detector_region.rows", "exposure_detector_region.columns")
"""Fields with the shape of a frame that is not that of the mission; not in universe version 1."""

_ENOUGH = 0.25
"""Radius of a circle that always contains the centre of a fine HEALPix pixel (deg)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Images with the corners of their frames, one in each row of the arrays.

    All versions of an image, of one exposure and detector, are in rows that
    follow each other, in the order of the collections.

    Parameters
    ----------
    dataset_type
        Their dataset type.
    ids
        UUIDs of the datasets.
    runs
        Names of their RUN collections.
    exposure, detector
        Data IDs.
    name
        Names of the exposures.
    times
        Begin and end of the exposures, TAI (ns since 1970), of shape (n, 2);
        both 0 where the repository does not know them.
    corners
        Corners of the frames, of shape (n, 4, 3).
    frames
        Shapes of the frames (rows, columns), of shape (n, 2).
    extents
        First column and row of each image in its frame, and the numbers of its
        columns and rows, of shape (n, 4); those of the frame for an image
        without a record of its extent.
    all_versions
        Whether all versions of each image are in the rows, or the first one
        only.
    """

    dataset_type: DatasetType
    instrument: str
    ids: NDArray[Any]
    runs: NDArray[Any]
    exposure: NDArray[np.int64]
    detector: NDArray[np.int64]
    name: NDArray[Any]
    times: NDArray[np.int64]
    corners: NDArray[np.float64]
    frames: NDArray[np.int64]
    extents: NDArray[np.int64]
    all_versions: bool

    @property
    def has_time(self) -> NDArray[np.bool_]:
        """Whether the times of each exposure are known, of shape (n,)."""
        return self.times[:, 1] > self.times[:, 0]

    @property
    def middle(self) -> NDArray[np.int64]:
        """Middle of each exposure, TAI (ns since 1970), of shape (n,)."""
        return middle_of(*self.times.T)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[Any]) -> Self:
        """Return some of the images.

        Parameters
        ----------
        rows
            Their rows, or a mask.
        """
        fields = ("ids", "runs", "exposure", "detector", "name", "times", "corners", "frames", "extents")
        return dataclasses.replace(self, **{field: getattr(self, field)[rows] for field in fields})

    def uris(self, butler: Butler) -> list[ResourcePath]:
        """Return the URIs of the images.

        Parameters
        ----------
        butler
            The repository.

        Raises
        ------
        SearchError
            If an image is stored in several files.
        """
        dimensions = self.dataset_type.dimensions
        refs = []
        columns = (self.exposure.tolist(), self.detector.tolist(), self.runs, self.ids)
        for exposure, detector, run, id_ in zip(*columns, strict=True):
            values = {"instrument": self.instrument, "exposure": exposure, "detector": detector}
            data_id = DataCoordinate.from_required_values(
                dimensions, tuple([values[name] for name in dimensions.required])
            )
            refs.append(DatasetRef(self.dataset_type, data_id, run, id=id_, conform=False))
        uris = {}
        for ref, found in butler.get_many_uris(refs, predict=True).items():
            if found.primaryURI is None:
                raise SearchError(f"{ref} is stored in several files, one for each component; such images have no URI.")
            uris[ref.id] = found.primaryURI
        # The hash of a UUID takes a tenth of that of a DatasetRef.
        return [uris[id_] for id_ in self.ids]


def find_candidates(butler: Butler, criteria: Criteria, all_versions: bool) -> Candidates:
    """Find all images whose region, widened by `MARGIN`, contains the position or touches the circle.

    Parameters
    ----------
    butler
        The repository.
    criteria
        Search criteria. Wavelengths select the detectors that may have them.
    all_versions
        Find the images of all collections, which is slower. So it is where
        cutouts are known, because one may lack the position and another one
        of the same exposure and detector contain it. Otherwise each exposure
        and detector is found once, from the first collection that contains it.

    Returns
    -------
    candidates
        The images.

    Raises
    ------
    SearchError
        If the repository does not have the dataset type or a collection of
        the criteria, or a condition cannot be parsed.
    """
    try:
        dataset_type = butler.get_dataset_type(criteria.dataset_type)
    except MissingDatasetTypeError as error:
        raise SearchError(missing_name(butler, error)) from None
    if set(dataset_type.dimensions.required) != {"instrument", "exposure", "detector"}:
        raise SearchError(f"{criteria.dataset_type!r} is not a dataset type of images of an exposure and a detector.")
    check_filters(butler, criteria)
    try:
        with data_query_errors(criteria.where, SearchError), butler.query() as query:
            query = _restricted(butler, query, criteria)
            extents = _extents(butler, query, criteria)
            all_versions = all_versions or bool(extents)
            rows = _rows(butler, query, criteria, all_versions)
    except MissingCollectionError as error:
        raise SearchError(missing_name(butler, error)) from error
    try:
        corners = corners_of([row["exposure_detector_region.region"] for row in rows])
    except (ValueError, AttributeError) as error:
        raise SearchError(f"the regions of {criteria.dataset_type} are not frames of detectors: {error}.") from error
    ids = [row[f"{dataset_type.name}.dataset_id"] for row in rows]
    frames = np.full((len(rows), 2), FRAME_SHAPE)
    if rows and _SIDES[0] in rows[0]:
        sides = np.array([[row[side] or 0 for side in _SIDES] for row in rows], np.int64)
        frames = np.where(sides > 0, sides, frames)
    whole = np.concatenate([np.zeros_like(frames), frames[:, ::-1]], axis=1)
    spans = [row["exposure.timespan"] for row in rows]
    times = [(0, 0) if span is None else span.nsec for span in spans]
    return Candidates(
        dataset_type,
        criteria.instrument,
        ids=np.array(ids, object),
        runs=np.array([row[f"{dataset_type.name}.run"] for row in rows], object),
        exposure=np.array([row["exposure"] for row in rows], np.int64),
        detector=np.array([row["detector"] for row in rows], np.int64),
        name=np.array([row["exposure.name"] for row in rows], object),
        times=np.array(times, np.int64).reshape(-1, 2),
        corners=corners,
        frames=frames,
        extents=whole
        if not extents
        else np.array([extents.get(i.hex, e) for i, e in zip(ids, whole.tolist(), strict=True)], np.int64).reshape(
            -1, 4
        ),
        all_versions=all_versions,
    )


def _restricted(butler: Butler, query: Query, criteria: Criteria) -> Query:
    """Return a query of what the criteria select, but for the dataset type and the collections."""
    pixelization = butler.dimensions.commonSkyPix.pixelization
    centre = UnitVector3d(LonLat.fromDegrees(criteria.ra, criteria.dec))
    radius = criteria.radius + MARGIN * PIXEL_SCALE / 3600
    if criteria.motion is not None:
        from spherex.targets import target_records

        # Where the position may be during the mission.
        radius += next(target_records("", criteria.catalog()))["region"].getOpeningAngle().asDegrees()
    circle = Circle(centre, Angle.fromDegrees(radius))
    if pixelization.envelope(circle).empty():
        # The HEALPix of lsst.sphgeom 30.2026.500 misses small circles, and the Butler then tests every image.
        circle = Circle(centre, Angle.fromDegrees(radius + _ENOUGH))
    of = query.expression_factory
    conditions = [of.exposure_detector_region.region.overlaps(circle)]
    detectors = detectors_of(criteria)
    if detectors is not None:
        conditions.append(of.detector.in_iterable(detectors))
    if criteria.surveys:
        conditions.append(of.exposure.survey.in_iterable(criteria.surveys))
    if criteria.timespan is not None:
        conditions.append(of.exposure.timespan.overlaps(criteria.timespan))
    return query.where(*conditions, instrument=criteria.instrument)


def _extents(butler: Butler, query: Query, criteria: Criteria) -> dict[str, tuple[int, int, int, int]]:
    """Return the recorded extents of cutouts by the id of the dataset; none in repositories of universe version 1."""
    if CUTOUT_EXTENT not in butler.dimensions.elements.names:
        return {}
    # The spatial query takes a tenth of the search, also where the answer is empty.
    with butler.query() as any_query:
        if not any_query.dimension_records(CUTOUT_EXTENT).where(instrument=criteria.instrument).any():
            return {}
    return {
        record.cutout: (record.x0, record.y0, record.x1 - record.x0, record.y1 - record.y0)
        for record in query.dimension_records(CUTOUT_EXTENT)
    }


def _rows(butler: Butler, query: Query, criteria: Criteria, all_versions: bool) -> list[dict[str, Any]]:
    """Return the images, the versions of each in the order of the collections."""
    name = criteria.dataset_type
    known = butler.dimensions["exposure_detector_region"].schema.names
    fields = {"region"} | {side.partition(".")[2] for side in _SIDES if side.partition(".")[2] in known}
    found = (
        query.join_dataset_search(name, criteria.collections)
        .where(criteria.where, instrument=criteria.instrument)
        .general(
            ["exposure", "detector"],
            dimension_fields={"exposure": {"name", "timespan"}, "exposure_detector_region": fields},
            dataset_fields={name: {"dataset_id", "run", "collection"} if all_versions else {"dataset_id", "run"}},
            find_first=not all_versions,
        )
    )
    rows = list(found)
    if all_versions:
        collections = butler.collections.query(criteria.collections, flatten_chains=True)
        order = {collection: place for place, collection in enumerate(collections)}
        rows.sort(key=lambda row: (row["exposure"], row["detector"], order[row[f"{name}.collection"]]))
        # A dataset may be in a RUN and in a TAGGED collection.
        unique: dict[Any, dict[str, Any]] = {}
        for row in rows:
            unique.setdefault(row[f"{name}.dataset_id"], row)
        rows = list(unique.values())
    return rows
