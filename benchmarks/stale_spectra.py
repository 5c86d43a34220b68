"""``butler stale-spectra`` for patches of targets that all images contain, at two sizes."""

from __future__ import annotations

__all__ = ["run"]

from pathlib import Path

import numpy as np
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, Timespan
from lsst.daf.butler.formatters.parquet import astropy_to_arrow
from lsst.pipe.base import InMemoryDatasetHandle

from spherex.detectors import CALIBRATION_COLLECTION, CATALOG_TYPE, DETECTORS, SPECTRA_TYPE
from spherex.instrument import SPHEREx
from spherex.spectra import make_plain_table
from spherex.targets import register_catalog
from spherex.tasks import GatherSpectraTask

from .field import make_field
from .measure import Cost, run_program
from .patches import measured_values, scattered_targets
from .report import Row, ratio_row
from .scale import Scale

_CATALOG = "many"
_RUN = "measured"
_WCS_TYPE = "spectral_wcs"
_LIMIT, _ROWS = 10.0, 1_000_000
"""Seconds for a number of measurements."""


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    costs, sizes, rows = [], [], []
    for number in scale.stale_targets:
        repo = make_field(scratch / f"field{number}", 3 * scale.target_images, scale.target_images)
        with Butler.from_config(str(repo), writeable=True) as butler:
            sizes.append(_put_spectra(butler, number))
        cost, output = run_program("butler", "stale-spectra", repo, _RUN)
        if f"0 of {number} spectra are out of date" not in output:
            raise RuntimeError(f"butler stale-spectra finds other spectra than there are:\n{output}")
        costs.append(cost)
        name = f"stale-spectra of {number:,} targets in {scale.target_images:,} images, {sizes[-1]:,} measurements"
        rows.append(ratio_row(f"{name}, against {_LIMIT:g} s", [cost], [Cost(_LIMIT, _LIMIT)], 1.0))
    # The start of the command is a part of it.
    each = (costs[-1] - costs[0]) / (sizes[-1] - sizes[0])
    whole = Cost(*(getattr(costs[-1], name) + getattr(each, name) * (_ROWS - sizes[-1]) for name in ("cpu", "wall")))
    rows.append(ratio_row(f"{_ROWS:,} measurements, extrapolated", [whole], [Cost(_LIMIT, _LIMIT)], 1.0))
    return rows


def _put_spectra(butler: Butler, number: int) -> int:
    """Put the spectra of targets, which are up to date, and return the number of measurements."""
    targets = scattered_targets(number)
    register_catalog(butler, _CATALOG, targets, "", update=True)
    catalog = butler.find_dataset(CATALOG_TYPE, catalog=_CATALOG, collections=f"catalogs/{_CATALOG}")
    assert catalog is not None
    calibrations = _certify(butler)
    with butler.query() as query:
        joined = query.join_dimensions(["catalog", "patch"]).where(catalog=_CATALOG)
        images = sorted(set(joined.datasets("level2", "SPHEREx/level2", find_first=True)))
    spectra = DatasetType(SPECTRA_TYPE, ("catalog", "patch"), "SpectraTable", universe=butler.dimensions)
    butler.registry.registerDatasetType(spectra)
    butler.collections.register(_RUN)
    records = butler.query_dimension_records("target", catalog=_CATALOG, limit=None)
    patch_of = {record.name: record.patch for record in records}
    patches = np.array([patch_of[name] for name in targets["name"]])
    rng = np.random.default_rng(5)
    task = GatherSpectraTask()
    total = 0
    for patch in np.unique(patches).tolist():
        members = targets[patches == patch]
        handles = []
        for ref in images:
            detector = DETECTORS[int(ref.dataId["detector"]) - 1]
            values = measured_values(rng, members, detector, int(ref.dataId["exposure"]))
            values |= {
                "image_id": str(ref.id),
                "image_run": ref.run,
                "catalog_id": str(catalog.id),
                "spectral_wcs_id": str(calibrations[detector.id].id),
            }
            table = astropy_to_arrow(make_plain_table(values, len(members)))
            handles.append(InMemoryDatasetHandle(table, storageClass="ArrowParquet", dataId=ref.dataId))
        joined = task.run(handles, members, _CATALOG, patch).spectra
        butler.put(joined, spectra, catalog=_CATALOG, patch=patch, run=_RUN)
        total += len(joined)
    return total


def _certify(butler: Butler) -> dict[int, DatasetRef]:
    """Put a calibration for each detector, valid always, and return them."""
    kind = DatasetType(
        _WCS_TYPE, ("instrument", "detector"), "StructuredDataDict", universe=butler.dimensions, isCalibration=True
    )
    butler.registry.registerDatasetType(kind)
    butler.collections.register("wcs")
    instrument = SPHEREx.getName()
    refs = {
        detector.id: butler.put({}, kind, instrument=instrument, detector=detector.id, run="wcs")
        for detector in DETECTORS
    }
    butler.collections.register(CALIBRATION_COLLECTION, CollectionType.CALIBRATION)
    butler.registry.certify(CALIBRATION_COLLECTION, list(refs.values()), Timespan(None, None))
    return refs
