"""Products in FITS files: structure, cards, flags, damaged files, genuine files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.wcs import WCS

from spherex.errors import ProductError
from spherex.fits import (
    ProductFile,
    WriteRecipe,
    flag_table_of,
    open_product,
    open_source,
    read_product,
    scan_hdus,
    write_product,
)
from spherex.fits.cards import Cards
from spherex.fits.flag_names import with_flag_table
from spherex.image import FLAG_DESCRIPTIONS, Box, FlagTable, Plane, SPHERExImage

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
    cards = Cards(raw(header))
    assert [cards.get(name) for name in (keyword, "ABSENT", "ABSENT_TOO")] == [value, None, None]
    assert header[keyword] == value


def test_the_first_of_two_cards_counts():
    header = fits.Header()
    header.append(("A", 1))
    header.append(("A", 2), end=True)
    assert Cards(raw(header))["A"] == 1 == header["A"]


def test_fortran_exponents_and_cards_without_a_value():
    cards = b"A       = 1.5D+02".ljust(80) + b"B       =".ljust(80) + b"C".ljust(80)
    values = Cards(cards)
    assert {name: values.get(name) for name in "ABC"} == {"A": 150.0, "B": None, "C": None}


def test_a_damaged_card_is_an_error():
    with pytest.raises(ProductError, match=r"the header is damaged: A has no valid value, '1\.2\.3'$"):
        Cards(b"A       = 1.2.3".ljust(80))["A"]


@pytest.mark.parametrize(
    ("name", "keyword", "value", "read"),
    [
        ("IMAGE", "NAXIS1", "6q", ProductFile.read),
        ("IMAGE", "NAXIS1", "'60'", ProductFile.read),
        ("IMAGE", "BITPIX", "", ProductFile.read),
        ("IMAGE", "BUNIT", "1.2.3", ProductFile.image),
        ("VARIANCE", "BUNIT", "1_0", ProductFile.read),
        ("FLAGS", "BITPIX", "3.2.1", ProductFile.flags),
        ("FLAGS", "MP_HOT", "1x", ProductFile.flags),
        ("FLAGS", "MP_HOT", "1.5", ProductFile.flags),
        ("IMAGE", "CRVAL1", "1.2.3", ProductFile.wcs),
        ("IMAGE", "CRVAL1", "'abc'", ProductFile.wcs),
        ("IMAGE", "A_ORDER", "2-3", ProductFile.wcs),
        ("IMAGE", "CRPIX1", "1x", lambda product: product.header(Box(0, 5, 0, 5))),
        ("ZODI", "CRPIX2", "1x", lambda product: product.read(Box(0, 5, 0, 5))),
    ],
)
def test_a_damaged_number_is_told_with_file_hdu_and_keyword(tmp_path, image, name, keyword, value, read):
    path = tmp_path / "product.fits"
    image.planes["ZODI"].hdu.header["CRPIX2"] = 1.5
    write_product(image, path)
    with fits.open(path) as hdus:
        start = hdus[name].fileinfo()["hdrLoc"]
    content = path.read_bytes()
    at = content.index(keyword.encode().ljust(8) + b"=", start)
    path.write_bytes(content[:at] + f"{keyword:8}= {value:>20}".encode().ljust(80) + content[at + 80 :])
    with pytest.raises(ProductError) as raised, open_product(path) as product:
        read(product)
    for part in (str(path), "HDU", name, keyword):
        assert part in str(raised.value)


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


def test_a_file_that_ends_in_the_fill_after_its_data_is_named(product):
    with open_source(product) as source:
        hdu = next(one for one in scan_hdus(source) if one.data_offset + one.data_size < one.end)
    product.write_bytes(product.read_bytes()[: hdu.data_offset + hdu.data_size])
    with pytest.raises(ProductError, match=rf"HDU {hdu.index} \({hdu.name}\) at byte {hdu.end}"):
        read_product(product)


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


@pytest.mark.parametrize("recipe", ["default", "compressed"])
def test_viewers_find_name_value_and_description_of_each_flag(tmp_path, image, recipe):
    recipes = {"default": None, "compressed": WriteRecipe.model_validate({"flags": {"algorithm": "RICE_1"}})}
    write_product(image, tmp_path / "written.fits", recipes[recipe])
    with fits.open(tmp_path / "written.fits") as hdus:
        header = hdus["FLAGS"].header
    for name, bit in image.flag_table.items():
        assert header[f"MP_{name}"] == bit
        assert header[f"MSKN{bit:04d}"] == name
        assert header[f"MSKM{bit:04d}"] == 1 << bit
        assert header[f"MSKD{bit:04d}"] == FLAG_DESCRIPTIONS[name]
    assert sum(keyword.startswith("MSKN") for keyword in header) == len(image.flag_table)


def test_another_table_replaces_the_cards():
    cards = with_flag_table(
        raw(fits.Header({"MSKN0010": "HOT", "MSKM0010": 1024, "OTHER": 1})), FlagTable({"COLD": 3, "MY_OWN": 30})
    )
    assert flag_table_of(cards) == FlagTable({"COLD": 3, "MY_OWN": 30})
    header = fits.Header.fromstring(cards)
    assert "MSKM0010" not in header
    assert header["OTHER"] == 1
    assert (header["MP_COLD"], header["MSKN0003"], header["MSKM0003"]) == (3, "COLD", 8)
    assert (header["MP_MY_OWN"], header["MSKN0030"]) == (30, "MY_OWN")
    assert "MSKD0030" not in header


@pytest.mark.parametrize(
    "cards", [{"MP_HOT": "ten"}, {"MP_HOT": 99}, {"MP_HOT": 3, "MP_COLD": 3}, {"MP_HOT": 3, "MSKN0004": "HOT"}]
)
def test_contradicting_flag_cards_are_an_error(cards):
    with pytest.raises(ProductError, match="HDU FLAGS is damaged"):
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


LONG_RUN = "u/somebody/spherex/dark_subtraction_v2/20261123T123456Z"


def test_long_run_names_survive_several_generations(tmp_path, image):
    for generation, run in enumerate([LONG_RUN, "short", LONG_RUN + "x" * 60, "gen4"]):
        path = tmp_path / f"{generation}.fits"
        write_product(
            image, path, provenance={"LSST BUTLER ID": "1", "LSST BUTLER INPUT 0 RUN": run, "LSST BUTLER N": 3}
        )
        image = read_product(path)
        assert image.header["LSST BUTLER INPUT 0 RUN"] == run
        assert image.header["LSST BUTLER N"] == 3
        assert sum(card.keyword.startswith("LSST BUTLER") for card in image.header.cards) == 3


@pytest.mark.parametrize(
    "damage",
    [
        (b"EXTNAME = 'VARIANCE'", b"EXTNAME = 'VARIANCE "),
        (b"BUNIT   = 'electron/s'", b"BUNIT   = 'electron/s "),
        (b"MP_HOT  =                   10", b"MP_HOT  =                   1x"),
        (b"XTENSION= 'IMAGE   '", b"XTENSIOM= 'IMAGE   '"),
        (b"NAXIS1  =                   50", b"NAXIS1  =                  '50"),
    ],
)
def test_a_damaged_card_is_told_with_the_name_of_the_file(product, damage):
    content = product.read_bytes()
    assert damage[0] in content
    # Of the HDUs after the first, so that none becomes a file without it.
    at = content.rindex(damage[0])
    product.write_bytes(content[:at] + damage[1] + content[at + len(damage[0]) :])
    with pytest.raises(ProductError, match=str(product)):
        read_product(product)


def test_numbers_are_those_of_fits_not_of_python():
    with pytest.raises(ProductError, match="KEY has no valid value, '1_000'"):
        Cards(b"KEY     =                1_000".ljust(80))["KEY"]
    late = b"HIERARCH SOME VERY LONG KEYWORD THAT FILLS UP THE CARD ALMOST TOTALLY HERE = 12".ljust(80)
    keyword = "SOME VERY LONG KEYWORD THAT FILLS UP THE CARD ALMOST TOTALLY HERE"
    assert Cards(late)[keyword] == 12


def test_a_foreign_header_does_not_rename_the_planes(tmp_path, image):
    image.header["EXTNAME"] = "VARIANCE"
    image.header["COMMENT"] = "EXTTYPE = 'FOO'"
    write_product(image, tmp_path / "a.fits")
    got = read_product(tmp_path / "a.fits")
    np.testing.assert_array_equal(got.data, image.data)
    assert got.header["EXTTYPE"] == "IMAGE"


def test_planes_keep_their_keys(tmp_path, image):
    image.planes["NEW"] = Plane(fits.ImageHDU(np.arange(4), name="BAR"))
    write_product(image, tmp_path / "a.fits")
    got = read_product(tmp_path / "a.fits")
    got.planes["OLD"] = got.planes.pop("ZODI")
    got.planes["ZODI"] = Plane(fits.ImageHDU(np.arange(3)))
    write_product(got, tmp_path / "b.fits")
    again = read_product(tmp_path / "b.fits")
    np.testing.assert_array_equal(again.planes["OLD"].data, image.planes["ZODI"].data)
    np.testing.assert_array_equal(again.planes["ZODI"].data, np.arange(3))
    np.testing.assert_array_equal(again.planes["NEW"].data, np.arange(4))


@pytest.mark.parametrize("name", ["IMAGE", "FLAGS", "PRIMARY"])
def test_planes_do_not_take_the_place_of_the_image(tmp_path, image, name):
    image.planes[name] = Plane(fits.ImageHDU(np.arange(4)))
    with pytest.raises(ValueError, match=f"cannot have the name {name}"):
        write_product(image, tmp_path / "a.fits")
    assert not (tmp_path / "a.fits").exists()


def test_what_a_product_has_no_place_for_is_not_dropped(tmp_path, product):
    with fits.open(product) as hdus:
        twice = fits.HDUList([*(hdu.copy() for hdu in hdus), fits.ImageHDU(np.zeros((2, 2)), name="VARIANCE")])
        twice.writeto(tmp_path / "twice.fits")
        pixels = fits.HDUList([fits.PrimaryHDU(np.zeros((2, 2))), *(hdu.copy() for hdu in hdus[1:])])
        pixels.writeto(tmp_path / "pixels.fits")
    with pytest.raises(ProductError, match="two HDUs VARIANCE"):
        read_product(tmp_path / "twice.fits")
    with pytest.raises(ProductError, match="primary HDU contains pixels"):
        read_product(tmp_path / "pixels.fits")


def test_checksums_do_not_outlive_the_data(tmp_path, image):
    write_product(image, tmp_path / "a.fits", WriteRecipe(checksum=True))
    got = read_product(tmp_path / "a.fits")
    got.planes["PSF"].data[0] = 7
    write_product(got, tmp_path / "b.fits")
    with fits.open(tmp_path / "b.fits", checksum=True) as hdus:
        assert "CHECKSUM" not in hdus["PSF"].header
        assert "CHECKSUM" in hdus["ZODI"].header


def test_a_variance_in_another_unit_is_converted(tmp_path, product, image):
    with fits.open(product, mode="update") as hdus:
        hdus["VARIANCE"].header["BUNIT"] = "(kiloelectron / s)2"
        hdus["VARIANCE"].header["BUNIT"] = "1000000 electron2 / s2"
    np.testing.assert_allclose(read_product(product).variance, image.variance * 1e6, rtol=1e-6)
    with fits.open(product, mode="update") as hdus:
        hdus["VARIANCE"].header["BUNIT"] = "m"
    with pytest.raises(ProductError, match="not the square"):
        read_product(product)


def test_a_unit_that_cannot_come_back_is_refused(tmp_path):
    image = SPHERExImage(np.zeros((2, 2), np.float32), unit=units.def_unit("apple"))
    with pytest.raises(ValueError, match="apple cannot be read again"):
        write_product(image, tmp_path / "a.fits")


@pytest.mark.parametrize("dtype", [np.float16, bool, complex])
def test_numbers_that_fits_lacks_are_refused(tmp_path, dtype):
    with pytest.raises(ValueError, match="FITS cannot store numbers"):
        write_product(SPHERExImage(np.zeros((2, 2), dtype), unit="adu"), tmp_path / "a.fits")
    assert not (tmp_path / "a.fits").exists()


def test_bytes_that_no_header_may_have_are_refused(product):
    content = product.read_bytes()
    product.write_bytes(content.replace(b"0-based active pixel", b"0-based activ\xe9 pixel", 1))
    with pytest.raises(ProductError, match="contains the byte 233, which is not text"):
        read_product(product)
