"""Commands in a wrong order, and names with a mistake: each message has the next command or the right name."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lsst.daf.butler import Butler

import spherex
from spherex.errors import MOST_NAMES, SearchError, UserError, did_you_mean
from spherex.search import Criteria

from .ingest_helpers import butler_command, ingest_bound
from .programs import command_of, run_program
from .spectra_helpers import CATALOG, PLACES, TargetRepo
from .targets_helpers import write_csv


@pytest.fixture
def folder(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a directory with an empty repository, EMPTY, and a catalogue."""
    repo_root.rename(tmp_path / "EMPTY")
    write_csv(tmp_path / "stars.csv", "star,305.75,38.83")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def filled(repo_root: Path) -> Iterator[TargetRepo]:
    """Return a repository with a catalogue of two targets and an image."""
    repo = TargetRepo.make(repo_root)
    repo.add_image(1)
    with repo.butler:
        yield repo


def refused(command: str) -> str:
    """Return what a command prints that has to fail."""
    outcome = butler_command(*shlex.split(command))
    assert outcome.code in (1, 2), outcome
    return " ".join(outcome.output.split())


@pytest.mark.parametrize(
    ("command", "then"),
    [
        ("find-images EMPTY 305 38", "ingest-level2 EMPTY LOCATIONS"),
        ("find-archive EMPTY --catalog stars", "register-targets EMPTY stars FILE"),
        ("check-provenance EMPTY", "ingest-level2 EMPTY LOCATIONS"),
        ("list-calibrations EMPTY", "ingest-calibrations EMPTY LOCATIONS"),
        ("decertify-calibrations EMPTY spectral_wcs", "ingest-calibrations EMPTY LOCATIONS"),
        ("stale-spectra EMPTY spectra/stars", "make-spectrum EMPTY NAME"),
        ("export-spectra EMPTY spectra/stars out", "make-spectrum EMPTY NAME"),
        ("export-spectra EMPTY spectra out --dataset-type channel_spectra", "make-spectrum EMPTY NAME"),
        ("make-spectrum EMPTY stars.csv", "ingest-level2 EMPTY LOCATIONS, or by make-spectrum with --files or --find."),
        ("register-targets EMPTY stars.csv stars", "register-targets EMPTY stars stars.csv"),
        ("ingest-simulated EMPTY .", "(ingest-level2, ingest-calibrations or ingest-simulated)"),
        ("stale-spectra NEW spectra", "create-spherex NEW"),
        ("ingest-level2 stars.csv EMPTY", "stars.csv is not a repository of the Butler, but EMPTY is."),
        ("find-archive stars EMPTY", "The repository comes first: butler find-archive EMPTY ..."),
        ("register-targets stars EMPTY stars.csv", "butler register-targets EMPTY ..."),
    ],
)
def test_the_next_command_is_named(folder: Path, command: str, then: str) -> None:
    assert then in refused(command)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("find-images REPO 305 38 --collections SPHEREx/levl2", "SPHEREx/level2"),
        ("find-images REPO 305 38 --calibrations SPHEREx/clib", "SPHEREx/calib"),
        ("find-images REPO 305 38 --dataset-type levl2", "level2"),
        ("find-images REPO 305 38 --instrument spherex", "SPHEREx"),
        ("find-archive REPO --catalog nearyb", CATALOG),
        ("check-provenance REPO --collections SPHEREx/levl2", "SPHEREx/level2"),
        ("check-provenance REPO --dataset-type levl2", "level2"),
        ("list-calibrations REPO --dataset-type spectral_wsc", "spectral_wcs"),
        ("list-calibrations REPO --collection SPHEREx/clib", "SPHEREx/calib"),
        ("decertify-calibrations REPO spectral_wsc", "spectral_wcs"),
        ("decertify-calibrations REPO spectral_wcs --collection SPHEREx/clib", "SPHEREx/calib"),
    ],
)
def test_a_similar_name_is_proposed(filled: TargetRepo, command: str, name: str) -> None:
    assert f"Did you mean '{name}'" in refused(command.replace("REPO", str(filled.root)))


