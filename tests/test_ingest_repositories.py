from __future__ import annotations

import errno
import os
import re
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy.exc
import yaml
from lsst.daf.butler import Butler, Config, DatasetType
from lsst.resources import ResourcePath

from spherex.instrument import SimulatorInstrument
from spherex.repository import explain, is_fatal, refresh_statistics

from .ingest_helpers import (
    Outcome,
    butler_command,
    datasets,
    ingest,
    ingest_bound,
    small_file_system,
    write_file,
    write_files,
)
from .programs import run_program, run_well

CREATE = "butler create-spherex"


def assert_one_line(outcome: Outcome, *parts: str) -> None:
    """Check that the command failed with one line that says these things."""
    assert outcome.code == 1
    lines = [line for line in outcome.output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, outcome
    for part in parts:
        assert part in lines[0]


def test_missing_repository(tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    assert_one_line(ingest(tmp_path / "none", tmp_path / "in"), str(tmp_path / "none"), "is not a repository", CREATE)


def test_directory_that_is_no_repository(tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    assert_one_line(ingest(tmp_path / "in", tmp_path / "in"), "is not a repository", CREATE)


def test_command_that_is_recommended_works(tmp_path: Path) -> None:
    """Also the repository of another universe gets one that fits beside it."""
    write_file(tmp_path / "in")
    line = ingest(tmp_path / "new", tmp_path / "in").output.splitlines()[-1]
    command = line[line.index("butler create") :].split()[1:]
    assert butler_command(*command).code == 0
    assert ingest(tmp_path / "new", tmp_path / "in").code == 0


def test_another_universe(tmp_path: Path) -> None:
    Butler.makeRepo(str(tmp_path / "lsst"))
    write_file(tmp_path / "in")
    with Butler.from_config(str(tmp_path / "lsst")) as butler:
        version = butler.dimensions.version
    outcome = ingest(tmp_path / "lsst", tmp_path / "in")
    assert_one_line(outcome, f"'daf_butler' version {version}, not 'spherex'", CREATE)


@pytest.mark.parametrize(
    ("version", "lacking"),
    [
        (9001, "exposure.roll"),
        (9002, "detector.lmin"),
        (9003, "detector.r"),
        (9004, "instrument.class_name"),
        (9005, "exposure.timespan"),
        (9006, "exposure_detector_region.region"),
    ],
)
def test_universe_without_a_field_that_is_needed(tmp_path: Path, version: int, lacking: str) -> None:
    universe = yaml.safe_load(ResourcePath("resource://spherex/configs/dimensions.yaml").read())
    name, _, lost = lacking.partition(".")
    element = universe["elements"][name]
    element["metadata"] = [field for field in element.get("metadata", []) if field["name"] != lost]
    if lost == "timespan":
        del universe["topology"]["temporal"]
    if lost == "region":
        del universe["topology"]["spatial"]["observation_regions"]
    universe["version"] = version
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(universe))
    seed = Config("resource://spherex/configs/butler.yaml")
    Butler.makeRepo(
        str(tmp_path / "old"), config=seed, dimensionConfig=str(tmp_path / "old.yaml"), forceConfigRoot=False
    )
    write_file(tmp_path / "in")
    assert_one_line(ingest(tmp_path / "old", tmp_path / "in"), f"version {version}, which lacks {lacking}", CREATE)
    if name in SimulatorInstrument.record_fields:
        with (
            Butler.from_config(str(tmp_path / "old"), writeable=True) as butler,
            pytest.raises(RuntimeError, match=f"'spherex' version {version}, which lacks {lacking}"),
        ):
            SimulatorInstrument().register(butler.registry)


@pytest.mark.slow
def test_read_only_repository(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    protected = [repo_root, *repo_root.iterdir()]
    modes = [path.stat().st_mode for path in protected]
    for path in protected:
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
    outcome = ingest_bound(repo_root, tmp_path / "in")
    dry = ingest_bound(repo_root, "--dry-run", tmp_path / "in")
    for path, mode in zip(protected, modes, strict=True):
        os.chmod(path, mode)
    assert_one_line(outcome, str(repo_root), "read-only", "--dry-run")
    assert dry.code == 0
    assert dry.counts["would be ingested"] == 1


@pytest.mark.slow
def test_read_only_database(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    os.chmod(repo_root / "spherex.sqlite3", 0o444)
    outcome = ingest_bound(repo_root, tmp_path / "in")
    os.chmod(repo_root / "spherex.sqlite3", 0o644)
    assert_one_line(outcome, str(repo_root), "read-only")


def test_damaged_configuration(repo_root: Path, tmp_path: Path) -> None:
    (repo_root / "butler.yaml").write_text("{[")
    assert_one_line(ingest(repo_root, tmp_path), "cannot be opened")


def test_other_dataset_type_of_that_name(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        dataset_type = DatasetType("rawexp", ("instrument",), "AstropyHDUList", universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
    for options in ([], ["--dry-run"]):
        assert_one_line(ingest(repo_root, *options, tmp_path / "in"), "'rawexp'", "--ingest-type")


def test_run_that_is_none(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    butler_command("collection-chain", repo_root, "rawexpr", "--mode", "redefine")
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.registry.registerCollection("tags")
    assert_one_line(ingest(repo_root, "--output-run", "tags", tmp_path / "in"), "TAGGED, not RUN", "--output-run")


@pytest.mark.parametrize("run", ["../../evil", "/tmp/evil", "a//b", "a/./b", "a/"])
def test_run_outside_of_the_repository(repo_root: Path, tmp_path: Path, run: str) -> None:
    write_file(tmp_path / "in")
    assert_one_line(
        ingest(repo_root, "--output-run", run, "--transfer", "copy", tmp_path / "in"),
        repr(run),
        "not a valid name of a run",
    )


@pytest.mark.parametrize("name", ["two words", "a/b", "1st"])
def test_bad_name_of_a_dataset_type(repo_root: Path, tmp_path: Path, name: str) -> None:
    write_file(tmp_path / "in")
    assert_one_line(ingest(repo_root, "--ingest-type", name, tmp_path / "in"), name, "--ingest-type")


def test_instrument_that_differs(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.registry.insertDimensionData("instrument", {"name": "simulator", "detector_max": 3})
    outcome = ingest(repo_root, tmp_path / "in")
    assert_one_line(outcome, "'simulator'", "butler register-instrument --update")
    command = outcome.output.strip().splitlines()[-1]
    butler_command(*command[command.index("register-instrument") :].split())
    assert ingest(repo_root, tmp_path / "in").code == 0


def test_locked_database(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlalchemy.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))
    assert is_fatal(error)
    assert "another process writes" in explain(error)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_errors_that_end_an_ingest(number: int) -> None:
    error = RuntimeError("wrapped")
    error.__cause__ = OSError(number, os.strerror(number))
    assert is_fatal(error)
    assert "Error" not in explain(error)


def test_errors_nobody_thought_of() -> None:
    assert not is_fatal(RuntimeError("bad\nluck"))
    assert explain(RuntimeError("bad\nluck")) == "RuntimeError: bad; nothing of it was ingested"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 8 MB."""
    with small_file_system(tmp_path / "disk", "8m") as disk:
        yield disk


SIDE_OF_LARGE = 200
"""Makes files of half a megabyte."""


def write_large(directory: Path, exposures: int, side: int = SIDE_OF_LARGE) -> list[Path]:
    """Write files that are larger than the database grows."""
    return [
        write_file(directory, exposure, detector, side=side, seed=exposure)
        for exposure in range(exposures)
        for detector in range(1, 7)
    ]


def assert_stopped_between_exposures(repo: Path, outcome: Outcome, total: int) -> int:
    """Check that whole exposures were ingested and the rest named or counted."""
    assert outcome.code == 1
    counts = outcome.counts
    assert counts["ingested"] % 6 == 0
    assert counts["failed"] == 6
    assert counts["ingested"] + counts["failed"] + counts.get("not tried", 0) == total
    assert all("no space left; make room and run the same command again" in line for line in outcome.failures)
    with Butler.from_config(str(repo)) as butler:
        assert list(butler.collections.query("*"))
    stored = datasets(repo)
    assert len(stored) == counts["ingested"]
    assert all(Path(uri.ospath).exists() for uri in stored.values())
    return counts["ingested"]


def test_disk_full(small_disk: Path, tmp_path: Path, make_repo: Callable[..., Path]) -> None:
    repo = make_repo(small_disk / "repo")
    write_large(tmp_path / "in", 3)
    outcome = ingest(repo, "--transfer", "copy", tmp_path / "in")
    assert assert_stopped_between_exposures(repo, outcome, 18) == 12
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    again = ingest(repo, "--transfer", "copy", tmp_path / "in")
    assert again.code == 0
    assert (again.counts["ingested"], again.counts["already there"]) == (6, 12)


def test_disk_full_for_the_database(small_disk: Path, tmp_path: Path, make_repo: Callable[..., Path]) -> None:
    repo = make_repo(small_disk / "repo")
    write_files(tmp_path / "in", 2)
    with (small_disk / "ballast").open("wb") as ballast:
        try:
            while True:
                os.write(ballast.fileno(), bytes(65536))
        except OSError:
            pass
    outcome = ingest(repo, "--transfer", "direct", tmp_path / "in")
    assert_one_line(outcome, "no space left", "run the same command again")
    (small_disk / "ballast").unlink()
    assert ingest(repo, "--transfer", "direct", tmp_path / "in").counts["ingested"] == 12


def ingest_limited(repo: Path, directory: Path, limit: int) -> Outcome:
    """Ingest in a process that may not write larger files."""
    return ingest_bound(repo, "--transfer", "copy", directory, limits=[(resource.RLIMIT_FSIZE, limit)])


@pytest.mark.slow
def test_limit_of_file_sizes(repo_root: Path, tmp_path: Path) -> None:
    """The same as a full disk, where no file system can be mounted."""
    write_large(tmp_path / "in", 3, side=420)
    write_files(tmp_path / "in", 2)
    outcome = ingest_limited(repo_root, tmp_path / "in", 1_500_000)
    assert assert_stopped_between_exposures(repo_root, outcome, 18) == 12
    again = ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    assert again.code == 0
    assert (again.counts["ingested"], again.counts["already there"]) == (6, 12)


@pytest.mark.slow
@pytest.mark.parametrize("remedy", ["dry run", "as documented"])
def test_after_a_kill(repo_root: Path, tmp_path: Path, remedy: str) -> None:
    """SQLite has to undo a transaction first, for which it must write."""
    write_files(tmp_path / "in", 1)
    database = repo_root / "spherex.sqlite3"
    code = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(database)!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE half_written (x)")
connection.executemany("INSERT INTO half_written VALUES (?)", [("x" * 1000,)] * 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert Path(f"{database}-journal").exists()
    reading = run_program("butler", "query-collections", repo_root)
    assert reading.returncode == 1
    assert "attempt to write a readonly database" in reading.stderr
    if remedy == "dry run":
        outcome = ingest(repo_root, "--dry-run", tmp_path / "in")
        assert outcome.code == 0
        assert outcome.counts["would be ingested"] == 6
    else:
        text = (Path(__file__).parents[1] / "doc" / "troubleshooting.md").read_text()
        (code,) = re.findall(r'^python -c "(import sqlite3; .*)"$', text, re.MULTILINE)
        subprocess.run([sys.executable, "-c", code.replace("DATA", str(repo_root))], check=True)
    run_well("butler", "query-collections", repo_root)


def test_statistics(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 2)
    ingest(repo_root, tmp_path / "in")
    refresh_statistics(str(repo_root))
    with sqlite3.connect(repo_root / "spherex.sqlite3") as connection:
        tables = {row[0] for row in connection.execute("select tbl from sqlite_stat1")}
    connection.close()
    assert {"exposure", "exposure_detector_region"} <= tables
