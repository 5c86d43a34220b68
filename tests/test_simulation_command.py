import contextlib
import filecmp
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from click.testing import CliRunner, Result

from spherex.fits import read_product
from spherex_simulator import FileNames, Settings, simulate_frame
from spherex_simulator.command import simulate

RAW_NAME = re.compile(r"sim_exposure_(\d{6})_array_([1-6])\.fits$")


def run(out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(simulate, [str(out), "--shape", "32", *arguments])


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("survey") / "out"
    result = CliRunner().invoke(simulate, [str(out), "--exposures", "2", "--shape", "64", "--sky-truth"])
    assert result.exit_code == 0, result.output
    return out


def test_names_of_the_files(survey: Path) -> None:
    names = {path.name for path in survey.iterdir()}
    products = {
        f"sim_exposure_{exposure:06d}_array_{detector}{kind}.fits"
        for exposure in range(2)
        for detector in range(1, 7)
        for kind in ("", "_dark_current")
    }
    assert {name for name in names if not name.startswith("sim_truth_")} == products
    truth = {name for name in names if name.startswith("sim_truth_")}
    assert len(truth) == 2 * 6 * 2 + 6
    assert not any(RAW_NAME.search(name) or "dark_current.fits" in name for name in truth)


def test_header_of_a_raw(survey: Path) -> None:
    with fits.open(survey / "sim_exposure_000001_array_4.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "FLAGS", "VARIANCE", "WCS-WAVE"]
        assert hdus[0].data is None
        assert [hdus[name].data.dtype.name for name in ("IMAGE", "FLAGS", "VARIANCE")] == [
            "float32",
            "int32",
            "float32",
        ]
        header = hdus["IMAGE"].header
    expected = {
        "EXTTYPE": "IMAGE",
        "BUNIT": "electron/s",
        "DETECTOR": 4,
        "EXPOSURE": 1,
        "TELESCOP": "SPHEREx",
        "INSTRUME": "simulator",
        "IMAGETYP": "SCIENCE",
        "OBSID": "sim_000001",
        "TIMESYS": "UTC",
        "DATE-OBS": "2026-11-23T00:02:09.000",
        "SPS_FLAGS": "all_sky",
        "SPS_TARG": 0,
        "XPOSURE": 113.5826,
        "CTYPE1": "RA---TAN-SIP",
        "CTYPE1A": "LINEAR",
        "CTYPE1W": "WAVE-TAB",
    }
    assert {key: header[key] for key in expected} == expected
    assert header["DATE-BEG"] == header["DATE-OBS"] < header["DATE-AVG"] < header["DATE-END"]
    for suffix in ("OBS", "BEG", "AVG", "END"):
        # The dates are rounded to milliseconds.
        mjd = Time(header[f"DATE-{suffix}"], scale="utc").mjd
        assert header[f"MJD-{suffix}"] == pytest.approx(mjd, abs=1e-8)
    assert 0 <= header["RA_BORE"] < 360
    assert 0 <= header["ROLL"] < 360
    assert 0.5 < header["JITTER"] < 1.5


def test_header_of_a_dark(survey: Path) -> None:
    raw = fits.getheader(survey / "sim_exposure_000001_array_4.fits", "IMAGE")
    dark = fits.getheader(survey / "sim_exposure_000001_array_4_dark_current.fits", "IMAGE")
    assert dark["IMAGETYP"] == "DARK"
    assert not any(re.match(r"CTYPE|CRVAL|PC\d|A_|PS\d", keyword) for keyword in dark)
    for keyword in ("DETECTOR", "EXPOSURE", "OBSID", "MJD-BEG", "MJD-END", "XPOSURE", "RA_BORE", "ROLL"):
        assert dark[keyword] == raw[keyword]


def test_files_hold_what_was_simulated(survey: Path) -> None:
    frame = simulate_frame(Settings(side=64), 1, 6)
    names = FileNames(survey)
    images = {names.raw: frame.raw, names.dark: frame.dark, names.sky: frame.sky}
    for name, image in images.items():
        copy = read_product(name(1, 6))
        np.testing.assert_array_equal(copy.data, image.data)
        np.testing.assert_array_equal(copy.flags, image.flags)
        assert copy.unit == "electron/s"
    np.testing.assert_array_equal(read_product(names.dark_truth(6)).data, frame.dark_truth)
    table = Table.read(names.sources(1, 6), format="ascii.ecsv")
    assert table.colnames == ["name", "ra", "dec", "x", "y", "wavelength", "rate"]
    assert str(table["rate"].unit) == "electron / s"
    np.testing.assert_array_equal(table["rate"], frame.sources["rate"])
    wcs = read_product(names.raw(1, 6)).wcs
    x, y = wcs.all_world2pix(table["ra"], table["dec"], 0)
    np.testing.assert_allclose((x, y), (table["x"], table["y"]), atol=2e-3)


def test_an_exposure_is_the_same_whatever_else_is_simulated(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run(first, "--exposures", "2", "--detectors", "2,5", "--seed", "9")
    run(second, "--exposures", "1", "--first-exposure", "1", "--detectors", "5", "--seed", "9")
    names = sorted(path.name for path in second.iterdir())
    assert len(names) == 4
    assert filecmp.cmpfiles(first, second, names, shallow=False) == (names, [], [])


def test_progress_is_one_line_an_exposure(tmp_path: Path) -> None:
    lines = run(tmp_path, "--exposures", "3", "--detectors", "1").output.splitlines()
    assert len(lines) == 4
    # The first has the truth of the dark current, too.
    assert lines[0].startswith("exposure 000000 (1 of 3): 4 files")
    assert lines[1].startswith("exposure 000001 (2 of 3): 3 files")
    assert lines[-1].startswith("Wrote 10 files")
    assert len(list(tmp_path.iterdir())) == 10
    assert run(tmp_path, "--exposures", "1", "--detectors", "2", "-q").output == ""


def test_all_files_are_counted(tmp_path: Path) -> None:
    level2 = ("--product", "level2", "--release", "qr2", "--calibrations")
    line = run(tmp_path, "--exposures", "2", "--detectors", "1", *level2).output.splitlines()[-1]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert line == f"Wrote {len(files)} files, {sum(one.stat().st_size for one in files) / 1e6:.1f} MB, to {tmp_path}"


def test_existing_files_are_safe(tmp_path: Path) -> None:
    arguments = ("--exposures", "1", "--detectors", "1")
    run(tmp_path, *arguments)
    raw = FileNames(tmp_path).raw(0, 1)
    before = raw.read_bytes()
    result = run(tmp_path, *arguments)
    assert result.exit_code == 1
    assert "3 of the files already, such as sim_exposure_000000_array_1.fits" in result.output
    assert len(result.output.splitlines()) == 1
    raw.write_bytes(b"spoilt")
    assert "3 left as they were" in run(tmp_path, *arguments, "--skip-existing").output
    assert raw.read_bytes() == b"spoilt"
    assert run(tmp_path, *arguments, "--overwrite").exit_code == 0
    assert raw.read_bytes() == before
    raw.unlink()
    assert run(tmp_path, *arguments, "--skip-existing").exit_code == 0
    assert raw.read_bytes() == before


def test_surveys_are_not_mixed(tmp_path: Path) -> None:
    run(tmp_path, "--exposures", "2", "--detectors", "1")
    for arguments in (["--seed", "1"], ["--start", "2026-11-24"]):
        for option in ("--skip-existing", "--overwrite"):
            result = run(tmp_path, "--exposures", "1", "--detectors", "1", *arguments, option)
            assert result.exit_code == 1
            assert "another survey (--seed 0 --shape 32 --start 2026-11-23T00:00:00)" in result.output
    assert run(tmp_path, "--exposures", "2", "--detectors", "1", "--seed", "1", "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--exposures'"),
        (["--exposures", "0"], "'--exposures'"),
        (["--exposures", "two"], "'two' is not a valid integer"),
        (["--exposures", "1", "--shape", "16"], "'--shape'"),
        (["--exposures", "1", "--shape", "4096"], "'--shape'"),
        (["--exposures", "1", "--seed", "-1"], "'--seed'"),
        (["--exposures", "1", "--detectors", "1,7"], "'1,7' is not a list of detectors"),
        (["--exposures", "1", "--detectors", ""], "is not a list of detectors"),
        (["--exposures", "1", "--start", "yesterday"], "'--start'"),
        (["--exposures", "1", "--start", "1966-01-01"], "The start must be from 2017"),
        (["--exposures", "1", "--overwrite", "--skip-existing"], "exclude each other"),
        (["--exposures", "2", "--first-exposure", "999999"], "beyond number 999999"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(simulate, [str(out), *arguments])
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output
    assert not out.exists()


def test_output_that_is_not_a_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "is a file" in run(file, "--exposures", "1").output
    result = run(file / "below", "--exposures", "1")
    assert result.exit_code == 1
    assert result.output.startswith("Error: Cannot write")


def test_foreign_truth_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sim_truth_dark_array_3.fits").write_bytes(b"not FITS")
    result = run(tmp_path, "--exposures", "1")
    assert result.exit_code == 1
    assert "sim_truth_dark_array_3.fits is not a truth file" in result.output


def test_a_killed_run_leaves_whole_files_and_can_be_completed(tmp_path: Path) -> None:
    out, reference = tmp_path / "out", tmp_path / "reference"
    program = "from spherex_simulator.command import simulate; simulate()"
    survey = ["--shape", "128", "--detectors", "1"]
    process = subprocess.Popen([sys.executable, "-c", program, str(out), "--exposures", "500", "-q", *survey])
    names = FileNames(out)
    deadline = time.monotonic() + 60
    while not names.raw(2, 1).exists() and time.monotonic() < deadline:
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = [path for path in out.iterdir() if RAW_NAME.search(path.name) or "dark_current" in path.name]
    assert len(written) >= 6
    for path in written:
        read_product(path)
    for directory, option in ((out, ["--skip-existing"]), (reference, [])):
        arguments = [str(directory), "--exposures", "5", *survey, *option]
        assert CliRunner().invoke(simulate, arguments).exit_code == 0
    files = sorted(path.name for path in reference.iterdir())
    assert filecmp.cmpfiles(out, reference, files, shallow=False) == (files, [], [])


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", full)
    result = run(tmp_path, "--exposures", "1")
    assert result.exit_code == 1
    assert re.match(r"Error: Cannot write .*\.fits: No space left on device\n$", result.output)
    assert list(tmp_path.iterdir()) == []


def test_script_runs_from_a_clone() -> None:
    script = Path(__file__).parents[1] / "bin" / "spherex-simulate"
    assert os.access(script, os.X_OK)
    result = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert "Usage: spherex-simulate [OPTIONS] OUT" in result.stdout
    without = [sys.executable, "-S", "-E", script]
    with contextlib.chdir("/"):
        result = subprocess.run(without, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert re.match(r"spherex-simulate: no module \w+.*\n$", result.stderr)


def test_a_killed_simulation_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    words = ("--product", "level2", "--release", "qr3", "--detectors", "1", "--exposures", "3", "--quiet")
    program = Path(__file__).parents[1] / "bin" / "spherex-simulate"
    process = subprocess.Popen([sys.executable, program, tmp_path, *words])
    while not list(tmp_path.rglob("*.part")):
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    assert not list(tmp_path.rglob("*.part"))
