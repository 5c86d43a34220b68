"""Spectra by BPS with Parsl, on this machine and on a cluster with Slurm; doc/scale_out.md."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from .programs import run_well
from .scale_helpers import DETECTORS, INPUTS, Survey, assert_same_bits, spectra_of
from .servers import slurm_cluster
from .test_readme import ROOT, blocks_of, environment

OUTPUT = "u/tester/spectra_mine"
PATIENCE = 600
"""Seconds that a submission may take on a busy machine."""


def assert_submission_works(survey: Survey, folder: Path, site: str, **variables: str) -> None:
    """Submit the page's configuration in a copy of the repository with SQLite, and compare the spectra."""
    (block,) = (block for block in blocks_of(ROOT / "doc" / "scale_out.md", "yaml") if f"bps_{site}.yaml" in block)
    config = yaml.safe_load(block) | {"operator": "tester"}
    if site == "slurm":
        config["site"]["slurm"] |= {"cores_per_node": 1, "walltime": "00:10:00"}
    repo = shutil.copytree(survey.repo, folder / config["payload"]["butlerConfig"])
    expected = spectra_of(str(repo))
    # Since then newer images have been ingested.
    (run,) = {row["image_run"] for spectrum in expected.values() for row in spectrum}
    config["payload"]["inCollection"] = INPUTS.replace("SPHEREx/level2", run)
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    run_well("bps", "submit", "mine.yaml", cwd=folder, env=environment(**variables), timeout=PATIENCE)
    found = spectra_of(str(repo), OUTPUT)
    assert set(found) == set(expected) != set()
    for target in expected:
        assert_same_bits(found[target], expected[target])


@pytest.fixture(autouse=True)
def bps() -> None:
    """Skip without BPS."""
    pytest.importorskip("lsst.ctrl.bps.parsl", reason="there is no BPS with Parsl: install the extra bps")


@pytest.mark.slow
def test_on_this_machine(survey: Survey, tmp_path: Path) -> None:
    assert_submission_works(survey, tmp_path, "local")
    # One job for the images of each detector.
    assert len(list(tmp_path.glob("submit/**/measurement/*.stdout"))) == len(DETECTORS)


@pytest.mark.slow
def test_on_two_nodes_with_slurm(survey: Survey, tmp_path: Path) -> None:
    with slurm_cluster() as cluster:
        assert_submission_works(survey, tmp_path, "slurm", SLURM_CONF=str(cluster / "slurm.conf"))
        assert len(re.findall(r"Allocate JobId=\d+ NodeList=n\[1-2\]", (cluster / "slurmctld.log").read_text())) == 1
