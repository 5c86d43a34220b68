from __future__ import annotations

import re
from pathlib import Path

import pytest

from spherex.ingest import RAW_REGEX, IngestReport
from spherex.ingest.locations import find_files

DARK_REGEX = "dark_current.fits"
"""Option --regex in the help and the documentation."""


def find(*locations: object, regex: str = r"\.fits$") -> tuple[list[str], IngestReport]:
    """Return what is found, and failures."""
    report = IngestReport()
    return sorted(find_files([str(location) for location in locations], re.compile(regex), report)), report


def touch(*paths: Path) -> list[str]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return sorted(str(path) for path in paths)


def test_directories_are_searched_below(tmp_path: Path) -> None:
    expected = touch(tmp_path / "a.fits", tmp_path / "b" / "c" / "d.fits")
    touch(tmp_path / "b" / "e.txt")
    found, report = find(tmp_path)
    assert found == expected
    assert report.failures == []


def test_each_file_once(tmp_path: Path) -> None:
    (path,) = touch(tmp_path / "a.fits")
    assert find(tmp_path, path, tmp_path)[0] == [path]


def test_link_loops_end(tmp_path: Path) -> None:
    expected = touch(tmp_path / "in" / "a.fits", tmp_path / "in" / "sub" / "b.fits")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "sub" / "up").symlink_to("..")
    (tmp_path / "in" / "self").symlink_to("self")
    found, report = find(tmp_path / "in")
    assert found == expected
    assert report.failures == []


def test_linked_directories_are_searched(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "a.fits")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "real")
    assert find(tmp_path / "in")[0] == [str(tmp_path / "in" / "link" / "a.fits")]


def test_dangling_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.fits").symlink_to(tmp_path / "nowhere")
    assert find(tmp_path)[0] == [str(tmp_path / "a.fits")]
    assert find(tmp_path / "a.fits")[0] == [str(tmp_path / "a.fits")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "^it contains no file; check its name$"),
        ("other", "^it contains 2 files, none with a name of this kind; check the directory, or ingest them with"),
        ("missing", "no such file or directory"),
    ],
)
def test_nothing_there(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty" / "below").mkdir(parents=True)
    touch(tmp_path / "other" / "a.dat", tmp_path / "other" / "below" / "b.txt")
    found, report = find(tmp_path / name)
    assert found == []
    ((address, reason),) = report.failures
    assert address == str(tmp_path / name)
    assert re.search(message, reason)


def test_named_file_that_does_not_match(tmp_path: Path) -> None:
    (path,) = touch(tmp_path / "a.dat")
    found, report = find(path)
    assert found == []
    assert "it has no name of this kind of file; rename it" in report.failures[0][1]


@pytest.mark.parametrize("location", ["s4://bucket/dir", "http://localhost:1/dir/"])
def test_address_that_does_not_work(location: str) -> None:
    found, report = find(location)
    assert found == []
    assert report.failures[0][0] == location


def test_default_regular_expressions() -> None:
    raw, dark = "sim_exposure_000000_array_1.fits", "sim_exposure_000000_array_1_dark_current.fits"
    assert re.search(RAW_REGEX, raw)
    assert not re.search(RAW_REGEX, dark)
    assert re.search(DARK_REGEX, dark)
    assert not re.search(DARK_REGEX, raw)
    assert re.search(RAW_REGEX, "sim_exposure_000000_array_7.fits"), "bad numbers are to be reported"
    assert not re.search(RAW_REGEX, "sim_truth_000000_array_1.fits")
