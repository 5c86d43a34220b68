"""Calibrations and images that are replaced under their old names, and the spectra that were made with the old ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import Butler

import spherex

from .ingest_helpers import butler_command
from .programs import run_well
from .test_ingest_content_ids import remove_as_told
from .test_tasks_measure_targets import PIPELINE, position_in

NAMES = ("bright", "faint")
FLUXES = (20000.0, 1000.0)
KINDS = ("spectral_wcs", "solid_angle_pixel_map")


def simulate(folder: Path, *options: object) -> Path:
    run_well(
        "spherex-simulate", folder, "--product", "level2", "--release", "qr2", "--exposures", "1",
        "--detectors", "1", "--shape", "64", "--no-stars", "--quiet", *options,
    )  # fmt: skip
    return folder / "qr2"


def spectra_of(repo: Path, run: str) -> dict[str, float]:
    """Make the spectra in a new run of the chain `spectra`; return the flux of each target."""
    run_well(
        "pipetask", "--log-level", "ERROR", "run", "-b", repo, "-p", f"{PIPELINE}#measureTargets,gatherSpectra",
        "-i", "SPHEREx/level2,SPHEREx/calib,catalogs/mine", "--output-run", run, "--register-dataset-types",
        "-d", "catalog='mine' AND instrument='SPHEREx'",
    )  # fmt: skip
    assert butler_command("collection-chain", repo, "spectra", "--mode", "prepend", run).code == 0
    with Butler.from_config(str(repo), collections=run) as butler:
        spectra = {name: spherex.get_spectrum(butler, "mine", name) for name in NAMES}
    return {name: spectrum["flux"].value.item() for name, spectrum in spectra.items()}


def replace(repo: Path, command: str, path: Path, options: tuple[str, ...] = ()) -> None:
    """Ingest another file under an old name, as the message advises."""
    refused = butler_command(command, repo, path, *options)
    assert refused.code == 1
    remove_as_told(repo, refused)
    assert butler_command(command, repo, path, *options).counts["ingested"] == 1


@pytest.mark.slow
def test_spectra_made_with_what_was_replaced_under_its_old_name(repo_root: Path, tmp_path: Path) -> None:
    (path,) = (simulate(tmp_path / "empty") / "level2").glob("**/*.fits")
    ra, dec = position_in(path, np.array([20.3, 45.2]), np.array([30.4, 40.1]))
    table = Table({"name": NAMES, "ra": ra, "dec": dec, "flux": FLUXES, "slope": [0.0] * 2})
    table.write(tmp_path / "sources.ecsv")
    sky = simulate(tmp_path / "sky", "--sources", tmp_path / "sources.ecsv", "--calibrations")
    assert butler_command("ingest-level2", repo_root, sky / "level2").code == 0
    for kind in KINDS:
        assert butler_command("ingest-calibrations", repo_root, sky / kind).code == 0
    assert butler_command("register-targets", repo_root, "mine", tmp_path / "sources.ecsv").code == 0
    before = spectra_of(repo_root, "first")
    assert "0 of 2 spectra are out of date" in butler_command("stale-spectra", repo_root, "spectra").output

    (tmp_path / "new").mkdir()
    (solid_angle,) = (sky / KINDS[1]).glob("**/*.fits")
    with fits.open(solid_angle) as hdus:
        for hdu in hdus:
            if hdu.data is not None:
                hdu.data = hdu.data / 2
        hdus.writeto(tmp_path / "new" / solid_angle.name)
    (spectral_wcs,) = (sky / KINDS[0]).glob("**/*.fits")
    with fits.open(spectral_wcs) as hdus:
        hdus["CWAVE"].data = hdus["CWAVE"].data + np.float32(0.01)
        hdus.writeto(tmp_path / "new" / spectral_wcs.name)
    for name in (solid_angle.name, spectral_wcs.name):
        replace(repo_root, "ingest-calibrations", tmp_path / "new" / name)
    stale = butler_command("stale-spectra", repo_root, "spectra").output
    assert "2 of 2 spectra are out of date" in stale
    assert stale.count("1 image with another solid_angle_pixel_map, 1 image with another spectral_wcs") == 2
    after = spectra_of(repo_root, "second")
    for name in NAMES:
        assert after[name] / before[name] == pytest.approx(0.5, rel=1e-5)
    assert "0 of 2 spectra are out of date" in butler_command("stale-spectra", repo_root, "spectra").output

    (image,) = (sky / "level2").glob("**/*.fits")
    with fits.open(image) as hdus:
        hdus["IMAGE"].header["DATE"] = "2026-02-03T04:05:06.789"
        hdus.writeto(tmp_path / "new" / image.name)
    replace(repo_root, "ingest-level2", tmp_path / "new" / image.name)
    stale = butler_command("stale-spectra", repo_root, "spectra").output
    assert "2 of 2 spectra are out of date" in stale
    assert stale.count("1 image superseded") == 2
