"""An ingest that is killed at any moment, and the next one."""

from __future__ import annotations

import contextlib
import dataclasses
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
from typing import Any

import pytest
from lsst.daf.butler import Butler

from .ingest_helpers import Outcome, datasets, ingest, name_of, snapshot, write_files
from .level2_helpers import NEWER, RUN, chain_of, ingest_level2, level2_datasets, write_level2
from .level2_helpers import name_of as level2_name_of

EXPOSURES = 12
"""Six batches."""
FILES = 6 * EXPOSURES

PROGRAM = """
import sys
from spherex.cli.script.ingest import run_ingest
from spherex.ingest.level2 import FITS_REGEX, Level2Translator
from spherex.ingest.simulated import SimulatedTranslator

repo, source, mode, kind = sys.argv[1:]
translator = Level2Translator("level2") if kind == "level2" else SimulatedTranslator("rawexp", "rawexpr")
sys.exit(not run_ingest(repo, translator, [source], FITS_REGEX, transfer=mode, batch_size=12))
"""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file, and what becomes of it."""

    name: str
    instrument: str
    folder: str
    """Where the datastore puts the files."""

    extra_files: int
    """How many other files it has in the end."""

    write: Callable[[Path, int], list[Path]]
    file_name: Callable[[int, int], str]
    ingest: Callable[..., Outcome]
    datasets: Callable[[Path], dict[tuple[int, int], Any]]
    """Addresses of the datasets by number of the exposure and detector."""

    collections: Callable[[Path], list[str]] = lambda repo: []
    """Children of the chain."""


def level2_run_of(number: int) -> str:
    """Return the run of an exposure: the second half is of a newer one."""
    return RUN if number < EXPOSURES // 2 else NEWER


def write_level2_files(directory: Path, exposures: int) -> list[Path]:
    return [
        write_level2(directory, number, detector, run=level2_run_of(number), seed=number)
        for number in range(exposures)
        for detector in range(1, 7)
    ]


def level2_of_all_runs(repo: Path) -> dict[tuple[int, int], Any]:
    return {key: uri for run in (RUN, NEWER) for key, uri in level2_datasets(repo, run=run).items()}


SIMULATED = Kind("rawexp", "simulator", "rawexpr", 0, write_files, name_of, ingest, datasets)
LEVEL2 = Kind(
    "level2",
    "SPHEREx",
    "SPHEREx",
    12,
    write_level2_files,
    lambda number, detector: level2_name_of(number, detector, level2_run_of(number)),
    ingest_level2,
    level2_of_all_runs,
    chain_of,
)


def start(repo: Path, source: Path, mode: str, kind: Kind) -> subprocess.Popen:
    """Start an ingest in batches of two exposures."""
    command = [sys.executable, "-c", PROGRAM, str(repo), str(source), mode, kind.name]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_files(folder: Path, process: subprocess.Popen, count: int) -> None:
    """Wait until so many files are in the datastore, or the process ends."""
    while process.poll() is None and sum(len(files) for *_, files in os.walk(folder)) < count:
        time.sleep(0.002)


def check_consistency(repo: Path, kind: Kind, contents: dict[str, bytes]) -> int:
    """Check a repository after a kill, and return the number of its datasets."""
    with contextlib.closing(sqlite3.connect(repo / "spherex.sqlite3")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with Butler.from_config(str(repo)) as butler:
        collections = butler.collections.query("*")
        if not list(butler.registry.queryDatasetTypes(kind.name)) or not collections:
            return 0
        records = butler.query_dimension_records("exposure", instrument=kind.instrument, explain=False, limit=None)
        exposures = {record.id for record in records}
        regions = butler.query_dimension_records(
            "exposure_detector_region", instrument=kind.instrument, explain=False, limit=None
        )
        per_exposure = Counter(record.exposure for record in regions)
        tables = []
        if list(butler.registry.queryDatasetTypes("level2_wavelength")):
            tables = butler.query_datasets("level2_wavelength", "*", find_first=False, explain=False, limit=None)
        for ref in tables:
            assert butler.get(ref)[1].name == "WCS-WAVE"
    stored = kind.datasets(repo) if collections else {}
    per_number = Counter(number for number, _ in stored)
    assert len(per_number) == len(exposures)
    assert set(per_number.values()) <= {6}
    assert per_exposure == dict.fromkeys(exposures, 6)
    for (number, detector), uri in stored.items():
        assert Path(uri.ospath).read_bytes() == contents[kind.file_name(number, detector)]
    return len(stored)


def check_nothing_is_lost(repo: Path, source: Path, kind: Kind, contents: dict[str, bytes]) -> None:
    """Check that every file is still somewhere, whole."""
    stored = kind.datasets(repo) if check_consistency(repo, kind, contents) else {}
    present = {kind.file_name(number, detector) for number, detector in stored}
    for name, content in contents.items():
        if name not in present:
            assert (source / name).read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mode", "kills"),
    [
        (SIMULATED, "copy", 4),
        (LEVEL2, "hardlink", 4),
        pytest.param(SIMULATED, "hardlink", 16, marks=pytest.mark.thorough),
        pytest.param(LEVEL2, "copy", 16, marks=pytest.mark.thorough),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_killed_at_random_moments(
    tmp_path: Path, make_repo: Callable[..., Path], kind: Kind, mode: str, kills: int
) -> None:
    originals, source = tmp_path / "originals", tmp_path / "source"
    contents = {path.name: path.read_bytes() for path in kind.write(originals, EXPOSURES)}
    empty = make_repo(tmp_path / "empty")
    whole = tmp_path / "whole"
    shutil.copytree(empty, whole)
    shutil.copytree(originals, source)
    launch = time.monotonic()
    with start(whole, source, mode, kind) as process:
        wait_for_files(whole / kind.folder, process, 1)
        preparation = time.monotonic() - launch
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    shutil.rmtree(source)
    expected, expected_chain = snapshot(whole), kind.collections(whole)
    generator = random.Random(20261123)
    progress = Counter[str]()
    for number in range(kills):
        repo = tmp_path / f"repo{number}"
        shutil.copytree(empty, repo)
        shutil.copytree(originals, source)
        with start(repo, source, mode, kind) as process:
            # Some are killed while they prepare, most at work.
            moment = generator.uniform(0, preparation)
            if number % 8:
                wait_for_files(repo / kind.folder, process, generator.randrange(FILES + 1))
                moment = generator.uniform(0, 0.1)
            try:
                _, errors = process.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM if number % 2 else signal.SIGKILL)
                _, errors = process.communicate()
        assert "Traceback" not in errors
        done = check_consistency(repo, kind, contents)
        check_nothing_is_lost(repo, source, kind, contents)
        progress["nothing" if done == 0 else "all" if done == FILES else "part"] += 1
        again = kind.ingest(repo, "--transfer", mode, "--list-stored", tmp_path / "stored.txt", source)
        assert again.code == 0, again
        assert check_consistency(repo, kind, contents) == FILES
        # What was ingested before the kill is listed too, and can be removed.
        for line in (tmp_path / "stored.txt").read_text().splitlines():
            os.remove(line)
        assert list(source.iterdir()) == []
        assert check_consistency(repo, kind, contents) == FILES
        found = snapshot(repo)
        for part in ("exposure", "exposure_detector_region"):
            assert found[part] == expected[part]
        assert [one[:2] for one in found["datasets"]] == [one[:2] for one in expected["datasets"]]
        assert kind.collections(repo) == expected_chain
        leftovers = [path for path in (repo / kind.folder).rglob("*") if path.is_file()]
        assert len(leftovers) - FILES - kind.extra_files <= 1, "at most the temporary file that was cut off"
        assert len(leftovers) >= FILES + kind.extra_files
        shutil.rmtree(repo)
        shutil.rmtree(source)
    print(f"{kind.name}, {mode}: found after {kills} kills: {dict(progress)}")
    assert progress["part"] >= kills // 4
