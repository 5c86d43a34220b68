"""butler find-images: options, forms of output, messages and exit statuses."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet
import pytest
from astropy.table import Table
from lsst.daf.butler import Butler

from .ingest_helpers import Outcome, bound_program, butler_command
from .search_helpers import SIDE, Image, add_images, prepare

PLACE = ("30.0", "40.0")


@pytest.fixture
def repo(repo_root: Path, tmp_path: Path) -> Path:
    """Return a repository of two exposures of detectors 1 and 6."""
    images = [Image(number, detector, roll=60.0 * number) for number in range(2) for detector in (1, 6)]
    add_images(repo_root, images, tmp_path / "files", flags=1 << 21)
    return repo_root


def find(repo: Path, *arguments: object) -> Outcome:
    return butler_command("find-images", repo, *arguments)


def test_table_is_printed(repo: Path) -> None:
    outcome = find(repo, *PLACE)
    assert outcome.code == 0
    names, units, *rows = outcome.output.splitlines()
    assert names.split() == "exposure name detector time wavelength bandwidth x y run".split()
    assert units.split() == ["um", "um", "pix", "pix"]
    assert [row.split()[2] for row in rows] == ["1", "6", "1", "6"]
    assert rows[0].split()[0] == "20252010100001"
    assert rows[0].split()[3].startswith("2025-05-05T00:00:57.5")
    assert max(map(len, rows)) <= 140


def test_addresses_are_printed_on_request(repo: Path, tmp_path: Path) -> None:
    names, _, *rows = find(repo, *PLACE, "--show-uri").output.splitlines()
    assert names.split() == "exposure name detector time wavelength bandwidth x y address run".split()
    assert {row.split()[8].rpartition("/")[0] for row in rows} == {f"file://{tmp_path}/files"}
    path = tmp_path / "images.txt"
    assert find(repo, *PLACE, "--show-uri", "--output", path).code == 0
    assert path.read_text().splitlines()[2:] == rows


def test_all_rows_are_printed(repo_root: Path, tmp_path: Path) -> None:
    add_images(repo_root, [Image(number) for number in range(70)], tmp_path / "files")
    assert len(find(repo_root, *PLACE).output.splitlines()) == 72


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        (["--detector", 6], 2),
        (["--detector", 6, "--detector", 1], 4),
        (["--wavelength-range", 4.4, 5.1], 2),
        (["--time-range", "2025-05-05T12:00", "2025-05-07"], 2),
        (["--survey", "all_sky"], 4),
        (["--where", "GLOB(exposure.name, '2025W20_1A_0001_*')"], 2),
        (["--radius", "1deg"], 4),
        (["--radius", "0.2", "--sort", "wavelength"], 4),
        (["--collections", "SPHEREx/level2/l2b-v20-2025-299", "--dataset-type", "level2"], 4),
        (["--exact", "--processes", 2], 4),
    ],
)
def test_options_choose_rows(repo: Path, options: list[object], rows: int) -> None:
    outcome = find(repo, *options, *PLACE)
    assert outcome.code == 0, outcome
    assert len(outcome.output.splitlines()) == 2 + rows


def test_flags_are_shown(repo_root: Path, tmp_path: Path) -> None:
    image = Image()
    add_images(repo_root, [image], tmp_path / "files", flags=1 << 21 | 1 << 12)
    ra, dec = image.position(1000, 0)
    assert " FULLSAMPLE,SOURCE " in find(repo_root, ra, dec, "--flags").output


@pytest.mark.parametrize("suffix", [".txt", ".ecsv", ".parquet", ".vot", ".xml"])
def test_table_is_written(repo: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"images{suffix}"
    outcome = find(repo, *PLACE, "--output", path)
    assert outcome.code == 0, outcome
    assert outcome.output == f"4 images: {path}\n"
    assert [one.name for one in tmp_path.glob("*images*")] == [path.name]
    if suffix == ".txt":
        assert path.read_text() == find(repo, *PLACE).output
        return
    table = read(path)
    assert len(table) == 4
    assert table["exposure"].dtype.kind == "i"
    assert suffix == ".parquet" or str(table["wavelength"].unit) == "um"
    assert table["mjd"][0] == pytest.approx(60800.000666, abs=1e-6)
    assert str(table["address"][0]).startswith("file://")


def read(path: Path) -> Table:
    if path.suffix == ".parquet":
        # astropy writes it by pyarrow, and reads it by pandas.
        return Table(pyarrow.parquet.read_table(path).to_pydict())
    return Table.read(path, format="ascii.ecsv" if path.suffix == ".ecsv" else "votable")


def test_file_is_not_overwritten_unasked(repo: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.ecsv"
    path.write_text("precious")
    outcome = find(repo, *PLACE, "--output", path)
    assert outcome.code == 2
    assert "use --overwrite" in outcome.output
    assert path.read_text() == "precious"
    assert find(repo, *PLACE, "--output", path, "--overwrite").code == 0
    assert len(Table.read(path, format="ascii.ecsv")) == 4


@pytest.mark.parametrize("place", ["file/a.ecsv", "closed/a.ecsv", "readonly/a.parquet", f"{'x' * 300}.vot"])
def test_a_file_that_cannot_be_written_is_one_line(repo: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "readonly").mkdir(mode=0o555)
    path = tmp_path / place
    outcome = bound_program("butler", "find-images", repo, *PLACE, "--output", path)
    assert outcome.code == 1
    assert re.fullmatch(rf"Error: {path} cannot be written: [^\n;]+; choose another place\.\n", outcome.output)


def test_masked_values_are_written(repo_root: Path, tmp_path: Path) -> None:
    add_images(repo_root, [Image()], tmp_path / "files", wavelengths=False)
    outcome = find(repo_root, *PLACE)
    assert outcome.code == 0
    assert "The wavelengths of some images of detector 1 are not known: ingest" in outcome.output
    assert outcome.output.splitlines()[-1].split()[4:6] == ["--", "--"]
    for suffix in (".ecsv", ".parquet", ".vot"):
        path = tmp_path / f"images{suffix}"
        assert find(repo_root, *PLACE, "--output", path).code == 0
        table = read(path)
        assert table["wavelength.mask"][0] if suffix == ".parquet" else table["wavelength"].mask[0]


def test_nothing_found_is_said(repo: Path) -> None:
    outcome = find(repo, "30", "-40")
    assert outcome.code == 1
    assert "No image of level2 of SPHEREx in SPHEREx/level2 contains RA 30.000000, Dec -40.000000" in outcome.output
    outcome = find(repo, *PLACE, "--wavelength-range", 4.41, 4.4101)
    assert outcome.code == 1
    assert "2 images of level2 of SPHEREx in SPHEREx/level2, of detectors that may have such" in outcome.output
    assert (
        "contain RA 30.000000, Dec 40.000000, but none with a wavelength from 4.41 to 4.4101 um there" in outcome.output
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--where", "instrument = 'SPHEREX'"], "--where"),
        (["--detector", "2"], "--detector"),
        (["--time-range", "2020-01-01", "2021-01-01", "--survey", "all_sky"], "--survey and --time-range"),
        (["--detector", "1", "--wavelength-range", "4.5", "4.6"], "--detector and --wavelength-range"),
        (["--detector", "2", "--exact"], "--detector and --exact"),
    ],
)
def test_filters_that_nothing_meets_are_named(repo: Path, options: list[str], named: str) -> None:
    outcome = find(repo, *PLACE, *options)
    assert outcome.code == 1
    assert outcome.output.startswith("Error: 4 images of level2 of SPHEREx in SPHEREx/level2 contain RA 30.000000, Dec")
    assert outcome.output.endswith(f", but none of them meets {named}.\n")
    outcome = find(repo, "30", "-40", *options)
    assert outcome.output.endswith("contains RA 30.000000, Dec -40.000000.\n")


def test_nothing_found_near_a_position_is_said(repo_root: Path, tmp_path: Path) -> None:
    image = Image()
    add_images(repo_root, [image], tmp_path / "files")
    beside = (*image.position(1000, SIDE + 50), "--radius", "0.2")
    assert find(repo_root, *beside, "--wavelength-range", 0.7, 0.76).code == 0
    outcome = find(repo_root, *beside, "--wavelength-range", 1.0, 1.1)
    assert outcome.code == 1
    assert outcome.output.startswith("Error: 1 image of level2 of SPHEREx in SPHEREx/level2, of detectors that may")
    assert " touches the circle of 0.2 deg around RA " in outcome.output
    assert "but not with a wavelength from 1.0 to 1.1 um at the position or the pixel nearest to it." in outcome.output
    outcome = find(repo_root, *beside, "--detector", "2")
    assert outcome.output.startswith("Error: 1 image of level2 of SPHEREx in SPHEREx/level2 touches the circle of 0.2 ")
    assert outcome.output.endswith(", but does not meet --detector.\n")
    outcome = find(repo_root, "30", "-40", "--radius", "0.2")
    assert outcome.output.endswith("touches the circle of 0.2 deg around RA 30.000000, Dec -40.000000.\n")


def test_the_help_shows_that_collections_are_one_word() -> None:
    for command in ("find-images", "check-provenance"):
        output = butler_command(command, "--help").output
        assert "--collections COLLECTION " in output
        assert "TEXT ..." not in output


def test_names_are_resolved_offline(repo: Path) -> None:
    assert find(repo, "J020000.00+400000.0").code == 0
    outcome = find(repo, "M31")
    assert outcome.code == 1
    assert "'M31' is not a name that contains its coordinates" in outcome.output


@pytest.mark.parametrize("position", ["30.0 40.0", "30.0,40.0", " 30, 40 ", "2h00m00s 40d00m00s"])
def test_a_position_may_be_one_argument(repo: Path, position: str) -> None:
    assert find(repo, position).output.splitlines()[2:] == find(repo, *PLACE).output.splitlines()[2:]


@pytest.mark.parametrize("position", [("308.027", "38.350"), ("-52", "38.350"), ("20h32m06.5s", "-38d21m00s")])
def test_a_repository_that_was_forgotten_is_missed(position: tuple[str, str]) -> None:
    outcome = butler_command("find-images", *position)
    assert outcome.code == 2
    assert f"Missing argument 'REPO': '{' '.join(position)}' is a position." in outcome.output


def test_right_ascensions_may_be_negative(repo: Path) -> None:
    outcome = find(repo, "-179.5", PLACE[1])
    assert "contains RA -179.500000, Dec 40.000000" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["thirty"], 1, "is not a name that contains its coordinates"),
        (["30", "95"], 1, "the declination is not between -90 and 90"),
        (["390", "40"], 1, "the right ascension is not between -180 and 360 degrees: 390"),
        (["-180.5", "40"], 1, "the right ascension is not between -180 and 360 degrees: -180.5"),
        ([*PLACE, "--detectr", "1"], 2, "No such option"),
        ([*PLACE, "--output", "images.jpg"], 2, "does not have the extension of a format"),
        ([*PLACE, "--dataset-type", "nonsense"], 1, "no dataset type 'nonsense'"),
        ([*PLACE, "--dataset-type", "spectral_wcs"], 1, "not a dataset type of images"),
        ([*PLACE, "--collections", "nonsense"], 1, "nonsense"),
        ([*PLACE, "--where", "colour = 3"], 1, "the condition 'colour = 3' is not a query"),
        ([*PLACE, "--where", "target = 'a'"], 1, """lacks the catalog: write "catalog='NAME' AND target = 'a'"."""),
        (["308.027"], 2, "Missing argument 'DEC': '308.027' is one angle, and a position is two"),
        (["20h32m06.5s"], 2, "Missing argument 'DEC': '20h32m06.5s' is one angle"),
        ([*PLACE, "--time-range", "yesterday", "today"], 1, "'yesterday' is not a date"),
        *(
            ([*PLACE, "--radius", text], 1, f"--radius: {text!r} is not an angle; use 0.1 (degrees) or 10arcmin.")
            for text in ("wide", "10am", "5kpc", "10pix", "10ARCMIN", "10 arcmn")
        ),
        ([*PLACE, "--radius", "nan"], 1, "--radius: 'nan' is not an angle: the number is not finite"),
        ([*PLACE, "--radius", "-1"], 1, "negative"),
        ([*PLACE, "--radius", "1.01"], 1, "above 1 degree"),
        ([*PLACE, "--wavelength-range", "5", "4"], 1, "is not a range of wavelengths"),
        ([*PLACE, "--instrument", "nonsense"], 1, "there is no instrument 'nonsense'; the repository has SPHEREx."),
        ([*PLACE, "--survey", "allsky"], 1, "there is no survey 'allsky'; the repository has all_sky."),
        ([*PLACE, "--survey", "all_sky", "--survey", "deep"], 1, "there is no survey 'deep'"),
        ([*PLACE, "--detector", "7"], 1, "there is no detector 7; the repository has 1, 2, 3, 4, 5, 6."),
        ([*PLACE, "--wavelength-range", "7000", "11000"], 1, "wavelengths are in um, and those of the detectors go"),
    ],
)
def test_mistakes_are_explained(repo: Path, arguments: list[str], code: int, message: str) -> None:
    outcome = find(repo, *arguments)
    assert outcome.code == code, outcome
    assert message in outcome.output


def test_repository_that_is_none(tmp_path: Path) -> None:
    outcome = find(tmp_path / "nothing", *PLACE)
    assert outcome.code == 1
    assert "is not a repository of the Butler" in outcome.output


def test_repository_without_images(repo_root: Path) -> None:
    outcome = find(repo_root, *PLACE)
    assert outcome.code == 1
    assert "butler ingest-level2" in outcome.output
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        prepare(butler)
    outcome = find(repo_root, *PLACE)
    assert outcome.code == 1
    assert "SPHEREx/level2" in outcome.output


def test_unreadable_file_at_the_edge_fails(repo_root: Path, tmp_path: Path) -> None:
    image = Image()
    add_images(repo_root, [image], tmp_path / "files")
    (tmp_path / "files" / image.name).unlink()
    outcome = find(repo_root, *image.position(1000, SIDE + 1))
    assert outcome.code == 1
    assert f"{image.name} cannot be read" in outcome.output
    assert len(outcome.output.splitlines()) == 4
