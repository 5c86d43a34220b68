"""Images that may contain a position, from one query of the registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from lsst.daf.butler import DataCoordinate, DatasetRef, InvalidQueryError, MissingCollectionError
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d

from spherex.calibrations import middle_of
from spherex.detectors import PIXEL_SCALE
from spherex.errors import SearchError, first_line
from spherex.geometry import corners_of

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

_ENOUGH = 0.25
"""Radius of a circle that always contains the centre of a fine HEALPix pixel (deg)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Images with the corners of their frames, one in each row of the arrays.

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
        fields = ("ids", "runs", "exposure", "detector", "name", "times", "corners")
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
        found = butler.get_many_uris(refs, predict=True)
        uris = []
        for ref in refs:
            uri = found[ref].primaryURI
            if uri is None:
                raise SearchError(f"{ref} is stored in several files, one for each component; such images have no URI.")
            uris.append(uri)
        return uris


def find_candidates(butler: Butler, criteria: Criteria) -> Candidates:
    """Find all images whose region, widened by `MARGIN`, contains the position or touches the circle.

    Parameters
    ----------
    butler
        The repository.
    criteria
        Search criteria. Wavelengths select the detectors that may have them.

    Returns
    -------
    candidates
        Each exposure and detector once, from the first collection that
        contains it.

    Raises
    ------
    SearchError
        If the repository does not have the dataset type or a collection of
        the criteria, or a condition cannot be parsed.
    """
    try:
        dataset_type = butler.get_dataset_type(criteria.dataset_type)
    except KeyError:
        raise SearchError(
            f"there is no dataset type {criteria.dataset_type!r} in the repository; ingest images first "
            "(butler ingest-level2), or name another dataset type with --dataset-type."
        ) from None
    if set(dataset_type.dimensions.required) != {"instrument", "exposure", "detector"}:
        raise SearchError(f"{criteria.dataset_type!r} is not a dataset type of images of an exposure and a detector.")
    check_filters(butler, criteria)
    try:
        with butler.query() as query:
            rows = list(_rows(butler, query, criteria))
    except MissingCollectionError as error:
        raise SearchError(f"{first_line(error)}. Name collections with --collections.") from error
    except InvalidQueryError as error:
        raise SearchError(f"the condition of --where is not understood: {first_line(error)}.") from error
    try:
        corners = corners_of([row["exposure_detector_region.region"] for row in rows])
    except (ValueError, AttributeError) as error:
        raise SearchError(f"the regions of {criteria.dataset_type} are not frames of detectors: {error}.") from error
    spans = [row["exposure.timespan"] for row in rows]
    times = [(0, 0) if span is None else span.nsec for span in spans]
    return Candidates(
        dataset_type,
        criteria.instrument,
        ids=np.array([row[f"{dataset_type.name}.dataset_id"] for row in rows], object),
        runs=np.array([row[f"{dataset_type.name}.run"] for row in rows], object),
        exposure=np.array([row["exposure"] for row in rows], np.int64),
        detector=np.array([row["detector"] for row in rows], np.int64),
        name=np.array([row["exposure.name"] for row in rows], object),
        times=np.array(times, np.int64).reshape(-1, 2),
        corners=corners,
    )


def _rows(butler: Butler, query: Query, criteria: Criteria) -> Iterator[dict[str, Any]]:
    """Yield the images whose regions overlap the circle."""
    pixelization = butler.dimensions.commonSkyPix.pixelization
    centre = UnitVector3d(LonLat.fromDegrees(criteria.ra, criteria.dec))
    radius = criteria.radius + MARGIN * PIXEL_SCALE / 3600
    circle = Circle(centre, Angle.fromDegrees(radius))
    if pixelization.envelope(circle).empty():
        # The HEALPix of lsst.sphgeom 30.2026.500 misses small circles, and the Butler then tests every image.
        circle = Circle(centre, Angle.fromDegrees(radius + _ENOUGH))
    query = query.join_dataset_search(criteria.dataset_type, criteria.collections)
    of = query.expression_factory
    conditions = [of.exposure_detector_region.region.overlaps(circle)]
    detectors = detectors_of(criteria)
    if detectors is not None:
        conditions.append(of.detector.in_iterable(detectors))
    if criteria.surveys:
        conditions.append(of.exposure.survey.in_iterable(criteria.surveys))
    if criteria.timespan is not None:
        conditions.append(of.exposure.timespan.overlaps(criteria.timespan))
    query = query.where(criteria.where, *conditions, instrument=criteria.instrument)
    yield from query.general(
        ["exposure", "detector"],
        dimension_fields={"exposure": {"name", "timespan"}, "exposure_detector_region": {"region"}},
        dataset_fields={criteria.dataset_type: {"dataset_id", "run"}},
        find_first=True,
    )
