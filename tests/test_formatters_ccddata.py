"""CCDData from files that others have written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset

DATA_ID = {"instrument": "simulator", "exposure": 1, "detector": 3}


@pytest.fixture
def ingest(butler: Butler, register: Callable[[str, str], DatasetType], tmp_path: Path) -> Callable[..., DatasetRef]:
    """Return a function that ingests HDUs as CCDData."""

    def make(*hdus: object) -> DatasetRef:
        path = tmp_path / "calibration.fits"
        fits.HDUList(list(hdus)).writeto(path)
        ref = DatasetRef(register("ccd", "CCDData"), butler.registry.expandDataId(DATA_ID), "run")
        butler.ingest(FileDataset(str(path), [ref]), transfer="copy")
        return ref

    return make


@pytest.mark.parametrize("kind", [fits.ImageHDU, fits.CompImageHDU])
def test_the_first_hdu_with_an_image_is_read(butler: Butler, ingest: Callable[..., DatasetRef], kind: type) -> None:
    image = kind(np.arange(6, dtype="f4").reshape(2, 3), name="DARK")
    image.header.update({"BUNIT": "electron/s", "XPOSURE": 113.5, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    got = butler.get(ingest(fits.PrimaryHDU(), image))
    np.testing.assert_array_equal(got.data, np.arange(6).reshape(2, 3))
    assert (got.unit, got.header["XPOSURE"]) == ("electron/s", 113.5)
    assert got.wcs is not None


def test_a_unit_that_astropy_does_not_know_is_kept(butler: Butler, ingest: Callable[..., DatasetRef]) -> None:
    ref = ingest(fits.PrimaryHDU(np.ones((2, 3)), fits.Header({"BUNIT": "(MJy/sr)/(e-/s)"})))
    assert butler.get(ref).unit.to_string() == "(MJy/sr)/(e-/s)"


def test_a_file_without_an_image_is_refused(butler: Butler, ingest: Callable[..., DatasetRef]) -> None:
    ref = ingest(fits.PrimaryHDU())
    with pytest.raises(ValueError, match="calibration.fits contains no image|ccd.*contains no image"):
        butler.get(ref)
