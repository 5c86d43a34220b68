"""The point spread function as an HDU."""

from __future__ import annotations

__all__ = ["psf_plane"]

import functools

import numpy as np
from astropy.io import fits

from .._telescope import PIXEL
from ._psf import EFFECTIVE, OPTICAL, PsfModel, psf_model
from ._releases import Release
from ._wavelength import WavelengthTable

_STARS = 250  # in a zone


def psf_plane(detector: int, release: Release, wavelengths: WavelengthTable) -> fits.ImageHDU | fits.BinTableHDU:
    """Return the HDU PSF or EPSF of a detector; see `psf_model`.

    Parameters
    ----------
    detector
        Detector number.
    release
        Release, which decides which of the two.
    wavelengths
        Wavelength of each pixel.
    """
    if release.effective_psf:
        return _table(detector, psf_model(detector, True), wavelengths)
    return _cube(detector, release.swapped_zones)


@functools.cache
def _cube_header(detector: int, swapped: bool) -> fits.Header:
    model = psf_model(detector, False)
    step = PIXEL / OPTICAL.oversampling
    middle = OPTICAL.samples // 2 + 1
    header = fits.Header()
    header["EXTNAME"] = ("PSF", "extension name")
    header["EXTTYPE"] = "IMAGE"
    header["BUNIT"] = ("", "Normalized to a sum of 1")
    header["DETECTOR"] = (detector, "1-3: SWIR, 4-6: MWIR")
    for axis, name in ((1, "XANG"), (2, "YANG")):
        header[f"CTYPE{axis}"] = name
        header[f"CUNIT{axis}"] = "arcsec"
        header[f"CRPIX{axis}"] = float(middle)
        header[f"CRVAL{axis}"] = 0.0
        header[f"CDELT{axis}"] = step
    header["OVERSAMP"] = (OPTICAL.oversampling, "Samples to a pixel along each axis")
    header["DETCOORD"] = ("sky", "MWIR pixels flipped on X to match SWIR view")
    columns = len(model.x.centres)
    x, y = "YX" if swapped else "XY"
    for number in range(columns * len(model.y.centres)):
        row, column = divmod(number, columns)
        header[f"{x}CTR_{number + 1}"] = (float(model.x.centres[column]), f"{x} center of zone")
        header[f"{y}CTR_{number + 1}"] = (float(model.y.centres[row]), f"{y} center of zone")
        header[f"{x}WID_{number + 1}"] = (float(model.x.widths[column]), f"{x} width of zone")
        header[f"{y}WID_{number + 1}"] = (float(model.y.widths[row]), f"{y} width of zone")
    header.add_comment("PSF zone data defined by x and y centers and x and y zones")
    return header


def _cube(detector: int, swapped: bool) -> fits.ImageHDU:
    samples = psf_model(detector, False).samples
    return fits.ImageHDU(samples.reshape(-1, *samples.shape[-2:]), header=_cube_header(detector, swapped))


def _table(detector: int, model: PsfModel, wavelengths: WavelengthTable) -> fits.BinTableHDU:
    rows, columns = len(model.y.centres), len(model.x.centres)
    bin_y, bin_x = (plane.ravel() for plane in np.indices((rows, columns)))
    samples = model.samples.reshape(rows * columns, -1)
    wavelength, bandwidth = wavelengths.at(model.x.centres[bin_x], model.y.centres[bin_y])
    side = EFFECTIVE.samples
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("BINX", "J", array=bin_x),
            fits.Column("BINY", "J", array=bin_y),
            fits.Column("XCENTER", "E", unit="pixel", array=model.x.centres[bin_x]),
            fits.Column("YCENTER", "E", unit="pixel", array=model.y.centres[bin_y]),
            fits.Column("XWIDTH", "E", unit="pixel", array=model.x.widths[bin_x]),
            fits.Column("YWIDTH", "E", unit="pixel", array=model.y.widths[bin_y]),
            fits.Column("NSTAR", "J", array=np.full(rows * columns, _STARS)),
            fits.Column("NEFF_MEAN", "E", array=1 / (EFFECTIVE.oversampling**2 * (samples**2).sum(axis=1))),
            fits.Column("CWAVE", "E", unit="um", array=wavelength),
            fits.Column("CBAND", "E", unit="um", array=bandwidth),
            fits.Column("EPSF", f"{side * side}D", dim=f"({side},{side})", array=samples),
        ],
        name="EPSF",
    )
    for keyword, value, comment in (
        ("DETECTOR", str(detector), "1-3: SWIR, 4-6: MWIR"),
        ("OVSMPX", EFFECTIVE.oversampling, ""),
        ("OVSMPY", EFFECTIVE.oversampling, ""),
        ("DETCOORD", "sky", "MWIR pixels flipped on X to match SWIR view"),
        ("ORDERING", "x-fast then y", ""),
        ("GEOMSRC", "uniform active-pixel tiling", ""),
        ("CWAVESRC", "spectral_wcs CWAVE", ""),
        ("CBANDSRC", "spectral_wcs CBAND", ""),
    ):
        table.header[keyword] = (value, comment) if comment else value
    return table
