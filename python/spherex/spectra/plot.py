"""Plots of spectra."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import spherex
from spherex.detectors import DETECTORS
from spherex.errors import UserError, counted

from .channels import CHANNEL_COLUMNS, LIMIT_MARGIN, design_channels, has_older_gains, is_usable
from .tables import COLUMNS, FAILED, frequent_reasons, unmasked, values_of

if TYPE_CHECKING:
    from astropy.table import QTable
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from numpy.typing import ArrayLike, NDArray

    from .channels import Channels


FLUX_AXES = {
    "flux": "flux density (µJy)",
    "log_flux": "log$_{10}$ flux density (µJy)",
    "ab_magnitude": "AB magnitude",
    "lambda_f_lambda": r"$\lambda F_\lambda$ (erg s$^{-1}$ cm$^{-2}$)",
}
"""Vertical axes of plots with their labels."""

DETECTOR_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7")
"""Colours of the detectors, distinct for colour-blind readers, too (Okabe and Ito
2008, Color Universal Design).
"""

_MARKERS = {1: "^", -1: "v"}
"""Markers of measurements above and below the limits."""
_LIMIT = r"$\downarrow$"
"""Marker of upper limits."""

_GROUP = 0.02
"""Width of the wavelengths that share one of these markers, as a fraction of the axis."""

_CORE = (2.0, 98.0)
"""Percentiles of the fluxes that are inside the limits."""
_MARGIN = 0.15
"""Margin above and below, as a fraction of the range."""
_LONGEST_BAR = 0.5
"""Longest part of an error bar beyond all points that widens the limits, as a fraction of their range. If three
times the third quartile of the errors is longer, that is the limit.
"""
_BAR_MARGIN = 0.03
"""Margin beyond the ends of error bars, as a fraction of the range of the points."""
_DETECTED = 3.0
"""Least signal to noise of means of several visits that widen the limits."""
_SIGNIFICANT = 5.0
"""Least signal to noise of the channels of a light curve."""
_PULL_LIMIT = 5.5
"""Limit of the axis of residuals, in standard deviations."""
_MANY = 600
"""Number of measurements above which dots are translucent."""

_AB_ZERO = 23.9
"""AB magnitude of 1 uJy (Oke and Gunn 1983: 3631 Jy for magnitude 0)."""
_FREQUENCY = 2.99792458e14
"""Frequency (Hz) of light with a wavelength of 1 um."""
_MICROJANSKY_CGS = 1e-29
"""1 uJy in erg / (s cm2 Hz)."""

_MOST_REASONS = 4
_MOST_ENTRIES = 10
"""Number of entries of a legend above which it has two lines."""

_FEW_GOOD = 0.25
"""Share of good measurements below which the range of a picture is that of all measurements."""
_DRAWN = ("wavelength", "flux", "good", "detector")
"""Columns without which a spectrum cannot be drawn."""
_CHANNEL_KEY = ("detector", "channel")

_Sign: TypeAlias = tuple[str, str, str, str]
"""Label of an entry of a legend, and marker, colour and inner colour of its sign."""


def plot_spectrum(
    spectrum: QTable,
    channel_spectrum: QTable | None = None,
    title: str | None = None,
    flux_axis: str = "flux",
    upper_limits: float | None = None,
    channels: Channels | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Return a figure of flux against wavelength.

    Dots are measurements, and crosses those that are not good. Squares are
    means of channels, with a line between neighbours, and black crosses those
    that are not good. Triangles at an edge are points beyond it, with their
    number if they are several. Good means of several visits that are
    detections, of 3 errors or more, are always inside. With channels a second
    panel shows the differences from the mean of the channel, in standard
    deviations, where that mean contains another measurement: of all
    measurements in a channel with several visits, and of those that are left
    out of the mean of a single visit.

    Parameters
    ----------
    spectrum
        Measurements, as returned by `gather_spectrum`.
    channel_spectrum
        Means of the measurements, as returned by `combine_channels`.
    title
        Title; by default name, position, dates, number of images and version
        of the code from the spectrum, on given axes the name alone.
    flux_axis
        Vertical axis: ``flux``, ``log_flux``, ``ab_magnitude`` or
        ``lambda_f_lambda``. Where negative fluxes have no logarithm, they are
        triangles at the faint edge.
    upper_limits
        Number of standard deviations, positive. Good measurements and means
        between minus and plus so many of their errors are arrows at
        max(flux, 0) plus so many errors. Arrows above the picture are left
        out, and the legend counts them. With `None` there are no arrows.
    channels
        The argument ``channels`` of `combine_channels`. By default, if the
        means are not of `design_channels`, measurements near the limit of a
        channel are not compared with a mean.
    axes
        Axes to draw the first panel and the legend into, without the second
        panel; by default those of a new figure. The method `Spectrum.plot`
        does this, and returns the axes.

    Raises
    ------
    ValueError
        If there is no such axis, ``upper_limits`` is not positive and finite,
        or ``channels`` are not those of the means.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> star = SkyCoord(310.1, 40.16, unit="deg")
    >>> spectrum = spherex.gather_spectrum([spherex.measure_targets("image.fits", star)])
    >>> figure = spherex.plot_spectrum(spectrum, spherex.combine_channels(spectrum))
    >>> figure.savefig("spectrum.png")
    """
    from matplotlib.figure import Figure

    is_given = axes is not None
    has_means = channel_spectrum is not None and bool(np.isfinite(channel_spectrum["flux"].value).any())
    has_residuals = has_means and not is_given
    if axes is not None:
        figure: Any = axes.figure
        lower = axes
    else:
        figure = Figure(figsize=(11, 7.5 if has_residuals else 6), layout="constrained")
        if has_residuals:
            axes, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        else:
            axes = lower = figure.add_subplot()
    _set_title(axes, spectrum, title, is_given)
    lower.set_xlabel("wavelength (µm)")
    handles = add_spectrum(axes, spectrum, channel_spectrum, flux_axis, upper_limits)
    if has_residuals and channel_spectrum is not None:
        rows = unmasked(spectrum)
        mean, visits, is_in_mean = _channel_means(rows, unmasked(channel_spectrum, CHANNEL_COLUMNS), channels)
        # The difference of a measurement from itself is 0, and no comparison.
        handles += add_residuals(lower, rows, np.where(visits > is_in_mean, mean, np.nan), "mean")
    if not handles:
        axes.set_xlim(DETECTORS[0].lmin, DETECTORS[-1].lmax)
    else:
        _add_legend(axes, handles, is_given)
    return figure


