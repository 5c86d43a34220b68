from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Timespan

from ingest_helpers import (
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


@pytest.mark.parametrize(
    ("mode", "is_link", "is_inside"),
    [
        ("auto", False, True),
        ("copy", False, True),
        ("move", False, True),
        ("direct", False, False),
        ("link", False, True),
        ("hardlink", False, True),
        ("symlink", True, True),
        ("relsymlink", True, True),
    ],
)
def test_transfer_modes(repo_root: Path, tmp_path: Path, mode: str, is_link: bool, is_inside: bool) -> None:
    paths = write_files(tmp_path / "in", 1)
    contents = {index: path.read_bytes() for index, path in enumerate(paths, start=1)}
    assert ingest(repo_root, "--transfer", mode, tmp_path / "in").code == 0
    for (_, detector), uri in datasets(repo_root).items():
        stored = Path(uri.ospath)
        assert stored.read_bytes() == contents[detector]
        assert stored.is_symlink() == is_link
        assert stored.is_relative_to(repo_root) == is_inside
    assert [path.exists() for path in paths] == [mode != "move"] * 6
    again = ingest(repo_root, "--transfer", mode, tmp_path / "in")
    if mode != "move":
        assert again.counts["already there"] == 6
        assert again.code == 0


def test_relative_paths(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "in", 1)
    monkeypatch.chdir(tmp_path)
    assert ingest(Path("repo"), "--transfer", "direct", "in").counts["ingested"] == 6
    assert datasets(repo_root)[0, 1].ospath == str(tmp_path / "in" / "sim_exposure_000000_array_1.fits")


@pytest.mark.parametrize("name", ["with space", "with#hash", "with%20percent", "with?question", "mit_Ümlaut"])
@pytest.mark.parametrize("mode", ["direct", "copy"])
def test_odd_directory_names(repo_root: Path, tmp_path: Path, name: str, mode: str) -> None:
    write_file(tmp_path / name)
    assert ingest(repo_root, "--transfer", mode, tmp_path / name).counts["ingested"] == 1
    assert Path(datasets(repo_root)[0, 1].ospath).exists()
    assert ingest(repo_root, "--transfer", mode, tmp_path / name).counts["already there"] == 1


def test_uri_locations(repo_root: Path, tmp_path: Path) -> None:
    paths = write_files(tmp_path / "in", 1)
    assert ingest(repo_root, paths[0].as_uri(), (tmp_path / "in").as_uri() + "/").counts["ingested"] == 6


def test_in_place(repo_root: Path) -> None:
    write_files(repo_root / "somewhere", 1)
    assert ingest(repo_root, repo_root / "somewhere").counts["ingested"] == 6
    assert datasets(repo_root)[0, 1].relative_to(datasets(repo_root)[0, 1].parent().parent()) is not None
    assert "somewhere" in datasets(repo_root)[0, 1].ospath


def test_inside_and_outside_at_once(repo_root: Path, tmp_path: Path) -> None:
    write_file(repo_root / "somewhere", 0, 1)
    write_file(tmp_path / "in", 0, 2)
    assert ingest(repo_root, repo_root / "somewhere", tmp_path / "in").counts["ingested"] == 2
    assert all(Path(uri.ospath).is_relative_to(repo_root) for uri in datasets(repo_root).values())


def test_batches_hold_whole_exposures(repo_root: Path, tmp_path: Path) -> None:
    from spherex.ingest.engine import _batches
    from spherex.ingest.simulated import SimulatedDescriber

    describer = SimulatedDescriber("rawexp", "rawexpr")
    found = [(describer.identify(f"sim_exposure_{e:06d}_array_{d}.fits"), "") for e in range(7) for d in range(1, 7)]
    batches = list(_batches(found, 20))
    assert [len(batch) for batch in batches] == [18, 18, 6]
    assert all({key.group for key, _ in batch} for batch in batches)
    assert [len(batch) for batch in _batches(found, 1)] == [6] * 7


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


def test_group_is_the_date_of_the_observation(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in", 250, 1)
    ingest(repo_root, tmp_path / "in")
    record = exposure_record(repo_root, 250)
    assert (record.group_name, record.group_id) == ("20261125", 20261125)


def test_group_of_the_user_stays(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    write_file(tmp_path / "in", dark=True)
    assert ingest(repo_root, "--group", "mine", tmp_path / "in").code == 0
    assert ingest_darks(repo_root, tmp_path / "in").code == 0
    assert exposure_record(repo_root).group_name == "mine"
    assert "/mine/" in datasets(repo_root, "dark")[0, 1].ospath
    again = ingest(repo_root, "--group", "yours", tmp_path / "in")
    assert again.code == 1
    assert "group_name of exposure (id 0) is yours than in the repository: mine" in again.output.replace("another ", "")


def test_without_time_the_group_is_that_of_the_first_ingest(repo_root: Path, tmp_path: Path) -> None:
    no_time = {"MJD-BEG": None, "MJD-END": None}
    write_file(tmp_path / "in", dark=True, change=no_time)
    outcome = ingest_darks(repo_root, tmp_path / "in")
    assert "1 of them without time" in outcome.output
    first = exposure_record(repo_root)
    assert first.timespan is None
    assert first.group_name == str(first.group_id)
    write_file(tmp_path / "in")
    assert ingest(repo_root, tmp_path / "in").code == 0
    assert exposure_record(repo_root).group_name == first.group_name
    assert exposure_record(repo_root).timespan is not None


def test_unknown_is_filled_in_and_never_overwrites(repo_root: Path, tmp_path: Path) -> None:
    unknown = dict.fromkeys(("MJD-BEG", "MJD-END", "XPOSURE", "RA_BORE"))
    write_file(tmp_path / "in", dark=True, change=unknown)
    write_file(tmp_path / "in")
    assert ingest_darks(repo_root, tmp_path / "in").code == 0
    assert region(repo_root) is None
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.code == 0
    assert "2 dimension records changed" in outcome.output
    assert region(repo_root) is not None
    known = exposure_record(repo_root)
    assert (known.exposure_time, known.ra_boresight) == (113.58, 31.0)
    assert isinstance(known.timespan, Timespan)
    assert ingest_darks(repo_root, "--output-run", "again", tmp_path / "in").code == 0
    assert exposure_record(repo_root) == known
    assert region(repo_root) is not None


def test_conflict_needs_update_records(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    write_file(tmp_path / "in", dark=True, change={"XPOSURE": 99.0})
    write_file(tmp_path / "in", 0, 2, dark=True)
    ingest(repo_root, tmp_path / "in")
    outcome = ingest_darks(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 1
    assert "array_1_dark_current.fits: exposure_time of exposure (id 0) is 99.0" in outcome.failures[0]
    assert "--update-records" in outcome.failures[0]
    assert datasets(repo_root, "dark").keys() == {(0, 2)}
    shutil.rmtree(tmp_path / "in")
    write_file(tmp_path / "in", dark=True, change={"XPOSURE": 99.0})
    assert ingest_darks(repo_root, "--update-records", tmp_path / "in").code == 0
    assert exposure_record(repo_root).exposure_time == 99.0


def test_update_records_of_files_that_are_there(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", "direct", tmp_path / "in")
    write_file(tmp_path / "in", change={"CRVAL1": 77.0, "ROLL": 13.0})
    outcome = ingest(repo_root, "--transfer", "direct", tmp_path / "in")
    assert outcome.code == 1
    assert "roll of exposure" in outcome.failures[0]
    outcome = ingest(repo_root, "--transfer", "direct", "--update-records", tmp_path / "in")
    assert outcome.code == 0
    assert outcome.counts["already there"] == 1
    assert exposure_record(repo_root).roll == 13.0
    assert abs(region(repo_root).getBoundingBox().getCenter().getLon().asDegrees() - 77.0) < 1.0


def test_files_of_one_exposure_must_agree(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in", 0, 1)
    write_file(tmp_path / "in", 0, 2, change={"MJD-END": 61367.0011, "XPOSURE": 99.0})
    outcome = ingest(repo_root, "--update-records", tmp_path / "in")
    assert outcome.counts["ingested"] == 1
    assert "array_2.fits: exposure_time of exposure (id 0) is 99.0" in outcome.failures[0]
    assert "array_1.fits: 113.58; one of both is wrong" in outcome.failures[0]


def test_a_millisecond_is_no_conflict(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in", 0, 1)
    write_file(tmp_path / "in", 0, 2, change={"MJD-BEG": 61367.0 + 0.0005 / 86400})
    assert ingest(repo_root, tmp_path / "in").code == 0


def test_region_is_always_there(repo_root: Path, tmp_path: Path) -> None:
    """The graph builder dies for an (exposure, detector) without that record."""
    write_files(tmp_path / "in", 1, dark=True)
    ingest_darks(repo_root, tmp_path / "in")
    with Butler.from_config(str(repo_root)) as butler:
        refs = butler.query_datasets("dark", collections="darkr", with_dimension_records=True)
    assert len(refs) == 6


def test_point_query(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 3, [1])
    ingest(repo_root, tmp_path / "in")
    with Butler.from_config(str(repo_root)) as butler:
        refs = butler.query_datasets(
            "rawexp",
            collections="rawexpr",
            where="exposure_detector_region.region OVERLAPS POINT(34.0, 40.0)",
            instrument="simulator",
        )
    assert [ref.dataId["exposure"] for ref in refs] == [1]


def test_pruned_files_are_ingested_again(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1)
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    butler_command("prune-datasets", "--no-confirm", "--unstore", "--datasets", "rawexp", repo_root, "rawexpr")
    assert ingest(repo_root, "--transfer", "copy", tmp_path / "in").counts["ingested"] == 6


def test_no_track_file_attrs(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    ingest(repo_root, "--no-track-file-attrs", "--transfer", "direct", tmp_path / "in")
    with path.open("ab") as stream:
        stream.write(bytes(2880))
    assert ingest(repo_root, "--transfer", "direct", tmp_path / "in").counts["already there"] == 1


def test_move_finishes_what_was_interrupted(repo_root: Path, tmp_path: Path) -> None:
    """The transaction was through, but the originals were not removed yet."""
    paths = write_files(tmp_path / "in", 1)
    ingest(repo_root, "--transfer", "hardlink", tmp_path / "in")
    outcome = ingest(repo_root, "--transfer", "move", tmp_path / "in")
    assert outcome.code == 0
    assert outcome.counts["already there"] == 6
    assert not any(path.exists() for path in paths)
    assert all(Path(uri.ospath).exists() for uri in datasets(repo_root).values())


@pytest.mark.parametrize("mode", ["direct", "symlink"])
def test_move_never_removes_the_only_copy(repo_root: Path, tmp_path: Path, mode: str) -> None:
    paths = write_files(tmp_path / "in", 1)
    ingest(repo_root, "--transfer", mode, tmp_path / "in")
    ingest(repo_root, "--transfer", "move", tmp_path / "in")
    assert all(path.exists() for path in paths)


def test_move_through_a_link(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "real")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / path.name).symlink_to(path)
    assert ingest(repo_root, "--transfer", "move", tmp_path / "in").code == 0
    assert not path.exists()
    assert not os.path.lexists(tmp_path / "in" / path.name)
    assert not Path(datasets(repo_root)[0, 1].ospath).is_symlink()


def test_threads(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 2)
    assert ingest(repo_root, "-j", "4", tmp_path / "in").counts["ingested"] == 12


def test_other_names(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1)
    assert ingest(repo_root, "--ingest-type", "science", "--output-run", "u/me/run", tmp_path / "in").code == 0
    assert datasets(repo_root, "science", "u/me/run").keys() == {(0, detector) for detector in range(1, 7)}
