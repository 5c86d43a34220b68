"""The one check of names that become a part of the names of files, at each way that they come in.

Promise 4 of doc/safe_formats.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spherex.errors import FileNameError
from spherex.file_names import check_directory_name, check_file_name
from spherex.targets import check_catalog, check_catalog_name, read_catalog

from . import calibrations_helpers
from .calibrations_helpers import write_wcs
from .ingest_helpers import Outcome, ingest, write_file
from .targets_helpers import register, write_csv

OUTSIDE = [
    "%2e%2e/%2e%2e/outside",
    "a/%2E%2e/%2e%2e/%2e%2e/outside",
    "%2Foutside",
    "a%00b",
    "../../outside",
    "/outside",
    "a//b",
    "a/..",
    "a/./b",
    "a\\..\\b",
    "a\nb",
    "a\x00b",
    "$HOME/a",
    "${HOME}",
    " a",
    "a /b",
    "",
]
"""Names that would be, or could be taken for, a place outside the directory that they belong to."""


@pytest.mark.parametrize("name", [*OUTSIDE, "x" * 129])
def test_names_of_runs(name: str) -> None:
    with pytest.raises(FileNameError):
        check_directory_name(name, slashes=True)


@pytest.mark.parametrize("name", [*OUTSIDE, "a/b", "x" * 65, ".", ".."])
def test_names_of_directories(name: str) -> None:
    with pytest.raises(FileNameError):
        check_directory_name(name)


@pytest.mark.parametrize("name", ["%2e%2e", "a\nb", "a\x00b", "$HOME", "", "x" * 65])
def test_names_in_names_of_files(name: str) -> None:
    with pytest.raises(FileNameError):
        check_file_name(name)


@pytest.mark.parametrize("name", ["SPHEREx/level2/l2b-v20-2025-299", "u/é/run_1", "5% of", "...", "100%", "%zz"])
def test_names_that_can_be(name: str) -> None:
    check_directory_name(name, slashes=True)


def existing(folder: Path) -> set[Path]:
    """Return all directories, and all files but those of the database."""
    return {path for path in folder.rglob("*") if "sqlite" not in path.name}


def ingest_into_run(repo: Path, files: Path, name: str) -> Outcome:
    return ingest(repo, "--output-run", name, "--transfer", "copy", files)


def ingest_into_group(repo: Path, files: Path, name: str) -> Outcome:
    return ingest(repo, "--group", name, "--transfer", "copy", files)


def ingest_calibrations(repo: Path, files: Path, name: str) -> Outcome:
    return calibrations_helpers.ingest(repo, "--collection", name, "--transfer", "copy", files)


def register_catalog(repo: Path, files: Path, name: str) -> Outcome:
    return register(repo, name, write_csv(files / "catalog.csv", "a,1,2"))


def register_target(repo: Path, files: Path, name: str) -> Outcome:
    return register(repo, "mine", write_csv(files / "catalog.csv", f'"{name}",1,2'))


@pytest.mark.parametrize(
    "command", [ingest_into_run, ingest_into_group, ingest_calibrations, register_catalog, register_target]
)
@pytest.mark.parametrize("name", ["%2e%2e/%2e%2e/outside", "%2e%2e", "a\nb", "$HOME", "x" * 200])
def test_names_on_the_command_line(
    repo_root: Path, tmp_path: Path, command: Callable[[Path, Path, str], Outcome], name: str
) -> None:
    files = tmp_path / "in"
    files.mkdir()
    if command is ingest_calibrations:
        write_wcs(files)
    else:
        write_file(files)
    write_csv(files / "catalog.csv", "a,1,2")
    before = existing(tmp_path)
    outcome = command(repo_root, files, name)
    assert outcome.code in (1, 2), outcome
    assert "Traceback" not in outcome.output
    assert existing(tmp_path) == before


def test_names_in_headers(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in", change={"OBSID": "%2e%2e/%2e%2e/outside"})
    (failure,) = ingest(repo_root, tmp_path / "in").failures
    assert failure.startswith(f"failed: {path}: OBSID in the header has %2e, which would be read as another character")


def test_targets_and_catalogues_have_the_same_check(tmp_path: Path) -> None:
    table = read_catalog(str(write_csv(tmp_path / "file.csv", "a%2e,1,2", "$a,1,2")))
    assert [problem.row for problem in check_catalog(table)] == [1, 2]
    for name in OUTSIDE:
        with pytest.raises(Exception, match="the name of a catalogue"):
            check_catalog_name(name)
