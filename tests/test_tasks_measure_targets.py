"""MeasureTargetsTask on real images in a real repository, and the whole SpectrumPipeline."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table, join
from astropy.wcs import WCS
from lsst.daf.butler import Butler
from lsst.pipe.base.testUtils import assertValidInitOutput, lintConnections

import spherex
from spherex.spectra import COLUMNS
from spherex.tasks import MeasureTargetsConfig, MeasureTargetsTask

from .ingest_helpers import butler_command
from .programs import run_well

PIPELINE = "resource://spherex/pipelines/SpectrumPipeline.yaml"
SOURCES = ("bright", "faint", "beside")
FLUXES = (20000.0, 1000.0, 500.0)
"""The last source is beside the images."""
DETECTORS = (1, 4)
"""They see the same sky."""


def simulate(folder: Path, release: str, *options: object) -> None:
    run_well(
        "spherex-simulate", folder, "--product", "level2", "--release", release, "--exposures", "1",
        "--detectors", ",".join(map(str, DETECTORS)), "--no-stars", "--quiet", *options,
    )  # fmt: skip


def position_in(path: Path, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination (deg) at pixels of a file, with astropy alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ra, dec = WCS(fits.getheader(path, "IMAGE"), naxis=2).all_pix2world(x, y, 0)
    return ra, dec


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Return a folder with cutouts of both releases and their calibrations, and the catalogue of what is in them."""
    folder = tmp_path_factory.mktemp("archive")
    # The first exposures of both simulations look at the same place.
    simulate(folder / "empty", "qr2", "--shape", 64)
    (path,) = (folder / "empty" / "qr2" / "level2").glob("**/*D1_spx*.fits")
    ra, dec = position_in(path, np.array([20.3, 45.2, 100.0]), np.array([30.4, 40.1, 30.0]))
    table = Table({"name": SOURCES, "ra": ra, "dec": dec, "flux": FLUXES, "slope": [0.0] * 3})
    table.write(folder / "sources.ecsv")
    for release in ("qr2", "qr3"):
        simulate(folder / "sky", release, "--shape", 64, "--sources", folder / "sources.ecsv", "--calibrations")
    return folder


