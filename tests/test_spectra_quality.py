"""Quality of measurements: each bit by its rule, and what it means for the use of a flux."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spherex.image import SPHEREX_FLAGS
from spherex.photometry import Fluxes
from spherex.spectra import QUALITY_BITS, gather_spectrum, make_plain_table, values_of
from spherex.spectra.quality import is_good, quality_names, quality_of
from spherex.spectra.tables import COLUMNS

PAGE = Path(__file__).parents[1] / "doc" / "quality.md"


def fluxes(**given: Any) -> Fluxes:
    """Return one measurement without a fault, but for what is given."""
    values = {
        "flux": 100.0,
        "flux_error": 1.0,
        "signal_to_noise": 100.0,
        "surface_brightness": 1.0,
        "background": 1.0,
        "background_error": 0.1,
        "aperture_flux": 100.0,
        "aperture_flux_error": 1.5,
        "enclosed_fraction": 0.9,
        "chi2": 200.0,
        "dof": 200,
        "core_chi2": 20.0,
        "core_dof": 20,
        "masked_fraction": 0.0,
        "rejected": 0,
        "is_rescued": False,
        "flags": 1 << SPHEREX_FLAGS["SOURCE"],
        "core_flags": 1 << SPHEREX_FLAGS["SOURCE"],
        "neighbours": 0,
        "blending": 0.0,
        "is_clipped": False,
        "is_cut": False,
        "has_plateau": False,
        "reason": "",
    } | given
    assert values.keys() == {field.name for field in dataclasses.fields(Fluxes)}
    return Fluxes(**{name: np.array([value]) for name, value in values.items()})


def names_of(**given: Any) -> str:
    (names,) = quality_names(quality_of(fluxes(**given), SPHEREX_FLAGS))
    return names


def flag(name: str) -> int:
    return 1 << SPHEREX_FLAGS[name]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ""),
        ({"flags": flag("TRANSIENT")}, "HIT"),
        ({"flags": flag("SUR_ERROR")}, "HIT"),
        ({"core_flags": flag("TRANSIENT")}, ""),
        ({"core_flags": flag("OVERFLOW")}, "SATURATED"),
        ({"core_flags": flag("NONLINEAR")}, "SATURATED"),
        ({"has_plateau": True}, "PLATEAU"),
        ({"flags": flag("DICHROIC")}, "ARTEFACT"),
        ({"flags": flag("PERSIST")}, "ARTEFACT"),
        # Signal to noise 100: 1.7 + 4, and in the core 2 + 30.25.
        ({"chi2": 200 * 5.69}, ""),
        ({"chi2": 200 * 5.71}, "MISFIT"),
        ({"core_chi2": 20 * 32.2}, ""),
        ({"core_chi2": 20 * 32.3}, "MISFIT"),
        ({"signal_to_noise": 1.0, "chi2": 200 * 1.69}, ""),
        ({"signal_to_noise": 1.0, "chi2": 200 * 1.71}, "MISFIT"),
        ({"signal_to_noise": -100.0, "chi2": 200 * 5.69}, ""),
        # Noise does not vanish by chance.
        ({"chi2": 200 * 0.051}, ""),
        ({"chi2": 200 * 0.049}, "MISFIT"),
        ({"chi2": 0.0, "dof": 19}, ""),
        # The misfit itself makes the error larger, but not the noise.
        ({"flux_error": 20.0, "core_chi2": 20 * 32.2}, ""),
        ({"core_chi2": 1e-28, "core_dof": 0}, ""),
        ({"rejected": 1}, ""),
        ({"rejected": 2}, "REJECTED_CORE"),
        ({"rejected": 2, "is_rescued": True}, ""),
        ({"rejected": 1, "masked_fraction": 0.21}, "REJECTED_CORE MASKED"),
        ({"masked_fraction": 0.21}, "MASKED"),
        ({"aperture_flux": 111.0}, "PSF_APERTURE"),
        ({"aperture_flux": 109.9}, ""),
        ({"aperture_flux": 111.0, "aperture_flux_error": 3.0}, ""),
        ({"aperture_flux": np.nan}, ""),
        ({"blending": 0.11}, "BLENDED"),
        ({"blending": 0.09, "neighbours": 3}, ""),
        ({"is_cut": True}, "EDGE"),
        ({"is_clipped": True}, "CLIPPED_BACKGROUND"),
    ],
)
def test_rules(given: dict[str, Any], names: str) -> None:
    assert names_of(**given) == names


def test_flags_that_an_image_does_not_have_are_not_asked_for() -> None:
    assert names_of(flags=-1).split() == ["HIT", "ARTEFACT"]
    (bits,) = quality_of(fluxes(flags=-1), {"SOURCE": 21})
    assert bits == 0


@pytest.mark.parametrize("bit", QUALITY_BITS, ids=lambda bit: bit.name)
def test_bits_say_whether_to_use_a_flux(bit: Any) -> None:
    quality = np.array([1 << bit.bit], np.int32)
    assert is_good(quality).tolist() == [not bit.is_bad]
    assert quality_names(quality) == [bit.name]
    assert len(bit.description.split()) > 5
    assert bit.source


def test_bits_are_told_apart() -> None:
    assert len({bit.bit for bit in QUALITY_BITS}) == len({bit.name for bit in QUALITY_BITS}) == len(QUALITY_BITS)
    assert max(bit.bit for bit in QUALITY_BITS) < 31


def test_the_page_has_the_bits() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (yes|no) \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)
    expected = [
        (str(bit.bit), bit.name, "no" if bit.is_bad else "yes", bit.description.strip()) for bit in QUALITY_BITS
    ]
    assert rows == expected


def test_measurements_of_older_versions_are_not_good_until_measured_again() -> None:
    table = make_plain_table({"target": "west", "wavelength": 1.0, "flux": 3.0}, 2)
    table.remove_columns(["good", "quality", "quality_names", "core_chi2", "core_dof"])
    spectrum = gather_spectrum([table])
    assert spectrum["good"].tolist() == [False, False]
    assert quality_names(spectrum["quality"]) == ["UNKNOWN"] * 2


def test_types() -> None:
    table = make_plain_table({}, 1)
    types = {column.name: values_of(table, column).dtype for column in COLUMNS}
    assert (types["good"], types["quality"]) == (np.dtype(bool), np.dtype(np.int32))
