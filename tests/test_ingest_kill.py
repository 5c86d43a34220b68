"""An ingest that is killed at any moment, and the next one."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from ingest_helpers import BUTLER, datasets, ingest, snapshot, write_files
from lsst.daf.butler import Butler

EXPOSURES = 30
FILES = 6 * EXPOSURES
MOMENTS = 32

RUN = """
import sys
from spherex.ingest import IngestOptions
IngestOptions.__init__.__defaults__ = tuple(
    {batch} if value == 5000 else value for value in IngestOptions.__init__.__defaults__
)
from lsst.daf.butler.cli.butler import cli
cli()
"""


def start(repo: Path, source: Path, mode: str) -> subprocess.Popen:
    """Start an ingest in batches of five exposures."""
    code = RUN.format(batch=30)
    args = ["ingest-simulated", "--transfer", mode, str(repo), str(source)]
    python = BUTLER.parent / "python"
    return subprocess.Popen(
        [str(python), "-c", code, *args], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


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
@pytest.mark.parametrize("mode", ["copy", "move"])
def test_killed_at_random_moments(tmp_path: Path, make_repo: Callable[..., Path], mode: str) -> None:
    originals = tmp_path / "originals"
    contents = {path.name: path.read_bytes() for path in write_files(originals, EXPOSURES)}
    empty = make_repo(tmp_path / "empty")
    whole = tmp_path / "whole"
    shutil.copytree(empty, whole)
    shutil.copytree(originals, tmp_path / "source")
    begin = time.monotonic()
    with start(whole, tmp_path / "source", mode) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    duration = time.monotonic() - begin
    shutil.rmtree(tmp_path / "source")
    expected = snapshot(whole)
    generator = random.Random(20261123)
    progress = Counter[str]()
    for number in range(MOMENTS):
        # The process starts up for most of its life; what counts comes after.
        moment = duration * (generator.uniform(0.05, 1.05) if number % 4 == 0 else generator.uniform(0.5, 1.0))
        repo, source = tmp_path / f"repo{number}", tmp_path / "source"
        shutil.copytree(empty, repo)
        shutil.copytree(originals, source)
        with start(repo, source, mode) as process:
            try:
                _, errors = process.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL if number % 2 else signal.SIGTERM)
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
    print(f"{mode}: a run takes {duration:.1f} s; found after {MOMENTS} kills: {dict(progress)}")
    assert progress["part"] >= 3
