"""Simulated Level 2 images: what is in the files, and whether it is right."""

from __future__ import annotations

import dataclasses
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS
from scipy.interpolate import RectBivariateSpline

from spherex.archive import Level2Name, ObservationId, ProcessingRun, calibration_references, time_of_uuid
from spherex.fits import read_product, write_product
from spherex.image import SPHERExImage
from spherex_simulator import Settings
from spherex_simulator.level2 import RELEASES, Level2Settings, read_sources, simulate_level2, simulate_level2_survey
from spherex_simulator.level2.psf import drawing_of, psf_model

UJY_PER_ARCSEC2 = 23.504430539  # of 1 MJy/sr


def settings_of(release: str, **options: object) -> Level2Settings:
    form = RELEASES[release]
    options = {"side": 64} | options
    return Level2Settings(Settings(seed=3, start=form.start), form, ProcessingRun.parse(form.run), **options)


def write_sources(path: Path, positions: list[tuple[float, float]], flux: list[float]) -> Path:
    rows = [(f"T{number}", *position, one) for number, (position, one) in enumerate(zip(positions, flux, strict=True))]
    Table(rows=rows, names=["name", "ra", "dec", "flux"]).write(path, format="ascii.ecsv")
    return path


@pytest.fixture(scope="module", params=["qr2", "qr3"])
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(release: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with one whole frame of detector 3."""
    out = tmp_path_factory.mktemp(release)
    (report,) = simulate_level2_survey(settings_of(release, side=2040), out, [5], [3])
    assert report.files == 3
    return out


def level2_file(out: Path) -> Path:
    (path,) = out.glob("*/level2/**/*.fits")
    return path


def test_names_and_tree(whole: Path, release: str) -> None:
    path = level2_file(whole)
    name = Level2Name.parse(path.name)
    assert path == whole / release / "level2" / name.tree
    assert str(name.run) == RELEASES[release].run
    # The sixth exposure is the second one after the second large slew.
    assert (name.observation.large, name.observation.small) == (2, 2)
    header = fits.getheader(path, "IMAGE")
    begin = Time(header["MJD-BEG"], format="mjd").datetime
    assert begin.isocalendar()[:2] == (name.observation.year, name.observation.week)
    assert ObservationId.from_expidn(header["EXPIDN"]) == (name.observation, 3)
    assert header["OBSID"] == str(name.observation)
    truth = [one for one in whole.rglob("*") if one.is_file() and one != path]
    assert len(truth) == 2
    assert not any(re.search("^level2_", one.name) or one.suffix == ".fits" for one in truth)


def test_astropy_finds_nothing_to_mend(whole: Path, release: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(level2_file(whole)) as hdus:
            hdus.verify("exception")
            psf = "EPSF" if release == "qr3" else "PSF"
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "FLAGS", "VARIANCE", "ZODI", psf, "WCS-WAVE"]
            assert hdus[0].header["VERSION"] == RELEASES[release].version
            assert len(hdus[0].header) == 5
            for name, dtype in (("IMAGE", "float32"), ("FLAGS", "int32"), ("VARIANCE", "float32"), ("ZODI", "float32")):
                assert hdus[name].data.shape == (2040, 2040)
                assert hdus[name].data.dtype.newbyteorder("=") == dtype
            units = [hdus[name].header["BUNIT"] for name in ("IMAGE", "FLAGS", "VARIANCE", "ZODI")]
            assert units == ["MJy / sr", "", "MJy2 / sr2", "MJy / sr"]
            # As many cards as in files of the archive.
            assert (len(hdus["VARIANCE"].header), len(hdus["ZODI"].header), len(hdus["WCS-WAVE"].header)) == (
                119,
                119,
                18,
            )
            if release == "qr2":
                assert hdus["PSF"].shape == (121, 101, 101)
                assert len(hdus["PSF"].header) == 509
                assert type(hdus["FLAGS"]) is fits.ImageHDU
                assert hdus["FLAGS"].header["MP_SNOWBALL"] == 27
            else:
                assert hdus["EPSF"].data["EPSF"].shape == (451, 33, 33)
                assert type(hdus["FLAGS"]) is fits.CompImageHDU
                assert hdus["FLAGS"].header["MSKN0029"] == "SATELLITE_HALO"
    if release == "qr3":
        with fits.open(level2_file(whole), disable_image_compression=True) as hdus:
            header = hdus["FLAGS"].header
            assert (header["ZCMPTYPE"], header["ZTILE1"], header["ZTILE2"]) == ("RICE_1", 2040, 1)


def test_cards_are_those_of_the_archive(whole: Path, archive_samples: list[Path]) -> None:
    """Every card of a genuine QR1 header is there, in the same order, with QR2's changes."""
    genuine = fits.getheader(archive_samples[0], "IMAGE")
    header = fits.getheader(level2_file(whole), "IMAGE")
    ignored = {"VERSION", "COMMENT", "HISTORY", ""}
    ours = list(dict.fromkeys(keyword for keyword in header if keyword not in ignored))
    theirs = list(dict.fromkeys(keyword for keyword in genuine if keyword not in ignored))
    assert set(theirs) <= set(ours)
    assert [keyword for keyword in ours if keyword in theirs] == theirs
    for keyword in theirs:
        assert type(header[keyword]) is type(genuine[keyword]), keyword
    assert list(header["COMMENT"]) == list(genuine["COMMENT"])


def test_history_tells_the_calibrations(release: str) -> None:
    lists = {}
    for detector in (1, 3):
        frame = simulate_level2(settings_of(release), 0, detector)
        lists[detector] = {one.type: one.id for one in calibration_references(frame.image.header["HISTORY"])}
        modules = [line for line in frame.image.header["HISTORY"] if "SSDC-MS" in line]
        assert len(modules) == 20
    assert lists[1]["gain_factors"] == lists[3]["gain_factors"]
    assert lists[1]["spectral_wcs"] != lists[3]["spectral_wcs"]
    assert ("he_template" in lists[1]) == (release == "qr3")
    assert "he_template" not in lists[3]
    made = time_of_uuid(lists[1]["nonfunc" if release == "qr2" else "epsf"])
    assert made == RELEASES[release].calibration_time
    older = dataclasses.replace(settings_of(release), run=ProcessingRun.parse("l2b-v20-2025-299"))
    history = simulate_level2(older, 0, 1).image.header["HISTORY"]
    assert {time_of_uuid(one.id) for one in calibration_references(history)} == {None}


@pytest.mark.parametrize(
    ("exposure", "flag"),
    [
        (0, "all_sky"),
        (150, "all_sky"),
        (160, "deep_north"),
        (210, "deep_north"),
        (215, "all_sky"),
        (1139, "deep_south"),
    ],
)
def test_surveys(exposure: int, flag: str) -> None:
    header = simulate_level2(settings_of("qr2", side=32), exposure, 2).image.header
    assert header["SPS_FLAGS"] == flag
    assert (abs(header["SPS_ELAT"]) > 84.4) == (flag == "deep_north")
    assert (header["SPS_ELAT"] < -80) == (flag == "deep_south")


def test_round_trip(whole: Path, tmp_path: Path) -> None:
    image = read_product(level2_file(whole))
    write_product(image, tmp_path / "copy.fits")
    copy = read_product(tmp_path / "copy.fits")
    np.testing.assert_array_equal(copy.data, image.data)
    np.testing.assert_array_equal(copy.variance, image.variance)
    assert copy.flag_plane == image.flag_plane
    assert copy.header.tostring() == image.header.tostring()
    assert list(copy.planes) == list(image.planes)


def test_coordinates_and_wavelengths_of_the_truth(whole: Path, release: str) -> None:
    path = level2_file(whole)
    with fits.open(path) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = hdus["IMAGE"].header
        (truth,) = whole.glob("*/truth/**/*.ecsv")
        table = Table.read(truth, format="ascii.ecsv")[:500]
        x, y = WCS(header).all_world2pix(table["ra"], table["dec"], 0)
        np.testing.assert_allclose((x, y), (table["x"], table["y"]), atol=1e-4)
        spectral = WCS(header, fobj=hdus, key="W")
        spectral.sip = None
        inside = (x > 0) & (x < 2039) & (y > 0) & (y < 2039)
        wavelength, bandwidth = spectral.wcs_pix2world(x[inside], y[inside], 0)
        np.testing.assert_allclose(wavelength, table["wavelength"][inside], atol=1e-6)
        np.testing.assert_allclose(bandwidth, table["bandwidth"][inside], atol=1e-6)
        nodes = hdus["WCS-WAVE"].data["X"][0]
    if release == "qr2":
        assert nodes.tolist() == [1, 205, 409, 613, 817, 1021, 1224, 1428, 1632, 1836, 2040]
    else:
        assert (len(nodes), nodes[0], nodes[-1]) == (9, 1, 2040)


def test_solid_angle_is_that_of_the_coordinates(whole: Path) -> None:
    image = read_product(level2_file(whole))
    y, x = np.mgrid[0:2040:100, 0:2040:100].reshape(2, -1).astype(float)
    corners = [image.wcs.pixel_to_world(x + dx, y + dy) for dx, dy in ((0, 0), (1, 0), (0, 1))]
    right, up = (corners[0].cartesian - one.cartesian for one in corners[1:])
    area = right.cross(up).norm().value * np.degrees(3600.0) ** 2
    assert image.header["OMEGA_MEDIAN"] == pytest.approx(np.median(area), rel=1e-3)
    assert image.header["OMEGA_STDDEV"] == pytest.approx(area.std(), rel=0.1)
    assert 37.7 < image.header["OMEGA_MEDIAN"] < 38.0


def test_boresight_is_that_of_the_coordinates() -> None:
    frame = simulate_level2(settings_of("qr2"), 7, 2)
    header = frame.image.header
    # Detector 2 looks where the boresight does; SIP moves the reference pixel.
    boresight = SkyCoord(header["SPS_ELON"], header["SPS_ELAT"], unit="deg", frame="barycentricmeanecliptic")
    centre = SkyCoord(header["CRVAL1"], header["CRVAL2"], unit="deg")
    assert boresight.icrs.separation(centre).arcsec < 0.01
    north = boresight.directional_offset_by(header["SPS_EPA"] * u.deg, 0.1 * u.deg)
    x, y = WCS(header).world_to_pixel(SkyCoord([centre, north.icrs]))
    assert abs(x[1] - x[0]) < 3
    assert y[1] - y[0] == pytest.approx(360 / 6.15, rel=0.01)


def test_detectors_of_an_exposure_differ_by_at_most_a_millisecond() -> None:
    begins = set()
    for exposure in range(3):
        frames = [simulate_level2(settings_of("qr2", side=32), exposure, detector) for detector in range(1, 7)]
        days = [frame.image.header["MJD-BEG"] for frame in frames]
        assert (max(days) - min(days)) * 86400 < 0.0011
        begins.add(len(set(days)))
        assert len({frame.image.header["OBSID"] for frame in frames}) == 1
    assert 2 in begins


@pytest.mark.slow
@pytest.mark.thorough
def test_a_cutout_is_a_cut_of_the_frame(whole: Path, release: str) -> None:
    frame = simulate_level2(settings_of(release), 5, 3)
    image = read_product(level2_file(whole))
    header = frame.image.header
    assert (1 - header["CRPIX1A"], 1 - header["CRPIX2A"]) == (988, 988)
    assert header["CRPIX1"] == image.header["CRPIX1"] - 988
    assert header["CRPIX2W"] == image.header["CRPIX2W"] - 988
    cut = image[988 : 988 + 64, 988 : 988 + 64]
    fixed = ("HOT", "COLD", "NONFUNC", "FULLSAMPLE", "DICHROIC")
    np.testing.assert_array_equal(frame.image.flag_plane.has(*fixed), cut.flag_plane.has(*fixed))
    good = ~(frame.image.flag_plane.has("TRANSIENT", "COLD", "NONFUNC") | cut.flag_plane.has("TRANSIENT"))
    pull = ((frame.image.data - cut.data) / np.sqrt(frame.image.variance + cut.variance))[good]
    assert abs(pull.mean()) < 0.1
    assert pull.std() == pytest.approx(1, abs=0.05)
    for name in image.planes.keys() - {"ZODI"}:
        np.testing.assert_equal(frame.image.planes[name].data.tolist(), image.planes[name].data.tolist())
    np.testing.assert_allclose(frame.image.planes["ZODI"].data, cut.planes["ZODI"].data, rtol=1e-5)


def test_cutouts_around_a_position() -> None:
    middle = simulate_level2(settings_of("qr2"), 0, 2).image.wcs.pixel_to_world(31.5, 31.5)
    settings = settings_of("qr2", centre=(middle.ra.deg, middle.dec.deg))
    # The telescope moves on by 115 pixels an exposure: the position leaves the frame.
    frames = [simulate_level2(settings, exposure, 2) for exposure in range(12)]
    seen = [frame is not None for frame in frames]
    assert seen == sorted(seen, reverse=True)
    assert 7 <= sum(seen) <= 10
    for frame in filter(None, frames):
        x, y = frame.image.wcs.world_to_pixel(middle)
        if frame.image.shape == (64, 64):
            assert (abs(x - 32), abs(y - 32)) < (0.51, 0.51)
        assert 0 <= 1 - frame.image.header["CRPIX2A"] < 2040
    assert simulate_level2(settings, 0, 3) is None


def test_stamps_are_the_integral_of_the_optical_psf() -> None:
    model, drawing = psf_model(4, False), drawing_of(4, False)
    samples = model.samples.astype(float)
    assert samples.sum(axis=(2, 3)) == pytest.approx(1, abs=1e-6)
    # On the centre of a zone, and on a pixel: whole samples but half ones at the edges.
    shifted = dataclasses.replace(
        drawing, model=dataclasses.replace(model, x=_moved(model.x, 93), y=_moved(model.y, 1206))
    )
    (stamp,) = shifted.stamps(np.array([93.0]), np.array([1206.0]))
    profile = samples[6, 0]
    weights = np.zeros((13, 101))
    for pixel in range(-6, 7):
        low, high = 10 * (pixel - 0.5) + 50.5, 10 * (pixel + 0.5) + 50.5
        edges = np.arange(102.0)
        weights[pixel + 6] = np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, 1)
    np.testing.assert_allclose(stamp, weights @ profile @ weights.T, atol=1e-7)
    assert stamp.sum() == pytest.approx(1, abs=1e-6)


