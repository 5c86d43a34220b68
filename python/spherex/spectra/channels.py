"""From the single measurements of a spectrum to the 102 channels of the mission."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from spherex.detectors import DETECTORS
from spherex.headers import has_old_gains

from .tables import FAILED, UNPLACED, SpectrumColumn, make_table, unmasked

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from astropy.table import QTable
    from numpy.typing import ArrayLike, NDArray


WORST_FIT = 10.0
"""Greatest chi2 of a fit, in units of what is usual for the target (spectrophotometry.md, C8)."""

_ENOUGH = 5
"""Measurements of a detector that tell what is usual there."""


def find_misfits(spectrum: QTable, worst_fit: float = WORST_FIT) -> NDArray[np.bool_]:
    """Return which measurements of one target have a far worse fit than the others.

    A particle that hits the detector beside the source is one. Errors of the
    PSF grow with the flux, so that chi2 is compared with the median of the
    same detector; nothing is concluded from the flux itself.

    Parameters
    ----------
    spectrum
        Measurements without masked values, with the columns of `gather_spectrum`.
    worst_fit
        Greatest chi2 per degree of freedom, in units of the median, or of 1
        if that is less: below it, noise alone makes the difference.
    """
    chi2, dof = np.asarray(spectrum["chi2"], float), np.asarray(spectrum["dof"], float)
    is_known = np.isfinite(chi2) & (dof > 0) & (np.asarray(spectrum["reason"]) == "")
    reduced = np.full(len(chi2), np.nan)
    reduced[is_known] = chi2[is_known] / dof[is_known]
    detectors = np.asarray(spectrum["detector"])
    usual = np.full(len(chi2), np.nanmedian(reduced) if is_known.any() else np.nan)
    for detector in np.unique(detectors):
        here = is_known & (detectors == detector)
        if here.sum() >= _ENOUGH:
            usual[detectors == detector] = np.median(reduced[here])
    return reduced > worst_fit * np.maximum(usual, 1.0)


_IN_DETECTOR = 17
"""Channels of each detector: 102 in all (archive documentation, data products)."""

CHANNEL_COLUMNS = (
    SpectrumColumn("target", str, "meta.id;meta.main", "Name of the target in its catalogue"),
    SpectrumColumn(
        "wavelength", float, "em.wl;stat.mean", "Mean central wavelength, with the weights of the flux", "um"
    ),
    SpectrumColumn("bandwidth", float, "instr.bandwidth;stat.mean", "Mean bandwidth, with the same weights", "um"),
    SpectrumColumn("flux", float, "phot.flux.density;em.IR", "Mean flux density, weights 1 / variance", "uJy"),
    SpectrumColumn(
        "flux_error",
        float,
        "stat.error;phot.flux.density;em.IR",
        "Standard deviation of the flux density: the formal one, or that from the scatter if it is larger",
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
    SpectrumColumn("chi2", float, "stat.fit.chi2", "Sum of squares of their weighted differences from the mean"),
    SpectrumColumn("dof", int, "stat.fit.dof", "Degrees of freedom: visits - 1"),
    SpectrumColumn("wavelength_spread", float, "stat.stdev;em.wl", "Standard deviation of the wavelengths", "um"),
    SpectrumColumn("flags", int, "meta.code.qual", "Flags of the measurements, joined by OR; bits as in the images"),
    SpectrumColumn("flag_names", str, "meta.code.qual", "Names of these flags, separated by blanks"),
    SpectrumColumn(
        "left_out", int, "meta.number", "Number of measurements that failed, were masked too much or fit too badly"
    ),
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
    """The channels of all detectors.

    Parameters
    ----------
    detector, number, wavelength
        Detector, number in the detector from 1, and nominal wavelength (um)
        of each channel, of shape (n,).
    source
        Where they come from.
    pixels
        Number of the channel of each pixel of the frame, the same for all
        detectors; `None` if channels are to be told by wavelength.
    """

    detector: NDArray[np.int64]
    number: NDArray[np.int64]
    wavelength: NDArray[np.float64]
    source: str
    pixels: NDArray[Any] | None = None

    def of(self, detector: ArrayLike, wavelength: ArrayLike, x: ArrayLike, y: ArrayLike) -> NDArray[np.int64]:
        """Find the channels of measurements.

        Parameters
        ----------
        detector, wavelength, x, y
            Detectors, wavelengths (um) and 0-based columns and rows in the
            whole frame, of shape (m,).

        Returns
        -------
        place
            Places in the arrays of this object; -1 for a measurement at a
            pixel without channel, or of a detector without channels.
        """
        detector, wavelength = np.asarray(detector), np.asarray(wavelength, float)
        if self.pixels is not None:
            fits_to = self._number_at(np.asarray(x, float), np.asarray(y, float))[:, np.newaxis] == self.number
            distance = np.where(fits_to, 0.0, np.inf)
        else:
            distance = np.abs(wavelength[:, np.newaxis] - self.wavelength)
        distance = np.where(detector[:, np.newaxis] == self.detector, distance, np.inf)
        place = np.argmin(distance, axis=1)
        return np.where(np.isfinite(distance[np.arange(len(place)), place]), place, -1)

    def _number_at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        assert self.pixels is not None
        rows, columns = self.pixels.shape
        # NaN compares as false, and is off the frame.
        on_frame = (x >= -0.5) & (y >= -0.5) & (x < columns - 0.5) & (y < rows - 0.5)
        number = np.full(len(x), -1)
        row, column = (np.floor(axis[on_frame] + 0.5).astype(int) for axis in (y, x))
        number[on_frame] = self.pixels[row, column]
        return number


def design_channels() -> Channels:
    """Return channels by the design of the instrument.

    Each detector has 17, and one resolving power throughout, so that its
    channels are equally wide in the logarithm of the wavelength; they are
    laid between the design limits of the filter (archive documentation, data
    products).
    """
    edges = [np.geomspace(one.lmin, one.lmax, _IN_DETECTOR + 1) for one in DETECTORS]
    return Channels(
        np.repeat([one.id for one in DETECTORS], _IN_DETECTOR),
        np.tile(np.arange(1, _IN_DETECTOR + 1), len(DETECTORS)),
        np.concatenate([np.sqrt(limits[:-1] * limits[1:]) for limits in edges]),
        "17 channels a detector, equally wide in log(wavelength) between its design limits",
    )


def channels_of_product(hdus: HDUList, source: str) -> Channels:
    """Return the channels of the archive's product ``spectral_channels``.

    Parameters
    ----------
    hdus
        The product: an image CHANNEL_MAP with the number of the channel of
        each pixel, and a table SPECTRAL_CHANNELS with the columns DETECTOR,
        SUBCHAN and WAVELENGTH in um, as its users read it
        (WenkeRen/spxquery, drizzle3d/spectral.py).
    source
        Name for it.

    Raises
    ------
    ValueError
        If it has another form.
    """
    try:
        table, pixels = hdus["SPECTRAL_CHANNELS"].data, hdus["CHANNEL_MAP"].data
        columns = [np.asarray(table[name]) for name in ("DETECTOR", "SUBCHAN", "WAVELENGTH")]
    except KeyError as error:
        raise ValueError(f"{source} is no table of channels: {error.args[0]}") from None
    if pixels is None or pixels.ndim != 2:
        raise ValueError(f"{source} is no table of channels: its CHANNEL_MAP is no image")
    detector, number, wavelength = columns
    return Channels(detector.astype(np.int64), number.astype(np.int64), wavelength.astype(float), source, pixels)


def combine_channels(
    spectrum: QTable, channels: Channels | None = None, most_masked: float = 0.5, worst_fit: float = WORST_FIT
) -> QTable:
    """Average the measurements of each channel.

    The mean is weighted by 1 / variance. Its error is the formal one,
    1 / sqrt(sum of weights), or that times sqrt(chi2 / dof) if this is larger.
    Detectors are never mixed. Measurements with older gains (VERSION below 7)
    that were not corrected are left out of a channel that has other ones.

    Parameters
    ----------
    spectrum
        The measurements, as `gather_spectrum` returns them.
    channels
        Channels; by default those of `design_channels`.
    most_masked
        Measurements with more of the PSF on masked pixels are left out.
    worst_fit
        So are those that `find_misfits` finds.

    Returns
    -------
    channel_spectrum
        A row for each channel with a measurement, by wavelength. If none of
        them could be used the flux is NaN, and the wavelength is the nominal one.

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
    rows = unmasked(spectrum)
    # So that the last bits of the sums do not depend on the order of the measurements.
    rows = rows[np.lexsort([rows[name] for name in ("image_id", "exposure", "detector")])]
    flux, error = rows["flux"].to_value("uJy"), rows["flux_error"].to_value("uJy")
    is_good = (rows["reason"] == "") & np.isfinite(flux) & np.isfinite(error) & (error > 0)
    # A fraction that is not known is none that is too large.
    is_good &= ~(np.asarray(rows["masked_fraction"]) > most_masked) & ~find_misfits(rows, worst_fit)
    wavelength = rows["wavelength"].to_value("um")
    place = channels.of(rows["detector"], wavelength, rows["x"].value, rows["y"].value)
    is_old = _has_older_gains(rows)
    found: dict[str, list[Any]] = {column.name: [] for column in CHANNEL_COLUMNS}
    for channel in np.unique(place[place >= 0]):
        here = place == channel
        used = here & is_good
        older = used & is_old
        if (used & ~is_old).any():
            used &= ~is_old
        else:
            older[:] = False
        one = _mean(flux[used], error[used], wavelength[used], rows["bandwidth"].to_value("um")[used])
        one |= {
            "target": rows["target"][here][0],
            "flags": int(np.bitwise_or.reduce(np.asarray(rows["flags"])[used])),
            "flag_names": _names(rows["flag_names"][used]),
            "left_out": int(np.count_nonzero(here & ~is_good)),
            "left_out_older": int(np.count_nonzero(older)),
            "version": _names(rows["version"][used]),
            "detector": channels.detector[channel],
            "channel": channels.number[channel],
            "channel_wavelength": channels.wavelength[channel],
        }
        if not used.any():
            one["wavelength"] = channels.wavelength[channel]
        for name, value in one.items():
            found[name].append(value)
    order = np.argsort(found["wavelength"], kind="stable")
    meta = {name: value for name, value in spectrum.meta.items() if name not in (FAILED, UNPLACED)}
    meta |= {
        "channels": channels.source,
        "most_masked": most_masked,
        "worst_fit": worst_fit,
        "left_out": sum(found["left_out"]),
        "left_out_older": sum(found["left_out_older"]),
        "without_channel": int(np.count_nonzero(place < 0)),
    }
    values = {name: np.asarray(column)[order] for name, column in found.items() if column}
    return make_table(values, len(order), meta, CHANNEL_COLUMNS)


