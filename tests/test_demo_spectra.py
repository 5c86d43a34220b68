"""The second act of the demo: comparison of spectra with the truth, and the picture of both."""

import dataclasses
import re

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

from spherex.spectra import gather_spectrum
from spherex_simulator.demo import TruthError, check_spectrum, draw_with_truth, read_truth, with_truth
from spherex_simulator.demo.__main__ import main

from .spectra_helpers import measurements

NUMBER = 400
SIGMA = 12.0


def obsid(number):
    return f"2026W30_1A_{number // 4 + 1:04d}_{number % 4 + 1}"


@pytest.fixture
def spectrum():
    """Return 400 measurements of a smooth spectrum, and what they would be without noise."""
    given = {"obsid": [obsid(number) for number in range(NUMBER)], "flux_error": SIGMA}
    return gather_spectrum([measurements(NUMBER, **given)], {"ra": 150.5, "dec": -2.25})


@pytest.fixture
def truth(spectrum):
    wavelength = spectrum["wavelength"].to_value("um")
    flux = 300 * np.exp(-((wavelength - 1.2) ** 2) / 1.5) + 40
    places = zip(spectrum["obsid"], spectrum["detector"], spectrum["target"], strict=True)
    values = zip(flux.tolist(), wavelength.tolist(), strict=True)
    return {
        (str(name), int(detector), str(target)): value
        for (name, detector, target), value in zip(places, values, strict=True)
    }


def test_check_accepts_what_was_put_in(spectrum, truth):
    result = check_spectrum(spectrum, truth, "west")
    assert result.complaints() == []
    assert (result.images, result.pulls, result.missing, result.failed, result.marked) == (NUMBER, NUMBER, 0, 0, 0)
    assert result.detectors == 6
    assert result.mean == pytest.approx(0, abs=0.2)
    assert result.scatter == pytest.approx(1, abs=0.1)
    assert result.wavelength_error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda table: table["flux"].__iadd__(0.5 * table["flux_error"]), "the mean pull of"),
        (lambda table: table["flux_error"].__imul__(2), "scatter by 0.5"),
        (lambda table: table["flux"].__setitem__(7, 1e4 * table["flux"].unit), "standard deviations from the truth"),
        (lambda table: table["wavelength"].__iadd__(0.02 * table["bandwidth"]), "wrong by 0.020 of the bandwidth"),
        (lambda table: table["reason"].__setitem__(slice(0, 30), "lost"), "30 of 400 measurements failed"),
        (lambda table: table["good"].__setitem__(slice(0, 50), False), "50 of 400 measurements are marked as not good"),
    ],
    ids=["offset", "errors", "outlier", "wavelength", "failed", "marked"],
)
def test_check_finds_what_is_wrong(spectrum, truth, change, complaint):
    table = with_truth(spectrum, truth)
    table["reason"] = table["reason"].astype("U20")
    change(table)
    assert complaint in " ".join(check_spectrum(table, truth, "west").complaints())


def test_check_misses_images_and_detectors(spectrum, truth):
    some = spectrum[spectrum["detector"] < 6]
    complaints = check_spectrum(some, truth, "west").complaints()
    assert complaints[0] == f"{NUMBER - len(some)} of {NUMBER} images that show it are not in the spectrum"
    assert complaints[1] == "only 5 of 6 detectors have measured it"
    assert check_spectrum(spectrum[:0], truth, "west").complaints()[-1] == "the spectrum has no flux to compare"


def test_what_is_not_good_is_counted_and_left_out(spectrum, truth):
    spectrum["good"][3], spectrum["flux"][3] = False, 1e5 * spectrum["flux"].unit
    result = check_spectrum(spectrum, truth, "west")
    assert (result.marked, result.pulls) == (1, NUMBER - 1)
    assert result.complaints() == []


def test_a_check_without_pulls_is_no_pass(spectrum, truth):
    result = check_spectrum(spectrum, truth, "west")
    unknown = dataclasses.replace(result, mean=np.nan, scatter=np.nan, largest=np.nan, wavelength_error=np.nan)
    assert len(unknown.complaints()) == 4


def test_truth_is_read_and_missed(spectrum, truth, tmp_path):
    with pytest.raises(TruthError, match="does not contain tables"):
        read_truth(tmp_path)
    folder = tmp_path / "qr3" / "truth" / "some" / "run"
    folder.mkdir(parents=True)
    table = Table({"name": ["west", "S1"], "flux": [10.0, 20.0], "wavelength": [1.0, 1.1]})
    table.meta["image"] = f"level2_{obsid(0)}D3_spx_l2b-v27-2026-222.fits"
    table.write(folder / "truth_level2_any.ecsv")
    read = read_truth(tmp_path)
    assert read == {(obsid(0), 3, "west"): (10.0, 1.0), (obsid(0), 3, "S1"): (20.0, 1.1)}
    with pytest.raises(TruthError, match=r"do not contain the truth about west in 2026W30_1A_\d{4}_\dD\d"):
        with_truth(spectrum, read)


def test_picture(spectrum, truth, tmp_path):
    table = with_truth(spectrum, truth)
    path = tmp_path / "picture.png"
    draw_with_truth([("first", table), ("second", table[:9])], path, "title")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("command", "last"), [("check-spectra", []), ("picture-spectra", ["picture.png"])])
def test_commands_say_that_there_is_nothing_yet(command, last, repo_root, tmp_path):
    names = [str(tmp_path / name) for name in last]
    result = CliRunner().invoke(main, [command, str(repo_root), "spectra", str(tmp_path), *names])
    assert result.exit_code == 1
    assert "Run pipelines/SpectrumPipeline.yaml first" in result.output


def test_the_demo_numbers_its_steps_to_the_end(pytestconfig):
    script = (pytestconfig.rootpath / "bin" / "spherex-demo").read_text()
    assert int(re.search(r"^steps=(\d+)$", script, re.M)[1]) == len(re.findall(r'^step "', script, re.M))
