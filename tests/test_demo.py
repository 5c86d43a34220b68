"""The comparison with the truth and the picture at the end of the demo."""

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

from spherex.detectors import DETECTORS
from spherex.image import SPHEREX_FLAGS, SPHERExImage
from spherex_simulator.demo import check_image, draw_before_and_after
from spherex_simulator.demo.__main__ import main

SIDE = 100
STARS = Table({"x": [20.0, 50.0, 80.0, 30.0, 70.0], "y": [20.0, 50.0, 80.0, 70.0, 30.0], "rate": [100.0] * 5})


def make_sky():
    """Make five stars, each in the 9 pixels around its place, on a flat background."""
    sky = np.full((SIDE, SIDE), 0.2)
    for x, y, rate in STARS:
        sky[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] += rate / 9
    return sky


def make_image(sky, sigma=0.1, flags=None):
    noise = np.random.default_rng(1).normal(0, sigma, sky.shape)
    return SPHERExImage(
        (sky + noise).astype(np.float32),
        unit="electron/s",
        variance=np.full(sky.shape, sigma**2, dtype=np.float32),
        flags=np.zeros(sky.shape, dtype=np.int32) if flags is None else flags,
    )


def test_check_accepts_what_was_put_in():
    sky = make_sky()
    result = check_image(make_image(sky), sky, STARS)
    assert result.complaints() == []
    assert (result.pixels, result.stars) == (SIDE**2, 5)
    assert result.mean == pytest.approx(0, abs=0.05)
    assert result.scatter == pytest.approx(1, abs=0.02)
    assert result.flux_ratio == pytest.approx(1, abs=0.02)


def test_check_finds_an_offset():
    sky = make_sky()
    assert "mean pull" in check_image(make_image(sky + 0.01), sky, STARS).complaints()[0]


def test_check_finds_a_wrong_variance():
    sky = make_sky()
    image = make_image(sky)
    image.variance[:] *= 2
    assert "scatter" in check_image(image, sky, STARS).complaints()[0]


def test_check_finds_wrong_fluxes():
    sky = make_sky()
    brighter = STARS.copy()
    brighter["rate"] *= 1.1
    result = check_image(make_image(sky), sky, brighter)
    assert result.flux_ratio == pytest.approx(1 / 1.1, rel=0.01)
    assert "of their true rate" in result.complaints()[0]


def test_check_finds_pixels_that_are_nan_or_flagged_throughout():
    sky = make_sky()
    flags = np.full(sky.shape, SPHEREX_FLAGS.bits("HOT"), dtype=np.int32)
    assert check_image(make_image(sky, flags=flags), sky, STARS).complaints() == ["all pixels have flags"]


def test_check_leaves_out_flagged_pixels_but_not_sources():
    sky = make_sky()
    flags = np.zeros(sky.shape, dtype=np.int32)
    flags[0, :] = SPHEREX_FLAGS.bits("TRANSIENT")
    flags[1, :] = SPHEREX_FLAGS.bits("SOURCE")
    image = make_image(sky, flags=flags)
    image.data[0, :] = 1e6
    result = check_image(image, sky, STARS)
    assert result.pixels == SIDE**2 - SIDE
    assert result.complaints() == []


def test_check_leaves_out_stars_with_neighbours_and_at_the_edge():
    sky = make_sky()
    more = STARS.copy()
    more.add_row([23.0, 20.0, 10.0])
    more.add_row([5.0, 50.0, 100.0])
    assert check_image(make_image(sky), sky, more).stars == 4


def test_check_refuses_what_cannot_be_compared():
    sky = make_sky()
    with pytest.raises(ValueError, match="no variance"):
        check_image(SPHERExImage(sky, unit="electron/s"), sky, STARS)
    with pytest.raises(ValueError, match=r"\(100, 100\).*\(10, 10\)"):
        check_image(make_image(sky), sky[:10, :10], STARS)


def test_picture(tmp_path):
    images = {detector.id: make_image(make_sky()) for detector in DETECTORS}
    images[3].data[10:20, 10:20] = np.nan
    del images[5]
    path = tmp_path / "picture.png"
    draw_before_and_after(images, images, path, "title", "subtitle")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("command", "last"), [("check", "."), ("picture", "picture.png")])
def test_commands_say_that_there_is_nothing_yet(command, last, repo_root, tmp_path):
    result = CliRunner().invoke(main, [command, str(repo_root), "subtractr", str(tmp_path / last)])
    assert result.exit_code == 1
    assert "Run pipelines/ExamplePipeline.yaml first" in result.output