@pytest.fixture(scope="module")
def repo(archive: Path, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("spectra") / "repo"
    seed, dimensions = (f"resource://spherex/configs/{name}.yaml" for name in ("butler", "dimensions"))
    run_well("butler", "create", "--override", "--seed-config", seed, "--dimension-config", dimensions, root)
    levels = list((archive / "sky").glob("*/level2"))
    assert butler_command("ingest-level2", root, *levels).code == 0
    # Those of QR3 replace those of QR2 where both are there.
    calibrations = [path for path in (archive / "sky").glob("*/*") if path.name not in ("level2", "truth")]
    assert butler_command("ingest-calibrations", root, *sorted(calibrations)).code == 0
    assert butler_command("register-targets", root, "mine", archive / "sources.ecsv").code == 0
    return root


def run_pipeline(repo: Path, output: str, *options: object, inputs: str = "SPHEREx/level2,SPHEREx/calib") -> str:
    """Run the pipeline; return what is logged."""
    done = run_well(
        "pipetask", "--log-level", "WARNING", "run", "-b", repo, "-p", PIPELINE, "-i", f"{inputs},catalogs/mine",
        "-o", output, "--register-dataset-types", "-d", "catalog='mine' AND instrument='SPHEREx'", *options,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def measured(repo: Path) -> Path:
    run_pipeline(repo, "spectra")
    return repo


def test_connections_are_sound():
    lintConnections(MeasureTargetsConfig.ConnectionsClass)
    assertValidInitOutput(MeasureTargetsTask())
    config = MeasureTargetsConfig()
    assert set(config.ConnectionsClass(config=config).prerequisiteInputs) == {"spectralWcs", "solidAngles", "psf"}
    config.psfSource = "image"
    assert set(config.ConnectionsClass(config=config).prerequisiteInputs) == {"spectralWcs", "solidAngles"}
    config.psfSource, config.correctGains, config.scaleErrors = "calibration", True, True
    assert set(config.ConnectionsClass(config=config).prerequisiteInputs) == {
        "spectralWcs", "solidAngles", "psf", "fluxCorrections", "errorScale",
    }  # fmt: skip


@pytest.mark.slow
def test_spectra_have_the_fluxes_of_the_truth(measured: Path, archive: Path):
    with Butler.from_config(str(measured), collections="spectra") as butler:
        for name, flux in zip(SOURCES[:2], FLUXES, strict=False):
            spectrum = spherex.get_spectrum(butler, "mine", name)
            assert spectrum.colnames == [column.name for column in COLUMNS]
            pull = (spectrum["flux"].to_value("uJy") - flux) / spectrum["flux_error"].to_value("uJy")
            assert np.abs(pull).max() < 5
            assert sorted(spectrum["detector"]) == sorted(2 * DETECTORS)
            assert (np.diff(spectrum["wavelength"]) >= 0).all()
        with pytest.raises(spherex.UserError, match=f"{SOURCES[2]} of the catalogue mine is registered, but spectra"):
            spherex.get_spectrum(butler, "mine", SOURCES[2])


@pytest.mark.slow
def test_each_point_tells_where_it_comes_from(measured: Path):
    with Butler.from_config(str(measured), collections=["SPHEREx/level2", "SPHEREx/calib"]) as butler:
        spectrum = spherex.get_spectrum(butler, "mine", "bright", collections="spectra")
        catalog = butler.find_dataset("target_catalog", catalog="mine", collections="catalogs/mine")
        assert set(spectrum["catalog_id"]) == {str(catalog.id)}
        for row in spectrum:
            place = {name: int(row[name]) for name in ("exposure", "detector")} | {"instrument": "SPHEREx"}
            image = butler.find_dataset("level2", place)
            assert row["image_id"] == str(image.id)
            assert row["image_run"] == image.run
            for column, kind in (("spectral_wcs_id", "spectral_wcs"), ("solid_angle_id", "solid_angle_pixel_map")):
                (ref,) = butler.query_datasets(kind, detector=place["detector"], instrument="SPHEREx")
                assert row[column] == str(ref.id)
            full = butler.get(image)
            assert row["version"] == full.version != ""
            kind = "epsf" if int(full.version[0]) > 6 else "average_psf"
            reference = next(one for one in full.calibrations if one.type == kind)
            assert row["psf_source"] == f"image, {kind} {reference.id}"
            calibration = butler.get("spectral_wcs", place)
            column, line = (float(row[name].value) for name in "xy")
            at = calibration["CWAVE"].data[round(line), round(column)] * units.um
            assert abs(row["wavelength"] - at) < 0.01 * units.um
            assert row["obsid"] == full.header["OBSID"]
        assert spectrum.meta["code"]["spherex-butler"]


@pytest.mark.slow
def test_measurements_are_those_of_the_image(measured: Path, archive: Path):
    with Butler.from_config(str(measured), collections="spectra") as butler:
        refs = butler.query_datasets("target_measurements")
        assert len(refs) == 4
        for ref in refs:
            table = butler.get(ref)
            truth = Table.read(
                next((archive / "sky").glob(f"*/truth/**/*{table['obsid'][0]}D{table['detector'][0]}_*.ecsv"))
            )
            truth.rename_column("name", "target")
            both = join(Table(table, masked=False), truth["target", "wavelength", "x", "y"], keys="target",
                        table_names=["", "true"], uniq_col_name="{col_name}{table_name}",
                        metadata_conflicts="silent")  # fmt: skip
            assert len(both) == len(table)
            np.testing.assert_allclose(both["wavelength"], both["wavelengthtrue"], atol=1e-4)


@pytest.mark.slow
def test_one_bad_image_costs_rows_with_a_reason_not_the_spectra(archive: Path, repo: Path, tmp_path: Path):
    with Butler.from_config(str(repo), collections="SPHEREx/level2") as butler:
        refs = butler.query_datasets("level2", where="detector = 4", bind=None)
        ref = min(refs, key=lambda one: one.dataId["exposure"])
        path = Path(butler.getURI(ref).ospath)
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:20000])
        log = run_pipeline(repo, "torn", "--save-qgraph", tmp_path / "torn.qg")
    finally:
        path.write_bytes(whole)
    assert path.name in log
    assert "Traceback" not in log
    report = run_well(
        "pipetask", "report", repo, tmp_path / "torn.qg", "--force-v2", "--read-caveats", "exhaustive"
    ).stdout
    assert re.search(r"^ *measureTargets +0 +4 +D\(1\) ", report, re.MULTILINE)
    assert re.search(r"^ *gatherSpectra +0 +2 +0 ", report, re.MULTILINE)
    with Butler.from_config(str(repo), collections="torn") as butler:
        spectrum = spherex.get_spectrum(butler, "mine", "bright")
        rows = butler.get("target_measurements", ref.dataId, catalog="mine")
    assert len(spectrum) == 3
    assert spectrum.meta["failed"] == 1
    (lost,) = spectrum.meta["unplaced"]
    assert lost["detector"] == 4
    assert lost["image_id"] == str(ref.id)
    assert lost["reason"] == "the file is cut short or damaged"
    assert set(rows["target"]) >= set(SOURCES[:2])


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--qgraph-datastore-records",)])
def test_an_image_whose_file_is_gone_is_named(repo: Path, options: tuple[str, ...]):
    with Butler.from_config(str(repo), collections="SPHEREx/level2") as butler:
        ref = min(butler.query_datasets("level2", where="detector = 4"), key=lambda one: one.dataId["exposure"])
        path = Path(butler.getURI(ref).ospath)
    aside = path.rename(path.with_suffix(".aside"))
    output = f"gone{len(options)}"
    try:
        log = run_pipeline(repo, output, *options)
    finally:
        aside.rename(path)
    with Butler.from_config(str(repo), collections=output) as butler:
        spectrum = spherex.get_spectrum(butler, "mine", "bright")
    assert len(spectrum) == 3
    lost = spectrum.meta["unplaced"]
    if options:
        assert [(one["image_id"], one["reason"]) for one in lost] == [(str(ref.id), "its file is gone")]
    else:
        assert lost == []
        assert f"The file of level2 of exposure {ref.dataId['exposure']}, detector 4 is gone: it is left out." in log


