"""Costs of pieces of work, taken in turns."""

from __future__ import annotations

__all__ = ["Cost", "cost_of", "median_cost", "run_process", "run_program", "search_path", "take_turns"]

import dataclasses
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PROGRAMS = {"butler": "lsst.daf.butler.cli.butler", "pipetask": "lsst.ctrl.mpexec.cli.pipetask"}
"""Module of each program."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a piece of work cost.

    Parameters
    ----------
    cpu
        Time of the processors, user and system (s).
    wall
        Time that went by (s).
    memory
        Largest resident size of the process (bytes); 0 if it was not looked at.
    """

    cpu: float
    wall: float
    memory: int = 0

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu - other.cpu, self.wall - other.wall)

    def __truediv__(self, number: float) -> Cost:
        return Cost(self.cpu / number, self.wall / number, self.memory)


def cost_of(work: Callable[[], object]) -> Cost:
    """Do some work in this process and return its cost.

    What it returns is given up after the clocks have stopped.
    """
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall)
    del result
    return cost


def search_path() -> dict[str, str]:
    """Return the variable by which a process finds this package, and all that we find."""
    root = str(Path(__file__).parents[1])
    return {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}


def run_process(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> tuple[Cost, str]:
    """Run a command to its end.

    Parameters
    ----------
    command
        Program and arguments.
    environment
        Variables that differ from our own.

    Returns
    -------
    cost
        Cost of the process and of those children that it waited for; the
        memory is that of the largest one.
    output
        What it printed.

    Raises
    ------
    RuntimeError
        If it failed.
    """
    words = [str(word) for word in command]
    with subprocess.Popen(
        words,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        wall = time.perf_counter()
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cost = Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - wall, usage.ru_maxrss * 1024)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with status {process.returncode}:\n{output}")
    return cost, output


def run_program(program: str, *words: object, environment: Mapping[str, str] | None = None) -> tuple[Cost, str]:
    """Run ``butler`` or ``pipetask`` to its end, with this package and all that we find.

    Parameters
    ----------
    program
        ``butler`` or ``pipetask``.
    *words
        Its arguments.
    environment
        Variables that differ from our own.

    Returns
    -------
    cost, output
        As for `run_process`.

    Raises
    ------
    RuntimeError
        If it failed.
    """
    code = f"import sys; from {_PROGRAMS[program]} import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, words)]
    return run_process(command, {**search_path(), **(environment or {})})


def take_turns(works: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Measure several works in turns, so that each meets the same weather.

    Parameters
    ----------
    works
        Functions that do some work and return its cost, by name.
    rounds
        Number of times that each is called. Every other round goes backwards.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for turn in range(rounds):
        for name in list(works)[:: 1 if turn % 2 == 0 else -1]:
            costs[name].append(works[name]())
    return costs


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the medians of costs, each on its own."""
    return Cost(
        statistics.median(cost.cpu for cost in costs),
        statistics.median(cost.wall for cost in costs),
        int(statistics.median(cost.memory for cost in costs)),
    )
