"""Header values: one reader for each kind, whatever asks."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.time import Time
from lsst.daf.butler import Timespan

from spherex.detectors import DETECTOR_IDS
from spherex.errors import HeaderError, ProductError, UserError
from spherex.fits import open_product
from spherex.headers import (
    bunit_of,
    date_written,
    detector_of,
    exposure_middle,
    exposure_times,
    has_old_gains,
    has_swapped_zones,
    number_of,
    observation_date,
    tai_nanoseconds,
    text_of,
    time_at,
    version_of,
)
from spherex.ingest.level2 import timespan_in

from .level2_files import write_level2

LEAP = 37 * 10**9
TIMES = {"MJD-BEG": 61027.214984375, "MJD-AVG": 61027.215650564, "MJD-END": 61027.216316753}
DATES = {
    "DATE-BEG": "2025-12-18T05:09:34.650",
    "DATE-AVG": "2025-12-18T05:10:32.209",
    "DATE-END": "2025-12-18T05:11:29.768",
}


def header_of(tmp_path: Path, text: str) -> fits.Header:
    """Return a header with a card that is read from a file."""
    (tmp_path / "header").write_bytes(f"{text:80}".encode() + b"END".ljust(80))
    return fits.Header.fromfile(tmp_path / "header", endcard=True, padding=False)


def test_numbers() -> None:
    cards = {"A": 1, "B": 2.5, "C": np.float32(0.5), "D": None}
    assert [number_of(cards, key) for key in "ABCDE"] == [1.0, 2.5, 0.5, None, None]
    assert isinstance(number_of(cards, "A"), float)


def test_numbers_of_astropy_headers(tmp_path: Path) -> None:
    assert number_of(header_of(tmp_path, "A       =                 61.5"), "A") == 61.5
    assert number_of(header_of(tmp_path, "A       ="), "A") is None
    with pytest.raises(HeaderError, match="A of the WCS is not a number"):
        number_of(header_of(tmp_path, "A       = 8.5 8.5"), "A", where="of the WCS")


@pytest.mark.parametrize("value", [True, "1", np.nan, np.inf, 1j])
def test_values_that_are_not_numbers(value: Any) -> None:
    with pytest.raises(HeaderError, match="A in the header is not a number"):
        number_of({"A": value}, "A")


@pytest.mark.parametrize(("value", "limits"), [(-1, "0 to 360"), (361.0, "0 to 360")])
def test_numbers_out_of_range(value: float, limits: str) -> None:
    with pytest.raises(UserError, match=f"A in the header is {value}, not {limits}"):
        number_of({"A": value}, "A", 0, 360)


def test_texts() -> None:
    assert [text_of({"A": "x", "B": "", "C": 3}, key) for key in "ABCD"] == ["x", None, "3", None]


def test_tai_and_utc_differ_by_the_leap_seconds() -> None:
    tai, utc = tai_nanoseconds([61000.0, 61000.5], "TAI"), tai_nanoseconds([61000.0, 61000.5])
    assert (utc - tai).tolist() == [LEAP] * 2


@pytest.mark.parametrize("mjd", [41317.0, 57753.999999, 61367.123456789, 65000.0])
def test_nanoseconds_are_those_of_the_butler(mjd: float) -> None:
    times = Time([mjd, mjd + 1.0], format="mjd", scale="utc")
    ours = tai_nanoseconds([mjd, mjd + 1.0])
    assert all(abs(a - b) < 1000 for a, b in zip(ours.tolist(), Timespan(*times).nsec, strict=True))
    back = time_at(ours, "UTC")
    np.testing.assert_allclose((back.jd1 - 2400000.5 - mjd) + back.jd2, [0, 1], atol=1e-11)
    np.testing.assert_array_equal(Timespan(*time_at(ours)).nsec, ours)


@pytest.mark.parametrize(("mjd", "date"), [(61367.0, "20261123"), (61366.99999, "20261122"), (40587.5, "19700101")])
def test_observation_date(mjd: float, date: str) -> None:
    assert observation_date(int(tai_nanoseconds(mjd))) == date


def test_headers_without_times() -> None:
    assert exposure_times({}) is None
    assert exposure_middle({}) is None


@pytest.mark.parametrize("scale", ["UTC", "TAI"])
@pytest.mark.parametrize("cards", [TIMES, DATES, TIMES | DATES], ids=["MJD", "DATE", "both"])
def test_ingest_and_measurement_agree_on_the_time(scale: str, cards: dict[str, Any]) -> None:
    header = fits.Header(cards | {"TIMESYS": scale})
    ingested = timespan_in(header)
    (begin, end), measured = ingested.nsec, exposure_middle(header)
    middle = tai_nanoseconds(measured.utc.mjd)
    assert abs(int(middle) - (begin + end) // 2) < 2_000_000
    # The date of the header is in the header's scale.
    named = Time(61027.215650564, format="mjd", scale=scale.lower())
    assert abs((measured - named).sec) < 0.002
    assert ingested.contains(named)


def test_the_scale_shifts_all_times_by_the_leap_seconds() -> None:
    utc, tai = (fits.Header(TIMES | {"TIMESYS": scale}) for scale in ("UTC", "TAI"))
    # Both are rounded to microseconds.
    assert np.subtract(exposure_times(utc), exposure_times(tai)) == pytest.approx([LEAP] * 2, abs=1000)
    assert (exposure_middle(utc) - exposure_middle(tai)).sec == pytest.approx(37, abs=1e-6)
    assert exposure_times(TIMES) == exposure_times(utc)


def test_the_middle_is_that_of_the_header() -> None:
    middle = exposure_middle(TIMES)
    assert middle.scale == "utc"
    assert middle.mjd == TIMES["MJD-AVG"]


@pytest.mark.parametrize("cards", [TIMES, DATES], ids=["MJD", "DATE"])
def test_the_middle_from_begin_and_end(cards: dict[str, Any]) -> None:
    limits = {key: value for key, value in cards.items() if not key.endswith("AVG")}
    assert exposure_middle(limits).mjd == pytest.approx(TIMES["MJD-AVG"], abs=2e-8)


def test_times_of_the_future_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in ("UTC", "TAI"):
            cards = {"MJD-BEG": 80000.0, "MJD-AVG": 80000.5, "MJD-END": 80001.0, "TIMESYS": scale}
            assert exposure_times(cards) is not None
            assert exposure_middle(cards) is not None
            assert observation_date(exposure_times(cards)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MJD-END": None}, "MJD-END is missing"),
        ({"MJD-BEG": "yesterday"}, "MJD-BEG is not a date: 'yesterday'"),
        ({"MJD-AVG": True}, "MJD-AVG is not a date: True"),
        ({"MJD-BEG": np.nan}, "nan is not a modified Julian date"),
        ({"MJD-END": 61027.2}, "is not after the begin"),
        ({"MJD-AVG": 61027.3}, "the middle 61027.3 is not between the begin"),
        ({"DATE-BEG": "2025-12-18T05:10:34.650"}, "DATE-BEG in the header is .*, but MJD-BEG is"),
        ({"DATE-END": "2025-12-18T05:11:29.768+02:00"}, "DATE-END is not a date"),
        ({"DATE-AVG": "noon"}, "DATE-AVG is not a date"),
        ({"TIMESYS": "TDB"}, "the time scale 'TDB' is neither UTC nor TAI"),
    ],
    ids=str,
)
def test_bad_times(change: dict[str, Any], message: str) -> None:
    for read in (exposure_times, exposure_middle):
        with pytest.raises(HeaderError, match=message):
            read(TIMES | change)


def test_the_version_of_the_primary_header_counts() -> None:
    assert version_of({"VERSION": "7.0.5"}, {"VERSION": "6.4"}) == "7.0.5"
    assert version_of({}, {"VERSION": "6.4"}) == "6.4"
    assert version_of({"VERSION": ""}, {}) is None


@pytest.mark.parametrize(
    ("version", "swapped", "old"),
    [
        ("6.2.0.post8+g4d8e2ad", True, True),
        ("6.2.0.post8+g4d8e2ad+psffix1", False, True),
        ("6.4+psffix1", False, True),
        ("6.5.5", True, True),
        ("6.5.6", False, True),
        ("6.5.10", False, True),
        ("7.0.5", False, False),
        ("7.0.0b6.post2+g6b3a1a7", False, False),
        ("7.1.0+g0123abc+local", False, False),
        ("10.1", False, False),
        # An unknown version does not claim the new gains.
        ("unknown", None, True),
        ("", None, True),
        (None, None, True),
    ],
)
def test_what_follows_from_a_version(version: str | None, swapped: bool | None, old: bool) -> None:
    assert has_swapped_zones(version) is swapped
    assert has_old_gains(version) is old


def test_units() -> None:
    assert bunit_of({"BUNIT": "MJy / sr"}) == units.MJy / units.sr
    assert bunit_of({"BUNIT": " ELECTRONS/S "}) == units.electron / units.s
    assert bunit_of({}) is bunit_of({"BUNIT": " "}) is bunit_of({"BUNIT": None}) is None
    with pytest.raises(HeaderError, match="BUNIT of HDU A is 'apples', which is not a unit"):
        bunit_of({"BUNIT": "apples"}, "of HDU A")


def test_when_a_file_was_written() -> None:
    assert date_written({}) is None
    at_noon = datetime.datetime(2025, 12, 21, 12, tzinfo=datetime.UTC)
    assert date_written({"DATE": "2025-12-21T12:00:00"}) == date_written({"DATE": "2025-12-21T12:00:00Z"}) == at_noon
    # It was not written after the end of that day.
    assert date_written({"DATE": "2025-12-21"}) == datetime.datetime(2025, 12, 22, tzinfo=datetime.UTC)
    with pytest.raises(HeaderError, match="DATE is not a date: 'sometime'"):
        date_written({"DATE": "sometime"})


def test_a_damaged_keyword_is_a_damaged_file(tmp_path: Path) -> None:
    file = write_level2(tmp_path / "a.fits", "qr2", shape=(6, 6), origin=(3, 4))
    with fits.open(file.path) as hdus:
        hdus["IMAGE"].header["CRPIX1A"] = "left"
        hdus.writeto(tmp_path / "b.fits")
    with pytest.raises(ProductError, match="b.fits: CRPIX1A in the header is not a number: 'left'"):
        with open_product(tmp_path / "b.fits") as product:
            product.bbox()


@pytest.mark.parametrize("scale", ["TDB", "GPS"])
def test_a_middle_alone_has_a_known_scale_too(scale: str) -> None:
    with pytest.raises(HeaderError, match=f"the time scale '{scale}' is neither UTC nor TAI"):
        exposure_middle({"MJD-AVG": 61027.2, "TIMESYS": scale})


@pytest.mark.parametrize(
    ("keyword", "read"),
    [
        ("MJD-BEG", exposure_times),
        ("MJD-AVG", exposure_middle),
        ("DATE-END", exposure_times),
        ("DATE", date_written),
        ("DETECTOR", lambda header: detector_of(header, DETECTOR_IDS)),
        ("VERSION", version_of),
        ("BUNIT", bunit_of),
    ],
)
def test_a_damaged_card_of_an_astropy_header_is_a_header_error(tmp_path: Path, keyword: str, read: Any) -> None:
    header = header_of(tmp_path, f"{keyword:8}= 8.5 8.5")
    with pytest.raises(HeaderError, match=f"{keyword} in the header has no valid value"):
        read(header)


@pytest.mark.parametrize(
    ("value", "detector"), [(3, 3), (np.int64(3), 3), ("3", 3), (" 6 ", 6), ("", None), (None, None)]
)
def test_detectors(value: Any, detector: int | None) -> None:
    assert detector_of({"DETECTOR": value}, DETECTOR_IDS) == detector


@pytest.mark.parametrize("value", [0, 7, 3.0, True, "one", "03"])
def test_values_that_are_not_detectors(value: Any) -> None:
    with pytest.raises(HeaderError, match=f"DETECTOR in the header is {value!r}, not 1 to 6"):
        detector_of({"DETECTOR": value}, DETECTOR_IDS)
