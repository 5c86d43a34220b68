"""What handles of the Butler say of files, and what the task makes of it."""

from __future__ import annotations

import pytest
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import FileIntegrityError

from spherex.errors import HeaderError, ProductError
from spherex.image import Box
from spherex.tasks import MeasureTargetsConfig, MeasureTargetsTask
from spherex.tasks.measure_targets import DeferredImage

TARGETS = Table({"name": ["a"], "ra": [10.0], "dec": [20.0]})
IMAGE_IDS = {"exposure": 1, "detector": 2}


class Handle:
    """A handle of which nothing can be got, for a reason."""

    def __init__(self, error: Exception, cause: Exception | None = None) -> None:
        self._error, self._cause = error, cause

    def get(self, **_: object) -> None:
        # As the Butler does with all that a formatter raises.
        raise self._error from self._cause


def wrapped(cause: Exception) -> Handle:
    return Handle(ValueError(f"Failure from formatter: {cause}"), cause)


BAD_FILES = [
    wrapped(ProductError("it is cut short")),
    Handle(FileNotFoundError("it is gone")),
    Handle(FileIntegrityError("it has another size")),
]
OTHERS = [
    (wrapped(ConnectionError("503 Slow Down")), ValueError),
    (wrapped(PermissionError("not you")), ValueError),
    (Handle(ConnectionError("503 Slow Down")), ConnectionError),
    (wrapped(KeyError("a bug")), ValueError),
]


@pytest.mark.parametrize("handle", BAD_FILES)
def test_what_is_wrong_with_a_file_is_a_product_error(handle):
    image = DeferredImage(handle)
    for read in (image.header, image.wavelength, image.profiles, lambda: image.read(Box(0, 2, 0, 2))):
        with pytest.raises(ProductError, match=r"^it (is|has)"):
            read()


@pytest.mark.parametrize("handle", BAD_FILES)
def test_a_bad_file_gives_rows_with_the_reason(handle):
    table = MeasureTargetsTask().run(handle, TARGETS, image_ids=IMAGE_IDS).measurements
    assert table["target"].tolist() == ["a"]
    assert table["reason"][0].startswith("it ")


@pytest.mark.parametrize(("handle", "error"), OTHERS)
def test_a_failure_that_may_pass_fails_the_quantum(handle, error):
    with pytest.raises(error, match="503|not you|a bug"):
        MeasureTargetsTask().run(handle, TARGETS, image_ids=IMAGE_IDS)


class HandleWithoutPsf(Handle):
    """A handle from which the header can be read, but not the PSF."""

    def get(self, component: str, **_: object) -> fits.Header | None:
        return fits.Header() if component == "header" else super().get()


def test_the_network_is_no_reason_to_call_a_psf_bad():
    with pytest.raises(ValueError, match="503") as caught:
        DeferredImage(HandleWithoutPsf(ValueError("Failure: 503 Slow Down"), ConnectionError("503"))).profiles()
    assert not isinstance(caught.value, ProductError)
    with pytest.raises(ProductError, match="the PSF of the image cannot be used: Failure: no lattice"):
        DeferredImage(HandleWithoutPsf(ValueError("Failure: no lattice"), ValueError("no lattice"))).profiles()


def test_a_bad_header_is_a_property_of_the_image():
    error = HeaderError("CRVAL1 in the header is not a number")
    with pytest.raises(ProductError, match="^CRVAL1"):
        DeferredImage(Handle(ValueError(f"Failure: {error}"), error)).header()


def test_a_bad_calibration_is_no_bad_image():
    handle = wrapped(ProductError("it is cut short"))
    handle.ref = type("Ref", (), {"id": "bad calibration"})()
    with pytest.raises(ValueError, match="cut short"):
        MeasureTargetsTask().run(BAD_FILES[0], TARGETS, image_ids=IMAGE_IDS, spectralWcs=handle)


def test_flags_that_no_release_has_are_refused():
    config = MeasureTargetsConfig()
    config.badFlags = ["fit", "STREAK", "HOT"]
    config.validate()
    config.doubtfulFlags = ["background", "HOTT"]
    with pytest.raises(ValueError, match=r"There is no flag HOTT \(write them as a list"):
        config.validate()