def _set_title(axes: Axes, spectrum: QTable, title: str | None, is_given: bool) -> None:
    """Set the title, by default one for axes of the size of a page, or a short one for axes that were given."""
    if title is None:
        title = _name(spectrum) if is_given else _title(spectrum)
    axes.set_title(title, fontsize=11)


def _add_legend(axes: Axes, handles: Sequence[Any], is_given: bool) -> None:
    """Add a legend below the only axes of a figure, or inside of axes that were given."""
    style: dict[str, Any] = {"handles": handles, "columnspacing": 1.2, "handletextpad": 0.3}
    if is_given:
        axes.legend(**style, loc="best", ncols=2, fontsize=8, framealpha=0.7)
    else:
        # In one line, many entries would be wider than the figure.
        ncols = len(handles) if len(handles) <= _MOST_ENTRIES else (len(handles) + 1) // 2
        axes.figure.legend(**style, loc="outside lower center", ncols=ncols, fontsize=9, frameon=False)


def add_spectrum(
    axes: Axes,
    spectrum: QTable,
    channel_spectrum: QTable | None = None,
    flux_axis: str = "flux",
    upper_limits: float | None = None,
) -> list[Line2D]:
    """Plot flux against wavelength into axes, and set label and limits of the flux.

    For axes with a title, a legend and both labels use the argument ``axes``
    of `plot_spectrum`.

    Parameters
    ----------
    axes
        Axes, in um and the unit of ``flux_axis``.
    spectrum, channel_spectrum, flux_axis, upper_limits
        See `plot_spectrum`.

    Returns
    -------
    handles
        Handles of a legend with their labels; an empty list without fluxes.

    Raises
    ------
    ValueError
        If there is no such axis, ``upper_limits`` is not positive and finite, or a column is missing.
    """
    # With blank values no point would be drawn, and the empty picture would look like a result.
    if missing := [name for name in _DRAWN if name not in spectrum.colnames]:
        raise ValueError(f"the spectrum lacks {', '.join(missing)}; a picture needs {', '.join(_DRAWN)}")
    if flux_axis not in FLUX_AXES:
        raise ValueError(f"no axis {flux_axis!r} for fluxes; use one of {', '.join(FLUX_AXES)}")
    # True would be a limit of one standard deviation.
    if isinstance(upper_limits, bool | np.bool_) or (upper_limits is not None and not 0 < upper_limits < np.inf):
        raise ValueError(f"upper_limits is {upper_limits}; use a positive number of standard deviations, such as 3")
    spectrum = unmasked(spectrum)
    axes.set_ylabel(FLUX_AXES[flux_axis])
    axes.grid(alpha=0.25, linewidth=0.6)
    shown = spectrum[(spectrum["reason"] == "") & np.isfinite(spectrum["flux"].value)]
    if not len(shown):
        axes.text(0.5, 0.5, _why_empty(spectrum), transform=axes.transAxes, ha="center", va="center", linespacing=1.6)
        axes.set_yticks([])
        axes.grid(visible=False)
        return []
    points = _Points.of(shown, flux_axis, upper_limits)
    means = None
    if channel_spectrum is not None:
        means = _Points.of(unmasked(channel_spectrum, CHANNEL_COLUMNS), flux_axis, upper_limits)
    low, high = _limits(points, means)
    if flux_axis in ("flux", "lambda_f_lambda"):
        axes.axhline(0.0, color="0.4", linewidth=0.8, zorder=1)
    axes.set_ylim((high, low) if flux_axis == "ab_magnitude" else (low, high))
    fraction = _fraction(axes, points.height)
    # A triangle would say that the flux is above the picture.
    is_beyond = points.is_limit & (fraction > 1)
    for detector, colour in zip(DETECTORS, DETECTOR_COLOURS, strict=True):
        is_detector = points.detector == detector.id
        for is_shown, marker in (
            (is_detector & points.is_good & ~points.is_limit, "o"),
            (is_detector & ~points.is_good, "x"),
        ):
            _draw_points(axes, points[is_shown], colour, marker, 0.45 if len(shown) > _MANY else 0.9)
        limits = points[is_detector & points.is_limit & (fraction >= 0) & (fraction <= 1)]
        axes.plot(limits.wavelength, limits.height, linestyle="", marker=_LIMIT, color=colour, markersize=9, zorder=3)
        if means is not None:
            _draw_channels(axes, means[means.detector == detector.id], colour)
    axes.set_xmargin(0.02)
    # Arrows alone do not widen the limits of the wavelength.
    axes.update_datalim(np.stack([points.wavelength, np.zeros(len(shown))], axis=1), updatey=False)
    axes.autoscale_view(scaley=False)
    outside, means_outside = Counter[int](), Counter[int]()
    for detector, colour in zip(DETECTORS, DETECTOR_COLOURS, strict=True):
        own = points[(points.detector == detector.id) & ~is_beyond]
        outside.update(_draw_outside(axes, own.wavelength, own.height, colour))
    if means is not None:
        # The mean of a single visit has the triangle of the visit.
        own = means[
            means.is_several & ~np.isnan(means.height) & ~(means.is_limit & (_fraction(axes, means.height) > 1))
        ]
        means_outside.update(_draw_outside(axes, own.wavelength, own.height, "black", 0.06))
    signs: list[_Sign] = [
        (f"D{detector.id}", "o", colour, colour)
        for detector, colour in zip(DETECTORS, DETECTOR_COLOURS, strict=True)
        if detector.id in points.detector
    ]
    has_mean_limits = False
    if means is not None:
        fraction = _fraction(axes, means.height)
        inside = means[(fraction >= 0) & (fraction <= 1)]
        signs += [("channel mean", "s", "black", "none")] * bool((inside.is_good & ~inside.is_limit).any())
        signs += [("channel mean,\nnot good", "x", "black", "none")] * bool((~inside.is_good).any())
        has_mean_limits = bool((inside.is_limit & inside.is_several).any())
    if points.is_limit.any() or has_mean_limits:
        number = int(np.count_nonzero(is_beyond))
        text = f"below {upper_limits:g} σ: upper limit" + (f"\n({number} above the picture)" if number else "")
        signs.append((text, _LIMIT, "0.3", "0.3"))
    signs += [("not good", "x", "0.3", "none")] * bool((~points.is_good).any())
    negative = int(np.count_nonzero(np.isinf(points.height)))
    for side, where, dark in ((1, "above", 0), (-1, "below", negative)):
        texts = []
        if number := outside[side]:
            share = "\n" if dark == number else f",\n{dark} of them "
            texts.append(counted(number, "measurement") + (f"{share}with flux ≤ 0" if dark else ""))
        if number := means_outside[side]:
            texts.append(counted(number, "channel mean"))
        if texts:
            # Long entries in one line would make the legend wider than the figure.
            signs.append((f"{where} the picture: " + ",\n".join(texts), _MARKERS[side], "0.3", "none"))
    return _handles(signs)


