import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from spherex.detectors import DETECTORS, DICHROIC_PAIRS
from spherex_simulator import Settings, simulate_frame
from spherex_simulator.pointing import angles_of, celestial_wcs, pointing_of
from spherex_simulator.telescope import wavelength_of_row


def corners(wcs: WCS, side: int) -> SkyCoord:
    edge = side - 0.5
    return wcs.pixel_to_world([-0.5, edge, edge, -0.5], [-0.5, -0.5, edge, edge])


@pytest.mark.parametrize("side", [64, 2040])
def test_dichroic_pairs_see_the_same_sky(side: int) -> None:
    settings = Settings(side=side)
    pointing = pointing_of(settings, 7)
    for pair in DICHROIC_PAIRS:
        first, second = (corners(celestial_wcs(pointing, detector, settings), side) for detector in pair)
        assert np.all(first.separation(second) < 1 * u.arcsec)


@pytest.mark.parametrize("side", [64, 2040])
def test_three_fields_lie_side_by_side(side: int) -> None:
    settings = Settings(side=side)
    pointing = pointing_of(settings, 0)
    fields = [corners(celestial_wcs(pointing, detector, settings), side) for detector in (1, 2, 3)]
    for field in fields:
        assert field[0].separation(field[1]).deg == pytest.approx(3.5, abs=0.1)
        assert field[1].separation(field[2]).deg == pytest.approx(3.5, abs=0.1)
    assert fields[0][0].separation(fields[2][1]).deg == pytest.approx(11.1, abs=0.3)
    for left, right in zip(fields[:-1], fields[1:], strict=True):
        assert 0.1 < left[1].separation(right[0]).deg < 0.6
        assert 0.1 < left[2].separation(right[3]).deg < 0.6


def test_boresight_is_the_centre_of_the_middle_field() -> None:
    settings = Settings(side=2040)
    pointing = pointing_of(settings, 3)
    ra, dec, roll = pointing.boresight
    wcs = celestial_wcs(pointing, 2, settings)
    wcs.sip = None
    centre, above = wcs.pixel_to_world([1019.5, 1019.5], [1019.5, 1119.5])
    assert centre.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 1e-3
    assert centre.position_angle(above).deg == pytest.approx(roll, abs=1e-6)


@pytest.mark.parametrize("side", [64, 500, 2040])
def test_inverse_of_the_distortion(side: int) -> None:
    settings = Settings(side=side)
    wcs = celestial_wcs(pointing_of(settings, 0), 6, settings)
    grid = np.linspace(1, side, 9)
    pixels = np.stack([axis.ravel() for axis in np.meshgrid(grid, grid)], axis=1)
    back = wcs.sip_foc2pix(wcs.sip_pix2foc(pixels, 1), 1)
    assert np.abs(back - pixels).max() < 0.05
    sky = wcs.all_pix2world(pixels, 1)
    assert np.abs(wcs.all_world2pix(sky, 1) - pixels).max() < 1e-3
    assert np.abs(wcs.wcs_world2pix(sky, 1) - pixels).max() < 20 * side / 2040


def test_axes_of_the_focal_plane_everywhere_along_the_scan() -> None:
    settings = Settings(seed=4)
    for exposure in (0, 183, 184, 1831, 999_999):
        pointing = pointing_of(settings, exposure)
        np.testing.assert_allclose(pointing.attitude @ pointing.attitude.T, np.eye(3), atol=1e-8)
        # With y to the north, x points west, as on any map of the sky.
        x_angle = angles_of(pointing.attitude[0], pointing.attitude[1])[2]
        assert (pointing.boresight[2] - x_angle) % 360 == pytest.approx(90)


def test_successive_exposures_move_by_a_channel() -> None:
    settings = Settings()
    first, second = (SkyCoord(*pointing_of(settings, k).boresight[:2], unit="deg") for k in (10, 11))
    assert first.separation(second).deg == pytest.approx(0.1966, abs=0.005)
    assert pointing_of(settings, 10).end < pointing_of(settings, 11).begin


def test_wavelength_coordinates_of_each_detector() -> None:
    side = 96
    settings = Settings(side=side)
    y, x = np.mgrid[0:side:5, 0:side:7]
    for detector in DETECTORS:
        raw = simulate_frame(settings, 0, detector.id).raw
        wavelength, bandwidth = raw.alternative_wcs("W").pixel_to_world_values(x, y)
        assert np.abs(wavelength - wavelength_of_row(detector, y, side)).max() < 1.5e-3
        np.testing.assert_allclose(wavelength / bandwidth, detector.r, rtol=1e-4)
        assert np.all(np.diff(wavelength, axis=0) < 0)
        assert wavelength[0, 0] == pytest.approx(detector.lmax)


def test_pixel_coordinates_count_from_zero() -> None:
    raw = simulate_frame(Settings(side=64), 0, 3).raw
    np.testing.assert_allclose(raw.alternative_wcs("A").pixel_to_world_values(5, 7), (5, 7))
    np.testing.assert_allclose(raw[10:20, 30:50].alternative_wcs("A").pixel_to_world_values(5, 7), (35, 17))
