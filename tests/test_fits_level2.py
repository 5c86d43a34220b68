"""Files of the archive's releases: each part found by content, and written back whole."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.units import Unit

from spherex.archive import calibration_references
from spherex.errors import ProductError
from spherex.fits import WriteRecipe, open_product, open_source, read_product, scan_hdus, write_product
from spherex.image import Box, FlagPlane, FlagTable

from .level2_files import VERSIONS, write_level2

RELEASES = ("qr1", "qr2", "qr3")
PARTS = ("image", "flags", "variance", "zodi", "wcs", "header", "psf", "wavelength", "bbox", "calibrations")


@pytest.mark.parametrize("release", RELEASES)
def test_all_parts_are_read(tmp_path, release):
    file = write_level2(tmp_path / "a.fits", release, origin=(700, 1500))
    image = read_product(file.path)
    np.testing.assert_array_equal(image.data, file.image)
    np.testing.assert_array_equal(image.variance, file.variance)
    np.testing.assert_array_equal(image.flags, file.flags)
    np.testing.assert_array_equal(image.zodi, file.zodi)
    assert image.unit == Unit("MJy/sr")
    assert image.flag_table == FlagTable(file.bits)
    assert image.bbox == Box(700, 750, 1500, 1560)
    assert image.header["L2 N_PERSIST"] == 8406
    assert [str(one) for one in image.calibrations[:1]] == ["[CALIB] dichroic 2acbff5a-51ba-4e28-a8df-95cd8260f966"]
    assert [one.type for one in image.calibrations] == ["dichroic", "gain_factors", "spectral_wcs", "average_psf"]
    assert np.isnan(image.data[3, 4])
    assert np.isnan(image.variance[3, 4])
    assert image.bad_pixels()[3, 4]


@pytest.mark.parametrize("release", RELEASES)
def test_the_order_of_the_hdus_does_not_matter(tmp_path, release):
    file = write_level2(tmp_path / "a.fits", release)
    with open_source(file.path) as source:
        hdus = scan_hdus(source)
    content = file.path.read_bytes()
    turned = [hdus[0], *reversed(hdus[1:])]
    (tmp_path / "b.fits").write_bytes(b"".join(content[hdu.header_offset : hdu.end] for hdu in turned))
    image = read_product(tmp_path / "b.fits")
    np.testing.assert_array_equal(image.data, file.image)
    np.testing.assert_array_equal(image.flags, file.flags)
    assert image.psf_model.at(3, 4).zone == 1
    with open_product(tmp_path / "b.fits") as product:
        assert product.flags() == FlagPlane(file.flags, FlagTable(file.bits))
        assert product.wavelength().at(3, 4) == image.wavelength.at(3, 4)


@pytest.mark.parametrize("release", ["qr1", "qr2"])
def test_a_file_comes_back_byte_by_byte(tmp_path, release):
    file = write_level2(tmp_path / "a.fits", release)
    write_product(read_product(file.path), tmp_path / "b.fits")
    assert (tmp_path / "b.fits").read_bytes() == file.path.read_bytes()


def test_also_after_its_parts_were_looked_at(tmp_path):
    for release in RELEASES:
        file = write_level2(tmp_path / f"{release}.fits", release)
        image = read_product(file.path)
        assert image.psf_model.at(3, 4).zone == 1
        image.wavelength.planes()
        image.alternative_wcs("W")
        assert image[10:20, 5:9].wavelength.at(0, 0) == image.wavelength.at(5, 10)
        assert image.zodi.shape == image.shape
        assert image.bad_pixels().any()
        write_product(image, tmp_path / "again.fits", overwrite=True)
        assert_same_hdus(tmp_path / "again.fits", file.path)
        if release != "qr3":
            assert (tmp_path / "again.fits").read_bytes() == file.path.read_bytes()


def test_compressed_flags_come_back_with_every_card(tmp_path):
    file = write_level2(tmp_path / "a.fits", "qr3")
    image = read_product(file.path)
    # The write recipe says how planes are compressed: the default is plain.
    write_product(image, tmp_path / "plain.fits")
    assert_same_hdus(tmp_path / "plain.fits", file.path)
    with fits.open(tmp_path / "plain.fits") as hdus:
        assert type(hdus["FLAGS"]) is fits.ImageHDU
    recipe = WriteRecipe.model_validate({"flags": {"algorithm": "RICE_1", "tile": (1, 50)}})
    write_product(image, tmp_path / "rice.fits", recipe)
    assert_same_hdus(tmp_path / "rice.fits", file.path)
    assert (tmp_path / "rice.fits").stat().st_size == file.path.stat().st_size


def assert_same_hdus(first, second) -> None:
    """Check that two files have the same HDUs, with every card in the same order, and the same content."""
    with fits.open(first) as found, fits.open(second) as expected:
        assert [hdu.name for hdu in found] == [hdu.name for hdu in expected]
        for one, other in zip(found, expected, strict=True):
            assert [str(card) for card in one.header.cards] == [str(card) for card in other.header.cards]
            if isinstance(other, fits.BinTableHDU) and not isinstance(other, fits.CompImageHDU):
                assert one.data.tobytes() == other.data.tobytes()
            else:
                np.testing.assert_array_equal(one.data, other.data)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("absent", ["FLAGS", "VARIANCE", "ZODI", "PSF", "WCS-WAVE"])
def test_hdus_may_be_absent(tmp_path, release, absent):
    file = write_level2(tmp_path / "a.fits", release, without=(absent,))
    image = read_product(file.path)
    part = {"WCS-WAVE": "wavelength"}.get(absent, absent.lower())
    assert getattr(image, part) is None
    np.testing.assert_array_equal(image[5:9].data, file.image[5:9])
    with pytest.raises(ProductError, match="a.fits.*no HDU"), open_product(file.path) as product:
        getattr(product, part)()
    write_product(image, tmp_path / "b.fits")
    assert_same_hdus(tmp_path / "b.fits", file.path)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_cut_is_that_of_the_whole_image_cut(tmp_path, release, part):
    file = write_level2(tmp_path / "a.fits", release, origin=(30, 40))
    image = read_product(file.path)
    for box in (Box(5, 25, 10, 40), Box(-5, 8, 55, 90)):
        with open_product(file.path) as product:
            found = getattr(product, part)(box)
        assert_same_part(part, found, image.cutout(box))


def assert_same_part(part: str, found, image) -> None:
    """Check that a component is that of an image."""
    match part:
        case "image" | "variance" | "zodi":
            np.testing.assert_array_equal(found.value, image.data if part == "image" else getattr(image, part))
            assert found.unit == (image.unit**2 if part == "variance" else image.unit)
        case "flags":
            assert found == image.flag_plane
        case "header":
            assert [str(card) for card in found.cards] == [str(card) for card in image.header.cards]
        case "wcs":
            np.testing.assert_array_equal(found.all_pix2world([[3, 2]], 0), image.wcs.all_pix2world([[3, 2]], 0))
            assert found.array_shape == image.shape
        case "psf":
            one, other = found.at(2, 1), image.psf_model.at(2, 1)
            assert (one.zone, one.distance) == (other.zone, other.distance)
            np.testing.assert_array_equal(found, image.psf)
            np.testing.assert_array_equal(found.samples, image.psf)
        case "wavelength":
            for one, other in zip(found.planes(), image.wavelength.planes(), strict=True):
                np.testing.assert_array_equal(one.value, other.value)
        case _:
            assert found == getattr(image, part)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_reads_its_own_hdus_only(tmp_path, part, monkeypatch):
    file = write_level2(tmp_path / "a.fits", "qr2", shape=(400, 300))
    with open_source(file.path) as source:
        kind = type(source)
    fetched: list[int] = []
    for name in ("read_at", "read_exactly"):
        original = getattr(kind, name)

        def counted(self, offset, nbytes, original=original):
            fetched.append(nbytes)
            return original(self, offset, nbytes)

        monkeypatch.setattr(kind, name, counted)
    with open_product(file.path) as product:
        getattr(product, part)()
    headers = 12 * 10 * 2880
    data = {"psf": file.psf.nbytes}.get(
        part, file.image.nbytes if part in ("image", "flags", "variance", "zodi") else 0
    )
    assert sum(fetched) <= data + headers


@pytest.mark.parametrize("release", RELEASES)
def test_nothing_chatters(tmp_path, release, caplog):
    file = write_level2(tmp_path / "a.fits", release)
    # astropy's own logger does not hand its messages on.
    astropy = logging.getLogger("astropy")
    astropy.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.DEBUG):
            image = read_product(file.path)
            for one in (image, image[10:20, 5:9], image.cutout((-3, 5, 50, 70), mode="pad")):
                one.wcs.pixel_to_world(3, 4)
                one.alternative_wcs("A").wcs_pix2world([[3, 4]], 0)
                one.alternative_wcs("W").wcs_pix2world([[3, 4]], 0)
                one.wavelength.planes()
                one.psf_model.at(3, 4, interpolate=True)
                one.subtract(one)
            with open_product(file.path) as product:
                for part in PARTS:
                    getattr(product, part)()
    finally:
        astropy.removeHandler(caplog.handler)
    assert not caplog.records


def test_the_two_version_cards_of_a_genuine_file_are_told_apart(archive_samples):
    for sample in archive_samples:
        image = read_product(sample)
        assert image.psf is image.zodi is image.variance is image.flags is None
        primary = fits.getheader(sample)
        assert primary["VERSION"].startswith("6.2")
        assert image.calibrations == calibration_references(map(str, image.header["HISTORY"]))
        assert {"spectral_wcs", "dark", "gain_factors"} <= {one.type for one in image.calibrations}


def test_the_files_have_the_versions_of_their_releases(tmp_path):
    for release, version in VERSIONS.items():
        assert fits.getheader(write_level2(tmp_path / f"{release}.fits", release).path)["VERSION"] == version