def _handles(signs: Sequence[_Sign]) -> list[Line2D]:
    """Return the entries of a legend."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, markerfacecolor=inside, label=label)
        for label, marker, colour, inside in signs
    ]


@dataclasses.dataclass(frozen=True)
class _Points:
    """Fluxes, or their upper limits, in the unit of an axis; infinite where it cannot show them.

    Attributes ``first`` and ``last`` are the ends of the error bars.
    """

    detector: NDArray[np.int64]
    channel: NDArray[np.int64]
    wavelength: NDArray[np.float64]
    height: NDArray[np.float64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    is_good: NDArray[np.bool_]
    is_detected: NDArray[np.bool_]
    is_several: NDArray[np.bool_]
    is_limit: NDArray[np.bool_]

    @classmethod
    def of(cls, table: QTable, flux_axis: str, upper_limits: float | None) -> _Points:
        wavelength, flux = table["wavelength"].to_value("um"), table["flux"].to_value("uJy")
        error = np.nan_to_num(table["flux_error"].to_value("uJy"), nan=0.0, posinf=0.0)
        is_good, is_limit = np.asarray(table["good"]), np.zeros(len(table), bool)
        # What is not a limit is a detection, also with limits of fewer errors.
        is_detected = np.abs(flux) >= min(_DETECTED, upper_limits or np.inf) * error
        if upper_limits is not None:
            # A flux far below zero is an outlier and no limit.
            is_limit = is_good & (error > 0) & (flux < upper_limits * error) & (flux >= -upper_limits * error)
            flux = np.where(is_limit, np.maximum(flux, 0.0) + upper_limits * error, flux)
        first, height, last = (_heights(flux + sign * error, wavelength, flux_axis) for sign in (-1, 0, 1))
        is_mean = "visits" in table.colnames
        length = len(table)
        visits = np.asarray(table["visits"]) if is_mean else np.zeros(length)
        return cls(
            np.asarray(table["detector"]),
            np.asarray(table["channel"]) if is_mean else np.zeros(length, np.int64),
            wavelength,
            height,
            first,
            last,
            is_good,
            is_detected & ~is_limit,
            visits > 1,
            is_limit,
        )

    def __getitem__(self, index: NDArray[np.bool_]) -> _Points:
        return _Points(**{field.name: getattr(self, field.name)[index] for field in dataclasses.fields(self)})


def _heights(flux: ArrayLike, wavelength: NDArray[np.float64], flux_axis: str) -> NDArray[np.float64]:
    """Return fluxes (uJy) in the unit of an axis; infinity on the faint side for those without a logarithm."""
    flux = np.asarray(flux, float)
    if flux_axis == "flux":
        return flux
    if flux_axis == "lambda_f_lambda":
        heights: NDArray[np.float64] = flux * _MICROJANSKY_CGS * _FREQUENCY / wavelength
        return heights
    logarithm = np.where(np.isnan(flux), np.nan, -np.inf)
    logarithm[flux > 0] = np.log10(flux[flux > 0])
    return logarithm if flux_axis == "log_flux" else _AB_ZERO - 2.5 * logarithm


def _limits(points: _Points, means: _Points | None) -> tuple[float, float]:
    """Return the limits of the axis.

    They contain the good measurements without the lowest and highest two per
    cent, and the same of those that are detections and no limits: limits can
    be brighter than all detections, and so many that these are at an edge. Of
    the means of several visits they contain all detections, and limits that
    are near. A single outlier does not change them, an emission line does. Of
    a spectrum with few good measurements they contain all measurements.
    They contain the error bars of these points, too, but for those that are
    much longer than the others: a few endless ones would squeeze the spectrum.
    """
    is_shown = np.isfinite(points.height)
    if not is_shown.any():
        # All fluxes are without a logarithm: the triangles need some axis.
        return 0.0, 1.0
    is_used = is_shown & points.is_good
    if np.count_nonzero(is_used) < _FEW_GOOD * np.count_nonzero(is_shown):
        # A few good measurements, perhaps of one detector, would hide the spectrum.
        is_used = is_shown
    low, high = _core(points.height[is_used])
    is_inside = is_used & (points.height >= low) & (points.height <= high)
    if (is_detection := is_used & points.is_detected).any():
        lowest, highest = _core(points.height[is_detection])
        is_inside |= is_detection & (points.height >= lowest) & (points.height <= highest)
    shown = [points[is_inside]]
    if means is not None:
        is_near = means.is_limit & (means.height >= low) & (means.height <= high)
        is_shown_mean = means.is_good & means.is_several & (means.is_detected | is_near)
        shown.append(means[np.isfinite(means.height) & is_shown_mean])
    heights = np.concatenate([some.height for some in shown])
    low, high = np.min(heights), np.max(heights)
    error, long_error = np.percentile(np.abs(points.last[is_shown] - points.height[is_shown]), (50, 75)).tolist()
    # A bright flux on an axis of magnitudes has no zero to compare with.
    room = max(_MARGIN * (high - low), 1.3 * error, 1e-3 * max(abs(low), abs(high))) or 1.0
    # Ends of bars without a logarithm are infinite. Limits have arrows and no bars.
    ends = np.concatenate([end[~some.is_limit] for some in shown for end in (some.first, some.last)])
    reach = max(_LONGEST_BAR * (high - low), 3 * long_error)
    ends = ends[(ends > low - reach) & (ends < high + reach)]
    margin = _BAR_MARGIN * (high - low)
    lowest, highest = np.min(ends, initial=low) - margin, np.max(ends, initial=high) + margin
    return float(min(low - room, lowest)), float(max(high + room, highest))


def _core(height: NDArray[np.float64]) -> tuple[float, float]:
    """Return the limits beyond which heights are outliers."""
    low, high = np.percentile(height, _CORE).tolist()
    return 2 * low - high, 2 * high - low


def _draw_points(axes: Axes, points: _Points, colour: str, marker: str, opacity: float) -> None:
    shown = points[np.isfinite(points.height)]
    axes.errorbar(
        shown.wavelength,
        shown.height,
        yerr=_bars(axes, shown),
        fmt=marker,
        color=colour,
        markersize=3.5 if marker == "o" else 6,
        markeredgewidth=0.0 if marker == "o" else 1.3,
        elinewidth=0.9,
        alpha=opacity,
        # Crosses are few, and above the squares of channels: these must not hide them.
        zorder=3 if marker == "o" else 3.7,
    )


def _bars(axes: Axes, points: _Points) -> NDArray[np.float64]:
    """Return the lengths of error bars below and above the points; endless bars reach beyond the edge."""
    low, high = sorted(axes.get_ylim())
    ends = np.stack([points.first, points.last])
    ends = np.clip(ends, np.minimum(2 * low - high, points.height), np.maximum(2 * high - low, points.height))
    return np.stack([points.height - ends.min(axis=0), ends.max(axis=0) - points.height])


def _fraction(axes: Axes, height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return heights as fractions of the axis, from 0 at its bottom to 1 at its top."""
    bottom, top = axes.get_ylim()
    return (height - bottom) / (top - bottom)


