"""Products in FITS files: structure, cards, flags, damaged files, genuine files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from spherex.fits import ProductError, open_product, read_product, write_product
from spherex.fits.cards import Cards, card_values
from spherex.fits.flag_cards import flag_table_of, with_flag_table
from spherex.fits.hdus import scan_hdus
from spherex.fits.sources import open_source
from spherex.image import FlagTable, Plane, SPHERExImage

CARDS = [
    ("INT", 42),
    ("NEGATIVE", -7),
    ("BIG", 202520204042036),
    ("FLOAT", 1.5),
    ("EXP", -1.25e-07),
    ("YES", True),
    ("NO", False),
    ("TEXT", "plain"),
    ("QUOTE", "it's"),
    ("SLASH", "a / b"),
    ("EMPTY", ""),
    ("BLANKS", "   x"),
    ("LONG", "x" * 150),
    ("HIERARCH SPS_FLAGS", "all_sky"),
    ("HIERARCH L2 N_SOURCE", 4013018),
    ("LONGQ", "it's " * 30 + "end"),
]


def raw(header: fits.Header) -> bytes:
    return b"".join(card.image.encode() for card in header.cards)


@pytest.mark.parametrize(("keyword", "value"), CARDS)
def test_card_values_equal_those_of_astropy(keyword, value):
    header = fits.Header(CARDS)
    header.add_comment("TEXT    = 'not a card'")
    keyword = keyword.removeprefix("HIERARCH ")
    assert card_values(raw(header), [keyword, "ABSENT", "ABSENT_TOO"]) == {keyword: value}
    assert header[keyword] == value


def test_the_first_of_two_cards_counts():
    header = fits.Header()
    header.append(("A", 1))
    header.append(("A", 2), end=True)
    assert card_values(raw(header), ["A"]) == {"A": 1} == {"A": header["A"]}


def test_fortran_exponents_and_cards_without_a_value():
    cards = b"A       = 1.5D+02".ljust(80) + b"B       =".ljust(80) + b"C".ljust(80)
    assert card_values(cards, "ABC") == {"A": 150.0}


def test_a_damaged_card_is_an_error():
    with pytest.raises(ValueError, match="not convert|could not"):
        Cards(b"A       = 1.2.3".ljust(80))["A"]


@pytest.fixture
def product(tmp_path: Path, image: SPHERExImage) -> Path:
    path = tmp_path / "product.fits"
    write_product(image, path)
    return path


def test_the_structure_is_that_which_astropy_sees(product):
    with open_source(product) as source, fits.open(product) as hdus:
        found = scan_hdus(source)
        assert [one.name for one in found] == [hdu.name for hdu in hdus]
        for one, hdu in zip(found, hdus, strict=True):
            where = hdu.fileinfo()
            assert (one.header_offset, one.data_offset) == (where["hdrLoc"], where["datLoc"])
            assert one.header == hdu.header
        assert [one.name for one in scan_hdus(source, last="FLAGS")] == ["PRIMARY", "IMAGE", "FLAGS"]


def test_bytes_behind_the_last_hdu_do_not_matter(product, image):
    with product.open("ab") as stream:
        stream.write(b"\0" * 2880)
    np.testing.assert_array_equal(read_product(product).data, image.data)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello", "not FITS"),
        (b"SIMPLE  =                    T".ljust(80), "no END card"),
        (b"SIMPLE  =                    T".ljust(80) * 40, "no END card"),
        (
            b"SIMPLE  =                    T".ljust(80) + b"BITPIX  = eight".ljust(80) + b"END".ljust(2720),
            "header of HDU 0 is damaged",
        ),
        (
            b"".join(one.ljust(80) for one in (b"SIMPLE  = T", b"BITPIX  = 8", b"NAXIS   = 1", b"NAXIS1  = -8"))
            + b"END".ljust(2560),
            "not FITS|would have",
        ),
    ],
)
def test_a_file_that_is_no_product_is_named(tmp_path, content, message):
    path = tmp_path / "bad.fits"
    path.write_bytes(content)
    with pytest.raises(ProductError, match=message) as caught:
        read_product(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("part", [0.05, 0.2, 0.4, 0.6, 0.8, 0.9])
def test_a_file_that_is_cut_short_is_named(product, part):
    content = product.read_bytes()
    product.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ProductError, match="cut short|no END card") as caught:
        read_product(product)
    assert str(product) in str(caught.value)


def test_what_is_missing_is_told(tmp_path):
    path = tmp_path / "bare.fits"
    write_product(SPHERExImage(np.zeros((4, 4), np.float32), unit="adu"), path)
    with open_product(path) as opened, pytest.raises(ProductError, match="no HDU VARIANCE; it has PRIMARY, IMAGE"):
        opened.variance()
    with open_product(path) as opened, pytest.raises(ProductError, match="no celestial"):
        opened.wcs()
    assert read_product(path).variance is None
    with pytest.raises(FileNotFoundError):
        read_product(tmp_path / "absent.fits")


def test_an_unknown_unit_is_told(product):
    with fits.open(product, mode="update") as hdus:
        hdus["IMAGE"].header["BUNIT"] = "apples"
    with pytest.raises(ProductError, match="BUNIT of HDU IMAGE is 'apples'"):
        read_product(product)


def test_both_conventions_of_flag_names_are_read():
    archive = raw(fits.Header({"MP_HOT": 10, "HIERARCH MP_TRANSIENT": 0, "HIERARCH MP_MISSING_DATA": 9}))
    assert flag_table_of(archive) == FlagTable({"HOT": 10, "TRANSIENT": 0, "MISSING_DATA": 9})
    release3 = raw(fits.Header({"MSKN0010": "HOT", "MSKM0010": 1024, "MSKD0010": "hot pixel", "MSKN0020": "CROSSTALK"}))
    assert flag_table_of(release3) == FlagTable({"HOT": 10, "CROSSTALK": 20})
    for cards in (archive, release3):
        written = with_flag_table(cards, flag_table_of(cards))
        assert written.startswith(cards)
        assert fits.Header.fromstring(written[len(cards) :])["EXTTYPE"] == "MASK"


def test_another_table_replaces_the_cards():
    cards = with_flag_table(raw(fits.Header({"MSKN0010": "HOT", "MSKM0010": 1024, "OTHER": 1})), FlagTable({"COLD": 3}))
    assert flag_table_of(cards) == FlagTable({"COLD": 3})
    header = fits.Header.fromstring(cards)
    assert "MSKM0010" not in header
    assert header["OTHER"] == 1


@pytest.mark.parametrize(
    "cards", [{"MP_HOT": "ten"}, {"MP_HOT": 99}, {"MP_HOT": 3, "MP_COLD": 3}, {"MP_HOT": 3, "MSKN0004": "HOT"}]
)
def test_contradicting_flag_cards_are_an_error(cards):
    with pytest.raises(ProductError, match="flags is damaged"):
        flag_table_of(raw(fits.Header(cards)))


def test_an_existing_file_is_not_replaced_by_mistake(product, image):
    with pytest.raises(FileExistsError):
        write_product(image, product)
    write_product(image, product, overwrite=True)


def test_what_has_no_place_in_the_file_is_refused(tmp_path, image):
    image.psf = np.eye(3)
    with pytest.raises(ValueError, match="PSF among its planes"):
        write_product(image, tmp_path / "a.fits")


def test_a_mask_is_kept(tmp_path, image):
    image.mask = image.flags % 2 == 1
    write_product(image, tmp_path / "a.fits")
    np.testing.assert_array_equal(read_product(tmp_path / "a.fits").mask, image.mask)


def test_a_wcs_set_by_hand_is_written(tmp_path, image):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 100.0, -20.0
    wcs.wcs.cdelt = -0.001, 0.001
    image.wcs = wcs
    write_product(image, tmp_path / "a.fits")
    got = read_product(tmp_path / "a.fits")
    np.testing.assert_allclose(got.wcs.all_pix2world([[3, 4]], 0), wcs.all_pix2world([[3, 4]], 0), rtol=0, atol=1e-10)
    assert "A_ORDER" not in got.header
    assert got.header["CRPIX1A"] == 1.0


def test_planes_that_were_changed_are_written_changed(tmp_path, product, image):
    got = read_product(product)
    got.planes["ZODI"].data[0, 0] = -5
    got.planes["NEW"] = Plane(fits.ImageHDU(np.arange(4)))
    write_product(got, tmp_path / "b.fits")
    again = read_product(tmp_path / "b.fits")
    assert again.planes["ZODI"].data[0, 0] == -5
    np.testing.assert_array_equal(again.planes["NEW"].data, np.arange(4))


def test_planes_that_were_not_looked_at_are_written_byte_by_byte(tmp_path, product):
    got = read_product(product)
    write_product(got, tmp_path / "b.fits")
    assert (tmp_path / "b.fits").read_bytes() == product.read_bytes()


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int64, np.float64, np.uint8])
def test_other_number_types_come_back(tmp_path, dtype):
    pixels = np.arange(12).reshape(3, 4).astype(dtype)
    write_product(SPHERExImage(pixels, unit="adu"), tmp_path / "a.fits")
    got = read_product(tmp_path / "a.fits").data
    np.testing.assert_array_equal(got, pixels)
    assert got.dtype == dtype


def test_genuine_files_come_back_byte_by_byte(archive_samples, tmp_path):
    for sample in archive_samples:
        copy = tmp_path / sample.name
        image = read_product(sample)
        assert image.wcs is not None
        write_product(image, copy)
        assert copy.read_bytes() == sample.read_bytes(), sample.name


def test_genuine_files_show_what_astropy_shows(archive_samples):
    for sample in archive_samples:
        image = read_product(sample)
        with fits.open(sample) as hdus:
            np.testing.assert_array_equal(image.data, hdus["IMAGE"].data)
            assert image.unit == "MJy / sr"
            header = hdus["IMAGE"].header
            # astropy is told to leave the other systems alone, about which it
            # would comment.
            celestial = WCS(fits.Header([card for card in header.cards if card.keyword[-1:] not in ("A", "W")]))
            np.testing.assert_allclose(
                image.wcs.all_pix2world([[0, 0], [5, 5]], 0),
                celestial.all_pix2world([[0, 0], [5, 5]], 0),
                rtol=0,
                atol=1e-12,
            )
        wavelength, bandwidth = image.alternative_wcs("W").wcs_pix2world([[3, 3]], 0)[0]
        assert 0.7 < wavelength < 5.1
        assert 0.005 < bandwidth < 0.2
