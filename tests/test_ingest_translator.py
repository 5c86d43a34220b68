from __future__ import annotations

from pathlib import Path
from typing import Any

import astropy.time
import pytest
from lsst.daf.butler import Timespan

from spherex.errors import DescriptionError
from spherex.fits import read_many
from spherex.ingest import FileDescription, SimulatedTranslator, read_structure

from .ingest_helpers import FIRST_MJD, Bare, write_file


def describe(path: Path, **options: Any) -> FileDescription:
    """Describe a file, raising what is wrong with it."""
    kind = "dark" if "dark_current" in path.name else "rawexp"
    translator = SimulatedTranslator(kind, f"{kind}r", **options)
    return translator.describe(translator.identify(path.name), read_structure(str(path)))


def test_what_a_raw_tells(tmp_path: Path) -> None:
    description = describe(write_file(tmp_path, 3, 2))
    assert description.unknown == ()
    assert (description.dataset.kind.name, description.dataset.run) == ("rawexp", "rawexpr")
    assert description.dataset.values == ("simulator", 3, 2)
    exposure, place = description.records
    begin = FIRST_MJD + 0.03
    times = astropy.time.Time([begin, begin + 0.001], format="mjd", scale="utc")
    expected = Timespan(times[0], times[1])
    assert all(abs(a - b) < 1000 for a, b in zip(exposure.values["timespan"].nsec, expected.nsec, strict=True))
    assert exposure.defaults == {"group_name": "20261123", "group_id": 20261123}
    values = {key: value for key, value in exposure.values.items() if key != "timespan"}
    assert values == {
        "instrument": "simulator",
        "id": 3,
        "name": "sim_000003",
        "exposure_time": 113.58,
        "ra_boresight": 31.0,
        "dec_boresight": 41.0,
        "roll": 12.5,
        "gaussian_jitter": 1.1,
        "survey": "all_sky",
        "target_name": "42",
    }
    assert place.values["region"].getVertices()


def test_what_a_dark_tells(tmp_path: Path) -> None:
    description = describe(write_file(tmp_path, 3, 2, dark=True))
    assert description.unknown == ("WCS",)
    assert description.records[1].values["region"] is None
    assert description.records[0].values["timespan"] is not None


def test_what_a_bare_file_tells(tmp_path: Path) -> None:
    cards = ("OBSID", "MJD-BEG", "MJD-END", "XPOSURE", "RA_BORE", "SPS_FLAGS", "EXPOSURE", "DETECTOR", "INSTRUME")
    description = describe(write_file(tmp_path, 3, 2, dark=True, change=dict.fromkeys(cards)))
    assert description.unknown == ("WCS", "time")
    values = description.records[0].values
    assert values["name"] == "sim_000003"
    assert values["timespan"] is values["exposure_time"] is values["ra_boresight"] is values["survey"] is None
    assert description.records[0].defaults == {}


def test_group_of_the_user(tmp_path: Path) -> None:
    exposure = describe(write_file(tmp_path), group="campaign_7").records[0]
    assert (exposure.values["group_name"], exposure.values["group_id"]) == ("campaign_7", None)


def test_dates_instead_of_numbers(tmp_path: Path) -> None:
    change = {
        "MJD-BEG": None,
        "MJD-END": None,
        "DATE-BEG": "2026-11-23T00:00:00.000",
        "DATE-END": "2026-11-23T00:01:26.400",
    }
    by_date = describe(write_file(tmp_path, change=change)).records[0].values["timespan"]
    assert by_date == describe(write_file(tmp_path)).records[0].values["timespan"]


@pytest.mark.parametrize("zone", ["", "Z", "+00:00"])
def test_zones_of_dates(tmp_path: Path, zone: str) -> None:
    change = {"MJD-BEG": None, "MJD-END": None}
    change |= {"DATE-BEG": f"2026-11-23T00:00:00.000{zone}", "DATE-END": f"2026-11-23T00:01:26.400{zone}"}
    by_date = describe(write_file(tmp_path, change=change)).records[0].values["timespan"]
    assert by_date == describe(write_file(tmp_path)).records[0].values["timespan"]


def test_group_of_tai_is_the_date_in_utc(tmp_path: Path) -> None:
    change = {"TIMESYS": "TAI", "MJD-BEG": FIRST_MJD + 36 / 86400, "MJD-END": FIRST_MJD + 0.01}
    assert describe(write_file(tmp_path, change=change)).records[0].defaults["group_name"] == "20261122"
    change["MJD-BEG"] = FIRST_MJD + 38 / 86400
    assert describe(write_file(tmp_path, change=change)).records[0].defaults["group_name"] == "20261123"


