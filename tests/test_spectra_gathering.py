"""From measurements in images to spectra, and what other programs read of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.table import QTable, Table
from lsst.daf.butler.formatters.parquet import arrow_to_astropy, astropy_to_arrow

from spherex.errors import UserError
from spherex.spectra import COLUMNS, combine_channels, design_channels, gather_spectrum, make_table, unmasked

from .spectra_helpers import measurements

FAILED = "all pixels are masked"


def test_rows_come_by_wavelength_with_their_units_ucds_and_descriptions():
    tables = [
        measurements(10, seed, image_id=[f"{seed}-{row}" for row in range(10)], exposure=10 * seed + np.arange(10))
        for seed in range(3)
    ]
    spectrum = gather_spectrum([Table(table) for table in tables], {"target": "west"})
    assert len(spectrum) == spectrum.meta["images"] == 30
    assert spectrum.meta["target"] == "west"
    assert (np.diff(spectrum["wavelength"]) >= 0).all()
    by_image = {row["image_id"]: row["flux"] for table in tables for row in table}
    assert all(row["flux"] == by_image[row["image_id"]] for row in spectrum)
    for column in COLUMNS:
        info = spectrum[column.name].info
        assert info.description == column.description
        assert info.meta == {"ucd": column.ucd}
        assert info.unit == (None if column.unit is None else units.Unit(column.unit))


def test_the_order_of_the_inputs_does_not_matter():
    # The same wavelength many times, as in a deep field.
    table = measurements(40, wavelength=1.5, detector=2)
    shuffled = table[np.random.default_rng(1).permutation(40)]
    assert (gather_spectrum([table])["image_id"] == gather_spectrum([shuffled])["image_id"]).all()


def test_the_order_of_the_inputs_changes_no_bit():
    rng = np.random.default_rng(5)
    offsets = {"centroid_dx": rng.normal(0, 0.1, 200), "centroid_dy": rng.normal(0, 0.1, 200)}
    errors = dict.fromkeys(("centroid_dx_error", "centroid_dy_error"), rng.uniform(0.01, 0.02, 200))
    wavelength = np.where(np.arange(200) % 9 == 0, np.nan, 1.5)
    table = measurements(200, wavelength=wavelength, detector=2, **offsets, **errors)
    expected = gather_spectrum([table])
    for _ in range(5):
        shuffled = table[rng.permutation(200)]
        spectrum = gather_spectrum([shuffled[:50], shuffled[50:]])
        assert spectrum.meta == expected.meta
        for name in expected.colnames:
            np.testing.assert_array_equal(spectrum[name], expected[name])


def test_targets_are_not_mixed():
    other = measurements(3, target="another")
    with pytest.raises(UserError, match=r"measurements are of 2 targets \(another, west\); select"):
        gather_spectrum([measurements(3), other])


def test_light_is_not_counted_twice():
    old, new = measurements(3, image_run="old"), measurements(5, image_run="new", image_id=list("abcde"))
    with pytest.raises(UserError, match=r"exposure 0, detector \d has 2 measurements of west .*: new, old\)"):
        gather_spectrum([old, new])
    # Of tables without exposures nobody knows.
    assert len(gather_spectrum([measurements(3, exposure=-1)])) == 3


def test_failed_rows_stay_with_their_reason():
    table = measurements(4, reason=["", FAILED, "", "x"], flux=[1, np.nan, 2, np.nan], wavelength=[1, 2, 3, np.nan])
    spectrum = gather_spectrum([table])
    assert spectrum["reason"].tolist() == ["", FAILED, ""]
    assert (spectrum.meta["images"], spectrum.meta["failed"]) == (4, 2)
    (unplaced,) = spectrum.meta["unplaced"]
    assert (unplaced["exposure"], unplaced["image_id"], unplaced["reason"]) == (3, table["image_id"][3], "x")


def test_other_units_and_missing_columns_are_understood():
    table = Table({"target": ["a"], "flux": [1.5] * units.mJy, "wavelength": [1500.0] * units.nm})
    spectrum = gather_spectrum([table])
    assert spectrum["flux"][0] == 1500 * units.uJy
    assert spectrum["wavelength"][0].value == pytest.approx(1.5, rel=1e-15)
    assert (spectrum["detector"][0], spectrum["image_id"][0]) == (-1, "")


def test_nothing_is_an_empty_spectrum():
    assert len(gather_spectrum([])) == 0


@pytest.mark.parametrize("form", ["ecsv", "parquet"])
def test_a_spectrum_survives_its_file(tmp_path, form):
    spectrum = gather_spectrum([measurements(5, reason=["", FAILED, "", "", ""], flags=2**40)], {"off_frame": [[1, 2]]})
    if form == "ecsv":
        spectrum.write(tmp_path / "s.ecsv")
        back = unmasked(QTable.read(tmp_path / "s.ecsv"))
    else:
        back = unmasked(arrow_to_astropy(astropy_to_arrow(Table(spectrum))))
    assert back.meta == spectrum.meta
    for column in COLUMNS:
        np.testing.assert_array_equal(np.asarray(back[column.name]), np.asarray(spectrum[column.name]))
        assert np.asarray(back[column.name]).dtype.kind == np.asarray(spectrum[column.name]).dtype.kind
        assert back[column.name].info.meta == {"ucd": column.ucd}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, tuple[Path, QTable]]:
    """Return spectra in files; one with failed rows, of which one has no wavelength."""
    flux = np.full(60, 50.0)
    flux[:2] = np.nan
    table = measurements(60, flux=flux, reason=np.where(np.isnan(flux), FAILED, ""))
    table["wavelength"][0] = np.nan * units.um
    spectrum = gather_spectrum([table], {"catalog": "nearby", "target": "west", "ra": 10.0, "dec": 20.0})
    found = {}
    for name, one in {"spectrum": spectrum, "channels": combine_channels(spectrum, design_channels())}.items():
        one.write(tmp_path / f"{name}.ecsv")
        found[name] = (tmp_path / f"{name}.ecsv", one)
    return found


@pytest.mark.parametrize("name", ["spectrum", "channels"])
def test_specutils_reads_it_without_a_warning(files, name):
    specutils = pytest.importorskip("specutils")
    path, table = files[name]
    read = specutils.Spectrum.read(str(path))
    np.testing.assert_array_equal(read.spectral_axis.to_value("um"), table["wavelength"].value)
    np.testing.assert_array_equal(read.flux.to_value("uJy"), table["flux"].value)
    np.testing.assert_array_equal(read.uncertainty.array, table["flux_error"].value)
    assert read.uncertainty.uncertainty_type == "std"
    assert read.meta["header"]["target"] == "west"


@pytest.mark.parametrize("name", ["spectrum", "channels"])
def test_a_votable_for_other_programs_keeps_units_and_ucds(files, name, tmp_path):
    from astropy.io.votable import parse_single_table

    path, table = files[name]
    Table.read(path).write(tmp_path / "t.vot", format="votable")
    votable = parse_single_table(tmp_path / "t.vot")
    field = votable.get_field_by_id_or_name("flux")
    assert str(field.unit) == "uJy"
    assert len(votable.array) == len(table)


def test_the_table_of_one_image_may_be_empty():
    assert len(gather_spectrum([make_table({}, 0), measurements(2)])) == 2
