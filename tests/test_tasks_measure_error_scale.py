"""MeasureErrorScaleTask in a repository, and the errors that its result scales."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetType
from lsst.pipe.base import NoWorkFound, Pipeline
from lsst.pipe.base.all_dimensions_quantum_graph_builder import AllDimensionsQuantumGraphBuilder
from lsst.pipe.base.testUtils import assertValidInitOutput, lintConnections

import spherex
from spherex.spectra import SCALE_COLUMNS, make_table
from spherex.tasks import MeasureErrorScaleConfig, MeasureErrorScaleTask

from .programs import run_well
from .spectra_helpers import CATALOG, TargetRepo, measurements
from .test_tasks_measure_targets import archive, repo, run_pipeline  # noqa: F401

PIPELINE = "resource://spherex/pipelines/ErrorScalePipeline.yaml"
NUMBER = 150
"""Targets in each image."""


@pytest.fixture
def visited(repo_root: Path) -> Iterator[TargetRepo]:
    """Return a repository with two visits of detector 1, a day apart, and one of detector 2."""
    targets = TargetRepo.make(repo_root)
    with targets.butler:
        targets.butler.collections.register("measured")
        for exposure, detector in ((0, 1), (100, 1), (100, 2)):
            ref = targets.add_image(exposure, detector)
            rows = measurements(
                NUMBER, target=[f"t{row}" for row in range(NUMBER)], detector=detector, exposure=exposure,
                time=61000.0 + 0.01 * exposure, wavelength=1.7, bandwidth=0.04, flux_error=12 / 1.3,
                flux=1500 + np.random.default_rng(exposure).normal(0, 12, NUMBER),
            )  # fmt: skip
            targets.butler.put(Table(rows), "target_measurements", ref.dataId, catalog=CATALOG, run="measured")
        yield targets


@pytest.fixture
def quanta(visited: TargetRepo) -> dict[int, list[int]]:
    """Return the exposures of the inputs of each detector's quantum."""
    builder = AllDimensionsQuantumGraphBuilder(
        Pipeline.from_uri(PIPELINE).to_graph(), visited.butler, input_collections=["measured"], output_run="o"
    )
    built = builder.finish(attach_datastore_records=False).assemble()
    return {
        quantum.dataId["detector"]: sorted(ref.dataId["exposure"] for ref in quantum.inputs["target_measurements"])
        for quantum in built.build_execution_quanta(task_label="measureErrorScale").values()
    }


def test_a_quantum_is_a_detector_with_all_of_its_images(quanta: dict[int, list[int]]):
    assert quanta == {1: [0, 100], 2: [100]}


def run_task(visited: TargetRepo, detector: int, **config: object) -> Table:
    place = {"instrument": "SPHEREx", "detector": detector}
    refs = visited.butler.query_datasets("target_measurements", collections="measured", data_id=place)
    task = MeasureErrorScaleTask(config=MeasureErrorScaleConfig(**config))
    return task.run([visited.butler.getDeferred(ref) for ref in refs]).errorScale


def register_scale(butler: Butler) -> None:
    dimensions = ("instrument", "detector")
    kind = DatasetType("error_scale", dimensions, "AstropyQTable", universe=butler.dimensions, isCalibration=True)
    butler.registry.registerDatasetType(kind)


def test_the_scale_is_a_calibration_with_its_number_of_pairs(visited: TargetRepo):
    table = run_task(visited, 1)
    assert table.colnames == [column.name for column in SCALE_COLUMNS]
    assert table["pairs"].tolist() == [0, 0, 0, NUMBER]
    assert np.isfinite(table["scale"]).tolist() == [False, False, False, True]
    assert table["scale"][3] == pytest.approx(1.3, abs=0.3)
    assert table.meta["images"] == 2
    assert table.meta["catalogs"] == [CATALOG]
    assert table.meta["apart"] == 0.5


def test_without_enough_pairs_nothing_is_written(visited: TargetRepo):
    with pytest.raises(NoWorkFound, match="No bin has 100 pairs .*: 150 good measurements in 1 tables have 0 pairs"):
        run_task(visited, 2)
    with pytest.raises(NoWorkFound, match=f"No bin has 200 pairs .* in 2 tables have {NUMBER} pairs"):
        run_task(visited, 1, fewestPairs=200)


