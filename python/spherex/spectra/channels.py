"""Means of the measurements of a spectrum in the 102 channels of the mission."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from spherex.detectors import DETECTOR_IDS, DETECTORS, FRAME_SHAPE
from spherex.headers import has_old_gains

from .quality import UNKNOWN_QUALITY, is_good, quality_bits, quality_names
from .tables import COLUMNS, FAILED, UNPLACED, SpectrumColumn, make_table, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.io.fits import HDUList
    from astropy.table import QTable
    from numpy.typing import ArrayLike, NDArray


_CENTRES = (
    (0.753, 0.771, 0.79, 0.809, 0.828, 0.848, 0.868, 0.889, 0.91, 0.932, 0.955, 0.978, 1.001, 1.025, 1.05,
     1.075, 1.102),
    (1.113, 1.139, 1.167, 1.195, 1.224, 1.254, 1.284, 1.315, 1.346, 1.378, 1.412, 1.446, 1.481, 1.517, 1.554,
     1.592, 1.631),
    (1.656, 1.695, 1.735, 1.775, 1.818, 1.861, 1.905, 1.949, 1.995, 2.041, 2.089, 2.139, 2.189, 2.24, 2.292,
     2.345, 2.399),
    (2.445, 2.506, 2.575, 2.646, 2.719, 2.794, 2.871, 2.951, 3.033, 3.118, 3.204, 3.293, 3.383, 3.476, 3.57,
     3.667, 3.768),
    (3.827, 3.861, 3.895, 3.929, 3.964, 3.999, 4.034, 4.07, 4.106, 4.142, 4.178, 4.214, 4.251, 4.288, 4.325,
     4.362, 4.399),
    (4.429, 4.461, 4.494, 4.527, 4.56, 4.594, 4.629, 4.663, 4.698, 4.733, 4.767, 4.802, 4.837, 4.873, 4.909,
     4.945, 4.982),
)  # fmt: skip
"""Nominal wavelengths of the 17 channels of each detector (um): column WAVELENGTH of the product
spectral_channels of the archive, cal-sch-v1-2026-106 (SPHEREx SpectralBandDef 202601, revision 2/24).
"""

_LIMITS = (
    (0.743, 0.7615, 0.7805, 0.799, 0.818, 0.838, 0.858, 0.878, 0.899, 0.921, 0.943, 0.9655, 0.989, 1.013,
     1.0375, 1.0625, 1.088, 1.116),
    (1.099, 1.1255, 1.1525, 1.181, 1.2095, 1.239, 1.268, 1.299, 1.33, 1.3615, 1.3945, 1.428, 1.4625, 1.498,
     1.535, 1.5725, 1.6105, 1.651),
    (1.636, 1.6755, 1.7145, 1.755, 1.796, 1.839, 1.8825, 1.9265, 1.9715, 2.017, 2.0645, 2.113, 2.163, 2.2135,
     2.265, 2.3175, 2.371, 2.44),
    (2.422, 2.472, 2.54, 2.6095, 2.681, 2.755, 2.8315, 2.91, 2.99, 3.074, 3.1595, 3.247, 3.336, 3.428, 3.521,
     3.617, 3.715, 3.827),
    (3.808, 3.844, 3.8775, 3.9115, 3.9455, 3.9805, 4.016, 4.051, 4.087, 4.1225, 4.1585, 4.195, 4.2315, 4.268,
     4.3045, 4.342, 4.379, 4.42),
    (4.412, 4.445, 4.477, 4.51, 4.543, 4.577, 4.6105, 4.645, 4.68, 4.715, 4.7495, 4.784, 4.8185, 4.8535, 4.89,
     4.927, 4.963, 5.003),
)  # fmt: skip
"""Limits of these channels (um), from the columns WL_MIN and WL_MAX of the same product.

