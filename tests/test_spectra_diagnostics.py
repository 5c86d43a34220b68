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
from spherex.spectra import diagnose, make_plain_table, measure_targets

from .measuring_helpers import simulate_sources


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


def test_diagnostics_are_in_the_page(request: pytest.FixtureRequest) -> None:
    page = (Path(__file__).parents[1] / "doc" / "quality.md").read_text()
    assert "`psf_over_aperture`" in page
    assert "`eta`" in page
