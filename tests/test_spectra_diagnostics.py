"""What measurements say of their image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from spherex.image import Psf
from spherex.photometry import Profiles
from spherex.spectra import DetectorDiagnostics, diagnose, gather_spectrum, make_plain_table, measure_targets

from .measuring_helpers import simulate_sources
from .spectra_helpers import measurements


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return an image with isolated stars, 800 faint and 800 bright ones, and the catalogue."""
    rng = np.random.default_rng(2)
    columns, rows = np.meshgrid(*[np.arange(100, 2000, 47.0)] * 2)
    x, y = (plane.ravel() + rng.uniform(-0.5, 0.5, plane.size) for plane in (columns, rows))
    flux = np.where(np.arange(len(x)) % 2, 1000.0, 2e5)
    image, catalogue, _ = simulate_sources(tmp_path_factory.mktemp("diagnostics"), "qr3", 4, x, y, flux)
    return image, catalogue


def narrower(psf: Psf, factor: float) -> Profiles:
    """Return the PSF with all distances shortened, and the same light."""
    size = psf.samples.shape[-1]
    place = (np.arange(size) - (size - 1) / 2) * factor + (size - 1) / 2
    grid = np.meshgrid(place, place, indexing="ij")
    samples = np.stack([ndimage.map_coordinates(one, grid, order=3) for one in psf.samples.astype(float)])
    samples *= psf.samples.sum(axis=(1, 2), keepdims=True) / samples.sum(axis=(1, 2), keepdims=True)
    return Profiles(dataclasses.replace(psf, samples=samples))


def test_a_good_image_is_told_from_wrong_psfs_and_positions(frame: Any) -> None:
    image, catalogue = frame
    good = diagnose(measure_targets(image, catalogue, {}))
    assert good.warnings() == []
    assert (good.bright > 350, good.clear > 350) == (True, True)
    assert good.eta < 0.012
    assert abs(good.psf_over_aperture - 1) < 3 * good.psf_over_aperture_error

    profiles = narrower(image.image.psf_model, 1 / 0.95)
    narrow = dataclasses.replace(image)
    narrow.profiles = lambda: (profiles, "narrow")
    found = diagnose(measure_targets(narrow, catalogue, {}))
    assert found.eta > 0.03
    assert found.psf_over_aperture < 1 - 3 * found.psf_over_aperture_error
    assert "eta" in " ".join(found.warnings())

    moved = catalogue.copy()
    # A pixel has 6.15 arcsec.
    moved["dec"] = moved["dec"] + 0.2 * 6.15 / 3600
    found = diagnose(measure_targets(image, moved, {}))
    assert found.eta > 0.1
    assert found.warnings()


def test_the_scale_of_errors_changes_nothing() -> None:
    values = {"flux": 1e4, "flux_error": 50.0, "aperture_flux": 1e4, "core_chi2": 80.0, "core_dof": 20}
    given = values | {"masked_fraction": 0.0}
    plain = diagnose(make_plain_table(given, 9))
    scaled = diagnose(make_plain_table(given | {"flux_error": 125.0, "error_scale": 2.5}, 9))
    assert plain.eta > 0
    assert dataclasses.astuple(scaled) == pytest.approx(dataclasses.astuple(plain), nan_ok=True)


def test_few_targets_say_nothing() -> None:
    for number in (0, 4):
        found = diagnose(make_plain_table({"flux": 1e4, "flux_error": 1.0, "good": True}, number))
        assert np.isnan([found.eta, found.psf_over_aperture]).all()
        assert found.warnings() == []


def visits(detector: int, number: int, **given: Any) -> Any:
    """Return measurements of a target, with the signal to noise and the columns that diagnostics need."""
    values = {"flux": 300.0, "flux_error": 12.0, "aperture_flux": 300.0, "core_chi2": 20.0, "core_dof": 20}
    values |= {"aperture_flux_error": 13.0}
    return measurements(number, detector=detector, wavelength=1.0 + 0.5 * detector, **(values | given))


def test_a_spectrum_has_the_diagnostics_of_each_detector() -> None:
    apertures = 300.0 / np.array([0.95, 0.96, 0.94, 0.95, 0.95])
    offsets = {"centroid_dx_error": 0.01, "centroid_dy_error": 0.01}
    first = visits(1, 5, aperture_flux=apertures, centroid_dx=np.nan, centroid_dy=np.nan)
    second = visits(2, 6, centroid_dx=[0.2, 0.21, 0.19, 0.2, np.nan, np.nan], centroid_dy=0.0, **offsets)
    third = visits(3, 4, centroid_dx=[0.01, -0.01, 0.3, -0.3], centroid_dy=0.01, **offsets)
    one, two, three = gather_spectrum([first, second, third]).meta["diagnostics"]
    assert (one["detector"], one["clear"], one["psf_over_aperture"]) == (1, 5, pytest.approx(0.95))
    assert 0 <= one["psf_over_aperture_error"] < 0.01
    assert "centroid_dx" not in one
    assert one["centroid_images"] == 0
    assert (two["centroid_images"], two["centroid_images_off"]) == (4, 4)
    assert (two["centroid_dx"], two["centroid_dx_error"]) == (pytest.approx(0.2), pytest.approx(0.005))
    assert (two["psf_over_aperture"], two["clear"]) == (1.0, 6)
    assert (three["centroid_images"], three["centroid_images_off"]) == (4, 2)
    # Too few for a median of ratios.
    assert "psf_over_aperture" not in three
    texts = [DetectorDiagnostics(**found).warnings() for found in (one, two, three)]
    assert [len(text) for text in texts] == [1, 1, 1]
    assert "5 measurements by PSF are 0.950" in texts[0][0]
    assert "the bright targets of 4 images are 0.200 +- 0.005 pixels" in texts[1][0]
    assert "2 of 4 images are more than 0.1 pixels" in texts[2][0]


def test_good_images_have_no_warnings() -> None:
    table = visits(4, 9, centroid_dx=0.02, centroid_dy=0.15, centroid_dx_error=0.01, centroid_dy_error=0.3)
    (found,) = gather_spectrum([table]).meta["diagnostics"]
    assert found["centroid_dy"] == pytest.approx(0.15)
    assert DetectorDiagnostics(**found).warnings() == []


def test_few_measurements_that_agree_by_chance_give_no_alarm() -> None:
    rng = np.random.default_rng(4)
    pulls = []
    for _ in range(300):
        flux = 300.0 + 12.0 * rng.standard_normal(5)
        # The flux in the aperture has the noise of the fit, and more.
        aperture = flux + np.sqrt(18.0**2 - 12.0**2) * rng.standard_normal(5)
        (found,) = gather_spectrum([visits(1, 5, flux=flux, aperture_flux=aperture, aperture_flux_error=18.0)]).meta[
            "diagnostics"
        ]
        pulls.append((found["psf_over_aperture"] - 1) / found["psf_over_aperture_error"])
    assert np.max(np.abs(pulls)) < 4
    assert np.std(pulls) == pytest.approx(0.9, abs=0.15)


def test_diagnostics_are_in_the_page(request: pytest.FixtureRequest) -> None:
    page = (Path(__file__).parents[1] / "doc" / "quality.md").read_text()
    assert "`psf_over_aperture`" in page
    assert "`eta`" in page
    assert "`centroid_dx`" in page
