"""What handles of the Butler say of files, and what the task makes of it."""

from __future__ import annotations

import pytest
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import FileIntegrityError

import spherex
from spherex.errors import HeaderError, ProductError, short_cause
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


def located(cause: ProductError) -> ProductError:
    """Return what a formatter makes of what is wrong with a file."""
    error = ProductError(f"Cannot read /a: folder/b.fits: {cause}.")
    error.__cause__ = cause
    return error


BAD_FILES = [
    (wrapped(ProductError("it is cut short: it ends at byte 5")), "it is cut short"),
    (wrapped(located(ProductError("it is cut short; replace it"))), "it is cut short"),
    (Handle(FileNotFoundError("/a/b.fits")), "its file is gone"),
    (Handle(FileIntegrityError("5 bytes in /a/b.fits")), "its file has another size than at the ingest"),
]
OTHERS = [
    (wrapped(ConnectionError("503 Slow Down")), ValueError),
    (wrapped(PermissionError("not you")), ValueError),
    (Handle(ConnectionError("503 Slow Down")), ConnectionError),
    (wrapped(KeyError("a bug")), ValueError),
]


@pytest.mark.parametrize(("handle", "reason"), BAD_FILES)
def test_what_is_wrong_with_a_file_is_a_product_error(handle, reason):
    for name, arguments, is_lost in (
        ("header", (), True),
        ("wavelength", (), False),
        ("profiles", (), True),  # The header names the calibration.
        ("read", (Box(0, 2, 0, 2),), True),
    ):
        image = DeferredImage(handle)
        with pytest.raises(ProductError, match=f"^{reason}$"):
            getattr(image, name)(*arguments)
        assert image.is_lost is is_lost


@pytest.mark.parametrize(("handle", "reason"), BAD_FILES)
def test_a_bad_file_gives_rows_with_the_reason_and_the_log_its_name(handle, reason, caplog):
    task = MeasureTargetsTask()
    with caplog.at_level("WARNING"):
        found = task.run(handle, TARGETS, image_ids=IMAGE_IDS)
    assert found.measurements["target"].tolist() == ["a"]
    assert found.measurements["reason"].tolist() == [reason]
    assert found.is_lost
    problems = task.metadata.getArray("problems")
    assert len(problems) == 1
    assert problems[0] in caplog.text


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
        MeasureTargetsTask().run(BAD_FILES[0][0], TARGETS, image_ids=IMAGE_IDS, spectralWcs=handle)


def test_flags_that_no_release_has_are_refused():
    config = MeasureTargetsConfig()
    config.badFlags = ["fit", "STREAK", "HOT"]
    config.validate()
    config.doubtfulFlags = ["background", "HOTT"]
    with pytest.raises(ValueError, match=r"There is no flag HOTT \(write a list"):
        config.validate()


@pytest.mark.parametrize("kind", [ProductError, fits.VerifyError])
def test_a_short_cause_does_not_name_the_file(kind, tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    with pytest.raises(ProductError, match=r"a\.fits: a card is bad") as caught, spherex.open(tmp_path / "a.fits"):
        raise kind("a card is bad: it has no value")
    assert short_cause(caught.value) == "a card is bad"
