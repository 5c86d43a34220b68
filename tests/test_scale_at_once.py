"""Several commands that write to one repository at once, in processes of their own, with SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, DatasetType

from spherex.instrument import SPHEREx

from .calibrations_helpers import NEW, OLD, rows_of, write_wcs
from .ingest_helpers import Outcome, butler_command, datasets, snapshot, write_files
from .level2_helpers import NEWER, OLDER, RUN, chain_of, ingest_level2, write_level2
from .targets_helpers import kept, positions, register, write_csv

PROCESSES = 4
OTHERS_WERE_FASTER = "another process has just registered targets of this catalogue. Run the same command again."
RunAtOnce = Callable[[list[list[object]]], list[Outcome]]
EXPOSURES = 5

WORKER = """
import contextlib, json, sys, traceback
from tests.ingest_helpers import butler_command
print("ready", flush=True)
for line in sys.stdin:
    # The runner of commands prints, too.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            outcome = butler_command(*json.loads(line))
            answer = outcome.code, outcome.output
        except BaseException:
            answer = 1, traceback.format_exc()
    print(json.dumps(answer), flush=True)
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
def run_at_once() -> Iterator[RunAtOnce]:
    """Return a function that gives commands at once, one in each process, and returns what came of them."""
    command = [sys.executable, "-c", WORKER]
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    command, text=True, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for _ in range(PROCESSES)
        ]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"

        def run(commands: list[list[object]]) -> list[Outcome]:
            for worker, words in zip(workers, commands, strict=True):
                worker.stdin.write(json.dumps(list(map(str, words))) + "\n")
                worker.stdin.flush()
            return [Outcome(*json.loads(worker.stdout.readline())) for worker in workers]

        yield run


def ingested(outcomes: list[Outcome]) -> list[int]:
    """Return the numbers of files that each ingested."""
    assert [outcome.code for outcome in outcomes] == [0] * PROCESSES, outcomes
    return [outcome.counts["ingested"] for outcome in outcomes]


