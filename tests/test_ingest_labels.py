"""Fields: labels, their runs and chains, and the spectra of targets on cutouts of the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from lsst.daf.butler import Butler, Config

import spherex

from .ingest_helpers import butler_command
from .level2_helpers import NEWER, OLDER, RUN, chain_of, exposure_of, ingest_level2, write_level2
from .programs import run_well
from .test_search_cutouts import OLD_DIMENSIONS, SHAPE, find
from .test_tasks_measure_targets import PIPELINE

ORIGINS = {"M31": (700, 1400), "M33": (1200, 300)}
"""Two fields that the same exposures see."""


def inside(label: str) -> tuple[float, float]:
    """Return a pixel of the frame in the cutout of a field."""
    x, y = ORIGINS[label]
    return x + 30, y + 30


def field(directory: Path, label: str, run: str = RUN, **options: Any) -> Path:
    """Write a cutout around the target of a field."""
    return write_level2(
        directory / label, **{"origin": ORIGINS[label], "shape": SHAPE, "planes": (), "run": run, **options}
    )


def children(repo: Path, chain: str) -> list[str]:
    with Butler.from_config(str(repo)) as butler:
        return list(butler.collections.get_info(chain).children)


@pytest.fixture
def fields(repo_root: Path, tmp_path: Path) -> Path:
    """Return a repository with cutouts of one exposure and detector, one for each field."""
    for label in ORIGINS:
        outcome = ingest_level2(repo_root, "--label", label, field(tmp_path / "in", label))
        assert (outcome.code, outcome.counts["ingested"]) == (0, 1), outcome
    return repo_root


def test_each_label_has_its_runs_and_chain(fields: Path) -> None:
    assert chain_of(fields) == [f"SPHEREx/level2/{label}/{RUN}" for label in ORIGINS]
    for label in ORIGINS:
        assert children(fields, f"SPHEREx/level2/{label}") == [f"SPHEREx/level2/{label}/{RUN}"]
    with Butler.from_config(str(fields)) as butler:
        tables = butler.query_datasets("level2_wavelength", "SPHEREx/level2", find_first=False)
    assert sorted(ref.run for ref in tables) == sorted(chain_of(fields))


@pytest.mark.parametrize("exact", [False, True])
def test_the_cutout_with_the_position_is_found_in_the_chain_of_all(fields: Path, exact: bool) -> None:
    for label in ORIGINS:
        table = find(fields, *inside(label), exact=exact).table
        assert table["run"].tolist() == [f"SPHEREx/level2/{label}/{RUN}"]
        assert not np.ma.is_masked(table["wavelength"])
    assert len(find(fields, 100, 100).table) == 0
    x, y = inside("M33")
    assert len(find(fields, x, y, collections=("SPHEREx/level2/M31",)).table) == 0


def test_the_newest_run_is_first_then_images_without_a_label_then_the_alphabet(repo_root: Path, tmp_path: Path) -> None:
    for label, run in (("M33", RUN), ("M31", RUN), ("M31", NEWER), ("M33", OLDER)):
        assert ingest_level2(repo_root, "--label", label, field(tmp_path / "in", label, run)).code == 0
    assert ingest_level2(repo_root, write_level2(tmp_path / "in")).code == 0
    below = (f"M31/{NEWER}", RUN, f"M31/{RUN}", f"M33/{RUN}", f"M33/{OLDER}")
    assert chain_of(repo_root) == [f"SPHEREx/level2/{name}" for name in below]
    assert children(repo_root, "SPHEREx/level2/M31") == [f"SPHEREx/level2/M31/{run}" for run in (NEWER, RUN)]
    assert find(repo_root, *inside("M31")).table["run"].tolist() == [f"SPHEREx/level2/M31/{NEWER}"]
    assert find(repo_root, *inside("M33")).table["run"].tolist() == [f"SPHEREx/level2/M33/{RUN}"]


def test_of_labels_with_the_position_the_first_in_the_alphabet_counts(repo_root: Path, tmp_path: Path) -> None:
    for label in ("zeta", "alpha"):
        path = field(tmp_path / label, "M31")
        assert ingest_level2(repo_root, "--label", label, path).code == 0
    for exact in (False, True):
        table = find(repo_root, *inside("M31"), exact=exact).table
        assert table["run"].tolist() == [f"SPHEREx/level2/alpha/{RUN}"]


def test_the_command_can_be_repeated(fields: Path, tmp_path: Path) -> None:
    paths = [field(tmp_path / "in", "M31"), field(tmp_path / "in", "M31", number=1)]
    outcome = ingest_level2(fields, "--label", "M31", *paths)
    assert (outcome.counts["already there"], outcome.counts["ingested"]) == (1, 1)
    outcome = ingest_level2(fields, "--label", "M31", "--skip-existing", *paths)
    assert (outcome.code, outcome.counts["skipped"]) == (0, 2)
    assert chain_of(fields) == [f"SPHEREx/level2/{label}/{RUN}" for label in ORIGINS]


def test_a_dry_run_makes_no_collection(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest_level2(repo_root, "--dry-run", "--label", "M31", field(tmp_path / "in", "M31"))
    assert (outcome.code, outcome.counts["would be ingested"]) == (0, 1)
    with Butler.from_config(str(repo_root)) as butler:
        assert not butler.collections.query("SPHEREx/level2*")


def test_two_cutouts_of_one_label_are_a_conflict_that_names_the_option(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest_level2(repo_root, "--label", "M31", *(field(tmp_path / "in", label) for label in ORIGINS))
    assert (outcome.code, outcome.counts["failed"]) == (1, 2)
    assert all("separate them by --regex and --label" in failure for failure in outcome.failures)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (RUN, "is the name of a processing run"),
        ("a" * 25, "has 25"),
        ("", "letters, digits"),
        ("a/b", "letters, digits"),
        ("..", "letters, digits"),
        ("%2e%2e", "letters, digits"),
        ("a b", "letters, digits"),
        ("$HOME", "letters, digits"),
    ],
)
def test_labels_that_are_no_names_are_refused(repo_root: Path, tmp_path: Path, label: str, message: str) -> None:
    outcome = ingest_level2(repo_root, "--label", label, field(tmp_path / "in", "M31"))
    assert outcome.code == 2
    assert "--label" in outcome.output
    assert message in " ".join(outcome.output.split())


def test_the_longest_label_and_run_fit(repo_root: Path, tmp_path: Path) -> None:
    run = "l2b_retry-v123-2025-299"
    outcome = ingest_level2(repo_root, "--label", "a" * 24, field(tmp_path / "in", "M31", run))
    assert outcome.code == 0, outcome
    assert chain_of(repo_root) == [f"SPHEREx/level2/{'a' * 24}/{run}"]


def test_a_file_of_a_repository_keeps_the_run_of_its_label(fields: Path, make_repo: Any, tmp_path: Path) -> None:
    with Butler.from_config(str(fields)) as butler:
        (ref,) = butler.query_datasets("level2", "SPHEREx/level2/M31")
        source = Path(butler.getURI(ref).ospath)
    path = tmp_path / "SPHEREx" / "level2" / "M31" / RUN / "image.fits"
    path.parent.mkdir(parents=True)
    path.write_bytes(source.read_bytes())
    other = make_repo(tmp_path / "other")
    assert ingest_level2(other, "--label", "copied", path).code == 0
    assert chain_of(other) == [f"SPHEREx/level2/copied/{RUN}"]


def test_chains_of_labels_are_completed_after_a_transfer(fields: Path, make_repo: Any, tmp_path: Path) -> None:
    target = make_repo(tmp_path / "target")
    options = ["--register-dataset-types", "--transfer-dimensions", "--transfer", "copy"]
    assert butler_command("transfer-datasets", *options, fields, target).code == 0
    assert ingest_level2(target, write_level2(tmp_path / "in", number=5)).code == 0
    assert chain_of(target) == [f"SPHEREx/level2/{name}" for name in (RUN, *(f"{label}/{RUN}" for label in ORIGINS))]
    assert children(target, "SPHEREx/level2/M33") == [f"SPHEREx/level2/M33/{RUN}"]
    assert find(target, *inside("M33")).table["run"].tolist() == [f"SPHEREx/level2/M33/{RUN}"]


def test_labels_in_a_repository_of_version_1(tmp_path: Path) -> None:
    root = tmp_path / "old"
    seed = Config("resource://spherex/configs/butler.yaml")
    Butler.makeRepo(str(root), config=seed, dimensionConfig=str(OLD_DIMENSIONS), forceConfigRoot=False)
    for label in ORIGINS:
        assert ingest_level2(root, "--label", label, field(tmp_path / "in", label)).code == 0
    for label in ORIGINS:
        found = find(root, *inside(label), exact=True).table
        assert found["run"].tolist() == [f"SPHEREx/level2/{label}/{RUN}"]
        found = find(root, *inside(label), collections=(f"SPHEREx/level2/{label}",)).table
        assert found["exposure"].tolist() == [exposure_of()]


@pytest.fixture(scope="module")
def two_fields(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table]:
    """Return a repository with whole frames, and cutouts of the same exposures in two fields, and the targets."""
    folder = tmp_path_factory.mktemp("fields")
    targets = Table(
        {
            "name": ["warm", "cool"],
            "ra": [305.75, 305.95] * u.deg,
            "dec": [38.83, 38.84] * u.deg,
            "flux": [20000.0, 30000.0] * u.uJy,
            "temperature": [5000.0, 4000.0] * u.K,
        }
    )
    targets.write(folder / "sources.ecsv")
    options = "--product level2 --release qr3 --exposures 3 --detectors 2 --center 305.75,38.83 --no-stars --quiet"
    sources = ["--sources", folder / "sources.ecsv"]
    run_well("spherex-simulate", folder / "files", *options.split(), *sources)
    frames = sorted((folder / "files").glob("**/level2_*.fits"))
    assert len(frames) >= 2
    root = folder / "repo"
    seed, dimensions = (f"resource://spherex/configs/{name}.yaml" for name in ("butler", "dimensions"))
    run_well("butler", "create", "--override", "--seed-config", seed, "--dimension-config", dimensions, root)
    assert butler_command("ingest-level2", root, "--label", "frames", *frames).code == 0
    for name, ra, dec in targets.iterrows("name", "ra", "dec"):
        (folder / name).mkdir()
        for frame in frames:
            around = SkyCoord(ra, dec, unit="deg")
            spherex.write(spherex.read(frame, position=around, size=10 * u.arcmin), folder / name / frame.name)
        outcome = butler_command("ingest-level2", root, "--label", name, folder / name)
        assert outcome.counts["ingested"] == len(frames), outcome
    assert butler_command("register-targets", root, "mine", folder / "sources.ecsv").code == 0
    return root, targets


def measure(root: Path, inputs: str, output: str, target: str = "") -> str:
    """Run the pipeline without plots; return what is logged."""
    query = "instrument='SPHEREx' AND catalog='mine'" + (f" AND target='{target}'" if target else "")
    done = run_well(
        "pipetask", "--log-level", "WARNING", "run", "-b", root, "-p", f"{PIPELINE}#measureTargets,gatherSpectra",
        "-i", f"{inputs},catalogs/mine", "-o", output, "--register-dataset-types", "-d", query,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.slow
def test_spectra_of_two_fields_are_those_of_whole_frames(two_fields: tuple[Path, Table]) -> None:
    root, targets = two_fields
    frames = "SPHEREx/level2/frames"
    measure(root, frames, "whole")
    for name, ra, dec in targets.iterrows("name", "ra", "dec"):
        with Butler.from_config(str(root)) as butler:
            found = spherex.find_images(butler, SkyCoord(ra, dec, unit="deg")).table
        assert {run.split("/")[2] for run in found["run"]} == {min(name, "frames")}
        measure(root, f"SPHEREx/level2/{name}", f"spectra/{name}", name)
        with Butler.from_config(str(root)) as butler:
            chains = ("whole", f"spectra/{name}")
            whole, part = (spherex.get_spectrum(butler, "mine", name, collections=chain) for chain in chains)
        assert len(part) == len(whole) == len(found) >= 2
        assert set(part["image_run"]) == set(children(root, f"SPHEREx/level2/{name}"))
        assert part["exposure"].tolist() == whole["exposure"].tolist()
        for column in ("flux", "flux_error", "aperture_flux", "background", "wavelength", "x", "y", "chi2"):
            ours, theirs = (np.asarray(table[column], float) for table in (part, whole))
            assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6), column
        assert set(part["reason"]) == {""}
        stale = ["stale-spectra", root, f"spectra/{name}", "--images", f"SPHEREx/level2/{name}"]
        outcome = butler_command(*stale, "--calibrations", f"SPHEREx/level2/{name}")
        assert outcome.output.startswith("0 of 1 spectra are out of date.")


@pytest.mark.slow
def test_a_target_that_the_first_cutout_lacks_is_reported(two_fields: tuple[Path, Table]) -> None:
    root, _ = two_fields
    chain = ",".join(f"SPHEREx/level2/{label}" for label in ("cool", "warm"))
    logged = measure(root, chain, "lost")
    assert "warm" in logged
    assert "SPHEREx/level2/<label>" in logged
    with Butler.from_config(str(root), collections="lost") as butler:
        (ref,) = butler.query_datasets("spectra", explain=False)
        assert set(butler.get(ref)["target"].to_pylist()) == {"cool"}
