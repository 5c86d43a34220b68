"""Quantum graph with a calibration by time, against the same without."""

from __future__ import annotations

__all__ = ["run"]

import itertools
import os
import shutil
from functools import partial
from pathlib import Path

from astropy.time import Time, TimeDelta
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, Timespan

from spherex.detectors import DETECTORS
from spherex.instrument import SimulatorInstrument

from .files import make_repository
from .measure import Cost, run_program, take_turns
from .report import Row, ratio_row
from .scale import Scale

_ROOT = Path(__file__).parents[1]
_PATH = os.pathsep.join([str(_ROOT), str(_ROOT / "python")])
_BEGIN = Time("2026-11-23T00:00:00", scale="tai")
_CADENCE, _LENGTH = 129.0, 113.6  # seconds
_RANGES = 10
"""Darks, one after the other, of a detector."""
_SERIAL = itertools.count()
_TASKS = {
    "ours": "spherex.tasks.CalibratedSubtractTask",
    "without": "benchmarks.tasks.WriteTask",
}


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    exposures = scale.graph // len(DETECTORS)
    repo = _repository(scratch / "repo", exposures)
    works = {name: partial(_build, repo, task) for name, task in _TASKS.items()}
    costs = take_turns(works, scale.rounds)
    shutil.rmtree(repo)
    quanta = exposures * len(DETECTORS)
    return [
        ratio_row(
            f"graph of {quanta} quanta with a dark by time, against one without", costs["ours"], costs["without"], 1.3
        )
    ]


def _repository(root: Path, exposures: int) -> Path:
    """Make a repository of images without files, with darks in ten validity ranges."""
    with Butler.from_config(str(make_repository(root)), writeable=True, run="rawexpr") as butler:
        SimulatorInstrument().register(butler.registry)
        raw = DatasetType("rawexp", ("instrument", "exposure", "detector"), "SPHERExImage", universe=butler.dimensions)
        dark = DatasetType(
            "combined_dark", ("instrument", "detector"), "SPHERExImage", universe=butler.dimensions, isCalibration=True
        )
        for dataset_type in (raw, dark):
            butler.registry.registerDatasetType(dataset_type)
        places = [
            {"instrument": "simulator", "exposure": exposure, "detector": detector.id}
            for exposure in range(exposures)
            for detector in DETECTORS
        ]
        records = [
            {
                "instrument": "simulator",
                "id": exposure,
                "name": f"sim_{exposure:06d}",
                "group_name": "20261123",
                "timespan": Timespan(_at(exposure * _CADENCE), _at(exposure * _CADENCE + _LENGTH)),
            }
            for exposure in range(exposures)
        ]
        butler.registry.insertDimensionData("exposure", *records)
        butler.registry.insertDimensionData("exposure_detector_region", *places)
        butler.registry.insertDatasets(raw, places, run="rawexpr")
        butler.collections.register("calib", CollectionType.CALIBRATION)
        ranges = min(_RANGES, exposures)
        for number in range(ranges):
            butler.collections.register(f"darks{number}")
            refs: list[DatasetRef] = butler.registry.insertDatasets(
                dark,
                [{"instrument": "simulator", "detector": detector.id} for detector in DETECTORS],
                run=f"darks{number}",
            )
            # In the pause after an exposure.
            begin, end = (exposures * edge // ranges * _CADENCE - 5 for edge in (number, number + 1))
            butler.registry.certify("calib", refs, Timespan(_at(begin), _at(end)))
    return root


def _at(seconds: float) -> Time:
    return _BEGIN + TimeDelta(seconds, format="sec")


def _build(repo: Path, task: str) -> Cost:
    words = ["qgraph", "-b", str(repo), "-t", task, "-i", "rawexpr,calib", "-o", f"graph{next(_SERIAL)}"]
    cost, _ = run_program("pipetask", *words, environment={"PYTHONPATH": _PATH})
    return cost
