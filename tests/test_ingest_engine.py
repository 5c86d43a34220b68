from __future__ import annotations

import itertools
import logging
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.daf.butler import Butler

from spherex.ingest import RAW_REGEX, DatasetKey, FileKey, IngestOptions, SimulatedTranslator, engine
from spherex.ingest import reader as grouping

from .ingest_helpers import (
    butler_command,
    datasets,
    exposure_record,
    ingest,
    ingest_darks,
    region,
    snapshot,
    write_file,
    write_files,
)

ALL = {(exposure, detector) for exposure in range(2) for detector in range(1, 7)}


def test_raws_and_darks(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 2)
    write_files(tmp_path / "in", 2, dark=True)
    raws = ingest(repo_root, tmp_path / "in")
    assert raws.code == 0
    assert raws.counts == {"found": 12, "ingested": 12, "already there": 0, "skipped": 0, "failed": 0}
    darks = ingest_darks(repo_root, tmp_path / "in")
    assert darks.code == 0
    assert darks.counts["ingested"] == 12
    assert "12 of them without WCS" in darks.output
    assert datasets(repo_root).keys() == datasets(repo_root, "dark").keys() == ALL
    assert region(repo_root) is not None
    template = "rawexpr/rawexp/3/20261123/"
    assert template in datasets(repo_root)[0, 3].ospath


def test_simulator_output(repo_root: Path, simulated_files: Path) -> None:
    for outcome in (ingest(repo_root, simulated_files), ingest_darks(repo_root, simulated_files)):
        assert outcome.code == 0
        assert outcome.counts["ingested"] == 12
    assert exposure_record(repo_root).survey == "all_sky"
    with Butler.from_config(str(repo_root)) as butler:
        data_id = {"instrument": "simulator", "exposure": 0, "detector": 1}
        assert butler.get("rawexp", data_id, collections="rawexpr").unit == "electron/s"


@pytest.mark.parametrize("skip", [[], ["--skip-existing"]])
def test_again_changes_nothing(repo_root: Path, tmp_path: Path, skip: list[str]) -> None:
    write_files(tmp_path / "in", 2)
    write_files(tmp_path / "in", 2, dark=True)
    ingest(repo_root, tmp_path / "in")
    ingest_darks(repo_root, tmp_path / "in")
    before = snapshot(repo_root)
    for outcome in (ingest(repo_root, tmp_path / "in", *skip), ingest_darks(repo_root, tmp_path / "in", *skip)):
        assert outcome.code == 0
        assert outcome.counts["skipped" if skip else "already there"] == 12
        assert outcome.counts["ingested"] == 0
    assert snapshot(repo_root) == before


def test_uuids_are_repeatable(tmp_path: Path, make_repo: Callable[..., Path]) -> None:
    write_files(tmp_path / "in", 1)
    ids = []
    for name in ("one", "two"):
        repo = make_repo(tmp_path / name)
        ingest(repo, tmp_path / "in")
        ids.append([dataset[0] for dataset in snapshot(repo)["datasets"]])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 6


def test_batches_hold_whole_exposures() -> None:
    translator = SimulatedTranslator("rawexp", "rawexpr")
    found = [(translator.identify(f"sim_exposure_{e:06d}_array_{d}.fits"), "") for e in range(7) for d in range(1, 7)]
    batches = list(grouping.batches(found, 20))
    assert [len(batch) for batch in batches] == [18, 18, 6]
    assert all({key.group for key, _ in batch} for batch in batches)
    assert [len(batch) for batch in grouping.batches(found, 1)] == [6] * 7


def test_many_files_are_sorted_by_exposure() -> None:
    kind = SimulatedTranslator("rawexp", "rawexpr").identify("sim_exposure_000000_array_1.fits").dataset.kind
    found = grouping.SortedFiles()
    numbers = list(range(120_000))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        exposure, member = divmod(number, 10)
        dataset = DatasetKey(kind, "rawexpr", ("simulator", exposure, member))
        # Several files of one dataset are sorted by their URIs.
        found.add(FileKey(exposure, member // 2, dataset), f"{member}.fits")
    assert len(found) == 120_000
    assert [key.group * 10 + int(uri[0]) for key, uri in found] == list(range(120_000))
    assert [len(batch) for batch in grouping.batches(found, 50_005)] == [50_000, 50_000, 20_000]


def test_dry_run_writes_nothing(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 2)
    write_file(tmp_path / "in", 2, 1).write_bytes(b"")
    before = sorted((path, path.stat().st_mtime_ns) for path in repo_root.rglob("*"))
    outcome = ingest(repo_root, "--dry-run", tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["would be ingested"] == 12
    assert len(outcome.failures) == 1
    assert sorted((path, path.stat().st_mtime_ns) for path in repo_root.rglob("*")) == before
    assert snapshot(repo_root)["instrument"] == []
    ingest(repo_root, tmp_path / "in")
    assert ingest(repo_root, "--dry-run", tmp_path / "in").counts["already there"] == 12


def test_pruned_files_are_ingested_again(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1)
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    butler_command("prune-datasets", "--no-confirm", "--unstore", "--datasets", "rawexp", repo_root, "rawexpr")
    assert ingest(repo_root, "--transfer", "copy", tmp_path / "in").counts["ingested"] == 6


def test_threads(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 2)
    assert ingest(repo_root, "-j", "4", tmp_path / "in").counts["ingested"] == 12


def test_other_names(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1)
    assert ingest(repo_root, "--ingest-type", "science", "--output-run", "u/me/run", tmp_path / "in").code == 0
    assert datasets(repo_root, "science", "u/me/run").keys() == {(0, detector) for detector in range(1, 7)}


def test_stop_between_exposures(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 3)
    answers = itertools.chain([False] * 38, itertools.repeat(True))
    translator = SimulatedTranslator("rawexp", "rawexpr")
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        translator.instrument().register(butler.registry)
        report = engine.ingest(
            butler,
            translator,
            [str(tmp_path / "in")],
            re.compile(RAW_REGEX),
            IngestOptions(batch_size=6),
            answers.__next__,
        )
    assert (report.ingested, report.not_tried, report.failures) == (12, 6, [])
    assert not report.is_success
    assert {exposure for exposure, _ in datasets(repo_root)} == {0, 1}


def test_large_files_are_copied_in_portions(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(grouping, "_COPIED_AT_ONCE", 100_000)
    write_files(tmp_path / "in", 3)
    caplog.set_level(logging.DEBUG, "lsst.daf.butler")
    outcome = ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    assert outcome.counts["ingested"] == 18
    sizes = {message.split()[1] for message in caplog.messages if message.startswith("Importing")}
    assert sizes == {"6"}


def test_progress_bar(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1)
    outcome = butler_command("--progress", "ingest-simulated", repo_root, tmp_path / "in")
    assert outcome.code == 0
    assert "Ingesting files" in outcome.output
