from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.resources import ResourcePath

from .ingest_helpers import datasets, ingest, write_file, write_files


def upload(bucket: str, paths: list[Path]) -> None:
    for path in paths:
        ResourcePath(f"{bucket}/in/{path.name}").write(path.read_bytes())


@pytest.mark.parametrize(("mode", "threads"), [("direct", 1), ("copy", 4)])
def test_files_in_a_bucket(repo_root: Path, tmp_path: Path, bucket: str, mode: str, threads: int) -> None:
    paths = write_files(tmp_path / "in", 1)
    upload(bucket, [*paths, write_file(tmp_path / "in", dark=True)])
    for outcome in (
        ingest(repo_root, "-j", threads, "--transfer", mode, f"{bucket}/in/"),
        ingest(repo_root, "-j", threads, "--transfer", mode, f"{bucket}/in/"),
    ):
        assert outcome.code == 0, outcome
    assert outcome.counts["already there"] == 6
    stored = datasets(repo_root)
    assert len(stored) == 6
    assert {uri.scheme for uri in stored.values()} == {"s3" if mode == "direct" else "file"}


def test_bad_files_in_a_bucket(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    paths = write_files(tmp_path / "in", 1)
    paths[0].write_bytes(b"")
    paths[1].write_bytes(paths[1].read_bytes()[:12000])
    upload(bucket, paths)
    missing = f"{bucket}/in/sim_exposure_000009_array_1.fits"
    outcome = ingest(repo_root, "--transfer", "direct", f"{bucket}/in/", missing, f"{bucket}/nothing/")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 4
    text = "\n".join(outcome.failures)
    for pattern in (
        "array_1.fits: the file is empty",
        "array_2.fits: .*cut short",
        "000009_array_1.fits: ",
        "nothing/: ",
    ):
        assert re.search(pattern, text), text
    assert len(outcome.failures) == 4


def test_originals_in_a_bucket_can_be_removed(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    paths = write_files(tmp_path / "in", 1)
    upload(bucket, paths)
    stored = tmp_path / "stored.txt"
    assert ingest(repo_root, "--transfer", "copy", "--list-stored", stored, f"{bucket}/in/").code == 0
    assert len(datasets(repo_root)) == 6
    for line in stored.read_text().splitlines():
        ResourcePath(line).remove()
    assert not any(ResourcePath(f"{bucket}/in/{path.name}").exists() for path in paths)
    assert all(Path(uri.ospath).exists() for uri in datasets(repo_root).values())


def test_repository_in_a_bucket(tmp_path: Path, bucket: str, make_repo: Callable[..., Path]) -> None:
    paths = write_files(tmp_path / "in", 1)
    repo = make_repo(tmp_path / "repo", datastore__root=f"{bucket}/store")
    for _ in range(2):
        assert ingest(repo, "--transfer", "copy", tmp_path / "in").code == 0
    assert {uri.scheme for uri in datasets(repo).values()} == {"s3"}
    stored = tmp_path / "stored.txt"
    assert ingest(repo, "--list-stored", stored, tmp_path / "in").code == 0
    assert sorted(stored.read_text().splitlines()) == sorted(map(str, paths))


def test_directory_without_a_slash(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    upload(bucket, write_files(tmp_path / "in", 1))
    (failure,) = ingest(repo_root, f"{bucket}/in").failures
    assert "if it is a directory, end its URI with /, else rename it or ingest it with --regex" in failure


def test_links_into_a_bucket(tmp_path: Path, bucket: str, make_repo: Callable[..., Path]) -> None:
    write_file(tmp_path / "in")
    repo = make_repo(tmp_path / "repo", datastore__root=f"{bucket}/store")
    (failure,) = ingest(repo, "--transfer", "symlink", tmp_path / "in").failures
    assert "the datastore does not support this --transfer; use --transfer copy or auto" in failure
