"""Plots of spectra."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

import spherex
from spherex.detectors import DETECTORS
from spherex.errors import UserError

from .channels import CHANNEL_COLUMNS, design_channels
from .tables import FAILED, frequent_reasons, unmasked

if TYPE_CHECKING:
    from astropy.table import QTable
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from numpy.typing import ArrayLike, NDArray


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
_SIGNIFICANT = 5.0
"""Least signal to noise of channels that widen the limits."""
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


def plot_spectrum(
    spectrum: QTable,
    channel_spectrum: QTable | None = None,
    title: str | None = None,
    flux_axis: str = "flux",
    upper_limits: float | None = None,
) -> Figure:
    """Return a figure of flux against wavelength.

    Dots are measurements, and crosses those that are not good. Squares are
    means of channels, with a line between neighbours. Triangles at an edge are
    points beyond it, with their number if they are several. With channels a
    second panel shows the differences from the mean of the channel, where that
    is of several measurements, in standard deviations.

    Parameters
    ----------
    spectrum
        Measurements, as returned by `gather_spectrum`.
    channel_spectrum
        Means of the measurements, as returned by `combine_channels`.
    title
        Title; by default name, position, dates, number of images and version
        of the code from the spectrum.
    flux_axis
        Vertical axis: ``flux``, ``log_flux``, ``ab_magnitude`` or
        ``lambda_f_lambda``. Where negative fluxes have no logarithm, they are
        triangles at the faint edge.
    upper_limits
        Number of standard deviations. Good measurements below it are arrows at
        max(flux, 0) plus so many of their errors. With `None` all measurements
        are drawn as they are.

    Raises
    ------
    ValueError
        If there is no such axis.

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

    has_residuals = channel_spectrum is not None and bool(np.isfinite(channel_spectrum["flux"].value).any())
    figure = Figure(figsize=(11, 7.5 if has_residuals else 6), layout="constrained")
    if has_residuals:
        axes, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    else:
        axes = lower = figure.add_subplot()
    axes.set_title(_title(spectrum) if title is None else title, fontsize=11)
    axes.set_ylabel(FLUX_AXES.get(flux_axis, ""))
    lower.set_xlabel("wavelength (µm)")
    handles = add_spectrum(axes, spectrum, channel_spectrum, flux_axis, upper_limits)
    if has_residuals and channel_spectrum is not None:
        rows = unmasked(spectrum)
        add_residuals(lower, rows, _channel_means(rows, unmasked(channel_spectrum, CHANNEL_COLUMNS)), "mean")
    if not handles:
        axes.set_xlim(DETECTORS[0].lmin, DETECTORS[-1].lmax)
    else:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False,
            columnspacing=1.2, handletextpad=0.3,
        )  # fmt: skip
    return figure


