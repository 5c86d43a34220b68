"""From the registration of targets to channels, against the measuring alone, with a comparison with the truth.

All frames have the same pixels, so that the pulls are those of one frame.
"""

from __future__ import annotations

__all__ = ["run"]

import datetime
import shutil
from pathlib import Path

import numpy as np
from lsst.daf.butler import Butler

from .measure import Cost, run_program
from .report import Row, ratio_row
from .scale import Scale
from .target_frames import TargetFrames

_CATALOG = "many"
_PIPELINE = "resource://spherex/pipelines/SpectrumPipeline.yaml"
_TASKS = ("measureTargets", "gatherSpectra", "combineChannels")


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    frames, catalog = TargetFrames(scratch, scale.whole_side), scratch / "catalog.ecsv"
    frames.write_catalog(catalog, scale.targets)
    repo = frames.make_repository(scratch / "repo", catalog, [frames.write_frames(scale.whole_frames)])
    register, _ = run_program("butler", "register-targets", repo, _CATALOG, catalog)
    words = ["-b", repo, "-p", _PIPELINE, "-i", f"SPHEREx/level2,SPHEREx/calib,catalogs/{_CATALOG}"]
    query = ["-d", f"instrument='SPHEREx' AND catalog='{_CATALOG}'", "--output-run", "spectra"]
    pipeline, _ = run_program("pipetask", "run", *words, *query, "--register-dataset-types")
    truth = frames.read_truth()
    true_flux = dict(zip(truth["name"].tolist(), truth["flux"].tolist(), strict=True))
    pulls: list[float] = []
    measurements = 0
    with Butler.from_config(str(repo), collections="spectra") as butler:
        costs = {name: _quanta_cost(butler, name) for name in _TASKS}
        targets = len(butler.query_dimension_records("target", catalog=_CATALOG, limit=None))
        for ref in butler.query_datasets("spectra", limit=None):
            table = butler.get(ref, storageClass="ArrowParquet")
            measurements += len(table)
            good = table.filter(table["good"])
            true = np.array([true_flux[name] for name in good["target"].to_pylist()])
            pulls += ((good["flux"].to_numpy() - true) / good["flux_error"].to_numpy()).tolist()
    shutil.rmtree(repo)
    label = f"{targets:,} targets in {scale.whole_frames:,} images, {measurements:,} measurements"
    whole = Cost(register.cpu + pipeline.cpu, register.wall + pipeline.wall)
    low, middle, high = np.percentile(pulls, [15.87, 50.0, 84.13]) if pulls else (np.nan, np.nan, np.nan)
    return [
        ratio_row(f"{label}, against the quanta of measureTargets", [whole], [costs["measureTargets"]], 1.5),
        Row("register-targets", f"{register.cpu:.3g} s CPU"),
        Row("pipetask run", f"{pipeline.cpu:.3g} s CPU, {pipeline.memory / 1e6:.0f} MB"),
        *(Row(f"quanta of {name}", f"{cost.cpu:.3g} s CPU") for name, cost in costs.items()),
        Row("(flux - truth) / error, median and half width of 68 %", f"{middle:.2f}, {(high - low) / 2:.2f}"),
    ]


def _quanta_cost(butler: Butler, task: str) -> Cost:
    """Return the cost of all quanta of a task by their metadata, reading and writing included."""
    cpu = wall = 0.0
    for ref in butler.query_datasets(f"{task}_metadata", limit=None):
        quantum = butler.get(ref)["quantum"]
        cpu += quantum["endCpuTime"] - quantum["prepCpuTime"]
        begin, end = (datetime.datetime.fromisoformat(quantum[name]) for name in ("prepUtc", "endUtc"))
        wall += (end - begin).total_seconds()
    return Cost(cpu, wall)