These columns are the extremes of the pixels of a channel. Neighbours overlap by 1 to 16 nm, because one
CHANNEL_MAP serves all detectors: the limit is the middle of the overlap. With the wavelengths of genuine
images these limits find the channel of CHANNEL_MAP in 95 to 98 % of the pixels of a frame.
"""

COMBINED_COLUMNS = (
    "target", "image_id", "exposure", "detector", "x", "y", "wavelength", "bandwidth", "flux", "flux_error", "chi2",
    "dof", "good", "quality", "flags", "flag_names", "version", "gain_correction", "flux_correction_id",
)  # fmt: skip
"""Columns of measurements from which `combine_rows` makes means."""

LIMIT_MARGIN = 0.09
"""Half of the overlap of two channels, as a fraction of the width of either; the largest one of the same product.

Closer to a limit CHANNEL_MAP may name the neighbour.
"""

_CHANCE = 0.05
"""Probability of chi2 below which the error of a mean follows the scatter of the visits."""
_CONTRADICTION = 1e-4
"""Probability of chi2 below which visits contradict each other."""
_CONTRADICTION_SHARE = 0.1
"""Least standard deviation of visits that contradict each other, as a fraction of their mean."""
_STEEP = 3.0
"""Least slope of a spectrum to be removed from the scatter, in standard deviations."""
_ONE_SIGMA = 0.8413447460685429
"""Probability of a normal variable below its mean plus one standard deviation."""

CHANNEL_COLUMNS = (
    SpectrumColumn("target", str, "meta.id;meta.main", "Name of the target in its catalogue"),
    SpectrumColumn(
        "wavelength", float, "em.wl;stat.mean", "Mean central wavelength, with the weights of the flux", "um"
    ),
    SpectrumColumn("bandwidth", float, "instr.bandwidth;stat.mean", "Mean bandwidth, with the same weights", "um"),
    SpectrumColumn("good", bool, "meta.code.qual", "Whether the flux is to be used, see the column quality"),
    SpectrumColumn("flux", float, "phot.flux.density;em.IR", "Mean flux density, weights 1 / variance", "uJy"),
    SpectrumColumn(
        "flux_error",
        float,
        "stat.error;phot.flux.density;em.IR",
        "Standard deviation of the flux density: the formal one, or a larger one from the scatter",
        "uJy",
    ),
    SpectrumColumn(
        "flux_error_formal",
        float,
        "stat.error;phot.flux.density;em.IR",
        "Standard deviation of the flux density from those of the measurements alone",
        "uJy",
    ),
    SpectrumColumn("visits", int, "meta.number;obs", "Number of measurements that were averaged"),
    SpectrumColumn("chi2", float, "stat.fit.chi2", "Sum of squares of their weighted differences from mean and slope"),
    SpectrumColumn("dof", int, "stat.fit.dof", "Degrees of freedom: visits - 1"),
    SpectrumColumn(
        "fit_chi2", float, "stat.fit.chi2;stat.median", "Median of chi2 / dof of the fits of these measurements"
    ),
    SpectrumColumn("wavelength_spread", float, "stat.stdev;em.wl", "Standard deviation of the wavelengths", "um"),
    SpectrumColumn(
        "slope",
        float,
        "stat.fit.param;phot.flux.density;em.IR",
        "Slope of the flux density between the neighbouring channels, 0 where it is not significant",
        "uJy um-1",
    ),
    SpectrumColumn("flags", int, "meta.code.qual", "Flags of the measurements, joined by OR; bits as in the images"),
    SpectrumColumn("flag_names", str, "meta.code.qual", "Names of these flags, separated by blanks"),
    SpectrumColumn(
        "quality",
        np.int32,
        "meta.code.qual",
        "What may be wrong, as bits (doc/quality.md), of the measurements, joined by OR, and of their mean",
        missing=UNKNOWN_QUALITY,
    ),
    SpectrumColumn("quality_names", str, "meta.code.qual", "Names of these bits, separated by blanks"),
    SpectrumColumn("left_out", int, "meta.number", "Number of measurements that are not good"),
    SpectrumColumn(
        "left_out_older",
        int,
        "meta.number",
        "Number of measurements with uncorrected older gains, left out because there are newer ones",
    ),
    SpectrumColumn("version", str, "meta.version;meta.software", "VERSION of the images, separated by blanks"),
    SpectrumColumn("detector", int, "meta.id;instr.det", "Number of the detector"),
    SpectrumColumn("channel", int, "meta.id;instr.param", "Number of the channel in its detector, from 1"),
    SpectrumColumn("channel_wavelength", float, "em.wl;instr.param", "Nominal wavelength of the channel", "um"),
)
"""The columns of ``channel_spectrum``, in their order."""


@dataclasses.dataclass(frozen=True)
class Channels:
    """Channels of all detectors.

    Parameters
    ----------
    detector, number, wavelength
        Detector, number in the detector from 1, and nominal wavelength (um)
        of each channel, shape (n,).
    source
        Origin of the channels, for the metadata of spectra.
    pixels
        Number of the channel of each pixel of the frame, the same for all
        detectors, shape (rows, columns).
    limits
        First and last wavelength of each channel (um), shape (n, 2), which
        find the channels of measurements if there are no ``pixels``.

    Raises
    ------
    ValueError
        If there are neither ``pixels`` nor ``limits``.
    """

    detector: NDArray[np.int64]
    number: NDArray[np.int64]
    wavelength: NDArray[np.float64]
    source: str
    pixels: NDArray[Any] | None = None
    limits: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.pixels is None and self.limits is None:
            raise ValueError(f"the channels of {self.source} need the argument pixels or limits")

    def of(self, detector: ArrayLike, wavelength: ArrayLike, x: ArrayLike, y: ArrayLike) -> NDArray[np.int64]:
        """Return the channels of measurements.

        Parameters
        ----------
        detector, wavelength, x, y
            Detectors, wavelengths (um) and positions in the whole frame
            (pixels, from 0), shape (m,).

        Returns
        -------
        index
            Indices of the channels, shape (m,); -1 at a pixel or a wavelength
            without channel, or for a detector without channels.
        """
        detector, wavelength = np.asarray(detector), np.asarray(wavelength, float)
        index = np.full(len(wavelength), -1)
        if self.pixels is not None:
            rows, columns = self.pixels.shape
            x, y = np.asarray(x, float), np.asarray(y, float)
            on_frame = (x >= -0.5) & (y >= -0.5) & (x < columns - 0.5) & (y < rows - 0.5)
            row, column = (np.floor(axis[on_frame] + 0.5).astype(int) for axis in (y, x))
            # Outside of the frame, and for NaN, there is no channel.
            number = np.full(len(x), -1)
            number[on_frame] = self.pixels[row, column]
            for place, own in enumerate(self.number):
                index[(number == own) & (detector == self.detector[place])] = place
        elif self.limits is not None:
            for place, (low, high) in enumerate(self.limits):
                index[(wavelength >= low) & (wavelength < high) & (detector == self.detector[place])] = place
        return index


def design_channels() -> Channels:
    """Return the channels of the mission's definition of 2026, by wavelength.

    A wavelength outside of the 17 channels of its detector is without channel,
    as the pixels 0 and 18 of the CHANNEL_MAP of the archive.
    """
    limits = np.array(_LIMITS)
    ids = [detector.id for detector in DETECTORS]
    return Channels(
        np.repeat(ids, limits.shape[1] - 1),
        np.tile(np.arange(1, limits.shape[1]), len(ids)),
        np.array(_CENTRES).ravel(),
        "limits of wavelength from spectral_channels cal-sch-v1-2026-106",
        limits=np.stack([limits[:, :-1].ravel(), limits[:, 1:].ravel()], axis=1),
    )


def read_channels(hdus: HDUList, source: str) -> Channels:
    """Return the channels in the product ``spectral_channels`` of the archive.

    Parameters
    ----------
    hdus
        The product: an image CHANNEL_MAP with the number of the channel of
        each pixel, and a table SPECTRAL_CHANNELS with the columns DETECTOR,
        SUBCHAN and WAVELENGTH (um), as read by its users (WenkeRen/spxquery,
        drizzle3d/spectral.py).
    source
        Name of the product.

    Raises
    ------
    ValueError
        If the product has another form, or numbers that cannot be right.
    """
    try:
        table, pixels = hdus["SPECTRAL_CHANNELS"].data, hdus["CHANNEL_MAP"].data
        columns = [np.asarray(table[name]) for name in ("DETECTOR", "SUBCHAN", "WAVELENGTH")]
    except KeyError as error:
        raise ValueError(f"{source} is not a table of channels: {error.args[0]}") from None
    if pixels is None or pixels.ndim != 2:
        raise ValueError(f"{source} is not a table of channels: its CHANNEL_MAP is not an image")
    if pixels.shape != FRAME_SHAPE:
        raise ValueError(f"{source} is not a table of channels: its CHANNEL_MAP has shape {pixels.shape}")
    detector, number, wavelength = columns
    if not (np.isfinite(pixels).all() and np.isfinite(wavelength).all() and (wavelength > 0).all()):
        raise ValueError(f"{source} cannot be used: it has channels or wavelengths that are not numbers")
    if len(np.unique(np.stack([detector, number]), axis=1).T) < len(number):
        raise ValueError(f"{source} cannot be used: it contains a channel of a detector twice")
    if unknown := set(detector.tolist()) - set(DETECTOR_IDS):
        raise ValueError(
            f"{source} cannot be used: it names detectors that do not exist: {', '.join(map(str, sorted(unknown)))}"
        )
    return Channels(detector.astype(np.int64), number.astype(np.int64), wavelength.astype(float), source, pixels)


def combine_channels(spectrum: QTable, channels: Channels | None = None) -> QTable:
    """Average the measurements of each channel.

    With the weights w = 1 / error^2, the mean is sum(w flux) / sum(w), at the
    mean wavelength with the same weights. Its formal error is
    1 / sqrt(sum(w)). With dof = visits - 1, chi2 is the sum of

        w (flux - mean - slope (wavelength - mean wavelength))^2

    because visits have different wavelengths in the channel, and the flux of a
    red star may change by 20 % from a channel to the next. The slope is that
    of the straight line through the means of the two neighbouring channels of
    the detector, or of the only one and this channel. It is 0 if these means
    are closer than half of the distance of the channels, if it makes chi2
    larger, or if it is below 3 standard deviations. The standard deviation
    contains the scatter of all measurements of these channels about the line,
    so that changes of a variable source do not pass for a slope.

    If chance makes chi2 that large in less than 5 % of all cases, the errors of
    the measurements do not explain their scatter: the error is the formal one
    times t sqrt(chi2 / dof), with the quantile t of Student's distribution for
    dof that makes a 68 % interval (1.84 for two visits, 1.32 for three). If the
    probability is below 0.0001, and the standard deviation of the visits above
    10 % of the mean, the visits contradict each other, and the mean is not good.

    Measurements that are not good are left out. Measurements of different
    detectors are never averaged. Measurements with old gains that were not
    corrected are left out of a channel that has measurements with new gains.

    Parameters
    ----------
    spectrum
        Measurements, as returned by `gather_spectrum`.
    channels
        Channels; by default those of `design_channels`.

    Returns
    -------
    channel_spectrum
        A row for each channel with a measurement, sorted by wavelength. If all
        measurements of a channel are left out, its flux is NaN, its wavelength
        the nominal one, and its quality that of what was left out.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> star = SkyCoord(310.1, 40.16, unit="deg")
    >>> spectrum = spherex.gather_spectrum([spherex.measure_targets("image.fits", star)])
    >>> channels = spherex.combine_channels(spectrum)
    >>> channels["detector", "channel", "visits"].pprint()
    detector channel visits
    -------- ------- ------
           1       1      1
    """
    channels = design_channels() if channels is None else channels
    values = {column.name: values_of(spectrum, column) for column in COLUMNS}
    means, without = combine_rows(values, channels)
    meta = {name: value for name, value in spectrum.meta.items() if name not in (FAILED, UNPLACED)}
    meta |= {
        "channels": channels.source,
        "left_out": int(means["left_out"].sum()),
        "left_out_older": int(means["left_out_older"].sum()),
        "without_channel": sum(without.values()),
    }
    return make_table(means, len(means["target"]), meta, CHANNEL_COLUMNS)


def combine_rows(
    values: Mapping[str, NDArray[Any]], channels: Channels
) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    """Average the measurements of each channel of each target, see `combine_channels`.

    Parameters
    ----------
    values
        The columns `COMBINED_COLUMNS` of the measurements, each of shape (n,), without masks.
    channels
        The channels.

    Returns
    -------
    means
        The columns `CHANNEL_COLUMNS`, sorted by target and wavelength.
    without
        Number of measurements without a channel, of targets that have any.
    """
    index = channels.of(values["detector"], values["wavelength"], values["x"], values["y"])
    targets, target = np.unique(values["target"], return_inverse=True)
    has_channel = index >= 0
    numbers = np.bincount(target[~has_channel], minlength=len(targets))
    without = {str(targets[number]): int(numbers[number]) for number in np.flatnonzero(numbers)}
    # A fixed order, so that the last bits of the sums do not depend on the order of the inputs.
    group = target * len(channels.number) + index
    ranks = np.unique(values["image_id"], return_inverse=True)[1]
    order = np.lexsort([values["wavelength"], ranks, values["exposure"], values["detector"], group])
    order = order[has_channel[order]]
    means = _means({name: column[order] for name, column in values.items()}, group[order], index[order], channels)
    order = np.lexsort([means["wavelength"], np.searchsorted(targets, means["target"])])
    return {name: means[name][order] for name in (column.name for column in CHANNEL_COLUMNS)}, without


def _means(
    rows: Mapping[str, NDArray[Any]], group: NDArray[np.int64], index: NDArray[np.int64], channels: Channels
) -> dict[str, NDArray[Any]]:
    """Return a row for each group; see `combine_channels` for the formulas.

    Parameters
    ----------
    rows
        Measurements, sorted by group.
    group
        Number of the group of each, one for each target and channel.
    index
        Channel of each.
    channels
        The channels.
    """
    from scipy.special import chdtrc, stdtrit

    first = np.flatnonzero(np.diff(group, prepend=-1))
    number = len(first)
    if not number:
        return {column.name: np.empty(0, column.array_dtype) for column in CHANNEL_COLUMNS}
    # Group of each row, from 0 without gaps.
    of_row = np.repeat(np.arange(number), np.diff(first, append=len(group)))
    flux, error, wavelength = (rows[name] for name in ("flux", "flux_error", "wavelength"))
    has_weight = is_usable(rows)
    is_old = has_older_gains(rows)
    has_new = np.logical_or.reduceat(has_weight & ~is_old, first)[of_row]
    is_older = has_weight & is_old & has_new
    used = has_weight & ~is_older

    def total(quantity: NDArray[Any]) -> NDArray[Any]:
        return np.add.reduceat(np.where(used, quantity, 0), first)

    with np.errstate(divide="ignore", invalid="ignore"):
        visits = total(np.ones(len(flux), np.int64))
        weight = error**-2
        weights = total(weight)
        mean, mean_wavelength = (total(weight * quantity) / weights for quantity in (flux, wavelength))
        dof = np.maximum(visits - 1, 0)
        formal = 1 / np.sqrt(weights)
        difference = flux - mean[of_row]
        distance = wavelength - mean_wavelength[of_row]
        moments = _Moments(
            visits,
            weights,
            mean,
            mean_wavelength,
            total(weight * difference**2),
            total(weight * difference * distance),
            total(weight * distance**2),
        )
        slope = moments.slopes(group[first], index[first], channels)
        sloped_chi2 = moments.chi2_about(slope)
        slope[sloped_chi2 > moments.chi2] = 0.0
        chi2 = np.minimum(moments.chi2, sloped_chi2)
        several = visits > 1
        ratio = np.where(several, np.sqrt(chi2 / dof), 1.0)
        probability = np.where(several, chdtrc(dof, chi2), 1.0)
        is_scattered = probability < _CHANCE
        student = np.where(is_scattered, stdtrit(dof, _ONE_SIGMA) * ratio, 1.0)
        deviation = formal * np.sqrt(visits) * ratio
        has_bandwidth = np.isfinite(rows["bandwidth"])
        middle = total(wavelength) / visits
        spread = np.sqrt(total((wavelength - middle[of_row]) ** 2) / visits)
        means = {
            "wavelength": mean_wavelength,
            "bandwidth": total(np.where(has_bandwidth, weight * rows["bandwidth"], 0.0))
            / total(weight * has_bandwidth),
            "flux": mean,
            "flux_error": formal * student,
            "flux_error_formal": formal,
            "chi2": chi2,
            "wavelength_spread": spread,
            "slope": slope,
        }
        fit_chi2 = np.where(rows["dof"] > 0, rows["chi2"] / rows["dof"], np.nan)
    empty = visits == 0
    nominal = channels.wavelength[index[first]]
    for name, column in means.items():
        column[empty] = nominal[empty] if name == "wavelength" else np.nan
    own = quality_bits(
        {
            "NO_FLUX": empty,
            "SCATTER": is_scattered,
            "VISITS_DISAGREE": (probability < _CONTRADICTION) & (deviation > _CONTRADICTION_SHARE * np.abs(mean)),
        },
        number,
    )
    # Where nothing is used, the quality is that of what was left out.
    joined = own | np.bitwise_or.reduceat(np.where(used | empty[of_row], rows["quality"], 0), first)
    return means | {
        "target": rows["target"][first],
        "good": is_good(own),
        "visits": visits,
        "dof": dof,
        "fit_chi2": _medians(fit_chi2, used & np.isfinite(fit_chi2), of_row, number),
        "flags": np.bitwise_or.reduceat(np.where(used, rows["flags"], 0), first),
        "flag_names": _joined(rows["flag_names"], used, of_row, number),
        "quality": joined.astype(np.int32),
        "quality_names": np.asarray(quality_names(joined)),
        "left_out": np.add.reduceat(~has_weight, first, dtype=np.int64),
        "left_out_older": np.add.reduceat(is_older, first, dtype=np.int64),
        "version": _joined(rows["version"], used, of_row, number),
        "detector": channels.detector[index[first]],
        "channel": channels.number[index[first]],
        "channel_wavelength": channels.wavelength[index[first]],
    }


@dataclasses.dataclass(frozen=True)
class _Moments:
    """Weighted moments of the measurements of each channel of each target.

    Parameters
    ----------
    visits, weights
        Number of measurements, and sum of their weights w.
    mean, wavelength
        Mean flux density and wavelength; NaN without a measurement.
    chi2, mixed, spread
        Sums of w df^2, w df dl and w dl^2, with the differences df and dl from
        these means.
    """

    visits: NDArray[np.int64]
    weights: NDArray[np.float64]
    mean: NDArray[np.float64]
    wavelength: NDArray[np.float64]
    chi2: NDArray[np.float64]
    mixed: NDArray[np.float64]
    spread: NDArray[np.float64]

    def chi2_about(self, slope: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return chi2 of each channel about a line of this slope (uJy/um) through its mean."""
        # The sum of w (df - slope dl)^2, without the negative zero of rounding.
        chi2: NDArray[np.float64] = np.maximum(self.chi2 - 2 * slope * self.mixed + slope**2 * self.spread, 0.0)
        return chi2

    def slopes(self, group: NDArray[np.int64], index: NDArray[np.int64], channels: Channels) -> NDArray[np.float64]:
        """Return the slope of the spectrum at each channel (uJy/um); see `combine_channels`.

        Parameters
        ----------
        group
            Number of each channel of each target, ascending.
        index
            Which of the channels it is.
        channels
            The channels.
        """
        place = np.arange(len(group))
        is_known = self.visits > 0
        # Between each channel and the following one.
        is_adjacent = (
            (np.diff(group) == 1)
            & (np.diff(channels.detector[index]) == 0)
            & (np.diff(channels.number[index]) == 1)
            & is_known[:-1]
            & is_known[1:]
        )
        before = place - np.append(False, is_adjacent)
        after = place + np.append(is_adjacent, False)
        distance = self.wavelength[after] - self.wavelength[before]
        nominal = channels.wavelength[index[after]] - channels.wavelength[index[before]]
        slope = (self.mean[after] - self.mean[before]) / distance
        # The scatter of all measurements of these channels about the line through the mean of this one: the slope of a
        # variable source is as uncertain as its visits differ.
        chi2, visits = self.chi2_about(slope), self.visits.copy()
        for neighbour in (before, after):
            offset = self.mean[neighbour] - self.mean - slope * (self.wavelength[neighbour] - self.wavelength)
            own = dataclasses.replace(self, **{name: getattr(self, name)[neighbour] for name in _MOMENTS})
            is_other = neighbour != place
            chi2 = chi2 + np.where(is_other, own.chi2_about(slope) + own.weights * offset**2, 0.0)
            visits += np.where(is_other, own.visits, 0)
        ratio = np.where(visits > 2, np.maximum(chi2 / np.maximum(visits - 2, 1), 1.0), 1.0)
        variance = ratio * (1 / self.weights[after] + 1 / self.weights[before])
        is_steep = (slope * distance) ** 2 > _STEEP**2 * variance
        # Visits close to the common limit of two channels say little of the slope between them.
        return np.where((nominal > 0) & (distance > nominal / 2) & is_steep, slope, 0.0)


