"""Runs that are interrupted, and the commands of doc/scale_out.md that repair them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
from lsst.daf.butler import Butler

from .ingest_helpers import ingest, ingest_darks, small_file_system
from .programs import command_of
from .servers import Relay
from .test_readme import ROOT

PAGE = ROOT / "doc" / "scale_out.md"
TOTAL = 12
"""Images to subtract a dark from."""
REPAIR = ("--extend-run", "--clobber-outputs")
PATIENCE = 300
"""Seconds that a run may take on a busy machine."""


def fill(repo: Path, simulated_files: Path) -> Path:
    """Ingest raw images and darks, which stay in place."""
    for give in (ingest, ingest_darks):
        assert give(repo, "--transfer", "direct", simulated_files).counts["ingested"] == TOTAL
    return repo


def start(repo: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the subtraction of darks."""
    words = ["run", "-b", repo, "-p", "resource://spherex/pipelines/ExamplePipeline.yaml", "--register-dataset-types"]
    command = command_of("pipetask", *words, "-i", "rawexpr,darkr", "-o", "subtracted", *options)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_outputs(process: subprocess.Popen[bytes], outputs: Path, count: int) -> None:
    """Wait until a run has written so many images."""
    deadline = time.monotonic() + PATIENCE
    while len(list(outputs.glob("*/postDark/**/*.fits"))) < count:
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def made(repo: Path) -> int:
    """Return how many images there are, each with a file that can be read."""
    with Butler.from_config(str(repo), collections="subtracted") as butler:
        refs = butler.query_datasets("postDark", explain=False)
        for ref in refs:
            assert butler.get(ref).shape == (64, 64)
        return len(refs)


def assert_repaired(repo: Path) -> None:
    """Give the same command with the options of the page, and check that all is there, once."""
    assert " ".join(REPAIR) in PAGE.read_text()
    assert start(repo, *REPAIR).wait(PATIENCE) == 0
    assert made(repo) == TOTAL
    with Butler.from_config(str(repo)) as butler:
        assert len(butler.collections.get_info("subtracted").children) == 3
        assert len(butler.query_datasets("postDark", "subtracted", find_first=False)) == TOTAL


@pytest.mark.slow
def test_a_run_is_killed(repo_root: Path, simulated_files: Path) -> None:
    fill(repo_root, simulated_files)
    process = start(repo_root)
    wait_for_outputs(process, repo_root / "subtracted", 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < made(repo_root) < TOTAL
    assert_repaired(repo_root)


@pytest.mark.slow
@pytest.mark.parametrize("event", ["away", pytest.param("restarted", marks=pytest.mark.thorough)])
def test_a_run_loses_its_server(
    event: str, postgresql: str, tmp_path: Path, make_repo: Callable[..., Path], simulated_files: Path
) -> None:
    uri = sqlalchemy.make_url(postgresql)
    relay = Relay(uri.port)
    relay.start()
    db = str(uri.set(port=relay.port))
    repo = fill(make_repo(tmp_path / "repo", registry__db=db, registry__namespace=f"recovery_{event}"), simulated_files)
    process = start(repo)
    wait_for_outputs(process, repo / "subtracted", 3)
    relay.stop()
    if event == "restarted":
        relay.start()
    assert process.wait(PATIENCE) != 0
    if event == "away":
        relay.start()
    assert 0 < made(repo) < TOTAL
    assert_repaired(repo)
    relay.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 16 MB."""
    with small_file_system(tmp_path / "disk", "16m") as disk:
        yield disk


@pytest.mark.slow
@pytest.mark.parametrize("database", ["on the full disk", pytest.param("elsewhere", marks=pytest.mark.thorough)])
def test_a_run_fills_the_disk(
    disk: Path, database: str, tmp_path: Path, make_repo: Callable[..., Path], simulated_files: Path
) -> None:
    db = "<butlerRoot>/spherex.sqlite3" if database == "on the full disk" else str(tmp_path / "spherex.sqlite3")
    repo = fill(make_repo(disk / "repo", registry__db=f"sqlite:///{db}"), simulated_files)
    process = start(repo)
    wait_for_outputs(process, repo / "subtracted", 2)
    ballast = disk / "ballast"
    # Stopped meanwhile: what it writes would take the place that is to be filled.
    process.send_signal(signal.SIGSTOP)
    with ballast.open("wb") as stream:
        status = os.statvfs(disk)
        os.posix_fallocate(stream.fileno(), 0, (status.f_bavail - 20) * status.f_frsize)
    process.send_signal(signal.SIGCONT)
    assert process.wait(PATIENCE) != 0
    ballast.unlink()
    assert 0 < made(repo) < TOTAL
    assert_repaired(repo)