@pytest.mark.slow
def test_without_calibrations_the_images_are_enough_and_the_log_says_so(archive: Path, repo: Path):
    assert butler_command("register-targets", repo, "yours", archive / "sources.ecsv").code == 0
    done = run_well(
        "pipetask", "--log-level", "WARNING", "run", "-b", repo, "-p", f"{PIPELINE}#measurement",
        "-i", "SPHEREx/level2,catalogs/mine,catalogs/yours", "-o", "bare", "--register-dataset-types",
        "-d", "catalog IN ('mine', 'yours') AND instrument='SPHEREx' AND detector = 1",
    )  # fmt: skip
    # An image counts once, though it has a quantum for each catalogue.
    line = "No spectral_wcs is valid for 2 of 2 images: the wavelengths of the images are used."
    assert line in done.stderr
    with Butler.from_config(str(repo), collections="bare") as butler:
        assert len(butler.query_datasets("target_measurements")) == 4
        (ref,) = butler.query_datasets("target_measurements", where="catalog = 'mine' AND exposure > 20260800000000")
        table = butler.get(ref)
    assert set(table["wavelength_source"]) == {"WCS W of the image"}


@pytest.mark.slow
def test_the_psf_of_a_calibration(measured: Path):
    repo = measured
    run_pipeline(repo, "epsf", "-c", "measureTargets:psfSource=calibration", "-c", "measureTargets:barycentric=True")
    with Butler.from_config(str(repo), collections=["epsf", "SPHEREx/calib"]) as butler:
        spectrum = spherex.get_spectrum(butler, "mine", "bright")
        ids = {str(ref.id) for ref in butler.query_datasets("epsf")}
        automatic = spherex.get_spectrum(butler, "mine", "bright", collections="spectra")
    assert set(spectrum["psf_id"]) == ids
    assert set(spectrum["psf_source"]) == {"calibration"}
    # Images with a PSF of their own need no calibration.
    assert set(automatic["psf_id"]) == {""}
    assert np.isfinite(spectrum["time_barycentric"]).all()
    assert (np.abs(spectrum["flux"].to_value("uJy") / 20000 - 1) < 0.05).all()


@pytest.mark.slow
def test_no_target_on_the_image_is_a_table_without_rows(repo: Path):
    with Butler.from_config(str(repo), collections="SPHEREx/level2") as butler:
        handle = butler.getDeferred(butler.query_datasets("level2", limit=1)[0])
        task = MeasureTargetsTask()
        table = task.run(handle, Table({"name": ["a"], "ra": [10.0], "dec": [-60.0]}), image_ids={}).measurements
    assert len(table) == 0
    assert table.colnames == [column.name for column in COLUMNS]
    assert (task.metadata["targets"], task.metadata["failed"]) == (0, 0)


@pytest.mark.slow
def test_a_target_beside_some_frames_is_not_measured_again_for_ever(tmp_path: Path):
    """One target alone, near the edge of the first exposure and 7 pixels beside the second."""
    root, files = tmp_path / "repo", tmp_path / "files"
    # The second one looks 114.5 pixels higher.
    simulate(files, "qr3", "--exposures", 2, "--shape", 112)
    (path,) = files.glob("**/level2/**/*_1D1_spx*.fits")
    ra, dec = position_in(path, np.array([50.0]), np.array([107.5]))
    Table({"name": ["alone"], "ra": ra, "dec": dec}).write(tmp_path / "edge.ecsv")
    seed, dimensions = (f"resource://spherex/configs/{name}.yaml" for name in ("butler", "dimensions"))
    run_well("butler", "create", "--override", "--seed-config", seed, "--dimension-config", dimensions, root)
    assert butler_command("ingest-level2", root, files).code == 0
    assert butler_command("register-targets", root, "mine", tmp_path / "edge.ecsv").code == 0
    run_pipeline(root, "spectra", inputs="SPHEREx/level2")
    with Butler.from_config(str(root), collections="spectra") as butler:
        tables = [butler.get(ref) for ref in butler.query_datasets("target_measurements")]
        spectrum = spherex.get_spectrum(butler, "mine", "alone")
    assert sorted(map(len, tables)) == [0, 0, 1, 1]
    # Regions are exact to 10 pixels.
    assert (len(spectrum), spectrum.meta["off_frame"]) == (2, 2)
    outcome = butler_command("stale-spectra", root, "spectra", "--calibrations", "SPHEREx/level2")
    assert outcome.output.startswith("0 of 1 spectra are out of date.")


def test_an_even_side_is_refused():
    config = MeasureTargetsConfig()
    config.side = 14
    with pytest.raises(ValueError, match="must be odd"):
        config.validate()
