"""The shipped configuration, as the stock Butler takes it; promise 1 of doc/safe_formats.md."""

from __future__ import annotations

import os
import pickle
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData, FlagCollection, InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from lsst.daf.butler import (
    Butler,
    ButlerConfig,
    DatasetRef,
    DatasetType,
    DimensionConfig,
    DimensionUniverse,
    FileDataset,
    FileDescriptor,
    Location,
    StorageClass,
)
from lsst.daf.butler.datastore.file_templates import FileTemplate
from lsst.resources import ResourcePath
from lsst.utils.packages import Packages

from spherex.formatters import RefusedFormatter

from .programs import run_well

DATA_ID = {"instrument": "simulator", "exposure": 1, "detector": 3}
DIMENSIONS = "resource://spherex/configs/dimensions.yaml"


def elements() -> list[tuple[str, dict]]:
    content = yaml.safe_load(ResourcePath(DIMENSIONS).read())
    return list(content["elements"].items())


def test_a_repository_has_the_shipped_universe(repo_root, tmp_path, monkeypatch):
    # A file of this name in the current directory would be the default.
    (tmp_path / "dimensions.yaml").write_text("version: 1\nnamespace: other\nskypix: {common: htm7}\nelements: {}\n")
    monkeypatch.chdir(tmp_path)
    with Butler.from_config(str(repo_root)) as butler:
        assert butler.dimensions.namespace == "spherex"
        assert butler.dimensions.version == DimensionConfig(DIMENSIONS)["version"] >= 1
        assert butler.dimensions.commonSkyPix.name == DimensionConfig(DIMENSIONS)["skypix"]["common"]
        names = {element.name for element in butler.dimensions.elements if not element.name.startswith(("htm", "heal"))}
        assert names == {name for name, _ in elements()}
    with sqlite3.connect(repo_root / "spherex.sqlite3") as database:
        tables = {row[0] for row in database.execute("select name from sqlite_master")}
    database.close()
    assert {"exposure", "detector", "exposure_detector_region", "target", "catalog"} <= tables


@pytest.mark.parametrize(("name", "element"), elements())
def test_every_element_and_field_is_documented(name, element):
    assert len(element["doc"].split()) > 4
    for field in element.get("keys", []) + element.get("metadata", []):
        assert field["doc"].rstrip().endswith("."), f"{name}.{field['name']}"
        if field["type"] == "float":
            assert "(" in field["doc"], f"{name}.{field['name']} has no unit"
    assert "storage" not in element


def test_an_exposure_of_the_real_mission_fits(butler):
    butler.registry.insertDimensionData(
        "exposure",
        {
            "instrument": "simulator",
            "id": 20255110106842,
            "name": "2025W51_1A_0684_2",
            "group_name": "2025W51_1A",
            "survey": "all_sky",
            "target_name": "SPS_017838_S34",
        },
    )
    (record,) = butler.query_dimension_records("exposure", instrument="simulator", exposure=20255110106842)
    assert record.name == "2025W51_1A_0684_2"


def universe() -> DimensionUniverse:
    return DimensionUniverse(DimensionConfig(DIMENSIONS))


@pytest.mark.parametrize(
    "dimensions",
    [
        (),
        ("instrument",),
        ("instrument", "detector"),
        ("instrument", "exposure"),
        ("instrument", "exposure", "detector"),
        ("instrument", "exposure", "detector", "catalog"),
        ("catalog",),
        ("catalog", "target"),
        ("instrument", "catalog", "target"),
        ("healpix9",),
        ("instrument", "detector", "htm7"),
    ],
)
@pytest.mark.parametrize("name", ["thing", "task_config", "task_log", "task_metadata", "packages"])
def test_the_file_template_covers_all_that_is_stored(dimensions, name):
    template = FileTemplate(ButlerConfig("resource://spherex/configs/butler.yaml")[".datastore.templates.default"])
    dataset_type = DatasetType(name, dimensions, "StructuredDataDict", universe=universe())
    template.validateTemplate(dataset_type)
    required = dataset_type.dimensions.required
    for dimension in required:
        assert f"{{{dimension}" in template.template or dimension.startswith(("htm", "healpix"))


def test_a_raw_lies_where_people_look_for_it(butler, register, image):
    register("rawexp", "SPHERExImage")
    butler.collections.register("rawexpr")
    ref = butler.put(image, "rawexp", DATA_ID, run="rawexpr")
    assert "/rawexpr/rawexp/3/20261123/" in butler.getURI(ref).path


