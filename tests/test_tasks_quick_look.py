"""QuickLookTask."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.pipe.base.testUtils import lintConnections, makeQuantum, runTestQuantum
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
