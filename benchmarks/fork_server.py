"""Benchmark of ``pipetask run -j N``, with and without a fork server."""

from __future__ import annotations

__all__ = ["run"]

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .measure import Cost, median_cost, take_turns
from .pipelines import DETECTORS, run_pipetask, small_repository
from .report import Row
from .scale import Scale

_PIPETASK, _PRELOADING = "lsst.ctrl.mpexec.cli.pipetask", "spherex.tasks.fork_server"

_WAYS: dict[str, tuple[str, ...]] = {
    "-j 1": (_PIPETASK, "-j", "1"),
    "-j 2 forkserver": (_PRELOADING, "-j", "2", "--start-method", "forkserver"),
    "-j 2 forkserver of pipetask alone": (_PIPETASK, "-j", "2", "--start-method", "forkserver"),
    "-j 2 spawn": (_PIPETASK, "-j", "2", "--start-method", "spawn"),
}


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    most = max(quanta for _, quanta in scale.busy)
    repo = small_repository(scratch, -(-most // DETECTORS))
    rows = []
    for seconds, quanta in scale.busy:
        works: dict[str, Callable[[], Cost]] = {}
        for way, (program, *options) in _WAYS.items():
            settings = ("-c", f"busy:seconds={seconds}", *options)
            works[way] = partial(run_pipetask, repo, "benchmarks.tasks.BusyTask", quanta, *settings, program=program)
        costs = {way: median_cost(one) for way, one in take_turns(works, max(1, scale.rounds - 2)).items()}
        rows += [_row(way, seconds, quanta, cost, costs["-j 1"]) for way, cost in costs.items()]
    shutil.rmtree(repo)
    return rows


def _row(way: str, seconds: float, quanta: int, cost: Cost, serial: Cost) -> Row:
    # Without the processor time: the system does not count that of the children
    # of a fork server.
    return Row(
        f"{quanta} quanta of {seconds:g} s, {way}",
        f"{cost.wall:.1f} s",
        f"{serial.wall:.1f} s",
        wall_ratio=cost.wall / serial.wall,
    )
