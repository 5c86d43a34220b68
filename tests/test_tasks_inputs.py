"""What tasks are given: no task changes it, and no cache mixes two repositories."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable, Table
from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType
from lsst.daf.butler.formatters.parquet import astropy_to_arrow
from lsst.pipe.base import InMemoryDatasetHandle, PipelineTask
from lsst.pipe.base.testUtils import makeQuantum, runTestQuantum

import spherex.tasks
from spherex.detectors import FRAME_SHAPE
from spherex.image import Plane, SPHERExImage
from spherex.instrument import SPHEREx
from spherex.spectra import (
    IMAGES,
    SCALE_COLUMNS,
    TARGETS,
    combine_channels,
    design_channels,
    gather_patch,
    make_table,
    spectrum_in,
)
from spherex.tasks.caching import dataset_key
from spherex.tasks.gather_spectra import TableRows
from spherex.tasks.measure_targets import DeferredImage
from spherex_simulator.level2 import simulate_level2

from .measuring_helpers import settings_of
from .spectra_helpers import CATALOG, measurements

IMAGE = ("instrument", "exposure", "detector")
PIXELS = (12, 10)
MEMORY = {"cls": "lsst.daf.butler.datastores.inMemoryDatastore.InMemoryDatastore"}


class Store:
    """A repository whose datasets are got as they were put, because they stay in memory."""

    def __init__(self, butler: Butler) -> None:
        self.butler = butler
        SPHEREx().register(butler.registry)
        self._exposures: set[int] = set()

    def put(
        self,
        value: Any,
        name: str,
        storage_class: str,
        exposure: int | None = None,
        id_: uuid.UUID | None = None,
        **data_id: Any,
    ) -> DatasetRef:
        """Put a dataset of detector 3."""
        place = {"instrument": "SPHEREx", "detector": 3, **data_id}
        if exposure is not None:
            place["exposure"] = exposure
            if exposure not in self._exposures:
                record = {"instrument": "SPHEREx", "id": exposure, "name": str(exposure), "group_name": "x"}
                self.butler.registry.insertDimensionData("exposure", record)
                self._exposures.add(exposure)
            self.butler.registry.syncDimensionData(
                "exposure_detector_region", {"instrument": "SPHEREx", "exposure": exposure, "detector": 3}
            )
        if "catalog" in place:
            self.butler.registry.syncDimensionData("catalog", {"name": place["catalog"]})
        kind = DatasetType(name, tuple(place), storage_class, universe=self.butler.dimensions)
        self.butler.registry.registerDatasetType(kind)
        if id_ is None:
            return self.butler.put(value, kind, place)
        return self.butler.put(value, DatasetRef(kind, self.butler.registry.expandDataId(place), "run", id=id_))

    def handle(self, *arguments: Any, **data_id: Any) -> Any:
        """Put a dataset and return its handle."""
        return self.butler.getDeferred(self.put(*arguments, **data_id))


@pytest.fixture
def store(make_repo: Callable[..., Path], tmp_path: Path) -> Iterator[Store]:
    root = make_repo(tmp_path / "memory", datastore=MEMORY)
    with Butler.from_config(str(root), writeable=True, run="run") as butler:
        yield Store(butler)


def image_of(value: float, **parts: Any) -> SPHERExImage:
    """Return an image with everything that an image may have."""
    header = fits.Header({"DETECTOR": 3, "XPOSURE": 100.0, "MJD-BEG": 61000.0, "MJD-END": 61000.1})
    header.add_history("[CALIB] nonfunc 019b2942-3cad-7a1a-911e-7beac6326a2c")
    pixels = np.full(PIXELS, value, np.float32)
    pixels[2, 3] = np.nan
    given: dict[str, Any] = {
        "variance": np.full(PIXELS, 2.0, np.float32),
        "flags": np.arange(120, dtype=np.int32).reshape(PIXELS) % 4,
        "mask": np.zeros(PIXELS, bool),
        "planes": {"EXTRA": Plane(fits.ImageHDU(np.ones(PIXELS, np.float32), name="EXTRA"))},
    }
    return SPHERExImage(pixels, unit="electron", header=header, **(given | parts))


def patch_of() -> pa.Table:
    meta = {"catalog": CATALOG, "patch": 1, "instruments": ["SPHEREx"], IMAGES: [], TARGETS: {"west": {"ra": 10.0}}}
    return gather_patch([astropy_to_arrow(Table(measurements(50)))], meta)


def spectrum_of() -> QTable:
    return spectrum_in(patch_of(), "west")


def error_scale(detector: int) -> QTable:
    limits = {"snr_low": -np.inf, "snr_high": np.inf, "pairs": 200, "aperture_pairs": 200}
    return make_table({**limits, "detector": detector, "scale": 1.2, "aperture_scale": 1.3}, 1, columns=SCALE_COLUMNS)


def measured(store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an image with all of its calibrations, and a catalogue."""
    frame = simulate_level2(settings_of("qr2", side=64), 0, 3).image
    frame.header["NAXIS1"], frame.header["NAXIS2"] = frame.shape[::-1]
    ra, dec = frame.wcs.all_pix2world([20.3, 45.2], [30.4, 40.1], 0)
    targets = Table({"name": ["a", "b"], "ra": ra, "dec": dec, "pmra": [np.nan, 1.0], "pmdec": [np.nan, 2.0]})
    targets["ref_epoch"] = [np.nan, 2016.0]
    ones = np.ones(FRAME_SHAPE, np.float32)
    planes = [fits.ImageHDU(value * ones, name=name) for name, value in (("CWAVE", 1.7), ("CBAND", 0.04))]
    for plane in planes:
        plane.header["BUNIT"] = "um"
    psf = next(plane for name, plane in frame.planes.items() if name in ("PSF", "EPSF")).readonly_hdu
    primary = fits.PrimaryHDU(header=fits.Header({"VERSION": frame.version}))
    arguments = {
        "image": store.handle(frame, "level2", "SPHERExImage", exposure=1),
        "targets": targets,
        "image_ids": {"exposure": 1, "detector": 3, "image_id": str(uuid.uuid4()), "image_run": "r", "catalog_id": ""},
        "spectralWcs": store.handle(fits.HDUList([fits.PrimaryHDU(), *planes]), "spectral_wcs", "AstropyHDUList"),
        "solidAngles": store.handle(CCDData(37.0 * ones, unit="arcsec2"), "solid_angle_pixel_map", "CCDData"),
        "psf": store.handle(fits.HDUList([primary, psf.copy()]), "average_psf", "AstropyHDUList"),
        "fluxCorrections": store.handle(CCDData(ones, unit=units.one), "l3_flux_corrections", "CCDData"),
        "errorScale": store.handle(error_scale(3), "error_scale", "AstropyQTable"),
    }
    return {"psfSource": "calibration", "correctGains": True, "scaleErrors": True, "barycentric": True}, arguments


