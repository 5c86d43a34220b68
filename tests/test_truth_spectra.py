"""Fluxes measured in simulated Level 2 frames, against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.table import Table, join

from spherex.image import PlaneWavelengths
from spherex.spectra import MICROJANSKY, Calibration, Calibrations, measure_targets
from spherex_simulator.level2 import RELEASES

from .measuring_helpers import simulate_sources

SIDE = 2040
STEP = 22
"""Distance of the sources, farther than their squares reach (pixels)."""

FORMS = [("qr2", 2), ("qr2", 4), ("qr3", 1), ("qr3", 5)]


def true_solid_angles(truth):
    """Return the true solid angles, at the positions of the truth table only."""
    angles = np.full((SIDE, SIDE), np.nan)
    angles[np.rint(truth["y"]).astype(int), np.rint(truth["x"]).astype(int)] = truth["solid_angle"]
    return angles


def true_calibrations(release, detector, truth):
    rows, columns = np.indices((SIDE, SIDE), dtype=float)
    table = RELEASES[release].wavelengths(detector)
    maps = (plane * units.um for plane in table.at(columns, rows))
    return Calibrations(
        wavelengths=Calibration("wavelengths", PlaneWavelengths(*maps)),
        solid_angles=Calibration("solid angles", true_solid_angles(truth)),
    )


@pytest.fixture(scope="module", params=FORMS, ids=[f"{release}-D{detector}" for release, detector in FORMS])
def measured(request, tmp_path_factory):
    """Return the measurements of 8,000 isolated sources of three decades, joined with the truth."""
    release, detector = request.param
    rng = np.random.default_rng(7)
    columns, rows = np.meshgrid(*[np.arange(20, SIDE - 15, STEP)] * 2)
    x, y = (plane.ravel() + rng.uniform(-0.5, 0.5, plane.size) for plane in (columns, rows))
    flux = 10 ** rng.uniform(2, 5, len(x))
    image, catalogue, truth = simulate_sources(tmp_path_factory.mktemp("truth"), release, detector, x, y, flux)
    table = measure_targets(image, catalogue, {"detector": detector}, true_calibrations(release, detector, truth))
    truth.rename_column("name", "target")
    table, truth = (Table({name: np.asarray(one[name]) for name in one.colnames}) for one in (table, truth))
    both = join(table, truth, keys="target", table_names=["", "true"], uniq_col_name="{col_name}{table_name}")
    assert len(both) == len(x)
    assert (both["reason"] != "").mean() < 0.01
    both = both[both["reason"] == ""]
    # Particles change a flux; the flags say so.
    hit = np.array(["TRANSIENT" in names.split() for names in both["flag_names"]])
    assert hit.mean() < 0.02
    return both[~hit]


def check_pulls(measured, chosen, flux="flux", error="flux_error"):
    pulls = (measured[flux] - measured["fluxtrue"]) / measured[error]
    pulls = np.asarray(pulls)[chosen]
    assert len(pulls) > 400
    assert abs(pulls.mean()) < 0.1
    assert 1.4826 * np.median(np.abs(pulls - np.median(pulls))) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("decade", [2, 3, 4])
@pytest.mark.parametrize("kind", ["flux", "aperture_flux"])
def test_pulls_are_standard_in_three_decades_of_flux(measured, decade, kind):
    chosen = np.floor(np.log10(measured["fluxtrue"])) == decade
    check_pulls(measured, chosen, kind, f"{kind}_error")


@pytest.mark.slow
@pytest.mark.parametrize("phase", range(4))
def test_pulls_are_standard_wherever_in_a_pixel(measured, phase):
    x, y = (measured[name] for name in "xy")
    check_pulls(measured, 2 * ((x + 0.5) % 1 > 0.5) + ((y + 0.5) % 1 > 0.5) == phase)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_pulls_are_standard_in_all_zones(measured, part):
    x, y = (measured[name] for name in "xy")
    check_pulls(measured, 2 * (x > SIDE / 2) + (y > SIDE / 2) == part)


@pytest.mark.slow
def test_positions_wavelengths_and_fits_are_those_of_the_truth(measured):
    for name, tolerance in (("x", 1e-4), ("y", 1e-4), ("wavelength", 1e-6), ("bandwidth", 1e-6)):
        np.testing.assert_allclose(measured[name], measured[f"{name}true"], atol=tolerance)
    assert np.median(measured["chi2"] / measured["dof"]) == pytest.approx(1, abs=0.03)
    assert (measured["neighbours"] == 0).all()


def test_the_unit_of_fluxes():
    """The factor between MJy/sr and uJy/arcsec2: 1e12 arcsec2 in sr."""
    assert (1 * units.MJy / units.sr * units.arcsec**2).to_value(units.uJy) == pytest.approx(MICROJANSKY, rel=1e-12)
    assert pytest.approx(23.50443, abs=5e-6) == MICROJANSKY


@pytest.mark.parametrize(("release", "detector"), [("qr2", 3), ("qr3", 6)])
def test_pairs_edges_and_bad_pixels(release, detector, tmp_path):
    """Difficult places in one frame; what is not measured says why."""
    rng = np.random.default_rng(9)
    columns, rows = np.meshgrid(*[np.arange(30, SIDE - 30, 45)] * 2)
    x, y = (plane.ravel() + rng.uniform(-0.5, 0.5, plane.size) for plane in (columns, rows))
    distance = rng.choice([1.0, 2.0, 3.0], len(x))
    angle = rng.uniform(0, 2 * np.pi, len(x))
    edge = rng.uniform(0, SIDE - 1, 60)
    x = np.concatenate([x, x + distance * np.cos(angle), rng.uniform(-0.5, 3, 30), edge[:30]])
    y = np.concatenate([y, y + distance * np.sin(angle), edge[30:], SIDE - 0.5 - rng.uniform(0, 3, 30)])
    image, catalogue, truth = simulate_sources(tmp_path, release, detector, x, y, np.full(len(x), 2000.0))
    table = measure_targets(image, catalogue, {}, true_calibrations(release, detector, truth))
    order = {name: place for place, name in enumerate(truth["name"])}
    place = [order[name] for name in table["target"]]
    assert len(place) > len(x) - 3
    flux = np.array(truth["flux"])[place]
    usable = (table["reason"] == "") & ~np.char.count(table["flag_names"].astype(str), "TRANSIENT").astype(bool)
    pulls = (table["flux"].value - flux) / table["flux_error"].value
    number = np.array([int(name[1:]) for name in table["target"]])
    pairs = (len(x) - 60) // 2
    for apart in (1.0, 2.0, 3.0):
        chosen = usable & (number < 2 * pairs) & (distance[number % pairs] == apart)
        assert chosen.sum() > 600
        # A mean of 600 pulls is known to 0.04.
        assert abs(pulls[chosen].mean()) < 0.1 + 2 * 0.04
        assert 1.4826 * np.median(np.abs(pulls[chosen] - np.median(pulls[chosen]))) == pytest.approx(1, abs=0.1)
    edges = usable & (number >= 2 * pairs)
    assert edges.sum() > 40
    assert np.abs(pulls[edges]).max() < 5
    lost = table[table["reason"] != ""]
    assert all("of the PSF is on pixels that cannot be used" in reason for reason in lost["reason"])
    assert (lost["masked_fraction"] > 0.5).all()
    masked = usable & (table["masked_fraction"] > 0.02)
    assert masked.sum() > 30
    assert 1.4826 * np.median(np.abs(pulls[masked])) == pytest.approx(1, abs=0.35)
