"""Create-spherex: what it makes, and that a failure leaves nothing."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from lsst.daf.butler import Butler

from .ingest_helpers import bound_program, butler_command

CONFIGS = Path(__file__).parents[1] / "configs"


def definitions(repo: Path) -> list[tuple[str]]:
    """Return the definitions of all tables and indexes."""
    with closing(sqlite3.connect(repo / "spherex.sqlite3")) as connection:
        return sorted(connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())


def test_it_makes_what_butler_create_makes(tmp_path: Path) -> None:
    ours, stock = tmp_path / "a" / "ours", tmp_path / "stock"
    outcome = butler_command("create-spherex", ours)
    assert outcome.code == 0
    assert f"Made an empty repository in {ours}." in outcome.output
    configs = ("--seed-config", CONFIGS / "butler.yaml", "--dimension-config", CONFIGS / "dimensions.yaml")
    assert butler_command("create", "--override", *configs, stock).code == 0
    assert (ours / "butler.yaml").read_text() == (stock / "butler.yaml").read_text()
    assert definitions(ours) == definitions(stock)
    with Butler.from_config(str(ours)) as butler:
        assert butler.dimensions.namespace == "spherex"


def test_a_seed_of_ones_own(tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        f"includeConfigs: resource://spherex/configs/butler.yaml\nregistry:\n  db: sqlite:///{tmp_path}/other.sqlite3\n"
    )
    assert butler_command("create-spherex", tmp_path / "repo", "--seed-config", seed).code == 0
    assert [path.name for path in (tmp_path / "repo").iterdir()] == ["butler.yaml"]
    assert (tmp_path / "other.sqlite3").exists()


def test_a_repository_stays(tmp_path: Path, repo_root: Path) -> None:
    before = (repo_root / "butler.yaml").read_bytes()
    outcome = butler_command("create-spherex", repo_root)
    assert outcome.code == 1
    assert f"There is a repository in {repo_root} already" in outcome.output
    assert (repo_root / "butler.yaml").read_bytes() == before


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    ("seed", "words"),
    [
        ("registry:\n  db: sqlite:////nowhere/at/all.sqlite3\n", "unable to open database file"),
        ("registry:\n  db: postgresql+psycopg2://nobody@127.0.0.1:1/none\n", "the database does not answer"),
        ("registry: [\n", "cannot be read"),
    ],
)
def test_a_failure_leaves_nothing(tmp_path: Path, exists: bool, seed: str, words: str) -> None:
    path, repo = tmp_path / "seed.yaml", tmp_path / "repo"
    path.write_text("includeConfigs: resource://spherex/configs/butler.yaml\n" + seed)
    if exists:
        repo.mkdir()
        (repo / "mine.txt").write_text("stays")
    outcome = butler_command("create-spherex", repo, "--seed-config", path)
    assert outcome.code == 1
    assert outcome.output.startswith("Error: ")
    assert words in outcome.output
    assert [one.name for one in repo.glob("*")] == (["mine.txt"] if exists else [])
    assert repo.exists() == exists
    assert butler_command("create-spherex", repo).code == 0


@pytest.mark.parametrize("place", ["closed/repo", "file/repo", "x" * 300])
def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "closed").mkdir(mode=0)
    outcome = bound_program("butler", "create-spherex", tmp_path / place)
    assert outcome.code == 1
    assert re.fullmatch(rf"Error: No repository was made in {tmp_path / place}: [^\n]+\.\n", outcome.output)


def test_a_failure_leaves_nothing_in_a_bucket(tmp_path: Path, bucket: str) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "includeConfigs: resource://spherex/configs/butler.yaml\nregistry:\n  db: sqlite:////nowhere/at/all.sqlite3\n"
    )
    assert butler_command("create-spherex", f"{bucket}/repo", "--seed-config", seed).code == 1
    seed.write_text(seed.read_text().replace("/nowhere/at/all", f"{tmp_path}/all"))
    assert butler_command("create-spherex", f"{bucket}/repo", "--seed-config", seed).code == 0