def subtracted(store: Store, **config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return config, {"inputImage": image_of(5.0), "subtractImage": image_of(2.0)}


def gathered(store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    handles = [
        store.handle(
            Table(measurements(1, number, exposure=number)), "target_measurements", "AstropyParquet",
            exposure=number, catalog=CATALOG,
        )
        for number in range(3)
    ]  # fmt: skip
    return {}, {"measurements": handles, "targets": Table({"name": ["west"], "ra": [10.0], "dec": [20.0]})}


def injected(store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    config, arguments = measured(store)
    del arguments["spectralWcs"], arguments["errorScale"], config["barycentric"], config["scaleErrors"]
    return config, arguments | {"image": arguments["image"].get()}


def compared(store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    tables = {
        "truth": {"target": ["a", "b"], "exposure": [1, 1], "detector": [3, 3], "flux": [200.0, 300.0]},
        "injected": {"target": ["a", "b"], "exposure": [1, 1], "detector": [3, 3], "flux": [210.0, 290.0]},
        "original": {"target": ["b", "a"], "exposure": [1, 1], "detector": [3, 3], "flux": [3.0, -2.0]},
    }
    for name in ("injected", "original"):
        tables[name] |= {"flux_error": [9.0, 9.0], "good": [True, True]}
    return {}, {
        name: [store.handle(Table(table), name, "AstropyParquet", exposure=1, catalog=CATALOG)]
        for name, table in tables.items()
    }


def scaled(store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    handles = [
        store.handle(
            Table(measurements(6, number, exposure=number, time=61000.0 + number, wavelength=1.7, detector=3)),
            "target_measurements", "AstropyParquet", exposure=number, catalog=CATALOG,
        )
        for number in range(3)
    ]  # fmt: skip
    return {"fewestPairs": 2, "snrEdges": []}, {"measurements": handles}


CASES: dict[str, Callable[[Store], tuple[dict[str, Any], dict[str, Any]]]] = {
    "CalibratedSubtractTask": lambda store: subtracted(store, scaleByExposureTime=True),
    "CombineChannelsTask": lambda store: ({}, {"spectra": patch_of(), "channels": design_channels()}),
    "CombineDarkTask": lambda store: (
        {"clipSpread": "mad_std"},
        {"inputDarks": [store.handle(image_of(v), "dark", "SPHERExImage", exposure=v) for v in range(5)]},
    ),
    "CompareInjectedTask": compared,
    "DrawSpectrumTask": lambda store: (
        {},
        {
            "spectrum": spectrum_of(),
            "channelSpectrum": combine_channels(spectrum_of()),
            "channels": design_channels(),
        },
    ),
    "GatherSpectraTask": gathered,
    "InjectSourcesTask": injected,
    "MeasureErrorScaleTask": scaled,
    "MeasureTargetsTask": measured,
    "QuickLookTask": lambda store: ({}, {"image": image_of(1.0), "title": "x"}),
    "SubtractTask": subtracted,
}
"""Configuration and inputs of each task, which exercise all that it reads."""


def content(value: Any) -> Any:
    """Return all that an input consists of, for comparison."""
    if isinstance(value, dict):
        return {name: content(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [content(part) for part in value]
    if hasattr(value, "ref"):
        return content(value.get())
    if isinstance(value, SPHERExImage):
        parts = [value.data, value.variance, value.flags, value.mask]
        planes = {name: content(fits.HDUList([plane.readonly_hdu])) for name, plane in value.planes.items()}
        return [
            *map(content, parts),
            value.header.tostring(),
            planes,
            value.extra_headers,
            value.flag_table,
            value.unit,
        ]
    if isinstance(value, CCDData):
        return content(value.data), value.unit, dict(value.header)
    if isinstance(value, fits.hdu.image._ImageBaseHDU | fits.BinTableHDU):
        return value.header.tostring(), content(value.data)
    if isinstance(value, Table):
        # The representation of a number is exact.
        rows = repr(Table(value).as_array().tolist())
        return {name: (value[name].dtype.str, str(value[name].unit)) for name in value.colnames}, rows, repr(value.meta)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value)


def test_each_task_is_listed() -> None:
    public = {name: getattr(spherex.tasks, name) for name in spherex.tasks.__all__}
    tasks = {name for name, value in public.items() if isinstance(value, type) and issubclass(value, PipelineTask)}
    assert tasks == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_task_leaves_its_inputs_as_they_are(store: Store, name: str) -> None:
    config, arguments = CASES[name](store)
    kind = getattr(spherex.tasks, name)
    before = content(arguments)
    result = kind(config=kind.ConfigClass(**config)).run(**arguments)
    assert content(arguments) == before
    # Nor do they change with the result.
    for output in result.getDict().values():
        if isinstance(output, SPHERExImage):
            output.data[...] = output.variance[...] = -1
            output.flags[...] = -1
            output.header["DETECTOR"] = 99
        elif isinstance(output, Table):
            for column in output.colnames:
                output[column] = np.zeros(len(output))
            output.meta.clear()
    assert content(arguments) == before


def test_inputs_of_a_quantum_in_memory(make_repo: Callable[..., Path], tmp_path: Path) -> None:
    seed = Config("resource://spherex/configs/butler.yaml")
    files = {
        "cls": "lsst.daf.butler.datastores.fileDatastore.FileDatastore",
        "root": "<butlerRoot>/files",
        "records": {"table": "file_records"},
        "formatters": seed["datastore", "formatters"],
        "templates": seed["datastore", "templates"],
    }
    chain = {"cls": "lsst.daf.butler.datastores.chainedDatastore.ChainedDatastore", "datastores": [MEMORY, files]}
    root = make_repo(tmp_path / "chained", datastore=chain)
    with Butler.from_config(str(root), writeable=True, run="run") as butler:
        store = Store(butler)
        raw = store.put(image_of(5.0), "rawexp", "SPHERExImage", exposure=1)
        dark = store.put(image_of(2.0), "dark", "SPHERExImage", exposure=1)
        output = DatasetType("postDark", IMAGE, "SPHERExImage", universe=butler.dimensions)
        butler.registry.registerDatasetType(output)
        task = spherex.tasks.SubtractTask()
        inputs = {"inputImage": raw.dataId, "subtractImage": dark.dataId, "outputImage": raw.dataId}
        quantum = makeQuantum(task, butler, raw.dataId, inputs)
        runTestQuantum(task, butler, quantum, mockRun=False)
        assert butler.get("postDark", raw.dataId).data[0, 0] == 3.0
        again = butler.get(raw)
        assert again.data[0, 0] == 5.0
        assert "SubtractTask" not in str(again.header["HISTORY"])
    with Butler.from_config(str(root)) as butler:
        assert content(butler.get(raw).data) == content(again.data)


@pytest.fixture
def stores(make_repo: Callable[..., Path], tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Return two repositories of files."""
    roots = [make_repo(tmp_path / name) for name in ("one", "other")]
    with (
        Butler.from_config(str(roots[0]), writeable=True, run="run") as one,
        Butler.from_config(str(roots[1]), writeable=True, run="run") as other,
    ):
        yield Store(one), Store(other)


ID = uuid.UUID("15a36c9f-e41f-451f-96a6-fede67db772b")


def test_fluxes_of_two_repositories_in_one_process(stores: tuple[Store, Store]) -> None:
    """Datasets of one id have other contents in another repository."""
    frame = simulate_level2(settings_of("qr2", side=64), 0, 3).image
    ra, dec = frame.wcs.all_pix2world([20.3], [30.4], 0)
    targets = Table({"name": ["a"], "ra": ra, "dec": dec})
    image_ids = {"exposure": 1, "detector": 3, "image_id": "", "image_run": "", "catalog_id": ""}
    fluxes = []
    for store, solid_angle in zip(stores, (37.0, 25.9), strict=True):
        image = store.handle(frame, "level2", "SPHERExImage", exposure=1, id_=uuid.UUID(int=1))
        map_ = CCDData(np.full(FRAME_SHAPE, solid_angle, np.float32), unit="arcsec2")
        handle = store.handle(map_, "solid_angle_pixel_map", "CCDData", id_=ID)
        assert handle.ref.id == ID
        table = spherex.tasks.MeasureTargetsTask().run(image, targets, image_ids=image_ids, solidAngles=handle)
        fluxes.append(table.measurements["flux"][0])
    assert fluxes[1] / fluxes[0] == pytest.approx(0.7, rel=1e-6)


def test_psf_of_two_repositories_in_one_process(stores: tuple[Store, Store]) -> None:
    frame = simulate_level2(settings_of("qr2", side=64), 0, 3).image
    assert any(reference.type == "average_psf" for reference in frame.calibrations)
    found = []
    for number, store in enumerate(stores):
        psf = frame.planes["PSF"].copy()
        psf.data[...] = np.roll(psf.data, number, axis=1)
        frame.planes["PSF"] = psf
        handles = [store.handle(frame, "level2", "SPHERExImage", exposure=exposure) for exposure in (1, 2)]
        one, other = (DeferredImage(handle).profiles()[0] for handle in handles)
        assert one is other, "the images of a repository share it"
        found.append(one)
    assert found[0] is not found[1]


def test_tables_of_two_repositories_in_one_process(stores: tuple[Store, Store]) -> None:
    fluxes = []
    for number, store in enumerate(stores):
        rows = Table(measurements(1, number, flux=10.0 + number))
        place = {"exposure": 1, "catalog": CATALOG}
        handle = store.handle(rows, "target_measurements", "AstropyParquet", id_=ID, **place)
        targets = Table({"name": ["west"], "ra": [10.0], "dec": [20.0]})
        fluxes += spherex.tasks.GatherSpectraTask().run([handle], targets).spectra["flux"].to_pylist()
    assert fluxes == [10.0, 11.0]


def test_keys_of_caches(stores: tuple[Store, Store], store: Store, make_repo: Callable[..., Path]) -> None:
    tables = [Table({"name": [name]}) for name in "abc"]
    handles = [
        one.handle(table, "target_catalog", "AstropyParquet", id_=ID, catalog=CATALOG)
        for one, table in zip((*stores, store), tables, strict=True)
    ]
    keys = [dataset_key(handle) for handle in handles]
    assert len(set(keys)) == 3
    # Another butler of the repository, as each quantum has one.
    with Butler.from_config(handles[0].butler.get_datastore_roots().popitem()[1].geturl()) as butler:
        assert dataset_key(butler.getDeferred(handles[0].ref)) == keys[0]
    assert dataset_key(handles[2]) == keys[2], "in memory"


def test_nothing_is_kept_of_datasets_without_a_butler(store: Store) -> None:
    frame = simulate_level2(settings_of("qr2", side=64), 0, 3).image
    storage_class = store.put(frame, "level2", "SPHERExImage", exposure=1).datasetType.storageClass
    # No other handle finds them, and they would push everything else out of the cache.
    before = list(DeferredImage._shared_profiles.cache)
    _, origin = DeferredImage(InMemoryDatasetHandle(frame, storageClass=storage_class)).profiles()
    assert origin.startswith("image, average_psf")
    assert list(DeferredImage._shared_profiles.cache) == before
    tables = [pa.table({"target": ["west"], "flux": [flux]}) for flux in (1.0, 2.0)]
    rows = TableRows().of(["west"], [InMemoryDatasetHandle(table, storageClass="ArrowParquet") for table in tables])
    assert [table["flux"].to_pylist() for table in rows] == [[1.0], [2.0]]
