"""Wavelengths: equal to what astropy makes of the file, and through cuts."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.wcs import WCS

from spherex.errors import ProductError
from spherex.fits import open_product, read_product
from spherex.image import Box, PlaneWavelengths, SPHERExImage, Wavelength

from .level2_files import wave_table, write_level2

RELEASES = ("qr1", "qr2", "qr3")


def of_astropy(path, x, y):
    """Return what astropy alone gives, as the IRSA notebooks use it."""
    with fits.open(path) as hdus:
        header = hdus["IMAGE"].header
        for card in [card.keyword for card in header.cards if card.keyword.startswith(("A_", "B_", "AP_", "BP_"))]:
            header.remove(card)
        wcs = WCS(header, fobj=hdus, key="W")
        wcs.sip = None
        return wcs.wcs_pix2world(np.stack([np.ravel(x), np.ravel(y)], axis=-1), 0).T


@pytest.mark.parametrize("release", RELEASES)
def test_it_is_that_of_astropy(tmp_path, rng, release):
    file = write_level2(tmp_path / "a.fits", release, origin=(700, 1500))
    wavelength = read_product(file.path).wavelength
    x, y = rng.uniform(-0.5, 49.5, 100), rng.uniform(-0.5, 59.5, 100)
    for found, expected in zip(wavelength.at(x, y), of_astropy(file.path, x, y), strict=True):
        assert found.unit == units.um
        np.testing.assert_array_equal(found.value, expected)


def test_scalars_and_arrays_of_any_shape(tmp_path):
    wavelength = read_product(write_level2(tmp_path / "a.fits").path).wavelength
    central, bandwidth = wavelength.at(3, 4)
    assert central.shape == bandwidth.shape == ()
    assert central.isscalar
    grid, _ = wavelength.at(np.arange(5), np.arange(6)[:, np.newaxis])
    assert grid.shape == (6, 5)
    assert grid[4, 3] == central
    assert wavelength.at(np.empty(0), np.empty(0))[0].shape == (0,)
    with pytest.raises(ValueError, match="broadcast"):
        wavelength.at(np.arange(5), np.arange(6))


def test_its_text_has_range_and_shape(tmp_path):
    wavelength = read_product(write_level2(tmp_path / "a.fits").path).wavelength
    central, _ = wavelength.planes()
    expected = f"{central.value.min():.3f} to {central.value.max():.3f} um, shape {central.shape}"
    assert str(wavelength) == f"<Wavelength: {expected}>"


def test_the_planes_have_the_shape_of_the_image(tmp_path):
    image = read_product(write_level2(tmp_path / "a.fits").path)
    central, bandwidth = image.wavelength.planes()
    assert central.shape == bandwidth.shape == image.shape == (60, 50)
    for x, y in ((0, 0), (49, 0), (7, 59)):
        assert (central[y, x], bandwidth[y, x]) == image.wavelength.at(x, y)
    assert (np.diff(central[:, 0].value) < 0).all()


def test_the_control_points_are_met():
    for nodes in (7, 9, 11):
        table = wave_table(nodes)
        wavelength = Wavelength.from_table(table)
        ticks, values = table.data["X"][0], table.data["VALUES"][0]
        if nodes == 11:
            assert ticks.tolist() == [1, 205, 409, 613, 817, 1021, 1224, 1428, 1632, 1836, 2040]
        central, bandwidth = wavelength.at(ticks - 1, (ticks - 1)[:, np.newaxis])
        np.testing.assert_allclose(central.value, values[..., 0], rtol=1e-12)
        np.testing.assert_allclose(bandwidth.value, values[..., 1], rtol=1e-12)
        assert wavelength.shape == (2040, 2040)


def test_a_table_alone_gives_the_same_as_the_image(tmp_path):
    file = write_level2(tmp_path / "a.fits", origin=(700, 1500))
    image = read_product(file.path)
    for x0, y0 in ((0, 0), (700, 1500)):
        alone = Wavelength.from_table(image.planes["WCS-WAVE"].readonly_hdu, origin=(x0, y0))
        assert alone.at(705 - x0, 1510 - y0) == image.wavelength.at(5, 10)


def test_a_cut_has_the_same_wavelengths(tmp_path):
    image = read_product(write_level2(tmp_path / "a.fits").path)
    for cut in (image[10:40, 5:25], image.cutout((5, 25, 10, 40)), image[2:][8:38, 5:25]):
        for found, whole in zip(cut.wavelength.planes(), image.wavelength.planes(), strict=True):
            np.testing.assert_allclose(found.value, whole[10:40, 5:25].value, rtol=1e-14)


def test_where_the_table_does_not_reach_there_is_none():
    central, _ = Wavelength.from_table(wave_table(11)).at([5000, 5, 5], [5, 5, -5000])
    assert np.isnan(central.value).tolist() == [True, False, True]


def test_the_outermost_control_points_are_extended_by_half_of_their_distance():
    table = wave_table(11)
    first, second = (float(table.data["VALUES"][0][row, 0, 0]) for row in (0, 1))
    step = 204
    central, _ = Wavelength.from_table(table).at([0, 0, 0], [-0.4 * step, -0.5 * step, -0.51 * step])
    np.testing.assert_allclose(
        central.value[:2], [first - share * (second - first) for share in (0.4, 0.5)], rtol=1e-12
    )
    assert np.isnan(central.value[2])


def test_it_can_be_copied(tmp_path):
    wavelength = read_product(write_level2(tmp_path / "a.fits").path).wavelength
    expected = wavelength.at(3, 4)
    for clone in (copy.deepcopy(wavelength), pickle.loads(pickle.dumps(wavelength))):
        assert clone.at(3, 4) == expected


def test_without_table_or_coordinates_there_is_none(tmp_path, image):
    file = write_level2(tmp_path / "a.fits", without=("WCS-WAVE",))
    assert read_product(file.path).wavelength is None
    with open_product(file.path) as product, pytest.raises(ProductError, match="no HDU WCS-WAVE"):
        product.wavelength()
    assert SPHERExImage(np.zeros((2, 2)), unit="adu").wavelength is None
    with pytest.raises(ValueError, match="no wavelength solution"):
        Wavelength(fits.Header(), wave_table(7), (2, 2))
    with pytest.raises(ValueError, match="in the table WCS-WAVE, not in OTHER"):
        Wavelength(image.header, fits.BinTableHDU(name="OTHER"), (2, 2))


def test_genuine_files_agree_with_astropy(archive_samples):
    for sample in archive_samples:
        image = read_product(sample)
        y, x = np.indices(image.shape)
        with open_product(sample) as product:
            component = product.wavelength(Box(1, 4, 2, 5))
        for found, cut, expected in zip(
            image.wavelength.planes(), component.planes(), of_astropy(sample, x, y), strict=True
        ):
            np.testing.assert_array_equal(found.value, expected.reshape(image.shape))
            np.testing.assert_allclose(cut.value, found[2:5, 1:4].value, rtol=1e-14)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"TTYPE3  = 'VALUES  '", b"TTYPE3  = 'VALUEZ  '", "WCS-WAVE .*has no column VALUES"),
        (b"TTYPE1  = 'X       '", b"TTYPE1  = 'Q       '", "WCS-WAVE .*has no column X"),
        (b"TDIM3   = '(2,11,11)'", b"TDIM3   = '(2,11,10)'", "VALUES of shape .*expected"),
        (b"TDIM3   = '(2,11,11)'", b"TDIM3   = '(11,11,2)'", "VALUES of shape .*expected"),
        (b"PV2_3W  =                    2", b"PV2_3W  =                    7", "is damaged"),
        (b"PS2_1W  = 'VALUES  '", b"PS2_1W  = 'OTHERS  '", "is damaged"),
        (b"PS1_0W  = 'WCS-WAVE'", b"PS1_0W  = 'WCS-WAWE'", "no HDU WCS-WAWE"),
    ],
)
def test_a_damaged_table_is_told_with_the_name_of_the_file(tmp_path, old, new, message):
    # wcslib reads past the end of such tables.
    file = write_level2(tmp_path / "a.fits")
    content = file.path.read_bytes()
    assert old in content
    file.path.write_bytes(content.replace(old, new))
    with pytest.raises(ProductError, match=message) as caught, open_product(file.path) as product:
        product.wavelength()
    assert str(file.path) in str(caught.value)


FLIPS = """
import random, re, sys, warnings
from pathlib import Path
from spherex.errors import ProductError
from spherex.fits import open_product, open_source, scan_hdus
warnings.simplefilter("ignore")
source, copy = map(Path, sys.argv[1:])
with open_source(source) as opened:
    hdus = {hdu.name: hdu for hdu in scan_hdus(opened)}
