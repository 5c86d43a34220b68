"""Searches by position among many images."""

from __future__ import annotations

__all__ = ["run"]

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lsst.daf.butler import Butler
from lsst.sphgeom import LonLat, Region

from spherex.search import Criteria, find_images

from .field import FIELD, make_field
from .measure import Cost, cost_of, take_turns
from .report import Row, ratio_row
from .scale import Scale

_WAVELENGTHS = (4.66, 4.68)
_LIMITS = {"all": 2.0, "uris": 2.0, "some": 1.0}
"""Seconds that finding images may take: all of the field, those of a short range of wavelengths."""


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    repo = make_field(scratch / f"repo{scale.images}", scale.images, scale.matches)
    with Butler.from_config(str(repo)) as butler:
        exposure, place = _quiet_image(butler)
        works: dict[str, Callable[[], Cost]] = {
            "id": partial(_query, butler, f"exposure = {exposure}"),
            "point": partial(_query, butler, f"exposure_detector_region.region OVERLAPS POINT({place})"),
        }
        take_turns(works, 2)
        costs = take_turns(works, scale.short_rounds)
        rows = [
            ratio_row(
                f"images at a point among {scale.images:,}, against those of an exposure id",
                costs["point"],
                costs["id"],
                3.0,
            )
        ]
        finds: dict[str, Callable[[], Cost]] = {
            "all": partial(_find, butler, Criteria(*FIELD), scale.matches, uris=False),
            "uris": partial(_find, butler, Criteria(*FIELD), scale.matches, uris=True),
            "some": partial(_find, butler, Criteria(*FIELD, wavelengths=_WAVELENGTHS), None, uris=True),
        }
        take_turns(finds, 1)
        costs = take_turns(finds, scale.rounds)
    names = {
        "all": f"find-images, {scale.matches:,} images with wavelengths, against {_LIMITS['all']:g} s",
        "uris": f"find-images, the same with URIs, against {_LIMITS['uris']:g} s",
        "some": f"find-images, those of them at 4.67 um with URIs, against {_LIMITS['some']:g} s",
    }
    limits = {name: [Cost(limit, limit)] for name, limit in _LIMITS.items()}
    return rows + [ratio_row(names[name], costs[name], limits[name], 1.0) for name in names]


def _quiet_image(butler: Butler) -> tuple[int, str]:
    """Return the id of an exposure outside of the field, and a position in it as the query language has it."""
    condition = "instrument = 'SPHEREx' AND detector = 1 AND exposure.survey = 'all_sky'"
    (record,) = butler.query_dimension_records(
        "exposure_detector_region", where=condition, order_by=["-exposure"], limit=1
    )
    ra, dec = _centre_of(record.region)
    return record.exposure, f"{ra}, {dec}"


def _centre_of(region: Region) -> tuple[float, float]:
    """Return the position of the middle of a region (deg)."""
    centre = LonLat(region.getCentroid())
    return centre.getLon().asDegrees(), centre.getLat().asDegrees()


def _query(butler: Butler, condition: str) -> Cost:
    where = f"instrument = 'SPHEREx' AND {condition}"
    found = []

    def work() -> None:
        found.extend(butler.query_datasets("level2", "SPHEREx/level2", where=where, limit=None))

    cost = cost_of(work)
    if not found:
        raise RuntimeError(f"nothing is found where {where}")
    return cost


def _find(butler: Butler, criteria: Criteria, matches: int | None, uris: bool) -> Cost:
    tables = []
    cost = cost_of(lambda: tables.append(find_images(butler, criteria, uris=uris).table))
    if matches is not None and len(tables[0]) != matches:
        raise RuntimeError(f"{len(tables[0])} images are found instead of {matches}")
    if tables[0].has_masked_columns:
        raise RuntimeError("wavelengths are missing")
    return cost
