"""Database servers that do not answer."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from spherex import repository
from spherex.cli.script import ingest as script
from spherex.ingest import IngestOptions, writer

from .ingest_helpers import butler_command
from .level2_helpers import ingest_level2, level2_datasets, write_many
from .servers import Relay


@pytest.fixture
def relay(postgresql: str) -> Iterator[Relay]:
    """Return a relay to the server, which has been started."""
    relay = Relay(sqlalchemy.make_url(postgresql).port)
    relay.start()
    yield relay
    relay.stop()


@pytest.fixture
def repo(
    relay: Relay, postgresql: str, tmp_path: Path, make_repo: Callable[..., Path], request: pytest.FixtureRequest
) -> Path:
    """Return an empty repository whose database is reached by the relay."""
    uri = sqlalchemy.make_url(postgresql).set(port=relay.port)
    return make_repo(tmp_path / "repo", registry__db=str(uri), registry__namespace=request.node.name)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_command_waits_for_the_server(
    repo: Path, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_many(tmp_path / "files", 1, (1,))
    relay.stop()
    # The server comes back while the command waits.
    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: relay.start())
    monkeypatch.setattr(repository, "time", clock)
    assert ingest_level2(repo, tmp_path / "files").counts["ingested"] == 1
    assert warnings_of(caplog) == ["The database does not answer; waiting for it, 30 s at most."]


def test_a_command_stops_without_the_server(
    repo: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    relay.stop()
    monkeypatch.setattr(repository, "_PATIENCE", 0.2)
    outcome = butler_command("list-calibrations", repo)
    assert outcome.code == 1
    (line,) = outcome.output.splitlines()
    assert line.endswith("cannot be opened: the database does not answer; run the same command again when it does.")
    assert len(warnings_of(caplog)) == 1


def test_a_command_stops_when_the_server_is_lost(repo: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "_check_universe", lambda *_: relay.stop())
    outcome = butler_command("list-calibrations", repo)
    assert outcome.code == 1
    assert outcome.output == "Error: the database does not answer; run the same command again when it does.\n"


@pytest.fixture
def losses(repo: Path, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of the transactions in which an ingest loses its server, to be added to."""
    # The records of the instrument and the types of datasets are there.
    write_many(tmp_path / "before", 1, (3,))
    assert ingest_level2(repo, tmp_path / "before").code == 0
    write_many(tmp_path / "files", 3, (1, 2))
    write = writer.BatchWriter._write_all
    losses: list[int] = []
    transactions = itertools.count()

    def lose(*args: Any) -> None:
        write(*args)
        if next(transactions) in losses:
            relay.stop()

    monkeypatch.setattr(writer.BatchWriter, "_write_all", lose)
    monkeypatch.setattr(script, "IngestOptions", functools.partial(IngestOptions, batch_size=2))
    return losses


def test_an_ingest_stops_when_the_server_is_lost(
    repo: Path, relay: Relay, losses: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses.append(1)
    monkeypatch.setattr(repository, "_PATIENCE", 0.2)
    outcome = ingest_level2(repo, tmp_path / "files")
    assert outcome.code == 1
    # Not a line for each file.
    assert outcome.failures == []
    assert outcome.output.startswith(
        "stopped: the database does not answer; run the same command again when it does.\n"
    )
    assert (outcome.counts["ingested"], outcome.counts["not tried"]) == (2, 4)
    relay.start()
    outcome = ingest_level2(repo, tmp_path / "files")
    assert (outcome.counts["ingested"], outcome.counts["already there"]) == (4, 2)


def test_an_ingest_goes_on_when_the_server_comes_back(
    repo: Path,
    relay: Relay,
    losses: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    losses += [0, 2]
    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: relay.start())
    monkeypatch.setattr(repository, "time", clock)
    assert ingest_level2(repo, tmp_path / "files").counts["ingested"] == 6
    assert warnings_of(caplog) == ["The database does not answer; waiting for it, 30 s at most."] * len(losses)
    assert len(level2_datasets(repo)) == 7


def test_an_ingest_ends_when_the_server_is_lost_twice(
    repo: Path, relay: Relay, losses: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses += range(100)
    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: relay.start())
    monkeypatch.setattr(repository, "time", clock)
    outcome = ingest_level2(repo, tmp_path / "files")
    assert (outcome.code, outcome.counts["not tried"]) == (1, 6)
    assert outcome.output.startswith("stopped: the database does not answer")


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["DROP SCHEMA {schema} CASCADE"], "its database has no tables of a repository"),
        (["DROP SCHEMA {schema} CASCADE", "CREATE SCHEMA {schema}"], "its database has no tables of a repository"),
    ],
)
def test_a_repository_without_tables_is_explained(
    postgresql: str, statements: list[str], words: str, tmp_path: Path, make_repo: Callable[..., Path]
) -> None:
    repo = make_repo(tmp_path / "repo", registry__db=postgresql, registry__namespace="dropped")
    with sqlalchemy.create_engine(postgresql, poolclass=sqlalchemy.pool.NullPool).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.format(schema="dropped"))
    outcome = butler_command("list-calibrations", repo)
    assert outcome.code == 1
    (line,) = (line for line in outcome.output.splitlines() if line.startswith("Error: "))
    assert words in line


def test_credentials_are_explained(team: str, tmp_path: Path, make_repo: Callable[..., Path]) -> None:
    repo = make_repo(tmp_path / "repo", registry__db=team, registry__namespace="secrets")
    auth = Path(os.environ["LSST_DB_AUTH"])
    entries = json.loads(auth.read_text())

    def refusal() -> str:
        outcome = butler_command("list-calibrations", repo)
        assert outcome.code == 1
        return outcome.output.splitlines()[-1].partition("cannot be opened: ")[2]

    auth.write_text(json.dumps([entries[0] | {"password": "wrong"}]))
    assert refusal() == "the database does not accept the password; correct the file of LSST_DB_AUTH."
    auth.chmod(0o644)
    assert refusal() == "others can read the file of LSST_DB_AUTH; run chmod 600 on it."
    auth.unlink()
    assert refusal().startswith("the database does not know you; set LSST_DB_AUTH")
