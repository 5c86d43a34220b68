"""Finding charts."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time
from astropy.wcs import WCS

from spherex.errors import HeaderError
from spherex.image import SPHERExImage
from spherex.spectra import plot_finders

TARGET = SkyCoord(150.0, 40.0, unit="deg")


def image(detector: int | None, ra: float = 150.0, level: float = 0.0) -> SPHERExImage:
    """Return an image of 60 x 80 pixels around a position."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = ra, 40.0
    wcs.wcs.crpix = 40.5, 30.5
    wcs.wcs.cdelt = -6 / 3600, 6 / 3600
    header = wcs.to_header()
    if detector is not None:
        header["DETECTOR"] = detector
    data = np.random.default_rng(4).normal(level, 1, (60, 80)).astype(np.float32)
    return SPHERExImage(data, unit="MJy/sr", header=header)


def test_one_stamp_a_detector_with_the_target_in_the_middle(tmp_path):
    images = [image(2), image(5, 150.9), image(5, level=100.0), image(5), image(3, 150.9), image(3, 150.9)]
    figure = plot_finders(images, TARGET, side=21)
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == ["D1", "D2", "D3", "D4", "D5", "D6"]
    assert [len(axes.images) for axes in panels.values()] == [0, 1, 0, 0, 1, 0]
    assert [panels[name].texts[0].get_text() for name in ("D1", "D3")] == ["no image", "outside of\n2 images"]
    # The first image that contains the target.
    stamp = panels["D5"].images[0].get_array()
    assert stamp.shape == (21, 21)
    assert stamp.mean() > 90
    marks = [line for line in panels["D2"].lines if line.get_color() == "#00FFFF"]
    horizontal, vertical = (np.array(line.get_xydata()) for line in marks)
    assert (horizontal[0, 1], vertical[0, 0]) == pytest.approx((10.0, 10.0), abs=0.51)
    assert figure._suptitle.get_text() == "RA 150.00000°  Dec +40.00000°"
    figure.savefig(tmp_path / "finders.png")


def test_beyond_the_edge_a_stamp_is_grey():
    figure = plot_finders([image(1)], SkyCoord(149.93, 40.0, unit="deg"), side=41)
    stamp = figure.axes[0].images[0].get_array()
    assert stamp.shape == (41, 41)
    assert 0 < np.ma.count_masked(stamp) < 41 * 41


def test_a_target_that_moves_is_where_it_is_in_each_image():
    """30 arcsec, 5 pixels, in the ten years before the second image."""
    images = [image(1), image(2)]
    for one, date in zip(images, (57388.5, 57388.5 + 3652.5), strict=True):
        one.header["MJD-AVG"] = date
        one.data[:] = 0
    images[0].data[30, 40] = images[1].data[30 + 5, 40] = 1000
    motion = {"pm_ra_cosdec": 0 * u.mas / u.yr, "pm_dec": 3000 * u.mas / u.yr}
    star = SkyCoord(150.0 * u.deg, 40.0 * u.deg, **motion, obstime=Time(57388.5, format="mjd"), distance=10 * u.pc).icrs
    figure = plot_finders(images, star, side=21)
    for title in ("D1", "D2"):
        (axes,) = (axes for axes in figure.axes if axes.get_title() == title)
        stamp = np.ma.filled(axes.images[0].get_array(), 0)
        assert np.abs(np.array(np.unravel_index(np.argmax(stamp), stamp.shape)) - 10).max() <= 1
    del images[0].header["MJD-AVG"]
    with pytest.raises(HeaderError, match="the target moves, and an image has no time"):
        plot_finders(images, star)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (image(None), HeaderError, "DETECTOR"),
        (
            SPHERExImage(np.zeros((4, 4), np.float32), unit="MJy/sr", header={"DETECTOR": 1}),
            ValueError,
            "detector 1 lacks a celestial WCS",
        ),
    ],
    ids=["detector", "wcs"],
)
def test_images_without_detector_or_position_are_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        plot_finders([wrong], TARGET)
