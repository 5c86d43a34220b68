import dataclasses
import functools

import numpy as np
import pytest

from spherex.detectors import DETECTORS
from spherex.image import SPHEREX_FLAGS
from spherex_simulator import Frame, Settings, simulate_frame
from spherex_simulator.detector import (
    CHANNELS,
    EXPOSURE_TIME,
    READ_NOISE,
    SAMPLE_TIME,
    add_cosmic_rays,
    detector_state,
    measure,
)
from spherex_simulator.sky import add_images, stars_around, zodiacal_intensity
from spherex_simulator.telescope import psf_sigma, wavelength_of_row

SETTINGS = Settings(seed=11, side=128)


@functools.cache
def frame(detector: int, exposure: int = 0) -> Frame:
    return simulate_frame(SETTINGS, exposure, detector)


def unflagged(frame: Frame) -> np.ndarray:
    bad = set(SPHEREX_FLAGS) - {"SOURCE"}
    return ~frame.raw.flag_plane.has(*bad)


def test_variance_matches_the_noise() -> None:
    pulls, dark_pulls = [], []
    for detector in range(1, 7):
        one = frame(detector)
        good = unflagged(one)
        pulls.append(((one.raw.data - one.sky.data - one.dark_truth) / np.sqrt(one.raw.variance))[good])
        dark_pull = (one.dark.data - one.dark_truth) / np.sqrt(one.dark.variance)
        dark_pulls.append(dark_pull[one.dark.flags == 0])
    for sample in (*pulls, *dark_pulls):
        assert abs(sample.mean()) < 4 / np.sqrt(sample.size)
        assert sample.std() == pytest.approx(1, abs=0.03)
    assert np.abs(np.concatenate(pulls)).max() < 8


def test_subtracting_the_dark_leaves_the_sky() -> None:
    one = frame(4)
    subtracted = one.raw.subtract(one.dark)
    good = unflagged(one)
    pull = ((subtracted.data - one.sky.data) / np.sqrt(subtracted.variance))[good]
    assert pull.std() == pytest.approx(1, abs=0.03)
    hot = one.raw.flag_plane.has("HOT") & ~one.raw.flag_plane.has("TRANSIENT")
    pull = ((subtracted.data - one.sky.data) / np.sqrt(subtracted.variance))[hot]
    assert hot.sum() > 10
    assert np.abs(pull).max() < 6


def test_measured_ramps_scatter_as_their_variance() -> None:
    rng = np.random.default_rng(1)
    for current in (0.0, 0.3, 40.0, 5000.0, 1e6):
        measured = measure(np.full((200, 200), current), rng)
        assert abs(measured.rate.mean() - current) < 4 * measured.variance[0, 0] ** 0.5 / 200
        assert measured.rate.var() == pytest.approx(measured.variance[0, 0], rel=0.05)
        assert measured.overflow.all() == (current * EXPOSURE_TIME > 100_000)


def test_variance_of_the_limiting_ramps() -> None:
    rng = np.random.default_rng(1)
    # Two readings are left: their difference, without excess of photon noise.
    variance = measure(np.array([[1e6]]), rng).variance[0, 0]
    assert variance == pytest.approx(1e6 / SAMPLE_TIME + 2 * READ_NOISE**2 / SAMPLE_TIME**2)
    # Many readings: the known excess of 6/5.
    variance = measure(np.array([[800.0]]), rng).variance[0, 0]
    assert variance == pytest.approx(1.2 * 800 / EXPOSURE_TIME, rel=0.02)


def test_mean_of_ramps_has_less_variance() -> None:
    rng = np.random.default_rng(1)
    one, many = (measure(np.full((10, 10), 0.2), rng, ramps).variance for ramps in (1, 16))
    np.testing.assert_allclose(one, 16 * many, rtol=1e-5)


