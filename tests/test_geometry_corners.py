from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from spherex.errors import FrameError
from spherex.fits.cards import Cards
from spherex.geometry import frame_corners, polygon_of

from .ingest_helpers import SIDE, cards_of
from .ingest_helpers import WCS as TAN_SIP

TOLERANCE = 0.1  # arcsec


def astropy_corners(header: fits.Header, shape: tuple[int, int]) -> SkyCoord:
    """Return the outer pixel corners by astropy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(header)
    rows, columns = shape
    x = np.array([0.5, columns + 0.5, columns + 0.5, 0.5])
    y = np.array([0.5, 0.5, rows + 0.5, rows + 0.5])
    return SkyCoord(*wcs.all_pix2world(x, y, 1), unit="deg", frame="icrs")


def assert_agrees(cards: dict, shape: tuple[int, int], header: fits.Header | None = None) -> None:
    """Compare our corners with astropy's."""
    corners = frame_corners(cards, shape)
    ours = SkyCoord(*np.array(corners).T, representation_type="cartesian", frame="icrs")
    theirs = astropy_corners(header if header is not None else fits.Header(cards), shape)
    assert ours.separation(theirs).arcsec.max() < TOLERANCE


@pytest.fixture
def no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("spherex.geometry.general_corners")


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("dec", [-90.0, -89.999, -30.0, 0.0, 38.35, 88.0, 90.0])
@pytest.mark.parametrize("ra", [0.001, 180.0, 359.999])
def test_tan_sip_anywhere(ra: float, dec: float) -> None:
    assert_agrees(TAN_SIP | {"CRVAL1": ra, "CRVAL2": dec}, (SIDE, 2 * SIDE))


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize(
    "change",
    [
        {"LONPOLE": 135.0},
        {"LONPOLE": None},
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "A_ORDER": None, "B_ORDER": None},
        {"CD1_1": -0.2, "CD2_2": 0.2, "PC1_1": None, "PC1_2": None, "PC2_1": None, "PC2_2": None, "CDELT1": None},
        {"CDELT1": -0.2, "CDELT2": 0.2, "PC1_1": 1, "PC1_2": 0, "PC2_1": 0, "PC2_2": 1},
        {"CRVAL1": 30, "CRPIX1": 8},
        {"A_ORDER": 3, "A_3_0": 1e-4, "A_1_1": 1e-4},
        {"A_ORDER": 3, "A_3_0": 1e-4, "A_4_0": 1e-2, "B_2_1": 1e-2, "B_0_3": 1e-2},
        {"CDELT1": None, "CDELT2": None, "CUNIT1": None, "CUNIT2": None, "WCSAXES": None},
    ],
    ids=str,
)
def test_tan_sip_forms(change: dict) -> None:
    cards = {key: value for key, value in (TAN_SIP | change).items() if value is not None}
    assert_agrees(cards, (SIDE, SIDE))


@pytest.mark.parametrize(
    "change",
    [
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "A_ORDER": None, "B_ORDER": None},
        {"CTYPE1": "RA---ARC", "CTYPE2": "DEC--ARC", "A_ORDER": None, "B_ORDER": None},
        {
            "CUNIT1": "arcsec",
            "CUNIT2": "arcsec",
            "CRVAL1": 108000.0,
            "CRVAL2": 144000.0,
            "CDELT1": 3600.0,
            "CDELT2": 3600.0,
        },
        {"A_ORDER": 0, "B_ORDER": 0},
        {"CD1_1": -0.2, "CD2_2": 0.2},
        {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "A_ORDER": None, "B_ORDER": None}
        | {"PV1_1": 1.0, "PV1_4": 0.02, "PV2_1": 1.0, "PV2_4": 0.02},
        {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "A_ORDER": None, "B_ORDER": None}
        | {"PV2_1": 1.0, "PV2_3": 0.2, "PV2_5": 5.0, "PV2_7": 300.0},
        {"B_ORDER": 1, "B_1_0": 1e-3},
    ],
    ids=str,
)
def test_other_projections_are_left_to_astropy(change: dict) -> None:
    cards = {key: value for key, value in (TAN_SIP | change).items() if value is not None}
    assert_agrees(cards, (SIDE, SIDE))


