from __future__ import annotations

from pathlib import Path

import pytest

from .ingest_helpers import (
    datasets,
    ingest,
    write_file,
    write_files,
)


@pytest.mark.parametrize(
    ("mode", "is_link", "is_inside"),
    [
        ("auto", False, True),
        ("copy", False, True),
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
    assert all(path.exists() for path in paths)
    again = ingest(repo_root, "--transfer", mode, tmp_path / "in")
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


def test_relative_uri(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "in", 1)
    monkeypatch.chdir(tmp_path)
    assert ingest(repo_root, "file:in/").counts["ingested"] == 6
    assert "there is no such file or directory" in ingest(repo_root, "file:nothing/").failures[0]


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


def test_no_track_file_attrs(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    ingest(repo_root, "--no-track-file-attrs", "--transfer", "direct", tmp_path / "in")
    with path.open("ab") as stream:
        stream.write(bytes(2880))
    assert ingest(repo_root, "--transfer", "direct", tmp_path / "in").counts["already there"] == 1


@pytest.mark.parametrize("mode", ["auto", "copy", "direct"])
def test_dry_run_in_a_new_repository(repo_root: Path, tmp_path: Path, mode: str) -> None:
    """The tables of the datastore are made by the first who writes."""
    paths = write_files(tmp_path / "in", 1)
    outcome = ingest(repo_root, "--dry-run", "--transfer", mode, tmp_path / "in")
    assert outcome.code == 0
    assert outcome.counts["would be ingested"] == 6
    assert all(path.exists() for path in paths)