@pytest.mark.parametrize("uncertainty", [None, StdDevUncertainty, VarianceUncertainty, InverseVariance])
def test_ccddata_comes_back_without_loss(butler, register, rng, uncertainty):
    register("ccd", "CCDData")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 12.25, -5.5
    put = CCDData(
        rng.normal(size=(7, 9)).astype(np.float32),
        unit="electron/s",
        mask=rng.uniform(size=(7, 9)) > 0.5,
        flags=rng.integers(0, 99, (7, 9)).astype(np.int32),
        uncertainty=None if uncertainty is None else uncertainty(np.full((7, 9), 2.0)),
        psf=np.eye(3),
        wcs=wcs,
        meta={"OBSERVER": "me", "XPOSURE": 2.5},
    )
    got = butler.get(butler.put(put, "ccd", DATA_ID))
    np.testing.assert_array_equal(got.data, put.data)
    assert got.data.dtype == np.float32
    np.testing.assert_array_equal(got.mask, put.mask)
    np.testing.assert_array_equal(got.flags, put.flags)
    np.testing.assert_array_equal(got.psf, put.psf)
    np.testing.assert_array_equal(got.wcs.wcs.crval, put.wcs.wcs.crval)
    assert got.unit == put.unit
    assert got.header["XPOSURE"] == 2.5
    assert type(got.uncertainty) is type(put.uncertainty)
    if uncertainty is not None:
        np.testing.assert_array_equal(got.uncertainty.array, 2)


def test_ccddata_without_a_unit_and_with_named_flags(butler, register):
    register("ccd", "CCDData")
    flags = FlagCollection(shape=(2, 3))
    flags["COSMIC"] = np.array([[1, 0, 1], [0, 0, 0]])
    got = butler.get(butler.put(CCDData(np.ones((2, 3), np.uint16), unit="", flags=flags), "ccd", DATA_ID))
    assert got.unit == ""
    assert got.data.dtype == np.uint16
    np.testing.assert_array_equal(got.flags["COSMIC"], flags["COSMIC"])


def test_a_spherex_image_is_not_put_where_it_would_lose(butler, register, image):
    register("ccd", "CCDData")
    with pytest.raises(RuntimeError) as caught:
        butler.put(image, "ccd", DATA_ID)
    assert "storage class SPHERExImage" in str(caught.value.__cause__)


def test_hdus_come_back_without_loss(butler, register, rng):
    register("hdus", "AstropyHDUList")
    put = fits.HDUList(
        [
            fits.PrimaryHDU(header=fits.Header({"A": 1})),
            fits.ImageHDU(rng.integers(0, 60000, (3, 4)).astype(np.uint16), name="UNSIGNED"),
            fits.CompImageHDU(rng.normal(size=(40, 50)), name="PACKED", compression_type="GZIP_2", quantize_level=0.0),
            fits.BinTableHDU.from_columns([fits.Column("n", "PJ()", array=np.array([[1], [2, 3]], object))], name="T"),
        ]
    )
    got = butler.get(butler.put(put, "hdus", DATA_ID))
    # astropy fills in the length of the longest row and another comment.
    difference = fits.FITSDiff(put, got, ignore_comments=["EXTNAME"], ignore_keywords=["TFORM1"])
    assert [index for index, *_ in difference.diff_hdus] == [3]
    for name in ("UNSIGNED", "PACKED"):
        np.testing.assert_array_equal(got[name].data, put[name].data)
        assert got[name].data.dtype == put[name].data.dtype
    assert [list(row) for row in got["T"].data["n"]] == [[1], [2, 3]]
    assert [type(hdu) for hdu in got] == [type(hdu) for hdu in put]
    got["UNSIGNED"].data[0, 0] = 7


def test_a_file_that_is_not_fits_is_told(butler, register):
    register("hdus", "AstropyHDUList")
    ref = butler.put(fits.HDUList([fits.PrimaryHDU()]), "hdus", DATA_ID)
    path = butler.getURI(ref)
    path.write(b"x" * path.size())
    with pytest.raises(Exception, match="SIMPLE|HDUListFormatter"):
        butler.get(ref)


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3), np.array(5), np.array([True, False]), np.array([(1, "a")], dtype="i4,U3")],
)
def test_arrays_are_kept_without_pickle(butler, register, array):
    register("array", "NumpyArray")
    ref = butler.put(array, "array", DATA_ID)
    got = butler.get(ref)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    assert butler.getURI(ref).getExtension() == ".npy"


@pytest.mark.parametrize("array", [np.ma.masked_array([1, 2], [True, False]), np.array([1.0]) * units.Jy])
def test_arrays_that_are_more_than_arrays_are_refused(butler, register, array):
    register("array", "NumpyArray")
    with pytest.raises(RuntimeError) as caught:
        butler.put(array, "array", DATA_ID)
    assert "would lose" in str(caught.value.__cause__)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