@pytest.mark.parametrize("change", [{"EQUINOX": 1950.0}, {"EQUINOX": 2000.0}], ids=str)
def test_equinox_without_a_system(change: dict) -> None:
    cards = {key: value for key, value in (TAN_SIP | change).items() if key != "RADESYS"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = WCS(fits.Header(cards)).pixel_to_world(-0.5, -0.5).icrs
    x, y, z = frame_corners(cards, (SIDE, SIDE))[0]
    ours = SkyCoord(x, y, z, representation_type="cartesian", frame="icrs")
    assert ours.separation(theirs).arcsec < TOLERANCE


def test_error_without_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(header: fits.Header) -> None:
        raise RuntimeError

    monkeypatch.setattr("astropy.wcs.WCS", fail)
    with pytest.raises(FrameError, match="astropy does not understand the WCS: RuntimeError"):
        frame_corners(TAN_SIP | {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"}, (SIDE, SIDE))


def test_galactic_coordinates_become_icrs() -> None:
    cards = TAN_SIP | {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "A_ORDER": None, "B_ORDER": None, "RADESYS": None}
    cards = {key: value for key, value in cards.items() if value is not None}
    corners = np.array(frame_corners(cards, (SIDE, SIDE)))
    centre = SkyCoord(*corners.mean(axis=0), representation_type="cartesian", frame="icrs")
    assert centre.separation(SkyCoord(30, 40, unit="deg", frame="galactic")).deg < 0.5


@pytest.mark.usefixtures("no_fallback")
def test_simulated_header(simulated_files: Path) -> None:
    files = sorted(simulated_files.glob("sim_exposure_*_array_?.fits"))
    assert files
    for path in files:
        with fits.open(path) as hdus:
            header = hdus["IMAGE"].header
        assert_agrees(Cards(header.tostring().encode()), (header["NAXIS2"], header["NAXIS1"]), header)


@pytest.mark.usefixtures("no_fallback")
def test_real_headers(archive_samples: list[Path]) -> None:
    for path in archive_samples:
        with fits.open(path) as hdus:
            header = hdus["IMAGE"].header
        assert_agrees(Cards(header.tostring().encode()), (header["NAXIS2"], header["NAXIS1"]), header)
        full = header.copy()
        full["NAXIS1"] = full["NAXIS2"] = 2040
        full["CRPIX1"] = full["CRPIX2"] = 1020.5
        assert_agrees(Cards(full.tostring().encode()), (2040, 2040), full)


def test_corners_are_pixel_edges_in_order(tmp_path: Path) -> None:
    cards = TAN_SIP | {
        "A_ORDER": 0,
        "B_ORDER": 0,
        "A_0_0": 0.0,
        "PC1_1": -0.1,
        "PC1_2": 0.0,
        "PC2_1": 0.0,
        "PC2_2": 0.1,
    }
    corners = frame_corners(cards | {"CRVAL1": 0.0, "CRVAL2": 0.0, "CRPIX1": 1.5, "CRPIX2": 1.5}, (2, 2))
    assert corners is not None
    lonlat = [(math.degrees(math.atan2(y, x)), math.degrees(math.asin(z))) for x, y, z in corners]
    np.testing.assert_allclose(lonlat, [(0.1, -0.1), (-0.1, -0.1), (-0.1, 0.1), (0.1, 0.1)], atol=1e-5)


def test_polygon_contains_the_centre() -> None:
    corners = frame_corners(TAN_SIP, (SIDE, SIDE))
    assert corners is not None
    polygon = polygon_of(corners)
    assert polygon.contains(polygon.getCentroid())
    assert len(polygon.getVertices()) == 4


@pytest.mark.parametrize(
    "cards", [{}, {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR", "CRVAL1": 0.0}, cards_of(0, 1, dark=True)]
)
def test_no_celestial_wcs(cards: dict) -> None:
    assert frame_corners(cards, (SIDE, SIDE)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CRVAL1": math.nan}, "CRVAL1 of the WCS is not a number"),
        ({"CRVAL2": None}, "CRVAL2 is missing"),
        ({"CRPIX1": "8.5"}, "CRPIX1 of the WCS is not a number"),
        ({"CRPIX2": None}, "CRPIX2 is missing"),
        ({"CTYPE2": None}, "CTYPE2 is missing"),
        ({"PC1_1": math.inf}, "PC1_1 of the WCS is not a number"),
        ({"PC1_1": 0.0, "PC1_2": 0.0}, "singular"),
        ({"A_ORDER": None}, "A_ORDER is missing"),
        ({"B_ORDER": 10}, "B_ORDER of the WCS"),
        ({"A_2_0": math.nan}, "A_2_0 of the WCS is not a number"),
        ({"CRVAL2": 91.0}, "not a declination"),
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "astropy does not understand"),
        ({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": math.nan}, "CRVAL1"),
    ],
    ids=str,
)
def test_bad_cards(change: dict, message: str) -> None:
    cards = {key: value for key, value in (TAN_SIP | change).items() if value is not None}
    with pytest.raises(FrameError, match=message):
        frame_corners(cards, (SIDE, SIDE))


@pytest.mark.parametrize("projection", ["TAN-SIP", "ZEA"])
def test_corners_of_the_frame_from_a_cutout(projection: str) -> None:
    cards = TAN_SIP | {"CTYPE1": f"RA---{projection}", "CTYPE2": f"DEC--{projection}"}
    if projection == "ZEA":
        cards = {key: value for key, value in cards.items() if not key.startswith(("A_", "B_"))}
    whole = np.array(frame_corners(cards, (SIDE, SIDE)))
    cut = cards | {"CRPIX1": cards["CRPIX1"] - 3, "CRPIX2": cards["CRPIX2"] - 10}
    assert np.abs(np.array(frame_corners(cut, (SIDE, SIDE), (3, 10))) - whole).max() < 1e-14
