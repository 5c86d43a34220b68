"""Means of the measurements of a spectrum in the 102 channels of the mission."""

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


_IN_DETECTOR = 17
"""Number of channels of a detector: 102 in all (archive documentation, data products)."""

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
        detectors, shape (rows, columns). By default measurements belong to the
        nearest channel by wavelength.
    """

    detector: NDArray[np.int64]
    number: NDArray[np.int64]
    wavelength: NDArray[np.float64]
    source: str
    pixels: NDArray[Any] | None = None

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
            Indices of the channels, shape (m,); -1 at a pixel without channel,
            or for a detector without channels.
        """
        detector, wavelength = np.asarray(detector), np.asarray(wavelength, float)
        if self.pixels is not None:
            rows, columns = self.pixels.shape
            x, y = np.asarray(x, float), np.asarray(y, float)
            on_frame = (x >= -0.5) & (y >= -0.5) & (x < columns - 0.5) & (y < rows - 0.5)
            row, column = (np.floor(axis[on_frame] + 0.5).astype(int) for axis in (y, x))
            # Outside of the frame, and for NaN, there is no channel.
            number = np.full(len(x), -1)
            number[on_frame] = self.pixels[row, column]
            distance = np.where(number[:, np.newaxis] == self.number, 0.0, np.inf)
        else:
            distance = np.abs(wavelength[:, np.newaxis] - self.wavelength)
        distance = np.where(detector[:, np.newaxis] == self.detector, distance, np.inf)
        index = np.argmin(distance, axis=1)
        return np.where(np.isfinite(distance[np.arange(len(index)), index]), index, -1)


def design_channels() -> Channels:
    """Return the channels of the design of the instrument.

    A detector has 17 channels and a constant resolving power. So its channels
    have the same width in log(wavelength), between the design limits of the
    filter (archive documentation, data products).
    """
    edges = [np.geomspace(detector.lmin, detector.lmax, _IN_DETECTOR + 1) for detector in DETECTORS]
    return Channels(
        np.repeat([detector.id for detector in DETECTORS], _IN_DETECTOR),
        np.tile(np.arange(1, _IN_DETECTOR + 1), len(DETECTORS)),
        np.concatenate([np.sqrt(limits[:-1] * limits[1:]) for limits in edges]),
        "17 channels a detector, equally wide in log(wavelength) between its design limits",
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
        If the product has another form.
    """
    try:
        table, pixels = hdus["SPECTRAL_CHANNELS"].data, hdus["CHANNEL_MAP"].data
        columns = [np.asarray(table[name]) for name in ("DETECTOR", "SUBCHAN", "WAVELENGTH")]
    except KeyError as error:
        raise ValueError(f"{source} is not a table of channels: {error.args[0]}") from None
    if pixels is None or pixels.ndim != 2:
        raise ValueError(f"{source} is not a table of channels: its CHANNEL_MAP is not an image")
    detector, number, wavelength = columns
    return Channels(detector.astype(np.int64), number.astype(np.int64), wavelength.astype(float), source, pixels)


def combine_channels(spectrum: QTable, channels: Channels | None = None) -> QTable:
    """Average the measurements of each channel.

    With the weights w = 1 / error^2, the mean is sum(w flux) / sum(w). Its
    formal error is 1 / sqrt(sum(w)), and the error is that times
    sqrt(max(1, chi2 / dof)). Measurements that are not good are left out.
    Measurements of different detectors are never averaged. Measurements with
    old gains that were not corrected are left out of a channel that has
    measurements with new gains.

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
        measurements of a channel are left out, its flux is NaN and its
        wavelength the nominal one.

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
    # A fixed order, so that the last bits of the sums do not depend on the order of the inputs.
    rows = rows[np.lexsort([rows[name] for name in ("image_id", "exposure", "detector")])]
    flux, error = rows["flux"].to_value("uJy"), rows["flux_error"].to_value("uJy")
    is_good = np.asarray(rows["good"])
    wavelength = rows["wavelength"].to_value("um")
    index = channels.of(rows["detector"], wavelength, rows["x"].value, rows["y"].value)
    is_old = _has_older_gains(rows)
    columns: dict[str, list[Any]] = {column.name: [] for column in CHANNEL_COLUMNS}
    for channel in np.unique(index[index >= 0]):
        here = index == channel
        used = here & is_good
        older = used & is_old
        if (used & ~is_old).any():
            used &= ~is_old
        else:
            older[:] = False
        row = _mean(flux[used], error[used], wavelength[used], rows["bandwidth"].to_value("um")[used])
        row |= {
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
            row["wavelength"] = channels.wavelength[channel]
        for name, value in row.items():
            columns[name].append(value)
    order = np.argsort(columns["wavelength"], kind="stable")
    meta = {name: value for name, value in spectrum.meta.items() if name not in (FAILED, UNPLACED)}
    meta |= {
        "channels": channels.source,
        "left_out": sum(columns["left_out"]),
        "left_out_older": sum(columns["left_out_older"]),
        "without_channel": int(np.count_nonzero(index < 0)),
    }
    values = {name: np.asarray(column)[order] for name, column in columns.items() if column}
    return make_table(values, len(order), meta, CHANNEL_COLUMNS)


def _mean(
    flux: NDArray[np.float64],
    error: NDArray[np.float64],
    wavelength: NDArray[np.float64],
    bandwidth: NDArray[np.float64],
) -> dict[str, Any]:
    """Return the columns of the mean of measurements; see `combine_channels` for the formulas."""
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
    """Return which measurements have old gains that were not corrected."""
    # The correction of a pixel may be exactly 1.
    is_corrected = (np.asarray(rows["gain_correction"]) != 1) | (np.asarray(rows["flux_correction_id"]) != "")
    return np.array([has_old_gains(text) for text in rows["version"].tolist()], bool) & ~is_corrected


def _names(texts: ArrayLike) -> str:
    return " ".join(sorted({name for text in np.asarray(texts).tolist() for name in text.split()}))
