from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Timespan

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
    assert "group_name of exposure (id 0) is yours, but mine in the repository" in again.failures[0]


@pytest.mark.parametrize("first", [[], ["--group", "night"]])
def test_group_name_and_id_belong_together(repo_root: Path, tmp_path: Path, first: list[str]) -> None:
    write_file(tmp_path / "in", 0, 1)
    write_file(tmp_path / "more", 0, 2)
    assert ingest(repo_root, *first, tmp_path / "in").code == 0
    assert ingest(repo_root, "--group", "night", "--update-records", tmp_path / "in").code == 0
    assert ingest(repo_root, tmp_path / "more").code == 0
    record = exposure_record(repo_root)
    assert (record.group_name, record.group_id) == ("night", None)
    assert ingest(repo_root, "--group", "0815", "--update-records", tmp_path / "in").code == 0
    record = exposure_record(repo_root)
    assert (record.group_name, record.group_id) == ("0815", 815)


@pytest.mark.parametrize("group", ["", "..", ".", "a/b", "x" * 65, "9" * 20, " a", "a\nb"])
def test_groups_that_cannot_be(repo_root: Path, tmp_path: Path, group: str) -> None:
    write_file(tmp_path / "in")
    outcome = ingest(repo_root, "--group", group, tmp_path / "in")
    assert outcome.code == 2
    assert "Invalid value for --group" in outcome.output
    assert snapshot(repo_root)["exposure"] == []


def test_text_that_is_too_long(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in", 0, 1, change={"OBSID": "x" * 65})
    write_file(tmp_path / "in", 0, 2, change={"OBSID": "x" * 64})
    outcome = ingest(repo_root, tmp_path / "in")
    (failure,) = outcome.failures
    assert failure.startswith(
        f"failed: {path}: name of exposure has 65 characters, but the repository stores at most 64"
    )
    assert exposure_record(repo_root).name == "x" * 64


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
    assert "1 exposure record changed: unknown values filled in\n" in outcome.output
    assert "1 exposure_detector_region record changed: unknown values filled in\n" in outcome.output
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
    outcome = ingest_darks(repo_root, "--update-records", tmp_path / "in")
    assert outcome.code == 0
    assert "1 exposure record changed: values replaced\n" in outcome.output
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
    first = write_file(tmp_path / "in", 0, 1)
    second = write_file(tmp_path / "in", 0, 2, change={"MJD-END": 61367.0011, "XPOSURE": 99.0})
    other = write_file(tmp_path / "in", 1, 1)
    outcome = ingest(repo_root, "--update-records", tmp_path / "in")
    assert outcome.counts["ingested"] == 1
    assert datasets(repo_root).keys() == {(1, 1)}, other
    lines = "\n".join(outcome.failures)
    assert f"{first}: exposure_time of exposure (id 0) is 113.58, but 99.0 in {second}; fix or leave out" in lines
    assert f"{second}: exposure_time of exposure (id 0) is 99.0, but 113.58 in {first}; fix or leave out" in lines


@pytest.mark.parametrize("mode", ["auto", "copy", "link"])
def test_repair_as_documented(repo_root: Path, tmp_path: Path, mode: str) -> None:
    for detector in (1, 2):
        write_file(tmp_path / "in", 5, detector, change={"XPOSURE": 10.0})
    ingest(repo_root, "--transfer", mode, tmp_path / "in")
    corrected = write_file(tmp_path / "corrected", 5, 2, change={"XPOSURE": 20.0})
    text = (Path(__file__).parents[1] / "doc" / "ingest.md").read_text()
    section = text.partition("## Repairing records")[2].partition("\n## ")[0]
    prune, repair = re.findall(r"^butler (.*)$", section, re.MULTILINE)
    (failure,) = ingest(repo_root, "--transfer", mode, "--update-records", corrected).failures
    assert f"remove the dataset first (butler prune-datasets {repo_root} --purge" in failure
    assert butler_command(*shlex.split(prune.replace("REPO", str(repo_root))), "--no-confirm").code == 0
    assert datasets(repo_root).keys() == {(5, 1)}
    repair = repair.replace("REPO", str(repo_root)).replace("CORRECTED_FILES", str(corrected))
    assert butler_command(*shlex.split(repair)).code == 0
    assert exposure_record(repo_root, 5).exposure_time == 20.0
    assert datasets(repo_root).keys() == {(5, 1), (5, 2)}


@pytest.mark.parametrize("order", [(10.0, 20.0, 20.0), (20.0, 20.0, 10.0), (20.0, 10.0, 20.0)])
def test_none_of_several_wins(repo_root: Path, tmp_path: Path, order: tuple[float, ...]) -> None:
    """Neither the first nor the most: which one is right is not guessed."""
    for detector, value in enumerate(order, start=1):
        write_file(tmp_path / "in", 0, detector, change={"XPOSURE": value})
    write_file(tmp_path / "in", 0, 4, change={"XPOSURE": None})
    outcome = ingest(repo_root, tmp_path / "in")
    assert len(outcome.failures) == 3
    assert datasets(repo_root).keys() == {(0, 4)}
    assert exposure_record(repo_root).exposure_time is None


@pytest.mark.parametrize("order", [(10.0, 20.0, 20.0), (20.0, 20.0, 10.0)])
def test_update_does_not_depend_on_the_order(repo_root: Path, tmp_path: Path, order: tuple[float, ...]) -> None:
    write_file(tmp_path / "first", 0, 1, change={"XPOSURE": 10.0})
    ingest(repo_root, tmp_path / "first")
    paths = [write_file(tmp_path / "in", 0, d, change={"XPOSURE": v}) for d, v in enumerate(order, start=2)]
    outcome = ingest(repo_root, "--update-records", tmp_path / "in")
    assert len(outcome.failures) == 3
    assert exposure_record(repo_root).exposure_time == 10.0
    # Without the option, what the repository has is right.
    outcome = ingest(repo_root, tmp_path / "in")
    assert len(outcome.failures) == 2
    assert all("but 10.0 in the repository" in line for line in outcome.failures)
    agreeing = [path for path, value in zip(paths, order, strict=True) if value == 20.0]
    assert ingest(repo_root, "--update-records", *agreeing).code == 0
    assert exposure_record(repo_root).exposure_time == 20.0


def test_blame_falls_on_the_file_that_told(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "first", 0, 1, change={"XPOSURE": 10.0, "SPS_TARG": None})
    ingest(repo_root, tmp_path / "first")
    write_file(tmp_path / "in", 0, 2, change={"XPOSURE": 10.0, "SPS_TARG": 7})
    wrong = write_file(tmp_path / "in", 0, 3, change={"XPOSURE": 20.0, "SPS_TARG": 7})
    outcome = ingest(repo_root, tmp_path / "in")
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {wrong}: exposure_time of exposure (id 0) is 20.0, but 10.0 in the repository")


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
