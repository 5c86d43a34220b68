"""What ``--transfer move`` removes, what it leaves, and what it says of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lsst.resources import ResourcePath

from .ingest_helpers import BLOCK, datasets, ingest, write_file, write_files


def test_through_a_link(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "real")
    (tmp_path / "in").mkdir()
    link = tmp_path / "in" / path.name
    link.symlink_to(path)
    assert ingest(repo_root, "--transfer", "move", tmp_path / "in").code == 0
    assert not os.path.lexists(link)
    assert path.exists(), "mv moves the link, not what it leads to"
    stored = Path(datasets(repo_root)[0, 1].ospath)
    assert not stored.is_symlink()
    assert not stored.samefile(path), "whoever edits the one must not change the other"


def test_through_links_of_links(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "real")
    for directory, target in (("middle", path), ("in", tmp_path / "middle" / path.name)):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / path.name).symlink_to(target)
    assert ingest(repo_root, "--transfer", "move", tmp_path / "in").code == 0
    assert [os.path.lexists(tmp_path / name / path.name) for name in ("real", "middle", "in")] == [True, True, False]


def test_link_to_the_file_of_another_run(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    stored = datasets(repo_root)[0, 1].ospath
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / path.name).symlink_to(stored)
    assert ingest(repo_root, "--transfer", "move", "--output-run", "other", tmp_path / "work").code == 0
    assert Path(stored).exists()
    assert Path(datasets(repo_root, run="other")[0, 1].ospath).exists()


@pytest.mark.parametrize("mode", ["copy", "symlink"])
def test_file_of_the_datastore(repo_root: Path, tmp_path: Path, mode: str) -> None:
    write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", mode, tmp_path / "in")
    stored = Path(datasets(repo_root)[0, 1].ospath)
    renamed = stored.with_name("sim_exposure_000000_array_1.fits")
    stored.rename(renamed)
    outcome = ingest(repo_root, "--transfer", "move", "--output-run", "other", renamed)
    assert outcome.code == 1
    assert "it lies in the datastore, so it cannot be moved; use --transfer copy" in outcome.failures[0]
    assert os.path.lexists(renamed)


def test_direct_dataset_of_another_run(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", "direct", tmp_path / "in")
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    for directory in ("in", "alias"):
        outcome = ingest(repo_root, "--transfer", "move", "--output-run", "other", tmp_path / directory)
        assert outcome.code == 1
        assert "it is the file of another dataset in the repository, so it cannot be moved" in outcome.failures[0]
        assert path.exists()


def test_direct_dataset_of_another_run_that_is_there(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", "copy", "--output-run", "other", tmp_path / "in")
    ingest(repo_root, "--transfer", "direct", tmp_path / "in")
    outcome = ingest(repo_root, "--transfer", "move", "--output-run", "other", tmp_path / "in")
    assert outcome.code == 0
    assert "1 original left in place: it is the file of another dataset" in outcome.output
    assert path.exists()


@pytest.mark.parametrize("mode", ["direct", "symlink", "relsymlink"])
def test_never_the_only_copy(repo_root: Path, tmp_path: Path, mode: str) -> None:
    paths = write_files(tmp_path / "in", 1)
    ingest(repo_root, "--transfer", mode, tmp_path / "in")
    outcome = ingest(repo_root, "--transfer", "move", tmp_path / "in")
    assert all(path.exists() for path in paths)
    assert "6 originals left in place: the repository points to it and has no copy" in outcome.output


def test_skipped_files_are_reported(repo_root: Path, tmp_path: Path) -> None:
    paths = write_files(tmp_path / "in", 1)
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    outcome = ingest(repo_root, "--transfer", "move", "--skip-existing", tmp_path / "in")
    assert all(path.exists() for path in paths)
    assert "6 originals left in place: --skip-existing passes over it" in outcome.output
    outcome = ingest(repo_root, "--transfer", "move", tmp_path / "in")
    assert "left in place" not in outcome.output
    assert not any(path.exists() for path in paths)


def test_second_name_is_reported(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a")
    (tmp_path / "b").mkdir()
    os.link(path, tmp_path / "b" / path.name)
    outcome = ingest(repo_root, "--transfer", "move", tmp_path / "a", tmp_path / "b")
    assert outcome.counts["ingested"] == 1
    assert "1 original left in place: it is another name of a file that was moved" in outcome.output
    assert (tmp_path / "b" / path.name).exists()


def test_file_before_its_link(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "real")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / path.name).symlink_to(path)
    outcome = ingest(repo_root, "--transfer", "move", tmp_path / "in", tmp_path / "real")
    assert not path.exists()
    assert "1 original left in place" in outcome.output


def test_interrupted_move_out_of_a_bucket(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    """The transaction was through, but the originals were not removed yet."""
    paths = [write_file(tmp_path / "in", 0, detector, side=120) for detector in range(1, 7)]
    uris = [ResourcePath(f"{bucket}/in/{path.name}") for path in paths]
    for path, uri in zip(paths, uris, strict=True):
        uri.write(path.read_bytes())
    ingest(repo_root, "--transfer", "copy", f"{bucket}/in/")
    # What lies behind the headers of remote files is not compared before.
    uris[2].write(paths[2].read_bytes()[:-BLOCK] + bytes(BLOCK))
    outcome = ingest(repo_root, "--transfer", "move", f"{bucket}/in/")
    assert [uri.exists() for uri in uris] == [number == 2 for number in range(6)]
    (failure,) = outcome.failures
    assert "it is not the same as the ingested file" in failure


def test_direct_dataset_in_a_bucket_stays(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    path = write_file(tmp_path / "in")
    uri = ResourcePath(f"{bucket}/in/{path.name}")
    uri.write(path.read_bytes())
    ingest(repo_root, "--transfer", "direct", f"{bucket}/in/")
    outcome = ingest(repo_root, "--transfer", "move", "--output-run", "other", f"{bucket}/in/")
    assert "it is the file of another dataset" in outcome.failures[0]
    assert "the repository points to it" in ingest(repo_root, "--transfer", "move", f"{bucket}/in/").output
    assert uri.exists()


@pytest.mark.parametrize("mode", ["auto", "copy", "move", "direct"])
def test_dry_run_in_a_new_repository(repo_root: Path, tmp_path: Path, mode: str) -> None:
    """The tables of the datastore are made by the first who writes."""
    paths = write_files(tmp_path / "in", 1)
    outcome = ingest(repo_root, "--dry-run", "--transfer", mode, tmp_path / "in")
    assert outcome.code == 0
    assert outcome.counts["would be ingested"] == 6
    assert all(path.exists() for path in paths)
