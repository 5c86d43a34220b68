"""Benchmark of `spherex.tasks.SubtractTask` against the arithmetic alone."""

from __future__ import annotations

__all__ = ["run"]

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from spherex.fits import read_product
from spherex.tasks import SubtractTask

from .files import simulate
from .measure import cost_of, take_turns
from .report import Row, ratio_row
from .scale import Scale


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    simulate(scratch, 1, scale.side, "--detectors", "1")
    image = read_product(scratch / "sim_exposure_000000_array_1.fits")
    dark = read_product(scratch / "sim_exposure_000000_array_1_dark_current.fits")
    ours = [np.array(plane) for plane in (image.data, image.variance, image.flags)]
    theirs = [np.array(plane) for plane in (dark.data, dark.variance, dark.flags)]
    results = [np.empty_like(plane) for plane in ours]
    task = SubtractTask()

    def arithmetic(outputs: list[np.ndarray]) -> Callable[[], None]:
        def work() -> None:
            for operation, first, second, output in zip(
                (np.subtract, np.add, np.bitwise_or), ours, theirs, outputs, strict=True
            ):
                operation(first, second, out=output)

        return work

    works: dict[str, Callable[[], object]] = {
        "task": lambda: task.run(image, dark),
        "out": arithmetic(results),
        "in place": arithmetic(ours),
    }
    for work in works.values():
        work()
    costs = take_turns({name: partial(cost_of, work) for name, work in works.items()}, scale.short_rounds)
    return [
        ratio_row("SubtractTask.run, against three ufuncs with out=", costs["task"], costs["out"], 2.0),
        ratio_row("the same, against three ufuncs in place", costs["task"], costs["in place"], None),
    ]