def _moved(lattice: object, position: float) -> object:
    """Return zones of which one has its centre exactly at a position."""
    centres = lattice.centres.copy()  # type: ignore[attr-defined]
    centres[np.argmin(abs(centres - position))] = position
    return dataclasses.replace(lattice, centres=centres)  # type: ignore[type-var]


def effective_psf(image: SPHERExImage, x: float, y: float, shape: tuple[int, int]) -> np.ndarray:
    """Return the image of a source of flux 1 from the table in the file, written anew."""
    table = image.planes["EPSF"].data
    width, height = table["XCENTER"].max() - table["XCENTER"].min(), table["YCENTER"].max() - table["YCENTER"].min()
    columns, rows = len(set(table["XCENTER"])), len(set(table["YCENTER"]))
    distance_x = abs(table["XCENTER"] - x) * (columns - 1) / width
    distance_y = abs(table["YCENTER"] - y) * (rows - 1) / height
    weights = np.clip(1 - distance_x, 0, None) * np.clip(1 - distance_y, 0, None)
    samples = (weights[:, np.newaxis, np.newaxis] * table["EPSF"]).sum(axis=0)
    steps = np.arange(33) - 16.0
    origin = 1 - image.header["CRPIX1A"], 1 - image.header["CRPIX2A"]
    u, v = 5 * (np.arange(shape[1]) + origin[0] - x), 5 * (np.arange(shape[0]) + origin[1] - y)
    values = 25 * RectBivariateSpline(steps, steps, samples)(np.clip(v, -16, 16), np.clip(u, -16, 16))
    return values * np.outer(abs(v) <= 16, abs(u) <= 16)