def _mean(
    flux: NDArray[np.float64],
    error: NDArray[np.float64],
    wavelength: NDArray[np.float64],
    bandwidth: NDArray[np.float64],
) -> dict[str, Any]:
    """Return what the mean of some measurements is."""
    visits = len(flux)
    blank = {column.name: column.blank for column in CHANNEL_COLUMNS}
    if not visits:
        return blank | {"visits": 0, "dof": 0}
    weight = error**-2
    total = weight.sum()
    mean = (weight * flux).sum() / total
    chi2, dof = (weight * (flux - mean) ** 2).sum(), visits - 1
    formal = 1 / np.sqrt(total)
    return blank | {
        "wavelength": (weight * wavelength).sum() / total,
        "bandwidth": (weight * bandwidth).sum() / total,
        "flux": mean,
        "flux_error": formal * np.sqrt(max(1.0, chi2 / dof if dof else 1.0)),
        "flux_error_formal": formal,
        "visits": visits,
        "chi2": chi2,
        "dof": dof,
        "wavelength_spread": wavelength.std(),
    }


def _has_older_gains(rows: QTable) -> NDArray[np.bool_]:
    """Tell which measurements have gains from before version 7, uncorrected."""
    # A pixel may have been corrected by exactly 1.
    is_corrected = (np.asarray(rows["gain_correction"]) != 1) | (np.asarray(rows["flux_correction_id"]) != "")
    return np.array([has_old_gains(text) for text in rows["version"].tolist()], bool) & ~is_corrected


def _names(texts: ArrayLike) -> str:
    return " ".join(sorted({name for text in np.asarray(texts).tolist() for name in text.split()}))
