"""Benchmark of `spherex.tasks.CombineDarkTask` against one read of its inputs."""

from __future__ import annotations

__all__ = ["run"]

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
from lsst.daf.butler import Butler, DatasetRef, DatasetType

from spherex.fits import read_product
from spherex.image import SPHERExImage
from spherex.instrument import SimulatorInstrument

from .files import make_repository, simulate
from .measure import Cost, run_process, take_turns
from .report import Row, ratio_row
from .scale import Scale

_ROOT = Path(__file__).parents[1]
_PATH = os.pathsep.join([str(_ROOT), str(_ROOT / "python")])
_MEMORY = 300e6
_BLOCK_SIZES = (14, 200)
"""Memory for a block (MB): the default of the task, and a larger value."""


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    simulate(scratch / "simulated", 1, scale.side, "--detectors", "1")
    sample = read_product(scratch / "simulated" / "sim_exposure_000000_array_1_dark_current.fits")
    repo = _repository(scratch / "repo", sample, scale.darks)
    works = {"read": partial(_process, repo, 0)} | {size: partial(_process, repo, size) for size in _BLOCK_SIZES}
    costs = take_turns(works, scale.rounds)
    shutil.rmtree(repo)
    rows = []
    for size in _BLOCK_SIZES:
        name = f"combination of {scale.darks} darks, blocks of {size} MB"
        rows.append(ratio_row(f"{name}, against reading them", costs[size], costs["read"], 6.0))
        memory = max(cost.memory for cost in costs[size])
        rows.append(
            Row(
                f"memory of the process, blocks of {size} MB",
                f"{memory / 1e6:.0f} MB",
                f"{_MEMORY / 1e6:.0f} MB",
                memory / _MEMORY,
                target=1.0,
            )
        )
    return rows


def _repository(root: Path, sample: SPHERExImage, darks: int) -> Path:
    """Make a repository of darks that scatter about a sample, each in a file of its own."""
    rng = np.random.default_rng(0)
    assert sample.variance is not None
    sigma = np.sqrt(sample.variance)
    with Butler.from_config(str(make_repository(root)), writeable=True, run="run") as butler:
        SimulatorInstrument().register(butler.registry)
        dataset_type = DatasetType(
            "dark", ("instrument", "exposure", "detector"), "SPHERExImage", universe=butler.dimensions
        )
        butler.registry.registerDatasetType(dataset_type)
        for exposure in range(darks):
            place = {"instrument": "simulator", "exposure": exposure, "detector": 1}
            record = {"instrument": "simulator", "id": exposure, "name": f"sim_{exposure:06d}", "group_name": "darks"}
            butler.registry.insertDimensionData("exposure", record)
            butler.registry.insertDimensionData("exposure_detector_region", place)
            pixels = sample.data + sigma * rng.standard_normal(sample.shape, np.float32)
            image = SPHERExImage(sample, header=sample.header.copy())
            image.data = pixels
            image.header["EXPOSURE"] = exposure
            butler.put(image, DatasetRef(dataset_type, butler.registry.expandDataId(place), run="run"))
    return root


def _process(repo: Path, block_size: int) -> Cost:
    """Read or combine in a process of its own, which tells its times without those of its start."""
    words = [sys.executable, "-m", "benchmarks.combine_dark_process", str(repo), str(block_size)]
    _, output = run_process(words, {"PYTHONPATH": _PATH})
    return Cost(**json.loads(output.splitlines()[-1]))
