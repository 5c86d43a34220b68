"""Which measurements fit far worse than others of the same target."""

from __future__ import annotations

import numpy as np
import pytest

from spherex.spectra import combine_channels, design_channels, find_outliers

from .spectra_helpers import measurements


def found(**given):
    return np.flatnonzero(find_outliers(measurements(len(given["chi2"]), **given))).tolist()


def test_a_fit_far_worse_than_the_others_of_its_detector_is_found():
    chi2 = [100.0] * 6 + [1001.0, 999.0]
    assert found(chi2=chi2, dof=100, detector=2) == [6]
    # Not the sum counts, but that of each degree of freedom.
    assert found(chi2=chi2, dof=[100] * 6 + [200, 99], detector=2) == [7]


def test_fits_that_are_bad_in_all_of_a_detector_stay():
    # A bright star: the PSF itself is not that good.
    assert found(chi2=[5000.0] * 6 + [100.0] * 6, dof=100, detector=[1] * 6 + [4] * 6) == []


def test_few_of_a_detector_are_compared_with_all():
    assert found(chi2=[100.0] * 9 + [1100.0], dof=100, detector=[1] * 9 + [4]) == [9]


def test_fits_better_than_the_noise_make_no_other_one_bad():
    assert found(chi2=[10.0] * 8 + [900.0], dof=100, detector=3) == []


@pytest.mark.parametrize("given", [{"chi2": np.nan}, {"dof": 0}, {"reason": "failed"}])
def test_what_has_no_fit_is_none(given):
    assert found(**({"chi2": [1e6, 1e6], "dof": 10} | {name: [value] * 2 for name, value in given.items()})) == []


def test_a_misfit_is_left_out_of_its_channel():
    table = measurements(6, wavelength=1.3, detector=2, flux=[10.0] * 5 + [500.0], chi2=[90.0] * 5 + [3000.0], dof=100)
    (row,) = combine_channels(table, design_channels())
    assert (row["flux"].value, row["visits"], row["left_out"]) == (10.0, 5, 1)
    (row,) = combine_channels(table, design_channels(), worst_fit=100)
    assert row["visits"] == 6
