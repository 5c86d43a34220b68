"""Spectra as tables of astropy: parts, copies and files, and their pictures."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table, vstack
from lsst.daf.butler import Butler, DatasetType
from matplotlib import pyplot
from matplotlib.figure import Figure
from pyarrow.parquet import read_table, write_table

from spherex.errors import UserError
from spherex.instrument import SimulatorInstrument
from spherex.spectra import COLUMNS, FLUX_AXES, Spectrum, combine_channels, gather_spectrum, plot_light_curve
from spherex.spectra import plot_spectrum as figure_of

from .spectra_helpers import measurements

META = {"catalog": "nearby", "target": "west", "ra": 150.5, "dec": -2.25, "code": {"spherex-butler": "1"}}


@pytest.fixture
def spectrum() -> Spectrum:
    return gather_spectrum([measurements(2000)], META)


@pytest.mark.parametrize(
    "part",
    [
        lambda table: table[:5],
        lambda table: table[table["good"]],
        lambda table: table[[3, 1]],
        lambda table: table["wavelength", "flux", "flux_error", "good", "reason", "detector"],
        lambda table: table.copy(),
        copy.deepcopy,
        lambda table: pickle.loads(pickle.dumps(table)),
        lambda table: vstack([table[:3], table[5:7]]),
    ],
)
def test_parts_are_spectra_and_equal_to_those_of_a_table(spectrum: Spectrum, part: Callable[[QTable], QTable]) -> None:
    found, expected = part(spectrum), part(QTable(spectrum))
    assert type(found) is Spectrum
    assert type(expected) is QTable
    assert found.meta == expected.meta
    assert found.colnames == expected.colnames
    assert all(np.array_equal(found[name], expected[name], equal_nan=True) for name in ("flux", "detector"))
    assert found["flux"].info.meta == expected["flux"].info.meta
    assert found.plot(Figure().add_subplot(), channels=False).get_ylabel() == FLUX_AXES["flux"]


@pytest.mark.parametrize("kind", ["ascii.ecsv", "fits", "parquet", "votable"])
@pytest.mark.filterwarnings("ignore:Keyword name", "ignore:Attribute `")
def test_files_are_those_of_a_table(spectrum: Spectrum, kind: str, tmp_path: Path) -> None:
    for name, table in (("spectrum", spectrum), ("table", QTable(spectrum))):
        table.write(tmp_path / name, format=kind)
    assert (tmp_path / "spectrum").read_bytes() == (tmp_path / "table").read_bytes()
    if kind == "ascii.ecsv":
        read = Spectrum.read(tmp_path / "spectrum", format=kind)
        assert read.meta == spectrum.meta
        axes = read.plot(Figure().add_subplot())
        assert axes.get_ylim() == spectrum.plot(Figure().add_subplot()).get_ylim()


@pytest.mark.parametrize("storage_class", ["AstropyQTable", "AstropyTable", "AstropyParquet"])
def test_the_butler_stores_what_it_stores_of_a_table(
    spectrum: Spectrum, storage_class: str, make_repo: Callable[..., Path], tmp_path: Path
) -> None:
    files = []
    with Butler.from_config(str(make_repo(tmp_path / "repo")), writeable=True, run="run") as butler:
        SimulatorInstrument().register(butler.registry)
        for name, table in (("one", spectrum), ("other", QTable(spectrum))):
            kind = DatasetType(name, ["instrument"], storage_class, universe=butler.dimensions)
            butler.registry.registerDatasetType(kind)
            # Parquet has no quantities.
            stored = Table(table) if storage_class == "AstropyParquet" else table
            ref = butler.put(stored, kind, instrument="simulator")
            files.append(Path(butler.getURI(ref).ospath))
            assert type(butler.get(ref)) is not Spectrum
    if storage_class == "AstropyParquet":
        # The metadata have the UUIDs of the datasets.
        first, second = (read_table(file) for file in files)
        assert first.schema.metadata.keys() == second.schema.metadata.keys()
        for file, table in zip(files, (first, second), strict=True):
            write_table(table.replace_schema_metadata(), file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_channels_are_the_means(spectrum: Spectrum) -> None:
    means, expected = spectrum.channels(), combine_channels(spectrum)
    assert means.meta == expected.meta
    np.testing.assert_array_equal(means["flux"], expected["flux"])


def texts_of(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def points_of(axes, marker: str) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return sorted(tuple(point) for line in lines for point in np.asarray(line.get_xydata()).tolist())


@pytest.mark.parametrize("flux_axis", FLUX_AXES)
def test_given_axes_have_the_points_labels_and_legend_of_the_figure(spectrum: Spectrum, flux_axis: str) -> None:
    figure = Figure()
    axes, others = figure.subplots(2)
    assert spectrum.plot(axes, flux_axis=flux_axis, upper_limits=3) is axes
    expected = figure_of(spectrum, spectrum.channels(), flux_axis=flux_axis, upper_limits=3)
    for marker in "osx":
        assert points_of(axes, marker) == points_of(expected.axes[0], marker)
    assert axes.get_ylim() == expected.axes[0].get_ylim()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("wavelength (µm)", FLUX_AXES[flux_axis])
    names = [text.get_text() for text in expected.legends[0].get_texts()]
    assert texts_of(axes) == [name for name in names if not name.startswith("lower panel")]
    assert axes.get_title() == "nearby west"
    assert not figure.legends
    assert not others.lines
    assert figure_of(spectrum, axes=others, title="mine") is figure
    assert others.get_title() == "mine"
    assert "channel mean" not in texts_of(others)


def test_light_curves_are_drawn_on_given_axes(spectrum: Spectrum) -> None:
    figure = Figure()
    axes, others = figure.subplots(2)
    assert spectrum.plot_light_curve(axes) is axes
    expected = plot_light_curve(spectrum, spectrum.channels())
    assert points_of(axes, "o") == points_of(expected.axes[0], "o")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (MJD, UTC)", "flux / mean of the channel")
    assert texts_of(axes) == [f"D{number}" for number in range(1, 7)]
    assert plot_light_curve(spectrum, spectrum.channels(), axes=others) is figure
    with pytest.raises(UserError, match="there is no light curve"):
        spectrum[:1].plot_light_curve(axes)


def test_without_axes_the_current_ones_are_used(spectrum: Spectrum) -> None:
    backend = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    try:
        figure, (left, right) = pyplot.subplots(1, 2)
        pyplot.sca(left)
        assert spectrum.plot(channels=False) is left
        pyplot.sca(right)
        assert spectrum.plot_light_curve() is right
        pyplot.close(figure)
    finally:
        pyplot.switch_backend(backend)


def test_a_spectrum_without_a_flux_is_drawn_without_a_legend() -> None:
    axes = gather_spectrum([measurements(2, reason="failed", flux=np.nan)]).plot(Figure().add_subplot())
    assert axes.get_legend() is None
    assert axes.texts[0].get_text() == "no measurement with a flux\n2 × failed"


def test_a_spectrum_is_made_of_any_table_with_its_columns() -> None:
    table = Table({"wavelength": [1.0, 2.0] * u.um, "flux": [3.0, 4.0] * u.mJy, "detector": [1, 3], "good": [True] * 2})
    axes = Spectrum(table).plot(Figure().add_subplot())
    assert points_of(axes, "o") == [(1.0, 3000.0), (2.0, 4000.0)]
    assert set(table.colnames) < {column.name for column in COLUMNS}
