"""Proper motions: where targets are at a time, and whether their regions reach there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from astropy.time import Time
from lsst.sphgeom import LonLat, UnitVector3d

from spherex.spectra import positions_at
from spherex.targets.registering import target_records

STARS = {
    "Barnard": (269.45207, 4.69339, -798.58, 10328.12, 1991.25),
    "Groombridge 1830": (178.24487, 37.71868, 4003.98, -5813.62, 2000.0),
    "near the pole": (12.0, 89.9999, 5000.0, 5000.0, 2016.0),
    "at the pole": (0.0, -90.0, 9000.0, 0.0, 1950.0),
    "across 0 h": (359.9999, 1.0, 3000.0, 0.0, 2016.0),
    "slow": (10.0, -20.0, 0.01, -0.02, 2016.0),
    "at rest": (10.0, 20.0, 0.0, 0.0, 2016.0),
    "of the future": (10.0, 20.0, 100.0, 100.0, 2050.0),
}
ALSO = {"unknown": (30.0, 40.0, np.nan, np.nan, np.nan)}


def jyear(year: float) -> Time:
    return Time(year, format="jyear", scale="tdb")


def catalogue(stars: Any) -> Table:
    names = ("ra", "dec", "pmra", "pmdec", "ref_epoch")
    return Table({"name": list(stars), **dict(zip(names, np.transpose(list(stars.values())), strict=True))})


def moved(ra: float, dec: float, pmra: float, pmdec: float, epoch: float, time: Time) -> SkyCoord:
    """Return the position by astropy, star by star."""
    motion = {"pm_ra_cosdec": pmra * units.mas / units.yr, "pm_dec": pmdec * units.mas / units.yr}
    place = SkyCoord(ra * units.deg, dec * units.deg, **motion, distance=5 * units.pc, obstime=jyear(epoch))
    return place.apply_space_motion(new_obstime=time)


@pytest.mark.parametrize("year", [2016.0, 2025.3, 2032.0])
def test_positions_are_those_of_astropy(year: float) -> None:
    time = jyear(year)
    found = positions_at(catalogue(STARS | ALSO), time)
    for index, star in enumerate(STARS.values()):
        assert found[index].separation(moved(*star, time=time)) < 1 * units.uas
    assert (found[-1].ra.deg, found[-1].dec.deg) == (30.0, 40.0)


def test_positions_without_motions_are_those_of_the_catalogue() -> None:
    table = catalogue(STARS)["name", "ra", "dec"]
    found = positions_at(table, jyear(2030.0))
    np.testing.assert_allclose(found.ra.deg, table["ra"], rtol=1e-15)
    np.testing.assert_allclose(found.dec.deg, table["dec"], rtol=1e-15)


def test_masked_motions_are_none() -> None:
    table = catalogue(STARS)
    table["pmra"] = MaskedColumn(table["pmra"], mask=np.arange(len(table)) == 0)
    found = positions_at(table, jyear(2030.0))
    assert found[0].dec.deg == STARS["Barnard"][1]
    assert found[1].dec.deg != STARS["Groombridge 1830"][1]


def test_regions_contain_the_targets_for_the_whole_mission() -> None:
    table = catalogue(STARS | ALSO)
    records = list(target_records("mine", table))
    assert [record["name"] for record in records] == list(STARS | ALSO)
    for year in np.linspace(2025, 2032, 15):
        sky = positions_at(table, jyear(year))
        for record, place in zip(records, sky, strict=True):
            point = UnitVector3d(LonLat.fromDegrees(place.ra.deg, place.dec.deg))
            assert record["region"].contains(point), (record["name"], year)
            assert record["region"].getCenter() == UnitVector3d(LonLat.fromDegrees(record["ra"], record["dec"]))


def test_regions_are_no_larger_than_they_need_to_be() -> None:
    records = {one["name"]: one["region"] for one in target_records("mine", catalogue(STARS | ALSO))}
    radii = {name: region.getOpeningAngle().asDegrees() * 3600 for name, region in records.items()}
    # 10 pixels, and the way since the epoch.
    for name in ("at rest", "unknown"):
        assert radii[name] == pytest.approx(62)
    assert radii["Barnard"] == pytest.approx(62 + 10.359 * (2032 - 1991.25), abs=0.1)
    assert radii["of the future"] == pytest.approx(62 + 0.1414 * 25, abs=0.01)
