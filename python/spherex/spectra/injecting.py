"""Injection of sources of known flux into an image, and the comparison of measured with injected fluxes.

`inject_sources` adds light, its photon noise and its variance to a copy of an
image. The place, the PSF and the solid angle of a target are those of
`measure_targets`, so that a measurement should return the flux.
`compare_with_truth` does the statistics of many such measurements.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.units import UnitConversionError, uJy

from spherex.errors import CatalogError, ProductError
from spherex.image import FlagPlane, SPHERExImage, frame_origin

from .diagnostics import robust_statistics
from .inputs import Calibrations, id_of
from .measuring import MICROJANSKY, NO_GAIN, brightness_factor, gains_in, locate_targets, solid_angles
from .placing import place_targets
from .sources import catalog_of, identity_of, image_source
from .tables import COLUMNS, SpectrumColumn, make_plain_table, make_table, unmasked

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import QTable, Table
    from numpy.typing import NDArray

    from spherex.photometry import Profiles


_TILE = 256
"""Side of the parts of an image with their own slope of the variance (pixels)."""

_LEAST_PAIRS = 200
"""Number of pairs of pixels for a slope: in simulated images it is then known to 3 %."""

_MOST_WEIGHT = 10.0
"""Largest weight of a pair of pixels, in units of the median."""

_MEASURED = {column.name: column for column in COLUMNS}

TRUTH_COLUMNS = (
    _MEASURED["target"],
    SpectrumColumn("flux", float, "phot.flux.density;em.IR", "Flux density that was injected", "uJy"),
    _MEASURED["x"],
    _MEASURED["y"],
    SpectrumColumn("fraction", float, "stat.value;arith.ratio", "Fraction of the PSF on the image"),
    SpectrumColumn(
        "photon_slope", float, "stat.variance;arith.ratio", "Growth of the variance with the brightness", "MJy/sr"
    ),
    *(
        _MEASURED[name]
        for name in (
            "detector",
            "exposure",
            "solid_angle",
            "solid_angle_source",
            "solid_angle_id",
            "gain_correction",
            "flux_correction_id",
            "psf_source",
            "psf_id",
            "image_id",
            "image_run",
            "catalog_id",
        )
    ),
    SpectrumColumn("reason", str, "meta.note", "Why nothing was injected; empty if there is a source"),
)
"""The columns of ``injected_truth``, in their order."""

RECOVERY_COLUMNS = (
    _MEASURED["detector"],
    SpectrumColumn("flux_low", float, "phot.flux.density;stat.min", "Lower end of the bin of injected fluxes", "uJy"),
    SpectrumColumn("flux_high", float, "phot.flux.density;stat.max", "Upper end of this bin", "uJy"),
    SpectrumColumn("injected", int, "meta.number", "Number of injected sources"),
    SpectrumColumn(
        "recovered", int, "meta.number", "Number of sources with good measurements with and without the injection"
    ),
    SpectrumColumn("bias", float, "stat.error.sys;phot.flux.density", "Median of recovered minus injected flux", "uJy"),
    SpectrumColumn("bias_percent", float, "stat.error.sys", "Median of the same over the injected flux", "%"),
    SpectrumColumn("bias_percent_error", float, "stat.error", "Standard deviation of this median", "%"),
    SpectrumColumn("bias_sigma", float, "stat.error.sys", "Median of recovered minus injected flux over flux_error"),
    SpectrumColumn("bias_sigma_error", float, "stat.error", "Standard deviation of this median"),
    SpectrumColumn("empty", int, "meta.number", "Number of these sources at places without a star"),
    SpectrumColumn(
        "pull_width",
        float,
        "stat.stdev;arith.ratio",
        "Robust standard deviation of measured minus injected flux over flux_error at empty places",
    ),
    SpectrumColumn("pull_width_error", float, "stat.error", "Standard deviation of this width"),
)
"""The columns of ``injection_recovery``, in their order."""


@dataclasses.dataclass(frozen=True)
class InjectSettings:
    """Settings of an injection.

    Parameters
    ----------
    flux_column
        Column of the catalogue with the fluxes, in uJy if it has no unit;
        `None` to draw them.
    flux_range
        Limits between which fluxes are drawn (uJy), with equal numbers in equal
        intervals of the logarithm.
    seed
        Another number draws other fluxes and other noise.
    """

    flux_column: str | None = None
    flux_range: tuple[float, float] = (100.0, 100_000.0)
    seed: int = 0


def inject_sources(
    image: SPHERExImage,
    targets: Table | SkyCoord,
    image_ids: Mapping[str, Any] | None = None,
    calibrations: Calibrations | None = None,
    settings: InjectSettings | None = None,
) -> tuple[SPHERExImage, Table]:
    """Return a copy of an image with additional sources, and the truth about them.

    The added light in a pixel is f P / (23.50443 W g), with the flux f (uJy),
    the fraction P of the PSF in the pixel, the solid angle W (arcsec2) at the
    target and the gain correction g. The photon noise is Gaussian; its variance
    is the added light times the `photon_slope` of the image around the target.
    VARIANCE increases by the slope times the light with its noise, because the
    archive's VARIANCE follows the measured rate. Flags do not change.

    The random numbers of a target follow from exposure, detector, the name of
    the target and the seed alone, with the same version of numpy.

    Parameters
    ----------
    image
        The image, which is not changed.
    targets
        Positions, or a catalogue; see `measure_targets`.
    image_ids
        Values of the columns that identify the image; see `measure_targets`.
    calibrations
        Calibrations of solid angles, PSF and gains; by default none.
    settings
        Settings of the injection.

    Returns
    -------
    image
        The image with the sources. Its HISTORY lists their number, and the
        calibrations.
    truth
        With the columns of `TRUTH_COLUMNS`, a row for each target on the image,
        by name. Light of targets beside the image is added, too, but they have
        no rows.

    Raises
    ------
    spherex.errors.ProductError
        If the image has no variance, PSF, WCS, time or unit, or if its variance
        does not grow with the brightness.
    spherex.errors.CatalogError
        If the catalogue has no column of this name, or if it is not a flux density.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> from spherex.spectra import inject_sources
    >>> image = spherex.read("image.fits")
    >>> places = SkyCoord([310.10, 310.08], [40.16, 40.15], unit="deg")
    >>> injected, truth = inject_sources(image, places)
    >>> len(truth), truth["flux"].unit
    (2, Unit("uJy"))
    >>> measured = spherex.measure_targets(injected, places)
    """
    calibrations, settings = calibrations or Calibrations(), settings or InjectSettings()
    if image.variance is None:
        raise ProductError(
            "the image has no variance, from which the photon noise of sources is found; use an image with VARIANCE"
        )
    catalog = catalog_of(targets)
    names = np.asarray(catalog["name"], dtype=str)
    with image_source(image) as source:
        header = source.header()
        profiles, psf_source, psf_id = calibrations.psf_of(source)
    ids = identity_of(header) if image_ids is None else image_ids
    wcs, _, sky = locate_targets(header, catalog)
    placed = place_targets(wcs, sky, image.shape, profiles.side / 2)
    # Sums of floating point numbers depend on their order, which is not to be that of the catalogue.
    order = np.argsort(names[placed.index], kind="stable")
    index, x, y = placed.index[order], placed.x[order], placed.y[order]
    is_on_image = placed.is_on_image[order]
    streams = [_random_numbers(ids, names[row], settings.seed) for row in index]
    # Fluxes are drawn even if they are not used, so that the noise is the same.
    drawn = np.exp([stream.uniform(*np.log(settings.flux_range)) for stream in streams])
    flux = drawn if settings.flux_column is None else _fluxes_in(catalog, settings.flux_column)[index]
    has_flux = np.isfinite(flux) & (flux > 0)
    reason = np.where(has_flux, "", f"no positive flux in column {settings.flux_column}").astype(object)

    x0, y0 = (round(corner) for corner in frame_origin(header))
    # A pixel of the frame has the calibrations of a target beside it.
    column = np.clip(np.rint(x).astype(int), 0, image.shape[1] - 1) + x0
    row = np.clip(np.rint(y).astype(int), 0, image.shape[0] - 1) + y0
    angles = calibrations.solid_angles
    angle, angle_source = solid_angles(header, wcs, len(index), None if angles is None else angles.value[row, column])
    gains = calibrations.gains_of(image.version)
    gain = np.ones(len(index))
    if gains is not None:
        gain = gains_in(gains.value, image.bbox)[row - y0, column - x0]
        reason[has_flux & np.isnan(gain)] = NO_GAIN
        has_flux &= np.isfinite(gain)
    # From uJy to the sum over pixels in the unit of the image.
    light = flux / (angle * MICROJANSKY * gain * brightness_factor(image))
    slope = _slopes_at(image.data, image.variance, x, y)
    data, variance, fraction = _draw(
        image.shape, x + x0, y + y0, (x0, y0), np.where(has_flux, light, 0.0), slope, profiles, streams
    )
    injected = SPHERExImage(
        image,
        variance=(image.variance + variance).astype(image.variance.dtype),
        header=image.header.copy(),
        mask=None if image.mask is None else image.mask.copy(),
        flags=None if image.flag_plane is None else FlagPlane(image.flag_plane.array.copy(), image.flag_table),
    )
    injected.data = (image.data + data).astype(image.data.dtype)
    used = {"solid_angles": id_of(angles), "psf": psf_id, "gains": id_of(gains)}
    injected.header.add_history(f"Injected {int(has_flux.sum())} sources, spherex inject_sources, seed {settings.seed}")
    for name, calibration_id in used.items():
        # Not in the form of the archive's own references: those name the PSF in the file.
        if calibration_id:
            injected.header.add_history(f"Injected with {name} {calibration_id}")
    values = {
        "target": names[index],
        "flux": flux,
        "x": x + x0,
        "y": y + y0,
        "fraction": fraction,
        "photon_slope": slope * brightness_factor(image),
        "solid_angle": angle,
        "solid_angle_source": angle_source,
        "gain_correction": gain,
        "psf_source": np.full(len(index), psf_source, object),
        "reason": reason,
    }
    rows = np.flatnonzero(is_on_image)
    texts = {
        "solid_angle_id": id_of(angles),
        "psf_id": psf_id,
        "flux_correction_id": id_of(gains),
        **{name: value for name, value in ids.items() if name in _TRUTH_NAMES},
    }
    truth = make_plain_table(
        {**{name: value[rows] for name, value in values.items()}, **texts}, len(rows), TRUTH_COLUMNS
    )
    return injected, truth


_TRUTH_NAMES = {column.name for column in TRUTH_COLUMNS}


def _random_numbers(image_ids: Mapping[str, Any], target: str, seed: int) -> np.random.Generator:
    """Return the source of the random numbers of a target in an image."""
    text = "\n".join(str(part) for part in (seed, image_ids.get("exposure"), image_ids.get("detector"), target))
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


def _fluxes_in(catalog: Table, name: str) -> NDArray[np.float64]:
    """Return the fluxes of a catalogue (uJy), NaN where there is none."""
    if name not in catalog.colnames:
        raise CatalogError(f"the catalogue has no column {name} of fluxes; it has {', '.join(catalog.colnames)}")
    column = catalog[name]
    try:
        factor = 1.0 if column.unit is None else float(column.unit.to(uJy))
        values: NDArray[np.float64] = np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan) * factor
    except (AttributeError, TypeError, ValueError, UnitConversionError):
        raise CatalogError(
            f"column {name} of the catalogue ({column.dtype}, unit {column.unit}) is not a flux density; expected "
            "numbers in a unit such as uJy"
        ) from None
    return values


def photon_slope(data: NDArray[np.floating], variance: NDArray[np.floating]) -> float:
    """Return the growth of the variance with the brightness.

    The archive's variance is a straight line of the measured rate of the pixel,
    above the noise of reading and of the dark current. This noise differs from
    pixel to pixel, but little between neighbours. So the slope is that of
    variance over brightness from pixel to pixel along rows and columns: the
    median of the slopes of all pairs, with the difference of brightness as the
    weight, which is the line through 0 of least absolute residuals.

    Parameters
    ----------
    data, variance
        The pixels, shape (rows, columns).

    Returns
    -------
    slope
        In the unit of the image; NaN with too few pairs of pixels.
    """
    is_good = np.isfinite(data) & np.isfinite(variance) & (variance > 0)
    x, y = (np.where(is_good, plane, np.nan).astype(np.float64) for plane in (data, variance))
    dx, dy = (np.concatenate([np.diff(plane, axis=axis).ravel() for axis in (0, 1)]) for plane in (x, y))
    usable = np.isfinite(dx) & (dx != 0)
    dx, dy = dx[usable], dy[usable]
    if len(dx) < _LEAST_PAIRS:
        return math.nan
    # Without a limit, the pixels of a few saturated stars would outweigh all others.
    weights = np.minimum(np.abs(dx), _MOST_WEIGHT * np.median(np.abs(dx)))
    slopes = dy / dx
    order = np.argsort(slopes)
    total = np.cumsum(weights[order])
    return float(slopes[order][np.searchsorted(total, total[-1] / 2)])


def _slopes_at(
    data: NDArray[np.floating], variance: NDArray[np.floating], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the slopes of the variance around positions; that of the whole image where a part has none."""
    edges = [np.linspace(0, size, max(round(size / _TILE), 1) + 1).round().astype(int) for size in data.shape]
    places = [
        np.clip(np.searchsorted(limits, position, side="right") - 1, 0, len(limits) - 2)
        for limits, position in zip(edges, (y, x), strict=True)
    ]
    slopes = np.full(len(x), np.nan)
    for row, column in set(zip(*(place.tolist() for place in places), strict=True)):
        tile = slice(*edges[0][row : row + 2]), slice(*edges[1][column : column + 2])
        inside = (places[0] == row) & (places[1] == column)
        slopes[inside] = photon_slope(data[tile], variance[tile])
    unknown = ~(slopes > 0)
    if unknown.any():
        slopes[unknown] = whole = photon_slope(data, variance)
        if not whole > 0:
            raise ProductError(
                "the photon noise of sources is not known: the variance of the image "
                + ("has too few positive values" if math.isnan(whole) else "does not grow with its brightness")
                + "; use an image with the VARIANCE of the archive"
            )
    return slopes


