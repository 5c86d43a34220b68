"""Means in the channels of the mission."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable.ucd import parse_ucd
from astropy.table import QTable

from spherex.detectors import DETECTORS
from spherex.spectra import CHANNEL_COLUMNS, Channels, combine_channels, design_channels, read_channels

from .spectra_helpers import measurements

NEAREST = Channels(np.array([1, 1, 1]), np.array([1, 2, 3]), np.array([0.728, 0.744, 0.760]), "test")


def visits(number: int = 2, **given: object) -> QTable:
    """Return measurements of one channel."""
    return measurements(number, **({"wavelength": 0.744, "detector": 1, "bandwidth": 0.02} | given))


@pytest.mark.parametrize("column", CHANNEL_COLUMNS, ids=lambda column: column.name)
def test_ucds_are_in_the_vocabulary_of_the_ivoa(column):
    assert parse_ucd(column.ucd, check_controlled_vocabulary=True)


def test_the_mean_of_two_visits():
    # 10 +- 2 and 14 +- 1 make 13.2 +- 0.894; chi2 is (3.2 / 2)**2 + 0.8**2.
    (row,) = combine_channels(visits(flux=[10, 14], flux_error=[2, 1], wavelength=[0.743, 0.747]), NEAREST)
    assert row["flux"].value == pytest.approx(13.2, rel=1e-14)
    assert row["flux_error_formal"].value == pytest.approx(np.sqrt(0.8), rel=1e-14)
    assert round(row["flux_error_formal"].value, 3) == 0.894
    assert row["chi2"] == pytest.approx(3.2, rel=1e-14)
    assert row["flux_error"].value == pytest.approx(np.sqrt(0.8 * 3.2), rel=1e-14)
    assert (row["visits"], row["dof"]) == (2, 1)
    assert row["channel_wavelength"].value == 0.744
    assert row["wavelength"].value == pytest.approx((0.743 / 4 + 0.747) / 1.25, rel=1e-14)
    assert row["wavelength_spread"].value == pytest.approx(0.002, rel=1e-12)


def test_the_formal_error_stands_where_visits_agree():
    (row,) = combine_channels(visits(4, flux=[10.0, 10.1, 9.9, 10], flux_error=2), NEAREST)
    assert row["flux_error"] == row["flux_error_formal"]
    assert row["flux_error"].value == pytest.approx(1.0, rel=1e-14)
    (row,) = combine_channels(visits(1, flux=-3, flux_error=2), NEAREST)
    assert (row["flux"].value, row["flux_error"].value, row["dof"]) == (-3.0, 2.0, 0)


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
    assert channels["visits"].sum() == 4000
    pull = (channels["flux"].value - 50) / channels["flux_error_formal"].value
    assert abs(pull.mean()) < 4 / np.sqrt(102)
    assert pull.std() == pytest.approx(1, abs=4 / np.sqrt(2 * 102))


def test_detectors_are_never_mixed():
    # Detectors 2 and 3 overlap at 1.63 um.
    channels = combine_channels(visits(4, wavelength=1.63, detector=[2, 3, 2, 3], flux=[1, 5, 1, 5]), design_channels())
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
    channels = combine_channels(table, NEAREST)
    (row,) = channels
    assert (row["flux"].value, row["visits"], row["left_out"]) == (10, 2, 2)
    assert (row["flags"], row["flag_names"]) == (5, "A C")
    assert channels.meta["left_out"] == 2


def test_a_channel_of_which_nothing_could_be_used_is_nan_at_its_nominal_wavelength():
    (row,) = combine_channels(visits(2, reason="failed", wavelength=0.746), NEAREST)
    assert np.isnan(row["flux"])
    assert row["wavelength"].value == 0.744
    assert (row["visits"], row["left_out"], row["flags"]) == (0, 2, 0)


@pytest.mark.parametrize("version", ["6.5.6", "6.4+psffix1", "6.2.0.post8", "what"])
def test_uncorrected_older_gains_are_not_averaged_with_newer_ones(version):
    given = {"version": [version, version, "7.0.5"], "flux": [1, 1, 5], "flux_error": 1}
    channels = combine_channels(visits(3, **given), NEAREST)
    (row,) = channels
    assert (row["flux"].value, row["visits"], row["left_out"], row["left_out_older"]) == (5, 1, 0, 2)
    assert row["version"] == "7.0.5"
    assert channels.meta["left_out_older"] == 2
    # Corrected ones may: by another factor than 1, or by a calibration that happens to say 1.
    for correction in ({"gain_correction": [0.97, 1.01, 1]}, {"flux_correction_id": ["id", "id", ""]}):
        (row,) = combine_channels(visits(3, **given, **correction), NEAREST)
        assert (row["visits"], row["left_out_older"]) == (3, 0)
        assert row["version"].split() == sorted([version, "7.0.5"])
    # Where there are no newer ones, the older ones are better than nothing.
    (row,) = combine_channels(visits(2, version=version, flux=[1, 1], flux_error=1), NEAREST)
    assert (row["visits"], row["left_out_older"]) == (2, 0)
    # Newer ones that cannot be used do not push them out.
    (row,) = combine_channels(visits(3, **given, reason=["", "", "failed"]), NEAREST)
    assert (row["flux"].value, row["visits"], row["left_out_older"]) == (1, 2, 0)


def test_the_design_has_17_channels_a_detector_equally_wide_in_log_wavelength():
    channels = design_channels()
    assert len(channels.wavelength) == 102
    for detector in DETECTORS:
        those = channels.wavelength[channels.detector == detector.id]
        assert len(those) == 17
        np.testing.assert_allclose(those[1:] / those[:-1], (detector.lmax / detector.lmin) ** (1 / 17), rtol=1e-12)
        assert detector.lmin < those[0] < those[-1] < detector.lmax


def product(**change: object) -> fits.HDUList:
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1:] = 9
    pixels[3] = 4
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("DETECTOR", "J", array=[1, 1, 2]),
            fits.Column("SUBCHAN", "J", array=[4, 9, 9]),
            fits.Column("WAVELENGTH", "E", array=[0.75, 0.9, 1.3]),
        ],
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


@pytest.mark.parametrize("lost", ["SPECTRAL_CHANNELS", "CHANNEL_MAP"])
def test_another_product_is_refused(lost):
    hdus = product()
    del hdus[lost]
    with pytest.raises(ValueError, match="spectral_channels 1 is not a table of channels"):
        read_channels(hdus, "spectral_channels 1")


def test_no_measurement_makes_no_channel():
    assert len(combine_channels(measurements(0), design_channels())) == 0
    assert len(combine_channels(visits(2, detector=9), design_channels())) == 0
