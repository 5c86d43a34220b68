"""Tests of the package: pytest tests/test_plates.py."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from lsst.daf.butler import Butler, Config, DatasetType
from lsst.pipe.base import InMemoryDatasetHandle
from plates.scan import Scan
from plates.script import register_plates
from plates.tasks import FogTask

BOOK = str(Path(__file__).parents[1] / "plate_book.ecsv")
RESOURCES = "resource://plates/"


@pytest.fixture
def repo(tmp_path):
    """Return the path of an empty repository."""
    seed, dimensions = (Config(f"{RESOURCES}{name}.yaml") for name in ("butler", "dimensions"))
    Butler.makeRepo(str(tmp_path / "PLATES"), config=seed, dimensionConfig=dimensions)
    return str(tmp_path / "PLATES")


def test_scans_are_ingested_and_read(repo, tmp_path, monkeypatch):
    """Records and files in one step, twice; then all rows, and some."""
    monkeypatch.chdir(tmp_path)
    fits.writeto("plate_7.fits", np.eye(4, dtype=np.float32), fits.Header({"STEP": 10.0}))
    assert register_plates(repo, BOOK, scans=".") == (2, 0, 0)
    assert register_plates(repo, BOOK, scans=".") == (0, 0, 2)
    with Butler.from_config(repo, collections="scans", observatory="Tautenburg") as butler:
        np.testing.assert_array_equal(butler.get("scan", plate=7).density, np.eye(4))
        np.testing.assert_array_equal(butler.get("scan", plate=7, parameters={"rows": (1, 2)}).density, [[0, 1, 0, 0]])


def test_scans_are_written(repo):
    """Compare what is read with what was written."""
    register_plates(repo, BOOK)
    with Butler.from_config(repo, run="mine", observatory="Tautenburg") as butler:
        clean = DatasetType("cleanScan", ("observatory", "plate"), "Scan", universe=butler.dimensions)
        butler.registry.registerDatasetType(clean)
        butler.put(Scan(np.zeros((2, 2), np.float32), 5.0), clean, plate=8)
        assert butler.get(clean, plate=8).step == 5.0


def test_fog_is_subtracted():
    """`run` takes objects, and needs no repository."""
    handle = InMemoryDatasetHandle(Scan(np.full((4, 4), 0.5, np.float32), 10.0), storageClass="Scan")
    # A connection with deferLoad=True passes such a handle in place of the object.
    clean = FogTask().run(handle.get(), {"scale": 1.02}).clean
    np.testing.assert_array_equal(clean.density, 0.0)
