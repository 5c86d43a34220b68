"""Plots of spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spherex.detectors import DETECTORS

from .channels import CHANNEL_COLUMNS
from .tables import unmasked

if TYPE_CHECKING:
    from astropy.table import QTable
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from numpy.typing import NDArray


_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7")
"""Colours of the detectors, distinct for colour-blind readers, too (Okabe and Ito
2008, Color Universal Design).
"""

_MARKERS = {1: "^", -1: "v"}
"""Markers of measurements above and below the limits."""

_CORE = (2.0, 98.0)
"""Percentiles of the fluxes that are inside the limits."""
_MARGIN = 0.15
"""Margin above and below, as a fraction of the range."""
_SIGNIFICANT = 5.0
"""Least signal to noise of channels that widen the limits."""


def plot_spectrum(
    spectrum: QTable,
    channel_spectrum: QTable | None = None,
    title: str | None = None,
) -> Figure:
    """Return a figure of flux against wavelength.

    Measurements that are not good are crosses.

    Parameters
    ----------
    spectrum
        Measurements, as returned by `gather_spectrum`.
    channel_spectrum
        Means of the measurements, as returned by `combine_channels`.
    title
        Title; by default name, position and number of images from the metadata.

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

    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.add_subplot()
    if title is None:
        meta = spectrum.meta
        parts = [f"{meta.get('catalog', '')} {meta.get('target', '')}".strip()]
        if "ra" in meta and "dec" in meta:
            parts.append(f"RA {meta['ra']:.5f}°  Dec {meta['dec']:+.5f}°")
        number, failed = meta.get("images", len(spectrum)), meta.get("failed", 0)
        parts.append(f"{number} image{'s' * (number != 1)}" + (f", {failed} without flux" if failed else ""))
        title = "     ".join(part for part in parts if part)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("wavelength (µm)")
    axes.set_ylabel("flux density (µJy)")
    handles = add_spectrum(axes, spectrum, channel_spectrum)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
    return figure


def add_spectrum(
    axes: Axes,
    spectrum: QTable,
    channel_spectrum: QTable | None = None,
) -> list[Line2D]:
    """Plot flux against wavelength into axes, and set the limits of the flux.

    Parameters
    ----------
    axes
        Axes, in um and uJy.
    spectrum, channel_spectrum
        See `plot_spectrum`.

    Returns
    -------
    handles
        Handles of a legend with their labels; an empty list without fluxes.
    """
    from matplotlib.lines import Line2D

    spectrum = unmasked(spectrum)
    if channel_spectrum is not None:
        channel_spectrum = unmasked(channel_spectrum, CHANNEL_COLUMNS)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.axhline(0.0, color="0.4", linewidth=0.8, zorder=1)
    shown = spectrum[(spectrum["reason"] == "") & np.isfinite(spectrum["flux"].value)]
    is_doubtful = ~np.asarray(shown["good"])
    limits = flux_limits(shown, is_doubtful, channel_spectrum)
    if limits is None:
        axes.text(0.5, 0.5, "no measurement with a flux", transform=axes.transAxes, ha="center", va="center")
        return []
    axes.set_ylim(*limits)
    above = below = 0
    for detector, colour in zip(DETECTORS, _COLOURS, strict=True):
        here = np.asarray(shown["detector"]) == detector.id
        _draw_points(axes, shown[here & ~is_doubtful], colour, "o")
        _draw_points(axes, shown[here & is_doubtful], colour, "x")
        above += _draw_outside(axes, shown[here], colour, limits[1], 1)
        below += _draw_outside(axes, shown[here], colour, limits[0], -1)
        if channel_spectrum is not None:
            means = channel_spectrum[np.asarray(channel_spectrum["detector"]) == detector.id]
            _draw_channels(axes, means, colour, limits)
    signs = [
        (f"D{detector.id}", "o", colour, colour)
        for detector, colour in zip(DETECTORS, _COLOURS, strict=True)
        if detector.id in shown["detector"]
    ]
    signs += [("channel mean", "s", "black", "none")] * (channel_spectrum is not None)
    signs += [("not good", "x", "0.3", "none")] * bool(is_doubtful.any())
    signs += [(f"above the picture ({above})", _MARKERS[1], "0.3", "none")] * (above > 0)
    signs += [(f"below the picture ({below})", _MARKERS[-1], "0.3", "none")] * (below > 0)
    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, markerfacecolor=inside, label=label)
        for label, marker, colour, inside in signs
    ]