def optical_psf(image: SPHERExImage, x: float, y: float, shape: tuple[int, int]) -> np.ndarray:
    """Return the same from the cube in the file."""
    header, cube = image.planes["PSF"].header, image.planes["PSF"].data
    samples = np.zeros((101, 101))
    for zone in range(121):
        share = [
            max(1 - abs(position - header[f"{axis}CTR_{zone + 1}"]) * 11 / 2040, 0)
            for axis, position in (("X", x), ("Y", y))
        ]
        samples += share[0] * share[1] * cube[zone]
    origin = 1 - image.header["CRPIX1A"], 1 - image.header["CRPIX2A"]
    edges = np.arange(102.0)
    weights = []
    for size, start, position in ((shape[0], origin[1], y), (shape[1], origin[0], x)):
        low = 10 * (np.arange(size) + start - position - 0.5)[:, np.newaxis] + 50.5
        weights.append(np.clip(np.minimum(low + 10, edges[1:]) - np.maximum(low, edges[:-1]), 0, 1))
    return weights[0] @ samples @ weights[1].T


@pytest.mark.parametrize("detector", [1, 4])
def test_fluxes_are_recovered_with_the_psf_of_the_file(release: str, detector: int, tmp_path: Path) -> None:
    """Pulls of isolated sources over three decades of flux, measured from scratch."""
    settings = settings_of(release, side=400, with_stars=False)
    wcs = simulate_level2(settings, 0, detector).image.wcs
    rng = np.random.default_rng(8)
    grid = np.arange(15, 400, 26)
    x, y = (plane.ravel() + rng.uniform(-0.5, 0.5, grid.size**2) for plane in np.meshgrid(grid, grid))
    places = wcs.pixel_to_world(x, y)
    flux = 10 ** rng.uniform(2.5, 5.5, x.size)
    file = write_sources(tmp_path / "t.ecsv", list(zip(places.ra.deg, places.dec.deg, strict=True)), flux.tolist())
    settings = dataclasses.replace(settings, sources=read_sources(file))
    (report,) = simulate_level2_survey(settings, tmp_path, [0], [detector])
    image = read_product(level2_file(tmp_path))
    (path,) = tmp_path.glob("*/truth/**/*.ecsv")
    truth = Table.read(path, format="ascii.ecsv")
    assert len(truth) == x.size
    bad = image.flag_plane.has("NONFUNC", "HOT", "COLD", "TRANSIENT", "OVERFLOW")
    origin = 1 - image.header["CRPIX1A"], 1 - image.header["CRPIX2A"]
    profile = effective_psf if release == "qr3" else optical_psf
    pulls = []
    for row in truth:
        left, low = int(row["x"]) - 9, int(row["y"]) - 9
        box = slice(low, low + 19), slice(left, left + 19)
        cut = image[box]
        if bad[box][6:13, 6:13].any():
            continue
        psf = profile(cut, row["x"] + origin[0], row["y"] + origin[1], (19, 19))
        unit = row["solid_angle"] * UJY_PER_ARCSEC2
        # Equal weights, because those of the variance in the file follow the noise of each pixel.
        weight = np.where(bad[box], 0.0, psf)
        outside = (psf < 1e-6) & ~bad[box]
        background = cut.data[outside].mean()
        variance, pixels = np.nan_to_num(cut.variance), np.nan_to_num(cut.data - background)
        norm = (weight * psf).sum()
        error = np.sqrt((weight**2 * variance).sum() + weight.sum() ** 2 * variance[outside].mean() / outside.sum())
        pulls.append(((weight * pixels).sum() - norm * row["flux"] / unit) / error)
    pulls = np.array(pulls)
    assert pulls.size > 0.6 * x.size
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1, abs=4 / np.sqrt(2 * pulls.size))