_MOMENTS = tuple(field.name for field in dataclasses.fields(_Moments))


def _medians(
    values: NDArray[np.float64], used: NDArray[np.bool_], of_row: NDArray[np.int64], number: int
) -> NDArray[np.float64]:
    """Return the median of the values of each group, NaN without one."""
    values, of_row = values[used], of_row[used]
    values = values[np.lexsort([values, of_row])]
    counts = np.bincount(of_row, minlength=number)
    medians = np.full(number, np.nan)
    is_known = counts > 0
    first = (np.cumsum(counts) - counts)[is_known]
    counts = counts[is_known]
    medians[is_known] = (values[first + (counts - 1) // 2] + values[first + counts // 2]) / 2
    return medians


def _joined(
    texts: NDArray[np.str_], used: NDArray[np.bool_], of_row: NDArray[np.int64], number: int
) -> NDArray[np.str_]:
    """Return the words in the texts of each group, sorted and separated by blanks."""
    known, codes = np.unique(texts, return_inverse=True)
    words: list[set[str]] = [set() for _ in range(number)]
    # Most rows of a group have the same text.
    for pair in np.unique(of_row[used] * len(known) + codes[used]).tolist():
        words[pair // len(known)].update(known[pair % len(known)].split())
    return np.array([" ".join(sorted(group)) for group in words], dtype=str)


def is_usable(rows: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which measurements may be averaged."""
    flux, error = rows["flux"], rows["flux_error"]
    # A flux without an error does not have a weight, in tables of other programs too.
    usable: NDArray[np.bool_] = rows["good"] & np.isfinite(flux) & np.isfinite(error) & (error > 0)
    return usable


def has_older_gains(rows: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which measurements have old gains that were not corrected."""
    # The correction of a pixel may be exactly 1.
    is_corrected = (rows["gain_correction"] != 1) | (rows["flux_correction_id"] != "")
    versions, codes = np.unique(rows["version"], return_inverse=True)
    return np.array([has_old_gains(text) for text in versions.tolist()], bool)[codes] & ~is_corrected
