"""Measurement of all targets in one image."""

from __future__ import annotations

__all__ = ["failed_table", "measure_targets", "time_of"]

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..fits.errors import ProductError
from ..image import celestial_wcs
from ..targets.motion import positions_at
from ._rows import Rows
from .columns import make_plain_table
from .inputs import Calibrations, MeasureSettings
from .placing import barycentric_time, place_targets, plan_windows

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import Table
    from astropy.time import Time
    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from .inputs import ImageSource

_REACH = 8.0
"""Pixels; the light of no source reaches farther: PSFs of the archive end 3 to 5 pixels away."""


def measure_targets(
    source: ImageSource,
    targets: Table,
    facts: Mapping[str, Any],
    calibrations: Calibrations | None = None,
    settings: MeasureSettings | None = None,
) -> Table | None:
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
    spherex.fits.ProductError
        If it is not known where and when the image was taken, or its header
        cannot be read; the message says why.
    """
    calibrations = calibrations or Calibrations()
    settings = settings or MeasureSettings()
    header = source.header()
    wcs = _wcs_of(header)
    time = time_of(header)
    sky = positions_at(targets, time)
    shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
    placed = place_targets(wcs, sky, shape, settings.fluxes.side / 2 + _REACH)
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
    return make_plain_table({**values, **facts}, len(rows))


def _wcs_of(header: Header) -> WCS:
    try:
        wcs = celestial_wcs(header)
    except ValueError as error:
        raise ProductError(f"the celestial coordinates of the image are wrong: {error}") from error
    if wcs is None:
        raise ProductError("the image has no celestial coordinates")
    return wcs


def failed_table(names: NDArray[Any], facts: Mapping[str, Any], reason: str) -> Table:
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
    return make_plain_table({**facts, "target": names, "reason": reason}, len(names))


def time_of(header: Header) -> Time:
    """Return the middle of an exposure.

    Raises
    ------
    spherex.fits.ProductError
        If the header does not tell it.
    """
    from astropy.time import Time

    for names in (("MJD-AVG",), ("MJD-BEG", "MJD-END")):
        if all(name in header for name in names):
            try:
                times = [Time(float(header[name]), format="mjd", scale="utc") for name in names]
            except (TypeError, ValueError) as error:
                raise ProductError(f"the header has no time in {' and '.join(names)}: {error}") from error
            return times[0] + (times[-1] - times[0]) / 2
    raise ProductError("the header has no time (MJD-AVG, or MJD-BEG and MJD-END)")
