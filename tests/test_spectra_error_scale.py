"""Scale of errors from repeated visits: which visits are a pair, the statistics, and what is multiplied."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import gaussian_filter

from spherex.errors import ProductError, UserError
from spherex.spectra import (
    Calibration,
    Calibrations,
    ErrorScale,
    PairSettings,
    make_plain_table,
    measure_error_scale,
    measure_targets,
)

from .measuring_helpers import simulate_sources
from .test_truth_spectra import SIDE, STEP, true_solid_angles

BLUR = 0.7
"""Standard deviation of the kernel of correlated noise (pixels)."""


def visits(number: int = 2000, factor: float = 1.0, **given: Any) -> Table:
    """Return a visit of each target, with errors that are too small by a factor."""
    rng = np.random.default_rng(given.pop("seed", 1))
    flux = np.geomspace(10, 10_000, number)
    values = {
        "target": [f"t{row}" for row in range(number)],
        "wavelength": 1.7,
        "bandwidth": 0.04,
        "flux": flux + rng.normal(0, 10 * factor, number),
        "flux_error": 10.0,
        "aperture_flux": flux + rng.normal(0, 30 * factor, number),
        "aperture_flux_error": 20.0,
        "good": True,
        "time": 61000.0,
        "detector": 3,
        "exposure": 1,
        "version": "7.0.5",
    }
    return make_plain_table({**values, **given}, number)


def two_passes(number: int = 2000, factor: float = 1.0, **given: Any) -> list[Table]:
    second = {"seed": 2, "time": 61001.0, "exposure": 2, **given}
    return [visits(number, factor), visits(number, factor, **second)]


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_the_scale_is_the_factor_that_errors_lack(factor):
    table = measure_error_scale(two_passes(8000, factor))
    assert table["detector"].tolist() == [3] * 4
    assert table["snr_high"].tolist() == [5, 20, 100, np.inf]
    assert table["pairs"].sum() == table["aperture_pairs"].sum() == 8000
    for prefix, expected in (("", factor), ("aperture_", 1.5 * factor)):
        apart = (table[f"{prefix}scale"] - expected) / table[f"{prefix}scale_error"]
        assert np.abs(apart).max() < 3.5
        np.testing.assert_allclose(table[f"{prefix}scale_error"], 1.166 * expected / np.sqrt(table["pairs"]), rtol=0.1)
        assert np.abs(table[f"{prefix}offset"]).max() < 5 * expected / np.sqrt(table["pairs"].min())


def test_a_few_wild_measurements_do_not_matter():
    tables = two_passes(8000, 1.0)
    tables[0]["flux"][::100] += 1e5
    assert measure_error_scale(tables, PairSettings(edges=()))["scale"][0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("given", "pairs"),
    [
        ({}, 200),
        ({"time": 61000.4}, 0),
        ({"time": 60999.0}, 200),
        ({"wavelength": 1.7 + 0.14 * 0.04}, 200),
        ({"wavelength": 1.7 - 0.16 * 0.04}, 0),
        ({"detector": 4}, 0),
        ({"version": "6.5.6"}, 0),
        ({"version": ""}, 0),
        ({"flux": np.nan}, 0),
        ({"flux_error": 0.0}, 0),
        ({"good": False}, 0),
        ({"time": np.nan}, 0),
        ({"target": "another"}, 0),
    ],
    ids=lambda value: str(value),
)
def test_a_pair_is_two_good_visits_of_a_target_in_two_passes_at_one_wavelength(given, pairs):
    table = measure_error_scale(two_passes(200, **given))
    assert table["pairs"].sum() == pairs
    assert set(table["detector"]) == ({3, 4} if "detector" in given else {3})


def test_each_visit_is_in_one_pair_at_most_and_the_order_of_the_tables_does_not_matter():
    tables = [visits(300, seed=day, time=61000.0 + day, exposure=day) for day in range(5)]
    table = measure_error_scale(tables, PairSettings(edges=()))
    # Of five visits two pairs can be made.
    assert table["pairs"].tolist() == [600]
    backwards = measure_error_scale(tables[::-1], PairSettings(edges=()))
    assert repr(Table(table).as_array()) == repr(Table(backwards).as_array())


def test_targets_of_the_same_name_in_two_catalogues_are_two_targets():
    first, second = two_passes(200)
    assert measure_error_scale({"a": [first, second]})["pairs"].sum() == 200
    assert measure_error_scale({"a": [first], "b": [second]})["pairs"].sum() == 0


def test_too_few_pairs_have_no_scale():
    table = measure_error_scale(two_passes(200), PairSettings(fewest=60))
    assert (table["pairs"] > 0).all()
    has_scale = np.isfinite(table["scale"])
    assert has_scale.tolist() == (table["pairs"] >= 60).tolist()
    assert 0 < has_scale.sum() < len(table)
    assert len(measure_error_scale([])) == 0


def test_scaled_errors_are_not_scaled_again():
    with pytest.raises(UserError, match="were scaled before; measure the targets with scaleErrors=False"):
        measure_error_scale(two_passes(200, error_scale_id="x"))


def test_errors_are_multiplied_where_there_is_a_scale():
    table = measure_error_scale(two_passes(8000, 1.3), PairSettings(edges=(5.0, 20.0), fewest=1000))
    table["scale"][1] = np.nan
    values = {"flux": np.array([10.0, 100.0, 3000.0, np.nan]), "flux_error": np.array([10.0, 10.0, 10.0, np.nan])}
    values["aperture_flux_error"] = np.array([20.0, 20.0, 20.0, np.nan])
    ErrorScale(table).apply(values, 3, "id")
    low, _, high = table["scale"]
    np.testing.assert_allclose(values["flux_error"], [10 * low, 10.0, 10 * high, np.nan])
    np.testing.assert_allclose(values["error_scale"], [low, np.nan, high, np.nan])
    np.testing.assert_allclose(values["aperture_flux_error"][:3], 20 * table["aperture_scale"])
    assert values["error_scale_id"].tolist() == ["id", "id", "id", ""]
    before = values["flux_error"].copy()
    ErrorScale(table).apply(values, 4, "id")
    np.testing.assert_array_equal(values["flux_error"], before)
    assert set(values["error_scale_id"]) == {""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.remove_column("scale"), "has no column scale"),
        (lambda table: table.replace_column("scale", [0.0] * 4), "has a scale that is not positive"),
        (lambda table: table.replace_column("aperture_scale", [-1.0] * 4), "has a aperture_scale that is not"),
    ],
)
def test_a_table_of_another_form_is_refused(change, message):
    table = measure_error_scale(two_passes(2000))
    change(table)
    with pytest.raises(ProductError, match=message):
        ErrorScale(table)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Return six visits of 8,000 isolated sources on the same pixels, and the true solid angles."""
    rng = np.random.default_rng(7)
    columns, rows = np.meshgrid(*[np.arange(20, SIDE - 15, STEP)] * 2)
    x, y = (plane.ravel() + rng.uniform(-0.5, 0.5, plane.size) for plane in (columns, rows))
    flux = 10 ** rng.uniform(1.5, 5, len(x))
    folder = tmp_path_factory.mktemp("visits")
    return [simulate_sources(folder, "qr3", 4, x, y, flux, seed) for seed in range(3, 9)]