def _draw_outside(
    axes: Axes, wavelength: NDArray[np.float64], height: NDArray[np.float64], colour: str, inset: float = 0.02
) -> dict[int, int]:
    """Plot triangles near the edges for the points beyond them; return the number above (1) and below (-1).

    ``inset`` is the distance from the edges, as a fraction of the axis.
    """
    fraction = _fraction(axes, height)
    low, high = axes.get_xlim()
    numbers = {}
    for side, is_outside in ((1, fraction > 1), (-1, fraction < 0)):
        numbers[side] = int(np.count_nonzero(is_outside))
        edge = 1 - inset if side == 1 else inset
        groups: dict[int, list[float]] = {}
        for value in np.sort(wavelength[is_outside]).tolist():
            groups.setdefault(int((value - low) / (high - low) / _GROUP), []).append(value)
        middles = [float(np.mean(group)) for group in groups.values()]
        transform = axes.get_xaxis_transform()
        axes.scatter(
            middles, [edge] * len(middles), transform=transform,
            marker=_MARKERS[side], s=34, facecolor="white", edgecolor=colour, linewidth=1.3, zorder=4,
        )  # fmt: skip
        for middle, group in zip(middles, groups.values(), strict=True):
            if len(group) > 1:
                axes.annotate(
                    str(len(group)), (middle, edge), xycoords=transform, xytext=(5, 0),
                    textcoords="offset points", color=colour, fontsize=8, zorder=4, va="center",
                )  # fmt: skip
    return numbers


