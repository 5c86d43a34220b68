"""Moving a repository to PostgreSQL and S3, and backups, by the commands of doc/scale_out.md."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import sqlalchemy
import yaml
from lsst.daf.butler import Butler
from lsst.resources import ResourcePath

from .ingest_helpers import butler_command
from .scale_helpers import DEC, QUERY, RA, Survey, assert_same_bits, command, run_pipeline, spectra_of
from .test_readme import ROOT, blocks_of, environment, run_blocks

PAGE = ROOT / "doc" / "scale_out.md"
MOVED = "s3://spherex/REPO"
READING = [
    ("find-images", RA, DEC, "--exact", "--flags"),
    ("list-calibrations",),
    ("check-provenance",),
    ("stale-spectra", "spectra"),
]
"""Commands that read, and their arguments after the repository."""


@pytest.fixture
def folder(survey: Survey, tmp_path: Path) -> Path:
    """Return a directory with a copy of the repository with SQLite as DATA."""
    shutil.copytree(survey.repo, tmp_path / "work" / "DATA")
    return tmp_path / "work"


@pytest.fixture
def env(folder: Path, team: str, bucket: str) -> dict[str, str]:
    """Return the environment of a user of both servers; the directory has the seed of the page."""
    (block,) = (block for block in blocks_of(PAGE, "yaml") if "butler_postgres.yaml" in block)
    seed = yaml.safe_load(block)
    seed["registry"]["db"] = team
    (folder / "seed.yaml").write_text(yaml.safe_dump(seed))
    s3 = {name: value for name, value in os.environ.items() if name.startswith(("S3_", "AWS_"))}
    return environment(PGPASSWORD="secret", AWS_ENDPOINT_URL=s3["S3_ENDPOINT_URL"], **s3)


def contents_of(repo: str) -> tuple[list[str], list[tuple[str, str]], list[tuple[str, ...]]]:
    """Return the dimension records, the datasets with their ids, and the collections with their children."""
    with Butler.from_config(repo) as butler:
        elements = [element.name for element in butler.dimensions.elements if element.has_own_table]
        records = [
            str(record)
            for element in elements
            for record in butler.query_dimension_records(element, explain=False, limit=None)
        ]
        datasets = butler.query_all_datasets("*", find_first=False, limit=None)
        collections = butler.collections.query_info("*")
        return (
            sorted(records),
            sorted((str(ref.id), str(ref)) for ref in datasets),
            sorted((info.name, info.type.name, *(info.children or ())) for info in collections),
        )


def assert_same(repo: str, other: str) -> None:
    """Compare two repositories: contents, what commands print that read, and spectra."""
    assert contents_of(repo) == contents_of(other)
    for name, *words in READING:
        printed = {root: re.sub(r"(file|s3)://\S+|-{4,}", "", command(name, root, *words)) for root in (repo, other)}
        first, second = (text.replace(root, "").split() for root, text in printed.items())
        assert first == second
    assert_same_spectra(spectra_of(repo), spectra_of(other))


def assert_same_spectra(found: dict, expected: dict) -> None:
    assert set(found) == set(expected) != set()
    for target in expected:
        assert_same_bits(found[target], expected[target])


@pytest.mark.slow
@pytest.mark.thorough
def test_a_repository_moves_and_is_restored_from_its_backup(
    folder: Path, env: dict[str, str], survey: Survey, team: str
) -> None:
    if shutil.which("pg_dump", path=env["PATH"]) is None:
        pytest.skip("there is no pg_dump here: install postgresql-client")
    (script,) = blocks_of(PAGE, "python move")
    (folder / "export.py").write_text(script)
    run_blocks(blocks_of(PAGE, "sh move"), folder, env)
    old = str(folder / "DATA")
    assert_same(MOVED, old)
    with Butler.from_config(MOVED) as butler:
        refs = butler.query_all_datasets("*", find_first=False, limit=None)
        assert all(str(butler.getURI(ref)).startswith(f"{MOVED}/") for ref in refs)
    for files in (survey.archive, survey.newer):
        assert " 0 ingested" in command("ingest-level2", MOVED, "--transfer", "copy", files)
    # The inputs of the first spectra, without the newer images.
    run_pipeline(MOVED, "SpectrumPipeline.yaml", "-i", "spectra", "-o", "again", "-d", QUERY)
    assert_same_spectra(spectra_of(MOVED, "again"), spectra_of(old))

    uri = sqlalchemy.make_url(team)
    (saving,), (restoring,) = blocks_of(PAGE, "sh backup"), blocks_of(PAGE, "sh restore")
    options = f"-h {uri.host} -p {uri.port} -U team -d team"
    saving, restoring = (text.replace("-h HOST -U spherex -d spherex", options) for text in (saving, restoring))
    if shutil.which("aws", path=env["PATH"]) is None:
        # The files stay where they are; all else is tried.
        saving, restoring = (re.sub(r"^aws .*\n", "", text, flags=re.MULTILINE) for text in (saving, restoring))
    run_blocks([saving], folder, env)
    before = contents_of(MOVED)
    assert butler_command("remove-runs", MOVED, "spectra/*", "--no-confirm", "--force").code == 0
    assert contents_of(MOVED) != before
    if "aws " in saving:
        for path in ResourcePath.findFileResources([ResourcePath(f"{MOVED}/SPHEREx/", forceDirectory=True)]):
            path.remove()
    run_blocks([restoring], folder, env)
    assert contents_of(MOVED) == before
    if "aws " in saving:
        assert_same_spectra(spectra_of(MOVED), spectra_of(old))


@pytest.mark.slow
def test_a_repository_with_sqlite_is_restored_from_its_backup(folder: Path, survey: Survey) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("there is no sqlite3 here: install it (Debian, Ubuntu: apt-get install sqlite3)")
    repo = str(folder / "DATA")
    run_blocks(blocks_of(PAGE, "sh backup sqlite"), folder, environment())
    assert butler_command("remove-runs", repo, "spectra/*", "--no-confirm", "--force").code == 0
    shutil.rmtree(folder / "DATA" / "catalogs")
    run_blocks(blocks_of(PAGE, "sh restore sqlite"), folder, environment())
    assert_same(repo, str(survey.repo))