def add_spectrum(
    axes: Axes,
    spectrum: QTable,
    channel_spectrum: QTable | None = None,
    flux_axis: str = "flux",
    upper_limits: float | None = None,
) -> list[Line2D]:
    """Plot flux against wavelength into axes, and set the limits of the flux.

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
        If there is no such axis.
    """
    from matplotlib.lines import Line2D

    if flux_axis not in FLUX_AXES:
        raise ValueError(f"no axis {flux_axis!r} for fluxes; use one of {', '.join(FLUX_AXES)}")
    spectrum = unmasked(spectrum)
    axes.grid(alpha=0.25, linewidth=0.6)
    shown = spectrum[(spectrum["reason"] == "") & np.isfinite(spectrum["flux"].value)]
    if not len(shown):
        axes.text(0.5, 0.5, _why_empty(spectrum), transform=axes.transAxes, ha="center", va="center", linespacing=1.6)
        axes.set_yticks([])
        axes.grid(visible=False)
        return []
    is_limit = np.zeros(len(shown), bool)
    if upper_limits is not None:
        flux, error = shown["flux"], shown["flux_error"]
        is_limit = np.asarray(shown["good"]) & (error > 0) & (flux < upper_limits * error)
        shown["flux"] = np.where(is_limit, np.maximum(flux, 0 * flux) + upper_limits * error, flux)
    points = _Points.of(shown, flux_axis)
    means = None
    if channel_spectrum is not None:
        means = _Points.of(unmasked(channel_spectrum, CHANNEL_COLUMNS), flux_axis)
    low, high = _limits(points, means)
    if flux_axis in ("flux", "lambda_f_lambda"):
        axes.axhline(0.0, color="0.4", linewidth=0.8, zorder=1)
    axes.set_ylim((high, low) if flux_axis == "ab_magnitude" else (low, high))
    outside: Counter[int] = Counter()
    for detector, colour in zip(DETECTORS, DETECTOR_COLOURS, strict=True):
        here = points.detector == detector.id
        for is_shown, marker in ((here & points.is_good & ~is_limit, "o"), (here & ~points.is_good, "x")):
            _draw_points(axes, points[is_shown], colour, marker, 0.45 if len(shown) > _MANY else 0.9)
        limits = points[here & is_limit]
        axes.plot(limits.wavelength, limits.height, linestyle="", marker=_LIMIT, color=colour, markersize=9, zorder=3)
        if means is not None:
            _draw_channels(axes, means[means.detector == detector.id], colour)
    axes.set_xmargin(0.02)
    # Arrows alone do not widen the limits of the wavelength.
    axes.update_datalim(np.stack([points.wavelength, np.zeros(len(shown))], axis=1), updatey=False)
    axes.autoscale_view(scaley=False)
    for detector, colour in zip(DETECTORS, DETECTOR_COLOURS, strict=True):
        own = points[points.detector == detector.id]
        outside.update(_draw_outside(axes, own.wavelength, own.height, colour))
    if means is not None:
        has_mean = ~np.isnan(means.height)
        _draw_outside(axes, means.wavelength[has_mean], means.height[has_mean], "black", 0.06)
    signs = [
        (f"D{detector.id}", "o", colour, colour)
        for detector, colour in zip(DETECTORS, DETECTOR_COLOURS, strict=True)
        if detector.id in points.detector
    ]
    signs += [("channel mean", "s", "black", "none")] * (means is not None)
    signs += [(f"below {upper_limits} σ: upper limit", _LIMIT, "0.3", "0.3")] * bool(is_limit.any())
    signs += [("not good", "x", "0.3", "none")] * bool((~points.is_good).any())
    signs += [(f"above the picture ({outside[1]})", _MARKERS[1], "0.3", "none")] * (outside[1] > 0)
    text = f"below the picture ({outside[-1]})"
    if negative := int(np.count_nonzero(np.isinf(points.height))):
        text = f"below the picture ({outside[-1]}, {negative} with flux ≤ 0)"
    signs += [(text, _MARKERS[-1], "0.3", "none")] * (outside[-1] > 0)
    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, markerfacecolor=inside, label=label)
        for label, marker, colour, inside in signs
    ]