def test_arrays_of_objects_are_refused(butler, register):
    register("array", "NumpyArray")
    with pytest.raises(RuntimeError) as caught:
        butler.put(np.array([{}, []], dtype=object), "array", DATA_ID)
    assert "Python objects" in str(caught.value.__cause__)


def test_a_pickle_is_not_read(butler, register, tmp_path):
    dataset_type = register("array", "NumpyArray")
    sprung = tmp_path / "sprung"
    trap = tmp_path / "trap.npy"
    with trap.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        pickle.dump(np.array([Trap(str(sprung))], dtype=object), stream)
    data_id = butler.registry.expandDataId(**DATA_ID)
    ref = DatasetRef(dataset_type, data_id, run="run")
    butler.ingest(FileDataset(path=str(trap), refs=[ref]), transfer="copy")
    with pytest.raises(ValueError, match="Cannot read .* as a numpy array"):
        butler.get(ref)
    assert not sprung.exists()


@pytest.mark.parametrize("extension", [".pickle", ".pkl", ".yaml"])
def test_versions_of_packages_are_json(butler, register, tmp_path, extension):
    dataset_type = register("versions", "Packages")
    ref = butler.put(Packages({"numpy": "2"}), "versions", DATA_ID)
    assert butler.getURI(ref).getExtension() == ".json"
    assert butler.get(ref) == {"numpy": "2"}
    sprung = tmp_path / "sprung"
    trap = tmp_path / f"trap{extension}"
    trap.write_bytes(pickle.dumps(Trap(str(sprung))))
    other = DatasetRef(dataset_type, butler.registry.expandDataId(**DATA_ID | {"detector": 4}), run="run")
    with pytest.raises(Exception, match="(?i)extension|not supported"):
        butler.ingest(FileDataset(path=str(trap), refs=[other]), transfer="copy")
    assert not sprung.exists()


def unsafe_storage_classes() -> list[str]:
    """Return the storage classes that the stock configuration keeps unsafely."""
    stock = ButlerConfig(searchPaths=[])[".datastore.formatters"]
    unsafe = []
    for name in stock:
        entry = stock[name]
        text = entry if isinstance(entry, str) else yaml.dump(entry.toDict())
        if "pickle" in text.lower() or "unsafe" in text:
            unsafe.append(name)
    return unsafe


def test_the_stock_configuration_has_unsafe_storage_classes():
    assert {"SkyMap", "NumpyArray", "PropertyList", "MetricValue"} <= set(unsafe_storage_classes())


def test_no_formatter_of_a_repository_is_unsafe(repo_root):
    formatters = ButlerConfig(str(repo_root))[".datastore.formatters"]
    for name in [*unsafe_storage_classes(), "Packages"]:
        entry = formatters[name]
        formatter = entry if isinstance(entry, str) else entry["formatter"]
        assert formatter.startswith("spherex.formatters."), name
    for name in formatters:
        text = str(formatters[name])
        assert "pickle" not in text.lower(), name


@pytest.mark.parametrize("action", ["write", "validate_extension", "read"])
def test_what_has_no_safe_form_is_shut_out(butler, register, tmp_path, action):
    ref = DatasetRef(register("x", "StructuredDataDict"), butler.registry.expandDataId(**DATA_ID), run="run")
    location = Location(str(tmp_path), "x.pickle")
    (tmp_path / "x.pickle").write_bytes(pickle.dumps({}))
    formatter = RefusedFormatter(FileDescriptor(location, StorageClass("SkyMap", dict)), ref=ref)
    arguments = {"write": [{}], "validate_extension": [location], "read": []}[action]
    with pytest.raises(RuntimeError, match="pickle or unsafe YAML"):
        getattr(formatter, action)(*arguments)


def test_the_stock_command_makes_a_repository(tmp_path):
    seed = "resource://spherex/configs/butler.yaml"
    run_well("butler", "create", "--override", "--seed-config", seed, "--dimension-config", DIMENSIONS, tmp_path / "r")
    assert (tmp_path / "r" / "spherex.sqlite3").exists()


def test_each_promise_of_safe_formats_names_its_tests():
    folder = Path(__file__).parent
    text = (folder.parent / "doc" / "safe_formats.md").read_text(encoding="utf-8")
    promises = re.findall(r"^\| (\d+) \|.*\| `tests/(\w+\.py)` \|$", text, re.MULTILINE)
    assert [number for number, _ in promises] == ["1", "2", "3", "4"]
    for number, name in promises:
        assert f"romise {number} of doc/safe_formats.md" in (folder / name).read_text(encoding="utf-8")
