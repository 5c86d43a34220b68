"""Submissions that are killed, and what repairs them; doc/scale_out.md."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from .programs import command_of, run_well
from .scale_helpers import INPUTS, Survey, assert_same_bits, spectra_of
from .servers import slurm_cluster
from .test_readme import blocks_of, environment
from .test_scale_bps import OUTPUT, PAGE, PATIENCE


def orphans_of(folder: Path) -> list[int]:
    """Return the processes of Parsl that were started in a directory and have lost their parent."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_interchange = b"interchange" in (process / "cmdline").read_bytes()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if is_interchange and parent == 1 and (process / "cwd").resolve().is_relative_to(folder.resolve()):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.thorough
def test_a_killed_submission_is_restarted(survey: Survey, tmp_path: Path) -> None:
    pytest.importorskip("lsst.ctrl.bps.parsl", reason="there is no BPS with Parsl: install the extra bps")
    (block,) = (block for block in blocks_of(PAGE, "yaml") if "bps_slurm.yaml" in block)
    config = yaml.safe_load(block) | {"operator": "tester"}
    config["site"]["slurm"] |= {"cores_per_node": 1, "walltime": "00:20:00"}
    repo = shutil.copytree(survey.repo, tmp_path / "DATA")
    expected = spectra_of(str(repo))
    (run,) = {row["image_run"] for spectrum in expected.values() for row in spectrum}
    config["payload"]["inCollection"] = INPUTS.replace("SPHEREx/level2", run)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    with slurm_cluster() as cluster:
        env = environment(SLURM_CONF=str(cluster / "slurm.conf"))
        process = subprocess.Popen(
            command_of("bps", "submit", "mine.yaml"),
            cwd=tmp_path,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while not list(repo.glob(f"{OUTPUT}/*/target_measurements/**/*.parq")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        orphans = orphans_of(tmp_path)
        assert orphans
        subprocess.run(["scancel", "--me"], env=env, check=True)
        for orphan in orphans:
            os.kill(orphan, signal.SIGTERM)
        (submission,) = tmp_path.glob(f"submit/{OUTPUT}/*")
        words = ["--wms-service-class", "lsst.ctrl.bps.parsl.ParslService", "--id", submission.relative_to(tmp_path)]
        run_well("bps", "restart", *words, cwd=tmp_path, env=env, timeout=PATIENCE)
    found = spectra_of(str(repo), OUTPUT)
    assert set(found) == set(expected) != set()
    for target in expected:
        assert_same_bits(found[target], expected[target])