def test_variance_is_honest(release: str) -> None:
    settings = settings_of(release, side=200, with_stars=False)
    frames = [simulate_level2(settings, exposure, 5).image for exposure in range(2)]
    for image in frames:
        bad = image.flag_plane.has("TRANSIENT", "HOT", "COLD", "NONFUNC")
        residual = image.data - image.planes["ZODI"].data
        residual -= np.median(residual[~bad])
        pull = (residual / np.sqrt(image.variance))[~bad]
        assert pull.std() == pytest.approx(1, abs=0.05)
        dead = image.flag_plane.has("NONFUNC")
        assert dead.any()
        np.testing.assert_array_equal(np.isnan(image.variance), dead)
        np.testing.assert_array_equal(np.isnan(image.data), dead)
    assert not np.array_equal(frames[0].data, frames[1].data, equal_nan=True)


def test_spectra_of_sources(tmp_path: Path) -> None:
    path = tmp_path / "sources.ecsv"
    table = Table(
        {"name": ["flat", "steep", "hot"], "ra": [1.0, 2, 3], "dec": [0.0, 1, 2], "flux": [10.0, 20, 30]},
        units={"flux": "uJy"},
    )
    table["slope"] = [0.0, -2.0, 0.0]
    table["temperature"] = np.ma.array([0.0, 0.0, 5000.0], mask=[True, True, False])
    table.write(path, format="ascii.ecsv")
    sources = read_sources(path)
    assert sources.names == ["flat", "steep", "hot"]
    np.testing.assert_allclose(1e6 * sources.flux_density(np.full(3, 1.6)), [10, 20, 30])
    flat, steep, hot = 1e6 * sources.flux_density(np.full(3, 3.2))
    assert (flat, steep) == (pytest.approx(10), pytest.approx(5))
    exponent = 14387.77 / 5000
    expected = 30 / 8 * np.expm1(exponent / 1.6) / np.expm1(exponent / 3.2)
    assert hot == pytest.approx(expected, rel=1e-5)


