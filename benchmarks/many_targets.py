"""Benchmark of `spherex.tasks.MeasureTargetsTask` for many targets on whole frames, against reads of the frames."""

from __future__ import annotations

__all__ = ["run"]

import os
import shutil
from functools import partial
from pathlib import Path

from .measure import Cost, median_cost, take_turns
from .report import Row, ratio_row
from .scale import Scale
from .target_frames import TargetFrames, measure_in_process

_ANCHOR = 0.6
"""Images per second of the tool of IRSA, the host of the archive."""


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    frames, catalog = TargetFrames(scratch, scale.side), scratch / "catalog.ecsv"
    frames.write_catalog(catalog, scale.targets)
    files = frames.write_frames(scale.target_frames)
    repo = frames.make_repository(scratch / "repo", catalog, [files])
    works = {name: partial(measure_in_process, repo, name) for name in ("task", "frames")}
    costs = take_turns(works, scale.rounds)
    shutil.rmtree(repo)
    number = len(os.listdir(files))
    label = f"{scale.targets} targets on {number} frames"
    wall = median_cost(costs["task"]).wall / number
    return [
        ratio_row(f"{label}, per frame, against get of the frames", costs["task"], costs["frames"], 3.0, number),
        ratio_row(
            f"{label}, per frame, against IRSA's tool",
            costs["task"],
            [Cost(number / _ANCHOR, number / _ANCHOR)],
            1.0,
            number,
        ),
        Row(f"{label}, measurements a second", f"{scale.targets / wall:.0f}"),
    ]
