"""An ingest that is killed at any moment, and the next one."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from ingest_helpers import datasets, ingest, snapshot, write_files
from lsst.daf.butler import Butler

EXPOSURES = 30
FILES = 6 * EXPOSURES

RUN = """
import sys
from spherex.cli.script._run import run_ingest
from spherex.ingest.simulated import RAW_REGEX, SimulatedDescriber

repo, source, mode = sys.argv[1:]
describer = SimulatedDescriber("rawexp", "rawexpr")
sys.exit(not run_ingest(repo, describer, [source], RAW_REGEX, transfer=mode, batch_size=12))
"""


def start(repo: Path, source: Path, mode: str) -> subprocess.Popen:
    """Start an ingest in batches of two exposures."""
    command = [sys.executable, "-c", RUN, str(repo), str(source), mode]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_files(repo: Path, process: subprocess.Popen, count: int) -> None:
    """Wait until so many files are in the datastore, or the process ends."""
    while process.poll() is None and sum(len(files) for *_, files in os.walk(repo / "rawexpr")) < count:
        time.sleep(0.002)


def check_consistency(repo: Path, source: Path, contents: dict[str, bytes]) -> int:
    """Check a repository after a kill, and return the number of its datasets."""
    with contextlib.closing(sqlite3.connect(repo / "spherex.sqlite3")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with Butler.from_config(str(repo)) as butler:
        if not list(butler.registry.queryDatasetTypes("rawexp")) or not butler.collections.query("*"):
            return 0
        records = butler.query_dimension_records("exposure", instrument="simulator", explain=False, limit=None)
        exposures = {record.id for record in records}
        regions = butler.query_dimension_records(
            "exposure_detector_region", instrument="simulator", explain=False, limit=None
        )
        per_exposure = Counter(record.exposure for record in regions)
    stored = datasets(repo)
    assert Counter(exposure for exposure, _ in stored) == dict.fromkeys(exposures, 6)
    assert per_exposure == dict.fromkeys(exposures, 6)
    for (exposure, detector), uri in stored.items():
        assert Path(uri.ospath).read_bytes() == contents[f"sim_exposure_{exposure:06d}_array_{detector}.fits"]
    return len(stored)


def check_nothing_is_lost(repo: Path, source: Path, contents: dict[str, bytes]) -> None:
    """Check that every file is still somewhere, whole."""
    stored = datasets(repo) if check_consistency(repo, source, contents) else {}
    for name, content in contents.items():
        key = (int(name[13:19]), int(name[26]))
        if key not in stored:
            assert (source / name).read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "kills"), [("copy", 32), ("move", 16)])
def test_killed_at_random_moments(tmp_path: Path, make_repo: Callable[..., Path], mode: str, kills: int) -> None:
    originals, source = tmp_path / "originals", tmp_path / "source"
    contents = {path.name: path.read_bytes() for path in write_files(originals, EXPOSURES)}
    empty = make_repo(tmp_path / "empty")
    whole = tmp_path / "whole"
    shutil.copytree(empty, whole)
    shutil.copytree(originals, source)
    launch = time.monotonic()
    with start(whole, source, mode) as process:
        wait_for_files(whole, process, 1)
        preparation = time.monotonic() - launch
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    shutil.rmtree(source)
    expected = snapshot(whole)
    generator = random.Random(20261123)
    progress = Counter[str]()
    for number in range(kills):
        repo = tmp_path / f"repo{number}"
        shutil.copytree(empty, repo)
        shutil.copytree(originals, source)
        with start(repo, source, mode) as process:
            # Some are killed while they prepare, most at work.
            moment = generator.uniform(0, preparation)
            if number % 8:
                wait_for_files(repo, process, generator.randrange(FILES + 1))
                moment = generator.uniform(0, 0.1)
            try:
                _, errors = process.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM if number % 2 else signal.SIGKILL)
                _, errors = process.communicate()
        assert "Traceback" not in errors
        done = check_consistency(repo, source, contents)
        check_nothing_is_lost(repo, source, contents)
        progress["nothing" if done == 0 else "all" if done == FILES else "part"] += 1
        again = ingest(repo, "--transfer", mode, source)
        if list(source.iterdir()) or mode == "copy" or done < FILES:
            assert again.code == 0, again
        assert check_consistency(repo, source, contents) == FILES
        if mode == "move":
            assert list(source.iterdir()) == []
        for part in ("exposure", "exposure_detector_region"):
            assert snapshot(repo)[part] == expected[part]
        assert [one[:2] for one in snapshot(repo)["datasets"]] == [one[:2] for one in expected["datasets"]]
        leftovers = [path for path in (repo / "rawexpr").rglob("*") if path.is_file()]
        assert len([path for path in leftovers if path.name.startswith("rawexp_")]) == FILES
        assert len(leftovers) - FILES <= 1, "at most the temporary file of the copy that was cut off"
        shutil.rmtree(repo)
        shutil.rmtree(source)
    print(f"{mode}: found after {kills} kills: {dict(progress)}")
    assert progress["part"] >= kills // 4
