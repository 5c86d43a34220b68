"""spherex-simulate --product level2."""

from __future__ import annotations

import filecmp
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner, Result

from spherex.archive import CalibrationName, Level2Name
from spherex.fits import read_product
from spherex_simulator.command import simulate

SOURCES = """# %ECSV 1.0
# ---
# datatype:
# - {name: name, datatype: string}
# - {name: ra, datatype: float64}
# - {name: dec, datatype: float64}
# - {name: flux, datatype: float64}
name ra dec flux
"""


def run(out: Path, *arguments: str, release: str = "qr2") -> Result:
    options = ["--product", "level2", "--release", release, "--shape", "32", "--exposures", "1", "--detectors", "1"]
    return CliRunner().invoke(simulate, [str(out), *options, *arguments])


def images(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("level2_*.fits"))


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_the_same_seed_gives_the_same_files(tmp_path: Path, release: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(first, "--exposures", "2", "--detectors", "2,5", release=release).exit_code == 0
    result = run(second, "--first-exposure", "1", "--detectors", "5", release=release)
    assert result.exit_code == 0
    assert result.output.splitlines()[0].startswith("exposure 000001 (1 of 1): 3 files")
    names = [str(path.relative_to(second)) for path in second.rglob("*5*") if path.is_file()]
    assert len(names) >= 2
    assert filecmp.cmpfiles(first, second, names, shallow=False) == (names, [], [])
    assert len(images(first)) == 4
    other = tmp_path / "other"
    run(other, "--seed", "1", "--detectors", "5", release=release)
    assert not filecmp.cmp(images(first)[2], images(other)[0], shallow=False)


def test_a_reprocessing_stands_beside_the_first(tmp_path: Path) -> None:
    for name in ("l2b-v20-2025-299", "l2b_retry-v21-2025-354"):
        assert run(tmp_path, "--run", name, "--start", "2025-10-20").exit_code == 0
    first, second = images(tmp_path)
    runs = {str(Level2Name.parse(path.name).run) for path in (first, second)}
    assert runs == {"l2b-v20-2025-299", "l2b_retry-v21-2025-354"}
    assert first.parents[2] == second.parents[2]
    assert first.parents[2].name == "2025W43_1A"
    np.testing.assert_array_equal(read_product(first).data, read_product(second).data)
    dates = [fits.getheader(path, "IMAGE")["DATE"] for path in (first, second)]
    assert [date[:10] for date in dates] == ["2025-10-26", "2025-12-20"]


def test_existing_files_are_safe(tmp_path: Path) -> None:
    run(tmp_path)
    (path,) = images(tmp_path)
    before = path.read_bytes()
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "has 1 of the images already, such as level2_2026W07_1A_0001_1D1" in result.output
    path.write_bytes(b"spoilt")
    assert "2 left as they were" in run(tmp_path, "--skip-existing").output
    assert path.read_bytes() == b"spoilt"
    result = run(tmp_path, "--skip-existing", "--seed", "1")
    assert result.exit_code == 1
    assert "describes another survey" in result.output
    assert "seed 0" in result.output
    assert run(tmp_path, "--overwrite").exit_code == 0
    assert path.read_bytes() == before


def test_sources_and_centre(tmp_path: Path) -> None:
    assert run(tmp_path / "middle", "--no-stars").exit_code == 0
    empty = read_product(images(tmp_path / "middle")[0])
    place = empty.wcs.pixel_to_world(16, 16)
    file = tmp_path / "sources.ecsv"
    file.write_text(f"{SOURCES}mine {place.ra.deg} {place.dec.deg} 1e6\n")
    centre = f"{place.ra.deg},{place.dec.deg}"
    options = ("--no-stars", "--sources", str(file), "--center", centre, "--detectors", "1,2,4")
    result = run(tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    found = images(tmp_path / "out")
    # The two detectors of a dichroic pair see the same sky.
    assert [Level2Name.parse(path.name).detector for path in found] == [1, 4]
    image = read_product(found[0])
    assert np.unravel_index(np.nanargmax(image.data), image.shape) == (16, 16)
    truth = next((tmp_path / "out").rglob("truth_*D1*.ecsv")).read_text().splitlines()
    assert [line.split()[0] for line in truth if not line.startswith("#")] == ["name", "mine"]
    result = run(tmp_path / "none", "--center", f"{place.ra.deg},{-place.dec.deg}")
    assert result.exit_code == 1
    assert "the --center is outside of all these images" in result.output


@pytest.mark.parametrize(("release", "types"), [("qr2", {"average_psf"}), ("qr3", {"epsf"})])
def test_calibrations(tmp_path: Path, release: str, types: set[str]) -> None:
    assert run(tmp_path, "--calibrations", release=release).exit_code == 0
    root = tmp_path / release
    files = [path for path in root.rglob("*.fits") if not path.name.startswith("level2_")]
    names = [CalibrationName.parse(path.name) for path in files]
    assert {name.type for name in names} == types | {"spectral_wcs", "solid_angle_pixel_map"}
    assert {path.relative_to(root).as_posix() for path in files} == {name.tree for name in names}
    image = read_product(images(tmp_path)[0])
    for path, name in zip(files, names, strict=True):
        with fits.open(path) as hdus:
            hdus.verify("exception")
            if name.type == "spectral_wcs":
                assert [hdu.name for hdu in hdus] == ["PRIMARY", "CWAVE", "CBAND", "WCS-WAVE"]
                assert hdus["CWAVE"].data[0, 0] == image.planes["WCS-WAVE"].data["VALUES"][0, 0, 0, 0]
                assert hdus["CWAVE"].data[0, 1019] > hdus["CWAVE"].data[2039, 1019]
            elif name.type == "solid_angle_pixel_map":
                assert np.median(hdus["IMAGE"].data) == pytest.approx(image.header["OMEGA_MEDIAN"], rel=1e-4)
            elif release == "qr2":
                np.testing.assert_array_equal(hdus["PSF"].data, image.planes["PSF"].data)
            else:
                np.testing.assert_array_equal(hdus["EPSF"].data["EPSF"], image.planes["EPSF"].data["EPSF"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--product", "level2"], "needs a --release"),
        (["--release", "qr2"], "needs a --release; --product raw does not take one"),
        (["--product", "level2", "--release", "qr1"], "'qr1' is not one of"),
        (["--product", "level2", "--release", "qr2", "--run", "v20"], "'v20' is not a processing run"),
        (["--product", "level2", "--release", "qr2", "--run", "cal-wcs-v4-2025-254"], "is not a run of Level 2"),
        (["--product", "level2", "--release", "qr2", "--sky-truth"], "belongs to --product raw"),
        (["--product", "level2", "--release", "qr3", "--psf-erratum"], "never had x and y exchanged"),
        (["--product", "level2", "--release", "qr2", "--center", "12"], "is not right ascension and declination"),
        (["--product", "level2", "--release", "qr2", "--center", "12,95"], "is not right ascension and declination"),
        (["--no-stars"], "belong to --product level2"),
        (["--center", "0,0"], "belong to --product level2"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(simulate, [str(out), "--exposures", "1", *arguments])
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,ra\n", "is not an ECSV table"),
        (SOURCES, "expected at least one row"),
        (SOURCES.replace("flux", "mag") + "a 1 2 3\n", "column flux is missing"),
        (SOURCES + "a 1 2 3\na 1 3 3\n", "two sources have the same name"),
        (SOURCES + "a 1 92 3\n", "a has an invalid position"),
        (SOURCES + "a 1 2 3\nb 1 2 -3\n", "b has a flux that is not positive"),
        (SOURCES.replace("name: flux,", "name: flux, unit: m,") + "a 1 2 3\n", "column flux must be in uJy"),
    ],
)
def test_bad_sources_are_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "sources.ecsv"
    file.write_text(content)
    result = run(tmp_path / "out", "--sources", str(file))
    assert result.exit_code == 1
    assert message in result.output
    assert str(file) in result.output
    assert len(result.output.splitlines()) == 1