def test_a_table_of_an_earlier_version_is_an_error_with_advice(visited: TargetRepo):
    ref = visited.add_image(200, 2)
    table = Table(measurements(5, detector=2))
    table.remove_column("error_scale_id")
    visited.butler.put(table, "target_measurements", ref.dataId, catalog=CATALOG, run="measured")
    with pytest.raises(ValueError, match="Column error_scale_id") as raised:
        run_task(visited, 2)
    assert raised.value.__notes__[-1].endswith("measure their targets again.")


def test_connections_are_sound():
    lintConnections(MeasureErrorScaleConfig.ConnectionsClass)
    assertValidInitOutput(MeasureErrorScaleTask())


@pytest.mark.parametrize("edges", [[5.0, 1.0], [5.0, 5.0], [np.inf], [np.nan]])
def test_wrong_limits_of_bins_are_refused(edges: list[float]):
    config = MeasureErrorScaleConfig()
    config.snrEdges = edges
    with pytest.raises(ValueError, match="Limits of bins are finite numbers, ascending"):
        config.validate()


@pytest.mark.slow
def test_the_pipeline_writes_what_can_be_certified(visited: TargetRepo):
    run_well("pipetask", "run", "-b", visited.root, "-p", PIPELINE, "-i", "measured", "-o", "scales",
             "--register-dataset-types", "-d", f"instrument='SPHEREx' AND catalog='{CATALOG}'")  # fmt: skip
    run_well("butler", "certify-calibrations", visited.root, "scales", "calib/errors", "error_scale")
    with Butler.from_config(str(visited.root), collections="calib/errors") as butler:
        (ref,) = butler.query_datasets("error_scale")
        table = butler.get(ref)
    assert ref.dataId["detector"] == 1
    assert table.meta["images"] == 2
    assert repr(table["scale"].tolist()) == repr(run_task(visited, 1)["scale"].tolist())


@pytest.mark.slow
def test_errors_are_scaled_on_request_by_the_certified_scale(repo: Path):  # noqa: F811
    """The scale of detector 4 has no bin for the faint source, and detector 1 has no scale."""
    scale = make_table(
        {"detector": 4, "snr_low": [-np.inf, 100.0], "snr_high": [100.0, np.inf], "pairs": [3, 500],
         "scale": [np.nan, 1.5], "aperture_scale": [np.nan, 2.0]}, 2, columns=SCALE_COLUMNS,
    )  # fmt: skip
    with Butler.from_config(str(repo), writeable=True, run="scales") as butler:
        register_scale(butler)
        ref = butler.put(scale, "error_scale", instrument="SPHEREx", detector=4)
    run_well("butler", "certify-calibrations", repo, "scales", "calib/errors", "error_scale")
    inputs = "SPHEREx/level2,SPHEREx/calib,calib/errors"
    run_pipeline(repo, "plain", inputs=inputs)
    log = run_pipeline(repo, "scaled", "-c", "measureTargets:scaleErrors=True", inputs=inputs)
    assert re.search(r"No error_scale is valid for 2 of \d+ images: their errors are not scaled\.", log)
    with Butler.from_config(str(repo)) as butler:
        for target in ("bright", "faint"):
            plain, scaled = (
                spherex.get_spectrum(butler, "mine", target, collections=name) for name in ("plain", "scaled")
            )
            is_scaled = (plain["detector"] == 4) & (plain["flux"] > 100 * plain["flux_error"])
            assert is_scaled.sum() == (2 if target == "bright" else 0)
            for name, factor in (("flux_error", 1.5), ("aperture_flux_error", 2.0)):
                ratio = (scaled[name] / plain[name]).value
                np.testing.assert_allclose(ratio, np.where(is_scaled, factor, 1.0))
            np.testing.assert_array_equal(scaled["flux"].value, plain["flux"].value)
            ids = scaled["error_scale_id"].tolist()
            assert ids == np.where(is_scaled, str(ref.id), "").tolist()
            assert np.isfinite(scaled["error_scale"]).tolist() == is_scaled.tolist()
