"""Pictures of spectra."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from spherex.spectra import combine_channels, design_channels, gather_spectrum, plot_spectrum

from .spectra_helpers import measurements

META = {"catalog": "nearby", "target": "west", "ra": 150.5, "dec": -2.25}


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(figure, marker: str) -> set[tuple[float, float]]:
    """Return the points that are drawn with a marker."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() == marker]
    return {(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)}


def test_every_measurement_and_channel_is_drawn_in_the_colour_of_its_detector(tmp_path):
    spectrum = gather_spectrum([measurements(400)], META)
    channels = combine_channels(spectrum, design_channels())
    figure = plot_spectrum(spectrum, channels)
    points = zip(spectrum["wavelength"].value, spectrum["flux"].value, strict=True)
    assert drawn(figure, "o") == {(float(x), float(y)) for x, y in points}
    assert {x for x, _ in drawn(figure, "s")} == set(channels["wavelength"].value.tolist())
    axes = figure.axes[0]
    colours = {to_hex(line.get_color()) for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())}
    assert len(colours) == 6
    assert legend(figure) == ["D1", "D2", "D3", "D4", "D5", "D6", "channel mean"]
    for words in ("nearby west", "RA 150.50000°", "Dec -2.25000°", "400 images"):
        assert words in axes.get_title()
    assert axes.get_xlabel() == "wavelength (µm)"
    assert axes.get_ylabel() == "flux density (µJy)"
    figure.savefig(tmp_path / "spectrum.png")


def test_a_wild_measurement_does_not_rule_the_range():
    table = measurements(400)
    calm = plot_spectrum(table).axes[0].get_ylim()
    table["flux"][[5, 9]] = [90000, -40000] * table["flux"].unit
    figure = plot_spectrum(table, combine_channels(table, design_channels()))
    low, high = figure.axes[0].get_ylim()
    assert high - low < 1.5 * (calm[1] - calm[0])
    signs = {one.get_label(): one.get_marker() for one in figure.legends[0].legend_handles}
    assert (signs["above the picture (1)"], signs["below the picture (1)"]) == ("^", "v")


def test_a_line_that_several_measurements_agree_on_is_in_the_range():
    table = measurements(400)
    channels = combine_channels(table, design_channels())
    channels["flux"][50], channels["visits"][50] = 2000 * table["flux"].unit, 4
    assert plot_spectrum(table, channels).axes[0].get_ylim()[1] > 2000
    channels["visits"][50] = 1
    assert plot_spectrum(table, channels).axes[0].get_ylim()[1] < 1000


def test_what_is_not_good_is_a_cross_and_what_failed_is_told():
    table = measurements(
        5,
        wavelength=[1, 2, 3, 4, 5],
        flux=[1, 2, 3, 4, np.nan],
        detector=4,
        flag_names=["SOURCE", "TRANSIENT", "", "", ""],
        good=[True, True, False, True, False],
        reason=["", "", "", "", "failed"],
    )
    figure = plot_spectrum(gather_spectrum([table]))
    assert drawn(figure, "o") == {(1, 1), (2, 2), (4, 4)}
    assert drawn(figure, "x") == {(3, 3)}
    assert legend(figure) == ["D4", "not good"]
    assert "5 images, 1 without flux" in figure.axes[0].get_title()


@pytest.mark.parametrize("number", [1, 3])
def test_few_measurements(number, tmp_path):
    spectrum = gather_spectrum([measurements(number)], META)
    figure = plot_spectrum(spectrum, combine_channels(spectrum, design_channels()))
    low, high = figure.axes[0].get_ylim()
    assert all(low < flux < high for flux in spectrum["flux"].value)
    assert f"{number} image{'s' * (number > 1)}" in figure.axes[0].get_title()
    figure.savefig(tmp_path / "spectrum.png")


def test_equal_fluxes_without_error_have_a_range(tmp_path):
    figure = plot_spectrum(measurements(3, flux=0.0, flux_error=np.nan))
    low, high = figure.axes[0].get_ylim()
    assert low < 0 < high
    figure.savefig(tmp_path / "spectrum.png")


def test_a_spectrum_without_a_flux_says_so(tmp_path):
    figure = plot_spectrum(measurements(2, reason="failed", flux=np.nan))
    assert figure.axes[0].texts[0].get_text() == "no measurement with a flux"
    figure.savefig(tmp_path / "spectrum.png")
