from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord

from spherex.geometry import boresight_of


@pytest.mark.parametrize("angle", [0.0, 180.0])
@pytest.mark.parametrize(("longitude", "latitude"), [(318.857143, 54.138413), (0.0, 0.0), (22.5, -82.0), (315.2, 89.9)])
def test_agrees_with_astropy(longitude: float, latitude: float, angle: float) -> None:
    frame = BarycentricMeanEcliptic(equinox="J2000")
    boresight = SkyCoord(longitude * u.deg, latitude * u.deg, frame=frame)
    axis = boresight.directional_offset_by(angle * u.deg, 1 * u.arcsec).icrs
    ra, dec, roll = boresight_of(longitude, latitude, angle)
    assert SkyCoord(ra, dec, unit="deg").separation(boresight.icrs).arcsec < 1e-3
    assert abs((boresight.icrs.position_angle(axis).deg - roll + 180) % 360 - 180) < 1e-3
    assert 0 <= ra < 360
    assert 0 <= roll < 360


def test_which_ecliptic_is_meant() -> None:
    """Detector 3 before and after a turn by 180 degrees, by the cards of two genuine files.

    Its centre has to be at the same place of the focal plane both times.
    """
    places = []
    for (longitude, latitude, angle), (ra, dec) in (
        ((334.285714, 53.74508, 0.0), (309.32589923, 37.8370712744)),
        ((22.5, 33.441208, 180.0), (10.0880653194, 40.8987511044)),
    ):
        east, north, roll = boresight_of(longitude, latitude, angle)
        boresight, centre = SkyCoord(east, north, unit="deg"), SkyCoord(ra, dec, unit="deg")
        there = boresight.position_angle(centre).deg - roll
        places.append(boresight.separation(centre).deg * np.exp(1j * np.radians(there)))
    assert abs(places[0] - places[1]) < 0.01
