"""Offsets of the bright sources of an image from their catalogue positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.table import vstack

from spherex.photometry import mean_with_scatter
from spherex.spectra import diagnose, measure_targets

from .measuring_helpers import ImageInMemory, simulate_sources


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return an image with 1,681 isolated stars of 3 mJy to 0.2 Jy, their catalogue, and their pixels."""
    rng = np.random.default_rng(21)
    columns, rows = np.meshgrid(*[np.arange(100, 2000, 47.0)] * 2)
    x, y = (plane.ravel() + rng.uniform(-0.5, 0.5, plane.size) for plane in (columns, rows))
    flux = 10 ** rng.uniform(3.5, 5.3, len(x))
    image, catalogue, _ = simulate_sources(tmp_path_factory.mktemp("centroids"), "qr3", 4, x, y, flux, seed=21)
    profiles = image.profiles()
    image.profiles = lambda: profiles
    return image, catalogue, x, y


def moved(frame: Any, dx: Any, dy: Any) -> Any:
    """Return the catalogue with positions from which the stars are off by (dx, dy) pixels."""
    image, catalogue, x, y = frame
    catalogue = catalogue.copy()
    catalogue["ra"], catalogue["dec"] = image.image.wcs.all_pix2world(x - dx, y - dy, 0)
    return catalogue


def measure(image: ImageInMemory, catalogue: Any) -> Any:
    return diagnose(measure_targets(image, catalogue, {}))


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (0.1, -0.1), (0.2, 0.1)])
def test_known_offsets_are_found_within_their_errors(frame: Any, dx: float, dy: float) -> None:
    catalogue = moved(frame, dx, dy)
    found = [measure(frame[0], catalogue[part::28]) for part in range(16)]
    assert all(one.centroids > 10 for one in found)
    apart = np.array([[one.centroid_dx - dx, one.centroid_dy - dy] for one in found])
    errors = np.array([[one.centroid_dx_error, one.centroid_dy_error] for one in found])
    assert (errors < 0.002).all()
    assert np.abs(apart.mean(axis=0)).max() < 0.001
    # The width of 32 normal values has an error of 0.125.
    assert 0.65 < ((apart - apart.mean(axis=0)) / errors).std() < 1.35


def test_offsets_that_matter_are_warned_of(frame: Any) -> None:
    assert measure(frame[0], frame[1][:200]).warnings() == []
    # Offsets that cost less than the PSF is known for.
    small = measure(frame[0], moved(frame, 0.05, 0.05)[:200])
    assert small.centroid_dx == pytest.approx(0.05, abs=0.002)
    assert "catalogue" not in " ".join(small.warnings())
    large = measure(frame[0], moved(frame, -0.15, 0.1)[:200])
    (text,) = [text for text in large.warnings() if "catalogue" in text]
    assert text.startswith("20 bright targets are 0.18")
    assert large.centroid_dx == pytest.approx(-0.15, abs=0.003)
    assert large.centroid_dy == pytest.approx(0.1, abs=0.003)


def test_wrong_positions_of_a_few_targets_change_nothing(frame: Any) -> None:
    wrong = np.where(np.arange(len(frame[2])) % 10 == 0, 0.4, 0.0)
    found = measure(frame[0], moved(frame, wrong, wrong)[:200])
    assert abs(found.centroid_dx) < 0.003
    assert found.centroid_dx_error < 0.002


def test_errors_of_the_catalogue_are_in_the_error_of_the_mean(frame: Any) -> None:
    rng = np.random.default_rng(4)
    found = measure(frame[0], moved(frame, *rng.normal(0, 0.05, (2, len(frame[2]))))[:200])
    expected = 0.05 / found.centroids**0.5
    assert 0.5 * expected < found.centroid_dx_error < 2 * expected
    assert np.hypot(found.centroid_dx, found.centroid_dy) < 4 * expected


def test_few_or_faint_or_blended_targets_have_no_offset(frame: Any) -> None:
    image, catalogue, x, y = frame
    bright = catalogue[catalogue["flux"] > 5e4]
    faint = catalogue[catalogue["flux"] < 4e3][:30]
    assert measure(image, bright[:5]).centroids == 5
    neighbours = bright[:30].copy()
    neighbours["name"] = [f"n{row}" for row in range(30)]
    neighbours["dec"] += 1.2 * 6.15 / 3600
    for targets in (bright[:4], faint, vstack([bright[:30], neighbours])):
        found = measure(image, targets)
        assert found.centroids == 0
        assert np.isnan([found.centroid_dx, found.centroid_dx_error, found.centroid_dy, found.centroid_dy_error]).all()
        assert not any("catalogue" in text for text in found.warnings())


def test_means_have_the_scatter_of_their_values() -> None:
    values, errors = np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.0, 1.0])
    # Differences that the errors explain.
    assert mean_with_scatter(values, errors) == pytest.approx((39 / 11, (9 / 11) ** 0.5))
    # Equal errors: the variance between values is theirs less that of the errors.
    values = np.array([0.0, 10.0, 20.0, 50.0])
    mean, error = mean_with_scatter(values, np.ones(4))
    assert mean == pytest.approx(20)
    assert error == pytest.approx(values.std(ddof=1) / 2)
    assert mean_with_scatter(np.array([3.0]), np.array([0.5])) == (3.0, 0.5)
