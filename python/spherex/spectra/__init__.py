"""Spectra of targets: from the measurements in single images to tables and pictures."""

from .channels import CHANNEL_COLUMNS, Channels, channels_of_product, combine_channels, design_channels
from .columns import COLUMNS, SpectrumColumn, make_table, unmasked
from .gathering import gather_spectrum
from .measuring import (
    MICROJANSKY,
    Calibration,
    Calibrations,
    ImageSource,
    MeasureSettings,
    failed_table,
    measure_targets,
)
from .picture import draw_spectrum
from .pixel_properties import PixelMap, PlaneWavelengths

__all__ = [
    "CHANNEL_COLUMNS",
    "COLUMNS",
    "MICROJANSKY",
    "Calibration",
    "Calibrations",
    "Channels",
    "ImageSource",
    "MeasureSettings",
    "PixelMap",
    "PlaneWavelengths",
    "SpectrumColumn",
    "channels_of_product",
    "combine_channels",
    "design_channels",
    "draw_spectrum",
    "failed_table",
    "gather_spectrum",
    "make_table",
    "measure_targets",
    "unmasked",
]
