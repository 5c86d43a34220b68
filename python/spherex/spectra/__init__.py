"""Spectra of targets: measurements in single images, tables, channels and plots.

A row of a catalogue becomes a flux in `spherex.spectra.measuring`, rows of
many images become a spectrum in `spherex.spectra.spectrum`.
"""

from __future__ import annotations

__all__ = [
    "CHANNEL_COLUMNS",
    "COLUMNS",
    "INPUT_COLUMNS",
    "Calibration",
    "Calibrations",
    "Channels",
    "DIAGNOSTICS",
    "DetectorDiagnostics",
    "ErrorScale",
    "FLUX_AXES",
    "IMAGES",
    "INDEX",
    "ImageSource",
    "ImageDiagnostics",
    "InjectSettings",
    "MEASUREMENTS",
    "MICROJANSKY",
    "MOTION",
    "MeasureSettings",
    "OFF_FRAME",
    "PAIR_COLUMNS",
    "POSITION_COLUMNS",
    "PairSettings",
    "QUALITY_BITS",
    "QualityBit",
    "RECOVERY_COLUMNS",
    "SCALE_COLUMNS",
    "SINGLE_FILES",
    "SUMMARY_COLUMNS",
    "Spectrum",
    "SpectrumColumn",
    "TARGETS",
    "TargetSummary",
    "TRUTH_COLUMNS",
    "UNPLACED",
    "UNREAD",
    "add_residuals",
    "add_spectrum",
    "catalog_of",
    "combine_channels",
    "combine_patch",
    "compare_with_truth",
    "design_channels",
    "diagnose",
    "diagnose_detectors",
    "diagnose_patch",
    "failed_table",
    "gather_patch",
    "gather_spectrum",
    "has_spectrum",
    "image_source",
    "inject_sources",
    "make_plain_table",
    "make_stamp",
    "make_table",
    "measure_error_scale",
    "measure_targets",
    "most_frequent",
    "motions_of",
    "patch_meta",
    "plot_finders",
    "plot_light_curve",
    "plot_spectrum",
    "positions_at",
    "read_channels",
    "read_map",
    "read_profiles",
    "spectrum_in",
    "summarize_patch",
    "unmasked",
    "values_of",
    "write_index",
    "write_patch",
]

from .channels import CHANNEL_COLUMNS, Channels, combine_channels, design_channels, read_channels
from .diagnostics import DetectorDiagnostics, ImageDiagnostics, diagnose, diagnose_detectors
from .error_scale import PAIR_COLUMNS, SCALE_COLUMNS, ErrorScale, PairSettings, measure_error_scale
from .exporting import INDEX, INPUT_COLUMNS, POSITION_COLUMNS, SINGLE_FILES, make_stamp, write_index, write_patch
from .finders import plot_finders
from .injecting import RECOVERY_COLUMNS, TRUTH_COLUMNS, InjectSettings, compare_with_truth, inject_sources
from .inputs import Calibration, Calibrations, ImageSource, MeasureSettings, read_map, read_profiles
from .measuring import MICROJANSKY, UNREAD, failed_table, measure_targets
from .patches import (
    IMAGES,
    MEASUREMENTS,
    SUMMARY_COLUMNS,
    TARGETS,
    TargetSummary,
    combine_patch,
    diagnose_patch,
    gather_patch,
    has_spectrum,
    patch_meta,
    spectrum_in,
    summarize_patch,
)
from .placing import MOTION, motions_of, positions_at
from .plot import FLUX_AXES, add_residuals, add_spectrum, plot_light_curve, plot_spectrum
from .quality import QUALITY_BITS, QualityBit
from .sources import catalog_of, image_source
from .spectrum import Spectrum, gather_spectrum
from .tables import (
    COLUMNS,
    DIAGNOSTICS,
    OFF_FRAME,
    UNPLACED,
    SpectrumColumn,
    make_plain_table,
    make_table,
    most_frequent,
    unmasked,
    values_of,
)
