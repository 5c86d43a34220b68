"""QuickLookTask."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from lsst.pipe.base.testUtils import lintConnections, makeQuantum, runTestQuantum
from matplotlib.colors import same_color
from matplotlib.image import imread

from spherex.image import SPHERExImage
from spherex.tasks import QuickLookConnections, QuickLookTask


def test_the_picture_shows_the_pixels(image):
    figure = QuickLookTask().run(image, "a title").plot
    axes, colour_bar = figure.axes
    shown = axes.images[0].get_array()
    hidden = image.flag_plane.has("NONFUNC") | np.isnan(image.data)
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), hidden)
    np.testing.assert_array_equal(shown.compressed(), image.data[~hidden])
    assert axes.get_title() == "a title"
    assert colour_bar.get_ylabel() == "$\\mathrm{e^{-}\\,s^{-1}}$" or "s" in colour_bar.get_ylabel()


def test_an_image_without_a_good_pixel_is_drawn():
    image = SPHERExImage(np.full((4, 4), np.nan, np.float32), unit="electron/s")
    assert QuickLookTask().run(image).plot.axes[0].images[0].get_array().count() == 0


def header(dec: float = 40.0, rotation: float = 0.0, shape: tuple[int, int] = (60, 84)) -> fits.Header:
    """Return a celestial WCS with 6 arcsec per pixel; north is up at a rotation of 0."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, dec
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    sine, cosine = np.sin(np.radians(rotation)), np.cos(np.radians(rotation))
    wcs.wcs.cd = np.array([[-cosine, sine], [sine, cosine]]) * 6 / 3600
    return wcs.to_header()


def noise(shape: tuple[int, int] = (60, 84), **given: object) -> SPHERExImage:
    data = np.random.default_rng(4).normal(0, 1, shape).astype(np.float32)
    return SPHERExImage(data, unit="MJy/sr", **given)


def test_pixels_without_a_value_and_hidden_ones_are_grey_and_counted():
    image = noise()
    image.data[3:5, :10] = np.nan
    axes = QuickLookTask().run(image).plot.axes[0]
    (drawn,) = axes.images
    shown = drawn.to_rgba(drawn.get_array())
    assert same_color(tuple(shown[3, 4]), "0.62")
    colours = {tuple(colour) for colour in drawn.cmap(np.linspace(0, 1, 256)).round(3).tolist()}
    assert tuple(shown[3, 4].round(3).tolist()) not in colours
    assert "grey: 20 hidden or without value" in axes.get_xlabel()


@pytest.mark.parametrize(("outliers", "extend"), [([], "neither"), ([50], "max"), ([-50], "min"), ([50, -50], "both")])
def test_the_colour_bar_has_arrows_where_the_range_is_clipped(outliers, extend):
    image = SPHERExImage(np.repeat([0, 1], 2520).reshape(60, 84).astype(np.float32), unit="MJy/sr")
    image.data[0, : len(outliers)] = outliers
    drawn = QuickLookTask().run(image).plot.axes[0].images[0]
    assert drawn.colorbar.extend == extend


@pytest.mark.parametrize("dec", [0.0, 40.0, 89.9999, -90.0])
@pytest.mark.parametrize("rotation", [0.0, 25.0, 170.0, -100.0])
def test_arrows_lead_to_the_north_and_the_east(dec, rotation):
    image = noise(header=header(dec, rotation))
    axes = QuickLookTask().run(image).plot.axes[0]
    letters = {text.get_text(): np.array(text.xy) for text in axes.texts if text.get_text() in ("N", "E")}
    (foot,) = {tuple(text.xyann) for text in axes.texts if getattr(text, "arrow_patch", None)}
    middle = SkyCoord(image.wcs.pixel_to_world(41.5, 29.5))
    for name, angle in {"N": 0, "E": 90}.items():
        there = np.array(image.wcs.world_to_pixel(middle.directional_offset_by(angle * u.deg, 10 * u.arcsec)))
        expected = (there - (41.5, 29.5)) / np.hypot(*(there - (41.5, 29.5)))
        step = letters[name] - foot
        np.testing.assert_allclose(step / np.hypot(*step), expected, atol=2e-3)


def test_the_scale_bar_has_its_length():
    axes = QuickLookTask().run(noise(header=header())).plot.axes[0]
    (bar,) = axes.lines
    # A quarter of 84 pixels is 126 arcsec.
    assert np.ptp(bar.get_xdata()) == pytest.approx(20, rel=1e-4)
    assert "2 arcmin" in [text.get_text() for text in axes.texts]


def test_without_coordinates_there_is_neither_compass_nor_bar():
    axes = QuickLookTask().run(noise()).plot.axes[0]
    assert (len(axes.lines), len(axes.texts)) == (0, 0)


def test_connections_are_sound():
    lintConnections(QuickLookConnections)


def test_on_a_repository(butler, register, image):
    register("postDark", "SPHERExImage")
    register("postDark_plot", "Plot")
    data_id = butler.registry.expandDataId(instrument="simulator", exposure=1, detector=3)
    butler.put(image, "postDark", data_id)
    task = QuickLookTask()
    quantum = makeQuantum(task, butler, data_id, {"image": data_id, "plot": data_id})
    runTestQuantum(task, butler, quantum, mockRun=False)
    uri = butler.getURI("postDark_plot", data_id)
    assert uri.getExtension() == ".png"
    assert imread(uri.ospath).shape == pytest.approx((600, 700, 4))
