"""One candidate for the common pixelization, in a process of its own.

Universes are cached by namespace and version, so that one process cannot deal
with two of them. Prints what it found as JSON.
"""

from __future__ import annotations

import gc
import json
import random
import sqlite3
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from lsst.daf.butler import Butler, DatasetRef
from lsst.sphgeom import LonLat

from .ingest_process import prepare
from .measure import cost_of

_DATABASE = "spherex.sqlite3"
_OVERLAPS = "exposure_detector_region_skypix_overlap"


def main() -> None:
    common, repo, points, *folders = sys.argv[1:]
    # Imports and the first use of the database are not to count.
    prepare("simulated", repo, []).insert_all()
    prepared = prepare("simulated", repo, folders)
    insertion = cost_of(prepared.insert_records)
    prepared.butler.ingest(*prepared.datasets, transfer="direct")
    del prepared
    gc.collect()
    gc.freeze()
    with sqlite3.connect(Path(repo, _DATABASE)) as database:
        database.execute("ANALYZE")
        (rows,) = database.execute(f"SELECT count(*) FROM {_OVERLAPS}").fetchone()
    database.close()
    with Butler.from_config(repo) as butler:
        found = {
            "rows": rows,
            "bytes": Path(repo, _DATABASE).stat().st_size,
            "insertion": insertion.cpu,
            **_queries(butler, common, int(points)),
        }
    print(json.dumps(found))


def _queries(butler: Butler, common: str, points: int) -> dict[str, float]:
    """Return times of queries (s, processor) and numbers of images found, medians over positions."""
    rng = random.Random(1)
    records = butler.query_dimension_records("exposure_detector_region", instrument="simulator", limit=None)
    chosen = rng.sample(records, min(points, len(records)))
    pixelization = butler.dimensions.skypix_dimensions[common].pixelization
    found: dict[str, list[float]] = {"point": [], "pixel": [], "point_images": [], "pixel_images": []}
    for record in chosen:
        centre = record.region.getCentroid()
        place = LonLat(centre)
        ra, dec = place.getLon().asDegrees(), place.getLat().asDegrees()
        at_point = f"exposure_detector_region.region OVERLAPS POINT({ra}, {dec})"
        in_pixel = f"{common} = {pixelization.index(centre)}"
        for name, where in (("point", at_point), ("pixel", in_pixel)):
            search = _search(butler, where)
            found[f"{name}_images"].append(len(search()))
            found[name].append(cost_of(search).cpu)
    return {name: statistics.median(values) for name, values in found.items()}


def _search(butler: Butler, where: str) -> Callable[[], list[DatasetRef]]:
    condition = f"instrument = 'simulator' AND {where}"
    return lambda: butler.query_datasets("rawexp", "rawexpr", where=condition, limit=None, explain=False)


if __name__ == "__main__":
    main()
