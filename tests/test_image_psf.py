"""PSFs of zones: which zone, how normalised, and in which files the zones are mixed up."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from spherex.errors import ProductError
from spherex.fits import open_product, read_product, write_product
from spherex.image import Psf

from .level2_files import QR2_CENTRES, write_level2

# Image and place of the IRSA notebook on PSFs:
# level2_2025W18_1B_0023_2D4_spx_l2b-v20-2025-240, a cutout of 6 x 6 pixels.
ORIGIN = 221, 2005
PLACE = 2.1740528583705068, 2.3529490762661016
ZONE, DISTANCE = 112, 81.43042945659187


def cube_hdu(swapped: bool) -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.arange(121.0)[:, np.newaxis, np.newaxis] * np.ones((3, 3)), name="PSF")
    hdu.header["OVERSAMP"] = 10
    for zone in range(121):
        centre = QR2_CENTRES[zone % 11], QR2_CENTRES[zone // 11]
        for axis, value in zip("YX" if swapped else "XY", centre, strict=True):
            hdu.header[f"{axis}CTR_{zone + 1}"] = value
    return hdu


@pytest.mark.parametrize(
    ("version", "swapped"),
    [
        ("6.2.1", True),
        ("6.2.0.post8+g4d8e2ad", True),
        ("6.1.3.post105+g091895b", True),
        ("6.4", True),
        ("6.5.5", True),
        ("6.5.5.post3+g0123abc", True),
        ("6.4+psffix1", False),
        ("6.2.0.post8+g4d8e2ad+psffix1", False),
        ("6.2.0.post8+g4d8e2ad.psffix1", False),
        ("6.5.6", False),
        ("6.5.10", False),
        ("6.10", False),
        ("7.0.5", False),
        ("7.0.0b6.post2+g6b3a1a7", False),
        (None, True),
        (None, False),
        ("unknown", True),
    ],
)
def test_the_erratum_is_mended_by_version(version, swapped):
    psf = Psf.from_hdu(cube_hdu(swapped), version, ORIGIN)
    found = psf.at(*PLACE)
    assert found.zone == ZONE
    assert found.distance == pytest.approx(DISTANCE, abs=1e-3)
    assert found.array[0, 0] == ZONE - 1


def test_the_erratum_would_give_another_zone():
    assert Psf.from_hdu(cube_hdu(True), "6.5.6", ORIGIN).at(*PLACE).zone == 22


@pytest.mark.parametrize(("release", "planes", "oversampling"), [("qr1", 121, 10), ("qr2", 121, 10), ("qr3", 441, 5)])
def test_files_of_all_releases_give_the_psf_of_the_zone(tmp_path: Path, release, planes, oversampling):
    file = write_level2(tmp_path / "a.fits", release, shape=(6, 6), origin=ORIGIN)
    psf = read_product(file.path).psf_model
    assert psf.samples.shape == (planes, *file.psf.shape[1:])
    found = psf.at(*PLACE)
    assert found.zone == (ZONE if release != "qr3" else 20 * 21 + 2 + 1)
    np.testing.assert_array_equal(found.array, file.psf[found.zone - 1])
    assert found.array.dtype.isnative
    assert found.oversampling == oversampling
    assert found.effective == (release == "qr3")
    assert found.normalisation == pytest.approx(1, abs=1e-6)
    if release != "qr3":
        assert found.distance == pytest.approx(DISTANCE, abs=1e-4)
    with pytest.raises(ValueError, match="read-only"):
        found.array[0, 0] = 1


def test_the_centres_of_effective_psfs_are_those_of_the_table(tmp_path):
    file = write_level2(tmp_path / "a.fits", "qr3")
    psf = read_product(file.path).psf_model
    x, y = psf.x, psf.y
    np.testing.assert_allclose(x[:2], [48.0714, 145.2143], atol=1e-4)
    assert x[20] == pytest.approx(1990.9286, abs=1e-3)
    assert y[0] == y[20] == pytest.approx(48.0714, abs=1e-4)


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_a_cut_has_the_psf_of_the_same_place(tmp_path, release):
    file = write_level2(tmp_path / "a.fits", release, shape=(300, 300))
    whole = read_product(file.path)
    cut = whole[180:220, 190:230]
    for interpolate in (False, True):
        expected = whole.psf_model.at(200, 190, interpolate=interpolate)
        found = cut.psf_model.at(10, 10, interpolate=interpolate)
        np.testing.assert_array_equal(found.array, expected.array)
        assert found.zone == expected.zone
        assert found.distance == expected.distance


def test_interpolation_is_linear_between_centres_and_constant_beyond():
    psf = Psf.from_hdu(cube_hdu(False), "6.5.6")
    first, second = QR2_CENTRES[:2]
    middle = (first + second) / 2
    for (x, y), value in {
        (first, first): 0,
        (second, first): 1,
        (first, second): 11,
        (middle, first): 0.5,
        (middle, middle): 6,
        (first + 0.25 * (second - first), second): 11.25,
        (-500, -500): 0,
        (0, second): 11,
        (9999, 9999): 120,
        (QR2_CENTRES[-1], first): 10,
    }.items():
        found = psf.at(x, y, interpolate=True)
        np.testing.assert_allclose(found.array, value, atol=1e-9)
        assert found.zone is None


def test_zones_that_form_no_lattice_have_a_nearest_one_only():
    psf = Psf(np.ones((3, 2, 2)), x=[0, 10, 0], y=[0, 0, 10], oversampling=1, effective=True)
    assert psf.at(9, 1).zone == 2
    with pytest.raises(ValueError, match="do not form a lattice"):
        psf.at(5, 5, interpolate=True)


def test_a_single_zone_is_interpolated_to_itself():
    psf = Psf(np.ones((1, 2, 2)), x=[5], y=[5], oversampling=1, effective=True)
    np.testing.assert_array_equal(psf.at(7, 7, interpolate=True).array, 1)


def test_a_place_must_be_finite():
    with pytest.raises(ValueError, match="finite"):
        Psf.from_hdu(cube_hdu(False)).at(np.nan, 3)


def test_other_packages_get_an_array(tmp_path):
    file = write_level2(tmp_path / "a.fits")
    image = read_product(file.path)
    assert isinstance(image.psf, np.ndarray)
    assert type(image.psf[0]) is type(image.psf * 2) is np.ndarray
    assert isinstance(image.psf.sum(), np.floating)
    np.testing.assert_array_equal(CCDData(image).psf, file.psf)
    model = image.psf_model
    assert not isinstance(model, np.ndarray)
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), image.copy().psf_model):
        assert clone.at(30, 30).zone == 1
        np.testing.assert_array_equal(clone, file.psf)


def test_arithmetic_keeps_it(tmp_path):
    image = read_product(write_level2(tmp_path / "a.fits").path)
    for result in (image.subtract(image), image.multiply(2)):
        np.testing.assert_array_equal(result.psf, image.psf)


def test_without_a_plane_there_is_none(tmp_path):
    file = write_level2(tmp_path / "a.fits", without=("PSF",))
    image = read_product(file.path)
    assert image.psf is image.psf_model is None
    with open_product(file.path) as product, pytest.raises(ProductError, match="no HDU EPSF or PSF; it has PRIMARY"):
        product.psf()


def test_a_damaged_psf_is_told_with_the_name_of_the_file(tmp_path):
    file = write_level2(tmp_path / "a.fits")
    for old, new, message in (
        (b"XCTR_77 ", b"XCTR_999", "'XCTR_77' not found"),
        (b"OVERSAMP", b"OVERSAMQ", "'OVERSAMP' not found"),
        (b"XCTR_1  ", b"XCTR_998", "contains no PSFs"),
    ):
        content = file.path.read_bytes()
        file.path.write_bytes(content.replace(old, new))
        with pytest.raises(ProductError, match=message) as caught, open_product(file.path) as product:
            product.psf()
        assert str(file.path) in str(caught.value)
        file.path.write_bytes(content)


def test_one_set_by_hand_wins_but_is_not_written(tmp_path):
    image = read_product(write_level2(tmp_path / "a.fits").path)
    with pytest.raises(TypeError, match="array"):
        image.psf = "round"
    image.psf = np.eye(3)
    np.testing.assert_array_equal(image.psf, np.eye(3))
    with pytest.raises(ValueError, match="PSF among its planes"):
        write_product(image, tmp_path / "b.fits")
    image.psf = None
    assert image.psf_model.at(3, 3).zone == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [1.0, np.nan]}, "centres of zones are not numbers"),
        ({"y": [np.inf, 1.0]}, "centres of zones are not numbers"),
        ({"oversampling": 0}, "the oversampling is 0, not 1 or more"),
    ],
)
def test_zones_without_a_place_or_a_scale(change, message):
    values = {"x": [1.0, 2.0], "y": [1.0, 1.0], "oversampling": 5} | change
    with pytest.raises(ValueError, match=message):
        Psf(np.ones((2, 3, 3)), effective=True, **values)
