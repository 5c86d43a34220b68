"""SPHERExImage and what it is made of, in memory."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData, Cutout2D, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS, FITSFixedWarning

from spherex.fits import read_product, write_product
from spherex.image import SPHEREX_FLAGS, Box, FlagPlane, FlagTable, SPHERExImage, celestial_wcs


def test_the_unit_comes_from_the_header_or_is_given(header):
    pixels = np.zeros((3, 3), np.float32)
    assert SPHERExImage(pixels, header=header).unit == units.electron / units.s
    assert SPHERExImage(pixels, unit="MJy/sr", header=header).unit == units.MJy / units.sr
    with pytest.raises(ValueError, match="unit"):
        SPHERExImage(pixels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": np.zeros(4)}, "two-dimensional"),
        ({"data": np.zeros((2, 2)), "variance": np.zeros((3, 2))}, "variance has shape"),
        ({"data": np.zeros((2, 2)), "flags": np.zeros((3, 2), int)}, "flags"),
        ({"data": np.zeros((2, 2)), "flags": np.zeros((2, 2))}, "integers"),
        ({"data": np.zeros((2, 2)), "flags": np.full((2, 2), 2**40)}, "32 bits"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SPHERExImage(**arguments, unit="adu")


def test_a_standard_deviation_becomes_a_variance():
    image = SPHERExImage(np.zeros((2, 2)), unit="adu", uncertainty=StdDevUncertainty(np.full((2, 2), 3.0)))
    np.testing.assert_array_equal(image.variance, 9)


@pytest.mark.parametrize(
    ("operation", "expected", "variance"),
    [("add", 8, 5), ("subtract", 4, 5), ("multiply", 12, 6**2 * 4 + 2**2 * 1), ("divide", 3, None)],
)
def test_arithmetic_keeps_variance_flags_and_header(image, operation, expected, variance):
    first = SPHERExImage(
        np.full(image.shape, 6.0, np.float32),
        unit="adu",
        variance=np.full(image.shape, 1.0, np.float32),
        flags=np.full(image.shape, 0b01, np.int32),
        header=image.header,
        planes=image.planes,
    )
    second = SPHERExImage(
        np.full(image.shape, 2.0, np.float32),
        unit="adu",
        variance=np.full(image.shape, 4.0, np.float32),
        flags=np.full(image.shape, 0b10, np.int32),
    )
    result = getattr(first, operation)(second)
    assert isinstance(result, SPHERExImage)
    np.testing.assert_allclose(result.data, expected)
    if variance is not None:
        np.testing.assert_allclose(result.variance, variance)
    np.testing.assert_array_equal(result.flags, 0b11)
    np.testing.assert_array_equal(first.flags, 0b01)
    assert list(result.planes) == list(image.planes)
    assert result.header["XPOSURE"] == image.header["XPOSURE"]
    np.testing.assert_array_equal(result.wcs.wcs.crval, image.wcs.wcs.crval)


def test_arithmetic_with_a_number_keeps_the_flags(image):
    result = image.multiply(2)
    np.testing.assert_array_equal(result.flags, image.flags)
    np.testing.assert_allclose(result.variance, 4 * image.variance)
    assert not np.shares_memory(result.flags, image.flags)


def test_other_packages_take_it(image):
    assert CCDData(image).flags is not None
    np.testing.assert_array_equal(np.asarray(Cutout2D(image.data, (10, 10), 4).data), image.data[8:12, 8:12])
    for clone in (copy.deepcopy(image), pickle.loads(pickle.dumps(image)), image.copy()):
        np.testing.assert_array_equal(clone.data, image.data)
        np.testing.assert_array_equal(clone.flags, image.flags)
        assert clone.flag_table == image.flag_table
        assert list(clone.planes) == list(image.planes)
        assert not np.shares_memory(clone.data, image.data)
        assert not np.shares_memory(clone.flags, image.flags)


def test_photutils_measures_it(image):
    from photutils.aperture import CircularAperture, aperture_photometry

    table = aperture_photometry(image, CircularAperture([(20, 30)], 3))
    rows, columns = np.mgrid[:60, :50]
    inside = np.hypot(columns - 20, rows - 30) < 2
    assert table["aperture_sum"].unit == image.unit
    assert table["aperture_sum"][0].value > image.data[inside].sum()


def test_a_cut_shows_the_same_sky(image):
    cut = image[10:40, 5:25]
    assert cut.shape == (30, 20)
    assert np.shares_memory(cut.data, image.data)
    for x, y in ((0, 0), (19, 29)):
        np.testing.assert_allclose(
            cut.wcs.all_pix2world([[x, y]], 0), image.wcs.all_pix2world([[x + 5, y + 10]], 0), rtol=0, atol=1e-11
        )
        for key in "AW":
            np.testing.assert_allclose(
                cut.alternative_wcs(key).wcs_pix2world([[x, y]], 0),
                image.alternative_wcs(key).wcs_pix2world([[x + 5, y + 10]], 0),
            )
    assert cut.planes["ZODI"].data.shape == (30, 20)
    assert image.header["CRPIX1"] == 10.5


@pytest.mark.parametrize("item", [3, (slice(0, 4, 2), slice(None)), (slice(0, 3), 2), Ellipsis])
def test_other_indices_are_refused(image, item):
    with pytest.raises(IndexError, match="two slices with step 1"):
        image[item]


def test_a_wcs_set_by_hand_wins_over_the_header(image):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 100.0, -20.0
    wcs.wcs.crpix = 5.0, 6.0
    wcs.wcs.cdelt = -0.001, 0.001
    image.wcs = wcs
    assert image.copy().wcs.wcs.crval[0] == 100
    cut = image[4:10, 3:9]
    np.testing.assert_allclose(cut.wcs.all_pix2world([[0, 0]], 0), wcs.all_pix2world([[3, 4]], 0))


def test_the_wcs_follows_the_header(image):
    first = image.wcs
    image.header["XPOSURE"] = 50.0
    assert image.wcs is first
    image.header["CRVAL1"] = 120.0
    assert image.wcs.wcs.crval[0] == 120
    assert image.wcs.array_shape == image.shape
    assert image[2:5].wcs.wcs.crval[0] == 120
    assert image.wcs_is_in_header
    for keyword in ("CTYPE1", "CTYPE2"):
        del image.header[keyword]
    assert image.wcs is None


def test_a_wcs_found_later_is_that_of_the_image_and_of_its_file(image, tmp_path):
    blank = SPHERExImage(image.data, unit="adu")
    assert blank.wcs is None
    blank.header.update(image.wcs.to_header(relax=True))
    write_product(blank, tmp_path / "solved.fits")
    for wcs in (blank.wcs, copy.deepcopy(blank).wcs, read_product(tmp_path / "solved.fits").wcs):
        np.testing.assert_allclose(wcs.all_pix2world([[3, 4]], 0), image.wcs.all_pix2world([[3, 4]], 0))


def test_a_wcs_changed_in_place_wins_over_cards_changed_later(image, tmp_path):
    image.wcs.wcs.crval = [31.0, 41.0]
    image.header["CRVAL1"] = 120.0
    assert image.wcs.wcs.crval[0] == 31
    write_product(image, tmp_path / "moved.fits")
    assert read_product(tmp_path / "moved.fits").wcs.wcs.crval[0] == 31


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"AP_ORDER": 3, "BP_ORDER": 2, "AP_1_2": -1.5e-7, "BP_0_2": 1e-6},
        # Beyond the order.
        {"A_2_1": 1e-3, "B_3_0": 1e-3},
        # SCAMP writes PV keywords beside the SIP polynomials; only the SIP polynomials are used.
        {"PV1_1": 1.01, "PV2_4": 0.3},
        {"A_ORDER": None, "B_ORDER": None},
        {"A_ORDER": 1, "B_ORDER": 1},
    ],
)
def test_polynomials_are_those_that_astropy_reads(header, cards):
    for keyword, value in cards.items():
        if value is None:
            del header[keyword]
        else:
            header[keyword] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        expected, found = WCS(header, naxis=2), celestial_wcs(header)
    assert (found.sip is None) == (expected.sip is None)
    if expected.sip is not None:
        for name in ("a", "b", "ap", "bp", "crpix"):
            np.testing.assert_array_equal(getattr(found.sip, name), getattr(expected.sip, name))
    pixels = np.array([[3.0, 4.0], [30.0, -20.0]])
    np.testing.assert_array_equal(found.all_pix2world(pixels, 0), expected.all_pix2world(pixels, 0))


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("B_ORDER", None, "B_ORDER is 0"),
        ("A_ORDER", 1, "A_ORDER is 1"),
        ("A_ORDER", 100_000, "A_ORDER is 100000, but SIP polynomials have the orders 2 to 9"),
        ("CRPIX2", None, "without CRPIX1 and CRPIX2"),
    ],
)
def test_incomplete_polynomials_are_refused(header, keyword, value, message):
    del header[keyword]
    if value is not None:
        header[keyword] = value
    with pytest.raises(ValueError, match=message):
        celestial_wcs(header)


def test_there_may_be_no_wcs():
    image = SPHERExImage(np.zeros((3, 3)), unit="adu")
    assert image.wcs is None
    assert image[:2].wcs is None
    with pytest.raises(KeyError, match="CTYPE1A"):
        image.alternative_wcs("A")


def test_flag_tables_refuse_contradictions():
    with pytest.raises(ValueError, match="share bit 3"):
        FlagTable({"A": 3, "B": 3})
    with pytest.raises(ValueError, match="bit 32"):
        FlagTable({"A": 32})
    with pytest.raises(KeyError, match="No flag SATURATED in this image"):
        SPHEREX_FLAGS.bits("HOT", "SATURATED")


def test_flags_are_found_by_name():
    plane = FlagPlane(np.array([[0, 1 << 10, 1 << 11, -(2**31)]], np.int32), SPHEREX_FLAGS.merged(FlagTable({"X": 31})))
    assert plane.has("HOT").tolist() == [[False, True, False, False]]
    assert plane.has("HOT", "COLD").tolist() == [[False, True, True, False]]
    assert plane.has("X").tolist() == [[False, False, False, True]]
    assert not plane.has().any()


def test_merging_displaces_a_name_only_from_a_bit_that_is_taken():
    merged = FlagTable({"A": 0}).merged(FlagTable({"B": 0, "C": 1, "A": 5}))
    assert dict(merged) == {"A": 0, "C": 1, "B": 2}


def test_merging_ends_at_32_names():
    with pytest.raises(ValueError, match="no bit is left"):
        FlagTable({f"A{bit}": bit for bit in range(32)}).merged(FlagTable({"B": 0}))


def test_bits_without_a_name_cannot_be_matched():
    first = FlagPlane(np.array([[1]], np.int32), FlagTable({"A": 0}))
    second = FlagPlane(np.array([[0b110]], np.int32), FlagTable({"B": 1}))
    with pytest.raises(ValueError, match=r"Bits \[2\]"):
        first.combined(second)


@pytest.mark.parametrize("value", [(1, 2, 3), "1,2,3,4", (0, 4, 0, 2.5), None])
def test_a_box_is_four_integers(value):
    with pytest.raises(ValueError, match="four integers"):
        Box.parse(value)


def test_no_header_gives_an_empty_one():
    assert isinstance(SPHERExImage(np.zeros((2, 2)), unit="adu").header, fits.Header)
    assert SPHERExImage(np.zeros((2, 2)), unit="adu", header={"A": 1}).header["A"] == 1


def test_a_wcs_changed_in_place_counts(image):
    image.wcs.wcs.crval = [31.0, 41.0]
    assert image.copy().wcs.wcs.crval[0] == 31
    assert image[2:5].wcs.wcs.crval[0] == 31
    assert not image.wcs_is_in_header


def test_the_wcs_knows_the_shape_of_the_image(image):
    assert image.wcs.array_shape == image.shape
    assert image.wcs.calc_footprint() is not None


def test_units_of_variances_are_converted():
    pixels = np.zeros((2, 2))
    for arguments in (
        {"uncertainty": VarianceUncertainty(np.full((2, 2), 4.0), unit="mJy2")},
        {"uncertainty": StdDevUncertainty(np.full((2, 2), 2.0), unit="mJy")},
        {"variance": np.full((2, 2), 4.0) * units.mJy**2},
    ):
        np.testing.assert_allclose(SPHERExImage(pixels, unit="Jy", **arguments).variance, 4e-6)


def test_ccddata_hands_over_all_it_has():
    ccd = CCDData(np.ones((2, 2)), unit="Jy", meta={"A": 1}, mask=np.eye(2, dtype=bool))
    image = SPHERExImage(ccd)
    assert image.header["A"] == 1
    assert image.unit == units.Jy
    np.testing.assert_array_equal(image.mask, ccd.mask)


def test_masters_with_a_standard_deviation_are_taken(image):
    master = CCDData(np.ones(image.shape), unit=image.unit, uncertainty=StdDevUncertainty(np.full(image.shape, 2.0)))
    np.testing.assert_allclose(image.subtract(master).variance, image.variance + 4)


def test_flags_set_later_are_checked(image):
    image.flags = FlagPlane(np.ones(image.shape, np.int64), FlagTable({"A": 0}))
    assert image.flag_table == FlagTable({"A": 0})
    assert image.flags.dtype == np.int32
    with pytest.raises(ValueError, match="integers"):
        image.flags = np.ones(image.shape)
    with pytest.raises(ValueError, match="flags have shape"):
        image.flags = np.ones((2, 2), int)


def test_the_reader_and_writer_of_ccddata_are_refused(image, tmp_path):
    with pytest.raises(NotImplementedError, match="write_product"):
        image.write(tmp_path / "a.fits")
    with pytest.raises(NotImplementedError, match="read_product"):
        SPHERExImage.read(tmp_path / "a.fits")
