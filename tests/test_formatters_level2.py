"""Level 2 images in a repository: every component and every kind of cutout, from files and from memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy import units
from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType, FileDataset
from lsst.pipe.base import InMemoryDatasetHandle

from spherex.fits import read_product
from spherex.image import SPHERExImage
from spherex.instrument import SimulatorInstrument

from .level2_files import write_level2
from .test_fits_level2 import PARTS, assert_same_hdus, assert_same_part

DATA_ID = {"instrument": "simulator", "exposure": 1, "detector": 1}


@pytest.fixture
def release(request) -> str:
    return getattr(request, "param", "qr2")


all_releases = pytest.mark.parametrize("release", ["qr1", "qr2", "qr3"], indirect=True)


@pytest.fixture
def whole(tmp_path, release) -> SPHERExImage:
    return read_product(write_level2(tmp_path / "level2.fits", release, shape=(90, 120), origin=(30, 40)).path)


@pytest.fixture
def ref(butler: Butler, register, tmp_path, whole) -> DatasetRef:
    ref = DatasetRef(register("level2", "SPHERExImage"), butler.registry.expandDataId(DATA_ID), run="run")
    butler.ingest(FileDataset(str(tmp_path / "level2.fits"), [ref]), transfer="direct")
    return ref


def cutouts(image: SPHERExImage) -> list[dict[str, Any]]:
    around = {"position": image.wcs.pixel_to_world(117.3, 2.2), "size": 60 * units.arcsec}
    return [
        {},
        {"box": (5, 25, 10, 40)},
        {"box": (-5, 8, 85, 100), "mode": "pad"},
        around,
        around | {"mode": "pad"},
    ]


@all_releases
def test_a_cutout_is_the_cut_of_the_whole(butler: Butler, ref: DatasetRef, whole: SPHERExImage):
    for parameters in cutouts(whole):
        expected = whole.cutout(**parameters) if parameters else whole
        found = butler.get(ref, parameters=parameters)
        assert isinstance(found, SPHERExImage)
        for name in ("data", "variance", "flags", "zodi"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert [str(card) for card in found.header.cards] == [str(card) for card in expected.header.cards]
        assert found.flag_table == expected.flag_table
        for part in ("wcs", "psf", "wavelength", "bbox", "calibrations"):
            assert_same_part(part, getattr(found, "psf_model" if part == "psf" else part), expected)


@all_releases
def test_components_of_files_and_of_images_in_memory_are_the_same(butler, ref, whole):
    handle = InMemoryDatasetHandle(whole, storageClass=ref.datasetType.storageClass, dataId=ref.dataId)
    for parameters in cutouts(whole):
        expected = whole.cutout(**parameters) if parameters else whole
        for part in PARTS:
            assert_same_part(part, butler.get(f"level2.{part}", DATA_ID, parameters=parameters), expected)
            assert_same_part(part, handle.get(component=part, parameters=parameters), expected)


def test_an_in_memory_datastore_does_the_same(tmp_path, make_repo):
    image = read_product(write_level2(tmp_path / "level2.fits", shape=(90, 120)).path)
    root = make_repo(
        tmp_path / "memory", datastore=Config({"cls": "lsst.daf.butler.datastores.inMemoryDatastore.InMemoryDatastore"})
    )
    with Butler.from_config(str(root), writeable=True, run="run") as butler:
        SimulatorInstrument().register(butler.registry)
        record = {"instrument": "simulator", "id": 1, "name": "a", "group_name": "b"}
        butler.registry.insertDimensionData("exposure", record)
        dimensions = ("instrument", "exposure", "detector")
        butler.registry.registerDatasetType(
            DatasetType("level2", dimensions, "SPHERExImage", universe=butler.dimensions)
        )
        butler.put(image, "level2", DATA_ID)
        for part in PARTS:
            for parameters in cutouts(image):
                found = butler.get(f"level2.{part}", DATA_ID, parameters=parameters)
                assert_same_part(part, found, image.cutout(**parameters) if parameters else image)


@all_releases
def test_put_after_get_writes_every_hdu_and_card_back(butler, ref, register, tmp_path):
    register("again", "SPHERExImage")
    put = butler.put(butler.get(ref), "again", DATA_ID)
    path = tmp_path / "without.fits"
    path.write_bytes(without_provenance(butler.getURI(put).read()))
    assert_same_hdus(path, butler.getURI(ref).ospath)


def test_genuine_files_come_back_but_for_the_provenance(butler, register, archive_samples):
    register("level2", "SPHERExImage")
    for sample in archive_samples:
        put = butler.put(read_product(sample), "level2", DATA_ID)
        written = butler.getURI(put).read()
        assert without_provenance(written) == sample.read_bytes(), sample.name
        assert written != sample.read_bytes()
        butler.pruneDatasets([put], disassociate=True, unstore=True, purge=True)


def without_provenance(content: bytes) -> bytes:
    """Return a file without the cards that the Butler adds to the header of the image."""
    begin = content.index(b"XTENSION= 'IMAGE   '")
    end = content.index(b"END".ljust(80), begin)
    cards = [content[at : at + 80] for at in range(begin, end, 80)]
    kept = b"".join(card for card in cards if not card.startswith(b"HIERARCH LSST BUTLER")) + b"END".ljust(80)
    after = end + 80 + (-(end + 80)) % 2880
    return content[:begin] + kept + b" " * (-len(kept) % 2880) + content[after:]


@pytest.mark.parametrize("component", ["", ".image", ".header"])
def test_wrong_parameters_are_told(butler, ref, component):
    for parameters, message in (
        ({"box": (0, 4, 0, 4), "mode": "fill"}, "trim or pad"),
        ({"size": 3}, "position and a size"),
        ({"position": (1, 2), "size": 3}, "a scalar SkyCoord"),
        ({"mode": "pad"}, "position and a size"),
    ):
        with pytest.raises(ValueError, match=message):
            butler.get(f"level2{component}", DATA_ID, parameters=parameters)


@pytest.mark.parametrize("component", ["", ".image", ".wcs", ".psf"])
def test_a_place_outside_is_told_with_the_name_of_the_file(butler, ref, whole, component):
    parameters = {"position": whole.wcs.pixel_to_world(-300, 40), "size": 60 * units.arcsec}
    with pytest.raises(ValueError, match="lies outside of the image") as caught:
        butler.get(f"level2{component}", DATA_ID, parameters=parameters)
    assert "level2.fits" in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
