"""butler ingest-calibrations: names, contents, ids, and which one is valid."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from ingest_helpers import Outcome, butler_command
from lsst.daf.butler import Butler, CollectionType, Timespan

from spherex.calibrations import timespan_between
from spherex.instrument import SPHEREx

OLD, NEW = "cal-wcs-v4-2025-254", "cal-swcs-v5-2026-191"
DARK = "dark_D2_spx_cal-drk-v4-2025-161.fits"
FRAME = (2040, 2040)
ID = "15a36c9f-e41f-451f-96a6-fede67db772b"


def ingest(repo: Path, *arguments: object) -> Outcome:
    """Give the command."""
    return butler_command("ingest-calibrations", repo, *arguments)


def write_wcs(folder: Path, run: str = OLD, detector: int = 4, in_header: object = None) -> Path:
    """Write a ``spectral_wcs`` whose wavelength is its detector plus the version of its run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"spectral_wcs_D{detector}_spx_{run}.fits"
    wavelength = detector + (0.5 if run == NEW else 0.0)
    cards = {"DETECTOR": detector if in_header is None else in_header}
    return write_maps(path, {"CWAVE": wavelength, "CBAND": wavelength / 40}, cards)


def write_maps(
    path: Path, maps: dict[str, float], cards: dict[str, object] | None = None, shape: tuple[int, ...] = FRAME
) -> Path:
    """Write images that are zero but for their first pixel; the rest is a hole in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(fits.PrimaryHDU(header=fits.Header(cards or {})).header.tostring().encode())
        for name, value in maps.items():
            header = fits.ImageHDU(np.zeros((1,) * len(shape), "f4"), name=name).header
            for axis, length in enumerate(reversed(shape), start=1):
                header[f"NAXIS{axis}"] = length
            header["BUNIT"] = "electron/s"
            file.write(header.tostring().encode())
            end = file.tell() + -(-4 * math.prod(shape) // 2880) * 2880
            file.write(np.array(value, ">f4").tobytes())
            file.truncate(end)
            file.seek(end)
    return path


def write_others(folder: Path) -> None:
    """Write an image, a template of one detector, and the gains of all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_maps(folder / DARK, {"DARK": 1.0}, {"DETECTOR": "2"})
    table = fits.BinTableHDU.from_columns([fits.Column("LINE", "E", array=[1.083])], name="HE")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(folder / "he_template_D1_spx_cal-he-v1-2026-191.fits")
    (folder / "gain_factors_spx_base-2025-158.yaml").write_text("gain: {1: [2.0, 2.1], 2: [1.9, 2.2]}\n")
    (folder / "README.txt").write_text("nothing")


def wavelength_at(repo: Path, date: str, detector: int = 4) -> float | None:
    """Return the wavelength that the calibration valid on a date has."""
    span = Timespan.fromInstant(timespan_between(date, None).begin)
    with Butler.from_config(str(repo), collections=SPHEREx.calibration_collection, instrument="SPHEREx") as butler:
        ref = butler.find_dataset("spectral_wcs", detector=detector, timespan=span)
        return None if ref is None else float(butler.get(ref)["CWAVE"].data[0, 0])


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


def test_what_the_documentation_of_the_archive_allows_is_taken(repo_root: Path, tmp_path: Path) -> None:
    for type_, (names, shape) in GOOD.items():
        write_maps(tmp_path / "in" / f"{type_}_D1_spx_base-2025-158.fits", dict.fromkeys(names, 1.0), shape=shape)
    outcome = ingest(repo_root, tmp_path / "in")
    assert (outcome.code, outcome.counts["ingested"]) == (0, len(GOOD)), outcome


def test_the_calibration_is_the_one_valid_at_the_time_of_the_exposure(repo_root: Path, tmp_path: Path) -> None:
    assert ingest(repo_root, write_wcs(tmp_path, OLD), "--end-date", "2026-01-01").code == 0
    assert ingest(repo_root, write_wcs(tmp_path, NEW), "--begin-date", "2026-01-01").code == 0
    with Butler.from_config(str(repo_root), writeable=True, instrument="SPHEREx") as butler:
        for number, begin in ((1, "2025-12-18"), (2, "2026-02-18")):
            record = {"instrument": "SPHEREx", "id": number, "name": str(number)}
            span = timespan_between(begin, f"{begin}T00:02:00")
            butler.registry.insertDimensionData("exposure", record | {"timespan": span})
        got = [
            butler.get("spectral_wcs", exposure=number, detector=4, collections="SPHEREx/calib")["CWAVE"].data[0, 0]
            for number in (1, 2)
        ]
    assert got == [4.0, 4.5]


def test_a_newer_run_takes_over_and_says_so(repo_root: Path, tmp_path: Path) -> None:
    ingest(repo_root, write_wcs(tmp_path, OLD))
    outcome = ingest(repo_root, write_wcs(tmp_path, NEW), "--begin-date", "2026-01-01")
    runs = f"SPHEREx/calib/{NEW} replaces SPHEREx/calib/{OLD}"
    assert f"spectral_wcs, detector 4: {runs} from 2026-01-01T00:00:00 to - (TAI)" in outcome.output
    assert [wavelength_at(repo_root, date) for date in ("2025-12-31", "2026-01-01")] == [4.0, 4.5]


