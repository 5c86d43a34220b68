"""Measurement of all targets in one image."""

from __future__ import annotations

__all__ = ["failed_table", "measure_targets", "time_of"]

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..image import celestial_wcs
from ..targets.motion import positions_at
from ._rows import Rows
from .columns import make_table
from .inputs import Calibrations, MeasureSettings
from .placing import barycentric_time, place_targets, plan_windows

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import QTable, Table
    from astropy.time import Time
    from numpy.typing import NDArray

    from .inputs import ImageSource


def measure_targets(
    source: ImageSource,
    targets: Table,
    facts: Mapping[str, Any],
    calibrations: Calibrations | None = None,
    settings: MeasureSettings | None = None,
) -> QTable | None:
    """Measure all targets of a catalogue that are in an image.

    What is missing in the image costs the fluxes, for the reason that the
    rows tell, but not time, place, wavelength and brightness.

    Parameters
    ----------
    source
        The image.
    targets
        The catalogue: name, ra, dec, perhaps pmra, pmdec and ref_epoch.
    facts
        Values of columns that hold for all rows: what identifies the image.
    calibrations
        The calibrations that there are.
    settings
        How to measure.

    Returns
    -------
    table
        With the columns of `COLUMNS`, a row for each target on the image in
        the order of the catalogue; `None` if there is none.

    Raises
    ------
    ValueError
        If it is not known where and when the image was taken; the message
        says why. Another of `UNUSABLE` if its header cannot be read.
    """
    calibrations = calibrations or Calibrations()
    settings = settings or MeasureSettings()
    header = source.header()
    wcs = celestial_wcs(header)
    if wcs is None:
        raise ValueError("the image has no celestial coordinates")
    time = time_of(header)
    sky = positions_at(targets, time)
    shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
    placed = place_targets(wcs, sky, shape, settings.fluxes.side)
    rows = np.flatnonzero(placed.is_on_image)
    if not len(rows):
        return None
    found = Rows(source, header, placed, calibrations, settings)
    for window in plan_windows(placed.x[rows], placed.y[rows], shape, settings.fluxes.side // 2):
        found.measure(window, wcs)
    values = found.values
    chosen = placed.index[rows]
    values["target"] = np.asarray(targets["name"], dtype=str)[chosen]
    values["time"] = time.utc.mjd
    if settings.is_barycentric:
        values["time_barycentric"] = barycentric_time(time, sky[chosen])
    return make_table({**values, **facts}, len(rows))


def failed_table(names: NDArray[Any], facts: Mapping[str, Any], reason: str) -> QTable:
    """Return rows of targets in an image that could not be measured.

    Parameters
    ----------
    names
        Names of the targets.
    facts
        As of `measure_targets`.
    reason
        Why.
    """
    return make_table({**facts, "target": names, "reason": reason}, len(names))


def time_of(header: Header) -> Time:
    """Return the middle of an exposure.

    Raises
    ------
    ValueError
        If the header does not tell it.
    """
    from astropy.time import Time

    if "MJD-AVG" in header:
        return Time(float(header["MJD-AVG"]), format="mjd", scale="utc")
    if "MJD-BEG" in header and "MJD-END" in header:
        begin, end = (Time(float(header[name]), format="mjd", scale="utc") for name in ("MJD-BEG", "MJD-END"))
        return begin + (end - begin) / 2
    raise ValueError("the header has no time (MJD-AVG, or MJD-BEG and MJD-END)")
