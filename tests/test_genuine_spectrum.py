"""The spectrum at a position from the archive's own files, against astropy alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from lsst.daf.butler import Butler

import spherex
from spherex.archive import Level2Name

from .ingest_helpers import butler_command
from .programs import run_well

PIPELINE = "resource://spherex/pipelines/SpectrumPipeline.yaml"
RA, DEC = 308.027, 38.350
"""Where all of the samples are."""


def expected_of(path: Path) -> dict[str, float]:
    """Return what astropy says of a file at the position."""
    with warnings.catch_warnings(), fits.open(path) as hdus:
        warnings.simplefilter("ignore")
        image = hdus["IMAGE"]
        x, y = WCS(image.header, naxis=2).all_world2pix(RA, DEC, 0, tolerance=1e-8)
        spectral = WCS(image.header, fobj=hdus, key="W", naxis=2)
        spectral.sip = None
        wavelength, bandwidth = spectral.wcs_pix2world(x, y, 0)
        return {
            "x": x + 1 - image.header["CRPIX1A"],
            "y": y + 1 - image.header["CRPIX2A"],
            "wavelength": wavelength,
            "bandwidth": bandwidth,
            # The files are 6 pixels wide, less than the square; they have no flags.
            "surface_brightness": np.median(image.data[np.isfinite(image.data)].astype(float)),
            "time": Time(image.header["MJD-AVG"], format="mjd", scale="utc").mjd,
            "solid_angle": image.header["OMEGA_MEDIAN"],
        }


@pytest.fixture
def genuine_repo(repo_root: Path, archive_samples: list[Path], tmp_path: Path) -> Path:
    assert butler_command("ingest-level2", "--transfer", "direct", repo_root, *archive_samples).code == 0
    table = tmp_path / "centre.csv"
    table.write_text(f"name,ra,dec\ncentre,{RA},{DEC}\n")
    assert butler_command("register-targets", repo_root, "mine", table).code == 0
    return repo_root


def test_values_wavelengths_and_times_are_those_of_astropy(genuine_repo: Path, archive_samples: list[Path]) -> None:
    done = run_well(
        "pipetask", "--log-level", "WARNING", "run", "-b", genuine_repo, "-p", PIPELINE,
        "-i", "SPHEREx/level2,catalogs/mine", "-o", "spectra", "--register-dataset-types",
        "-d", "catalog='mine' AND instrument='SPHEREx'",
    )  # fmt: skip
    # The samples have neither PSF nor flags nor variance: each is told once, without a traceback.
    assert done.stderr.count("has no flux of centre: no PSF: ") == len(archive_samples)
    assert "Traceback" not in done.stderr
    with Butler.from_config(str(genuine_repo), collections="spectra") as butler:
        spectrum = spherex.get_spectrum(butler, "mine", "centre")
    assert len(spectrum) == len(archive_samples)
    assert spectrum.meta["unplaced"] == []
    # There is no collection of calibrations, and none is needed.
    assert "0 of 1 spectra are out of date" in butler_command("stale-spectra", genuine_repo, "spectra").output
    names = {Level2Name.parse(path.name): path for path in archive_samples}
    paths = {(name.observation.exposure, name.detector): path for name, path in names.items()}
    for row in spectrum:
        path = paths[int(row["exposure"]), int(row["detector"])]
        assert row["reason"] == "no PSF: it has no HDU EPSF or PSF"
        assert row["quality_names"].split() == ["NO_FLUX", "UNCORRECTED_GAIN", "NO_PSF"]
        assert np.isfinite(row["aperture_flux"])
        for column, value in expected_of(path).items():
            found = float(getattr(row[column], "value", row[column]))
            assert found == pytest.approx(value, rel=1e-9, abs=1e-6 if column in "xy" else 0), (path.name, column)
