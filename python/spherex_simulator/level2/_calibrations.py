"""The calibrations that Level 2 images are made with, as files of the archive."""

from __future__ import annotations

__all__ = ["calibration_names", "write_calibration"]

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from spherex.archive import CBAND, CWAVE, CalibrationName, ProcessingRun
from spherex.detectors import FRAME_SIDE
from spherex.image import Box

from .._astrometry import celestial_cards
from .._files import whole_file
from .._pointing import pointing_of
from ._header import primary_header
from ._planes import psf_plane
from ._settings import Level2Settings
from ._sky import solid_angle_of
from ._wavelength import wavelength_table

_RUNS = {
    "qr2": {
        "spectral_wcs": "cal-wcs-v4-2025-254",
        "solid_angle_pixel_map": "cal-sapm-v2-2025-164",
        "average_psf": "cal-psf-v5-2026-082",
    },
    "qr3": {
        "spectral_wcs": "cal-swcs-v5-2026-191",
        "solid_angle_pixel_map": "cal-sapm-v3-2026-191",
        "epsf": "cal-epsf-v1-2026-191",
    },
}
"""Runs of the archive that made the calibrations of each release."""


def calibration_names(settings: Level2Settings, detector: int) -> list[CalibrationName]:
    """Return the archive's names of the calibrations of a detector."""
    return [
        CalibrationName(type_, detector, ProcessingRun.parse(run))
        for type_, run in _RUNS[settings.release.name].items()
    ]


def write_calibration(settings: Level2Settings, name: CalibrationName, path: Path) -> int:
    """Write what the simulation knows exactly: wavelengths, solid angles or point spread function.

    Parameters
    ----------
    settings
        What is simulated.
    name
        Which calibration.
    path
        Where to write; an existing file is replaced.

    Returns
    -------
    size : `int`
        Bytes written.
    """
    detector = name.detector or 1
    primary = fits.PrimaryHDU(header=primary_header(settings.release))
    primary.header["DETECTOR"] = (detector, "1-3: SWIR, 4-6: MWIR")
    hdus = fits.HDUList([primary, *_extensions(settings, name.type, detector)])
    with whole_file(path) as part:
        hdus.writeto(part, overwrite=True)
        return part.stat().st_size


def _extensions(settings: Level2Settings, type_: str, detector: int) -> list[fits.ImageHDU | fits.BinTableHDU]:
    wavelengths = wavelength_table(detector, settings.release.wavelength_points)
    if type_ == "spectral_wcs":
        rows, columns = np.indices((FRAME_SIDE, FRAME_SIDE), dtype=float)
        maps = wavelengths.at(columns, rows)
        names = (CWAVE, CBAND)
        planes = [_image(name, one, "um") for name, one in zip(names, maps, strict=True)]
        return [*planes, wavelengths.hdu()]
    if type_ == "solid_angle_pixel_map":
        cards = celestial_cards(pointing_of(settings.survey, 0), detector, settings.survey)
        whole = Box(0, FRAME_SIDE, 0, FRAME_SIDE)
        return [_image("IMAGE", solid_angle_of(WCS(fits.Header(cards), naxis=2)).over(whole), "arcsec2")]
    return [psf_plane(detector, settings.release, wavelengths)]


def _image(name: str, pixels: np.ndarray, unit: str) -> fits.ImageHDU:
    hdu = fits.ImageHDU(pixels.astype(np.float32), name=name)
    hdu.header["BUNIT"] = unit
    hdu.header["DETCOORD"] = ("sky", "MWIR pixels flipped on X to match SWIR view")
    return hdu
