from __future__ import annotations

import shutil
from pathlib import Path

from ingest_helpers import (
    datasets,
    exposure_record,
    ingest,
    ingest_darks,
    region,
    write_file,
    write_files,
)
from lsst.daf.butler import Butler, Timespan


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
