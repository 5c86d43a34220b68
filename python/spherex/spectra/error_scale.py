"""Scale of the errors of fluxes, measured from repeated visits.

An error from the variance of the pixels lacks what the variance does not
contain: correlated noise, errors of the PSF, the flat field and the
background. Two visits of a target at one wavelength, in different passes,
differ by all of these. `measure_error_scale` finds such pairs in tables of
measurements, and `ErrorScale.apply` multiplies errors by the result.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spherex.errors import ProductError, UserError
from spherex.headers import has_old_gains

from .diagnostics import robust_statistics
from .tables import COLUMNS, SpectrumColumn, make_table, unmasked, values_of

if TYPE_CHECKING:
    from astropy.table import QTable, Table
    from numpy.typing import NDArray


_KINDS = {"flux": "", "aperture_flux": "aperture_"}
"""Fluxes with a scale, and the beginning of the names of its columns."""

SCALE_COLUMNS = (
    next(column for column in COLUMNS if column.name == "detector"),
    SpectrumColumn("snr_low", float, "stat.snr;stat.min", "Lower end of the bin of flux over flux_error"),
    SpectrumColumn("snr_high", float, "stat.snr;stat.max", "Upper end of this bin"),
    SpectrumColumn("pairs", int, "meta.number", "Number of pairs of visits in different passes"),
    SpectrumColumn("scale", float, "arith.factor", "Factor for flux_error; NaN with too few pairs"),
    SpectrumColumn("scale_error", float, "stat.error", "Standard deviation of this factor"),
    SpectrumColumn("offset", float, "stat.value;stat.median", "Median of later minus earlier flux over their error"),
    SpectrumColumn("aperture_pairs", int, "meta.number", "Number of pairs with aperture fluxes"),
    SpectrumColumn("aperture_scale", float, "arith.factor", "Factor for aperture_flux_error"),
    SpectrumColumn("aperture_scale_error", float, "stat.error", "Standard deviation of this factor"),
    SpectrumColumn("aperture_offset", float, "stat.value;stat.median", "The same median for aperture fluxes"),
)
"""The columns of ``error_scale``, in their order."""

PAIR_COLUMNS = (
    "target",
    "wavelength",
    "bandwidth",
    "flux",
    "flux_error",
    "aperture_flux",
    "aperture_flux_error",
    "good",
    "time",
    "detector",
    "exposure",
    "version",
    "flux_correction_id",
    "error_scale_id",
)
"""The columns of measurements that a scale needs."""

_COLUMNS = {column.name: column for column in COLUMNS}


@dataclasses.dataclass(frozen=True)
class PairSettings:
    """Choice of the pairs of visits.

    Parameters
    ----------
    apart
        Smallest time between visits in different passes (d).
    distance
        Largest difference of the wavelengths, in units of the bandwidth.
    edges
        Limits between the bins of flux over error, ascending.
    fewest
        Least number of pairs for a scale.
    """

    apart: float = 0.5
    distance: float = 0.15
    edges: tuple[float, ...] = (5.0, 20.0, 100.0)
    fewest: int = 100


def measure_error_scale(
    tables: Sequence[Table] | Mapping[str, Sequence[Table]], settings: PairSettings | None = None
) -> QTable:
    """Measure the scale of errors for each detector and bin of flux over error.

    With the fluxes f and errors e of the two visits of a pair, later and
    earlier, the scale is 1.4826 MAD of (f1 - f2) / hypot(e1, e2): outliers and
    variable targets, if these are few, do not matter. A measurement is in one
    pair at most, so that the pairs are independent. The bin of a pair is that
    of the weighted mean of its fluxes over its typical error, which does not
    depend on the difference of the fluxes.

    Parameters
    ----------
    tables
        Measurements in single images, as `measure_targets` returns them, or
        spectra; by name of the catalogue, if there are several.
    settings
        Choice of the pairs.

    Returns
    -------
    scale
        With the columns of `SCALE_COLUMNS`, a row for each bin of each detector
        in the measurements. The scale of a bin with too few pairs is NaN.

    Raises
    ------
    spherex.errors.UserError
        If errors of the measurements were scaled before.
    """
    settings = settings or PairSettings()
    by_catalog = tables if isinstance(tables, Mapping) else {"": tables}
    values = _joined(by_catalog)
    if (values["error_scale_id"] != "").any():
        raise UserError(
            "errors of these measurements were scaled before; measure the targets with scaleErrors=False, and the "
            "scale from these measurements"
        )
    is_good = values["good"] & (values["flux_error"] > 0) & np.isfinite(values["flux"])
    is_good &= np.isfinite(values["wavelength"]) & np.isfinite(values["time"]) & (values["bandwidth"] > 0)
    first, second = find_pairs({name: column[is_good] for name, column in values.items()}, settings)
    places = np.flatnonzero(is_good)
    first, second = places[first], places[second]
    detector = values["detector"][first]
    snr = _signal_to_noise(*(values[name][of] for of in (first, second) for name in ("flux", "flux_error")))
    limits = (-math.inf, *settings.edges, math.inf)
    rows: list[dict[str, Any]] = []
    for number, (low, high) in itertools.product(np.unique(values["detector"]).tolist(), itertools.pairwise(limits)):
        chosen = (detector == number) & (snr >= low) & (snr < high)
        row = {"detector": number, "snr_low": low, "snr_high": high}
        for kind, prefix in _KINDS.items():
            flux, error = (values[name] for name in (kind, f"{kind}_error"))
            before, after = first[chosen], second[chosen]
            pulls = (flux[after] - flux[before]) / np.hypot(error[after], error[before])
            pulls = pulls[np.isfinite(pulls)]
            statistics = robust_statistics(pulls) if len(pulls) >= settings.fewest else (math.nan,) * 4
            row[f"{prefix}pairs"] = len(pulls)
            row[f"{prefix}offset"], _, row[f"{prefix}scale"], row[f"{prefix}scale_error"] = statistics
        rows.append(row)
    meta = {
        "apart": settings.apart,
        "distance": settings.distance,
        "fewest": settings.fewest,
        "measurements": int(is_good.sum()),
    }
    columns = {column.name: [row[column.name] for row in rows] for column in SCALE_COLUMNS}
    return make_table(columns, len(rows), meta, SCALE_COLUMNS)


def _joined(tables: Mapping[str, Sequence[Table]]) -> dict[str, NDArray[Any]]:
    """Return the columns of all tables, with a number for each target in place of its name."""
    every = [(catalog, table) for catalog, of_catalog in tables.items() for table in of_catalog]
    values: dict[str, NDArray[Any]] = {}
    for name in PAIR_COLUMNS:
        # Without tables a column is empty, and keeps its type.
        parts = [values_of(table, _COLUMNS[name]) for _, table in every]
        values[name] = np.concatenate([np.empty(0, _COLUMNS[name].dtype), *parts])
    catalogs = np.repeat([catalog for catalog, _ in every], [len(table) for _, table in every])
    _, of_catalog = np.unique(catalogs, return_inverse=True)
    _, of_name = np.unique(values["target"].astype(str), return_inverse=True)
    values["target"] = of_catalog.ravel() * (of_name.max(initial=0) + 1) + of_name.ravel()
    return values


def find_pairs(values: Mapping[str, NDArray[Any]], settings: PairSettings) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return pairs of visits in different passes; each visit is in one pair at most.

    Parameters
    ----------
    values
        Columns of the measurements: ``target``, ``detector``, ``exposure`` and
        ``version``; ``wavelength`` and ``bandwidth`` in the same unit, ``time``
        (d), and ``flux_correction_id``.
    settings
        Choice of the pairs.

    Returns
    -------
    earlier, later
        Rows of the visits.
    """
    # Gains before and after version 7 differ by more than the errors.
    versions, of_version = np.unique(values["version"].astype(str), return_inverse=True)
    is_old = np.array([has_old_gains(version or None) for version in versions], bool)[of_version.ravel()]
    gains = 2 * is_old + (values["flux_correction_id"] != "")
    groups = np.stack([values["target"], values["detector"], gains])
    _, group = np.unique(groups, axis=1, return_inverse=True)
    order = np.lexsort([values["exposure"], values["time"], values["wavelength"], group.ravel()])
    groups_, waves, times = (column[order].tolist() for column in (group.ravel(), values["wavelength"], values["time"]))
    reach = (settings.distance * values["bandwidth"])[order].tolist()
    is_free = [True] * len(order)
    pairs: list[tuple[int, int]] = []
    for place, of in enumerate(groups_):
        if not is_free[place]:
            continue
        for other in range(place + 1, len(order)):
            if groups_[other] != of or waves[other] - waves[place] >= reach[place]:
                break
            if is_free[other] and abs(times[other] - times[place]) > settings.apart:
                is_free[place] = is_free[other] = False
                pairs.append((place, other) if times[place] < times[other] else (other, place))
                break
    earlier, later = np.array(pairs, np.intp).reshape(-1, 2).T
    return order[earlier], order[later]