def _draw_channels(axes: Axes, means: _Points, colour: str) -> None:
    low, high = sorted(axes.get_ylim())
    inside = means[(means.height >= low) & (means.height <= high)]
    # The mean of a single visit has the arrow of the visit. A line to a limit would show a flux.
    limits = inside[inside.is_limit & inside.is_several]
    axes.plot(limits.wavelength, limits.height, linestyle="", marker=_LIMIT, color="black", markersize=11, zorder=2.5)
    inside = inside[~inside.is_limit]
    good = inside[inside.is_good]
    # A line between channels that are not neighbours would show fluxes that nobody measured.
    order = np.argsort(good.channel)
    breaks = np.flatnonzero(np.diff(good.channel[order]) != 1) + 1
    wavelength, height = (np.insert(values[order], breaks, np.nan) for values in (good.wavelength, good.height))
    axes.plot(wavelength, height, color=colour, linewidth=1.3, alpha=0.8, zorder=2)
    # Hollow squares, and error bars below the dots, hide none of them.
    for selected, marker in ((good, "s"), (inside[~inside.is_good], "x")):
        axes.plot(
            selected.wavelength, selected.height, linestyle="", marker=marker, color="black", markerfacecolor="none",
            markeredgewidth=0.9, markersize=7, zorder=3.5,
        )  # fmt: skip
    # The mean of a single visit has the error bar of the visit.
    several = inside[inside.is_several]
    axes.errorbar(
        several.wavelength,
        several.height,
        yerr=_bars(axes, several),
        fmt="none",
        ecolor="black",
        elinewidth=1.1,
        capsize=3,
        zorder=2.5,
    )


