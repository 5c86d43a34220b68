"""Spectra by BPS with Parsl, on this machine and on a cluster with Slurm; doc/scale_out.md."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from lsst.daf.butler import Butler

from .programs import run_well
from .scale_helpers import DETECTORS, INPUTS, Survey, assert_same_bits, spectra_of
from .servers import slurm_cluster
from .test_readme import ROOT, blocks_of, environment

PAGE = ROOT / "doc" / "scale_out.md"
OUTPUT = "u/tester/spectra_mine"
PATIENCE = 600
"""Seconds that a submission may take on a busy machine."""


def assert_submission_works(repo: str, survey: Survey, folder: Path, site: str, **variables: str) -> None:
    """Submit the page's configuration, and compare the spectra with those of ``pipetask run`` with SQLite."""
    (block,) = (block for block in blocks_of(PAGE, "yaml") if f"bps_{site}.yaml" in block)
    config = yaml.safe_load(block) | {"operator": "tester"}
    if site == "slurm":
        config["site"]["slurm"] |= {"cores_per_node": 1, "walltime": "00:10:00"}
    expected = spectra_of(str(survey.repo))
    # The repository with SQLite has newer images too.
    (run,) = {row["image_run"] for spectrum in expected.values() for row in spectrum}
    config["payload"] |= {"butlerConfig": repo, "inCollection": INPUTS.replace("SPHEREx/level2", run)}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    run_well("bps", "submit", "mine.yaml", cwd=folder, env=environment(**variables), timeout=PATIENCE)
    found = spectra_of(repo, OUTPUT)
    assert set(found) == set(expected) != set()
    for target in expected:
        assert_same_bits(found[target], expected[target])


@pytest.fixture(autouse=True)
def bps() -> None:
    """Skip without BPS."""
    pytest.importorskip("lsst.ctrl.bps.parsl", reason="there is no BPS with Parsl: install the extra bps")


@pytest.fixture
def on_disk(survey: Survey, tmp_path: Path) -> str:
    """Return a copy of the repository with SQLite and files on disk."""
    return str(shutil.copytree(survey.repo, tmp_path / "DATA"))


@pytest.fixture
def in_bucket(survey: Survey, tmp_path: Path, team: str, bucket: str) -> str:
    """Return a repository made as the page says, with PostgreSQL, and files and butler.yaml in a bucket."""
    (block,) = (block for block in blocks_of(PAGE, "yaml") if "butler_postgres.yaml" in block)
    seed = yaml.safe_load(block)
    seed["registry"]["db"] = team
    (tmp_path / "seed.yaml").write_text(yaml.safe_dump(seed))
    repo = f"{bucket}/REPO"
    run_well("butler", "create-spherex", repo, "--seed-config", tmp_path / "seed.yaml")
    survey.ingest(repo, "copy")
    return repo


def object_store() -> dict[str, str]:
    """Return the variables of the object store, which `environment` leaves out."""
    return {name: value for name, value in os.environ.items() if name.startswith(("S3_", "AWS_"))}


@pytest.mark.slow
def test_on_this_machine(on_disk: str, survey: Survey, tmp_path: Path) -> None:
    assert_submission_works(on_disk, survey, tmp_path, "local")
    # One job for the images of each detector.
    assert len(list(tmp_path.glob("submit/**/measurement/*.stdout"))) == len(DETECTORS)


@pytest.mark.slow
@pytest.mark.thorough
def test_on_two_nodes_with_slurm(on_disk: str, survey: Survey, tmp_path: Path) -> None:
    with slurm_cluster() as cluster:
        assert_submission_works(on_disk, survey, tmp_path, "slurm", SLURM_CONF=str(cluster / "slurm.conf"))
        assert len(re.findall(r"Allocate JobId=\d+ NodeList=n\[1-2\]", (cluster / "slurmctld.log").read_text())) == 1


@pytest.mark.slow
@pytest.mark.thorough
def test_on_this_machine_with_files_in_a_bucket(in_bucket: str, survey: Survey, tmp_path: Path) -> None:
    assert_submission_works(in_bucket, survey, tmp_path, "local", **object_store())
    assert_all_in_bucket(in_bucket)


@pytest.mark.slow
def test_with_slurm_and_files_in_a_bucket(in_bucket: str, survey: Survey, tmp_path: Path) -> None:
    with slurm_cluster() as cluster:
        variables = {"SLURM_CONF": str(cluster / "slurm.conf"), **object_store()}
        assert_submission_works(in_bucket, survey, tmp_path, "slurm", **variables)
    assert_all_in_bucket(in_bucket)


def assert_all_in_bucket(repo: str) -> None:
    """Check that all outputs and inputs of a submission are files below the repository."""
    with Butler.from_config(repo) as butler:
        refs = butler.query_all_datasets(OUTPUT, find_first=False)
        assert {"level2", "target_measurements", "spectra"} <= {ref.datasetType.name for ref in refs}
        assert all(str(butler.getURI(ref)).startswith(f"{repo}/") for ref in refs)