def _signal_to_noise(
    flux: NDArray[np.float64], error: NDArray[np.float64], other: NDArray[np.float64], other_error: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted means of two fluxes over the mean error of one.

    The weighted mean is independent of the difference. So the noise does not
    select pairs with large or small differences into a bin.
    """
    weight, other_weight = error**-2, other_error**-2
    mean = (weight * flux + other_weight * other) / (weight + other_weight)
    return mean * math.sqrt(2) / np.hypot(error, other_error)


class ErrorScale:
    """Scale of the errors of one or more detectors.

    Parameters
    ----------
    table
        The calibration ``error_scale``, with the columns of `SCALE_COLUMNS`.

    Raises
    ------
    spherex.errors.ProductError
        If a column is missing, or a scale is not positive.
    """

    def __init__(self, table: Table) -> None:
        if missing := [column.name for column in SCALE_COLUMNS if column.name not in table.colnames]:
            raise ProductError(f"the calibration error_scale has no column {', '.join(missing)}")
        self._table = unmasked(table, SCALE_COLUMNS)
        for prefix in _KINDS.values():
            scale = np.asarray(self._table[f"{prefix}scale"])
            # NaN marks a bin without a scale.
            if (scale <= 0).any() or np.isinf(scale).any():
                raise ProductError(f"the calibration error_scale has a {prefix}scale that is not positive and finite")

    def apply(self, values: dict[str, Any], detector: int, id_: str) -> None:
        """Multiply the errors of measurements.

        Without a scale for its detector and flux over error, a measurement keeps
        its error, and ``error_scale`` is NaN; ``error_scale_id`` stays empty if
        neither of its two errors was scaled.

        Parameters
        ----------
        values
            Columns of the measurements. The errors are changed in place;
            ``error_scale``, ``aperture_error_scale`` and ``error_scale_id`` are
            added.
        detector
            Number of the detector.
        id_
            UUID of the calibration.
        """
        snr = np.asarray(values["flux"]) / values["flux_error"]
        has_scale = np.zeros(len(snr), bool)
        rows = self._table[np.asarray(self._table["detector"]) == detector]
        for kind, prefix in _KINDS.items():
            scale = np.full(len(snr), np.nan)
            for row in rows:
                scale[(snr >= row["snr_low"]) & (snr < row["snr_high"])] = row[f"{prefix}scale"]
            values[f"{kind}_error"] = np.where(np.isfinite(scale), scale, 1.0) * values[f"{kind}_error"]
            values[f"{prefix}error_scale"] = scale
            has_scale |= np.isfinite(scale)
        values["error_scale_id"] = np.where(has_scale, id_, "")