@dataclasses.dataclass(frozen=True)
class _Points:
    """Fluxes in the unit of an axis; infinite where it cannot show them.

    Attributes ``first`` and ``last`` are the ends of the error bars.
    """

    detector: NDArray[np.int64]
    channel: NDArray[np.int64]
    wavelength: NDArray[np.float64]
    height: NDArray[np.float64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    is_good: NDArray[np.bool_]
    is_significant: NDArray[np.bool_]
    is_several: NDArray[np.bool_]

    @classmethod
    def of(cls, table: QTable, flux_axis: str) -> _Points:
        wavelength, flux = table["wavelength"].to_value("um"), table["flux"].to_value("uJy")
        error = np.nan_to_num(table["flux_error"].to_value("uJy"), nan=0.0, posinf=0.0)
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
            np.asarray(table["good"]),
            (visits > 1) & (np.abs(flux) > _SIGNIFICANT * error),
            visits > 1,
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
    cent, and the significant means of several measurements: a single outlier
    does not change them, an emission line does.
    """
    is_shown = np.isfinite(points.height)
    if not is_shown.any():
        # All fluxes are without a logarithm: the arrows need some axis.
        return 0.0, 1.0
    good = points.height[is_shown & points.is_good]
    if not len(good):
        good = points.height[is_shown]
    low, high = np.percentile(good, _CORE)
    reach = high - low
    values = [good[(good >= low - reach) & (good <= high + reach)]]
    if means is not None:
        values.append(means.height[np.isfinite(means.height) & means.is_good & means.is_significant])
    low, high = np.min(np.concatenate(values)), np.max(np.concatenate(values))
    errors = np.abs(points.last[is_shown] - points.height[is_shown])
    # A bright flux on an axis of magnitudes has no zero to compare with.
    room = max(_MARGIN * (high - low), 1.3 * float(np.median(errors)), 1e-3 * max(abs(low), abs(high))) or 1.0
    return float(low - room), float(high + room)


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
        zorder=3,
    )


def _bars(axes: Axes, points: _Points) -> NDArray[np.float64]:
    """Return the lengths of error bars below and above the points; endless bars reach beyond the edge."""
    low, high = sorted(axes.get_ylim())
    ends = np.stack([points.first, points.last])
    ends = np.clip(ends, np.minimum(2 * low - high, points.height), np.maximum(2 * high - low, points.height))
    return np.stack([points.height - ends.min(axis=0), ends.max(axis=0) - points.height])


def _draw_outside(
    axes: Axes, wavelength: NDArray[np.float64], height: NDArray[np.float64], colour: str, inset: float = 0.02
) -> dict[int, int]:
    """Plot triangles near the edges for the points beyond them; return the number above (1) and below (-1).

    ``inset`` is the distance from the edges, as a fraction of the axis.
    """
    bottom, top = axes.get_ylim()
    fraction = (height - bottom) / (top - bottom)
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
    good = inside[inside.is_good]
    # A line between channels that are not neighbours would show fluxes that nobody measured.
    order = np.argsort(good.channel)
    breaks = np.flatnonzero(np.diff(good.channel[order]) != 1) + 1
    wavelength, height = (np.insert(values[order], breaks, np.nan) for values in (good.wavelength, good.height))
    axes.plot(wavelength, height, color=colour, linewidth=1.3, alpha=0.8, zorder=2)
    # Hollow squares, and error bars below the dots, hide none of them.
    for some, marker in ((good, "s"), (inside[~inside.is_good], "x")):
        axes.plot(
            some.wavelength, some.height, linestyle="", marker=marker, color="black", markerfacecolor="none",
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


def _channel_means(spectrum: QTable, channel_spectrum: QTable) -> NDArray[np.float64]:
    """Return the mean of the channel of each measurement (uJy); NaN where there is none but the measurement.

    Channels from a map of pixels, which is not at hand, have the same numbers
    and, in 95 to 98 % of the pixels, the same limits of wavelength.
    """
    detector = np.asarray(spectrum["detector"])
    channels = design_channels()
    place = channels.of(detector, *(spectrum[name].value for name in ("wavelength", "x", "y")))
    number = np.where(place < 0, -1, channels.number[place])
    own, means = (number, detector), (np.asarray(channel_spectrum[name]) for name in ("channel", "detector"))
    is_own = np.all([one[:, np.newaxis] == other for one, other in zip(own, means, strict=True)], axis=0)
    row = np.argmax(is_own, axis=1)
    mean: NDArray[np.float64] = channel_spectrum["flux"].to_value("uJy")[row]
    mean[~is_own.any(axis=1)] = np.nan
    # The mean of a single visit is the visit, to the last bits.
    is_single = np.asarray(channel_spectrum["visits"])[row] == 1
    mean[is_single & np.isclose(mean, spectrum["flux"].to_value("uJy"), rtol=1e-12, atol=0.0)] = np.nan
    return mean


def add_residuals(axes: Axes, spectrum: QTable, expected: NDArray[np.float64], label: str) -> None:
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
    for number, colour in zip((detector.id for detector in DETECTORS), DETECTOR_COLOURS, strict=True):
        here = (detector == number) & has_pull
        for is_good, marker in ((True, "o"), (False, "x")):
            is_shown = here & (np.asarray(spectrum["good"]) == is_good) & (np.abs(pull) <= _PULL_LIMIT)
            axes.plot(
                wavelength[is_shown], pull[is_shown], linestyle="", marker=marker, color=colour,
                markersize=3.5 if is_good else 6, markeredgewidth=0.0 if is_good else 1.3,
                alpha=0.45 if len(spectrum) > _MANY else 0.9, zorder=3,
            )  # fmt: skip
        _draw_outside(axes, wavelength[here], pull[here], colour, 0.05)


def plot_light_curve(spectrum: QTable, channel_spectrum: QTable, title: str | None = None) -> Figure:
    """Return a figure of relative brightness against time.

    Each measurement is at another wavelength than the one before. So it is
    divided by the mean of its channel, where that is the mean of several
    visits. The mean contains the measurement itself: with
    n visits the points scatter less than the source does, by a factor of
    sqrt(1 - 1 / n). The visits of a channel have different wavelengths: where
    the spectrum is steep, its slope looks like a change of the brightness.

    Parameters
    ----------
    spectrum
        Measurements, as returned by `gather_spectrum`. Only good ones are
        shown.
    channel_spectrum
        Means of the measurements, as returned by `combine_channels`.
    title
        Title; by default as for `plot_spectrum`.

    Raises
    ------
    UserError
        If no channel has several visits and a flux of at least 5 errors.

    Examples
    --------
    >>> from spherex.spectra import plot_light_curve
    >>> figure = plot_light_curve(spectrum, spherex.combine_channels(spectrum))  # doctest: +SKIP
    """
    from matplotlib.figure import Figure

    rows, means = unmasked(spectrum), unmasked(channel_spectrum, CHANNEL_COLUMNS)
    significance = means["flux"].value / np.nan_to_num(means["flux_error"].value, nan=np.inf)
    expected = (
        _channel_means(rows, means[significance >= _SIGNIFICANT]) if (significance >= _SIGNIFICANT).any() else None
    )
    is_shown = np.zeros(len(rows), bool) if expected is None else np.isfinite(expected) & np.asarray(rows["good"])
    if expected is None or not is_shown.any():
        raise UserError(
            "there is no light curve: no channel has several visits and a mean of at least "
            f"{_SIGNIFICANT:.0f} standard errors."
        )
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(_title(spectrum) if title is None else title, fontsize=11)
    axes.set_xlabel("time (MJD, UTC)")
    axes.set_ylabel("flux / mean of the channel")
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.axhline(1.0, color="0.4", linewidth=0.8, zorder=1)
    for detector, colour in zip(DETECTORS, DETECTOR_COLOURS, strict=True):
        here = is_shown & (np.asarray(rows["detector"]) == detector.id)
        if here.any():
            flux, error = (rows[name].to_value("uJy")[here] / expected[here] for name in ("flux", "flux_error"))
            axes.errorbar(
                np.asarray(rows["time"])[here], flux, yerr=error, fmt="o", color=colour,
                markersize=3.5, elinewidth=0.9, alpha=0.9, zorder=3, label=f"D{detector.id}",
            )  # fmt: skip
    figure.legend(loc="outside lower center", ncols=len(DETECTORS), fontsize=9, frameon=False)
    return figure


def _title(spectrum: QTable) -> str:
    from astropy.time import Time

    meta = spectrum.meta
    first = [f"{meta.get('catalog', '')} {meta.get('target', '')}".strip()]
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