def test_an_older_run_that_comes_later_does_not(repo_root: Path, tmp_path: Path) -> None:
    ingest(repo_root, write_wcs(tmp_path, NEW))
    outcome = ingest(repo_root, write_wcs(tmp_path, OLD))
    assert outcome.code == 0
    assert f"SPHEREx/calib/{OLD} leaves SPHEREx/calib/{NEW} from - to - (TAI)" in outcome.output
    assert wavelength_at(repo_root, "2025-12-31") == 4.5


def test_again_changes_nothing(repo_root: Path, tmp_path: Path) -> None:
    write_others(tmp_path / "files")
    ingest(repo_root, tmp_path / "files")
    before = butler_command("list-calibrations", repo_root).output
    outcome = ingest(repo_root, tmp_path / "files")
    assert (outcome.code, outcome.counts["already there"]) == (0, 3)
    assert butler_command("list-calibrations", repo_root).output == before
    assert ingest(repo_root, tmp_path / "files", "--skip-existing").counts["skipped"] == 3


def rows_of(repo: Path) -> list[list[str]]:
    """Return detector, begin and end of what is certified."""
    lines = butler_command("list-calibrations", repo).output.splitlines()[2:]
    return [[line.split()[number] for number in (1, 3, 4)] for line in lines]


def test_what_was_decertified_stays_out_until_a_range_is_given(repo_root: Path, tmp_path: Path) -> None:
    files = [write_wcs(tmp_path / "files", detector=detector) for detector in (4, 5)]
    ingest(repo_root, *files)
    february = ["--begin-date", "2026-02-01", "--end-date", "2026-03-01"]
    assert butler_command("decertify-calibrations", repo_root, "spectral_wcs", *february, "--detector", 4).code == 0
    begin, end = "2026-02-01T00:00:00", "2026-03-01T00:00:00"
    before = [["4", "-", begin], ["4", end, "-"], ["5", "-", "-"]]
    what = f"spectral_wcs, detector 4: SPHEREx/calib/{OLD}, already there,"
    for option, verb in (["--dry-run"], "would stay"), ([], "stays"):
        outcome = ingest(repo_root, tmp_path / "files", *option)
        assert (outcome.code, outcome.counts["already there"]) == (0, 2)
        assert f"{what} {verb} out from {begin} to {end} (TAI), where nothing is valid; " in outcome.output
        assert rows_of(repo_root) == before
    # What is new is certified beside it.
    outcome = ingest(repo_root, tmp_path / "files", write_wcs(tmp_path / "files", detector=6))
    assert outcome.counts["ingested"] == 1
    assert rows_of(repo_root) == [*before, ["6", "-", "-"]]
    for option, verb in (["--dry-run"], "would become"), ([], "becomes"):
        outcome = ingest(repo_root, tmp_path / "files", "--begin-date", "2026-02-10", *option)
        expected = f"{what} {verb} valid from 2026-02-10T00:00:00 to {end} (TAI)"
        assert [line for line in outcome.output.splitlines() if line.startswith("spectral_wcs")] == [expected]
    after = [["4", "-", begin], ["4", "2026-02-10T00:00:00", "-"]]
    assert rows_of(repo_root) == [*after, ["5", "-", "-"], ["6", "-", "-"]]


def test_only_the_newest_of_several_versions_is_said_to_become_valid(repo_root: Path, tmp_path: Path) -> None:
    for run in (OLD, NEW):
        write_wcs(tmp_path / "files", run)
    ingest(repo_root, tmp_path / "files")
    february = ["--begin-date", "2026-02-01", "--end-date", "2026-03-01"]
    assert butler_command("decertify-calibrations", repo_root, "spectral_wcs", *february).code == 0
    for options, words in (
        ([], "stays out"),
        ([*february, "--dry-run"], "would become valid"),
        (february, "becomes valid"),
    ):
        lines = [line for line in ingest(repo_root, tmp_path / "files", *options).output.splitlines() if words in line]
        assert len(lines) == 1, lines
        assert f"SPHEREx/calib/{NEW}, already there, {words}" in lines[0]
    assert wavelength_at(repo_root, "2026-02-15") == 4.5


def test_what_the_same_command_fills_does_not_stay_out(repo_root: Path, tmp_path: Path) -> None:
    files = [write_wcs(tmp_path / "files", NEW)]
    ingest(repo_root, *files)
    february = ["--begin-date", "2026-02-01", "--end-date", "2026-03-01"]
    assert butler_command("decertify-calibrations", repo_root, "spectral_wcs", *february).code == 0
    files.append(write_wcs(tmp_path / "files", OLD))
    for option in (["--dry-run"], []):
        outcome = ingest(repo_root, *files, *option)
        assert outcome.code == 0
        assert "stays out" not in outcome.output
        assert "would stay out" not in outcome.output
    assert wavelength_at(repo_root, "2026-02-15") == 4.0
    assert wavelength_at(repo_root, "2026-03-15") == 4.5


