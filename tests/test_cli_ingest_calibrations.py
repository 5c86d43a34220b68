"""butler ingest-calibrations: names, contents and ids."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from lsst.daf.butler import Butler, CollectionType

from .calibrations_helpers import DARK, FRAME, ID, NEW, OLD, ingest, rows_of, write_maps, write_others, write_wcs
from .ingest_helpers import butler_command
from .programs import run_well


def test_each_kind_comes_with_its_type(repo_root: Path, tmp_path: Path) -> None:
    write_wcs(tmp_path / "files" / "spectral_wcs" / OLD / "4")
    write_others(tmp_path / "files")
    outcome = ingest(repo_root, tmp_path / "files")
    assert outcome.code == 0, outcome
    assert (outcome.counts["found"], outcome.counts["ingested"]) == (4, 4)
    with Butler.from_config(str(repo_root), collections="SPHEREx/calib", instrument="SPHEREx") as butler:
        dark = butler.get("dark", detector=2)
        assert (dark.unit, dark.shape, dark.data[0, 0]) == ("electron/s", FRAME, 1.0)
        assert butler.get("gain_factors", instrument="SPHEREx")["gain"][2] == [1.9, 2.2]
        assert butler.get("he_template", detector=1)["HE"].data["LINE"][0] == np.float32(1.083)
        assert butler.find_dataset("he_template", detector=2) is None
        assert butler.collections.get_info("SPHEREx/calib").type is CollectionType.CALIBRATION
        runs = {
            ref.run
            for name in ("dark", "spectral_wcs")
            for ref in butler.query_datasets(name, "SPHEREx/calib/*", find_first=False)
        }
        assert runs == {"SPHEREx/calib/cal-drk-v4-2025-161", f"SPHEREx/calib/{OLD}"}


GOOD: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "abs_gain_matrix": (("ANYTHING",), FRAME),
    "average_psf": (("IMAGE",), (121, 101, 101)),
    "l3_flux_corrections": (("",), FRAME),
    "nonfunc": (("NONFUNC", "MORE"), FRAME),
    "nonlinear_pars": (("Q_nl", "b1", "b2", "b3", "Qmax"), FRAME),
    "readnoise_pars": (("READNOISE-1", "READNOISE-2"), FRAME),
    "spectral_channels": (("CHANNEL_MAP",), (5, 5)),
    "xtalk_class1": ((), ()),
}


def test_the_report_is_all_that_is_printed(repo_root: Path, tmp_path: Path) -> None:
    """The Butler logs a line for each of its calls."""
    paths = [write_wcs(tmp_path, detector=detector) for detector in (1, 2)]
    assert run_well("butler", "ingest-calibrations", repo_root, *paths).stderr == ""
    paths = [write_wcs(tmp_path, NEW, detector) for detector in (1, 2)]
    done = run_well("butler", "--log-level", "DEBUG", "ingest-calibrations", repo_root, *paths)
    assert "Importing 2 datasets" in done.stderr


def test_what_the_documentation_of_the_archive_allows_is_taken(repo_root: Path, tmp_path: Path) -> None:
    for type_, (names, shape) in GOOD.items():
        write_maps(tmp_path / "in" / f"{type_}_D1_spx_base-2025-158.fits", dict.fromkeys(names, 1.0), shape=shape)
    outcome = ingest(repo_root, tmp_path / "in")
    assert (outcome.code, outcome.counts["ingested"]) == (0, len(GOOD)), outcome


@pytest.mark.parametrize("detector", ["all", 0])
def test_detector_card_of_a_file_for_all_detectors(repo_root: Path, tmp_path: Path, detector: str | int) -> None:
    path = tmp_path / "xtalk_class1_spx_base-2025-158.fits"
    fits.PrimaryHDU(header=fits.Header({"DETECTOR": detector})).writeto(path)
    outcome = ingest(repo_root, path)
    assert (outcome.code, outcome.counts["ingested"]) == (0, 1), outcome


@pytest.mark.parametrize("in_file", [False, True])
def test_a_known_id_is_kept(repo_root: Path, tmp_path: Path, in_file: bool) -> None:
    path = write_wcs(tmp_path)
    mapping = tmp_path / "ids.json"
    mapping.write_text(f'{{"{path.name}": "{ID}", "another.fits": "{uuid.uuid4()}"}}')
    option = ["--ids", mapping] if in_file else ["--id", f"{path.name}={ID}"]
    for expected in ("ingested", "already there"):
        outcome = ingest(repo_root, path, *option)
        assert (outcome.code, outcome.counts[expected]) == (0, 1), outcome
    # Without the option it is the same dataset.
    assert ingest(repo_root, path).counts["already there"] == 1
    with Butler.from_config(str(repo_root)) as butler:
        assert butler.get(butler.get_dataset(uuid.UUID(ID)))["CWAVE"].data[0, 0] == 4.0


def test_an_id_that_comes_too_late_is_refused(repo_root: Path, tmp_path: Path) -> None:
    path = write_wcs(tmp_path)
    assert ingest(repo_root, path).code == 0
    outcome = ingest(repo_root, path, "--id", f"{path.name}={ID}")
    assert outcome.code == 1
    (line,) = outcome.failures
    assert "butler prune-datasets" in line
    assert "--datasets spectral_wcs --where \"instrument='SPHEREx' AND detector=4\"" in line


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        (f"spectral_wcs_D5_spx_{OLD}.fits", ["--begin-date", "2026-01-01"]),
        (f"spectral_wcs_D4_spx_{NEW}.fits", []),
        (f"spectral_wcs_D4_spx_{OLD}.fits", ["--collection", "my/calib"]),
        (f"spectral_wcs_D4_spx_{OLD}.fits", ["--dataset-type-prefix", "my_", "--begin-date", "2025-01-01"]),
    ],
)
def test_an_id_of_another_dataset_is_refused(
    repo_root: Path, tmp_path: Path, name: str, options: list[str], dry: list[str]
) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    first = write_maps(tmp_path / "first" / f"spectral_wcs_D4_spx_{OLD}.fits", {"CWAVE": 4.0, "CBAND": 0.1})
    assert ingest(repo_root, first, "--id", f"{first.name}={ID}", "--end-date", "2026-01-01").code == 0
    before = rows_of(repo_root)
    path = written(tmp_path / "second" / name, first.read_bytes())
    outcome = ingest(repo_root, path, "--id", f"{name}={ID}", *options, *dry)
    assert outcome.code == 1
    (line,) = outcome.failures
    assert f"its id {ID} is the id of spectral_wcs@" in line
    assert "becomes valid" not in outcome.output
    assert rows_of(repo_root) == before


def written(path: Path, content: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "name": (lambda folder: written(folder / "dark_spx_.fits", b""), "its name is not <type>_D<detector>"),
    "no detector": (
        lambda folder: written(folder / DARK.replace("_D2", ""), b""),
        "but its name lacks _D<detector>, as in dark_D1_spx_cal-drk-v4-2025-161.fits; rename it",
    ),
    "detector 9": (
        lambda folder: written(folder / DARK.replace("_D2", "_D9"), b""),
        "there is no detector 9, only 1 to 6",
    ),
    "level2": (
        lambda folder: written(folder / "level2_2025W51_1A_0684_2D3_spx_l2b-v21-2025-354.fits", b""),
        "it has no name of this kind of file",
    ),
    "not FITS": (lambda folder: written(folder / f"spectral_wcs_D4_spx_{OLD}.fits", b"x" * 9000), "is not FITS"),
    "empty": (lambda folder: written(folder / f"spectral_wcs_D4_spx_{OLD}.fits", b""), "the file is empty"),
    "cut": (lambda folder: written(write_wcs(folder), write_wcs(folder / "x").read_bytes()[:5800]), "is cut short"),
    "other detector": (
        lambda folder: write_wcs(folder, in_header=5),
        "DETECTOR in the header is 5, but the file name has 4",
    ),
    "no image": (
        lambda folder: written(folder / DARK, fits.PrimaryHDU().header.tostring().encode()),
        "no image in the file; replace it with an intact copy",
    ),
    "no HDUs": (
        lambda folder: written(
            folder / f"spectral_wcs_D4_spx_{OLD}.fits", fits.PrimaryHDU().header.tostring().encode()
        ),
        "no image CWAVE in the file; replace it with an intact copy",
    ),
    "one HDU of two": (
        lambda folder: write_maps(folder / f"spectral_wcs_D4_spx_{OLD}.fits", {"CWAVE": 1.0}),
        "no image CBAND in the file; replace it with an intact copy",
    ),
    "small image": (
        lambda folder: write_maps(folder / "abs_gain_matrix_D1_spx_cal-agm-v7-2025-218.fits", {"X": 1.0}, shape=(5, 6)),
        "its image X has 6 x 5 pixels, not 2040 x 2040",
    ),
    "cut map": (
        lambda folder: write_maps(
            folder / "readnoise_pars_D1_spx_base-2025-158.fits", {"READNOISE-1": 1.0, "READNOISE-2": 2.0}, shape=(9, 9)
        ),
        "its image READNOISE-1 has 9 x 9 pixels",
    ),
    "no table": (
        lambda folder: write_maps(folder / "epsf_D1_spx_cal-epsf-v1-2026-191.fits", {"EPSF": 1.0}, shape=(33, 33)),
        "no table EPSF in the file; replace it with an intact copy",
    ),
    "other PSF": (
        lambda folder: write_maps(
            folder / "average_psf_D1_spx_cal-psf-v4-2025-161.fits", {"IMAGE": 1.0}, shape=(9, 101, 101)
        ),
        "its image IMAGE has 101 x 101 x 9 pixels, not 101 x 101 x 121",
    ),
    "YAML of an image": (
        lambda folder: written(folder / DARK.replace(".fits", ".yaml"), b"a: 1"),
        "a dark of the archive is FITS, not yaml",
    ),
    "FITS of a YAML": (
        lambda folder: write_maps(folder / "gain_factors_spx_base-2025-158.fits", {"X": 1.0}),
        "a gain_factors of the archive is YAML, not fits",
    ),
    "no YAML": (lambda folder: written(folder / "gain_factors_spx_base-2025-158.yaml", b"a: [1"), "not YAML ("),
    "object in YAML": (
        lambda folder: written(folder / "gain_factors_spx_base-2025-158.yaml", b"!!python/object/apply:os.getcwd []"),
        "not YAML (",
    ),
    "empty YAML": (
        lambda folder: written(folder / "gain_factors_spx_base-2025-158.yaml", b""),
        "not a YAML mapping, or empty",
    ),
    "missing": (lambda folder: folder / "missing.fits", "there is no such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_the_rest_ingested(repo_root: Path, tmp_path: Path, name: str) -> None:
    make, match = BAD[name]
    (tmp_path / "bad").mkdir()
    path = make(tmp_path / "bad")
    outcome = ingest(repo_root, path, write_wcs(tmp_path / "good", detector=6))
    assert outcome.code == 1
    (line,) = outcome.failures
    assert line.startswith(f"failed: {path}: ")
    assert match in line
    assert outcome.counts["ingested"] == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--begin-date", "2026-01-01", "--end-date", "2025-01-01"], "is not after the begin"),
        (["--begin-date", "soon"], "'soon' is not a date"),
        (["--id", "x"], "'x' is not FILE=UUID"),
        (["--id", f"x={ID}"], "failed: x: it has an --id, but there is no such file"),
        (["--id", f"a={ID}", "--id", f"b={ID}"], "a and b are given the same UUID"),
        (["--ids", "/nowhere.yaml"], "/nowhere.yaml is not a mapping"),
        (["--collection", "SPHEREx/level2"], "is not of type CALIBRATION"),
        (["--collection", "SPHEREx/level2", "--dry-run"], "is not of type CALIBRATION"),
    ],
)
def test_wrong_options_are_told(repo_root: Path, tmp_path: Path, options: list[str], match: str) -> None:
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.collections.register("SPHEREx/level2")
    outcome = ingest(repo_root, write_wcs(tmp_path), *options)
    assert outcome.code != 0
    assert match in " ".join(outcome.output.replace("│", " ").split())


def test_a_taken_name_has_a_way_out(butler: Butler, tmp_path: Path, register: Callable[[str, str], object]) -> None:
    register("dark", "SPHERExImage")
    repo = Path(butler.get_datastore_roots().popitem()[1].ospath)
    write_others(tmp_path / "files")
    outcome = ingest(repo, tmp_path / "files")
    assert (outcome.code, outcome.counts["ingested"]) == (1, 2)
    (line,) = outcome.failures
    assert line.startswith(f"failed: {tmp_path / 'files' / DARK}: ")
    assert "choose another name by --dataset-type-prefix" in line
    outcome = ingest(repo, tmp_path / "files", "--dataset-type-prefix", "calib_")
    assert (outcome.code, outcome.counts["ingested"]) == (0, 3)


@pytest.mark.parametrize("first", ["aurora_template", "aurora_template_D2"])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_type_of_two_kinds_fails_only_its_own_files(
    repo_root: Path, tmp_path: Path, first: str, at_once: bool
) -> None:
    second = {"aurora_template": "aurora_template_D2"}.get(first, "aurora_template")
    # In one call files without a detector come first.
    one, other = (sorted if at_once else list)([first, second])
    for name in (one, other):
        write_maps(tmp_path / f"{name}_spx_cal-aur-v1-2026-010.fits", {"X": 1.0})
    path = tmp_path / f"{other}_spx_cal-aur-v1-2026-010.fits"
    if not at_once:
        assert ingest(repo_root, tmp_path / f"{one}_spx_cal-aur-v1-2026-010.fits").code == 0
        path = write_wcs(tmp_path).with_name(path.name)
    for option in (["--dry-run"], []):
        outcome = ingest(repo_root, tmp_path, *option)
        assert outcome.code == 1
        (line,) = outcome.failures
        assert line.startswith(f"failed: {path}: its dataset type 'aurora_template' should be")
        assert f"butler remove-dataset-type {repo_root} aurora_template" in line
    assert outcome.counts["ingested"] == 1
    prune = ["--purge", "SPHEREx/calib/cal-aur-v1-2026-010", "--datasets", "aurora_template", "--no-confirm"]
    assert butler_command("prune-datasets", repo_root, *prune).code == 0
    assert butler_command("remove-dataset-type", repo_root, "aurora_template").code == 0
    assert ingest(repo_root, path).code == 0