def flux_limits(
    shown: QTable, is_doubtful: NDArray[np.bool_], channel_spectrum: QTable | None = None
) -> tuple[float, float] | None:
    """Return the limits of the flux (uJy) in a plot.

    The limits contain the good measurements without the lowest and highest two
    per cent, and the significant means of several measurements: a single
    outlier does not change them, an emission line does.

    Parameters
    ----------
    shown
        Measurements with a flux.
    is_doubtful
        Which measurements are ignored, unless all are.
    channel_spectrum
        Means of the measurements.

    Returns
    -------
    limits
        `None` without measurements.
    """
    flux = shown["flux"].to_value("uJy")
    good = flux if is_doubtful.all() else flux[~is_doubtful]
    if not len(good):
        return None
    low, high = np.percentile(good, _CORE)
    reach = high - low
    core = good[(good >= low - reach) & (good <= high + reach)] if reach else good
    values = [core]
    if channel_spectrum is not None:
        mean, error = (channel_spectrum[name].to_value("uJy") for name in ("flux", "flux_error"))
        is_significant = (np.asarray(channel_spectrum["visits"]) > 1) & (np.abs(mean) > _SIGNIFICANT * error)
        values.append(mean[is_significant])
    low, high = np.min(np.concatenate(values)), np.max(np.concatenate(values))
    error = shown["flux_error"].to_value("uJy")
    error = error[np.isfinite(error)]
    typical = np.median(error) if len(error) else 0.0
    room = max(_MARGIN * (high - low), typical, 1e-3 * abs(high)) or 1.0
    return float(low - room), float(high + room)


def _draw_points(axes: Axes, rows: QTable, colour: str, marker: str) -> None:
    axes.errorbar(
        rows["wavelength"].to_value("um"),
        rows["flux"].to_value("uJy"),
        yerr=np.nan_to_num(rows["flux_error"].to_value("uJy"), nan=0.0, posinf=0.0),
        fmt=marker,
        color=colour,
        markersize=4 if marker == "o" else 6,
        elinewidth=0.7,
        alpha=0.5 if marker == "o" else 0.9,
        zorder=2,
    )


def _draw_outside(axes: Axes, rows: QTable, colour: str, limit: float, side: int) -> int:
    """Plot triangles for the fluxes above (side 1) or below (side -1) a limit; return their number."""
    flux, wavelength = rows["flux"].to_value("uJy"), rows["wavelength"].to_value("um")
    is_outside = side * (flux - limit) > 0
    number = int(np.count_nonzero(is_outside))
    low, high = axes.get_ylim()
    heights = np.full(number, limit - side * 0.015 * (high - low))
    axes.scatter(
        wavelength[is_outside], heights, marker=_MARKERS[side], s=28, facecolor="none", edgecolor=colour, zorder=4
    )
    return number


def _draw_channels(axes: Axes, means: QTable, colour: str, limits: tuple[float, float]) -> None:
    flux = means["flux"].to_value("uJy")
    # A line to a mean outside of the limits would cross the plot.
    flux = np.where((flux >= limits[0]) & (flux <= limits[1]), flux, np.nan)
    axes.errorbar(
        means["wavelength"].to_value("um"),
        flux,
        yerr=means["flux_error"].to_value("uJy"),
        fmt="s-",
        color=colour,
        ecolor="black",
        markerfacecolor="none",
        markeredgecolor="black",
        markersize=7,
        linewidth=1.4,
        elinewidth=1.0,
        zorder=3,
    )