def test_ranges_that_follow_each_other_are_listed_as_one(repo_root: Path, tmp_path: Path) -> None:
    path = write_wcs(tmp_path)
    for number in range(1, 4):
        assert ingest(repo_root, path, "--begin-date", f"2026-0{number}-01", "--end-date", f"2026-0{number + 1}-01")
    assert rows_of(repo_root) == [["4", "2026-01-01T00:00:00", "2026-04-01T00:00:00"]]
    assert ingest(repo_root, write_wcs(tmp_path, NEW), "--begin-date", "2026-02-10", "--end-date", "2026-02-20")
    assert [row[1][:10] for row in rows_of(repo_root)] == ["2026-01-01", "2026-02-10", "2026-02-20"]


def test_a_dry_run_changes_nothing(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest(repo_root, write_wcs(tmp_path), "--dry-run")
    assert (outcome.code, outcome.counts["would be ingested"]) == (0, 1)
    assert butler_command("list-calibrations", repo_root).code == 1


def changes_of(outcome: Outcome) -> list[str]:
    """Return the lines on what gives way to what."""
    return [line for line in outcome.output.splitlines() if line.startswith("spectral_wcs, detector")]


@pytest.mark.parametrize(("before", "runs"), [(OLD, [NEW]), (NEW, [OLD]), (NEW, [NEW]), (None, [NEW, OLD])])
def test_a_dry_run_tells_what_a_real_one_does(
    repo_root: Path, tmp_path: Path, before: str | None, runs: list[str]
) -> None:
    if before is not None:
        ingest(repo_root, write_wcs(tmp_path / "before", before), "--end-date", "2026-01-01")
    files = [write_wcs(tmp_path / "files", run, detector) for run in runs for detector in (4, 5)]
    command = [*files, "--begin-date", "2025-07-01"]
    foretold, again, done = (ingest(repo_root, *command, *more) for more in (["--dry-run"], ["--dry-run"], []))
    assert (foretold.code, done.code) == (0, 0)
    assert foretold.output == again.output
    forms = {"replaces": "would replace", "leaves": "would leave", "becomes": "would become"}
    expected = [" ".join(forms.get(word, word) for word in line.split(" ")) for line in changes_of(done)]
    assert changes_of(foretold) == expected
    assert len(expected) == {(OLD, 1): 1, (NEW, 1): 1, (None, 2): 2}[before, len(runs)]


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
    assert f"it is given the id {ID}, but that is the id of spectral_wcs@" in line
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
        "its name does not match",
    ),
    "not FITS": (lambda folder: written(folder / f"spectral_wcs_D4_spx_{OLD}.fits", b"x" * 9000), "is not FITS"),
    "empty": (lambda folder: written(folder / f"spectral_wcs_D4_spx_{OLD}.fits", b""), "the file is empty"),
    "cut": (lambda folder: written(write_wcs(folder), write_wcs(folder / "x").read_bytes()[:5800]), "is cut short"),
    "other detector": (
        lambda folder: write_wcs(folder, in_header=5),
        "DETECTOR in its header is 5, but its name says 4",
    ),
    "no image": (
        lambda folder: written(folder / DARK, fits.PrimaryHDU().header.tostring().encode()),
        "it holds no image",
    ),
    "no HDUs": (
        lambda folder: written(
            folder / f"spectral_wcs_D4_spx_{OLD}.fits", fits.PrimaryHDU().header.tostring().encode()
        ),
        "it holds no image CWAVE",
    ),
    "one HDU of two": (
        lambda folder: write_maps(folder / f"spectral_wcs_D4_spx_{OLD}.fits", {"CWAVE": 1.0}),
        "it holds no image CBAND",
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
        "it holds no table EPSF",
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
    "no YAML": (lambda folder: written(folder / "gain_factors_spx_base-2025-158.yaml", b"a: [1"), "it is not YAML"),
    "object in YAML": (
        lambda folder: written(folder / "gain_factors_spx_base-2025-158.yaml", b"!!python/object/apply:os.getcwd []"),
        "it is not YAML",
    ),
    "empty YAML": (
        lambda folder: written(folder / "gain_factors_spx_base-2025-158.yaml", b""),
        "it is not a YAML mapping",
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
        assert line.startswith(f"failed: {path}: its dataset type 'aurora_template' is to be")
        assert "butler remove-dataset-type REPO aurora_template" in line
    assert outcome.counts["ingested"] == 1
    prune = ["--purge", "SPHEREx/calib/cal-aur-v1-2026-010", "--datasets", "aurora_template", "--no-confirm"]
    assert butler_command("prune-datasets", repo_root, *prune).code == 0
    assert butler_command("remove-dataset-type", repo_root, "aurora_template").code == 0
    assert ingest(repo_root, path).code == 0