def change_noise(image, kind, rng):
    """Return a copy of an image whose variance is wrong, or whose noise is correlated."""
    other = type(image)(image.image.copy())
    if kind != "correlated":
        other.image.variance[:] *= kind
        return other
    noise = gaussian_filter(rng.standard_normal(image.image.shape), BLUR)
    noise *= np.sqrt(np.nan_to_num(image.image.variance)) / noise.std()
    # The variance of each pixel is right; that of sums of pixels is not.
    other.image.data[:] += noise
    other.image.variance[:] *= 2
    return other


def width(pulls):
    return 1.4826 * np.median(np.abs(pulls - np.median(pulls)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [1.0, 1.2, 1 / 1.2, "correlated"])
def test_scaled_errors_make_the_pulls_standard(frames, kind):
    """The scale of four visits makes the pulls of two others standard, in each bin of flux over error."""
    rng = np.random.default_rng(8)
    visited, others = [], []
    for day, (image, catalogue, truth) in enumerate(frames):
        calibrations = Calibrations(solid_angles=Calibration("s", true_solid_angles(truth)))
        image = change_noise(image, kind, rng)
        table = Table(measure_targets(image, catalogue, {"detector": 4, "exposure": day}, calibrations))
        if day < 4:
            table["time"] += day
            visited.append(table)
        else:
            others.append((image, catalogue, calibrations, table))
    scale = measure_error_scale(visited, PairSettings(edges=(30.0,)))
    assert (scale["pairs"] > 6000).all()
    pulls = []
    for image, catalogue, calibrations, plain in others:
        calibrations = dataclasses.replace(calibrations, error_scale=Calibration("e", ErrorScale(scale)))
        scaled = Table(measure_targets(image, catalogue, {"detector": 4}, calibrations))
        assert set(scaled["error_scale_id"][scaled["reason"] == ""]) == {"e"}
        true = np.asarray(catalogue["flux"])[[int(name[1:]) for name in plain["target"]]]
        columns = [
            (table[name] - true) / table[f"{name}_error"]
            for name in ("flux", "aperture_flux")
            for table in (plain, scaled)
        ]
        # A choice by the measured flux would cut the noise off.
        pulls.append([true / plain["flux_error"], *columns])
    snr, *columns = np.concatenate(pulls, axis=1)
    for low, high in zip(scale["snr_low"], scale["snr_high"], strict=True):
        chosen = (snr >= low) & (snr < high)
        before, after, aperture_before, aperture_after = (width(pull[chosen]) for pull in columns)
        assert after == pytest.approx(1, abs=0.05)
        assert aperture_after == pytest.approx(1, abs=0.05)
        if kind != 1.0:
            assert abs(before - 1) > 0.05
            assert abs(aperture_before - 1) > 0.05
