"""Images of a patch that a data query leaves out."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from lsst.daf.butler import MissingDatasetTypeError

if TYPE_CHECKING:
    from collections.abc import Set

    from lsst.daf.butler import Butler, DataCoordinate

_LOG = logging.getLogger(__name__)

_IMAGE = ("instrument", "exposure", "detector")


def warn_of_missing_images(
    butler: Butler, dataset_type: str, used: Mapping[DataCoordinate, Set[DataCoordinate]]
) -> None:
    """Warn of patches in which some targets have all of their images and others do not.

    A data query with the name of a target selects the images of this target,
    while spectra are made of all targets of its patch.

    Parameters
    ----------
    butler
        Butler with the collections of a graph.
    dataset_type
        Name of the dataset type of the images, or of their measurements.
    used
        Data IDs of the images of each patch in the graph.
    """
    by_catalog: dict[str, dict[int, set[tuple[Any, ...]]]] = defaultdict(dict)
    for data_id, members in used.items():
        by_catalog[str(data_id["catalog"])][int(data_id["patch"])] = {
            tuple(image[name] for name in _IMAGE) for image in members
        }
    for catalog, patches in by_catalog.items():
        with butler.query() as query:
            query = query.where({"catalog": catalog})
            try:
                pairs = list(query.join_dataset_search(dataset_type).data_ids(["patch", *_IMAGE]))
            except MissingDatasetTypeError:
                return
            missing: dict[int, list[DataCoordinate]] = defaultdict(list)
            for pair in pairs:
                present = patches.get(int(pair["patch"]))
                if present is not None and tuple(pair[name] for name in _IMAGE) not in present:
                    missing[int(pair["patch"])].append(pair)
            for patch, images in sorted(missing.items()):
                targets = list(query.where(patch=patch).dimension_records("target"))
                lon, lat = (np.radians([getattr(record, name) for record in targets]) for name in ("ra", "dec"))
                lacks = np.zeros(len(targets), bool)
                for image in query.join_data_coordinates(images).dimension_records("exposure_detector_region"):
                    if image.region is not None:
                        lacks |= image.region.contains(lon, lat)
                number = int(np.count_nonzero(lacks))
                if 0 < number < len(targets):
                    _LOG.warning(
                        "The data query leaves out images of %d of the %d targets of patch %d, such as %s, and none of "
                        "the others: spectra without these images will be incomplete. Select by the patch in place of "
                        "the target: catalog = '%s' AND patch = %d.",
                        number,
                        len(targets),
                        patch,
                        targets[int(np.argmax(lacks))].name,
                        catalog,
                        patch,
                    )
