"""Raw images are not taken for darks, nor darks for raw images."""

from __future__ import annotations

import pytest

from .programs import run_program, run_well


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--ingest-type", "dark"],
            "it is a raw image (IMAGETYP is SCIENCE), not a dark; add --regex dark_current.fits",
        ),
        (["--regex", "dark_current.fits"], "it is a dark current map (IMAGETYP is DARK), not a raw image"),
    ],
)
def test_swapped_types_are_refused(repo_root, simulated_files, options, message):
    done = run_program("butler", "ingest-simulated", "--transfer", "direct", *options, repo_root, simulated_files)
    assert done.returncode == 1
    assert done.stdout.count(message) + done.stderr.count(message) == 12
    assert "Traceback" not in done.stdout + done.stderr
    assert "0 ingested" in done.stdout + done.stderr


def test_other_types_take_either(repo_root, simulated_files):
    options = ["--ingest-type", "anything", "--transfer", "direct", "--regex", r"\.fits$"]
    run_well("butler", "ingest-simulated", *options, repo_root, simulated_files / "sim_exposure_000000_array_1.fits")
