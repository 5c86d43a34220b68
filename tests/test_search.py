"""Images are found by position, and pixels and wavelengths agree with astropy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time
from lsst.daf.butler import Butler, CollectionType, Timespan

from spherex.detectors import DETECTORS
from spherex.errors import SearchError
from spherex.geometry import corners_of, depths_of, directions_at, pixels_at
from spherex.image import Wavelength, celestial_wcs
from spherex.search import Criteria, FoundImages, find_images, position_of, timespan_of_dates
from spherex.search import pixels as pixels_module

from .ingest_helpers import butler_command
from .search_helpers import FIRST_MJD, NEW, OLD, SIDE, Image, add_images, region_of, true_wavelength

SAMPLES_AT = (308.027, 38.350)


def search(repo: Path, ra: float, dec: float, **options: object) -> FoundImages:
    fields = Criteria.__dataclass_fields__
    criteria = Criteria(ra, dec, **{name: value for name, value in options.items() if name in fields})  # type: ignore
    others = {name: value for name, value in options.items() if name not in fields}
    with Butler.from_config(str(repo)) as butler:
        return find_images(butler, criteria, **others)  # type: ignore[arg-type]


def numbers(found: FoundImages) -> list[tuple[int, int]]:
    """Return number and detector of the images."""
    return [(int(row["name"].split("_")[2]), int(row["detector"])) for row in found.table]


@pytest.mark.parametrize("roll", [0.0, 77.0, 163.0, 250.0, 341.0])
@pytest.mark.parametrize("dec", [-89.5, 0.0, 66.0])
def test_pixels_from_corners_are_good_to_ten(roll: float, dec: float) -> None:
    image = Image(ra=359.9, dec=dec, roll=roll)
    corners = corners_of([region_of(image.header())])
    x, y = (grid.ravel() for grid in np.meshgrid(*[np.linspace(-0.5, SIDE - 0.5, 9)] * 2))
    sky = image.wcs.pixel_to_world(x, y).cartesian.xyz.value.T
    errors = [pixels_at(corners, one, (SIDE, SIDE))[0] - (a, b) for one, a, b in zip(sky, x, y, strict=True)]
    assert 4 < np.max(np.linalg.norm(errors, axis=1)) < 10
    # The corners themselves are exact.
    assert np.max(np.abs(np.array(errors)[[0, 8, 72, 80]])) < 1e-6


def test_directions_are_the_inverse_of_pixels() -> None:
    corners = corners_of([region_of(Image().header())])
    pixels = np.array([[-0.5, 2039.5], [1000.0, 3.0], [-20.0, 500.0]])
    for direction, pixel in zip(directions_at(corners[0], pixels, (SIDE, SIDE)), pixels, strict=True):
        assert np.allclose(pixels_at(corners, direction, (SIDE, SIDE)), pixel, atol=1e-6)


def test_depths_are_distances_from_the_edge() -> None:
    pixels = np.array([[9.5, 4.5], [0.0, 5.0], [-0.5, 5.0], [-3.5, 5.0], [22.5, 13.5]])
    assert depths_of(pixels, (10, 20)).tolist() == [5.0, 0.5, 0.0, -3.0, -5.0]


def test_a_region_that_is_no_frame_is_refused() -> None:
    from lsst.sphgeom import ConvexPolygon, UnitVector3d

    triangle = ConvexPolygon([UnitVector3d(1, 0, 0), UnitVector3d(0, 1, 0), UnitVector3d(0, 0, 1)])
    with pytest.raises(ValueError, match="does not have four corners"):
        corners_of([triangle])


def test_pixels_and_wavelengths(repo_root: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    images = [Image(n, detector, 30 + n, 40 - n, 50.0 * n) for n in range(4) for detector in (1, 4)]
    add_images(repo_root, images, tmp_path / "files")
    for image in images:
        ra, dec = image.position(*rng.uniform(40, SIDE - 40, 2))
        found = search(repo_root, ra, dec)
        (row,) = (r for r in found.table if (r["exposure"], r["detector"]) == key_of(image))
        x, y = image.pixel(ra, dec)
        assert np.hypot(row["x"] - x, row["y"] - y) < 10
        # These tables fall evenly, at their short end more steeply than real ones: 8 pixels are 0.23 %.
        assert row["wavelength"] == pytest.approx(true_wavelength(image.detector, y), rel=2.5e-3)
        assert row["bandwidth"] == pytest.approx(row["wavelength"] / DETECTORS[image.detector - 1].r, rel=1e-6)
        assert row["time"].startswith(Time(image.begin + 115.1175 / 2 / 86400, format="mjd", scale="utc").isot[:-1])
        assert row["address"].endswith(image.name)
        (exact,) = (
            r
            for r in search(repo_root, ra, dec, exact=True).table
            if r["name"] == row["name"] and r["detector"] == row["detector"]
        )
        assert (exact["x"], exact["y"]) == pytest.approx((x, y), abs=1e-3)
        assert exact["wavelength"] == pytest.approx(true_wavelength(image.detector, y), rel=1e-6)


def key_of(image: Image) -> tuple[int, int]:
    return image.observation.exposure, image.detector


# The upper side of the frame is inside of the region, the lower one outside.
EDGES = [((1000, 1), True), ((1000, -2), False), ((1000, SIDE - 2), True), ((1000, SIDE + 1), False)]


@pytest.mark.parametrize(("pixel", "is_in"), EDGES)
def test_edges_are_judged_by_the_header(repo_root: Path, tmp_path: Path, pixel: tuple[int, int], is_in: bool) -> None:
    image = Image()
    add_images(repo_root, [image], tmp_path / "files")
    ra, dec = image.position(*pixel)
    found = search(repo_root, ra, dec)
    assert (len(found.table) == 1) is is_in
    if is_in:
        assert (found.table["x"][0], found.table["y"][0]) == pytest.approx(pixel, abs=0.01)
        assert not found.without_wavelength


def test_the_region_alone_would_misjudge_the_edges() -> None:
    image = Image()
    region = region_of(image.header())
    from lsst.sphgeom import LonLat, UnitVector3d

    by_region = [region.contains(UnitVector3d(LonLat.fromDegrees(*image.position(*pixel)))) for pixel, _ in EDGES]
    assert by_region == [False, False, True, True]


def edge_images(at: tuple[float, float], count: int, **fields: Any) -> list[Image]:
    """Return images, each shifted so that the position is up to 6 pixels from its lower edge."""
    images = []
    for number in range(count):
        roll, depth = 360 / count * number, (number - (count - 1) / 2) * 12 / count
        image = Image(number, roll=roll, **fields)
        for _ in range(3):
            x, y = image.pixel(*at)
            ra, dec = image.position(1019.5 + x - 1000, 1019.5 + y - (depth - 0.5))
            image = dataclasses.replace(image, ra=ra, dec=dec)
        images.append(image)
    return images


def contain(images: list[Image], at: tuple[float, float]) -> list[int]:
    """Return the numbers of the images that contain a position."""
    return [one.number for one in images if depths_of(np.array([one.pixel(*at)]), (SIDE, SIDE))[0] >= 0]


def test_many_edges_are_judged_by_few_headers(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Image().position(1000, -0.5)
    images = edge_images(at, 40)
    add_images(repo_root, images, tmp_path / "files")
    read: list[str] = []
    original = pixels_module.read_frame
    monkeypatch.setattr(pixels_module, "read_frame", lambda uri: read.append(str(uri)) or original(uri))
    found = search(repo_root, *at)
    wanted = contain(images, at)
    assert 10 < len(wanted) < 30
    assert [number for number, _ in numbers(found)] == wanted
    assert 1 <= len(read) <= 6
    assert not found.problems


def test_each_run_has_its_own_distortions(repo_root: Path, tmp_path: Path) -> None:
    at = Image().position(1000, -0.5)
    new = edge_images(at, 20)
    old = [dataclasses.replace(one, number=one.number + 20) for one in edge_images(at, 20, run=OLD, distortion=0.0)]
    add_images(repo_root, new + old, tmp_path / "files")
    wanted = contain(new + old, at)
    assert 10 < len(wanted) < 30
    assert [number for number, _ in numbers(search(repo_root, *at))] == wanted


def test_unreadable_file_at_the_edge_is_a_problem(repo_root: Path, tmp_path: Path) -> None:
    image = Image()
    add_images(repo_root, [image], tmp_path / "files")
    (tmp_path / "files" / image.name).unlink()
    found = search(repo_root, *image.position(1000, SIDE + 1))
    assert len(found.table) == 1
    assert image.name in found.problems[0]
    # In the middle nobody looks at it.
    assert not search(repo_root, *image.position(1000, 1000)).problems


def test_newest_version_is_found(repo_root: Path, tmp_path: Path) -> None:
    images = [Image(0), Image(0, run=OLD), Image(1, run=OLD)]
    add_images(repo_root, images, tmp_path / "files")
    table = search(repo_root, 30.0, 40.0).table
    assert table["run"].tolist() == [f"SPHEREx/level2/{NEW}", f"SPHEREx/level2/{OLD}"]
    table = search(repo_root, 30.0, 40.0, collections=(f"SPHEREx/level2/{OLD}",)).table
    assert table["run"].tolist() == [f"SPHEREx/level2/{OLD}"] * 2


@pytest.fixture
def varied(repo_root: Path, tmp_path: Path) -> Path:
    """Return a repository of images of all detectors, two surveys and ten days."""
    images = [
        Image(n, detector, roll=33.0 * n, dec=40 + 0.1 * n, survey="deep_north" if n % 2 else "all_sky")
        for n in range(10)
        for detector in (1, 4, 6)
    ]
    add_images(repo_root, images, tmp_path / "files")
    return repo_root


def test_filters(varied: Path) -> None:
    assert numbers(search(varied, 30, 40)) == [(n, d) for n in range(10) for d in (1, 4, 6)]
    assert numbers(search(varied, 30, 40, detectors=(4, 6))) == [(n, d) for n in range(10) for d in (4, 6)]
    assert numbers(search(varied, 30, 40, surveys=("deep_north",), detectors=(1,))) == [(n, 1) for n in range(1, 10, 2)]
    day = Timespan(*Time([FIRST_MJD + 2.5, FIRST_MJD + 4.5], format="mjd", scale="utc").tai)
    assert numbers(search(varied, 30, 40, timespan=day, detectors=(1,))) == [(3, 1), (4, 1)]
    where = "exposure.group_name = '2025W20_1A' AND detector = 6"
    assert numbers(search(varied, 30, 40, where=where)) == [(n, 6) for n in range(10)]


def test_images_of_no_survey_hide_none(repo_root: Path, tmp_path: Path) -> None:
    surveys = (None, "all_sky", None, "deep_north")
    images = [Image(number, survey=survey) for number, survey in enumerate(surveys)]
    add_images(repo_root, images, tmp_path / "files")
    assert numbers(search(repo_root, 30, 40, surveys=("all_sky",))) == [(1, 1)]
    with pytest.raises(SearchError, match="the repository has all_sky, deep_north"):
        search(repo_root, 30, 40, surveys=("allsky",))


def test_unknown_surveys_are_refused_with_those_there_are(varied: Path) -> None:
    with pytest.raises(SearchError, match="no survey 'allsky'; the repository has all_sky, deep_north"):
        search(varied, 30, 40, surveys=("deep_north", "allsky"))


@pytest.mark.parametrize("wavelengths", [(7000.0, 11000.0), (6.0, 7.0), (0.1, 0.2)])
def test_wavelengths_of_no_detector_are_refused(varied: Path, wavelengths: tuple[float, float]) -> None:
    with pytest.raises(SearchError, match="wavelengths are in um, and those of the detectors go from 0.75 to 5"):
        search(varied, 30, 40, wavelengths=wavelengths)


def test_wavelength_range(varied: Path) -> None:
    everything = search(varied, 30, 40, sort="wavelength").table
    assert np.all(np.diff(everything["wavelength"]) >= 0)
    of_six = np.sort(everything["wavelength"][everything["detector"] == 6])
    limits = (float(of_six[2]), float(of_six[5]))
    found = search(varied, 30, 40, wavelengths=limits, sort="wavelength")
    assert found.table["wavelength"].tolist() == of_six[2:6].tolist()
    assert found.at_any_wavelength == 10
    none = search(varied, 30, 40, wavelengths=(4.41, 4.4101))
    assert len(none.table) == 0
    assert none.at_any_wavelength == 10
    # Longer than the design wavelength of detector 1 by less than real ones reach.
    assert search(varied, 30, 40, wavelengths=(1.12, 1.13)).at_any_wavelength == 10


def test_radius(repo_root: Path, tmp_path: Path) -> None:
    image = Image()
    add_images(repo_root, [image], tmp_path / "files")
    ra, dec = image.position(1000, SIDE - 0.5 + 100)
    pixel = 6.15 / 3600
    assert len(search(repo_root, ra, dec, radius=98 * pixel).table) == 0
    found = search(repo_root, ra, dec, radius=102 * pixel)
    assert found.table["y"][0] == pytest.approx(SIDE - 0.5 + 100, abs=10)
    # The nearest pixel of the frame is in its last row.
    shortest = true_wavelength(1, SIDE - 1)
    assert found.table["wavelength"][0] == pytest.approx(shortest, rel=1e-6)
    assert not found.without_wavelength
    for limits, count in (((shortest - 0.001, shortest + 0.001), 1), ((shortest + 0.001, 1.0), 0)):
        found = search(repo_root, ra, dec, radius=102 * pixel, wavelengths=limits)
        assert len(found.table) == count
        assert found.at_any_wavelength == 1


def test_images_that_touch_have_unknown_wavelengths(repo_root: Path, tmp_path: Path) -> None:
    image = Image()
    add_images(repo_root, [image], tmp_path / "files", wavelengths=False)
    found = search(repo_root, *image.position(1000, SIDE + 50), radius=0.2)
    assert found.table["wavelength"].mask.all()
    assert found.without_wavelength == (1,)


def test_exact_leaves_out_cutouts_beside_the_position(repo_root: Path, tmp_path: Path) -> None:
    images = [Image(0, origin=(500, 600)), Image(1, origin=(700, 600)), Image(2)]
    add_images(repo_root, images, tmp_path / "files")
    ra, dec = images[0].position(510, 620)
    assert numbers(search(repo_root, ra, dec)) == [(0, 1), (1, 1), (2, 1)]
    found = search(repo_root, ra, dec, exact=True)
    assert numbers(found) == [(0, 1), (2, 1)]
    assert np.allclose([found.table["x"], found.table["y"]], [[510] * 2, [620] * 2], atol=1e-3)


def test_flags(repo_root: Path, tmp_path: Path) -> None:
    cutout, whole, bare = Image(0, origin=(500, 0)), Image(1), Image(2)
    add_images(repo_root, [cutout, whole], tmp_path / "files", flags=1 << 21 | 1 << 0)
    add_images(repo_root, [bare], tmp_path / "files")
    found = search(repo_root, *whole.position(510, 0), flags=True)
    assert found.table["flags"].tolist() == ["TRANSIENT,SOURCE"] * 2 + [None]
    assert search(repo_root, *whole.position(510, 1), flags=True).table["flags"].tolist() == ["-", "-", None]


def test_calibration_in_force_gives_the_wavelength(repo_root: Path, tmp_path: Path) -> None:
    images = [Image(number, detector) for number in range(3) for detector in (1, 2)]
    add_images(repo_root, images, tmp_path / "files")
    planes = np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    calibration = fits.HDUList([fits.PrimaryHDU()])
    for name, factor in (("CWAVE", 1), ("CBAND", 2)):
        calibration.append(fits.ImageHDU(planes * factor, fits.Header({"BUNIT": "um"}), name=name))
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.collections.register("SPHEREx/calib/x")
        butler.collections.register("SPHEREx/calib", CollectionType.CALIBRATION)
        ref = butler.put(calibration, "spectral_wcs", instrument="SPHEREx", detector=1, run="SPHEREx/calib/x")
        validity = Timespan(*Time([FIRST_MJD + 0.5, FIRST_MJD + 1.5], format="mjd", scale="utc").tai)
        butler.registry.certify("SPHEREx/calib", [ref], validity)
    table = search(repo_root, 30.0, 40.0).table
    for row in table:
        number, detector = int(row["name"].split("_")[2]), int(row["detector"])
        if (number, detector) == (1, 1):
            pixel = np.rint(row["y"]) * SIDE + np.rint(row["x"])
            assert row["wavelength"] == pytest.approx(pixel)
            assert row["bandwidth"] == pytest.approx(2 * pixel)
        else:
            assert row["wavelength"] == pytest.approx(true_wavelength(detector, row["y"]), rel=1e-5)


def test_unknown_wavelengths_are_masked_and_named(repo_root: Path, tmp_path: Path) -> None:
    add_images(repo_root, [Image(0, 3), Image(1, 5)], tmp_path / "files", wavelengths=False)
    found = search(repo_root, 30.0, 40.0)
    assert found.table["wavelength"].mask.all()
    assert found.without_wavelength == (3, 5)


def test_genuine_images_are_found(repo_root: Path, archive_samples: list[Path]) -> None:
    outcome = butler_command("ingest-level2", "--transfer", "direct", repo_root, *archive_samples)
    assert outcome.code == 0, outcome
    found = search(repo_root, *SAMPLES_AT)
    assert sorted(row["address"].split("/")[-1] for row in found.table) == [path.name for path in archive_samples]
    exact = search(repo_root, *SAMPLES_AT, exact=True)
    assert exact.table["address"].tolist() == found.table["address"].tolist()
    position = SkyCoord(*SAMPLES_AT, unit="deg")
    by_name = {path.name: path for path in archive_samples}
    for row, better in zip(found.table, exact.table, strict=True):
        with fits.open(by_name[row["address"].split("/")[-1]]) as hdus:
            header = hdus["IMAGE"].header
            wcs = celestial_wcs(header)
            x, y = (float(value) for value in wcs.world_to_pixel(position))
            wavelength, bandwidth = Wavelength(header, hdus["WCS-WAVE"], hdus["IMAGE"].shape).at(x, y)
            x, y = x + 1 - header["CRPIX1A"], y + 1 - header["CRPIX2A"]
        assert np.hypot(row["x"] - x, row["y"] - y) < 10
        assert row["wavelength"] == pytest.approx(wavelength.value, rel=2e-3)
        assert (better["x"], better["y"]) == pytest.approx((x, y), abs=1e-3)
        assert better["wavelength"] == pytest.approx(wavelength.value, rel=1e-5)
        assert better["bandwidth"] == pytest.approx(bandwidth.value, rel=1e-5)


@pytest.mark.parametrize(
    "words",
    [
        ("308.027", "-38.35"),
        ("20h32m06.48s", "-38d21m00s"),
        ("20h 32m 06.48s", "-38d 21m 00s"),
        ("J203206.48-382100.0",),
        ("2MASS J20320648-3821000",),
        ("308.027 -38.35",),
        ("308.027,-38.35",),
        (" 308.027, -38.35 ",),
        ("308.027,", "-38.35"),
        ("20h32m06.48s -38d21m00s",),
        ("20:32:06.48", "-38:21:00"),
        ("20:32:06.48, -38:21:00",),
        ("20:32:06.48", "-38.35"),
        ("20", "32", "06.48", "-38", "21", "00"),
        ("20 32 06.48 -38 21 00",),
        ("20 32 06.48", "-38 21 00.0"),
    ],
)
def test_positions_in_all_forms(words: tuple[str, ...]) -> None:
    assert position_of(words) == pytest.approx((308.027, -38.35), abs=1e-6)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("M31",),
        ("10",),
        ("10", "x"),
        ("nan", "1"),
        ("1", "2", "3"),
        ("1 2 3",),
        ("1_0", "20"),
        ("10", "2_0"),
        ("１0", "20"),
        ("20:32", "10"),
        ("20:60:00", "10"),
        ("20", "32", "6", "10"),
        ("1:2:3", "4:5:6", "7"),
        ("20", "32", "x", "10", "1", "1"),
    ],
)
def test_what_is_no_position_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SearchError):
        position_of(words)


@pytest.mark.parametrize(
    ("ra", "dec", "message"),
    [
        (400, 45, "right ascension is not between -180 and 360 degrees: 400"),
        (-180.1, 45, "right ascension"),
        (float("nan"), 45, "right ascension"),
        (30, 95, "declination is not between -90 and 90 degrees: 95"),
        (30, float("nan"), "declination"),
    ],
)
def test_criteria_refuse_what_is_no_position(ra: float, dec: float, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        Criteria(ra, dec)


@pytest.mark.parametrize("place", [(-180.0, -90.0), (360.0, 90.0)])
def test_criteria_take_the_ends_of_the_sky(place: tuple[float, float]) -> None:
    assert Criteria(*place).radius == 0


def test_negative_right_ascensions_are_those_less_360(repo_root: Path, tmp_path: Path) -> None:
    image = Image(ra=308.0)
    add_images(repo_root, [image], tmp_path / "files")
    for pixel in ((1000, 300), (1000, 1)):
        ra, dec = image.position(*pixel)
        for options in ({}, {"exact": True}):
            one, other = (search(repo_root, value, dec, **options).table for value in (ra, ra - 360))
            assert len(one) == 1
            for name in ("x", "y", "wavelength"):
                assert one[name][0] == pytest.approx(other[name][0], abs=1e-6)


@pytest.mark.parametrize(
    "criteria",
    [{"dataset_type": "none"}, {"collections": ("none",)}, {"where": "colour = 3"}, {"calibrations": ("none",)}],
)
def test_advice_is_not_of_the_command_line(repo_root: Path, tmp_path: Path, criteria: dict[str, Any]) -> None:
    add_images(repo_root, [Image()], tmp_path / "files")
    with pytest.raises(SearchError) as caught:
        search(repo_root, 30, 40, **criteria)
    assert "--" not in str(caught.value)


def test_unknown_order_is_refused(repo_root: Path, tmp_path: Path) -> None:
    add_images(repo_root, [Image()], tmp_path / "files")
    with pytest.raises(SearchError, match="sorted by time or wavelength, not by 'nonsense'"):
        search(repo_root, 30.0, 40.0, sort="nonsense")


def test_dates() -> None:
    span = timespan_of_dates("2025-06-01", "2025-06-02T12:00:00Z")
    assert span.begin.utc.isot.startswith("2025-06-01T00:00:00.000")
    assert span.end.utc.isot.startswith("2025-06-02T12:00:00.000")
    for dates in (("2025-06-31", "2025-07-01"), ("2025-06-02", "2025-06-01")):
        with pytest.raises(SearchError):
            timespan_of_dates(*dates)
