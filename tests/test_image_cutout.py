"""Cutouts by place on the sky, and padded ones: equal to the cut of the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.units import Quantity
from matplotlib import pyplot
from matplotlib.figure import Figure

from spherex.fits import read_product
from spherex.image import Box, Cutout, FlagTable, SPHERExImage, frame_origin, shift_header, shifted_cards

from .level2_files import write_level2


@pytest.fixture
def whole(tmp_path) -> SPHERExImage:
    return read_product(write_level2(tmp_path / "a.fits", "qr2", shape=(90, 120)).path)


@pytest.fixture(params=["qr2", "qr3"])
def any_release(request, tmp_path) -> SPHERExImage:
    return read_product(write_level2(tmp_path / "b.fits", request.param, shape=(90, 120)).path)


def sky(image: SPHERExImage, x: float, y: float) -> SkyCoord:
    return image.wcs.pixel_to_world(x, y)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        # The service of IRSA gives 15 pixels, not 16, for 92.25 arcsec; 6 for
        # 0.01 deg, 29 for 180 arcsec and 117 for 0.2 deg.
        (92.25 * units.arcsec, (15, 15)),
        (0.01 * units.deg, (6, 6)),
        (180 * units.arcsec, (29, 29)),
        (0.01 * units.arcsec, (1, 1)),
        ((92.25 * units.arcsec, 0.01 * units.deg), (15, 6)),
        (Quantity([92.25, 36], "arcsec"), (15, 6)),
        (7, (7, 7)),
        ((7, 9), (7, 9)),
        (7 * units.pix, (7, 7)),
    ],
)
def test_sizes_are_rounded_to_pixels(whole, size, shape):
    assert whole.cutout(position=sky(whole, 60.2, 44.7), size=size).shape == shape


def test_a_position_that_moves_is_refused(whole):
    place = sky(whole, 60, 45)
    motion = {"pm_ra_cosdec": 3 * units.mas / units.yr, "pm_dec": 0 * units.mas / units.yr}
    with pytest.raises(ValueError, match="at the time of the image, but this one has a proper motion"):
        whole.cutout(position=SkyCoord(place.ra, place.dec, **motion), size=7)
    for still in (
        {"pm_ra_cosdec": 0 * units.mas / units.yr, "pm_dec": 0 * units.mas / units.yr},
        {"radial_velocity": 100 * units.km / units.s},
    ):
        cut = whole.cutout(position=SkyCoord(place.ra, place.dec, **still), size=7)
        assert cut.bbox == whole.cutout(position=place, size=7).bbox


def test_two_tenths_of_a_degree_are_117_pixels(whole):
    cut = Cutout(position=sky(whole, 60, 45), size=0.2 * units.deg)
    assert cut.resolve((2040, 2040), lambda: whole.wcs).shape[0] == 45 + 59
    assert Cutout(position=sky(whole, 500, 600), size=0.2 * units.deg).resolve(
        (2040, 2040), lambda: whole.wcs
    ).shape == (
        117,
        117,
    )


def test_the_service_cuts_the_same_pixels():
    # The cutout of the IRSA notebook on PSFs: 0.01 deg around a place that is
    # at (223.174, 2007.353) of the frame begins at (221, 2005).
    for place, origin in ((223.17405285837052, 221), (2007.3529490762662, 2005)):
        assert math.ceil(place - 6 / 2) == origin


def test_genuine_cutouts_begin_where_ours_do(archive_samples):
    # All were asked for around this place.
    position = SkyCoord(308.027, 38.350, unit="deg")
    for sample in archive_samples:
        image = read_product(sample)
        assert image.cutout(position=position, size=6 * units.pix).bbox == image.bbox, sample.name


@pytest.mark.parametrize("place", [(60.2, 44.7), (0, 0), (118.9, 3.2), (-2.4, 91.2)])
@pytest.mark.parametrize("mode", ["trim", "pad"])
def test_it_is_the_cutout_of_astropy(whole, place, mode):
    position, size = sky(whole, *place), Quantity([60, 92.25], "arcsec")
    found = whole.cutout(position=position, size=size, mode=mode)
    expected = Cutout2D(
        whole.data, position, size, wcs=whole.wcs, mode={"trim": "trim", "pad": "partial"}[mode], fill_value=np.nan
    )
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_allclose(found.wcs.wcs.crpix, expected.wcs.wcs.crpix)


BOXES = [Box(5, 25, 10, 40), Box(-5, 8, 55, 95), Box(119, 130, -4, 1), Box(-3, 125, -2, 93)]


@pytest.mark.parametrize("box", BOXES)
def test_a_padded_cut_has_all_pixels_of_the_box(any_release, box):
    cut = any_release.cutout(box, mode="pad")
    assert cut.shape == box.shape
    rows, columns = np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)
    inside = np.ix_((rows >= 0) & (rows < 90), (columns >= 0) & (columns < 120))
    outside = np.ones(box.shape, bool)
    outside[inside] = False
    trimmed = any_release.cutout(box)
    for name in ("data", "variance", "zodi", "flags"):
        np.testing.assert_array_equal(getattr(cut, name)[inside], getattr(trimmed, name))
    for name in ("data", "variance", "zodi"):
        assert np.isnan(getattr(cut, name)[outside]).all()
    assert (cut.flags[outside] == 1 << any_release.flag_table["MISSING_DATA"]).all()
    assert cut.bad_pixels()[outside].all()
    assert cut.header["NAXIS1"] == box.shape[1]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("mode", ["trim", "pad"])
def test_every_coordinate_stays_with_its_pixel(any_release, box, mode):
    cut = any_release.cutout(box, mode=mode)
    x0, y0 = (box.x0, box.y0) if mode == "pad" else (max(box.x0, 0), max(box.y0, 0))
    x, y = max(box.x0, 0), max(box.y0, 0)
    assert cut.bbox == Box(x0, x0 + cut.shape[1], y0, y0 + cut.shape[0])
    np.testing.assert_allclose(
        cut.wcs.all_pix2world([[x - x0, y - y0]], 0), any_release.wcs.all_pix2world([[x, y]], 0), rtol=0, atol=1e-11
    )
    np.testing.assert_array_equal(cut.alternative_wcs("A").wcs_pix2world([[x - x0, y - y0]], 0), [[x, y]])
    np.testing.assert_allclose(
        Quantity(cut.wavelength.at(x - x0, y - y0)).value, Quantity(any_release.wavelength.at(x, y)).value, rtol=1e-14
    )
    assert cut.wavelength.shape == cut.shape
    found, expected = cut.psf_model.at(x - x0, y - y0), any_release.psf_model.at(x, y)
    assert (found.zone, found.distance) == (expected.zone, expected.distance)
    assert cut.calibrations == any_release.calibrations


def test_a_cut_of_a_cut_and_of_an_archive_cutout_knows_its_place(tmp_path):
    image = read_product(write_level2(tmp_path / "a.fits", origin=(700, 1500)).path)
    assert image.bbox == Box(700, 750, 1500, 1560)
    assert image[10:20, 5:25][2:].bbox == Box(705, 725, 1512, 1520)


def test_masks_and_a_wcs_set_by_hand_are_padded_too(image):
    image.mask = image.flags % 2 == 1
    image.wcs = image.wcs.deepcopy()
    cut = image.cutout((-3, 5, 50, 70), mode="pad")
    assert cut.mask[:, :3].all()
    assert cut.mask[10:].all()
    np.testing.assert_array_equal(cut.mask[:10, 3:], image.mask[50:, :5])
    assert cut.wcs.array_shape == (20, 8)
    np.testing.assert_allclose(cut.wcs.all_pix2world([[4, 5]], 0), image.wcs.all_pix2world([[1, 55]], 0), atol=1e-11)


def test_flags_without_a_name_for_it_are_padded_with_none():
    image = SPHERExImage(
        np.ones((2, 2), np.int16), unit="adu", flags=np.ones((2, 2), np.int32), flag_table=FlagTable({"A": 0})
    )
    cut = image.cutout((1, 3, 0, 2), mode="pad")
    assert cut.data.tolist() == [[1, 0], [1, 0]]
    assert cut.flags.tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize("place", [(-30, 40), (60, 400), (10000, 10000)])
@pytest.mark.parametrize("mode", ["trim", "pad"])
def test_no_overlap_is_a_clear_error(whole, place, mode):
    with pytest.raises(ValueError, match=r"A cutout of 60.0 arcsec at .* lies outside of the image of 90 rows and 120"):
        whole.cutout(position=sky(whole, *place), size=60 * units.arcsec, mode=mode)


@pytest.mark.parametrize("direction", [(308.3, 39.99), (128.3, -39.99), (0, 0), (218.3, 0), (0, 90), (0, -90)])
def test_nowhere_on_the_sky_is_taken_for_the_image(whole, direction):
    for offset in range(0, 360, 15):
        position = SkyCoord(*direction, unit="deg").directional_offset_by(offset * units.deg, 6 * units.deg)
        with pytest.raises(ValueError, match="lies outside"):
            whole.cutout(position=position, size=1 * units.arcmin)


def test_positions_of_other_frames_are_the_same_place(whole):
    position = sky(whole, 60, 45)
    assert whole.cutout(position=position.galactic, size=9).bbox == whole.cutout(position=position, size=9).bbox


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "box of pixels, or by a position and a size"),
        ({"mode": "trim"}, "box of pixels, or by a position and a size"),
        ({"box": (0, 4, 0, 4), "mode": "fill"}, "trim or pad, not 'fill'"),
        ({"position": SkyCoord(1, 2, unit="deg")}, "position and a size"),
        ({"size": 3 * units.arcsec}, "position and a size"),
        ({"box": (0, 4, 0, 4), "position": SkyCoord(1, 2, unit="deg"), "size": 3}, "position and a size"),
        ({"position": (1, 2), "size": 3}, "a scalar SkyCoord"),
        ({"position": SkyCoord([1, 2], [3, 4], unit="deg"), "size": 3}, "a scalar SkyCoord"),
        *(
            ({"position": SkyCoord(308.4, 39.9, unit="deg"), "size": size}, "size of a cutout is")
            for size in (0, -3 * units.arcsec, "big", 3 * units.um, (1, 2, 3), np.nan, np.inf * units.deg)
        ),
        *(
            ({"position": SkyCoord(308.4, 39.9, unit="deg"), "size": size}, "with a unit .* of pixels, at least 1, not")
            for size in (0.01, 0.99, 0.5 * units.pix, (7, 0.01))
        ),
    ],
)
def test_what_describes_no_part_is_refused(whole, arguments, message):
    with pytest.raises(ValueError, match=message):
        whole.cutout(**arguments)


def test_without_coordinates_there_is_no_place_on_the_sky():
    image = SPHERExImage(np.zeros((3, 3)), unit="adu")
    with pytest.raises(ValueError, match="no celestial coordinates"):
        image.cutout(position=SkyCoord(1, 2, unit="deg"), size=3)


@pytest.mark.parametrize(
    ("card", "pixel", "parent"),
    [
        ((-931, -933), (0, 0), (932, 934)),
        ((-25, -194), (4, 5), (30, 200)),
        ((-220, -2004), (2.1740528583705068, 2.3529490762661016), (223.17405285837052, 2007.3529490762662)),
        ((1, 1), (0, 0), (0, 0)),
    ],
)
def test_published_origins_of_cutouts(card, pixel, parent):
    # Tests of spherex-retrieval and SPIFF, IRSA notebook on PSFs, whole frame.
    x, y = frame_origin({"CRPIX1A": card[0], "CRPIX2A": card[1]})
    assert (x + pixel[0], y + pixel[1]) == pytest.approx(parent, rel=1e-15)


def test_an_axis_without_origin_is_that_of_a_whole_frame():
    assert frame_origin({"CRPIX1A": -931}) == (932, 0)
    assert frame_origin({"CRPIX2A": -933}) == (0, 934)


def test_cards_of_a_cut_are_those_of_its_header() -> None:
    header = fits.Header({"NAXIS": 2, "NAXIS1": 100, "NAXIS2": 90, "CRPIX1": 50.5, "CRPIX2A": -3.0, "CRPIX3": 2.0})
    header["CRPIX2"] = (40, "[pixel] reference")
    header["NAME"] = "CRPIX1"
    header["HISTORY"] = "NAXIS1 = 5"
    box = Box(10, 30, 5, 12)
    cards = "".join(str(card) for card in header.cards).encode("ascii")
    shift_header(header, box)
    assert shifted_cards(cards, box) == "".join(str(card) for card in header.cards).encode("ascii")
    assert b"CRPIX1  =                 40.5" in shifted_cards(cards, box)
    assert shifted_cards(cards.replace(b"CRPIX", b"CRPIY"), box) == cards.replace(b"CRPIX", b"CRPIY")


def test_a_cutout_is_drawn_with_unit_and_wavelength(whole: SPHERExImage) -> None:
    part = whole[20:41, 30:61]
    part.data[3, 4] = np.nan
    part.header["OBSID"], part.header["DETECTOR"] = "2025W25_1A_0003_2", 4
    axes = Figure().add_subplot()
    assert part.plot(axes) is axes
    (drawn,) = axes.images
    np.testing.assert_array_equal(np.ma.filled(drawn.get_array(), np.nan), part.data)
    wavelength, _ = whole.wavelength.at(45, 30)
    assert axes.get_title() == f"2025W25_1A_0003_2   D4\n{wavelength.to_value('um'):.3f} µm in the middle"
    assert all(tick == round(tick) for tick in [*axes.get_xticks(), *axes.get_yticks()])
    bare = Figure().add_subplot()
    bare.set_xticks([])
    part.plot(bare)
    assert not len(bare.get_xticks())
    (bar,) = set(axes.figure.axes) - {axes}
    assert bar.get_ylabel() == part.unit.to_string("unicode")


def test_images_are_drawn_into_the_current_axes() -> None:
    with pyplot.rc_context({"backend": "agg"}):
        image = SPHERExImage(np.arange(12.0).reshape(3, 4), unit="electron / s")
        # Other tests may have left axes.
        figure = pyplot.figure()
        axes = image.plot()
        assert figure.axes[0] is axes
        assert axes.get_title() == ""
        pyplot.close("all")