def _channel_means(
    spectrum: QTable, channel_spectrum: QTable, channels: Channels | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the mean of the channel of each measurement, its visits, and whether the measurement is one.

    The mean (uJy) is moved to the wavelength of the measurement, by the slope
    of the spectrum. Without a mean it is NaN, of 0 visits.
    """
    values = {column.name: values_of(spectrum, column) for column in COLUMNS}
    detector, wavelength = values["detector"], values["wavelength"]
    design = design_channels()
    source = channel_spectrum.meta.get("channels")
    if channels is not None and source is not None and channels.source != source:
        raise ValueError(f"the channels are of {channels.source}, but the means of {source}")
    used = design if channels is None else channels
    place = used.of(detector, wavelength, values["x"], values["y"])
    if channels is None and source != design.source:
        # The means are from a map of pixels, which is not at hand: near a limit it may name the neighbour.
        low, high = np.asarray(design.limits)[place].T
        place[np.minimum(wavelength - low, high - wavelength) < LIMIT_MARGIN * (high - low)] = -1
    rows = {
        key: row
        for row, key in enumerate(zip(*(channel_spectrum[name].tolist() for name in _CHANNEL_KEY), strict=True))
    }
    own = zip(used.detector[place].tolist(), used.number[place].tolist(), (place >= 0).tolist(), strict=True)
    row = np.array([rows.get((number, channel), -1) if has_place else -1 for number, channel, has_place in own], int)
    middle, mean, visits, slope, older = (
        np.append(values_of(channel_spectrum, column), column.blank if column.name == "flux" else 0)[row]
        for column in CHANNEL_COLUMNS
        if column.name in ("wavelength", "flux", "visits", "slope", "left_out_older")
    )
    # Means that an earlier version has made are without slopes.
    mean = mean + np.nan_to_num(slope * (wavelength - middle))
    return mean, visits, is_usable(values) & (visits > 0) & ~(has_older_gains(values) & (older > 0))


def add_residuals(axes: Axes, spectrum: QTable, expected: NDArray[np.float64], label: str) -> list[Line2D]:
    """Plot differences from expected fluxes against wavelength, in standard deviations.

    Parameters
    ----------
    axes
        The axes.
    spectrum
        Measurements, as returned by `gather_spectrum`.
    expected
        Flux that is expected in each row (uJy); NaN if it is unknown.
    label
        What is subtracted, for the label of the axis.

    Returns
    -------
    handles
        Handles of a legend for the triangles at the edges, with their numbers.
    """
    flux, error = spectrum["flux"].to_value("uJy"), spectrum["flux_error"].to_value("uJy")
    wavelength, detector = spectrum["wavelength"].to_value("um"), np.asarray(spectrum["detector"])
    has_pull = np.isfinite(flux - expected) & (error > 0) & (spectrum["reason"] == "")
    pull = np.full(len(spectrum), np.nan)
    pull[has_pull] = (flux - expected)[has_pull] / error[has_pull]
    axes.set_ylim(-_PULL_LIMIT, _PULL_LIMIT)
    axes.set_yticks([-4, -2, 0, 2, 4])
    axes.set_ylabel(f"(flux - {label}) / σ")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.axhspan(-1, 1, color="0.92", zorder=0.5)
    axes.axhline(0.0, color="0.4", linewidth=0.8, zorder=1)
    outside = Counter[int]()
    for number, colour in zip((detector.id for detector in DETECTORS), DETECTOR_COLOURS, strict=True):
        here = (detector == number) & has_pull
        for is_good, marker in ((True, "o"), (False, "x")):
            is_shown = here & (np.asarray(spectrum["good"]) == is_good) & (np.abs(pull) <= _PULL_LIMIT)
            axes.plot(
                wavelength[is_shown], pull[is_shown], linestyle="", marker=marker, color=colour,
                markersize=3.5 if is_good else 6, markeredgewidth=0.0 if is_good else 1.3,
                alpha=0.45 if len(spectrum) > _MANY else 0.9, zorder=3,
            )  # fmt: skip
        outside.update(_draw_outside(axes, wavelength[here], pull[here], colour, 0.05))
    return _handles(
        [
            (f"lower panel: {where}\n{side * _PULL_LIMIT:g} σ ({outside[side]})", _MARKERS[side], "0.3", "none")
            for side, where in ((1, "above"), (-1, "below"))
            if outside[side]
        ]
    )


def plot_light_curve(
    spectrum: QTable,
    channel_spectrum: QTable,
    title: str | None = None,
    channels: Channels | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Return a figure of relative brightness against time; there is no axis of fluxes or magnitudes.

    Each measurement is at another wavelength than the one before. So it is
    divided by the mean of its channel, where that is the mean of several
    visits. Measurements that are left out of the mean are not shown: they are
    not good, or have old gains where others have new ones. Means of visits that
    contradict each other are used: those of a variable source do.

    The mean contains the measurement itself: with n visits the points scatter
    less than the source does, by a factor of sqrt(1 - 1 / n). The visits of a
    channel have different wavelengths. The column ``slope`` of the means
    corrects for a steep spectrum; a narrow line looks like a change of the
    brightness.

    Parameters
    ----------
    spectrum
        Measurements, as returned by `gather_spectrum`.
    channel_spectrum
        Means of the measurements, as returned by `combine_channels`.
    title
        Title; by default as for `plot_spectrum`.
    channels
        The argument ``channels`` of `combine_channels`, see `plot_spectrum`.
    axes
        Axes to draw into; by default those of a new figure.

    Raises
    ------
    UserError
        If no channel has several visits and a flux of at least 5 errors.
    ValueError
        If ``channels`` are not those of the means.

    Examples
    --------
    >>> from spherex.spectra import plot_light_curve
    >>> figure = plot_light_curve(spectrum, spherex.combine_channels(spectrum))  # doctest: +SKIP
    """
    from matplotlib.figure import Figure

    rows, means = unmasked(spectrum), unmasked(channel_spectrum, CHANNEL_COLUMNS)
    significance = means["flux"].value / np.nan_to_num(means["flux_error"].value, nan=np.inf)
    expected, visits, is_in_mean = _channel_means(rows, means[significance >= _SIGNIFICANT], channels)
    is_shown = is_in_mean & (visits > 1)
    if not is_shown.any():
        raise UserError(
            "there is no light curve: no channel has several visits and a mean of at least "
            f"{_SIGNIFICANT:.0f} standard errors."
        )
    is_given = axes is not None
    figure: Any = axes.figure if axes is not None else Figure(figsize=(11, 5), layout="constrained")
    if axes is None:
        axes = figure.add_subplot()
    _set_title(axes, spectrum, title, is_given)
    axes.set_xlabel("time (MJD, UTC)")
    axes.set_ylabel("flux / mean of the channel")
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.axhline(1.0, color="0.4", linewidth=0.8, zorder=1)
    if is_given:
        # Dates are long, and those of narrow axes would run into each other.
        axes.locator_params(axis="x", nbins=4)
    handles = []
    for detector, colour in zip(DETECTORS, DETECTOR_COLOURS, strict=True):
        here = is_shown & (np.asarray(rows["detector"]) == detector.id)
        if here.any():
            flux, error = (rows[name].to_value("uJy")[here] / expected[here] for name in ("flux", "flux_error"))
            drawn = axes.errorbar(
                np.asarray(rows["time"])[here], flux, yerr=error, fmt="o", color=colour,
                markersize=3.5, elinewidth=0.9, alpha=0.9, zorder=3, label=f"D{detector.id}",
            )  # fmt: skip
            handles.append(drawn)
    _add_legend(axes, handles, is_given)
    return figure


def _name(spectrum: QTable) -> str:
    """Return the names of catalogue and target, or one if it names both."""
    catalog, target = (str(spectrum.meta.get(key, "")) for key in ("catalog", "target"))
    first, second = (re.sub(r"[\s_]+", "", name).casefold() for name in (catalog, target))
    return target if first == second else f"{catalog} {target}".strip()


def _title(spectrum: QTable) -> str:
    from astropy.time import Time

    meta = spectrum.meta
    first = [_name(spectrum)]
    if "ra" in meta and "dec" in meta:
        epoch = f" ({meta['ref_epoch']:.10g}, moving)" if "ref_epoch" in meta else ""
        first.append(f"RA {meta['ra']:.5f}°  Dec {meta['dec']:+.5f}°{epoch}")
    number, failed = meta.get("images", len(spectrum)), meta.get(FAILED, 0)
    second = [f"{number} image{'s' * (number != 1)}" + (f", {failed} without flux" if failed else "")]
    times = unmasked(spectrum)["time"].to_value("d")
    times = times[np.isfinite(times)]
    if len(times):
        days = dict.fromkeys(Time([times.min(), times.max()], format="mjd", scale="utc").strftime("%Y-%m-%d").tolist())
        second.append(" to ".join(days))
    code = meta.get("code", {}).get("spherex-butler")
    second.append(f"spherex-butler {code}" if code else f"drawn by spherex-butler {spherex.__version__}")
    return "\n".join("     ".join(part for part in parts if part) for parts in (first, second) if any(parts))


def _why_empty(spectrum: QTable) -> str:
    reasons = frequent_reasons(spectrum, _MOST_REASONS)
    if not reasons:
        reasons = ["the spectrum has no measurement" if not len(spectrum) else "no reason is recorded"]
    return "\n".join(["no measurement with a flux", *reasons])
