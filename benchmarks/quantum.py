"""Benchmark of one more quantum of ``pipetask run``, against a task that writes a small dataset."""

from __future__ import annotations

__all__ = ["run"]

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .measure import Cost, take_turns
from .pipelines import DETECTORS, run_pipetask, small_repository
from .report import Row, ratio_row
from .scale import Scale

_TASKS = {"ours": "spherex.tasks.SubtractTask", "floor": "benchmarks.tasks.WriteTask"}


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    few, many = scale.quanta
    repo = small_repository(scratch, -(-many // DETECTORS))
    works: dict[str, Callable[[], Cost]] = {}
    for name, task in _TASKS.items():
        works[name] = partial(_slope, repo, task, few, many)
    costs = take_turns(works, scale.rounds)
    shutil.rmtree(repo)
    return [
        ratio_row(
            f"SubtractTask, per quantum (from {few} and {many}), against a task that writes a note",
            costs["ours"],
            costs["floor"],
            1.15,
        )
    ]


def _slope(repo: Path, task: str, few: int, many: int) -> Cost:
    base = run_pipetask(repo, task, few)
    return (run_pipetask(repo, task, many) - base) / (many - few)
