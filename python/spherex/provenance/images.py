"""Images of today: of a patch, or at known places; and the targets on them."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lsst.daf.butler import DataCoordinate, MissingDatasetTypeError
from lsst.utils.iteration import chunk_iterable

from spherex.calibrations import instant_of
from spherex.repository import data_query_errors

from .inputs import Place

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

_MOST_IMAGES = 5000
"""Images of one query, whose pairs with targets are in memory."""


def current_images(
    butler: Butler, dataset_type: str, chain: str, data_id: Mapping[str, Any], where: str = ""
) -> dict[Place, DatasetRef]:
    """Find the images whose regions overlap those of the targets of a patch, the newest version of each.

    Parameters
    ----------
    butler
        The repository.
    dataset_type
        Name of the dataset type of the images, or of their measurements.
    chain
        Their collection, the newest first.
    data_id
        Data ID of the patch.
    where
        Data query for the images.
    """
    with data_query_errors(where), butler.query() as query:
        query = query.where(data_id)
        if where:
            query = query.where(where)
        try:
            return {Place.of(ref.dataId): ref for ref in query.datasets(dataset_type, chain, find_first=True)}
        except MissingDatasetTypeError:
            return {}


def images_at(
    butler: Butler, dataset_type: str, chain: str, data_ids: Sequence[DataCoordinate]
) -> dict[Place, DatasetRef]:
    """Return the newest image of each of some data IDs.

    Parameters
    ----------
    butler
        The repository.
    dataset_type
        Name of the dataset type of the images.
    chain
        Collection of the images, the newest first.
    data_ids
        The data IDs.
    """
    found: dict[Place, DatasetRef] = {}
    for chunk in chunk_iterable(data_ids, _MOST_IMAGES):
        with butler.query() as query:
            refs = query.join_data_coordinates(chunk).datasets(dataset_type, chain, find_first=True)
            found |= {Place.of(ref.dataId): ref for ref in refs}
    return found


def targets_on(butler: Butler, data_id: Mapping[str, Any], places: Iterable[Place]) -> dict[str, set[Place]]:
    """Return which of some images overlap the region of each target of a patch.

    Parameters
    ----------
    butler
        The repository.
    data_id
        Data ID of the patch.
    places
        The images.
    """
    found: dict[str, set[Place]] = collections.defaultdict(set)
    dimensions = butler.dimensions.conform(Place._fields)
    images = [DataCoordinate.standardize(place._asdict(), dimensions=dimensions) for place in places]
    for chunk in chunk_iterable(images, _MOST_IMAGES):
        with butler.query() as query:
            for pair in query.where(data_id).join_data_coordinates(chunk).data_ids(["target", "exposure", "detector"]):
                found[str(pair["target"])].add(Place.of(pair))
    return found


def patches_of(butler: Butler, catalog: str, targets: Iterable[str]) -> dict[str, int]:
    """Return the patches in which targets are today.

    Parameters
    ----------
    butler
        The repository.
    catalog
        Name of the catalogue.
    targets
        Names of its targets.
    """
    dimensions = butler.dimensions.conform(["target"])
    data_ids = [DataCoordinate.standardize(catalog=catalog, target=target, dimensions=dimensions) for target in targets]
    found: dict[str, int] = {}
    for chunk in chunk_iterable(data_ids, _MOST_IMAGES):
        with butler.query() as query:
            records = query.join_data_coordinates(chunk).dimension_records("target")
            found |= {record.name: record.patch for record in records}
    return found


def image_types(butler: Butler, chain: str) -> set[str]:
    """Return the dataset types of the images in a collection.

    Parameters
    ----------
    butler
        The repository.
    chain
        Collection of the images.
    """
    dimensions = butler.dimensions.conform(Place._fields)
    infos = butler.collections.query_info(chain, flatten_chains=True, include_summary=True)
    names = {name for info in infos for name in info.dataset_types or ()}
    return {name for name in names if butler.get_dataset_type(name).dimensions == dimensions}


def instants_of(butler: Butler, images: Iterable[DatasetRef]) -> dict[tuple[str, int], int]:
    """Return the instants at which the calibrations of images are looked up.

    Parameters
    ----------
    butler
        The repository.
    images
        The images.

    Returns
    -------
    instants
        Middle of each exposure (TAI, ns) by instrument and exposure; without
        exposures whose time the repository does not know.
    """
    exposures = {image.dataId.subset(butler.dimensions.conform(["exposure"])) for image in images}
    if not exposures:
        return {}
    with butler.query() as query:
        records = query.join_data_coordinates(exposures).dimension_records("exposure")
        found = {(record.instrument, record.id): instant_of(record.timespan) for record in records}
    return {exposure: instant for exposure, instant in found.items() if instant is not None}
