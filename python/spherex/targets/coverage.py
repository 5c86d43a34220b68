"""Targets outside the regions of all images of a repository."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from spherex.errors import counted, listed

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.daf.butler import Butler


MOST_REGIONS = 50_000
"""Regions of images that are read at most: 3 s."""


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How many targets of a catalogue are in images.

    Parameters
    ----------
    targets
        Number of targets.
    outside
        Names of the targets that are outside the regions of all images, which
        are those of whole frames, also of cutouts.
    is_exact
        Whether all images near the targets were compared. Otherwise
        ``outside`` has only targets far from all images.
    """

    targets: int
    outside: list[str]
    is_exact: bool

    def __str__(self) -> str:
        least = "" if self.is_exact else "at least "
        number = f"{least}{len(self.outside)} of {counted(self.targets, 'target')}"
        verb = "is" if len(self.outside) == 1 else "are"
        return f"{number} {verb} outside the regions of all images of the repository: {listed(self.outside)}."


def coverage_of(butler: Butler, table: Table, most: int = MOST_REGIONS) -> Coverage | None:
    """Count the targets that are in the region of no image.

    Parameters
    ----------
    butler
        The repository.
    table
        Columns name, ra and dec (deg). Proper motions are not applied: edges of
        images are known to an arcmin.
    most
        Number of regions that are read at most.

    Returns
    -------
    coverage
        `None` if the repository has no images.
    """
    from lsst.sphgeom import LonLat, UnitVector3d

    common = butler.dimensions.commonSkyPix
    with butler.query() as query:
        # Quick at any number of images: the database keeps the overlaps.
        found = query.join_dimensions(["exposure", "detector", common.name]).data_ids([common.name])
        with_images = np.array([data_id[common.name] for data_id in found], np.int64)
    if not len(with_images):
        return None
    ra, dec = (np.radians(np.asarray(table[name], dtype=float)) for name in ("ra", "dec"))
    x, y, z = np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)
    pixels = np.array(
        [
            common.pixelization.index(UnitVector3d(LonLat.fromRadians(*place)))
            for place in zip(ra.tolist(), dec.tolist(), strict=True)
        ],
        np.int64,
    )
    is_outside = np.ones(len(table), bool)
    near = np.flatnonzero(np.isin(pixels, with_images))
    with butler.query() as query:
        wanted = np.unique(pixels[near]).tolist()
        if len(wanted) < len(with_images):
            query = query.where(f"{common.name} IN (wanted)", bind={"wanted": wanted})
        records = query.join_dimensions(["exposure", "detector"]).dimension_records("exposure_detector_region")
        is_exact = len(near) == 0 or records.count(exact=False) <= most
        if not is_exact:
            is_outside[near] = False
        elif len(near):
            rows = near[np.argsort(dec[near])]
            latitudes = dec[rows]
            for record in records:
                if record.region is None:
                    continue
                band = record.region.getBoundingBox().getLat()
                limits = band.getA().asRadians(), band.getB().asRadians()
                nearby = rows[slice(*np.searchsorted(latitudes, limits))]
                nearby = nearby[is_outside[nearby]]
                if len(nearby):
                    is_inside = record.region.contains(x[nearby], y[nearby], z[nearby])
                    is_outside[nearby[is_inside]] = False
    return Coverage(len(table), np.asarray(table["name"], str)[is_outside].tolist(), is_exact)
