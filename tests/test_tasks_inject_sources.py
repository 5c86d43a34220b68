"""InjectSourcesTask on real images in a real repository, and the whole InjectionPipeline."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from lsst.daf.butler import Butler
from lsst.pipe.base import NoWorkFound, Pipeline
from lsst.pipe.base.pipelineIR import ContractError
from lsst.pipe.base.testUtils import assertValidInitOutput, lintConnections

from spherex.spectra import TRUTH_COLUMNS
from spherex.tasks import CompareInjectedConfig, CompareInjectedTask, InjectSourcesConfig, InjectSourcesTask
from spherex_simulator.level2 import simulate_level2

from .ingest_helpers import butler_command
from .measuring_helpers import settings_of
from .programs import run_well
from .test_tasks_measure_targets import position_in

PIPELINE = "resource://spherex/pipelines/InjectionPipeline.yaml"
NUMBER = 25
DETECTORS = [1, 4]


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> Path:
    """Return a repository with images of detectors 1 and 4, and 25 places in them and one beside."""
    folder = tmp_path_factory.mktemp("injection")
    run_well(
        "spherex-simulate", folder / "files", "--product", "level2", "--release", "qr3", "--exposures", "1",
        "--detectors", "1,4", "--shape", "128", "--no-stars", "--calibrations", "--quiet",
    )  # fmt: skip
    (path,) = (folder / "files").glob("**/level2/**/*D1_spx*.fits")
    rows, columns = (plane.ravel() for plane in np.meshgrid(*[14.3 + 25 * np.arange(5)] * 2, indexing="ij"))
    ra, dec = position_in(path, np.append(columns, 300), np.append(rows, 64))
    Table({"name": [f"t{number}" for number in range(NUMBER + 1)], "ra": ra, "dec": dec}).write(folder / "t.ecsv")
    root = folder / "repo"
    seed, dimensions = (f"resource://spherex/configs/{name}.yaml" for name in ("butler", "dimensions"))
    run_well("butler", "create", "--override", "--seed-config", seed, "--dimension-config", dimensions, root)
    assert butler_command("ingest-level2", root, folder / "files").code == 0
    assert butler_command("ingest-calibrations", root, folder / "files").code == 0
    assert butler_command("register-targets", root, "places", folder / "t.ecsv").code == 0
    return root


def run_pipeline(repo: Path, output: str, *options: object) -> None:
    run_well(
        "pipetask", "run", "-b", repo, "-p", PIPELINE, "-i", "SPHEREx/level2,SPHEREx/calib,catalogs/places",
        "-o", output, "--register-dataset-types", "-d", "catalog='places' AND instrument='SPHEREx'", *options,
    )  # fmt: skip


def checksums(repo: Path) -> dict[str, str]:
    with Butler.from_config(str(repo), collections="SPHEREx/level2") as butler:
        paths = [Path(butler.getURI(ref).ospath) for ref in butler.query_datasets("level2")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.slow
def test_the_pipeline_injects_measures_and_compares(repo: Path):
    before = checksums(repo)
    tasks = ("injectSources", "measureInjected", "measureOriginal")
    run_pipeline(repo, "first", *(part for task in tasks for part in ("-c", f"{task}:psfSource=calibration")))
    assert checksums(repo) == before
    run_pipeline(repo, "second")
    run_pipeline(repo, "other", "-c", "injectSources:seed=1")
    with Butler.from_config(str(repo)) as butler:
        for detector in DETECTORS:
            place = {"instrument": "SPHEREx", "detector": detector, "catalog": "places"}
            (ref,) = butler.query_datasets(
                "injected_truth", collections="first", where=f"detector = {detector} AND instrument = 'SPHEREx'"
            )
            place["exposure"] = ref.dataId["exposure"]
            truth = butler.get(ref)
            assert truth.colnames == [column.name for column in TRUTH_COLUMNS]
            original = butler.find_dataset("level2", place, collections="SPHEREx/level2")
            assert set(truth["image_id"]) == {str(original.id)}
            catalog = butler.find_dataset("target_catalog", catalog="places", collections="catalogs/places")
            assert set(truth["catalog_id"]) == {str(catalog.id)}
            for column, kind in (("psf_id", "epsf"), ("solid_angle_id", "solid_angle_pixel_map")):
                (calibration,) = butler.query_datasets(
                    kind, detector=detector, instrument="SPHEREx", collections="SPHEREx/calib"
                )
                assert set(truth[column]) == {str(calibration.id)}
            images = [butler.get("level2_injected", place, collections=name) for name in ("first", "second", "other")]
            assert f"[INPUT] level2 {original.id}" in list(images[0].header["HISTORY"])
            # The PSF of the calibration is that of the simulated image.
            np.testing.assert_allclose(images[0].data, images[1].data, rtol=1e-5)
            assert (np.abs(images[2].data - images[1].data) > 0.01).sum() > NUMBER
            np.testing.assert_array_equal(images[0].flags, butler.get(original).flags)
            measured = butler.get("injected_measurements", place, collections="first")
            injected = butler.find_dataset("level2_injected", place, collections="first")
            assert set(measured["image_id"]) == {str(injected.id)}
            recovery = butler.get("injection_recovery", place, collections="first")
            assert recovery["injected"].sum() == len(truth)
            assert recovery["detector"].tolist() == [detector] * len(recovery)
            assert (np.abs(recovery["bias_sigma"][recovery["recovered"] > 1]) < 2).all()


def test_connections_are_sound():
    for config, task in ((InjectSourcesConfig, InjectSourcesTask), (CompareInjectedConfig, CompareInjectedTask)):
        lintConnections(config.ConnectionsClass)
        assertValidInitOutput(task())


@pytest.mark.parametrize("field", ["psfSource='calibration'", "correctGains=True"])
def test_injection_and_measurement_must_agree(field: str):
    pipeline = Pipeline.from_uri(PIPELINE)
    pipeline.addConfigOverride("injectSources", *field.split("="))
    with pytest.raises(ContractError, match="Injection and measurement use different"):
        pipeline.to_graph()


@pytest.mark.parametrize("limits", [[0.0, 5.0], [5.0, 1.0], [1.0, np.inf]])
def test_a_wrong_range_of_fluxes_is_refused(limits: list[float]):
    config = InjectSourcesConfig()
    config.fluxRange = limits
    with pytest.raises(ValueError, match="Fluxes are from a positive one to a greater one"):
        config.validate()


def test_an_image_without_targets_is_no_work():
    image = simulate_level2(settings_of("qr3", side=32), 0, 1).image
    targets = Table({"name": ["a"], "ra": [10.0], "dec": [-60.0]})
    with pytest.raises(NoWorkFound, match="None of 1 targets is on the image of exposure 5, detector 1"):
        InjectSourcesTask().run(image, targets, image_ids={"exposure": 5, "detector": 1})
