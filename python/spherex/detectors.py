"""Detectors, dataset types and collections of the mission."""

from __future__ import annotations

__all__ = [
    "AVERAGE_PSF_TYPE",
    "CALIBRATION_COLLECTION",
    "CATALOG_COLLECTION",
    "CATALOG_TYPE",
    "CHANNEL_SPECTRA_TYPE",
    "COMBINED_DARK_TYPE",
    "CUTOUT_EXTENT",
    "DARK_TYPE",
    "DETECTORS",
    "DETECTOR_IDS",
    "DICHROIC_PAIRS",
    "DetectorDescription",
    "EPSF_TYPE",
    "ERROR_SCALE_TYPE",
    "FLUX_CORRECTIONS_TYPE",
    "FRAME_SHAPE",
    "FRAME_SIDE",
    "INJECTED_MEASUREMENTS_TYPE",
    "INJECTED_TYPE",
    "LEVEL2_COLLECTION",
    "LEVEL2_TYPE",
    "MEASUREMENTS_TYPE",
    "PATCH_TARGETS_TYPE",
    "PIXEL_SCALE",
    "RAW_TYPE",
    "RECOVERY_TYPE",
    "ROWS_OF_A_GROUP",
    "SOLID_ANGLE_TYPE",
    "SPECTRAL_CHANNELS_TYPE",
    "SPECTRAL_WCS_TYPE",
    "SPECTRA_TYPE",
    "SPECTRUM_PLOT_TYPE",
    "SUBTRACTED_TYPE",
    "TRUTH_TYPE",
    "WAVELENGTH_TYPE",
    "catalog_collection",
    "spectra_collection",
]

import dataclasses


@dataclasses.dataclass(frozen=True)
class DetectorDescription:
    """Constants of a detector and its linear variable filter.

    Parameters
    ----------
    id
        Detector number, 1 to 6.
    lmin
        Shortest design wavelength of the filter, um.
    lmax
        Longest design wavelength of the filter, um.
    r
        Resolving power, wavelength over bandwidth.
    desc
        Focal plane of the detector, SWIR or MWIR.
    """

    id: int
    lmin: float
    lmax: float
    r: float
    desc: str


DETECTORS = (
    DetectorDescription(1, 0.75, 1.09, 39.0, "SWIR"),
    DetectorDescription(2, 1.10, 1.62, 41.0, "SWIR"),
    DetectorDescription(3, 1.63, 2.41, 41.0, "SWIR"),
    DetectorDescription(4, 2.42, 3.82, 35.0, "MWIR"),
    DetectorDescription(5, 3.83, 4.41, 112.0, "MWIR"),
    DetectorDescription(6, 4.42, 5.00, 128.0, "MWIR"),
)
"""Detectors with design wavelengths and resolving powers (archive
documentation, Caltech-IPAC/spherex-archive-documentation, data products).
"""

DETECTOR_IDS = tuple(detector.id for detector in DETECTORS)
"""Numbers of the detectors."""

DICHROIC_PAIRS = ((1, 4), (2, 5), (3, 6))
"""Detectors that see the same sky through the dichroic (same source)."""

FRAME_SIDE = 2040
"""Rows and columns of light-sensitive pixels (same source)."""

FRAME_SHAPE = (FRAME_SIDE, FRAME_SIDE)
"""Shape of a frame (rows, columns)."""

CUTOUT_EXTENT = "cutout_extent"
"""Dimension element with the pixels of the frame that a cutout contains."""

PIXEL_SCALE = 6.15
"""Side of a pixel, arcsec (same source)."""

LEVEL2_TYPE = "level2"
"""Dataset type of Level 2 images."""

WAVELENGTH_TYPE = "level2_wavelength"
"""Dataset type of the wavelength tables of Level 2 images, one for each run and detector."""

RAW_TYPE = "rawexp"
"""Dataset type of simulated raw images."""

DARK_TYPE = "dark"
"""Dataset type of simulated dark current maps."""

COMBINED_DARK_TYPE = "combined_dark"
"""Dataset type of the mean of dark current maps, a calibration."""

SUBTRACTED_TYPE = "postDark"
"""Dataset type of raw images without their dark current."""

SPECTRAL_WCS_TYPE = "spectral_wcs"
"""Dataset type of the archive's calibration of wavelengths."""

SOLID_ANGLE_TYPE = "solid_angle_pixel_map"
"""Dataset type of the archive's calibration of solid angles of pixels."""

FLUX_CORRECTIONS_TYPE = "l3_flux_corrections"
"""Dataset type of the archive's corrections of gains."""

EPSF_TYPE = "epsf"
"""Dataset type of the archive's effective PSF."""

AVERAGE_PSF_TYPE = "average_psf"
"""Dataset type of the archive's optical PSF."""

SPECTRAL_CHANNELS_TYPE = "spectral_channels"
"""Dataset type of the archive's spectral channels."""

CATALOG_TYPE = "target_catalog"
"""Dataset type of target catalogues, dimension catalog."""

MEASUREMENTS_TYPE = "target_measurements"
"""Dataset type of the measurements of all targets of a catalogue in one image."""

ERROR_SCALE_TYPE = "error_scale"
"""Dataset type of the scale of errors from repeated visits, a calibration."""

INJECTED_TYPE = "level2_injected"
"""Dataset type of Level 2 images with injected sources."""

TRUTH_TYPE = "injected_truth"
"""Dataset type of the fluxes that were injected into one image."""

INJECTED_MEASUREMENTS_TYPE = "injected_measurements"
"""Dataset type of the measurements in an image with injected sources."""

RECOVERY_TYPE = "injection_recovery"
"""Dataset type of the comparison of measured with injected fluxes."""

PATCH_TARGETS_TYPE = "patch_targets"
"""Dataset type of the targets of a patch of a catalogue."""

SPECTRA_TYPE = "spectra"
"""Dataset type of all measurements of the targets of a patch."""

CHANNEL_SPECTRA_TYPE = "channel_spectra"
"""Dataset type of the means of these measurements in the channels."""

SPECTRUM_PLOT_TYPE = "spectrum_plot"
"""Dataset type of the pictures of spectra."""

ROWS_OF_A_GROUP = 5000
"""Rows in a row group of parquet files that are read in parts. One target is read from groups of 1,000 to
10,000 rows in 7 ms, from one of 100,000 in 65 ms.
"""

LEVEL2_COLLECTION = "SPHEREx/level2"
"""CHAINED collection of the processing runs of Level 2 images, the newest
first. A slash and the name of a run follow in the name of its RUN collection.
"""

CALIBRATION_COLLECTION = "SPHEREx/calib"
"""CALIBRATION collection of the archive's calibrations. A slash and the name
of a run follow in the name of its RUN collection.
"""

CATALOG_COLLECTION = "catalogs/{catalog}"
"""CHAINED collection of the versions of a catalogue, the newest first."""


def catalog_collection(name: str) -> str:
    """Return the CHAINED collection of a catalogue, the newest version first.

    Parameters
    ----------
    name
        Name of the catalogue.
    """
    return CATALOG_COLLECTION.format(catalog=name)


def spectra_collection(catalog: str) -> str:
    """Return the CHAINED collection in which ``butler make-spectrum`` puts the spectra of a catalogue.

    Parameters
    ----------
    catalog
        Name of the catalogue.
    """
    return f"spectra/{catalog}"
