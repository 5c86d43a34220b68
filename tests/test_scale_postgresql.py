"""All commands and pipelines with a database on a PostgreSQL server, compared with SQLite and files on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Config

from .conftest import DIMENSIONS, SEED
from .scale_helpers import Survey, assert_same_bits, spectra_of


def assert_same_as_sqlite(repo: str, printed: list[list[str]], survey: Survey) -> None:
    assert printed == json.loads(survey.printed.read_text())
    found, expected = spectra_of(repo), spectra_of(str(survey.repo))
    assert set(found) == set(expected) != set()
    for target in expected:
        assert_same_bits(found[target], expected[target])


@pytest.mark.slow
def test_with_files_on_disk(survey: Survey, tmp_path: Path, postgresql: str, make_repo: Callable[..., Path]) -> None:
    repo = str(make_repo(tmp_path / "repo", registry__db=postgresql, registry__namespace="scale_disk"))
    assert_same_as_sqlite(repo, survey.do_everything(repo), survey)


@pytest.mark.slow
def test_with_files_and_configuration_in_a_bucket(survey: Survey, postgresql: str, bucket: str) -> None:
    seed = Config(SEED)
    seed["registry", "db"] = postgresql
    seed["registry", "namespace"] = "scale_bucket"
    repo = f"{bucket}/repo"
    Butler.makeRepo(repo, config=seed, dimensionConfig=DIMENSIONS, forceConfigRoot=False)
    assert_same_as_sqlite(repo, survey.do_level2(repo, "copy"), survey)
    with Butler.from_config(repo) as butler:
        refs = butler.query_datasets("level2", "SPHEREx/level2") + butler.query_datasets("spectra", "spectra")
        assert all(str(butler.getURI(ref)).startswith(f"{repo}/") for ref in refs)
