"""Runs of ``pipetask`` on small simulated images."""

from __future__ import annotations

__all__ = ["DETECTORS", "run_pipetask", "small_repository"]

import itertools
import sys
from pathlib import Path

from .files import DETECTORS, make_repository, simulate
from .measure import Cost, run_process, search_path

_SIDE = 64
_SERIAL = itertools.count()


def small_repository(scratch: Path, exposures: int) -> Path:
    """Make a repository of images of 64 x 64 pixels, raw and dark."""
    files = scratch / "simulated"
    simulate(files, exposures, _SIDE)
    repo = make_repository(scratch / "repo")
    for options in ((), ("--regex", "dark_current.fits", "--ingest-type", "dark")):
        _run(
            "lsst.daf.butler.cli.butler",
            "ingest-simulated",
            "--transfer",
            "direct",
            *options,
            str(repo),
            str(files),
        )
    return repo


def run_pipetask(
    repo: Path, task: str, quanta: int, *options: str, program: str = "lsst.ctrl.mpexec.cli.pipetask"
) -> Cost:
    """Run one task on the first images of the repository, whole detectors of whole exposures.

    Parameters
    ----------
    repo
        The repository.
    task
        Full name of its class.
    quanta
        Number of images.
    options
        Further options of ``pipetask run``.
    program
        Module whose function ``main`` is run.
    """
    full, rest = divmod(quanta, DETECTORS)
    where = f"instrument='simulator' AND (exposure < {full} OR (exposure = {full} AND detector <= {rest}))"
    output = f"run{next(_SERIAL)}"
    words = ["run", "-b", str(repo), "-t", task, "-i", "rawexpr,darkr", "-o", output, "-d", where]
    return _run(program, *words, "--register-dataset-types", *options)


def _run(command: str, *words: str) -> Cost:
    module = f"import sys; from {command} import main; sys.exit(main())"
    cost, output = run_process([sys.executable, "-c", module, *words], search_path())
    return cost
