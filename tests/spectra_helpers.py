"""Measurements of targets, as the tasks before those of spectra write them."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lsst.sphgeom
import numpy as np
from astropy.table import QTable, Table
from astropy.time import Time, TimeDelta
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, Timespan

from spherex.detectors import DETECTORS
from spherex.instrument import SPHEREx
from spherex.spectra import make_table
from spherex.targets import Registration, register_catalog

CATALOG = "nearby"
FIRST_MJD = 61000.0
"""Middle of exposure 0 (UTC)."""
PLACES = {"west": (10.0, 20.0), "east": (12.0, 20.0)}
"""Targets that no image has both of, with right ascension and declination (deg)."""
IMAGE_DIMENSIONS = ("instrument", "exposure", "detector")


def measurements(number: int = 400, seed: int = 20261123, **given: Any) -> QTable:
    """Return measurements of one target with a smooth spectrum."""
    rng = np.random.default_rng(seed)
    detector = rng.integers(1, 7, number)
    low, high, power = (np.array([getattr(one, name) for one in DETECTORS]) for name in ("lmin", "lmax", "r"))
    wavelength = rng.uniform(low[detector - 1], high[detector - 1])
    truth = 300 * np.exp(-((wavelength - 1.2) ** 2) / 1.5) + 40
    values = {
        "target": "west",
        "wavelength": wavelength,
        "bandwidth": wavelength / power[detector - 1],
        "flux": truth + rng.normal(0, 12, number),
        "flux_error": 12.0,
        "good": np.broadcast_to(np.asarray(given.get("reason", "")) == "", (number,)),
        "quality": 0,
        "quality_names": "",
        "masked_fraction": 0.05,
        "flags": 2**21,
        "flag_names": "SOURCE",
        "time": FIRST_MJD + 0.01 * np.arange(number),
        "x": 1000.0,
        "y": 1000.0,
        "detector": detector,
        "exposure": np.arange(number),
        "gain_correction": 1.0,
        "version": "7.0.5",
        "image_id": [str(uuid.UUID(int=place)) for place in range(number)],
        "image_run": "SPHEREx/level2/l2b-v27-2026-222",
    }
    return make_table(values | given, number)


@dataclasses.dataclass
class TargetRepo:
    """A repository with two targets, images that contain one of them, and calibrations."""

    root: Path
    butler: Butler

    @classmethod
    def make(cls, root: Path) -> TargetRepo:
        """Fill an empty repository."""
        repo = cls(root, Butler.from_config(str(root), writeable=True))
        registry = repo.butler.registry
        SPHEREx().register(registry)
        repo.register_targets(PLACES)
        repo.register("level2", IMAGE_DIMENSIONS, "StructuredDataDict")
        repo.register("target_measurements", (*IMAGE_DIMENSIONS, "catalog"), "AstropyParquet")
        repo.register("spectral_wcs", ("instrument", "detector"), "StructuredDataDict", isCalibration=True)
        repo.butler.collections.register("SPHEREx/level2", CollectionType.CHAINED)
        repo.butler.collections.register("SPHEREx/calib", CollectionType.CALIBRATION)
        return repo

    def register_targets(self, places: Mapping[str, tuple[float, float]], **columns: Any) -> Registration:
        """Register the catalogue, or a new version of it."""
        ra, dec = np.array(list(places.values())).T
        table = Table({"name": list(places), "ra": ra, "dec": dec} | columns)
        return register_catalog(self.butler, CATALOG, table, "", update=True)

    def register(self, name: str, dimensions: tuple[str, ...], storage_class: str, **kind: bool) -> None:
        """Register a dataset type."""
        dataset_type = DatasetType(name, dimensions, storage_class, universe=self.butler.dimensions, **kind)
        self.butler.registry.registerDatasetType(dataset_type)

    def add_image(
        self, exposure: int, detector: int = 1, target: str = "west", run: str = "v1", **content: Any
    ) -> DatasetRef:
        """Put an image around a target; a new run becomes the first one of the chain."""
        registry = self.butler.registry
        middle = FIRST_MJD + 0.01 * exposure
        half = TimeDelta(57, format="sec")
        time = Time(middle, format="mjd", scale="utc").tai
        record = {"instrument": "SPHEREx", "id": exposure, "name": f"obs_{exposure}", "group_name": "x"}
        registry.syncDimensionData("exposure", record | {"timespan": Timespan(time - half, time + half)})
        data_id = {"instrument": "SPHEREx", "exposure": exposure, "detector": detector}
        registry.syncDimensionData("exposure_detector_region", data_id | {"region": _square(*PLACES[target], 0.5)})
        collection = f"SPHEREx/level2/{run}"
        self.butler.collections.register(collection)
        children = self.butler.collections.get_info("SPHEREx/level2").children
        if collection not in children:
            self.butler.collections.prepend_chain("SPHEREx/level2", collection)
        content = {"flux": 10.0 + exposure, "targets": [target]} | content
        return self.butler.put(content, "level2", data_id, run=collection)

    def certify(self, run: str, begin: float | None = None, end: float | None = None, detector: int = 1) -> DatasetRef:
        """Put a calibration and certify it, from the middle of one exposure to that of another."""
        collection = f"SPHEREx/calib/{run}"
        self.butler.collections.register(collection)
        ref = self.butler.put({}, "spectral_wcs", instrument="SPHEREx", detector=detector, run=collection)
        limits = [
            None if one is None else Time(FIRST_MJD + 0.01 * one, format="mjd", scale="utc").tai for one in (begin, end)
        ]
        self.butler.registry.certify("SPHEREx/calib", [ref], Timespan(*limits))
        return ref


def _square(ra: float, dec: float, half: float) -> lsst.sphgeom.ConvexPolygon:
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    return lsst.sphgeom.ConvexPolygon(
        [lsst.sphgeom.UnitVector3d(lsst.sphgeom.LonLat.fromDegrees(ra + x, dec + y)) for x, y in corners]
    )