@pytest.mark.slow
def test_all_files_of_new_runs_are_ingested(
    shared_repo: Path,
    tmp_path: Path,
    make_repo: Callable[..., Path],
    run_at_once: RunAtOnce,
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
        assert ingested(outcomes) == counts
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


def test_the_same_files_are_ingested_once(shared_repo: Path, tmp_path: Path, run_at_once: RunAtOnce) -> None:
    for detector in range(1, 7):
        write_level2(tmp_path / "in", 0, detector)
    outcomes = run_at_once([["ingest-level2", "--transfer", "copy", shared_repo, tmp_path / "in"]] * PROCESSES)
    assert sorted(ingested(outcomes)) == [0, 0, 0, 6]
    with Butler.from_config(str(shared_repo)) as butler:
        assert all(butler.get(ref).shape == (6, 6) for ref in butler.query_datasets("level2", "SPHEREx/level2"))


@pytest.mark.slow
def test_simulated_files_are_ingested_once(shared_repo: Path, tmp_path: Path, run_at_once: RunAtOnce) -> None:
    for dark, options in (False, []), (True, ["--regex", "dark_current.fits", "--ingest-type", "dark"]):
        folder = tmp_path / f"in{dark}"
        for number in range(PROCESSES):
            write_files(folder / "parts" / str(number), 2, (number + 1,), dark=dark)
        words = ["ingest-simulated", "--transfer", "copy", *options, shared_repo]
        parts = run_at_once([[*words, folder / "parts" / str(number)] for number in range(PROCESSES)])
        assert ingested(parts) == [2] * PROCESSES
        write_files(folder / "same", 2, (5, 6), dark=dark)
        assert sorted(ingested(run_at_once([[*words, folder / "same"]] * PROCESSES))) == [0, 0, 0, 4]
    for name in ("rawexp", "dark"):
        assert sorted(datasets(shared_repo, name)) == [(exposure, d) for exposure in range(2) for d in range(1, 7)]
    with Butler.from_config(str(shared_repo)) as butler:
        assert all(butler.get(ref).shape == (16, 16) for ref in butler.query_datasets("rawexp", "rawexpr"))


@pytest.mark.slow
def test_own_calibrations_are_certified(shared_repo: Path, run_at_once: RunAtOnce) -> None:
    with Butler.from_config(str(shared_repo), writeable=True) as butler:
        SPHEREx().register(butler.registry)
        kind = DatasetType(
            "own", ("instrument", "detector"), "StructuredDataDict", universe=butler.dimensions, isCalibration=True
        )
        butler.registry.registerDatasetType(kind)
        runs = [f"made/{number}" for number in range(PROCESSES)]
        for detector, run in enumerate([*runs, "made/same"], start=1):
            butler.collections.register(run)
            butler.put({}, kind, instrument="SPHEREx", detector=detector, run=run)

    def certified() -> list[int]:
        with Butler.from_config(str(shared_repo)) as butler:
            rows = butler.registry.queryDatasetAssociations("own", collections="own/calib")
            return sorted(row.ref.dataId["detector"] for row in rows)

    outcomes = run_at_once([["certify-calibrations", shared_repo, run, "own/calib", "own"] for run in runs])
    assert [outcome.code for outcome in outcomes] == [0] * PROCESSES, outcomes
    assert certified() == [1, 2, 3, 4]
    # Twice for the same time is refused.
    outcomes = run_at_once([["certify-calibrations", shared_repo, "made/same", "own/calib", "own"]] * PROCESSES)
    assert sorted(outcome.code for outcome in outcomes) == [0, 1, 1, 1], outcomes
    # The stock command prints a traceback above it.
    reasons = [outcome.output.strip().splitlines()[-1] for outcome in outcomes if outcome.code]
    assert all("alidity range conflict" in reason for reason in reasons), reasons
    assert certified() == [1, 2, 3, 4, 5]


def test_calibrations_are_certified(shared_repo: Path, tmp_path: Path, run_at_once: RunAtOnce) -> None:
    for run in (OLD, NEW):
        for detector in range(1, PROCESSES + 1):
            write_wcs(tmp_path / run / str(detector), run, detector)
        outcomes = run_at_once(
            [["ingest-calibrations", shared_repo, tmp_path / run / str(i + 1)] for i in range(PROCESSES)]
        )
        assert ingested(outcomes) == [1] * PROCESSES
    assert len(rows_of(shared_repo)) == PROCESSES
    listed = butler_command("query-datasets", shared_repo, "spectral_wcs", "--collections", f"SPHEREx/calib/{NEW}")
    assert listed.output.count(NEW) == PROCESSES


@pytest.mark.slow
def test_catalogues_are_registered(shared_repo: Path, tmp_path: Path, run_at_once: RunAtOnce) -> None:
    files = [write_csv(tmp_path / f"{i}.csv", f"a,{10 * i},20", f"b,{10 * i + 1},20") for i in range(PROCESSES)]
    outcomes = run_at_once([["register-targets", shared_repo, f"c{i}", file] for i, file in enumerate(files)])
    assert [outcome.code for outcome in outcomes] == [0] * PROCESSES, outcomes
    for i in range(PROCESSES):
        assert positions(shared_repo, f"c{i}") == {"a": (10 * i, 20), "b": (10 * i + 1, 20)}


@pytest.mark.slow
def test_the_same_catalogue_is_registered_once(shared_repo: Path, tmp_path: Path, run_at_once: RunAtOnce) -> None:
    file = write_csv(tmp_path / "targets.csv", *(f"t{number},{number},20" for number in range(50)))
    outcomes = run_at_once([["register-targets", shared_repo, "same", file]] * PROCESSES)
    assert sum(outcome.output.startswith("Targets of catalogue same: 50 new") for outcome in outcomes) == 1
    for outcome in outcomes:
        assert (outcome.code == 0) == (OTHERS_WERE_FASTER not in outcome.output), outcome
    assert positions(shared_repo, "same") == {f"t{number}": (number, 20) for number in range(50)}
    (again,) = {
        outcome.output for outcome in run_at_once([["register-targets", shared_repo, "same", file]] * PROCESSES)
    }
    assert again.startswith("Nothing to do")


@pytest.mark.slow
def test_targets_are_where_the_newest_table_has_them(shared_repo: Path, tmp_path: Path, run_at_once: RunAtOnce) -> None:
    rows = [f"t{number},{number},20" for number in range(PROCESSES)]
    register(shared_repo, "mine", write_csv(tmp_path / "first.csv", *rows))
    # Each moves a target of its own.
    files = [
        write_csv(tmp_path / f"{i}.csv", *(row.replace(",20", ",21") if i == n else row for n, row in enumerate(rows)))
        for i in range(PROCESSES)
    ]
    outcomes = run_at_once([["register-targets", shared_repo, "--update", "mine", file] for file in files])
    for outcome in outcomes:
        assert (outcome.code == 0) == (OTHERS_WERE_FASTER not in outcome.output), outcome
    table = kept(shared_repo, "mine")
    newest = zip(table["ra"].tolist(), table["dec"].tolist(), strict=True)
    assert positions(shared_repo, "mine") == dict(zip(table["name"].tolist(), newest, strict=True))
    for file in files:
        assert register(shared_repo, "mine", file, "--update").code == 0
    assert positions(shared_repo, "mine") == {"t0": (0, 20), "t1": (1, 20), "t2": (2, 20), "t3": (3, 21)}