image, table = hdus["IMAGE"], hdus["WCS-WAVE"]
content = source.read_bytes()
cards = range(image.header_offset, image.data_offset, 80)
cards = [at for at in cards if re.match(rb"[A-Z0-9_]+W *=", content[at : at + 10])]
places = [at + column for at in cards for column in range(32)]
places += range(table.header_offset, table.header_offset + 18 * 80)
places = random.Random(20261127).sample(places, 300)
# The columns X and Y, of four bytes each.
points = [(at, bit) for at in range(table.data_offset, table.data_offset + 2 * 11 * 4) for bit in range(8)]
flips = points + [(at, bit % 8) for bit, at in enumerate(places)]
for number, (at, bit) in enumerate(flips):
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    copy.write_bytes(changed)
    print(at, bit, flush=True)
    try:
        with open_product(copy) as product:
            product.wavelength().planes()
    except ProductError as error:
        print(error)
print("end")
"""


@pytest.mark.slow
def test_no_changed_bit_aborts_the_process(tmp_path):
    file = write_level2(tmp_path / "a.fits", without=("PSF", "ZODI", "FLAGS", "VARIANCE"))
    arguments = [sys.executable, "-c", FLIPS, file.path, tmp_path / "b.fits"]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (result.stdout[-200:], result.stderr[-2000:])
    lines = result.stdout.splitlines()
    assert lines[-1] == "end"
    errors = [line for line in lines if line.startswith("Cannot read ")]
    assert len(errors) > 500
    assert all(str(tmp_path / "b.fits") in line for line in errors)


@pytest.mark.parametrize("value", [900, 5, 205, -1])
def test_control_points_that_do_not_rise(tmp_path, value):
    file = write_level2(tmp_path / "a.fits")
    with fits.open(file.path) as hdus:
        hdus["WCS-WAVE"].data["X"][0, 3] = value
        hdus.writeto(tmp_path / "b.fits")
    with pytest.raises(ProductError, match=r"b.fits: the control points in column X of the table WCS-WAVE do not rise"):
        read_wavelength(tmp_path / "b.fits")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0, 1e30])
def test_numbers_that_are_not_wavelengths(tmp_path, value):
    file = write_level2(tmp_path / "a.fits")
    with fits.open(file.path) as hdus:
        hdus["WCS-WAVE"].data["VALUES"][0, 3, 4, 1] = value
        hdus.writeto(tmp_path / "b.fits")
    with pytest.raises(ProductError, match="numbers in VALUES that are not wavelengths"):
        read_wavelength(tmp_path / "b.fits")


def read_wavelength(path):
    with open_product(path) as product:
        return product.wavelength()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("WCSAXESW", 3),
        ("CTYPE1W", "WAVE"),
        ("CUNIT1W", "s"),
        ("CRPIX1W", 1e300),
        ("CDELT2W", 0.0),
        ("PC1_2W", 0.5),
        ("PS2_2W", "X"),
        ("PV1_1W", 2),
        ("CRVAL1W", "one"),
    ],
)
def test_cards_that_cannot_be(tmp_path, keyword, value):
    image = read_product(write_level2(tmp_path / "a.fits").path)
    image.header[keyword] = value
    with pytest.raises(ProductError, match=keyword.rstrip("W").rstrip("12") if keyword != "PS2_2W" else "columns"):
        image.wavelength  # noqa: B018


def test_other_units_of_length(tmp_path):
    image = read_product(write_level2(tmp_path / "a.fits").path)
    expected = image.wavelength.at(3, 4)[0]
    image.header["CUNIT1W"] = "mm"
    with pytest.raises(ProductError, match="not wavelengths"):
        image.wavelength  # noqa: B018
    image.header["CUNIT1W"] = "nm"
    assert image.wavelength.at(3, 4)[0].value == pytest.approx(expected.value / 1000)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 101.0])
@pytest.mark.parametrize("unit", [units.um, units.nm])
def test_pixels_of_planes_that_are_not_wavelengths(value, unit):
    """Nothing is interpolated with them."""
    central, bandwidth = (np.full((5, 6), number, ">f4") for number in (1.5, 0.03))
    central[2, 3] = bandwidth[0, 1] = value
    planes = PlaneWavelengths(*((plane * units.um).to(unit) for plane in (central, bandwidth)))
    x, y = np.array([3.0, 2.5, 1.0, 5.0]), np.array([2.0, 2.0, 0.2, 4.0])
    found = [values.to_value("um") for values in planes.at(x, y)]
    assert np.isnan(found).tolist() == [[True, True, False, False], [False, False, True, False]]
    np.testing.assert_allclose([found[0][3], found[1][3]], [1.5, 0.03], rtol=1e-6)
