"""Spectrum of one target: the join of its measurements in single images, with its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import QTable

from spherex.errors import UserError, listed

from .channels import combine_channels
from .diagnostics import diagnose_detectors
from .plot import plot_light_curve, plot_spectrum
from .tables import COLUMNS, DIAGNOSTICS, FAILED, UNPLACED, make_table, values_of

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .channels import Channels


class Spectrum(QTable):
    """Measurements of one target, a row for each image, as `gather_spectrum` returns them.

    A table of astropy in all respects, with pictures. Parts such as
    ``spectrum[spectrum["good"]]`` and ``Spectrum.read("file.ecsv")`` are
    spectra, too.

    Examples
    --------
    >>> import spherex
    >>> from matplotlib import pyplot
    >>> spectrum = spherex.get_spectrum("DATA", "mine", "warm", collections="spectra")  # doctest: +SKIP
    >>> figure, (above, below) = pyplot.subplots(2)  # doctest: +SKIP
    >>> spectrum.plot(above, upper_limits=3)  # doctest: +SKIP
    >>> spectrum.plot_light_curve(below)  # doctest: +SKIP
    """

    def channels(self, channels: Channels | None = None) -> QTable:
        """Average the measurements of each channel, see `combine_channels`.

        Parameters
        ----------
        channels
            Channels; by default those of `design_channels`.
        """
        return combine_channels(self, channels)

    def plot(
        self,
        axes: Axes | None = None,
        channels: Channels | bool = True,
        flux_axis: str = "flux",
        upper_limits: float | None = None,
        title: str | None = None,
    ) -> Axes:
        """Draw flux against wavelength, with labels and a legend.

        `plot_spectrum` describes the signs, and makes a figure with a second
        panel, of the differences from the means.

        Parameters
        ----------
        axes
            Axes; by default the current ones of `matplotlib.pyplot`.
        channels
            Whether to draw the means of channels, too; or the channels.
        flux_axis, upper_limits
            See `plot_spectrum`.
        title
            Title; by default the name of the target.

        Returns
        -------
        axes
            The axes.
        """
        axes = _given_or_current(axes)
        means = None if channels is False else self.channels(None if channels is True else channels)
        plot_spectrum(self, means, title, flux_axis, upper_limits, axes=axes)
        return axes

    def plot_light_curve(
        self, axes: Axes | None = None, channels: Channels | None = None, title: str | None = None
    ) -> Axes:
        """Draw relative brightness against time, see `spherex.spectra.plot_light_curve`.

        Parameters
        ----------
        axes
            Axes; by default the current ones of `matplotlib.pyplot`.
        channels
            Channels; by default those of `design_channels`.
        title
            Title; by default the name of the target.

        Returns
        -------
        axes
            The axes.

        Raises
        ------
        UserError
            If no channel has several visits and a flux of at least 5 errors.
        """
        means = self.channels(channels)
        axes = _given_or_current(axes)
        plot_light_curve(self, means, title, channels, axes=axes)
        return axes


def _given_or_current(axes: Axes | None) -> Axes:
    if axes is not None:
        return axes
    from matplotlib import pyplot

    return pyplot.gca()


_UNPLACED_COLUMNS = ("exposure", "detector", "obsid", "image_id", "image_run", "reason")

_ORDER = ("image_id", "exposure", "detector", "wavelength")
"""Columns that sort the rows, the last one first. An image has one row, so that
the order does not depend on the order of the inputs.
"""


def gather_spectrum(tables: Sequence[Table | None], meta: Mapping[str, Any] | None = None) -> Spectrum:
    """Join the measurements of one target, sorted by wavelength.

    Failed measurements without a wavelength are in the metadata, under
    `UNPLACED`: readers such as specutils reject a spectral axis with NaN.

    Parameters
    ----------
    tables
        Rows of the target from the tables of single images, with the columns
        of `make_table`. Missing columns are blank. `None`, the result for an
        image without the target, is ignored.
    meta
        Further metadata of the spectrum.

    Returns
    -------
    spectrum
        A row for each image; metadata with the number of images and of
        failed measurements, and under `DIAGNOSTICS` what is known of each
        detector, with the names of `DetectorDiagnostics`.

    Raises
    ------
    spherex.errors.UserError
        If there are rows of several targets, or several rows of one exposure
        and detector.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> star = SkyCoord(310.1, 40.16, unit="deg")
    >>> found = spherex.find_images("REPO", star)
    >>> spectrum = spherex.gather_spectrum(
    ...     [spherex.measure_targets(uri, star) for uri in found.table["address"]]
    ... )
    >>> len(spectrum), spectrum["flux"].unit
    (4, Unit("uJy"))
    >>> axes = spectrum.plot(flux_axis="ab_magnitude")
    """
    tables = [table for table in tables if table is not None]
    values = {}
    for column in COLUMNS:
        # Without tables a column is empty, and keeps its type.
        blank: NDArray[Any] = np.empty(0, column.array_dtype)
        values[column.name] = np.concatenate([values_of(table, column) for table in tables] or [blank])
    _check_rows(values)
    length = len(values["wavelength"])
    has_failed = values["reason"] != ""
    # Before sums are made, whose last bits depend on the order.
    order = np.lexsort([values[name] for name in _ORDER])
    values = {name: column[order] for name, column in values.items()}
    is_placed = np.isfinite(values["wavelength"])
    unplaced = [{name: values[name][row].item() for name in _UNPLACED_COLUMNS} for row in np.flatnonzero(~is_placed)]
    found = [detector.known() for detector in diagnose_detectors(values)]
    counts = {"images": length, FAILED: int(np.count_nonzero(has_failed)), UNPLACED: unplaced, DIAGNOSTICS: found}
    placed = {name: column[is_placed] for name, column in values.items()}
    table = make_table(placed, int(np.count_nonzero(is_placed)), {**(meta or {}), **counts})
    return Spectrum(table, copy=False)


def _check_rows(values: Mapping[str, NDArray[Any]]) -> None:
    """Raise an error if rows are of several targets, or of one exposure and detector."""
    if len(targets := np.unique(values["target"])) > 1:
        raise UserError(
            f"the measurements are of {len(targets)} targets ({listed(targets.tolist())}); select "
            "the rows of one target for its spectrum"
        )
    is_known = values["exposure"] >= 0
    images = np.stack([values[name][is_known] for name in ("exposure", "detector")])
    unique, numbers = np.unique(images, axis=1, return_counts=True)
    if len(values["exposure"][is_known]) > len(numbers):
        exposure, detector = unique[:, numbers.argmax()].tolist()
        rows = (values["exposure"] == exposure) & (values["detector"] == detector)
        runs = ", ".join(sorted({run or "unknown" for run in values["image_run"][rows].tolist()}))
        raise UserError(
            f"exposure {exposure}, detector {detector} has {numbers.max()} measurements of {targets[0]} (runs of the "
            f"images: {runs}); measure one image of each exposure and detector: a mean would count its light twice"
        )