def test_a_catalogue_to_update_that_does_not_exist(filled: TargetRepo, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "stars.csv", "star,305.75,38.83")
    outcome = butler_command("register-targets", filled.root, "nearyb", file, "--update")
    assert "There is no catalogue nearyb to update: this is a new one. Did you mean 'nearby'?" in outcome.output


def test_names_in_python(filled: TargetRepo) -> None:
    name = next(iter(PLACES))
    with pytest.raises(UserError, match=f"There is no catalogue 'nearyb'. Did you mean '{CATALOG}'?"):
        spherex.get_spectrum(filled.butler, "nearyb", name)
    with pytest.raises(UserError, match=f"There is no target '{name}x' in .* Did you mean '{name}'?"):
        spherex.get_spectrum(filled.butler, CATALOG, f"{name}x")
    with pytest.raises(SearchError, match="There is no collection 'SPHEREx/levl2' in REPO. Did you mean"):
        spherex.find_images(filled.butler, Criteria(305, 38, collections=("SPHEREx/levl2",)))


def test_unlike_names_are_not_proposed() -> None:
    assert did_you_mean("stars", ["level2", "SPHEREx/calib"]) == ""
    assert did_you_mean("star 100", [f"star {number}" for number in range(MOST_NAMES)]).startswith(
        " Did you mean 'star 100' or"
    )


def test_images_without_their_chain(filled: TargetRepo, make_repo: Callable[..., Path], tmp_path: Path) -> None:
    """As `butler transfer-datasets` leaves them; the runs are named, the newest first."""
    other = make_repo(tmp_path / "other")
    with Butler.from_config(str(other), writeable=True) as butler:
        refs = filled.butler.query_datasets("level2", collections="SPHEREx/level2")
        butler.transfer_from(
            filled.butler, refs, transfer="copy", register_dataset_types=True, transfer_dimensions=True
        )
        run = refs[0].run
        newer = "SPHEREx/level2/l2b-v99-2099-001"
        labelled = newer.replace("level2/", "level2/cutouts/")
        for name in (labelled, newer):
            butler.collections.register(name)
    what = refused(f"find-images {other} 305 38")
    command = f"butler collection-chain {other} SPHEREx/level2 {newer} {labelled} {run}"
    assert what.endswith(f"Make the chain from its runs by: {command}")
    log = tmp_path / "star.log"
    assert refused(f"make-spectrum {other} star 305 38 --log {log}").endswith(what)
    assert butler_command(*shlex.split(command)[1:]).code == 0
    assert "no collection" not in refused(f"find-images {other} 305 38")


@pytest.mark.slow
def test_a_read_only_repository(folder: Path) -> None:
    """An option that writes nothing is named where the command has it."""
    Path("EMPTY").chmod(0o500)
    try:
        made = ingest_bound(Path("EMPTY"), "stars.csv", command="make-spectrum")
        registered = ingest_bound(Path("EMPTY"), "stars", "stars.csv", command="register-targets")
    finally:
        Path("EMPTY").chmod(0o700)
    assert made.output.endswith("ask its owner.\n")
    assert registered.output.endswith("ask its owner, or use --dry-run.\n")


def test_a_reader_that_ends(filled: TargetRepo) -> None:
    """Such as ``head``: no traceback."""
    read, write = os.pipe()
    os.close(read)
    command = command_of("butler", "check-provenance", filled.root)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_repository_with_our_dimensions_alone(folder: Path) -> None:
    dimensions = "resource://spherex/configs/dimensions.yaml"
    assert butler_command("create", "--dimension-config", dimensions, "HALF").code == 0
    # In another process: storage classes are global, and this one has read those of other repositories.
    done = run_program("butler", "register-targets", "HALF", "stars", "stars.csv")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: HALF was made without the storage classes of SPHEREx.")
    assert done.stderr.endswith("by: butler create-spherex NEW_REPO\n")
