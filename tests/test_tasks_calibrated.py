"""Graphs with calibrations that are looked up by time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from astropy.time import Time, TimeDelta
from lsst.daf.butler import Butler, CalibrationLookupError, CollectionType, DatasetRef, DatasetType, Timespan
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.pipe.base import Pipeline, PipelineGraph
from lsst.pipe.base.all_dimensions_quantum_graph_builder import AllDimensionsQuantumGraphBuilder
from lsst.pipe.base.testUtils import lintConnections

from spherex.image import SPHERExImage
from spherex.tasks import CalibratedSubtractConnections, CalibratedSubtractTask, MissingCalibrationError

BOUNDARY = Time("2026-11-23T00:10:00", scale="tai")
# Begin and end of exposures, seconds from the boundary.
EXPOSURES = {
    10: (-400, -200),
    11: (-120, 0),
    12: (0, 120),
    13: (200, 400),
    20: (-100, 20),
    21: (-20, 100),
    22: (-60, 60),
}
DETECTORS = (3, 4)


def at(seconds: float | None) -> Time | None:
    return None if seconds is None else BOUNDARY + TimeDelta(seconds, format="sec")


def image() -> SPHERExImage:
    return SPHERExImage(np.ones((4, 4), np.float32), unit="electron/s", variance=np.ones((4, 4), np.float32))


@pytest.fixture
def repo(butler: Butler, register: Any) -> Butler:
    """Return a repository of raw images around a boundary, and two sets of darks in runs `early` and `late`."""
    register("rawexp", "SPHERExImage")
    butler.registry.registerDatasetType(
        DatasetType(
            "combined_dark", ("instrument", "detector"), "SPHERExImage", universe=butler.dimensions, isCalibration=True
        )
    )
    for exposure, (begin, end) in EXPOSURES.items():
        record = {"instrument": "simulator", "id": exposure, "name": f"sim_{exposure}", "group_name": "x"}
        butler.registry.insertDimensionData("exposure", record | {"timespan": Timespan(at(begin), at(end))})
        for detector in DETECTORS:
            place = {"instrument": "simulator", "exposure": exposure, "detector": detector}
            butler.registry.insertDimensionData("exposure_detector_region", place)
            butler.put(image(), "rawexp", place)
    for run in ("early", "late", "better"):
        butler.collections.register(run)
        for detector in DETECTORS:
            butler.put(image(), "combined_dark", instrument="simulator", detector=detector, run=run)
    return butler


def certify(
    butler: Butler,
    run: str,
    collection: str,
    begin: float | None,
    end: float | None,
    detectors: Sequence[int] = DETECTORS,
) -> None:
    butler.collections.register(collection, CollectionType.CALIBRATION)
    refs = [ref for ref in butler.query_datasets("combined_dark", run) if ref.dataId["detector"] in detectors]
    butler.registry.certify(collection, refs, Timespan(at(begin), at(end)))


@pytest.fixture
def certified(repo: Butler) -> Butler:
    certify(repo, "early", "calib", -500, 0)
    certify(repo, "late", "calib", 0, 500)
    return repo


def pipeline_graph(**config: Any) -> PipelineGraph:
    pipeline = Pipeline.from_uri("resource://spherex/pipelines/CalibratedPipeline.yaml#calibration")
    for name, value in config.items():
        pipeline.addConfigOverride("subtractDark", name, value)
    return pipeline.to_graph()


def used(
    butler: Butler, *collections: str, graph: PipelineGraph | None = None, **config: Any
) -> dict[tuple[int, int], DatasetRef]:
    """Build a graph; return the dark of each exposure and detector."""
    builder = AllDimensionsQuantumGraphBuilder(
        pipeline_graph(**config) if graph is None else graph,
        butler,
        input_collections=["run", *collections],
        output_run="out",
    )
    quanta = builder.finish(attach_datastore_records=False).assemble().build_execution_quanta(task_label="subtractDark")
    found = {}
    for quantum in quanta.values():
        (dark,) = quantum.inputs["combined_dark"]
        found[quantum.dataId["exposure"], quantum.dataId["detector"]] = dark
    return found


def runs(found: dict[tuple[int, int], DatasetRef]) -> dict[int, str]:
    """Return the run of the dark of each exposure, the same for all detectors."""
    for (_, detector), ref in found.items():
        assert ref.dataId["detector"] == detector
    by_exposure: dict[int, set[str]] = {}
    for (exposure, _), ref in found.items():
        by_exposure.setdefault(exposure, set()).add(ref.run)
    assert all(len(names) == 1 for names in by_exposure.values())
    return {exposure: names.pop() for exposure, names in by_exposure.items()}


def test_each_exposure_gets_the_dark_of_its_time(certified, caplog):
    with caplog.at_level(logging.WARNING, "spherex"):
        found = used(certified, "calib")
    assert len(found) == len(EXPOSURES) * len(DETECTORS)
    late = {12, 13, 21, 22}
    assert runs(found) == {exposure: "late" if exposure in late else "early" for exposure in EXPOSURES}
    warned = {record.getMessage() for record in caplog.records}
    # Those during which the dark changes, and no others, are named.
    assert len(warned) == 3 * len(DETECTORS)
    assert any("exposure 20 of detector 3" in text for text in warned)
    assert not any("exposure 11" in text or "exposure 12" in text for text in warned)


def test_the_stock_lookup_still_gives_up(certified):
    # The reason for a lookup of our own; once this fails it can go.
    pipeline = Pipeline.from_uri("resource://spherex/pipelines/CalibratedPipeline.yaml#calibration")
    graph = pipeline.to_graph()
    connection = graph.tasks["subtractDark"].get_connections().subtractImage
    object.__setattr__(connection, "lookupFunction", None)
    with pytest.raises(CalibrationLookupError):
        used(certified, "calib", graph=graph)


def test_the_first_collection_wins(certified):
    certify(certified, "better", "calib2", -150, 500)
    assert runs(used(certified, "calib2", "calib"))[10] == "early"
    better = runs(used(certified, "calib2", "calib"))
    assert {exposure for exposure, run in better.items() if run == "better"} == set(EXPOSURES) - {10}
    assert set(runs(used(certified, "calib", "calib2")).values()) == {"early", "late"}
    certified.collections.register("chain", CollectionType.CHAINED)
    certified.collections.redefine_chain("chain", ["calib2", "calib"])
    assert runs(used(certified, "chain")) == better


def test_a_run_before_calibrations_is_valid_always(certified):
    assert set(runs(used(certified, "better", "calib")).values()) == {"better"}
    assert set(runs(used(certified, "calib", "better")).values()) == {"early", "late"}


def test_a_range_ends_before_its_end(repo):
    certify(repo, "early", "calib", -500, -300)
    certify(repo, "late", "calib", -250, 500)
    # The middle of exposure 10 is the end of the first range.
    assert set(runs(used(repo, "calib", leaveOutUncalibrated=True))) == set(EXPOSURES) - {10}


def test_a_range_without_end_is_valid_for_all(repo):
    certify(repo, "late", "calib", None, None)
    assert set(runs(used(repo, "calib")).values()) == {"late"}


def test_overlapping_ranges_are_refused_when_they_are_certified(certified):
    with pytest.raises(ConflictingDefinitionError, match="validity range conflicts"):
        certify(certified, "better", "calib", -10, 10)


def test_missing_calibrations_are_told_in_one_line_each(repo):
    certify(repo, "early", "calib", -500, 150)
    certify(repo, "late", "calib", 150, 500, detectors=[4])
    with pytest.raises(MissingCalibrationError) as raised:
        used(repo, "calib")
    first, *others = str(raised.value).splitlines()
    assert "detector 3, exposure 13, is valid at 2026-11-23T00:15:00.000000" in first
    assert "in run, calib." in first
    assert "butler certify-calibrations REPO RUN CALIBRATION_COLLECTION combined_dark --begin-date" in first
    # The other detector has all it needs.
    assert others == ["Or leave such images out: -c subtractDark:leaveOutUncalibrated=True"]


def test_missing_ones_of_many_exposures_share_a_line(repo):
    with pytest.raises(MissingCalibrationError) as raised:
        used(repo)
    lines = str(raised.value).splitlines()
    assert len(lines) == len(DETECTORS) + 1
    assert "exposure 10 and 6 more" in lines[0]
    assert "2026-11-23T00:05:00.000000 to 2026-11-23T00:15:00.000000" in lines[0]


def test_images_without_dark_are_left_out_on_demand(repo, caplog):
    certify(repo, "early", "calib", -500, 150)
    certify(repo, "late", "calib", 150, 500, detectors=[4])
    found = used(repo, "calib", leaveOutUncalibrated=True)
    assert len(found) == len(EXPOSURES) * len(DETECTORS) - 1
    assert (13, 3) not in found
    assert "1 images are left out" in caplog.text
    assert "detector 3, exposure 13" in caplog.text


def test_an_exposure_of_unknown_time_is_told(certified):
    place = {"instrument": "simulator", "exposure": 1, "detector": 3}
    certified.put(image(), "rawexp", place)
    with pytest.raises(MissingCalibrationError, match="detector 3, exposure 1: .* does not know the time"):
        used(certified, "calib")


def test_a_repository_that_never_had_darks(butler, register):
    register("rawexp", "SPHERExImage")
    butler.put(image(), "rawexp", instrument="simulator", exposure=1, detector=3)
    with pytest.raises(MissingCalibrationError, match="does not know the time"):
        used(butler)


def test_a_pipeline_that_is_used_again_sees_what_was_certified_since(repo):
    graph = pipeline_graph()
    with pytest.raises(MissingCalibrationError):
        used(repo, graph=graph)
    certify(repo, "early", "calib", None, None)
    assert set(runs(used(repo, "calib", graph=graph)).values()) == {"early"}
    repo.registry.decertify("calib", "combined_dark", Timespan(None, None))
    certify(repo, "late", "calib", None, None)
    assert set(runs(used(repo, "calib", graph=graph)).values()) == {"late"}


def test_a_lookup_that_was_not_finished_is_not_used_again(certified):
    lookup = pipeline_graph().tasks["subtractDark"].get_lookup_function("subtractImage")
    dataset_type = certified.get_dataset_type("combined_dark")
    data_id = certified.registry.expandDataId(instrument="simulator", exposure=10, detector=3)

    def ask() -> str:
        (ref,) = lookup(dataset_type, certified.registry, data_id, ["calib"])
        return ref.run

    assert ask() == "early"
    certified.registry.decertify("calib", "combined_dark", Timespan(None, None))
    certify(certified, "better", "calib", None, None)
    assert ask() == "better"


def test_connections_are_sound():
    lintConnections(CalibratedSubtractConnections)
    assert CalibratedSubtractTask.ConfigClass.ConnectionsClass is CalibratedSubtractConnections