def _draw(
    shape: tuple[int, int],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    origin: tuple[int, int],
    light: NDArray[np.float64],
    slopes: NDArray[np.float64],
    profiles: Profiles,
    streams: Sequence[np.random.Generator],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the light and the variance that sources add to each pixel, and the fraction of each on the image."""
    data, variance = np.zeros(shape), np.zeros(shape)
    half = profiles.side // 2
    left, bottom = (np.rint(position).astype(np.int64) - half for position in (x, y))
    fractions = profiles.at(x, y, left, bottom)
    inside = np.zeros(len(x))
    for source, stream in enumerate(streams):
        mean = light[source] * fractions[source]
        # Splines through a PSF overshoot, and a negative light has no photons. The
        # noise of a pixel does not depend on where the image ends.
        noise = stream.standard_normal(mean.shape) * np.sqrt(slopes[source] * np.maximum(mean, 0))
        row, column = bottom[source] - origin[1], left[source] - origin[0]
        rows, columns = (
            slice(max(first, 0), min(first + profiles.side, size))
            for first, size in zip((row, column), shape, strict=True)
        )
        part = slice(rows.start - row, rows.stop - row), slice(columns.start - column, columns.stop - column)
        data[rows, columns] += (mean + noise)[part]
        variance[rows, columns] += slopes[source] * (mean + noise)[part]
        inside[source] = fractions[source][part].sum()
    return data, variance, inside


def compare_with_truth(
    truth: Table, injected: Table, original: Table, bins_per_decade: int = 2, most_original: float = 5.0
) -> QTable:
    """Compare measured with injected fluxes, for each detector and bin of flux.

    The recovered flux is that in the injected image minus that at the same
    place in the original: stars and noise that are in both do not matter. Its
    median difference from the injected flux is the bias. For the width of the
    pulls the noise of the original must count. So the width is that of the flux
    in the injected image alone, at places where the original has no star.

    Parameters
    ----------
    truth
        Rows of ``injected_truth`` of any number of images.
    injected, original
        Measurements of the images with and without the sources.
    bins_per_decade
        Number of bins in a factor of ten of the injected flux.
    most_original
        Flux in the original over its error, below which a place has no star.

    Returns
    -------
    recovery
        With the columns of `RECOVERY_COLUMNS`, a row for each bin with a source.

    Raises
    ------
    ValueError
        If a table has a target twice in an image.
    """
    truth, injected, original = unmasked(truth, TRUTH_COLUMNS), unmasked(injected), unmasked(original)
    truth = truth[truth["reason"] == ""]
    keys = [_keys_of(table) for table in (truth, injected, original)]
    values = []
    for table, own in zip((injected, original), keys[1:], strict=True):
        place = {key: row for row, key in enumerate(own)}
        found = np.array([place.get(key, -1) for key in keys[0]], np.int64)
        columns = [np.append(table[name].value, np.nan)[found] for name in ("flux", "flux_error")]
        columns[0][~np.append(np.asarray(table["good"]), False)[found]] = np.nan
        values.append(columns)
    (flux, error), (flux_before, error_before) = values
    true = truth["flux"].value
    is_recovered = np.isfinite(flux) & np.isfinite(flux_before)
    is_empty = is_recovered & (np.abs(flux_before) < most_original * error_before)
    detector = np.asarray(truth["detector"])
    # Rounding keeps a flux at the edge of a bin, such as 1000, in the bin that begins there.
    bins = np.floor(np.round(np.log10(true) * bins_per_decade, 9)).astype(int)
    rows = []
    for number, step in sorted(set(zip(detector.tolist(), bins.tolist(), strict=True))):
        chosen = (detector == number) & (bins == step)
        recovered, empty = chosen & is_recovered, chosen & is_empty
        apart = (flux - flux_before - true)[recovered]
        percent, percent_error, _, _ = robust_statistics(100 * apart / true[recovered])
        sigma, sigma_error, _, _ = robust_statistics(apart / error[recovered])
        _, _, width, width_error = robust_statistics(((flux - true) / error)[empty])
        rows.append(
            {
                "detector": number,
                "flux_low": 10 ** (step / bins_per_decade),
                "flux_high": 10 ** ((step + 1) / bins_per_decade),
                "injected": int(chosen.sum()),
                "recovered": int(recovered.sum()),
                "bias": robust_statistics(apart)[0],
                "bias_percent": percent,
                "bias_percent_error": percent_error,
                "bias_sigma": sigma,
                "bias_sigma_error": sigma_error,
                "empty": int(empty.sum()),
                "pull_width": width,
                "pull_width_error": width_error,
            }
        )
    return make_table(
        {column.name: [row[column.name] for row in rows] for column in RECOVERY_COLUMNS},
        len(rows),
        {"bins_per_decade": bins_per_decade, "most_original": most_original},
        RECOVERY_COLUMNS,
    )


def _keys_of(table: QTable) -> list[tuple[int, int, str]]:
    columns = (table[name].tolist() for name in ("exposure", "detector", "target"))
    keys = list(zip(*columns, strict=True))
    if len(set(keys)) < len(keys):
        raise ValueError("A target has two rows of one exposure and detector; compare one run of measurements.")
    return keys
