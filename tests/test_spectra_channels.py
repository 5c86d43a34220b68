"""Means in the channels of the mission."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable.ucd import parse_ucd
from astropy.table import QTable

import spherex
from spherex.detectors import DETECTORS, FRAME_SHAPE
from spherex.spectra import CHANNEL_COLUMNS, Channels, combine_channels, design_channels, read_channels
from spherex.spectra.channels import LIMIT_MARGIN

from .spectra_helpers import measurements

CENTRES = np.array([0.728, 0.744, 0.760])
THREE = Channels(
    np.array([1, 1, 1]), np.array([1, 2, 3]), CENTRES, "test", limits=np.stack([CENTRES - 0.008, CENTRES + 0.008], 1)
)
GENUINE = Path(__file__).parents[2] / "shared/samples/calibrations/spectral_channels_spx_cal-sch-v1-2026-106.fits"


def visits(number: int = 2, **given: object) -> QTable:
    """Return measurements of one channel."""
    return measurements(number, **({"wavelength": 0.744, "detector": 1, "bandwidth": 0.02} | given))


@pytest.mark.parametrize("column", CHANNEL_COLUMNS, ids=lambda column: column.name)
def test_ucds_are_in_the_vocabulary_of_the_ivoa(column):
    assert parse_ucd(column.ucd, check_controlled_vocabulary=True)


def test_the_mean_of_two_visits():
    # 10 +- 2 and 14 +- 1 make 13.2 +- 0.894; chi2 is (3.2 / 2)**2 + 0.8**2.
    (row,) = combine_channels(visits(flux=[10, 14], flux_error=[2, 1], wavelength=[0.743, 0.747]), THREE)
    assert row["flux"].value == pytest.approx(13.2, rel=1e-14)
    assert row["flux_error_formal"].value == pytest.approx(np.sqrt(0.8), rel=1e-14)
    assert round(row["flux_error_formal"].value, 3) == 0.894
    assert row["chi2"] == pytest.approx(3.2, rel=1e-14)
    # Chance makes chi2 of 3.2 or more in 7 % of all cases: no reason to doubt the errors.
    assert row["flux_error"] == row["flux_error_formal"]
    assert (row["visits"], row["dof"], row["good"], row["quality"]) == (2, 1, True, 0)
    assert row["channel_wavelength"].value == 0.744
    assert row["wavelength"].value == pytest.approx((0.743 / 4 + 0.747) / 1.25, rel=1e-14)
    assert row["wavelength_spread"].value == pytest.approx(0.002, rel=1e-12)


def test_the_formal_error_stands_where_visits_agree():
    (row,) = combine_channels(visits(4, flux=[10.0, 10.1, 9.9, 10], flux_error=2), THREE)
    assert row["flux_error"] == row["flux_error_formal"]
    assert row["flux_error"].value == pytest.approx(1.0, rel=1e-14)
    (row,) = combine_channels(visits(1, flux=-3, flux_error=2), THREE)
    assert (row["flux"].value, row["flux_error"].value, row["dof"], row["good"]) == (-3.0, 2.0, 0, True)


@pytest.mark.parametrize(
    ("flux", "error", "student", "names"),
    [
        # 68 % intervals: half of the distance of two visits times 1.837, the standard error of three times 1.321.
        ([1000, 1030], 10, 15 * 1.837, "SCATTER"),
        ([10, 22], 4, 6 * 1.837, "SCATTER"),
        ([1000, 1020, 1050], 10, np.std([1000, 1020, 1050], ddof=1) / np.sqrt(3) * 1.321, "SCATTER"),
        ([1000, 3000], 10, 1000 * 1.837, "SCATTER VISITS_DISAGREE"),
        # Ten standard deviations, but 7 % of the flux.
        ([1000, 1100], 7, 50 * 1.837, "SCATTER"),
    ],
)
def test_the_error_follows_the_scatter_where_visits_contradict_each_other(flux, error, student, names):
    (row,) = combine_channels(visits(len(flux), flux=flux, flux_error=error), THREE)
    assert row["flux_error"].value == pytest.approx(student, rel=1e-3)
    assert row["quality_names"] == names
    assert row["good"] == ("VISITS_DISAGREE" not in names)


def test_the_means_of_one_visit_of_a_variable_source_are_good():
    wavelength, time = np.tile([0.728, 0.744, 0.760], 3), np.repeat([61241.0, 61272.0, 61303.0], 3)
    flux = np.repeat([1000.0, 1200.0, 750.0], 3)
    table = measurements(9, wavelength=wavelength, time=time, flux=flux, flux_error=10.0, detector=1)
    assert not combine_channels(table, THREE)["good"].any()
    means = combine_channels(table[abs(table["time"].value - 61272) < 1], THREE)
    assert means["good"].all()
    assert means["flux"].value.tolist() == [1200.0] * 3


def test_a_steep_spectrum_is_not_scatter():
    # 20 % from a channel to the next, as a star of 1080 K at 1.15 um.
    wavelength = np.array([0.722, 0.734, 0.738, 0.750, 0.754, 0.766])
    table = visits(6, wavelength=wavelength, flux=1000 + 12500 * (wavelength - 0.744), flux_error=5)
    means = combine_channels(table, THREE)
    assert means["slope"].unit == "uJy / um"
    assert means["slope"].value == pytest.approx([12500] * 3)
    assert np.asarray(means["chi2"]) == pytest.approx(np.zeros(3), abs=1e-18)
    assert means["good"].all()
    assert (means["flux_error"] == means["flux_error_formal"]).all()
    assert means["flux"].value == pytest.approx(1000 + 12500 * (means["wavelength"].value - 0.744))
    # What varies at one wavelength is not explained by a slope.
    table["flux"][3] *= 1.5
    table["wavelength"][3] = table["wavelength"][2]
    assert combine_channels(table, THREE)["quality_names"][1] == "SCATTER VISITS_DISAGREE"


def test_a_slope_needs_a_neighbour_in_the_detector_and_significance():
    two = {"wavelength": [0.728, 0.744], "flux": [1000, 1200], "flux_error": 40}
    assert combine_channels(visits(2, **two), THREE)["slope"].value == pytest.approx([200 / 0.016] * 2)
    assert combine_channels(visits(2, **two | {"flux_error": 48}), THREE)["slope"].value.tolist() == [0, 0]
    assert combine_channels(visits(2, **two | {"wavelength": [0.728, 0.760]}), THREE)["slope"].value.tolist() == [0, 0]
    both = Channels(np.array([1, 2]), np.array([1, 2]), CENTRES[:2], "test", limits=THREE.limits[:2])
    assert combine_channels(visits(2, **two, detector=[1, 2]), both)["slope"].value.tolist() == [0, 0]
    # A mean without measurements does not make a slope, and does not have one.
    means = combine_channels(visits(2, **two, good=[True, False]), THREE)
    assert means["slope"].value == pytest.approx([0, np.nan], nan_ok=True)


def test_visits_at_the_common_limit_of_two_channels_do_not_make_a_slope():
    table = visits(2, wavelength=[0.7359, 0.7361], flux=[1000, 1200], flux_error=10)
    assert combine_channels(table, THREE)["slope"].value.tolist() == [0, 0]


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize(("factor", "least"), [(1, 0.66), (5, 0.63), (20, 0.66)])
def test_changes_of_a_variable_source_are_not_a_slope(number, factor, least):
    design, rng = design_channels(), np.random.default_rng(3)
    detector = np.repeat(design.detector, number)
    low, high = np.repeat(design.limits, number, axis=0).T
    within, slopes = [], []
    for _ in range(10):
        given = {"wavelength": rng.uniform(low, high), "detector": detector, "flux_error": 10}
        means = combine_channels(visits(len(low), **given, flux=rng.normal(1000, 10 * factor, len(low))), design)
        within.append(np.abs(means["flux"].value - 1000) < means["flux_error"].value)
        slopes.append(means["slope"].value != 0)
    assert least < np.mean(within) < 0.73
    assert np.mean(slopes) < 0.03


@pytest.mark.parametrize("temperature", [700, 1081, 5800])
@pytest.mark.parametrize("noise", [0.2, 0.02, 0.005])
def test_errors_of_means_are_honest_for_stars_of_any_colour(temperature, noise):
    design, rng = design_channels(), np.random.default_rng(11)
    low, high = np.repeat(design.limits, 3, axis=0).T
    pulls = []
    for _ in range(5):
        wavelength = rng.uniform(low, high)
        # B_nu; h c / k is 14387.77 um K.
        flux = wavelength**-3 / np.expm1(14387.77 / wavelength / temperature)
        error = noise * np.maximum(flux, 1e-3 * flux.max())
        given = {"wavelength": wavelength, "detector": np.repeat(design.detector, 3), "flux_error": error}
        means = combine_channels(visits(len(flux), **given, flux=rng.normal(flux, error)), design)
        assert means["good"].all()
        middle = means["wavelength"].value
        truth = middle**-3 / np.expm1(14387.77 / middle / temperature)
        pulls.append((means["flux"].value - truth) / means["flux_error"].value)
    assert np.std(pulls) == pytest.approx(1, abs=0.1)
    assert abs(np.mean(pulls)) < 0.2


@pytest.mark.parametrize("number", [2, 3, 5, 20])
@pytest.mark.parametrize(("factor", "coverage"), [(1, (0.66, 0.73)), (2, (0.55, 0.71)), (5, (0.62, 0.71))])
def test_errors_of_means_are_honest_for_few_visits(number, factor, coverage):
    channels, rng = 1000, np.random.default_rng(7)
    middle = np.arange(1.0, channels + 1)
    many = Channels(
        np.ones(channels, int), np.arange(channels), middle, "test", limits=np.stack([middle - 0.5, middle + 0.5], 1)
    )
    flux = rng.normal(100, factor, number * channels)
    means = combine_channels(visits(len(flux), flux=flux, flux_error=1, wavelength=np.repeat(middle, number)), many)
    pull = (means["flux"].value - 100) / means["flux_error"].value
    assert coverage[0] < np.mean(np.abs(pull) < 1) < coverage[1]
    if factor == 1:
        assert pull.std() == pytest.approx(1, abs=0.05)
        assert np.mean(means["good"]) == 1


def test_means_have_the_quality_of_their_members():
    given = {"chi2": [150, 900, 450, np.nan], "dof": [100, 300, 100, -1], "quality": [2, 0, 32, 256], "flux": 10}
    (row,) = combine_channels(visits(4, **given, good=[True, True, False, True]), THREE)
    assert (row["fit_chi2"], row["quality_names"], row["good"]) == (2.25, "HIT BLENDED", True)
    # Nothing is left: the bits say why.
    (row,) = combine_channels(visits(4, **given, good=False), THREE)
    assert np.isnan(row["flux"])
    assert np.isnan(row["fit_chi2"])
    assert (row["quality_names"], row["good"]) == ("NO_FLUX HIT MISFIT BLENDED", False)


def test_the_order_of_exposures_does_not_matter_to_a_bit():
    rng = np.random.default_rng(5)
    table = measurements(500, flux_error=rng.uniform(1, 20, 500))
    first = combine_channels(table, design_channels())
    second = combine_channels(table[rng.permutation(500)], design_channels())
    for name in first.colnames:
        assert np.asarray(first[name]).tobytes() == np.asarray(second[name]).tobytes(), name


def test_the_true_spectrum_comes_out():
    table = measurements(4000, flux=np.random.default_rng(2).normal(50, 12, 4000))
    channels = combine_channels(table, design_channels())
    assert len(channels) == 102
    assert channels["visits"].sum() + channels.meta["without_channel"] == 4000
    assert channels.meta["without_channel"] < 200
    pull = (channels["flux"].value - 50) / channels["flux_error_formal"].value
    assert abs(pull.mean()) < 4 / np.sqrt(102)
    assert pull.std() == pytest.approx(1, abs=4 / np.sqrt(2 * 102))


def test_detectors_are_never_mixed():
    # Detectors 2 and 3 overlap at 1.64 um.
    channels = combine_channels(visits(4, wavelength=1.64, detector=[2, 3, 2, 3], flux=[1, 5, 1, 5]), design_channels())
    assert channels["detector"].tolist() == [2, 3]
    np.testing.assert_allclose(channels["flux"].value, [1, 5], rtol=1e-14)


def test_only_good_measurements_are_used_and_the_others_counted():
    table = visits(
        4,
        flux=[10, np.nan, 10, 99],
        flux_error=[1, np.nan, 1, 1],
        reason=["", "failed", "", ""],
        good=[True, False, True, False],
        flags=[1, 2, 4, 8],
        flag_names=["A", "B", "C A", "D"],
    )
    channels = combine_channels(table, THREE)
    (row,) = channels
    assert (row["flux"].value, row["visits"], row["left_out"]) == (10, 2, 2)
    assert (row["flags"], row["flag_names"]) == (5, "A C")
    assert channels.meta["left_out"] == 2


def test_a_channel_of_which_nothing_could_be_used_is_nan_at_its_nominal_wavelength():
    (row,) = combine_channels(visits(2, reason="failed", wavelength=0.746), THREE)
    assert np.isnan(row["flux"])
    assert row["wavelength"].value == 0.744
    assert (row["visits"], row["left_out"], row["flags"]) == (0, 2, 0)


@pytest.mark.parametrize("version", ["6.5.6", "6.4+psffix1", "6.2.0.post8", "what"])
def test_uncorrected_older_gains_are_not_averaged_with_newer_ones(version):
    given = {"version": [version, version, "7.0.5"], "flux": [1, 1, 5], "flux_error": 1}
    channels = combine_channels(visits(3, **given), THREE)
    (row,) = channels
    assert (row["flux"].value, row["visits"], row["left_out"], row["left_out_older"]) == (5, 1, 0, 2)
    assert row["version"] == "7.0.5"
    assert channels.meta["left_out_older"] == 2
    # Corrected ones may: by another factor than 1, or by a calibration that happens to say 1.
    for correction in ({"gain_correction": [0.97, 1.01, 1]}, {"flux_correction_id": ["id", "id", ""]}):
        (row,) = combine_channels(visits(3, **given, **correction), THREE)
        assert (row["visits"], row["left_out_older"]) == (3, 0)
        assert row["version"].split() == sorted([version, "7.0.5"])
    # Where there are no newer ones, the older ones are better than nothing.
    (row,) = combine_channels(visits(2, version=version, flux=[1, 1], flux_error=1), THREE)
    assert (row["visits"], row["left_out_older"]) == (2, 0)
    # Newer ones that cannot be used do not push them out.
    (row,) = combine_channels(visits(3, **given, reason=["", "", "failed"]), THREE)
    assert (row["flux"].value, row["visits"], row["left_out_older"]) == (1, 2, 0)


def test_a_detector_has_17_channels_without_gaps():
    channels = design_channels()
    assert len(channels.wavelength) == 102
    for detector in DETECTORS:
        here = channels.detector == detector.id
        assert channels.number[here].tolist() == list(range(1, 18))
        low, high = channels.limits[here].T
        np.testing.assert_array_equal(low[1:], high[:-1])
        assert np.all((low < channels.wavelength[here]) & (channels.wavelength[here] < high))
        assert abs(low[0] - detector.lmin) < 0.04
        assert abs(high[-1] - detector.lmax) < 0.04


@pytest.mark.parametrize(
    ("detector", "wavelength", "number"),
    [
        (1, 0.742, None),
        (1, 0.75, 1),
        (2, 1.3, 8),
        (3, 2.0, 9),
        (4, 3.5, 14),
        (5, 4.0, 6),
        (6, 4.999, 17),
        (6, 5.004, None),
    ],
)
def test_wavelengths_have_the_channel_of_the_mission(detector, wavelength, number):
    channels = design_channels()
    (place,) = channels.of([detector], [wavelength], [0.0], [0.0])
    assert (None if place < 0 else channels.number[place]) == number


@pytest.fixture
def genuine():
    if not GENUINE.exists():
        pytest.skip(f"no genuine calibration beside the clone ({'/'.join(GENUINE.parts[-4:])})")
    with fits.open(GENUINE) as hdus:
        yield hdus


def test_the_limits_are_those_of_the_genuine_table(genuine):
    channels, table = design_channels(), genuine["SPECTRAL_CHANNELS"].data
    for name, values in {
        "DETECTOR": channels.detector,
        "SUBCHAN": channels.number,
        "WAVELENGTH": channels.wavelength,
    }.items():
        np.testing.assert_allclose(table[name], values, atol=1e-6)
    low, high = np.array([table[name].astype(float).reshape(6, 17) for name in ("WL_MIN", "WL_MAX")])
    between = (high[:, :-1] + low[:, 1:]) / 2
    expected = np.concatenate([low[:, :1], between, high[:, -1:]], axis=1)
    limits = channels.limits.reshape(6, 17, 2)
    np.testing.assert_allclose(limits[:, :, 0], expected[:, :-1], atol=1e-5)
    np.testing.assert_allclose(limits[:, :, 1], expected[:, 1:], atol=1e-5)


def test_neighbours_of_the_genuine_table_overlap_by_less_than_the_margin(genuine):
    low, high = np.array([genuine["SPECTRAL_CHANNELS"].data[name].reshape(6, 17) for name in ("WL_MIN", "WL_MAX")])
    width = np.diff(design_channels().limits.reshape(6, 17, 2))[:, :, 0]
    share = (high[:, :-1] - low[:, 1:]) / 2 / np.minimum(width[:, :-1], width[:, 1:])
    assert 0.9 * LIMIT_MARGIN < share.max() < LIMIT_MARGIN


def test_the_channels_agree_with_the_genuine_map(genuine, archive_samples):
    channels, pixels = design_channels(), genuine["CHANNEL_MAP"].data
    for sample in {path.name.split("_spx")[0][-1]: path for path in archive_samples}.values():
        image = spherex.read(sample)
        y, x = np.mgrid[0:2040:60, 0:2040:60].reshape(2, -1)
        wavelength = image.wavelength.at(x - image.bbox.x0, y - image.bbox.y0)[0].to_value("um")
        detector = np.full(len(x), int(sample.name.split("_spx")[0][-1]))
        place = channels.of(detector, wavelength, x, y)
        has_channel = (pixels[y, x] > 0) & (pixels[y, x] < 18)
        agrees = channels.number[place] == pixels[y, x]
        assert np.mean(agrees[has_channel & (place >= 0)]) > 0.94, sample.name


def product(**change: object) -> fits.HDUList:
    pixels = np.zeros(FRAME_SHAPE, np.uint8)
    pixels[1:4, :6] = 9
    pixels[3, :6] = 4
    columns = {"DETECTOR": [1, 1, 2], "SUBCHAN": [4, 9, 9], "WAVELENGTH": [0.75, 0.9, 1.3], "pixels": pixels} | change
    pixels = columns.pop("pixels")
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name, "E" if name == "WAVELENGTH" else "J", array=array) for name, array in columns.items()],
        name="SPECTRAL_CHANNELS",
    )
    return fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, name="CHANNEL_MAP"), table])


def test_the_product_of_the_archive_tells_channels_by_pixel():
    channels = read_channels(product(), "spectral_channels 1")
    x, y = np.array([0, 5.4, 2, 2, 0, -0.6, np.nan, 2]), np.array([1.5, 3.4, 1, 1, 0, 1, 1, 3])
    place = channels.of([1, 1, 1, 2, 1, 1, 1, 2], np.full(8, 4.0), x, y)
    # No channel: pixel without one, off the frame on two sides, of a channel that the detector has not.
    assert place.tolist() == [1, 0, 1, 2, -1, -1, -1, -1]
    table = visits(3, x=[0.0, 2.0, 2.0], y=[0.0, 1.0, 1.0], flux=[1, 2, 2])
    combined = combine_channels(table, channels)
    assert combined["channel"].tolist() == [9]
    assert combined.meta["without_channel"] == 1
    assert combined.meta["channels"] == "spectral_channels 1"


def test_channels_need_pixels_or_limits():
    with pytest.raises(ValueError, match="the channels of test need the argument pixels or limits"):
        Channels(np.array([1]), np.array([1]), np.array([1.0]), "test")


@pytest.mark.parametrize("lost", ["SPECTRAL_CHANNELS", "CHANNEL_MAP"])
def test_another_product_is_refused(lost):
    hdus = product()
    del hdus[lost]
    with pytest.raises(ValueError, match="spectral_channels 1 is not a table of channels"):
        read_channels(hdus, "spectral_channels 1")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pixels": np.ones((100, 2040), np.uint8)}, r"its CHANNEL_MAP has shape \(100, 2040\)"),
        ({"pixels": np.full(FRAME_SHAPE, np.nan, np.float32)}, "not numbers"),
        ({"WAVELENGTH": [0.75, np.nan, 1.3]}, "not numbers"),
        ({"WAVELENGTH": [0.75, 0.0, 1.3]}, "not numbers"),
        ({"SUBCHAN": [9, 9, 9]}, "it contains a channel of a detector twice"),
        ({"DETECTOR": [1, 1, 7]}, "it names detectors that do not exist: 7"),
    ],
)
def test_numbers_that_cannot_be_right_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        read_channels(product(**change), "spectral_channels 1")


def test_a_bandwidth_that_is_unknown_has_no_weight():
    (row,) = combine_channels(visits(3, bandwidth=[0.03, np.nan, 0.03]), THREE)
    assert row["bandwidth"].value == pytest.approx(0.03)
    (row,) = combine_channels(visits(2, bandwidth=np.nan), THREE)
    assert np.isnan(row["bandwidth"])
    assert np.isfinite(row["flux"])


def test_the_order_does_not_matter_without_ids_of_images():
    table = visits(40, flux=np.random.default_rng(5).normal(50, 3, 40), image_id="", exposure=-1)
    table["wavelength"] += np.linspace(0, 1e-4, 40) * table["wavelength"].unit
    shuffled = table[np.random.default_rng(6).permutation(40)]
    for name in ("flux", "flux_error", "wavelength", "chi2"):
        one, other = (np.asarray(combine_channels(rows, THREE)[name]).tolist() for rows in (table, shuffled))
        assert one == other


def test_no_measurement_makes_no_channel():
    assert len(combine_channels(measurements(0), design_channels())) == 0
    assert len(combine_channels(visits(2, detector=9), design_channels())) == 0


@pytest.mark.parametrize("error", [0.0, -1.0, np.nan, np.inf])
def test_a_flux_without_an_error_has_no_weight(error):
    (row,) = combine_channels(visits(2, flux=[10, 99], flux_error=[1, error]), THREE)
    assert (row["flux"].value, row["visits"], row["left_out"], row["good"]) == (10, 1, 1, True)
    (row,) = combine_channels(visits(1, flux=10, flux_error=error), THREE)
    assert np.isnan(row["flux"])
    assert not row["good"]
