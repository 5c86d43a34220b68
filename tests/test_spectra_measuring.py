"""Measurement of the targets in an image: places, parts, and what comes from where."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import FK4, EarthLocation, SkyCoord, get_sun
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from astropy.utils import iers
from astropy.wcs import WCS

from spherex.errors import CatalogError, ProductError
from spherex.headers import exposure_middle
from spherex.image import Box, PlaneWavelengths
from spherex.photometry import Profiles
from spherex.spectra import Calibration, Calibrations, MeasureSettings, failed_table, measure_targets, read_profiles
from spherex.spectra.channels import has_older_gains
from spherex.spectra.measuring import TargetRows, airglow_slopes, gains_in
from spherex.spectra.placing import Placed, Window, barycentric_time, place_targets, plan_windows

from .measuring_helpers import ImageInMemory, simulate_sources

SIDE = 2040
X = np.array([300.2, 900.7, 1500.1, 2050.0])
Y = np.array([250.3, 262.4, 1700.9, 400.0])


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """Return an image of detector 1 with four sources, one of which is beside the frame."""
    return simulate_sources(tmp_path_factory.mktemp("frame"), "qr2", 1, X, Y, np.full(4, 5000.0))


def measure(frame, calibrations=None, settings=None, targets=None):
    image, catalogue, _ = frame
    image.boxes.clear()
    return measure_targets(image, catalogue if targets is None else targets, {"exposure": 7}, calibrations, settings)


def test_targets_on_the_frame_have_rows_in_the_order_of_the_catalogue(frame):
    table = measure(frame)
    assert table["target"].tolist() == ["s00000", "s00001", "s00002"]
    np.testing.assert_allclose(table["x"].value, X[:3], atol=1e-4)
    np.testing.assert_allclose(table["y"].value, Y[:3], atol=1e-4)
    assert (np.abs(table["flux"].value - 5000) < 4 * table["flux_error"].value).all()
    assert table["exposure"].tolist() == [7] * 3
    assert set(table["version"]) == {"6.5.6"} | set(table["version"]) - {""}
    assert set(table["obsid"]) == {frame[0].image.header["OBSID"]}
    backwards = measure(frame, targets=frame[1][::-1])
    assert backwards["target"].tolist() == ["s00002", "s00001", "s00000"]
    np.testing.assert_array_equal(backwards["flux"].value, table["flux"].value[::-1])


def test_each_pixel_is_read_at_most_once_and_only_those_around_the_targets(frame):
    measure(frame)
    boxes = frame[0].boxes
    assert boxes == [Box(293, 909, 243, 270), Box(1493, 1508, 1694, 1709)]


def test_no_target_on_the_image(frame):
    targets = frame[1].copy()
    targets["dec"] *= -1
    assert measure(frame, targets=targets) is None
    assert frame[0].boxes == []


def test_without_calibrations_the_image_itself_is_asked_and_the_table_says_so(frame):
    table = measure(frame)
    image = frame[0].image
    wavelength, bandwidth = image.wavelength.at(X[:3], Y[:3])
    np.testing.assert_allclose(table["wavelength"].value, wavelength.to_value("um"), rtol=1e-6)
    np.testing.assert_allclose(table["bandwidth"].value, bandwidth.to_value("um"), rtol=1e-6)
    assert set(table["wavelength_source"]) == {"WCS W of the image"}
    assert set(table["solid_angle_source"]) == {"OMEGA_MEDIAN of the image"}
    assert set(table["solid_angle"].value) == {image.header["OMEGA_MEDIAN"]}
    assert set(table["psf_source"]) == {"image"}
    for name in ("spectral_wcs_id", "solid_angle_id", "psf_id", "flux_correction_id"):
        assert set(table[name]) == {""}
    psf = image.psf_model
    nearest = [int(np.argmin(np.hypot(psf.x - x, psf.y - y))) + 1 for x, y in zip(X, Y, strict=True)]
    assert table["psf_zone"].tolist() == nearest[:3]


def map_of_frame(offset=0.0, scale=1e-3):
    """Return a map of the frame that counts in thousandths along a row."""
    return offset + scale * np.arange(SIDE) + np.zeros((SIDE, 1))


def test_calibrations_take_precedence_and_are_named(frame):
    planes = [(np.indices((SIDE, SIDE))[axis] * 1e-3 + 1) * units.um for axis in (1, 0)]
    angles = map_of_frame(37.0)
    calibrations = Calibrations(
        wavelengths=Calibration("w", PlaneWavelengths(*planes)),
        solid_angles=Calibration("s", angles),
        psf=Calibration("p", frame[0].profiles()[0]),
        gains=Calibration("g", map_of_frame(0.9, 1e-4)),
    )
    plain, table = measure(frame), measure(frame, calibrations)
    np.testing.assert_allclose(table["wavelength"].value, 1 + X[:3] / 1000)
    np.testing.assert_allclose(table["bandwidth"].value, 1 + Y[:3] / 1000)
    columns = np.rint(X[:3])
    np.testing.assert_allclose(table["solid_angle"].value, 37 + columns / 1000)
    np.testing.assert_allclose(table["gain_correction"], 0.9 + 1e-4 * columns)
    expected = plain["flux"] * table["gain_correction"] * table["solid_angle"] / plain["solid_angle"]
    np.testing.assert_allclose(table["flux"].value, expected.value, rtol=2e-3)
    error = plain["flux_error"] * table["gain_correction"] * table["solid_angle"] / plain["solid_angle"]
    np.testing.assert_allclose(table["flux_error"].value, error.value, rtol=5e-3)
    for name, value in zip(("spectral_wcs_id", "solid_angle_id", "psf_id", "flux_correction_id"), "wspg", strict=True):
        assert set(table[name]) == {value}


def test_images_of_version_7_keep_their_gains(tmp_path):
    frame = simulate_sources(tmp_path, "qr3", 1, X, Y, np.full(4, 5000.0))
    table = measure(frame, Calibrations(gains=Calibration("g", map_of_frame(0.9))))
    assert set(table["gain_correction"]) == {1.0}
    assert set(table["flux_correction_id"]) == {""}


def test_images_of_an_unknown_version_are_corrected_and_then_averaged_with_others(frame):
    image, catalogue, truth = frame
    unknown = ImageInMemory(image.image.copy())
    unknown.image.extra_headers.clear()
    assert unknown.image.version is None
    gains = Calibrations(gains=Calibration("g", map_of_frame(0.9)))
    plain, corrected = (measure((unknown, catalogue, truth), given) for given in (None, gains))
    assert set(corrected["flux_correction_id"]) == {"g"}
    assert (corrected["gain_correction"] != 1).all()
    np.testing.assert_array_equal(has_older_gains(plain), True)
    np.testing.assert_array_equal(has_older_gains(corrected), False)


def test_gains_that_are_none_become_the_median_of_their_row():
    gains = map_of_frame(0.9, 1e-4)
    gains[3, :5] = [np.nan, 0.0, 7.0, -1.0, 1.5]
    found = gains_in(gains, Box(0, 6, 2, 4))
    np.testing.assert_allclose(found[0], 0.9 + 1e-4 * np.arange(6))
    median = np.median(np.append(gains[3, 5:], 1.5))
    np.testing.assert_allclose(found[1], [median] * 4 + [1.5, 0.9005])


def test_a_row_without_gains_costs_its_targets_their_fluxes(frame):
    """They would be uncorrected, and averaged with others as if they were not."""
    gains = map_of_frame(0.9, 0.0)
    assert np.isnan(gains_in(np.full((4, 6), 7.0), Box(0, 6, 2, 4))).all()
    gains[240:258] = np.nan
    table, plain = measure(frame, Calibrations(gains=Calibration("g", gains))), measure(frame)
    reason = "no gain in this row of the calibration l3_flux_corrections"
    assert table["reason"].tolist() == [reason, "", ""]
    assert np.isfinite(table["gain_correction"]).tolist() == [False, True, True]
    np.testing.assert_allclose(table["flux"][2] / plain["flux"][2], 0.9, rtol=1e-6)
    # Its background lacks rows, which are not mixed with corrected ones.
    assert table["dof"][1] < plain["dof"][1]


def test_airglow_is_a_slope_along_the_wavelength_near_its_line_only():
    def at(x, y):
        return (1.0 + 2e-5 * x + 1e-4 * y) * units.um, np.full(np.shape(x), 0.02) * units.um

    x, y = np.array([100.0, 100.0, 100.0]), np.array([100.0, 800.0, 1700.0])
    slopes = airglow_slopes(at, at(x, y)[0], x, y)
    assert np.isfinite(slopes).all(axis=1).tolist() == [False, True, False]
    assert slopes[1, 1] / slopes[1, 0] == pytest.approx(5)


def test_a_slope_is_told(frame):
    planes = (np.full((SIDE, SIDE), 1.08) + 1e-6 * np.arange(SIDE)[:, None]) * units.um
    calibrations = Calibrations(wavelengths=Calibration("w", PlaneWavelengths(planes, planes / 40)))
    assert set(measure(frame, calibrations)["background_method"]) == {"constant + slope along wavelength"}


class HeaderOnly(ImageInMemory):
    """An image with another header."""

    def __init__(self, header):
        self._header = header
        self.boxes = []

    def header(self):
        return self._header


KNOWN_WITHOUT_FLUX = ("x", "y", "time", "wavelength", "bandwidth", "solid_angle", "surface_brightness")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"uncertainty": None}, "the image has no variance"), ({"flags": None}, "the image has no flags")],
)
def test_what_an_image_lacks_costs_the_fluxes_alone(frame, change, message):
    table = measure(with_image(frame, **change))
    assert all(reason.startswith(message) for reason in table["reason"])
    assert np.isnan(table["flux"]).all()
    assert (table["flags"] == -1).all()
    assert all(np.isfinite(table[name].value).all() for name in KNOWN_WITHOUT_FLUX if name != "time")
    np.testing.assert_array_equal(table["wavelength"].value, measure(frame)["wavelength"].value)


@pytest.mark.parametrize(
    ("part", "message", "lost"),
    [
        ("profiles", "no PSF: it is torn", {"psf_source"}),
        ("wavelength", "no wavelength: it is torn", {"wavelength", "bandwidth", "wavelength_source"}),
        ("read", "no pixels: it is torn", {"solid_angle", "surface_brightness", "version"}),
    ],
)
def test_parts_that_cannot_be_read_cost_what_they_tell(frame, part, message, lost):
    class Torn(ImageInMemory):
        pass

    def tear(self, *_):
        raise ProductError("it is\ntorn")

    setattr(Torn, part, tear)
    table = measure((Torn(frame[0].image), *frame[1:]))
    assert table["reason"].tolist() == [message] * 3
    assert np.isnan(table["flux"]).all()
    for name in KNOWN_WITHOUT_FLUX[:2] + KNOWN_WITHOUT_FLUX[3:]:
        assert np.isfinite(table[name].value).all() == (name not in lost), name
    for name in ("psf_source", "wavelength_source", "version"):
        assert all((value == "") == (name in lost) for value in table[name]), name


@pytest.mark.parametrize("change", [{}, {"uncertainty": None}, {"flags": None}])
def test_without_a_psf_there_is_the_light_in_the_aperture(frame, change):
    class WithoutPsf(ImageInMemory):
        def profiles(self):
            raise ProductError("the image has no PSF")

    whole, lost = measure(frame), with_image(frame, **change)
    table = measure((WithoutPsf(lost[0].image), *lost[1:]))
    assert table["reason"].tolist() == ["no PSF: the image has no PSF"] * 3
    assert all(set(names.split()) >= {"NO_FLUX", "NO_PSF"} for names in table["quality_names"])
    assert not table["good"].any()
    assert np.isnan(table["flux"]).all()
    assert np.isnan(table["enclosed_fraction"]).all()
    # What is outside of the aperture is missing.
    is_whole = np.isfinite(table["aperture_flux"])
    assert is_whole.sum() >= 2, "a pixel that cannot be used may be in one aperture"
    expected = (whole["aperture_flux"] * whole["enclosed_fraction"])[is_whole]
    error = whole["aperture_flux_error"].value
    np.testing.assert_allclose(table["aperture_flux"][is_whole].value, expected.value, atol=3 * error.max())
    assert np.isfinite(table["aperture_flux_error"][is_whole]).all() == ("uncertainty" not in change)


@pytest.mark.parametrize("angle", [0.0, -38.0, 8.9e-10, 380.0])
def test_a_solid_angle_that_is_none_is_that_of_the_wcs(frame, angle):
    changed = with_image(frame)
    changed[0].image.header["OMEGA_MEDIAN"] = angle
    table = measure(changed)
    assert set(table["solid_angle_source"]) == {"scale of the image's WCS"}
    assert (table["flux_error"] > 0).all()
    np.testing.assert_allclose(table["flux"].value, measure(frame)["flux"].value, rtol=0.02)


@pytest.mark.parametrize("error", [TypeError, ConnectionError, PermissionError, KeyError, ValueError])
def test_errors_of_the_network_or_the_program_are_none_of_the_image(frame, error):
    class Wrong(ImageInMemory):
        def read(self, box):
            raise error("what")

    with pytest.raises(error, match="what"):
        measure((Wrong(frame[0].image), *frame[1:]))


def with_image(frame, **change):
    changed = frame[0].image.copy()
    for name, value in change.items():
        setattr(changed, name, value)
    return (dataclasses.replace(frame[0], image=changed), *frame[1:])


def test_images_are_converted_to_the_unit_of_the_archive(frame):
    image = frame[0].image
    jansky = image.copy()
    jansky.data[:] *= 1e6
    jansky.uncertainty.array[:] *= 1e12
    jansky.unit = units.Jy / units.sr
    table = measure((dataclasses.replace(frame[0], image=jansky), *frame[1:]))
    for name in ("flux", "flux_error", "surface_brightness"):
        np.testing.assert_allclose(table[name].value, measure(frame)[name].value, rtol=1e-5)


def test_another_kind_of_unit_gives_no_flux(frame):
    image = frame[0].image.copy()
    image.unit = units.electron / units.s
    table = measure((dataclasses.replace(frame[0], image=image), *frame[1:]))
    assert set(table["reason"]) == {"no pixels: the image is in electron / s, not in MJy / sr"}
    assert np.isnan(table["flux"]).all()


def test_a_pixel_without_wavelength_or_solid_angle_costs_its_target_only(frame):
    planes = [np.full((SIDE, SIDE), value) for value in (1.5, 0.03)]
    planes[0][round(Y[1]) - 1 : round(Y[1]) + 2, round(X[1]) - 1 : round(X[1]) + 2] = np.nan
    angles = map_of_frame(37.0, 0.0)
    # The last one is in sr.
    for row, bad in zip((0, 2), (np.nan, 8.7e-10), strict=True):
        angles[round(Y[row]), round(X[row])] = bad
    calibrations = Calibrations(
        wavelengths=Calibration("w", PlaneWavelengths(*(plane * units.um for plane in planes))),
        solid_angles=Calibration("s", angles),
    )
    table, plain = measure(frame, calibrations), measure(frame)
    assert table["reason"].tolist() == ["", "no wavelength at this pixel", ""]
    assert np.isfinite(table["flux"].value).tolist() == [True, False, True]
    median = "OMEGA_MEDIAN of the image"
    assert table["solid_angle_source"].tolist() == [median, "solid_angle_pixel_map", median]
    np.testing.assert_allclose(table["flux"].value[[0, 2]], plain["flux"].value[[0, 2]], rtol=2e-3)


def test_a_median_solid_angle_that_is_no_number_is_the_reason(frame):
    image = with_image(frame)[0]
    image.image.header["OMEGA_MEDIAN"] = "large"
    table = measure((image, *frame[1:]))
    assert set(table["reason"]) == {"no pixels: OMEGA_MEDIAN in the header is not a number"}


def test_flags_of_other_releases_are_passed_over(frame):
    assert "STREAK" not in frame[0].image.flag_table
    named = MeasureSettings(bad_flags=("fit", "STREAK"), doubtful_flags=("background",))
    for name in ("flux", "flux_error", "masked_fraction"):
        np.testing.assert_array_equal(measure(frame, settings=named)[name], measure(frame)[name])
    more = MeasureSettings(bad_flags=("fit", "SOURCE"))
    assert (measure(frame, settings=more)["masked_fraction"] > measure(frame)["masked_fraction"]).all()


def test_a_flag_that_no_release_has_is_refused():
    for field in ("bad_flags", "suspect_flags", "doubtful_flags"):
        with pytest.raises(ValueError, match=r"no flag GHOOST .* Did you mean 'GHOST'"):
            MeasureSettings(**{field: ("fit", "GHOOST")})


def test_flags_without_a_name_are_listed_by_their_bits(frame):
    image = with_image(frame)[0]
    image.image.flag_plane.array[:] |= np.int32(-(2**31)) | 1 << 29
    table, plain = measure((image, *frame[1:])), measure(frame)
    assert "GHOST" in image.image.flag_table
    assert table["flag_names"].tolist() == [f"{names} BIT29 BIT31" for names in plain["flag_names"]]
    assert (table["flags"] == plain["flags"] + 2**31 + 2**29).all()
    np.testing.assert_array_equal(table["flux"], plain["flux"])


@pytest.mark.parametrize("origin", [(1000, 1000), (1001, 1001)])
@pytest.mark.parametrize("edge", [-0.5, np.nextafter(39.5, 0)])
def test_a_target_on_the_edge_has_the_calibrations_of_a_pixel_of_the_image(frame, origin, edge):
    """On the edge of two pixels, rounding may lead beside the image."""
    part = frame[0].image[origin[1] : origin[1] + 40, origin[0] : origin[0] + 40]
    source = ImageInMemory(part)
    placed = Placed(np.arange(2), np.array([edge, 20.0]), np.array([20.0, edge]), np.ones(2, bool))
    gains = map_of_frame(0.4, 1e-4)
    calibrations = Calibrations(gains=Calibration("g", gains + gains.T))
    rows = TargetRows(source, source.header(), placed, calibrations, MeasureSettings())
    rows.measure(Window(Box(0, 40, 0, 40), np.arange(2)), part.wcs)
    pixel = origin[0] + round(np.clip(edge, 0, 39))
    expected = 0.8 + 1e-4 * (pixel + origin[0] + 20)
    assert rows.values["gain_correction"] == pytest.approx(expected, abs=1e-9)


def test_surface_brightness_is_the_median_of_the_good_pixels(frame):
    table, image = measure(frame), frame[0].image
    for x, y, value in zip(X[:3], Y[:3], table["surface_brightness"].quantity, strict=True):
        left, bottom = round(x) - 7, round(y) - 7
        box = (slice(max(bottom, 0), bottom + 15), slice(max(left, 0), left + 15))
        good = ~image.bad_pixels("fit")[box] & np.isfinite(image.data[box]) & (image.variance[box] > 0)
        assert value.to_value("MJy/sr") == np.median(image.data[box][good].astype(float))


@pytest.mark.parametrize(
    ("is_torn", "is_spare", "expected"), [(True, True, "id"), (False, True, ""), (False, False, "id")]
)
def test_a_spare_psf_is_for_images_without_one(frame, is_torn, is_spare, expected):
    class Image(ImageInMemory):
        def profiles(self):
            if is_torn:
                raise ProductError("the image has no PSF")
            return super().profiles()

    image, catalogue, truth = frame
    psf = Calibration("id", image.profiles()[0])
    table = measure_targets(Image(image.image), catalogue, calibrations=Calibrations(psf=psf, is_psf_spare=is_spare))
    assert set(table["psf_id"]) == {expected}
    assert set(table["psf_source"]) == {"calibration" if expected else image.profiles()[1]}
    np.testing.assert_array_equal(table["flux"].value, measure(frame)["flux"].value)


def test_where_the_psf_lacks_light_there_is_the_light_in_the_aperture(frame):
    class WithoutPsf(ImageInMemory):
        def profiles(self):
            raise ProductError("the image has no PSF")

    class Dim(ImageInMemory):
        zone = 1

        def profiles(self):
            psf = self.image.psf_model
            samples = psf.samples.copy()
            samples[self.zone - 1] *= 0.9
            return Profiles(dataclasses.replace(psf, samples=samples)), "image"

    whole, without = measure(frame), measure((WithoutPsf(frame[0].image), *frame[1:]))
    assert len(set(whole["psf_zone"])) == 3
    for row, zone in enumerate(whole["psf_zone"]):
        image = Dim(frame[0].image)
        image.zone = zone
        table = measure((image, *frame[1:]))
        is_lost = np.arange(3) == row
        reason = "no PSF: its samples here are not numbers, or do not sum to 1"
        assert table["reason"].tolist() == np.where(is_lost, reason, "").tolist()
        assert ["NO_PSF" in names.split() for names in table["quality_names"]] == is_lost.tolist()
        assert not table["good"][row]
        np.testing.assert_array_equal(table["aperture_flux"].value[row], without["aperture_flux"].value[row])
        np.testing.assert_array_equal(table["flux"].value[~is_lost], whole["flux"].value[~is_lost])


def test_a_psf_without_a_lattice_of_zones_is_none(frame):
    image = frame[0].image.copy()
    hdu = image.planes["PSF"].hdu
    hdu.header["XCTR_5"] += 37.0
    table = measure_targets(image, frame[1])
    assert set(table["reason"]) == {"no PSF: the PSF of the image cannot be used"}
    assert np.isfinite(table["surface_brightness"]).all()
    with pytest.raises(
        ProductError, match="PSF of the calibration average_psf cannot be used: The zones of the PSF do"
    ):
        read_profiles(fits.HDUList([fits.PrimaryHDU(), hdu]), "average_psf")


def test_images_from_who_knows_where_or_when_are_refused(frame):
    image, catalogue, truth = frame
    header = image.header()
    for keyword in ("CTYPE1", "CTYPE2"):
        header[keyword] = ""
    with pytest.raises(ValueError, match="no celestial coordinates"):
        measure((HeaderOnly(header), catalogue, truth))
    header = image.header()
    for keyword in ("MJD-AVG", "MJD-END", "DATE-AVG", "DATE-END"):
        del header[keyword]
    with pytest.raises(ProductError, match="no time.*MJD-END is missing"):
        measure((HeaderOnly(header), catalogue, truth))


@pytest.mark.parametrize("frame_of_image", ["fk5", "fk4", "galactic"])
def test_targets_are_found_in_images_of_other_frames(frame_of_image):
    """Ingest converts the corners of such images to ICRS."""
    star = SkyCoord(310.0, 40.0, unit="deg")
    middle = star.transform_to(FK4(equinox="B1950") if frame_of_image == "fk4" else frame_of_image).spherical
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"] if frame_of_image == "galactic" else ["RA---TAN", "DEC--TAN"]
    if frame_of_image != "galactic":
        wcs.wcs.radesys = frame_of_image.upper()
        wcs.wcs.equinox = 1950.0 if frame_of_image == "fk4" else 2000.0
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (middle.lon.deg, middle.lat.deg), (21, 11), (0.0017, 0.0017)
    placed = place_targets(wcs, star.reshape(1), (20, 40), 5.0)
    np.testing.assert_allclose([placed.x[0], placed.y[0]], [20, 10], atol=1e-5)
    assert placed.is_on_image.tolist() == [True]


def test_an_unknown_frame_is_refused():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["SLON-TAN", "SLAT-TAN"]
    with pytest.raises(ProductError, match="does not know the celestial frame of the image, with CTYPE1 'SLON-TAN'"):
        place_targets(wcs, SkyCoord([10.0], [20.0], unit="deg"), (20, 40), 5.0)


@pytest.mark.parametrize("change", [{"A_0_0": 61.0}, {"B_2_0": 1e-3}])
def test_a_distortion_that_would_hide_targets_is_refused(frame, change):
    image, catalogue, truth = frame
    header = image.header()
    header.update(change)
    with pytest.raises(ProductError, match="the SIP polynomials in the header shift pixels by up to .* more than 60"):
        measure((HeaderOnly(header), catalogue, truth))


def test_rows_of_an_image_that_cannot_be_read():
    table = failed_table(np.array(["a", "b"]), {"detector": 3, "image_id": "i"}, "it is torn")
    assert table["target"].tolist() == ["a", "b"]
    assert table["reason"].tolist() == ["it is torn"] * 2
    assert table["detector"].tolist() == [3, 3]
    assert np.isnan(table["flux"]).all()


def test_proper_motion_is_applied_at_the_time_of_the_image(frame):
    image, catalogue, _ = frame
    time = exposure_middle(image.header())
    years = time.jyear - 2016.0
    moved = catalogue.copy()
    moved["pmra"], moved["pmdec"], moved["ref_epoch"] = 1500.0, -800.0, 2016.0
    moved["ra"] -= 1500.0 * years / 3.6e6 / np.cos(np.radians(moved["dec"]))
    moved["dec"] += 800.0 * years / 3.6e6
    table = measure(frame, targets=moved)
    np.testing.assert_allclose(table["x"].value, X[:3], atol=2e-3)
    np.testing.assert_allclose(table["y"].value, Y[:3], atol=2e-3)


def test_times(frame):
    header = frame[0].header()
    table = measure(frame)
    assert set(table["time"].value) == {header["MJD-AVG"]}
    assert np.isnan(table["time_barycentric"]).all()
    table = measure(frame, settings=MeasureSettings(is_barycentric=True))
    with iers.conf.set_temp("auto_download", False):
        centre = EarthLocation.from_geocentric(0, 0, 0, "m")
        at_earth = Time(table["time"][0], format="mjd", scale="utc", location=centre)
        sky = SkyCoord(frame[1]["ra"][:3], frame[1]["dec"][:3], unit="deg")
        expected = at_earth.tdb + at_earth.light_travel_time(sky, ephemeris="builtin")
    np.testing.assert_allclose((table["time_barycentric"].value - expected.mjd) * 86400, 0, atol=1e-3)
    del header["MJD-AVG"]
    assert exposure_middle(header).mjd == pytest.approx((header["MJD-BEG"] + header["MJD-END"]) / 2, abs=1e-9)


def test_light_reaches_the_barycentre_later_from_opposite_to_the_sun():
    # Beyond all tables of the rotation of the Earth, which are not needed.
    time = Time(62000.0, format="mjd", scale="utc")
    sun = get_sun(time)
    opposite = SkyCoord(sun.ra + 180 * units.deg, -sun.dec)
    pole = SkyCoord(0.0, 90.0, frame="barycentrictrueecliptic", unit="deg").icrs
    sky = SkyCoord([sun.ra, opposite.ra, pole.ra], [sun.dec, opposite.dec, pole.dec])
    later = (barycentric_time(time, sky) - time.tdb.mjd) * 86400
    np.testing.assert_allclose(later, [-499, 499, 0], atol=15)


def test_neighbours_next_to_the_image_count(tmp_path):
    x, y = np.array([2038.0, 2040.2]), np.array([500.0, 500.0])
    frame = simulate_sources(tmp_path, "qr3", 4, x, y, np.array([1000.0, 300000.0]))
    table = measure(frame)
    assert table["target"].tolist() == ["s00000"]
    assert table["neighbours"].tolist() == [1]
    assert abs(table["flux"][0] - 1000) < 5 * table["flux_error"][0]
    alone = measure(frame, targets=frame[1][:1])
    assert alone["flux"][0] > 1100
    assert (alone["good"].tolist(), alone["quality_names"].tolist()) == ([False], ["REJECTED_CORE EDGE"])


def test_far_targets_are_placed_nowhere(frame):
    wcs = frame[0].image.wcs
    sky = SkyCoord(np.linspace(0, 359, 500), np.linspace(-89, 89, 500), unit="deg")
    assert not place_targets(wcs, sky, (SIDE, SIDE), 15).is_on_image.any()


def test_windows_are_joined_where_reading_in_between_is_faster():
    x = np.array([10.0, 2030.0, 1000.0])
    (window,) = plan_windows(x[:2], np.array([100.0, 130.0]), (SIDE, SIDE), 7)
    assert window.box == Box(3, 2038, 93, 138)
    windows = plan_windows(x, np.array([1.0, 2038.0, 900.0]), (SIDE, SIDE), 7)
    assert [one.box for one in windows] == [Box(3, 18, 0, 9), Box(993, 1008, 893, 908), Box(2023, 2038, 2031, 2040)]
    assert [one.members.tolist() for one in windows] == [[0], [2], [1]]
    many = np.linspace(5, 2030, 300)
    assert [one.box for one in plan_windows(many, many, (SIDE, SIDE), 7)] == [Box(0, 2038, 0, 2038)]


def test_the_catalogue_may_have_masked_motions(frame):
    targets = Table(frame[1], masked=True)
    targets["pmra"] = np.ma.masked_array([1e6, 0, 0, 0], mask=[True, False, False, False])
    targets["pmdec"] = np.zeros(4)
    targets["ref_epoch"] = 2016.0
    np.testing.assert_allclose(measure(frame, targets=targets)["x"].value, X[:3], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ra": np.nan}, r"no position on the sky for target s00001 in row 2 \(ra nan, dec "),
        ({"ra": np.inf}, "no position on the sky for target s00001 in row 2"),
        ({"dec": 91.0}, r"no position on the sky for target s00001 in row 2 \(ra .*, dec 91.0\)"),
        ({"ra": "20h"}, "column ra of the targets has values that are not numbers: .*20h"),
        (
            {"pmra": 1e3, "pmdec": 0.0},
            r"one of pmra, pmdec and ref_epoch is missing for target s00001 in row 2 \(1000.0, 0.0, nan\)",
        ),
        ({"pmra": 0.0, "pmdec": 1e3, "ref_epoch": np.nan}, "ref_epoch is missing for target s00001 in row 2"),
        ({"pmdec": 1e3, "ref_epoch": 2016.0}, "ref_epoch is missing for target s00001 in row 2"),
        ({"name": "s00000"}, "2 targets have the name s00000; give each"),
    ],
)
def test_targets_that_would_be_lost_or_misplaced_are_refused(frame, change, message):
    targets = frame[1].copy()
    for name, value in change.items():
        values = targets[name].tolist() if name in targets.colnames else [0.0] * len(targets)
        values[1] = value
        targets[name] = values
    with pytest.raises(CatalogError, match=message):
        measure(frame, targets=targets)


def test_several_bad_targets_are_counted(frame):
    targets = frame[1].copy()
    targets["ra"][1:] = np.nan
    with pytest.raises(CatalogError, match="no position on the sky for target s00001 in row 2 and 2 more"):
        measure(frame, targets=targets)