def test_images_of_sources_keep_the_flux() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(20, 80, (2, 50))
    sigma = rng.uniform(0.3, 1.0, 50)
    for index in range(50):
        image = np.zeros((100, 100))
        one = slice(index, index + 1)
        add_images(image, x[one], y[one], np.array([7.0]), sigma[one])
        assert image.sum() == pytest.approx(7.0, rel=1e-5)
        rows, columns = np.indices(image.shape)
        # The centroid of pixels is off by this for an undersampled Gaussian.
        bias = np.exp(-2 * np.pi**2 * sigma[index] ** 2) / np.pi + 5e-3
        assert abs((image * columns).sum() / image.sum() - x[index]) < bias
        assert abs((image * rows).sum() / image.sum() - y[index]) < bias


def test_source_at_the_edge_sheds_half_of_its_light_into_the_frame() -> None:
    image = np.zeros((30, 20))
    add_images(image, np.array([-0.5, 19.5]), np.array([15.0, 15.0]), np.ones(2), np.array([0.5, 0.5]))
    assert image[:, :10].sum() == pytest.approx(0.5, rel=1e-4)
    assert image[:, 10:].sum() == pytest.approx(0.5, rel=1e-4)


def test_bright_sources_have_the_rate_of_the_truth_table() -> None:
    checked = 0
    for detector in range(1, 7):
        one = frame(detector)
        table = one.sources
        x, y, rate = (np.asarray(table[name]) for name in ("x", "y", "rate"))
        subtracted = one.raw.subtract(one.dark)
        bad = ~unflagged(one)
        for star in np.flatnonzero((rate > 20) & (np.abs(x - 63.5) < 55) & (np.abs(y - 63.5) < 55)):
            row, column = round(y[star]), round(x[star])
            box = np.s_[row - 4 : row + 5, column - 4 : column + 5]
            near = np.hypot(x - x[star], y - y[star]) < 9
            neighbours = rate[near].sum() - rate[star]
            if neighbours > 0.2 * rate[star] or bad[box].any():
                continue
            total = (subtracted.data[box] - background(one, row)).sum()
            noise = np.sqrt(subtracted.variance[box].sum())
            assert -5 * noise - 0.01 * rate[star] < total - rate[star] < 5 * noise + neighbours
            checked += 1
    assert checked >= 5


def background(frame: Frame, row: int) -> float:
    """Return the zodiacal light of a row, from pixels without light of sources."""
    return float(np.nanmedian(frame.sky.data[row][~frame.raw.flag_plane.has("SOURCE")[row]]))


def test_overlapping_exposures_see_the_same_sources() -> None:
    first, second = frame(1, 0).sources, frame(1, 1).sources
    common = set(first["name"]) & set(second["name"])
    assert len(common) > 0.8 * len(first)
    first.add_index("name")
    second.add_index("name")
    shift = []
    for name in common:
        before, after = first.loc[name], second.loc[name]
        assert (before["ra"], before["dec"]) == (after["ra"], after["dec"])
        shift.append(before["y"] - after["y"])
    assert np.median(shift) == pytest.approx(0.1966 * 3600 / 6.15 * 128 / 2040, rel=0.05)


def test_dichroic_pair_sees_the_same_sources() -> None:
    first, second = frame(3).sources, frame(6).sources
    assert list(first["name"]) == list(second["name"])
    np.testing.assert_allclose(first["x"], second["x"])
    assert np.median(first["rate"] / second["rate"]) > 2


def test_sources_do_not_depend_on_where_one_looks_from() -> None:
    for dec in (89.7, 12.0):
        wide = stars_around(10, dec, 3.0, SETTINGS)
        narrow = stars_around(10, dec - 1, 0.5, SETTINGS)
        near = (np.hypot((narrow.ra - 10) * np.cos(np.radians(narrow.dec)), narrow.dec - dec + 1)) < 0.5
        assert set(narrow[near].names) <= set(wide.names)
        assert len(wide) > len(narrow)


def test_miniature_sees_the_brightest_sources() -> None:
    small = stars_around(10, 20, 2, dataclasses.replace(SETTINGS, side=64))
    large = stars_around(10, 20, 2, SETTINGS)
    assert set(small.names) < set(large.names)
    assert len(large) == pytest.approx(4 * len(small), rel=0.3)


def test_names_of_sources_are_unique() -> None:
    names = frame(2).sources["name"]
    assert len(names) > 100
    assert len(set(names)) == len(names)


