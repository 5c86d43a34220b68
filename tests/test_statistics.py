"""The statistics of the database, which commands that write refresh."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler import Butler
from lsst.daf.butler.registry.databases.sqlite import SqliteDatabase

from spherex.cli import script
from spherex.cli.script import ingest as ingest_script
from spherex.ingest import IngestOptions
from spherex.repository import refresh_statistics

from .calibrations_helpers import ingest as ingest_calibrations
from .calibrations_helpers import write_wcs
from .ingest_helpers import Outcome, ingest, ingest_darks, write_files
from .targets_helpers import register, write_csv


def analysed_tables(repo: Path) -> set[str]:
    """Return the tables that have statistics."""
    engine = sqlalchemy.create_engine(f"sqlite:///{repo}/spherex.sqlite3", poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("sqlite_stat1"):
            return set()
        return set(connection.exec_driver_sql("SELECT tbl FROM sqlite_stat1").scalars())


def register_targets(repo: Path, folder: Path, number: int, *options: str) -> Outcome:
    folder.mkdir(exist_ok=True)
    rows = [f"t{index},{index / 10},0" for index in range(number)]
    return register(repo, "mine", write_csv(folder / "mine.csv", *rows), *options)


def test_after_many_targets(repo_root: Path, tmp_path: Path) -> None:
    few, many = script.MANY - 1, 2 * script.MANY - 1
    assert register_targets(repo_root, tmp_path, few).code == 0
    assert analysed_tables(repo_root) == set()
    assert register_targets(repo_root, tmp_path, many, "--update", "--dry-run").code == 0
    assert analysed_tables(repo_root) == set()
    # Those that are there already do not count: exactly enough are new.
    assert register_targets(repo_root, tmp_path, many, "--update").code == 0
    assert "target" in analysed_tables(repo_root)


def test_after_any_calibration(repo_root: Path, tmp_path: Path) -> None:
    write_wcs(tmp_path / "in")
    assert ingest_calibrations(repo_root, "--dry-run", tmp_path / "in").code == 0
    assert analysed_tables(repo_root) == set()
    assert ingest_calibrations(repo_root, tmp_path / "in").code == 0
    assert any(table.startswith("dataset_calibs_") for table in analysed_tables(repo_root))


def test_after_many_images(repo_root: Path, tmp_path: Path) -> None:
    files = write_files(tmp_path / "in", 17)
    assert ingest(repo_root, *files[: -script.MANY + 1]).code == 0
    # Only the new ones count.
    assert ingest(repo_root, *files).counts["ingested"] == script.MANY - 1 < len(files)
    assert analysed_tables(repo_root) == set()
    write_files(tmp_path / "darks", 17, dark=True)
    assert ingest_darks(repo_root, tmp_path / "darks").counts["ingested"] >= script.MANY
    assert {"exposure", "exposure_detector_region"} <= analysed_tables(repo_root)


def test_a_busy_database_is_no_failure(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(repo: str) -> None:
        raise sqlalchemy.exc.OperationalError("ANALYZE", None, Exception("database is locked"))

    monkeypatch.setattr("spherex.repository.refresh_statistics", refuse)
    outcome = register_targets(repo_root, tmp_path, script.MANY)
    assert outcome.code == 0
    assert "searches may be slow: ANALYZE failed" in outcome.output
    assert "database is locked" in outcome.output


def test_of_one_namespace(tmp_path: Path, make_repo: Callable[..., Path], postgresql: str) -> None:
    repos = [
        make_repo(tmp_path / name, registry__db=postgresql, registry__namespace=f"Statistics {name}")
        for name in ("one", "other")
    ]
    for repo in repos:
        with Butler.from_config(str(repo), writeable=True) as butler:
            butler.registry.insertDimensionData("catalog", {"name": "mine"})
    refresh_statistics(str(repos[0]))
    engine = sqlalchemy.create_engine(postgresql, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT schemaname, reltuples FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid "
            "WHERE pg_class.relname = 'catalog' AND schemaname LIKE 'Statistics%%'"
        )
        # -1: never analysed.
        assert {tuple(row) for row in rows} == {("Statistics one", 1.0), ("Statistics other", -1.0)}


@pytest.mark.parametrize("before", [0, 1])
def test_between_batches(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    """SQLite looks up each data ID of a batch, and does not compare it with all datasets of the run."""
    # The Butler makes a temporary table of more data IDs than this, otherwise 500.
    monkeypatch.setattr(SqliteDatabase, "get_constant_rows_max", lambda self: 2)
    batch = 120
    files = write_files(tmp_path / "in", 2 * batch // 6)
    if before:
        # Statistics of a repository that is nearly empty.
        assert ingest(repo_root, *files[:before]).code == 0
        refresh_statistics(str(repo_root))
    monkeypatch.setattr(ingest_script, "IngestOptions", functools.partial(IngestOptions, batch_size=batch))
    plans: list[list[str]] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if statement.startswith("SELECT tmp_") and " JOIN dataset_tags_" in statement:
            plan = connection.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            plans.append([step[-1] for step in plan])

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", explain)
    try:
        assert ingest(repo_root, *files).counts["ingested"] == len(files) - before
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", explain)
    scan, *_, search = plans[-1]
    assert scan.startswith("SCAN tmp_")
    assert "detector=? AND exposure=?" in search


def test_statistics_that_fail_are_tried_before_the_next_batch(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def refuse(repo: str) -> None:
        calls.append(repo)
        raise sqlalchemy.exc.OperationalError("ANALYZE", None, Exception("database is locked"))

    monkeypatch.setattr(ingest_script, "refresh_statistics", refuse)
    monkeypatch.setattr(ingest_script, "IngestOptions", functools.partial(IngestOptions, batch_size=6))
    outcome = ingest(repo_root, *write_files(tmp_path / "in", 4))
    assert (outcome.code, len(calls)) == (0, 3)
