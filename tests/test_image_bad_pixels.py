"""Bad pixels by the names of flags, and by published choices of them."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from spherex.image import (
    ARTEFACT_FLAGS,
    BAD_PIXEL_PRESETS,
    FLAG_DESCRIPTIONS,
    SPHEREX_FLAGS,
    FlagPlane,
    FlagTable,
    SPHERExImage,
    draw_image,
)

from .level2_files import QR2_BITS, QR3_BITS
from .test_readme import ROOT

NEVER_BY_DEFAULT = {"SOURCE", "FULLSAMPLE", "OVERFLOW", "OUTLIER"}


def one_pixel_a_flag(bits: dict[str, int]) -> FlagPlane:
    """Return flags of which each pixel has one, in the order of the table, and the last none."""
    return FlagPlane(np.array([[*(1 << bit for bit in bits.values()), 0]], np.int32), FlagTable(bits))


def masked(bits: dict[str, int], *names: object) -> set[str]:
    mask = one_pixel_a_flag(bits).bad_pixels(*names)
    assert mask.dtype == bool
    assert not mask[0, -1]
    return {name for name, bad in zip(bits, mask[0], strict=False) if bad}


@pytest.mark.parametrize("bits", [QR2_BITS, QR3_BITS, dict(SPHEREX_FLAGS)])
def test_the_default_is_all_but_four(bits):
    assert masked(bits) == masked(bits, "cube") == set(bits) - NEVER_BY_DEFAULT


def test_the_choice_of_the_helpdesk():
    fit = {"SUR_ERROR", "NONFUNC", "MISSING_DATA", "HOT", "COLD", "NONLINEAR"} | ARTEFACT_FLAGS.intersection(QR3_BITS)
    assert masked(QR3_BITS, "fit") == fit
    assert masked(QR3_BITS, "background") == fit | {"OVERFLOW", "SOURCE", "OUTLIER", "TRANSIENT"}


def test_numbers_of_bits_as_others_use_them():
    assert {QR2_BITS[name] for name in masked(QR2_BITS, "spxquery")} == {0, 1, 2, 6, 7, 9, 10, 11, 15}


@pytest.mark.parametrize("preset", sorted(BAD_PIXEL_PRESETS.keys() - {"suspect"}))
def test_presets_take_what_a_table_has(preset):
    assert BAD_PIXEL_PRESETS[preset].source
    assert masked(QR2_BITS, preset)
    few = {"HOT": 3, "SOURCE": 5}
    assert masked(few, preset) == ({"HOT", "SOURCE"} if preset == "background" else {"HOT"})
    if preset == "cube":
        assert masked({"OTHER": 3}, preset) == {"OTHER"}
    else:
        with pytest.raises(ValueError, match="it has OTHER"):
            masked({"OTHER": 3}, preset)


def test_flags_are_named_one_by_one_too():
    assert masked(QR2_BITS, "HOT") == {"HOT"}
    assert masked(QR2_BITS, ["HOT", "SOURCE"]) == {"HOT", "SOURCE"}
    assert masked(QR2_BITS, []) == set()


@pytest.mark.parametrize("names", ["SATURATED", "fits", ["HOT", "SATURATED"]])
def test_a_flag_that_is_not_known_is_an_error_that_lists_those_that_are(names):
    with pytest.raises(KeyError, match=r"No flag (SATURATED|fits).*it has HOT, COLD.*Presets are cube, fit"):
        masked({"HOT": 1, "COLD": 2}, names)


@pytest.mark.parametrize("names", ["HOTT", ["HOT", "HOTT"]])
def test_a_misspelt_flag_is_named_with_a_similar_one(image, names):
    for use in (image.bad_pixels, lambda flags: draw_image(Figure().add_subplot(), image, hidden_flags=flags)):
        with pytest.raises(KeyError, match=r"No flag HOTT in this image; .* Did you mean 'HOT'"):
            use(names)
    image.flags = None
    with pytest.raises(KeyError, match="Did you mean 'HOT'"):
        image.plot(Figure().add_subplot(), hidden_flags=["HOTT"])


def test_flags_of_other_images_hide_nothing(image):
    grey = [draw_image(Figure().add_subplot(), image, flags)[2] for flags in ((), ["BLOOM"], ["HOT"], "HOT")]
    assert grey[0] == grey[1] < grey[2] == grey[3]


def test_an_image_passes_on(image):
    np.testing.assert_array_equal(image.bad_pixels(["HOT", "COLD"]), image.flags & 0b11 << 10 != 0)
    assert image[2:5, 3:9].bad_pixels().shape == (3, 6)
    with pytest.raises(ValueError, match="no flags"):
        SPHERExImage(np.zeros((2, 2)), unit="adu").bad_pixels()


def test_bits_without_a_name_are_bad_where_all_but_some_are():
    plane = FlagPlane(np.array([[1 << 30, 1 << 10, 1 << 21, 0]], np.int32), FlagTable({"HOT": 10, "SOURCE": 21}))
    assert plane.bad_pixels().tolist() == [[True, True, False, False]]
    assert plane.bad_pixels("fit").tolist() == [[False, True, False, False]]


@pytest.mark.parametrize("preset", BAD_PIXEL_PRESETS)
def test_without_names_no_preset_calls_pixels_good(preset):
    plane = FlagPlane(np.array([[1 << 6]], np.int32), FlagTable({}))
    with pytest.raises(ValueError, match="has no flag of the preset"):
        plane.bad_pixels(preset)


def test_the_table_of_the_page_has_all_flags():
    page = (ROOT / "doc" / "product.md").read_text()
    for name, meaning in FLAG_DESCRIPTIONS.items():
        bit = f" {SPHEREX_FLAGS[name]}" if name in SPHEREX_FLAGS else ""
        assert f"| {name} |{bit} | {meaning} |" in page
