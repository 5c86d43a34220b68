"""butler ingest-calibrations: which one is valid when."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.daf.butler import Butler

from spherex.calibrations import timespan_between

from .calibrations_helpers import NEW, OLD, ingest, rows_of, wavelength_at, write_others, write_wcs
from .ingest_helpers import Outcome, butler_command


def test_the_calibration_is_the_one_valid_at_the_time_of_the_exposure(repo_root: Path, tmp_path: Path) -> None:
    assert ingest(repo_root, write_wcs(tmp_path, OLD), "--end-date", "2026-01-01").code == 0
    assert ingest(repo_root, write_wcs(tmp_path, NEW), "--begin-date", "2026-01-01").code == 0
    with Butler.from_config(str(repo_root), writeable=True, instrument="SPHEREx") as butler:
        for number, begin in ((1, "2025-12-18"), (2, "2026-02-18")):
            record = {"instrument": "SPHEREx", "id": number, "name": str(number)}
            span = timespan_between(begin, f"{begin}T00:02:00")
            butler.registry.insertDimensionData("exposure", record | {"timespan": span})
        got = [
            butler.get("spectral_wcs", exposure=number, detector=4, collections="SPHEREx/calib")["CWAVE"].data[0, 0]
            for number in (1, 2)
        ]
    assert got == [4.0, 4.5]


def test_a_newer_run_takes_over_and_says_so(repo_root: Path, tmp_path: Path) -> None:
    ingest(repo_root, write_wcs(tmp_path, OLD))
    outcome = ingest(repo_root, write_wcs(tmp_path, NEW), "--begin-date", "2026-01-01")
    runs = f"SPHEREx/calib/{NEW} replaces SPHEREx/calib/{OLD}"
    assert f"spectral_wcs, detector 4: {runs} from 2026-01-01T00:00:00 on (TAI)" in outcome.output
    assert [wavelength_at(repo_root, date) for date in ("2025-12-31", "2026-01-01")] == [4.0, 4.5]


def test_an_older_run_that_comes_later_does_not(repo_root: Path, tmp_path: Path) -> None:
    ingest(repo_root, write_wcs(tmp_path, NEW))
    outcome = ingest(repo_root, write_wcs(tmp_path, OLD))
    assert outcome.code == 0
    assert f"SPHEREx/calib/{OLD} leaves SPHEREx/calib/{NEW} for all times" in outcome.output
    assert wavelength_at(repo_root, "2025-12-31") == 4.5


def test_one_line_for_all_detectors(repo_root: Path, tmp_path: Path) -> None:
    ingest(repo_root, *(write_wcs(tmp_path, OLD, detector) for detector in (1, 2, 5)))
    outcome = ingest(
        repo_root, *(write_wcs(tmp_path, NEW, detector) for detector in (1, 2, 5)), "--end-date", "2026-01-01"
    )
    runs = f"SPHEREx/calib/{NEW} replaces SPHEREx/calib/{OLD}"
    line = f"spectral_wcs, detectors 1, 2, 5: {runs} until 2026-01-01T00:00:00 (TAI)"
    assert changes_of(outcome) == [line]


def test_again_changes_nothing(repo_root: Path, tmp_path: Path) -> None:
    write_others(tmp_path / "files")
    ingest(repo_root, tmp_path / "files")
    before = butler_command("list-calibrations", repo_root).output
    outcome = ingest(repo_root, tmp_path / "files")
    assert (outcome.code, outcome.counts["already there"]) == (0, 3)
    assert butler_command("list-calibrations", repo_root).output == before
    assert ingest(repo_root, tmp_path / "files", "--skip-existing").counts["skipped"] == 3


def test_what_was_decertified_stays_out_until_a_range_is_given(repo_root: Path, tmp_path: Path) -> None:
    files = [write_wcs(tmp_path / "files", detector=detector) for detector in (4, 5)]
    ingest(repo_root, *files)
    february = ["--begin-date", "2026-02-01", "--end-date", "2026-03-01"]
    assert butler_command("decertify-calibrations", repo_root, "spectral_wcs", *february, "--detector", 4).code == 0
    begin, end = "2026-02-01T00:00:00", "2026-03-01T00:00:00"
    before = [["4", "-", begin], ["4", end, "-"], ["5", "-", "-"]]
    what = f"spectral_wcs, detector 4: SPHEREx/calib/{OLD}, already there,"
    for option, verb in (["--dry-run"], "would stay"), ([], "stays"):
        outcome = ingest(repo_root, tmp_path / "files", *option)
        assert (outcome.code, outcome.counts["already there"]) == (0, 2)
        assert f"{what} {verb} out from {begin} to {end} (TAI), where nothing is valid; " in outcome.output
        assert rows_of(repo_root) == before
    # What is new is certified beside it.
    outcome = ingest(repo_root, tmp_path / "files", write_wcs(tmp_path / "files", detector=6))
    assert outcome.counts["ingested"] == 1
    assert rows_of(repo_root) == [*before, ["6", "-", "-"]]
    for option, verb in (["--dry-run"], "would become"), ([], "becomes"):
        outcome = ingest(repo_root, tmp_path / "files", "--begin-date", "2026-02-10", *option)
        expected = f"{what} {verb} valid from 2026-02-10T00:00:00 to {end} (TAI)"
        assert [line for line in outcome.output.splitlines() if line.startswith("spectral_wcs")] == [expected]
    after = [["4", "-", begin], ["4", "2026-02-10T00:00:00", "-"]]
    assert rows_of(repo_root) == [*after, ["5", "-", "-"], ["6", "-", "-"]]


def test_only_the_newest_of_several_versions_is_said_to_become_valid(repo_root: Path, tmp_path: Path) -> None:
    for run in (OLD, NEW):
        write_wcs(tmp_path / "files", run)
    ingest(repo_root, tmp_path / "files")
    february = ["--begin-date", "2026-02-01", "--end-date", "2026-03-01"]
    assert butler_command("decertify-calibrations", repo_root, "spectral_wcs", *february).code == 0
    for options, words in (
        ([], "stays out"),
        ([*february, "--dry-run"], "would become valid"),
        (february, "becomes valid"),
    ):
        lines = [line for line in ingest(repo_root, tmp_path / "files", *options).output.splitlines() if words in line]
        assert len(lines) == 1, lines
        assert f"SPHEREx/calib/{NEW}, already there, {words}" in lines[0]
    assert wavelength_at(repo_root, "2026-02-15") == 4.5


def test_what_the_same_command_fills_does_not_stay_out(repo_root: Path, tmp_path: Path) -> None:
    files = [write_wcs(tmp_path / "files", NEW)]
    ingest(repo_root, *files)
    february = ["--begin-date", "2026-02-01", "--end-date", "2026-03-01"]
    assert butler_command("decertify-calibrations", repo_root, "spectral_wcs", *february).code == 0
    files.append(write_wcs(tmp_path / "files", OLD))
    for option in (["--dry-run"], []):
        outcome = ingest(repo_root, *files, *option)
        assert outcome.code == 0
        assert "stays out" not in outcome.output
        assert "would stay out" not in outcome.output
    assert wavelength_at(repo_root, "2026-02-15") == 4.0
    assert wavelength_at(repo_root, "2026-03-15") == 4.5


def test_ranges_that_follow_each_other_are_listed_as_one(repo_root: Path, tmp_path: Path) -> None:
    path = write_wcs(tmp_path)
    for number in range(1, 4):
        assert ingest(repo_root, path, "--begin-date", f"2026-0{number}-01", "--end-date", f"2026-0{number + 1}-01")
    assert rows_of(repo_root) == [["4", "2026-01-01T00:00:00", "2026-04-01T00:00:00"]]
    assert ingest(repo_root, write_wcs(tmp_path, NEW), "--begin-date", "2026-02-10", "--end-date", "2026-02-20")
    assert [row[1][:10] for row in rows_of(repo_root)] == ["2026-01-01", "2026-02-10", "2026-02-20"]


def test_a_dry_run_changes_nothing(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest(repo_root, write_wcs(tmp_path), "--dry-run")
    assert (outcome.code, outcome.counts["would be ingested"]) == (0, 1)
    assert butler_command("list-calibrations", repo_root).code == 1


def changes_of(outcome: Outcome) -> list[str]:
    """Return the lines on what gives way to what."""
    return [line for line in outcome.output.splitlines() if line.startswith("spectral_wcs, detector")]


@pytest.mark.parametrize(("before", "runs"), [(OLD, [NEW]), (NEW, [OLD]), (NEW, [NEW]), (None, [NEW, OLD])])
def test_a_dry_run_tells_what_a_real_one_does(
    repo_root: Path, tmp_path: Path, before: str | None, runs: list[str]
) -> None:
    if before is not None:
        ingest(repo_root, write_wcs(tmp_path / "before", before), "--end-date", "2026-01-01")
    files = [write_wcs(tmp_path / "files", run, detector) for run in runs for detector in (4, 5)]
    command = [*files, "--begin-date", "2025-07-01"]
    foretold, again, done = (ingest(repo_root, *command, *more) for more in (["--dry-run"], ["--dry-run"], []))
    assert (foretold.code, done.code) == (0, 0)
    assert foretold.output == again.output
    forms = {"replaces": "would replace", "leaves": "would leave", "becomes": "would become"}
    expected = [" ".join(forms.get(word, word) for word in line.split(" ")) for line in changes_of(done)]
    assert changes_of(foretold) == expected
    assert len(expected) == {(OLD, 1): 1, (NEW, 1): 1, (None, 2): 1}[before, len(runs)]