def test_full_circle(tmp_path: Path) -> None:
    assert describe(write_file(tmp_path, change={"RA_BORE": 360.0})).records[0].values["ra_boresight"] == 0.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sim_exposure_1_array_1.fit", "its name is not"),
        ("raw.fits", "its name is not"),
        ("sim_exposure_000001_array_1_dark.fits", "its name is not"),
        ("my_sim_exposure_000001_array_1.fits", "its name is not"),
        ("sim_exposure_000001_array_0.fits", "there is no detector 0"),
        ("sim_exposure_000001_array_7.fits", "there is no detector 7"),
        ("sim_exposure_1000000_array_1.fits", "exposure 1000000 is beyond the last one, 999999"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(DescriptionError, match=message):
        SimulatedTranslator("rawexp", "rawexpr").identify(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"EXPOSURE": 5}, "EXPOSURE in the header is 5, but the file name has 0"),
        ({"DETECTOR": 2}, "DETECTOR in the header is 2, but the file name has 1"),
        ({"DETECTOR": "one"}, "DETECTOR in the header is 'one'"),
        ({"INSTRUME": "SPHEREx"}, "INSTRUME in the header is 'SPHEREx'"),
        ({"MJD-END": None}, "MJD-END is missing"),
        ({"MJD-BEG": None}, "MJD-BEG is missing"),
        ({"MJD-BEG": Bare("NaN")}, "MJD-BEG|nan"),
        ({"MJD-BEG": "yesterday"}, "MJD-BEG is not a date: 'yesterday'"),
        ({"MJD-BEG": FIRST_MJD + 1}, "is not after the begin"),
        ({"MJD-BEG": 0.0}, "is not a modified Julian date"),
        ({"TIMESYS": "TDB"}, "the time scale 'TDB' is neither UTC nor TAI"),
        (
            {"MJD-BEG": None, "MJD-END": None, "DATE-BEG": "2026-13-01", "DATE-END": "2026-11-23"},
            "DATE-BEG is not a date",
        ),
        ({"XPOSURE": Bare("NaN")}, "XPOSURE"),
        ({"XPOSURE": -3.0}, "XPOSURE in the header is -3.0, not 0 or more"),
        ({"JITTER": -1.0}, "JITTER in the header is -1.0, not 0 or more"),
        ({"RA_BORE": 400.0}, "RA_BORE in the header is 400.0, not 0 to 360"),
        ({"RA_BORE": -1e-9}, "RA_BORE in the header is -1e-09, not 0 to 360"),
        ({"DEC_BORE": -100.0}, "DEC_BORE in the header is -100.0, not -90 to 90"),
        ({"ROLL": 3600.0}, "ROLL in the header is 3600.0, not -360 to 360"),
        ({"IMAGETYP": Bare("'unterminated")}, "IMAGETYP"),
        (
            {"MJD-BEG": None, "MJD-END": None}
            | {"DATE-BEG": "2026-11-23T02:00:00+02:00", "DATE-END": "2026-11-23T03:00:00+02:00"},
            "DATE-BEG is not a date",
        ),
        ({"RA_BORE": "left"}, "RA_BORE in the header is not a number: 'left'"),
        ({"CRVAL1": None}, "CRVAL1 is missing"),
        ({"CRVAL1": Bare("NaN")}, "CRVAL1"),
        ({"A_2_0": Bare("NaN")}, "A_2_0"),
        ({"CTYPE2": None}, "CTYPE2 is missing"),
        ({"PC1_1": 0, "PC1_2": 0}, "singular"),
        ({"CRPIX1": Bare("8.5 8.5")}, "8.5 8.5"),
    ],
    ids=str,
)
def test_bad_headers(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(DescriptionError, match=f"({message}).*fix (the header of HDU IMAGE|it) or leave the file out"):
        describe(write_file(tmp_path, change=change))


@pytest.mark.parametrize("extname", ["SCIENCE", ""])
def test_no_image(tmp_path: Path, extname: str) -> None:
    with pytest.raises(DescriptionError, match="no 2-D image in HDU IMAGE"):
        describe(write_file(tmp_path, change={"EXTNAME": extname}))


def test_threads_keep_the_order(tmp_path: Path) -> None:
    paths = [str(write_file(tmp_path, exposure, side=8 + exposure)) for exposure in range(20)] + [
        str(tmp_path / "none")
    ]
    for threads in (1, 4):
        *structures, last = read_many(read_structure, paths, threads=threads)
        assert [future.result().hdus[1].shape for future in structures] == [(8 + e,) * 2 for e in range(20)]
        with pytest.raises(FileNotFoundError):
            last.result()