def test_zodiacal_light_is_brightest_in_the_ecliptic() -> None:
    wavelength = np.linspace(0.75, 5, 100)
    ecliptic, pole = (zodiacal_intensity(wavelength, latitude) for latitude in (0, 90))
    np.testing.assert_allclose(ecliptic / pole, ecliptic[0] / pole[0])
    assert 3 < ecliptic[0] / pole[0] < 6
    assert pole.min() > 0
    # Sunlight falls, warm dust rises; the gap is near 3.5 um.
    assert 2.5 < wavelength[pole.argmin()] < 4


def test_filters_cover_their_ranges() -> None:
    for detector in DETECTORS:
        assert wavelength_of_row(detector, 0.0, 64) == pytest.approx(detector.lmax)
        assert wavelength_of_row(detector, 63.0, 64) == pytest.approx(detector.lmin)


def test_point_spread_function_grows_with_wavelength_and_jitter() -> None:
    assert 4.5 < psf_sigma(0.75, 0.0) * 6.15 * 2.3548 < psf_sigma(5.0, 0.0) * 6.15 * 2.3548 < 7.5
    assert psf_sigma(0.75, 1.0) > psf_sigma(0.75, 0.0)


def test_flags_name_the_bad_pixels() -> None:
    one = frame(5)
    raw, dark = one.raw, one.dark
    for image in (raw, dark):
        dead = image.flag_plane.has("NONFUNC")
        assert dead.any()
        assert np.array_equal(np.isnan(image.data), dead)
        assert np.array_equal(np.isnan(image.variance), dead)
    hot = dark.flag_plane.has("HOT")
    assert np.median(one.dark_truth[hot]) > 10 * np.nanmedian(one.dark_truth)
    assert np.array_equal(raw.flag_plane.has("HOT", "COLD", "NONFUNC"), dark.flags != 0)
    assert raw.flag_plane.has("TRANSIENT").any()
    assert raw.flag_plane.has("SOURCE").any()
    assert not dark.flag_plane.has("SOURCE", "TRANSIENT").any()


def test_cold_pixels_see_less_light() -> None:
    one = frame(1)
    cold = one.sky.flag_plane.has("COLD")
    quiet = ~one.raw.flag_plane.has("SOURCE")
    assert np.median(one.sky.data[cold & quiet]) < 0.5 * np.nanmedian(one.sky.data[quiet])


def test_cosmic_rays_add_charge_where_they_are_flagged() -> None:
    image = np.zeros((300, 300), dtype=np.float32)
    hit = add_cosmic_rays(image, np.random.default_rng(3))
    assert 10 < hit.sum() < 400
    assert np.array_equal(image > 0, hit)


def test_dark_current_is_fixed_and_has_channels() -> None:
    np.testing.assert_array_equal(frame(2, 0).dark_truth, frame(2, 1).dark_truth)
    assert not np.array_equal(frame(2, 0).dark.data, frame(2, 1).dark.data, equal_nan=True)
    width = SETTINGS.side // CHANNELS
    stripes = detector_state(SETTINGS, 2).dark.reshape(SETTINGS.side, CHANNELS, width)
    levels = np.nanmedian(stripes, axis=(0, 2))
    assert 0.02 < levels.std() < 0.08


def test_frames_repeat_with_the_seed_only() -> None:
    again = simulate_frame(SETTINGS, 0, 1)
    for one, other in ((frame(1).raw, again.raw), (frame(1).dark, again.dark)):
        np.testing.assert_array_equal(one.data, other.data)
        np.testing.assert_array_equal(one.flags, other.flags)
    different = simulate_frame(dataclasses.replace(SETTINGS, seed=12), 0, 1)
    assert not np.array_equal(frame(1).dark_truth, different.dark_truth, equal_nan=True)
    assert list(frame(1).sources["name"]) != list(different.sources["name"])


@pytest.mark.parametrize(("exposure", "detector"), [(0, 0), (0, 7), (-1, 1)])
def test_unknown_frames_are_refused(exposure: int, detector: int) -> None:
    with pytest.raises(ValueError, match="detector|Exposures"):
        simulate_frame(SETTINGS, exposure, detector)
