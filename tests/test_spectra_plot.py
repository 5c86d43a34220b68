"""Pictures of spectra."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import vstack
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import spherex
from spherex.detectors import FRAME_SHAPE
from spherex.errors import UserError
from spherex.spectra import (
    FLUX_AXES,
    Channels,
    add_spectrum,
    combine_channels,
    design_channels,
    gather_spectrum,
    plot_light_curve,
    plot_spectrum,
)
from spherex.tasks import DrawSpectrumConfig, DrawSpectrumTask

from .spectra_helpers import measurements

LIMIT = r"$\downarrow$"
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
    dates = "2025-11-21 to 2025-11-24"
    for words in ("nearby west", "RA 150.50000°", "Dec -2.25000°", "400 images", dates, spherex.__version__):
        assert words in axes.get_title()
    assert figure.axes[-1].get_xlabel() == "wavelength (µm)"
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
    assert [signs[f"{side} the picture: 1 measurement,\n1 channel mean"] for side in ("above", "below")] == ["^", "v"]


@pytest.mark.parametrize("flux_axis", ["flux", "lambda_f_lambda"])
@pytest.mark.parametrize("seed", range(5))
def test_error_bars_of_good_points_are_in_the_picture(seed, flux_axis):
    rng = np.random.default_rng(seed)
    table = measurements(30, flux=rng.normal(20, 25, 30), flux_error=rng.uniform(20, 30, 30))
    for means in (None, combine_channels(table)):
        axes = plot_spectrum(table, means, flux_axis=flux_axis).axes[0]
        low, high = axes.get_ylim()
        of_points = [container.lines[2][0] for container in axes.containers if container.lines[0] is not None]
        ends = np.concatenate([bar[:, 1] for bars in of_points for bar in bars.get_segments()])
        assert len(ends) == 60
        assert low < ends.min()
        assert ends.max() < high


def test_a_few_huge_errors_do_not_squeeze_the_spectrum():
    calm = plot_spectrum(measurements(100)).axes[0].get_ylim()
    error = np.full(100, 12.0)
    error[[3, 50]] = 800, 4000
    table = measurements(100, flux_error=error)
    low, high = plot_spectrum(table, combine_channels(table)).axes[0].get_ylim()
    assert high - low < 1.2 * (calm[1] - calm[0])


@pytest.mark.parametrize(
    ("catalog", "target", "name"),
    [
        ("YSO-01", "YSO-01", "YSO-01"),
        ("warm_star", "Warm star", "Warm star"),
        ("VB_10", "VB 10", "VB 10"),
        ("stars", "star", "stars star"),
        (None, "1", "1"),
    ],
)
def test_the_title_has_no_name_twice(catalog, target, name):
    meta = {"target": target} | ({} if catalog is None else {"catalog": catalog})
    title = plot_spectrum(gather_spectrum([measurements(3)], meta)).axes[0].get_title()
    assert title.splitlines()[0] == name


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
    assert figure.axes[0].texts[0].get_text() == "no measurement with a flux\n2 × failed"
    figure.savefig(tmp_path / "spectrum.png")


def test_an_empty_picture_has_the_reasons_and_how_many():
    reasons = ["no PSF"] * 3 + ["truncated"] * 2 + ["a word " * 30, "b", "c"]
    table = measurements(8, reason=reasons, flux=np.nan)
    table["wavelength"][4] = np.nan
    (text,) = plot_spectrum(gather_spectrum([table])).axes[0].texts
    lines = text.get_text().splitlines()
    assert lines[1:3] == ["3 × no PSF", "2 × truncated"]
    assert lines[-1] == "1 × other reasons"
    assert max(map(len, lines)) < 100
    (text,) = plot_spectrum(gather_spectrum([])).axes[0].texts
    assert "the spectrum has no measurement" in text.get_text()


def five(**given):
    """Return five visits in five neighbouring channels of detector 4."""
    return measurements(5, **({"wavelength": [2.75, 2.8, 2.9, 2.95, 3.05], "detector": 4, "flux": 50.0} | given))


def lines_of(figure) -> list[list[float]]:
    """Return the pieces of the lines between channels."""
    pieces = []
    for line in figure.axes[0].lines:
        if line.get_linestyle() == "-" and len(line.get_xdata()) > 2:
            for piece in np.split(np.array(line.get_xdata()), np.flatnonzero(np.isnan(line.get_xdata()))):
                pieces.append(piece[np.isfinite(piece)].round(2).tolist())
    return pieces


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ({}, [[2.75, 2.8, 2.9, 2.95, 3.05]]),
        # Channel 9 is missing, and channel 8 is not good.
        ({"wavelength": [2.75, 2.8, 2.9, 3.1, 3.2]}, [[2.75, 2.8, 2.9], [3.1, 3.2]]),
        ({"good": [True, True, False, True, True]}, [[2.75, 2.8], [2.95, 3.05]]),
        ({"wavelength": [2.2, 2.24, 2.3, 2.45, 2.52], "detector": [3, 3, 3, 4, 4]}, [[2.2, 2.24, 2.3]]),
    ],
)
def test_lines_connect_neighbouring_channels_only(given, pieces):
    table = five(**given)
    assert lines_of(plot_spectrum(table, combine_channels(table))) == pieces


def test_a_mean_that_is_not_good_is_a_cross():
    table = five(wavelength=[2.8, 2.8, 2.9, 2.9, 3.05], flux=[50, 250, 50, 52, 50])
    figure = plot_spectrum(table, combine_channels(table))
    assert drawn(figure, "x") == {(2.8, 150)}
    assert {round(x, 6) for x, _ in drawn(figure, "s")} == {2.9, 3.05}
    assert legend(figure)[:3] == ["D4", "channel mean", "channel mean,\nnot good"]
    # The legend has no square if there is none.
    figure = plot_spectrum(table[:2], combine_channels(table[:2]))
    assert drawn(figure, "s") == set()
    assert legend(figure)[:2] == ["D4", "channel mean,\nnot good"]


def test_squares_do_not_hide_dots_and_error_bars_are_drawn():
    table = measurements(300)
    figure = plot_spectrum(table, combine_channels(table))
    squares = [line for line in figure.axes[0].lines if line.get_marker() == "s"]
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert {line.get_markerfacecolor() for line in squares} == {"none"}
    assert max(line.get_markersize() for line in dots) < min(line.get_markersize() for line in squares) / 1.5
    bars = [container.lines[2][0] for container in figure.axes[0].containers]
    ends = [segment[:, 1] for bar in bars for segment in bar.get_segments()]
    assert sum(np.isclose(end[1] - end[0], 24) for end in ends) == 300


def arrows(axes) -> list[tuple[float, float]]:
    return [
        tuple(map(float, point))
        for scatter in axes.collections
        for point in scatter.get_offsets()
        if scatter.get_zorder() == 4
    ]


def test_arrows_have_the_number_of_points_beyond_the_edge():
    table = measurements(400, flux=100.0)
    table["wavelength"][:4] = np.array([3.0, 3.001, 3.002, 4.0]) * table["wavelength"].unit
    table["detector"][:4] = [4, 4, 4, 5]
    table["flux"][:4] = [9000, 9100, 9200, -9000] * table["flux"].unit
    axes = plot_spectrum(table).axes[0]
    assert [(round(x, 3), y > 0.5) for x, y in arrows(axes)] == [(3.001, True), (4.0, False)]
    assert [text.get_text() for text in axes.texts] == ["3"]


def test_residuals_are_differences_from_the_channel_mean_over_the_error():
    table = five(
        wavelength=[2.79, 2.8, 3.03, 3.03, 3.03], flux=[40, 60, 50, 50, 500], flux_error=10.0, good=[True] * 4 + [False]
    )
    figure = plot_spectrum(table, combine_channels(table))
    lower = figure.axes[1]
    points = {
        marker: [
            (float(x), float(y)) for line in lower.lines if line.get_marker() == marker for x, y in line.get_xydata()
        ]
        for marker in "ox"
    }
    assert points == {"o": [(2.79, -1), (2.8, 1), (3.03, 0), (3.03, 0)], "x": []}
    assert [(x, y > 0.5) for x, y in arrows(lower)] == [(3.03, True)]
    assert legend(figure)[-1] == "lower panel: above\n5.5 σ (1)"
    assert len(plot_spectrum(table).axes) == 1


def test_residuals_are_from_the_channel_of_the_measurement_and_not_from_the_nearest():
    # The second one is in channel 2, from 2.472 um, and nearer to the centre of channel 1; the fourth is in none.
    table = five(wavelength=[2.43, 2.474, 2.52, 4.9, 2.9], flux=[20, 40, 60, 80, 50], flux_error=10.0)
    lower = plot_spectrum(table, combine_channels(table)).axes[1]
    points = [tuple(xy) for line in lower.lines if line.get_marker() == "o" for xy in line.get_xydata().tolist()]
    assert points == [(2.474, -1), (2.52, 1)]


def residuals(figure) -> list[tuple[float, float]]:
    """Return the points in the lower panel."""
    lines = figure.axes[1].lines
    return sorted(
        tuple(xy) for line in lines if line.get_marker() in "ox" for xy in line.get_xydata().round(9).tolist()
    )


def test_residuals_of_a_single_visit_are_those_of_the_measurements_that_are_left_out():
    # Channel 7 has a mean of one visit, an old one, and one that is not good; channel 8 one visit alone.
    table = five(
        wavelength=[2.85, 2.86, 2.87, 2.95, 3.05],
        flux=[50, 30, 60, 50, 50],
        flux_error=10.0,
        version=["7.0.5", "6.4", "7.0.5", "7.0.5", "7.0.5"],
        good=[True, True, False, True, True],
    )
    channels = combine_channels(table)
    assert (channels["visits"].tolist(), channels["left_out_older"].tolist()) == ([1, 1, 1], [1, 0, 0])
    assert residuals(plot_spectrum(table, channels)) == [(2.86, -2), (2.87, 1)]


def by_pixel() -> Channels:
    """Return the channels of the mission for a frame of which the rows from 1000 are in one channel."""
    design = design_channels()
    pixels = np.full(FRAME_SHAPE, 7)
    pixels[1000:] = 8
    return Channels(design.detector, design.number, design.wavelength, "a map", pixels)


def test_the_channels_of_a_map_are_those_of_the_pixels():
    # Limits are at 2.8315, 2.91 and 2.99 um: the second and third one are in the other channel by wavelength.
    table = five(
        wavelength=[2.87, 2.908, 2.912, 2.95, 2.87],
        y=[900, 1100, 900, 1100, 900],
        flux=[150, 120, 170, 140, 160],
        flux_error=10.0,
    )
    channels = by_pixel()
    means = combine_channels(table, channels)
    np.testing.assert_allclose(means["flux"].value, [160, 130])
    expected = [(2.87, -1), (2.87, 0), (2.908, -1), (2.912, 1), (2.95, 1)]
    assert residuals(plot_spectrum(table, means, channels=channels)) == expected
    curve = sorted(height for _, height in drawn(plot_light_curve(table, means, channels=channels), "o"))
    np.testing.assert_allclose(curve, [12 / 13, 15 / 16, 1, 17 / 16, 14 / 13])
    # Without the map, near the limit nothing is compared.
    expected = [(2.87, -1), (2.87, 0), (2.95, 1)]
    assert residuals(plot_spectrum(table, means)) == expected
    assert len(drawn(plot_light_curve(table, means), "o")) == 3
    for draw in (plot_spectrum, plot_light_curve):
        with pytest.raises(ValueError, match="the channels are of .*, but the means of"):
            draw(table, means, channels=design_channels())


def test_a_channel_without_a_mean_has_no_residuals():
    table = five(wavelength=[2.8, 2.8, 2.8, 2.9, 2.9], good=[True, True, True, False, False])
    lower = plot_spectrum(table, combine_channels(table)).axes[1]
    assert [x for line in lower.lines if line.get_marker() in "ox" for x in line.get_xdata()] == [2.8] * 3


@pytest.mark.parametrize(
    ("flux_axis", "heights"),
    [
        ("log_flux", [1, 2, 3]),
        ("ab_magnitude", [21.4, 18.9, 16.4]),
        ("lambda_f_lambda", [2.99792458e-14 / 2.75, 2.99792458e-13 / 2.8, 2.99792458e-12 / 2.9]),
    ],
)
def test_other_axes(flux_axis, heights, tmp_path):
    table = five(flux=[10, 100, 1000, -20, 0])
    figure = plot_spectrum(table, combine_channels(table), flux_axis=flux_axis)
    axes = figure.axes[0]
    assert axes.get_ylabel() == FLUX_AXES[flux_axis]
    shown = sorted(drawn(figure, "o"))
    np.testing.assert_allclose([height for _, height in shown][:3], heights, rtol=1e-9)
    if flux_axis == "lambda_f_lambda":
        assert len(shown) == 5
    else:
        # What has no logarithm is an arrow at the faint edge.
        assert [(x, y < 0.5) for x, y in arrows(axes)][:2] == [(2.95, True), (3.05, True)]
        assert "below the picture: 2 measurements\nwith flux ≤ 0" in legend(figure)
    bottom, top = axes.get_ylim()
    assert (bottom > top) == (flux_axis == "ab_magnitude")
    figure.savefig(tmp_path / "spectrum.png")


@pytest.mark.parametrize("flux_axis", ["flux", "ab_magnitude"])
def test_upper_limits(flux_axis, tmp_path):
    good = [True, True, True, False, True]
    table = five(flux=[50, 60, 5, 4, -5], flux_error=10.0, good=good)
    figure = plot_spectrum(table, combine_channels(table), flux_axis=flux_axis, upper_limits=3)
    limits = np.array(sorted(drawn(figure, LIMIT)))
    expected = np.array([35.0, 30.0])
    np.testing.assert_allclose(limits[:, 0], [2.9, 3.05])
    np.testing.assert_allclose(limits[:, 1], expected if flux_axis == "flux" else 23.9 - 2.5 * np.log10(expected))
    assert {x for x, _ in drawn(figure, "o")} == {2.75, 2.8}
    assert "below 3 σ: upper limit" in legend(figure)
    assert table["flux"].value.tolist() == [50, 60, 5, 4, -5]
    figure.savefig(tmp_path / "spectrum.png")
    assert "below 3 σ: upper limit" not in legend(plot_spectrum(table, flux_axis=flux_axis))


def test_limits_above_the_picture_are_no_triangles():
    table = measurements(400, flux=100.0)
    table["flux_error"][[5, 9]] = [1e5, np.inf] * table["flux"].unit
    figure = plot_spectrum(table, combine_channels(table), upper_limits=3)
    assert legend(figure)[-1] == "below 3 σ: upper limit\n(1 above the picture)"
    assert arrows(figure.axes[0]) == []
    assert figure.axes[0].get_ylim()[1] < 200


def test_fluxes_far_below_zero_are_no_limits():
    table = measurements(400, flux=50.0)
    table["flux"][[5, 9]] = [-4000, -30] * table["flux"].unit
    figure = plot_spectrum(table, upper_limits=3)
    assert legend(figure)[-2:] == ["below 3 σ: upper limit", "below the picture: 1 measurement"]
    ((_, limit),) = drawn(figure, LIMIT)
    assert limit == pytest.approx(36)


@pytest.mark.parametrize("flux_axis", ["flux", "ab_magnitude"])
def test_means_below_the_limit_are_limits(flux_axis):
    # Channel 6 has two visits, and channel 10 one far below zero.
    table = five(wavelength=[2.79, 2.8, 2.9, 2.95, 3.12], flux=[5, 15, 5, 60, -60], flux_error=10.0)
    figure = plot_spectrum(table, combine_channels(table), flux_axis=flux_axis, upper_limits=3)
    assert len(drawn(figure, LIMIT)) == 4
    lines = [line for line in figure.axes[0].lines if line.get_marker() == LIMIT and line.get_color() == "black"]
    ((wavelength, limit),) = (point for line in lines for point in line.get_xydata())
    expected = 10 + 3 * 10 / np.sqrt(2)
    assert wavelength == pytest.approx(2.795)
    assert limit == pytest.approx(expected if flux_axis == "flux" else 23.9 - 2.5 * np.log10(expected))
    squares = {round(x, 6) for x, _ in drawn(figure, "s")}
    assert squares == ({2.95, 3.12} if flux_axis == "flux" else {2.95})
    if flux_axis == "ab_magnitude":
        assert legend(figure)[-1] == "below the picture: 1 measurement\nwith flux ≤ 0"
        assert len(arrows(figure.axes[0])) == 1


def test_limits_of_means_are_in_the_picture():
    table = measurements(400, flux=np.resize([3.0, 30.0], 400))
    figure = plot_spectrum(table, combine_channels(table), flux_axis="ab_magnitude", upper_limits=3)
    lines = [line for line in figure.axes[0].lines if line.get_marker() == LIMIT and line.get_color() == "black"]
    faintest = max(float(line.get_ydata().max()) for line in lines if len(line.get_ydata()))
    assert figure.axes[0].get_ylim()[0] > faintest > 20.5


def faint():
    """Return three visits of channels of D4: mean fluxes of 3.2 errors, of which the visits are no detections."""
    wavelengths = np.arange(2.45, 3.75, 0.075)
    number = len(wavelengths)
    flux = np.concatenate([[26.0] * number, [18.0] * number, [11.44] * number])
    bright = measurements(150, wavelength=np.linspace(0.75, 1.1, 150), detector=1, flux=100.0, flux_error=3.0)
    table = measurements(3 * number, wavelength=np.tile(wavelengths, 3), detector=4, flux=flux, flux_error=10.0)
    return vstack([bright, table], metadata_conflicts="silent")


@pytest.mark.parametrize("upper_limits", [None, 3.0, 2.0, 1.0])
@pytest.mark.parametrize("flux_axis", FLUX_AXES)
def test_means_that_are_detections_are_in_the_picture(flux_axis, upper_limits):
    table = faint()
    means = combine_channels(table)
    signal = means["flux"].value / means["flux_error"].value
    assert signal.min() > 3
    figure = plot_spectrum(table, means, flux_axis=flux_axis, upper_limits=upper_limits)
    low, high = sorted(figure.axes[0].get_ylim())
    squares = [height for _, height in drawn(figure, "s")]
    assert len(squares) == len(means)
    assert all(low < height < high for height in squares)
    assert not any("mean" in text and "picture" in text for text in legend(figure))


def test_measurements_that_are_detections_are_in_the_picture_of_many_limits():
    """The limits of D4 are as bright as the detections of D1, and brighter than those of D2."""
    table = measurements(
        120,
        wavelength=np.concatenate([np.linspace(0.75, 1.1, 10), np.linspace(1.15, 1.6, 3), np.linspace(2.45, 3.7, 107)]),
        detector=np.repeat([1, 2, 4], [10, 3, 107]),
        flux=np.repeat([100.0, 20.0, 1.0], [10, 3, 107]),
        flux_error=np.repeat([2.0, 2.0, 33.0], [10, 3, 107]),
    )
    low, _ = plot_spectrum(table, upper_limits=3).axes[0].get_ylim()
    assert low < 20


def test_what_is_below_the_picture_is_said_in_words():
    table = measurements(400, flux=np.resize([100.0, 101.0], 400))
    table["flux"][:5] = [0.001, -1, -2, 0, -3] * table["flux"].unit
    words = legend(plot_spectrum(table, flux_axis="log_flux"))
    assert words[-1] == "below the picture: 5 measurements,\n4 of them with flux ≤ 0"


def test_triangles_of_means_are_counted():
    table = five(wavelength=[2.79, 2.8, 2.9, 2.95, 3.05], flux=[-21, -21, 60, 60, 60], flux_error=10.0)
    figure = plot_spectrum(table, combine_channels(table), flux_axis="ab_magnitude", upper_limits=2.5)
    assert legend(figure)[-2:] == ["below 2.5 σ: upper limit", "below the picture: 1 channel mean"]
    assert len(arrows(figure.axes[0])) == 1


@pytest.mark.parametrize("upper_limits", [-3, 0, np.nan, np.inf, True, np.True_])
def test_upper_limits_are_positive_numbers(upper_limits):
    with pytest.raises(ValueError, match=f"upper_limits is {upper_limits}; use a positive number"):
        plot_spectrum(five(), upper_limits=upper_limits)


def test_squares_do_not_hide_crosses():
    table = five(wavelength=[2.8, 2.8, 2.9, 2.9, 3.05], good=[True, False, True, True, True])
    lines = plot_spectrum(table, combine_channels(table)).axes[0].lines
    squares, crosses = ([line.get_zorder() for line in lines if line.get_marker() == marker] for marker in "sx")
    assert min(order for order in crosses if order != 3.5) > max(squares)


@pytest.mark.parametrize("flux_axis", FLUX_AXES)
def test_negative_fluxes_alone_are_drawn_on_every_axis(flux_axis, tmp_path):
    plot_spectrum(five(flux=-3.0), flux_axis=flux_axis).savefig(tmp_path / "spectrum.png")


def test_the_task_has_all_axes():
    assert set(DrawSpectrumConfig.fluxAxis.allowed) == set(FLUX_AXES)
    task = DrawSpectrumTask(config=DrawSpectrumConfig(fluxAxis="ab_magnitude"))
    assert task.run(five()).plot.axes[0].get_ylabel() == "AB magnitude"
    limited = DrawSpectrumTask(config=DrawSpectrumConfig(upperLimits=3.0)).run(five(flux=1.0)).plot
    assert len(drawn(limited, LIMIT)) == 5
    assert "below 3 σ: upper limit" in legend(limited)
    with pytest.raises(ValueError, match="no axis 'mag' for fluxes; use one of flux, log_flux"):
        plot_spectrum(five(), flux_axis="mag")


def test_a_few_good_measurements_do_not_hide_the_others():
    flux, good = np.linspace(1000, 5000, 40), np.arange(40) < 9
    low, high = plot_spectrum(measurements(40, flux=flux, good=good)).axes[0].get_ylim()
    assert low < 1000 < 5000 < high
    low, high = plot_spectrum(measurements(40, flux=flux, good=np.arange(40) < 12)).axes[0].get_ylim()
    assert low < 1000 < high < 3000


def test_a_spectrum_without_errors_is_not_an_empty_picture():
    with pytest.raises(ValueError, match="the spectrum lacks good, detector; a picture needs"):
        plot_spectrum(five(flux=1.0)["wavelength", "flux"])


def test_panels_with_a_common_axis_show_all_wavelengths():
    figure = Figure()
    first, second, third = figure.subplots(3, sharex=True)
    add_spectrum(first, five())
    add_spectrum(second, measurements(100))
    add_spectrum(third, measurements(0))
    low, high = first.get_xlim()
    assert low < 1
    assert high > 4.9


def test_an_arrow_alone_is_in_the_range_of_wavelengths():
    table = five(flux=[50, 60, 70, 80, -5])
    low, high = plot_spectrum(table, flux_axis="log_flux").axes[0].get_xlim()
    assert low < 2.75 < 3.05 < high


def test_a_light_curve_shows_that_a_source_became_brighter(tmp_path):
    spectrum = gather_spectrum([measurements(2000)], META)
    is_late = spectrum["time"].value > np.median(spectrum["time"].value)
    spectrum["flux"][is_late] *= 1.5
    spectrum["good"][::50] = False
    figure = plot_light_curve(spectrum, combine_channels(spectrum, design_channels()))
    points = np.array([point for point in drawn(figure, "o") if np.isfinite(point).all()])
    assert 0.9 * len(spectrum) < len(points) <= 0.98 * len(spectrum)
    late = points[:, 0] > np.median(spectrum["time"].value)
    assert np.median(points[late, 1]) / np.median(points[~late, 1]) == pytest.approx(1.5, abs=0.03)
    assert legend(figure) == ["D1", "D2", "D3", "D4", "D5", "D6"]
    figure.savefig(tmp_path / "light_curve.png")


def test_a_steep_spectrum_is_constant_and_without_residuals():
    wavelength = np.linspace(2.4721, 2.7549, 40)
    spectrum = measurements(40, wavelength=wavelength, detector=4, flux=8000 * (wavelength - 2.4), flux_error=1.0)
    means = combine_channels(spectrum)
    assert len(means) == 4
    heights = [height for _, height in drawn(plot_light_curve(spectrum, means), "o")]
    assert heights == pytest.approx(np.ones(40), abs=1e-12)
    lower = plot_spectrum(spectrum, means).axes[1]
    assert np.concatenate([line.get_ydata() for line in lower.lines if line.get_marker() == "o"]) == pytest.approx(
        np.zeros(40), abs=1e-9
    )
    # Means of an earlier version.
    del means["slope"]
    assert len(drawn(plot_light_curve(spectrum, means), "o")) == 40


def test_no_light_curve_of_single_visits():
    spectrum = gather_spectrum([measurements(3)], META)
    with pytest.raises(UserError, match="no channel has several visits"):
        plot_light_curve(spectrum, combine_channels(spectrum, design_channels()))


def test_a_light_curve_has_the_measurements_of_means_of_several_visits():
    # Channels 6 and 7 have an old measurement, beside one and two new ones.
    table = five(
        wavelength=[2.79, 2.8, 2.85, 2.86, 2.87],
        flux=[150, 100, 90, 60, 110],
        flux_error=1.0,
        version=["7.0.5", "6.4", "7.0.5", "6.4", "7.0.5"],
    )
    means = combine_channels(table)
    assert means["visits"].tolist() == [1, 2]
    assert sorted(height for _, height in drawn(plot_light_curve(table, means), "o")) == [0.9, 1.1]
    with pytest.raises(UserError, match="no channel has several visits"):
        plot_light_curve(table[:2], combine_channels(table[:2]))
