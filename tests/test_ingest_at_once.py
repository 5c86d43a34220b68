"""Several ingests of one repository at once, in processes of their own, with SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lsst.daf.butler import Butler

from .calibrations_helpers import NEW, OLD, rows_of, write_wcs
from .ingest_helpers import butler_command, snapshot
from .level2_helpers import NEWER, OLDER, RUN, chain_of, ingest_level2, write_level2

PROCESSES = 4
EXPOSURES = 5

WORKER = """
import sys
from tests.ingest_helpers import butler_command
print("ready", flush=True)
for line in sys.stdin:
    outcome = butler_command(*line.rstrip("\\n").split("\\t"))
    print(repr(outcome.output if outcome.code else outcome.counts["ingested"]), flush=True)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def shared_repo(request: pytest.FixtureRequest, tmp_path: Path, make_repo: Callable[..., Path]) -> Path:
    """Return an empty repository for several writers."""
    if request.param == "sqlite":
        return make_repo(tmp_path / "shared")
    namespace = re.sub(r"\W", "_", request.node.name)[:30].lower()
    return make_repo(
        tmp_path / "shared", registry__db=request.getfixturevalue("postgresql"), registry__namespace=namespace
    )


@pytest.fixture(scope="module")
def run_at_once() -> Iterator[Callable[[list[list[object]]], list[str]]]:
    """Return a function that gives commands at once, one in each process, and returns what came of them."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", WORKER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(subprocess.Popen(command, text=True, cwd=root, **pipes))  # type: ignore[call-overload]
            for _ in range(PROCESSES)
        ]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"

        def run(commands: list[list[object]]) -> list[str]:
            for worker, words in zip(workers, commands, strict=True):
                worker.stdin.write("\t".join(map(str, words)) + "\n")
                worker.stdin.flush()
            return [worker.stdout.readline().strip() for worker in workers]

        yield run


@pytest.mark.slow
def test_all_files_of_new_runs_are_ingested(
    shared_repo: Path,
    tmp_path: Path,
    make_repo: Callable[..., Path],
    run_at_once: Callable[[list[list[object]]], list[str]],
) -> None:
    runs = [RUN, OLDER, NEWER]
    for run in runs:
        for number in range(EXPOSURES):
            for detector in range(1, 7):
                # Each process has detectors of all exposures, so that they complete each other's records.
                part = (number * 6 + detector) % PROCESSES
                write_level2(tmp_path / run / str(part), number, detector, run=run, seed=number)
        outcomes = run_at_once([["ingest-level2", shared_repo, tmp_path / run / str(i)] for i in range(PROCESSES)])
        counts = [sum((n * 6 + d) % PROCESSES == i for n in range(EXPOSURES) for d in range(1, 7)) for i in range(4)]
        assert outcomes == [str(count) for count in counts]
    assert chain_of(shared_repo) == [f"SPHEREx/level2/{run}" for run in (NEWER, RUN, OLDER)]
    # The same as one after the other.
    single = make_repo(tmp_path / "single")
    for run in runs:
        ingest_level2(single, "--transfer", "copy", tmp_path / run)
    ours, theirs = snapshot(shared_repo), snapshot(single)
    for name in ("exposure", "exposure_detector_region", "collections"):
        assert ours[name] == theirs[name]
    assert [ref for _, ref, _ in ours["datasets"]] == [ref for _, ref, _ in theirs["datasets"]]
    with Butler.from_config(str(shared_repo)) as butler:
        for run in runs:
            refs = butler.query_datasets("level2_wavelength", f"SPHEREx/level2/{run}")
            assert len(refs) == 6
            assert all(butler.get(ref) for ref in refs)


def test_the_same_files_are_ingested_once(
    shared_repo: Path, tmp_path: Path, run_at_once: Callable[[list[list[object]]], list[str]]
) -> None:
    for detector in range(1, 7):
        write_level2(tmp_path / "in", 0, detector)
    outcomes = run_at_once([["ingest-level2", "--transfer", "copy", shared_repo, tmp_path / "in"]] * PROCESSES)
    assert sorted(outcomes) == ["0", "0", "0", "6"]
    with Butler.from_config(str(shared_repo)) as butler:
        assert all(butler.get(ref).shape == (6, 6) for ref in butler.query_datasets("level2", "SPHEREx/level2"))


def test_calibrations_are_certified(
    shared_repo: Path, tmp_path: Path, run_at_once: Callable[[list[list[object]]], list[str]]
) -> None:
    for run in (OLD, NEW):
        for detector in range(1, PROCESSES + 1):
            write_wcs(tmp_path / run / str(detector), run, detector)
        outcomes = run_at_once(
            [["ingest-calibrations", shared_repo, tmp_path / run / str(i + 1)] for i in range(PROCESSES)]
        )
        assert outcomes == ["1"] * PROCESSES
    assert len(rows_of(shared_repo)) == PROCESSES
    listed = butler_command("query-datasets", shared_repo, "spectral_wcs", "--collections", f"SPHEREx/calib/{NEW}")
    assert listed.output.count(NEW) == PROCESSES
