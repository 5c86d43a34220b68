"""Spectra of targets: from the measurements in single images to tables and pictures."""

from __future__ import annotations

__all__ = [
    "CHANNEL_COLUMNS",
    "COLUMNS",
    "Calibration",
    "Calibrations",
    "Channels",
    "DOUBTFUL_FLAGS",
    "ImageSource",
    "MICROJANSKY",
    "MeasureSettings",
    "OFF_FRAME",
    "PixelMap",
    "SpectrumColumn",
    "UNPLACED",
    "add_spectrum",
    "catalog_of",
    "channels_of_product",
    "combine_channels",
    "design_channels",
    "plot_spectrum",
    "failed_table",
    "find_misfits",
    "gather_spectrum",
    "image_source",
    "make_plain_table",
    "make_table",
    "measure_targets",
    "positions_at",
    "unmasked",
    "values_of",
]

from .channels import CHANNEL_COLUMNS, Channels, channels_of_product, combine_channels, design_channels, find_misfits
from .inputs import Calibration, Calibrations, ImageSource, MeasureSettings, PixelMap
from .measuring import MICROJANSKY, failed_table, measure_targets
from .placing import positions_at
from .plot import DOUBTFUL_FLAGS, add_spectrum, plot_spectrum
from .sources import catalog_of, image_source
from .tables import (
    COLUMNS,
    OFF_FRAME,
    UNPLACED,
    SpectrumColumn,
    gather_spectrum,
    make_plain_table,
    make_table,
    unmasked,
    values_of,
)