def test_zones_of_the_erratum(tmp_path: Path) -> None:
    release = RELEASES["qr2"].with_swapped_zones()
    settings = dataclasses.replace(settings_of("qr2"), release=release)
    right, wrong = (simulate_level2(one, 0, 1).image.planes["PSF"] for one in (settings_of("qr2"), settings))
    np.testing.assert_array_equal(right.data, wrong.data)
    assert (right.header["XCTR_2"], right.header["YCTR_2"]) == (pytest.approx(278.68182), pytest.approx(93.22727))
    assert (wrong.header["YCTR_2"], wrong.header["XCTR_2"]) == (pytest.approx(278.68182), pytest.approx(93.22727))
    assert (right.header["XCTR_112"], right.header["YCTR_112"]) == (pytest.approx(278.68182), pytest.approx(1947.7727))
    with pytest.raises(ValueError, match="never had x and y exchanged"):
        RELEASES["qr3"].with_swapped_zones()


def test_wavelengths_span_the_filter() -> None:
    for detector in range(1, 7):
        table = RELEASES["qr2"].wavelengths(detector)
        assert np.all(np.diff(table.values[:, :, 0], axis=0) < 0)
    wavelength, _ = RELEASES["qr2"].wavelengths(1).at(np.array([1020.0]), np.array([0.0]))
    np.testing.assert_allclose(wavelength, 1.09, rtol=1e-5)


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_wavelengths_over_a_frame_are_those_at_its_pixels(release: str) -> None:
    table = RELEASES[release].wavelengths(4)
    rows, columns = np.indices((2040, 2040), dtype=float)
    for found, expected in zip(table.over(2040), table.at(columns, rows), strict=True):
        np.testing.assert_array_equal(found, expected)
