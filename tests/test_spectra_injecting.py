"""Injection of sources into images: units, noise, random numbers, and what is recovered."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from astropy import units
from astropy.table import Table, vstack

from spherex.errors import CatalogError, ProductError
from spherex.image import Box, SPHERExImage
from spherex.photometry import Profiles
from spherex.spectra import (
    MICROJANSKY,
    Calibration,
    Calibrations,
    InjectSettings,
    compare_with_truth,
    inject_sources,
    measure_targets,
)
from spherex.spectra.injecting import photon_slope
from spherex_simulator.level2 import simulate_level2

from .measuring_helpers import settings_of

SIDE = 96
IDS = {"exposure": 7, "detector": 1}


@pytest.fixture(scope="module")
def image() -> SPHERExImage:
    return simulate_level2(settings_of("qr3", side=SIDE), 0, 1).image


def places(image: SPHERExImage, x, y, **columns) -> Table:
    """Return a catalogue of positions, in pixels of the image."""
    ra, dec = image.wcs.all_pix2world(x, y, 0)
    return Table({"name": [f"t{number}" for number in range(len(ra))], "ra": ra, "dec": dec, **columns})


def of_column(name: str = "flux", **settings) -> InjectSettings:
    return InjectSettings(flux_column=name, **settings)


def test_the_flux_is_in_the_pixels_and_the_noise_in_the_variance(image):
    """With many draws, the mean of a pixel is its light, and the scatter is what the variance increased by."""
    flux, number = 30_000.0, 150
    targets = places(image, [40.3], [50.8], flux=[flux])
    psf = Calibrations(psf=Calibration("p", Profiles(image.psf_model)))
    drawn = [inject_sources(image, targets, IDS, psf, of_column(seed=seed))[0] for seed in range(number)]
    near = slice(46, 56), slice(35, 46)
    light, variance = (
        np.array([getattr(one, name)[near] - getattr(image, name)[near] for one in drawn], float)
        for name in ("data", "variance")
    )
    angle = image.header["OMEGA_MEDIAN"]
    assert light.sum(axis=(1, 2)).mean() * angle * MICROJANSKY == pytest.approx(flux, rel=0.01)
    bright = light.mean(axis=0) > 0.02 * light.mean(axis=0).max()
    ratio = light.var(axis=0, ddof=1)[bright] / variance.mean(axis=0)[bright]
    assert bright.sum() > 5
    assert ratio.mean() == pytest.approx(1, abs=0.12)
    # As in the archive, the variance follows the measured rate, noise included.
    slope = variance[:, bright] / light[:, bright]
    assert slope == pytest.approx(photon_slope(image.data, image.variance), rel=0.02)


def test_the_slope_of_the_variance_is_that_of_the_simulated_detector(image):
    rng = np.random.default_rng(1)
    offset = 1e-4 * (1 + np.arange(60) / 60 + np.zeros((50, 1))) + rng.normal(0, 1e-6, (50, 60))
    rate = rng.normal(0.05, 0.01, (50, 60))
    rate[10, 10], rate[20, 20] = 1e4, np.nan
    variance = offset + 2.5e-3 * rate
    variance[30, 30] = 7.0
    variance[10, 10] = 1e-4
    assert photon_slope(rate, variance) == pytest.approx(2.5e-3, rel=0.01)
    assert np.isnan(photon_slope(rate[:5, :5], variance[:5, :5]))
    # The photons of a rate r (electron/s) have the variance r / 95.9 s in the simulated detector.
    assert photon_slope(image.data, image.variance) == pytest.approx(2.4009e-3, rel=0.02)


def test_solid_angles_gains_and_the_unit_divide_the_light(image):
    old = simulate_level2(settings_of("qr2", side=SIDE), 0, 1).image
    targets = places(old, [40.3], [50.8], flux=[5000.0])
    frame = np.ones((2040, 2040))
    calibrations = Calibrations(solid_angles=Calibration("s", 40.0 * frame), gains=Calibration("g", 0.8 * frame))

    def light(result):
        return np.nansum(result[0].data - old.data, dtype=float)

    # A flux as bright as this has little noise.
    targets["flux"] = 1e9
    plain, other = (inject_sources(old, targets, IDS, given, of_column()) for given in (None, calibrations))
    assert light(plain) / light(other) == pytest.approx(0.8 * 40 / old.header["OMEGA_MEDIAN"], rel=1e-3)
    truth = other[1][0]
    assert (truth["solid_angle"], truth["gain_correction"]) == (40.0, 0.8)
    assert (truth["solid_angle_id"], truth["flux_correction_id"], truth["psf_id"]) == ("s", "g", "")
    history = list(other[0].header["HISTORY"])
    assert "Injected with solid_angles s" in history
    assert other[0].calibrations == old.calibrations
    kilo = SPHERExImage(old, unit="kJy / sr", variance=old.variance * 1e6)
    kilo.data = old.data * 1e3
    targets["flux"] = targets["flux"].astype(float) * units.uJy.to("mJy")
    targets["flux"].unit = "mJy"
    smaller = inject_sources(kilo, targets, IDS, settings=of_column())
    assert np.nansum(smaller[0].data - kilo.data, dtype=float) == pytest.approx(1e3 * light(plain), rel=1e-3)
    assert smaller[1]["photon_slope"][0] == pytest.approx(plain[1]["photon_slope"][0], rel=1e-4)
    # Images of version 7 and later need no gains.
    assert inject_sources(image, targets, IDS, calibrations, of_column())[1]["gain_correction"][0] == 1


def test_random_numbers_follow_from_image_and_name_not_from_the_order(image):
    rng = np.random.default_rng(3)
    targets = places(image, *rng.uniform(0, SIDE - 1, (2, 30)))
    first, truth = inject_sources(image, targets, IDS)
    again, same = inject_sources(image, targets[rng.permutation(30)], IDS)
    for name in ("data", "variance"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert truth["target"].tolist() == same["target"].tolist() == sorted(targets["name"])
    np.testing.assert_array_equal(truth["flux"], same["flux"])
    assert (truth["flux"] >= 100).all()
    assert (truth["flux"] <= 1e5).all()
    fewer = inject_sources(image, targets[:4], IDS)[1]
    assert (
        dict(zip(fewer["target"], fewer["flux"], strict=True)).items()
        <= dict(zip(truth["target"], truth["flux"], strict=True)).items()
    )
    for ids, seed in (({**IDS, "exposure": 8}, 0), ({**IDS, "detector": 2}, 0), (IDS, 1)):
        assert (
            inject_sources(image, targets, ids, settings=InjectSettings(seed=seed))[1]["flux"] != truth["flux"]
        ).all()


def test_a_cutout_has_the_same_light_and_noise_as_the_frame(image):
    targets = places(image, [20.4, 60.2], [29.6, 62.7], flux=[5000.0, 800.0])
    # The edge of the cutout goes through the first source, and the second one is beside it.
    box = Box(0, 60, 30, 96)
    whole, _ = inject_sources(image, targets, IDS, settings=of_column())
    part, truth = inject_sources(image[box.slices], targets, IDS, settings=of_column())
    assert truth["target"].tolist() == ["t0"]
    assert 0.3 < truth["fraction"][0] < 0.9
    # The slope of the variance is that of the pixels of the cutout.
    scale = truth["photon_slope"][0] / photon_slope(image.data, image.variance)
    assert scale == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(part.data, whole.data[box.slices], atol=2e-3)
    assert np.nanmax(np.abs(part.data - image.data[box.slices])[:, -3:]) > 1e-3


def test_the_original_is_untouched_and_flags_stay(image):
    before = copy.deepcopy((image.data, image.variance, image.flags, image.header.tostring()))
    injected, _ = inject_sources(image, places(image, [40.0], [40.0]), IDS)
    for value, old in zip((image.data, image.variance, image.flags), before[:3], strict=True):
        np.testing.assert_array_equal(value, old)
    assert image.header.tostring() == before[3]
    np.testing.assert_array_equal(injected.flags, image.flags)
    for name in ("data", "variance", "flags"):
        assert not np.shares_memory(getattr(injected, name), getattr(image, name))
        assert getattr(injected, name).dtype == getattr(image, name).dtype
    assert injected.version == image.version
    assert list(injected.planes) == list(image.planes)
    assert "Injected 1 sources" in str(injected.header["HISTORY"])
    np.testing.assert_array_equal(np.isnan(injected.data), np.isnan(image.data))


def test_a_catalogue_without_a_target_on_the_image_adds_nothing(image):
    targets = places(image, [40.0], [40.0])
    targets["dec"] *= -1
    injected, truth = inject_sources(image, targets, IDS)
    assert len(truth) == 0
    np.testing.assert_array_equal(injected.data, image.data)
    np.testing.assert_array_equal(injected.variance, image.variance)


def test_a_target_without_a_flux_has_a_reason_and_no_light(image):
    targets = places(image, [20.0, 40.0, 60.0, 70.0], [40.0] * 4, flux=np.ma.masked_invalid([5.0, np.nan, -3.0, 0.0]))
    _, truth = inject_sources(image, targets, IDS, settings=of_column())
    assert (truth["reason"] == "").tolist() == [True, False, False, False]
    assert truth["reason"][1] == "no positive flux in column flux"
    only, _ = inject_sources(image, targets[:1], IDS, settings=of_column())
    np.testing.assert_array_equal(inject_sources(image, targets, IDS, settings=of_column())[0].data, only.data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: setattr(image, "uncertainty", None), "no variance, from which the photon noise"),
        (lambda image: image.variance.fill(0), "too few positive values"),
        (lambda image: image.variance.fill(np.nan), "too few positive values"),
        (lambda image: image.variance.fill(1.0), "does not grow with its brightness"),
        (lambda image: image.planes.clear(), "no PSF"),
        (lambda image: setattr(image, "wcs", None), "no celestial coordinates"),
    ],
    ids=["no variance", "zeros", "NaN", "constant", "no PSF", "no WCS"],
)
def test_an_image_that_cannot_be_used_is_refused(image, change, message):
    targets = places(image, [40.0], [40.0])
    other = copy.deepcopy(image)
    change(other)
    with pytest.raises(ProductError, match=message):
        inject_sources(other, targets, IDS)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, "no column flux of fluxes; it has name, ra, dec"),
        (["a"], "is not a flux density"),
        ([1.0] * units.m, "is not a flux density"),
    ],
)
def test_a_catalogue_without_fluxes_is_refused(image, column, message):
    targets = places(image, [40.0], [40.0])
    if column is not None:
        targets["flux"] = column
    with pytest.raises(CatalogError, match=message):
        inject_sources(image, targets, IDS, settings=of_column())


def test_the_statistics_of_a_recovery():
    rng = np.random.default_rng(5)
    number, error = 4000, 10.0
    flux = np.repeat([200.0, 1000.0], number // 2)
    base = {
        "target": [f"t{row}" for row in range(number)],
        "exposure": [7] * number,
        "detector": [2] * number,
        "good": [True] * number,
    }
    truth = Table({**base, "flux": flux})
    noise, star = rng.normal(0, error, number), np.where(np.arange(number) % 10 == 0, 5000.0, 0.0)
    original = Table({**base, "flux": noise + star, "flux_error": [error] * number})
    injected = Table({**base, "flux": noise + star + 1.02 * flux, "flux_error": [error] * number})[
        rng.permutation(number)
    ]
    injected = injected[injected["target"] != "t1"]
    injected["good"][injected["target"] == "t2"] = False
    table = compare_with_truth(truth, injected, original, bins_per_decade=1)
    assert table["detector"].tolist() == [2, 2]
    assert table["flux_low"].value.tolist() == pytest.approx([100, 1000])
    assert table["injected"].tolist() == [2000, 2000]
    assert table["recovered"].tolist() == [1998, 2000]
    np.testing.assert_allclose(table["bias"].value, [4, 20], rtol=1e-9)
    np.testing.assert_allclose(table["bias_percent"].value, 2, rtol=1e-9)
    np.testing.assert_allclose(table["bias_sigma"], [0.4, 2.0], rtol=1e-9)
    # Every tenth place has a star.
    assert table["empty"].tolist() == [1798, 1800]
    np.testing.assert_allclose(table["pull_width"], 1, atol=4 * table["pull_width_error"].max())
    with pytest.raises(ValueError, match="two rows of one exposure"):
        compare_with_truth(truth, vstack([injected, injected]), original)


@pytest.mark.slow
@pytest.mark.parametrize(("release", "detector"), [("qr3", 1), pytest.param("qr3", 4, marks=pytest.mark.thorough)])
def test_injected_fluxes_are_recovered_without_bias_among_stars(release, detector):
    """A field with a star in 90 pixels: the stars are in the catalogue, without a flux to inject."""
    side, step = 1020, 24
    settings = dataclasses.replace(settings_of(release, side=side), with_stars=True)
    frame = simulate_level2(settings, 0, detector)
    rng = np.random.default_rng(11)
    x, y = (
        plane.ravel() + rng.uniform(-0.5, 0.5, plane.size) for plane in np.meshgrid(*[np.arange(12, side, step)] * 2)
    )
    stars = Table({name: np.asarray(frame.sources[name]) for name in ("name", "ra", "dec")})
    stars["flux"] = np.ma.masked_all(len(stars))
    assert len(stars) > 10_000
    tables = []
    for exposure in (7, 8):
        ids = {"exposure": exposure, "detector": detector}
        targets = places(frame.image, x, y, flux=np.ma.array(10 ** rng.uniform(2, 5, len(x))))
        targets = vstack([targets, stars])
        injected, truth = inject_sources(frame.image, targets, ids, settings=of_column())
        measured, original = (Table(measure_targets(one, targets, ids)) for one in (injected, frame.image))
        tables.append((truth, measured, original))
    table = compare_with_truth(*(vstack(of_both) for of_both in zip(*tables, strict=True)), bins_per_decade=1)
    assert (table["recovered"] > 1000).all()
    assert (np.abs(table["bias_sigma"]) < 0.1).all()
    percent, error = (table[name].value for name in ("bias_percent", "bias_percent_error"))
    # For the faintest, 0.5 % is about what 1,000 sources can show.
    assert (np.abs(percent) < np.where(table["flux_low"].value < 1000, 0.5 + 2 * error, 0.5)).all()
    # The noise of the image is the same in both exposures.
    width_error = table["pull_width_error"] * np.sqrt(2)
    assert (np.abs(table["pull_width"] - 1) < 0.05 + 2 * width_error).all()


def test_nothing_is_injected_where_the_gain_is_unknown():
    image = simulate_level2(settings_of("qr2", side=SIDE), 0, 1).image
    targets = places(image, [20.3, 60.1], [30.2, 70.4], flux=[3e4, 3e4])
    gains = np.full((2040, 2040), 0.9)
    gains[image.bbox.y0 + 25 : image.bbox.y0 + 40] = np.nan
    calibrations = Calibrations(gains=Calibration("g", gains))
    injected, truth = inject_sources(image, targets, IDS, calibrations, of_column())
    assert truth["reason"].tolist() == ["no gain in this row of the calibration l3_flux_corrections", ""]
    changed = np.argwhere(np.isfinite(image.data) & (np.asarray(injected.data) != image.data))
    assert len(changed) > 20
    assert (np.abs(changed - [70.4, 60.1]) < 8).all()
    assert "Injected 1 sources" in str(injected.header["HISTORY"])
