"""SPHERExImage in a real repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.units import Unit
from lsst.daf.butler import Butler, DatasetProvenance, DatasetRef, DatasetType
from lsst.pipe.base import InMemoryDatasetHandle
from lsst.utils.doImport import doImportType
from lsst.utils.introspection import get_full_type_name

from spherex.errors import ProductError
from spherex.fits import WriteRecipe, open_product, read_product, write_product
from spherex.formatters import SPHERExImageFormatter
from spherex.image import COMPONENTS, Box, SPHERExImage
from spherex.instrument import SimulatorInstrument

DATA_ID = {"instrument": "simulator", "exposure": 1, "detector": 3}


@pytest.fixture
def ref(butler, register, image) -> DatasetRef:
    register("postDark", "SPHERExImage")
    return butler.put(image, "postDark", DATA_ID)


def assert_same_pixels(first: SPHERExImage, second: SPHERExImage) -> None:
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_array_equal(first.variance, second.variance)
    np.testing.assert_array_equal(first.flags, second.flags)
    assert first.flag_table == second.flag_table
    assert first.unit == second.unit


def test_an_image_comes_back_without_loss(butler: Butler, ref: DatasetRef, image: SPHERExImage):
    got = butler.get(ref)
    assert_same_pixels(got, image)
    assert got.data.dtype == np.float32
    assert got.data.dtype.isnative
    assert list(got.planes) == ["ZODI", "PSF", "WCS-WAVE"]
    for name, plane in image.planes.items():
        np.testing.assert_array_equal(got.planes[name].data, plane.data)
    assert {key: got.header[key] for key in image.header} == dict(image.header)
    np.testing.assert_allclose(got.wcs.all_pix2world([[3, 7]], 0), image.wcs.all_pix2world([[3, 7]], 0), rtol=0)
    for key in "AW":
        np.testing.assert_array_equal(
            got.alternative_wcs(key).wcs_pix2world([[3, 7]], 0), image.alternative_wcs(key).wcs_pix2world([[3, 7]], 0)
        )


def test_the_wavelength_comes_from_the_look_up_table(image: SPHERExImage):
    wavelength, bandwidth = image.alternative_wcs("W").wcs_pix2world([[0, 59]], 0)[0]
    assert wavelength == pytest.approx(2.1, rel=1e-6)
    assert bandwidth == pytest.approx(0.04, rel=1e-6)


def test_the_file_is_a_product_that_other_tools_read(butler: Butler, ref: DatasetRef):
    path = butler.getURI(ref).ospath
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "FLAGS", "VARIANCE", "ZODI", "PSF", "WCS-WAVE"]
        assert hdus["IMAGE"].header["BUNIT"] == "electron/s"
        assert hdus["VARIANCE"].header["BUNIT"] == "electron2 / s2"
        assert hdus["FLAGS"].header["EXTTYPE"] == "MASK"
        assert hdus["FLAGS"].header["MP_HOT"] == 10
        assert hdus["FLAGS"].header["MP_TRANSIENT"] == 0
    assert path.endswith("run/postDark/3/20261123/postDark_1_3_simulator_run.fits")


def test_each_component_equals_that_of_the_whole(butler: Butler, ref: DatasetRef, image: SPHERExImage):
    np.testing.assert_array_equal(butler.get("postDark.image", DATA_ID).value, image.data)
    assert butler.get("postDark.image", DATA_ID).unit == Unit("electron/s")
    np.testing.assert_array_equal(butler.get("postDark.variance", DATA_ID).value, image.variance)
    assert butler.get("postDark.variance", DATA_ID).unit == Unit("electron2/s2")
    assert butler.get("postDark.flags", DATA_ID) == image.flag_plane
    assert butler.get("postDark.header", DATA_ID)["XPOSURE"] == image.header["XPOSURE"]
    np.testing.assert_array_equal(butler.get("postDark.wcs", DATA_ID).wcs.crval, image.wcs.wcs.crval)


BOXES = [Box(5, 25, 10, 40), Box(-5, 8, 55, 90), Box(49, 50, 0, 1)]


@pytest.mark.parametrize("box", BOXES)
def test_a_cutout_equals_the_cut_of_the_whole(butler: Butler, ref: DatasetRef, image: SPHERExImage, box: Box):
    expected = image.cutout(box)
    got = butler.get(ref, parameters={"box": box})
    assert_same_pixels(got, expected)
    np.testing.assert_array_equal(got.planes["ZODI"].data, expected.planes["ZODI"].data)
    assert got.planes["PSF"].data.shape == (4, 11, 11)
    here, there = [[0, 0]], [[max(box.x0, 0), max(box.y0, 0)]]
    np.testing.assert_allclose(got.wcs.all_pix2world(here, 0), image.wcs.all_pix2world(there, 0), rtol=0, atol=1e-11)
    np.testing.assert_array_equal(got.alternative_wcs("A").wcs_pix2world(here, 0), there)


@pytest.mark.parametrize("box", BOXES)
def test_the_cutout_of_a_component_too(butler: Butler, ref: DatasetRef, image: SPHERExImage, box: Box):
    expected = image.cutout(box)

    def get(component: str) -> Any:
        return butler.get(f"postDark.{component}", DATA_ID, parameters={"box": box})

    np.testing.assert_array_equal(get("image").value, expected.data)
    np.testing.assert_array_equal(get("variance").value, expected.variance)
    assert get("flags") == expected.flag_plane
    assert get("header")["CRPIX1"] == expected.header["CRPIX1"]
    np.testing.assert_array_equal(get("wcs").wcs.crpix, expected.wcs.wcs.crpix)


@pytest.mark.parametrize("box", BOXES)
def test_the_cutout_of_a_compressed_file_too(tmp_path: Path, image: SPHERExImage, box: Box):
    tiles = {"algorithm": "GZIP_2", "tile": [16, 16]}
    recipe = WriteRecipe.model_validate({"image": tiles, "flags": tiles | {"algorithm": "RICE_1"}, "variance": tiles})
    path = tmp_path / "compressed.fits"
    write_product(image, path, recipe)
    expected = image.cutout(box)
    got = read_product(path, box)
    assert_same_pixels(got, expected)
    assert got.header["CRPIX1"] == expected.header["CRPIX1"]
    assert read_product(path).header["NAXIS1"] == 50


def test_a_cutout_can_leave_the_further_planes_away(butler: Butler, ref: DatasetRef):
    got = butler.get(ref, parameters={"box": (0, 4, 0, 4), "planes": ["ZODI"]})
    assert list(got.planes) == ["ZODI"]
    assert got.planes["ZODI"].data.shape == (4, 4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"box": (60, 70, 0, 4)}, "outside of the image"),
        ({"box": (4, 4, 0, 4)}, "is empty"),
        ({"box": "all"}, "four integers"),
        ({"planes": ["EPSF"]}, "no plane EPSF"),
    ],
)
def test_wrong_parameters_are_told(butler, ref, parameters, message):
    with pytest.raises(ValueError, match=message):
        butler.get(ref, parameters=parameters)


def test_a_missing_file_is_an_error(butler: Butler, ref: DatasetRef):
    path = butler.getURI(ref)
    path.remove()
    with pytest.raises(FileNotFoundError):
        butler.get(ref)


@pytest.mark.parametrize("kept", [0, 100, 3000, 20000])
def test_a_damaged_file_is_an_error_that_names_it(butler, register, image, kept):
    register("postDark", "SPHERExImage")
    ref = butler.put(image, "postDark", DATA_ID)
    path = butler.getURI(ref).ospath
    with open(path, "r+b") as stream:
        stream.truncate(kept)
    with pytest.raises(ProductError, match=path):
        read_product(path)
    with pytest.raises(Exception, match="(?i)size|integrity|cut short"):
        butler.get(ref)


def test_provenance_is_in_the_header_and_replaces_an_older_one(butler, register, image):
    register("rawexp", "SPHERExImage")
    register("postDark", "SPHERExImage")
    raw = butler.put(image, "rawexp", DATA_ID)
    provenance = DatasetProvenance(quantum_id=None)
    provenance.add_input(raw)
    first = butler.put(butler.get(raw), "postDark", DATA_ID, provenance=provenance)
    header = butler.get(first).header
    assert header["LSST BUTLER ID"] == str(first.id)
    assert header["LSST BUTLER DATASETTYPE"] == "postDark"
    assert header["LSST BUTLER INPUT 0 ID"] == str(raw.id)
    assert header["LSST BUTLER INPUT 0 DATASETTYPE"] == "rawexp"
    found, found_ref = DatasetProvenance.from_flat_dict(dict(header), butler)
    assert found_ref == first
    assert [one.id for one in found.inputs] == [raw.id]
    butler.collections.register("other")
    again = butler.put(butler.get(first), "postDark", DATA_ID, run="other")
    header = butler.get(again).header
    assert header["LSST BUTLER ID"] == str(again.id)
    assert "LSST BUTLER INPUT 0 ID" not in header
    # The image that was put is left as it was.
    assert not [keyword for keyword in image.header if keyword.startswith("LSST")]


@pytest.fixture
def recorded(butler, ref) -> fits.Header:
    """Return a header with the provenance of a dataset, and with that of a table that was put as parquet."""
    header = butler.get(ref).header
    assert header["LSST BUTLER ID"] == str(ref.id)
    table = DatasetProvenance().to_flat_dict(ref, prefix="LSST.BUTLER", sep=".", simple_types=True)
    header.update({f"HIERARCH {key}": value for key, value in table.items()})
    return header


def test_the_provenance_of_an_earlier_dataset_is_not_written_with_an_image(butler, register, image, recorded):
    register("copy", "SPHERExImage")
    image.header.update(recorded)
    copy = butler.put(image, "copy", DATA_ID)
    header = butler.get(copy).header
    assert not [keyword for keyword in header if keyword.startswith("LSST.")]
    assert DatasetProvenance.from_flat_dict(dict(header), butler)[1] == copy


def test_the_provenance_of_an_earlier_dataset_is_not_written_with_ccddata(butler, register, recorded):
    register("copy", "CCDData")
    ccd = CCDData(np.ones((2, 3)), unit="adu", meta=recorded)
    copy = butler.put(ccd, "copy", DATA_ID)
    assert not [keyword for keyword in butler.get(copy).header if keyword.startswith("LSST")]
    # What was put is left as it was.
    assert "LSST BUTLER ID" in ccd.header


def test_the_provenance_of_an_earlier_dataset_is_not_written_with_hdus(butler, register, recorded):
    register("copy", "AstropyHDUList")
    packed = fits.CompImageHDU(np.arange(12, dtype="i2").reshape(3, 4))
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((2, 3), "u2"), recorded), packed])
    hdus[1].add_checksum()
    copy = butler.put(hdus, "copy", DATA_ID)
    with fits.open(butler.getURI(copy).ospath, checksum=True) as written:
        assert not [keyword for hdu in written for keyword in hdu.header if keyword.startswith("LSST")]
        for ours, theirs in zip(hdus[1:], written[1:], strict=True):
            np.testing.assert_array_equal(ours.data, theirs.data)
    assert "LSST BUTLER ID" in hdus[1].header


def test_recipes_are_checked_when_they_are_loaded(butler, register, image):
    assert SPHERExImageFormatter.validate_write_recipes(None) == {}
    for recipe, message in (
        ({"image": {"algorithm": "RICE_1"}}, "compresses integers"),
        ({"image": {"algorithm": "RICE_1", "quantize_level": 4}}, "lossy: true"),
        ({"flags": {"algorithm": "RICE_1", "quantize_level": 4}, "lossy": True}, "destroy flags"),
        ({"image": {"algorithm": "ZIP"}}, "image.algorithm"),
        ({"pixels": {}}, "pixels"),
    ):
        with pytest.raises(RuntimeError, match=message):
            SPHERExImageFormatter.validate_write_recipes({"mine": recipe})


@pytest.mark.parametrize(
    ("recipe", "compressed", "lossless"),
    [("default", [], True), ("checksum", [], True), ("lossless", ["IMAGE", "FLAGS", "VARIANCE"], True),
     ("lossy16", ["IMAGE", "FLAGS", "VARIANCE"], False)],
)  # fmt: skip
def test_each_shipped_recipe_is_written_and_read(tmp_path, make_repo, image, recipe, compressed, lossless):
    root = make_repo(tmp_path / "recipes", datastore__formatters__SPHERExImage__parameters__recipe=recipe)
    with Butler.from_config(str(root), writeable=True, run="run") as butler:
        SimulatorInstrument().register(butler.registry)
        butler.registry.insertDimensionData(
            "exposure", {"instrument": "simulator", "id": 1, "name": "a", "group_name": "20261123"}
        )
        butler.registry.registerDatasetType(
            DatasetType("x", ("instrument", "exposure", "detector"), "SPHERExImage", universe=butler.dimensions)
        )
        ref = butler.put(image, "x", DATA_ID)
        got = butler.get(ref)
        path = butler.getURI(ref).ospath
    np.testing.assert_array_equal(got.flags, image.flags)
    if lossless:
        assert_same_pixels(got, image)
    else:
        assert not np.array_equal(got.data, image.data, equal_nan=True)
        assert np.isnan(got.data[3, 4])
        # A step is 1/16 of the noise that astropy measures in the tile, which
        # is close to that of the whole image.
        assert np.nanmax(np.abs(got.data - image.data)) < np.nanstd(image.data) / 16
    with fits.open(path, checksum=True) as hdus:
        assert [hdu.name for hdu in hdus if isinstance(hdu, fits.CompImageHDU)] == compressed
        assert all(("CHECKSUM" in hdu.header) == (recipe == "checksum") for hdu in hdus)


@pytest.mark.parametrize("component", ["image", "variance", "flags", "wcs", "header"])
def test_components_in_memory_are_cut_as_those_in_files(butler: Butler, ref: DatasetRef, image, component):
    box = Box(5, 25, 10, 40)
    expected = butler.get(f"postDark.{component}", DATA_ID, parameters={"box": box})
    handle = InMemoryDatasetHandle(butler.get(ref), storageClass=ref.datasetType.storageClass, dataId=ref.dataId)
    got = handle.get(component=component, parameters={"box": box})
    if component == "wcs":
        np.testing.assert_array_equal(got.wcs.crpix, expected.wcs.crpix)
    elif component in ("header", "flags"):
        assert got == expected
    else:
        np.testing.assert_array_equal(got, expected)
    whole = handle.get(parameters={"box": box, "planes": ["PSF"]})
    assert whole.shape == (30, 20)
    assert list(whole.planes) == ["PSF"]


def test_the_storage_class_has_the_components_of_an_image(butler: Butler):
    storage_class = butler.storageClasses.getStorageClass("SPHERExImage")
    assert storage_class.derivedComponents.keys() == COMPONENTS.keys()
    assert not storage_class.components


def test_what_is_no_component_is_refused(butler: Butler, ref: DatasetRef, image: SPHERExImage):
    for name in ("data", "read", "_hdu"):
        with open_product(butler.getURI(ref)) as product, pytest.raises(AttributeError, match=f"no component '{name}'"):
            product.component(name)
        with pytest.raises(AttributeError, match=f"no component '{name}'"):
            image.component(name)
    with pytest.raises(ValueError, match="no wavelength"):
        SPHERExImage(image, planes={}).component("wavelength")


@pytest.mark.parametrize(
    "name",
    [
        "spherex.formatters.CCDDataFormatter",
        "spherex.formatters.HDUListFormatter",
        "spherex.formatters.JsonPackagesFormatter",
        "spherex.formatters.NumpyFormatter",
        "spherex.formatters.RefusedFormatter",
        "spherex.formatters.SPHERExImageFormatter",
        "spherex.formatters.tables.NativeParquetFormatter",
        "spherex.formatters.tables.PlainQTableFormatter",
    ],
)
def test_repositories_record_the_same_names_as_ever(name: str):
    assert get_full_type_name(doImportType(name)) == name


def test_a_repository_records_the_name_of_the_formatter(butler: Butler, ref: DatasetRef):
    rows = butler._datastore.getStoredItemsInfo(ref)
    assert [row.formatter for row in rows] == ["spherex.formatters.SPHERExImageFormatter"]
