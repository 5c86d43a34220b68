"""Database servers that do not answer."""

from __future__ import annotations

import logging
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from spherex import repository
from spherex.ingest import writer

from .ingest_helpers import butler_command
from .level2_helpers import ingest_level2, write_many
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


def test_an_ingest_stops_when_the_server_is_lost(
    repo: Path, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_many(tmp_path / "files", 3, (1, 2))
    # The records of the instrument and the types of datasets are there.
    write_many(tmp_path / "before", 1, (3,))
    assert ingest_level2(repo, tmp_path / "before").code == 0
    find = writer.find_existing

    def lose(*args: object, **kwargs: object) -> object:
        relay.stop()
        return find(*args, **kwargs)

    monkeypatch.setattr(writer, "find_existing", lose)
    outcome = ingest_level2(repo, tmp_path / "files")
    assert outcome.code == 1
    # Those of the first exposure; the others have not been tried.
    assert len(outcome.failures) == 2, outcome
    assert all("the database does not answer" in line for line in outcome.failures)
    assert outcome.counts["not tried"] == 4
    monkeypatch.undo()
    relay.start()
    assert ingest_level2(repo, tmp_path / "files").counts["ingested"] == 6
